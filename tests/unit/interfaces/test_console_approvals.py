"""The pages on which people see what waits for them, and answer it."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-incomplete-defs=False
# a fixture says what it is by its name

import re

import pytest
from browsing import Console, fields, provider, quiet_provider, scenario_at, words

from muniment.access import records
from muniment.access.terms import short_code
from muniment.interfaces.console.pages import plain

pytestmark = quiet_provider


@pytest.fixture(scope="module")
def issuer():
    with provider() as at:
        yield at


@pytest.fixture
async def console(tmp_path, issuer):
    async with scenario_at(tmp_path, issuer) as scenario:
        made = Console.over(scenario, issuer, tmp_path)
        await made.enrol("ana", "bo", "cy", "dan", "aud")
        yield made


async def answer(browser, case: str, verdict_: str, comment_: str = "", **changes: str):
    form = fields((await browser.look(f"/approve/{case}")).text)
    data = {**form, "verdict": verdict_, "comment": comment_, **changes}
    return await browser.submit(f"/approve/{case}", data)


async def page(browser, case: str) -> str:
    found = await browser.look(f"/approve/{case}")
    assert found.status_code == 200, found.text
    text: str = found.text
    return text


# --- what is shown --------------------------------------------------------------------------------


async def test_the_page_shows_exactly_the_terms(console):
    case = await console.scenario.ask("ana", text="fix order 4711", ticket="OPS-7", seconds=2700)
    text = await page(await console.signed_in("bo"), case.case.id)
    said = words(text)
    for term in (
        "Who Ana (ana)",
        "Resource orders-prod",
        "Role readwrite",
        "Window 45m, from the pick-up (the rules allow 1h)",
        "Emergency no",
        "Reason claimed fix order 4711",
        "Ticket claimed OPS-7",
        f"Code of these terms {short_code(case.case.current.terms)}",
    ):
        assert term in said
    assert fields(text)["terms"] == case.case.current.terms.hex()


async def test_the_page_shows_the_rule_that_demands_the_approval_with_file_line_and_text(console):
    case = await console.scenario.ask("ana")
    text = await page(await console.signed_in("bo"), case.case.id)
    said = words(text)
    assert "sre-leads : 0 of 1 given by rule require.prod" in said
    assert "policies/30-require.cedar:12" in said
    assert '@approvals("sre-leads:1")' in said
    assert re.search(r"<details open>\s*<summary><span[^>]*>Production takes one", text)


async def test_the_page_says_how_strongly_the_requester_had_signed_in(console):
    by_token = await console.scenario.ask("ana")
    approver = await console.signed_in("cy")
    assert "static token , which shows nothing but itself" in words(
        await page(approver, by_token.case.id)
    )
    requester = console.browser()
    await requester.sign_in("sub-bo")
    asked = await ask_by_session(console, requester.session)
    said = words(await page(approver, asked))
    assert "Signed in by corp" in said
    assert "mfa (pwd, otp)" in said


async def ask_by_session(console, token: str) -> str:
    """A request of whoever bears this session's token."""
    me = (await console.api(token, "/v1/whoami")).json()["principal"]
    body = {
        "subject": {"type": "principal", "id": me},
        "resource": {"type": "resource", "id": "orders-prod"},
        "action": {"name": "readwrite"},
        "context": {"seconds": 600, "ticket": "OPS-1"},
    }
    denied = (await console.api(token, "/access/v1/evaluation", body)).json()["context"]
    binding = {
        "evaluation_id": denied["evaluation_id"],
        "expires_at": denied["access_request"]["expires_at"],
    }
    asked = await console.api(token, "/access/v1/requests", {**body, "denial": binding})
    case: str = asked.json()["task"]["id"]
    return case


async def test_the_page_names_the_sponsor_behind_an_agent(console):
    asked = await console.scenario.ask("robo", "orders-staging/readwrite")
    text = await page(await console.signed_in("ana"), asked.case.id)
    assert "robo agent, asked" in words(text)
    assert "Ana (ana) human, on whose behalf" in words(text)


async def test_other_cases_of_the_requester_are_shown_as_far_as_the_reader_may_see_them(console):
    staging = await console.scenario.ask("ana", "orders-staging/readwrite")
    other, case = [await console.scenario.ask("ana") for _ in range(2)]
    seen = await page(await console.signed_in("bo"), case.case.id)
    assert f'href="/approve/{other.case.id}"' in seen
    assert f'href="/approve/{staging.case.id}"' not in seen
    assert "Of the newest, 1 more that you may not see" in words(seen)
    auditor = await page(await console.signed_in("aud"), case.case.id)
    assert f'href="/approve/{staging.case.id}"' in auditor


async def test_what_was_typed_cannot_reach_into_the_page(console):
    typed = '<script>alert(1)</script> "> <form action=//evil.example>'
    case = await console.scenario.ask("ana", text=typed)
    browser = await console.signed_in("bo")
    text = await page(browser, case.case.id)
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "<form action=//" not in text
    await answer(browser, case.case.id, "approve", "<img src=x onerror=alert(2)>")
    assert "<img src=x" not in await page(browser, case.case.id)


def test_characters_that_turn_the_order_of_what_is_read_do_not_reach_the_page():
    assert plain("ana\u202egnp.exe\u0007\r\nb\tc") == "ana\ufffdgnp.exe\ufffd\nb c"


async def test_a_reason_that_was_erased_is_said_to_be_erased(console):
    case = await console.scenario.ask("ana", text="about a person")
    await console.scenario.erase("pia", f"{case.case.id}/0", "reason")
    said = words(await page(await console.signed_in("bo"), case.case.id))
    assert "about a person" not in said
    assert "Reason erased" in said


async def test_the_home_page_tells_what_waits_what_is_there_and_what_was_asked(console):
    waiting = await console.scenario.ask("ana")
    live = await console.scenario.ask("bo", "orders-staging/readwrite")
    await console.scenario.pick_up("bo", live)
    text = (await (await console.signed_in("bo")).look("/")).text
    first, second, third = re.split(r"<h2 id=\"(?:live|asked)\">", text)
    assert f'href="/approve/{waiting.case.id}"' in first
    assert "Ana (ana) asks for readwrite on orders-prod for 30m" in words(first)
    assert f'href="/approve/{live.case.id}"' in second
    assert "issued" in words(second)
    theirs = (await (await console.signed_in("ana")).look("/")).text
    assert f'href="/approve/{waiting.case.id}"' in theirs.split('<h2 id="asked">')[1]
    assert "Nothing waits for your approval" in words(theirs)
    assert third


async def test_what_is_not_the_readers_to_see_is_not_there(console):
    case = await console.scenario.ask("ana")
    found = await (await console.signed_in("dan")).look(f"/approve/{case.case.id}")
    assert found.status_code == 404
    assert found.headers["content-type"].startswith("text/html")
    assert "fix" not in words(found.text)


async def test_any_unique_beginning_of_a_case_id_leads_to_its_page(console):
    case = (await console.scenario.ask("ana")).case.id
    browser = await console.signed_in("bo")
    assert case in await page(browser, case[:12])
    for wrong in ("mun_", "nothing", "x" * 2000):
        assert (await browser.look(f"/approve/{wrong}")).status_code in (200, 404)


# --- what is answered -----------------------------------------------------------------------------


async def test_an_approval_is_recorded_and_its_receipt_is_shown(console):
    case = (await console.scenario.ask("ana")).case.id
    browser = console.browser()
    await browser.sign_in("sub-bo")
    given = await answer(browser, case, "approve", "go ahead")
    assert given.status_code == 303
    assert given.headers["location"] == f"/approve/{case}#answers"
    entry = console.scenario.entries(case)[-1]
    record = console.scenario.last(case, records.ApprovalGiven)
    assert entry.header.kind == "approval:given"
    assert record.actor.sign_in.mfa == "mfa"
    said = words(await page(browser, case))
    assert "Approved by Bo (bo)" in said
    assert "go ahead" in said
    assert f"Log {console.scenario.service.log.verifier.name}" in said
    assert f"Entry {entry.index} of {console.scenario.service.log.size}" in said
    assert f"Leaf {entry.leaf.hex()}" in said
    assert "c2sp.org/tlog-proof@v1" in said
    assert 'name="verdict"' not in await page(browser, case), "nothing waits any more"


async def test_a_refusal_ends_the_request_with_its_comment(console):
    case = (await console.scenario.ask("ana")).case.id
    browser = await console.signed_in("cy")
    assert (await answer(browser, case, "refuse", "not today\r\nbut soon")).status_code == 303
    assert console.scenario.read(case).state == "refused"
    said = words(await page(browser, case))
    assert "Refused by Cy (cy)" in said
    assert "not today but soon" in said


async def test_terms_that_changed_since_they_were_shown_are_not_approved(console):
    scenario = console.scenario
    case = (await scenario.ask("ana")).case.id
    browser = await console.signed_in("bo")
    shown = fields(await page(browser, case))
    await scenario.approve("cy", case)
    await scenario.pick_up("ana", case)
    await scenario.extend("ana", case, 3600, ticket="OPS-1")
    size = scenario.service.log.size
    late = await browser.submit(f"/approve/{case}", {**shown, "verdict": "approve"})
    assert late.status_code == 409
    assert "has changed since you were shown it" in words(late.text)
    assert scenario.service.log.size == size
    assert "asks to keep readwrite on orders-prod" in words(await page(browser, case))
    assert (await answer(browser, case, "approve")).status_code == 303
    assert scenario.read(case).extension is None


async def test_ones_own_request_is_not_approvable_and_the_page_says_so(console):
    case = (await console.scenario.ask("bo")).case.id
    browser = await console.signed_in("bo")
    text = await page(browser, case)
    assert "Your approval would not count" in words(text)
    assert 'value="approve"' not in text
    forced = {"terms": console.scenario.read(case).current.terms.hex()}
    refused = await answer(browser, case, "approve", **forced)
    assert refused.status_code == 403
    entry = console.scenario.entries(case)[-1]
    assert entry.header.kind == "decision:evaluated"
    assert f"stands in the log, as entry {entry.index}" in words(refused.text)
    assert "bo may not approve" in words(refused.text)
    assert console.scenario.read(case).state == "pending"


async def test_who_is_in_no_group_that_is_waited_for_is_told(console):
    case = (await console.scenario.ask("ana")).case.id
    said = words(await page(await console.signed_in("aud"), case))
    assert "it waits for sre-leads, and you are in none" in said


async def test_where_the_rules_ask_for_a_factor_the_page_says_to_sign_in_again(console):
    rule = (
        '@id("forbid.approve-without-mfa") forbid (principal, action == '
        'Muniment::Action::"approve", resource) unless { context has mfa };'
    )
    scenario = console.scenario
    await scenario.activate({**scenario.policy, "policies/90-mfa.cedar": rule.encode()})
    case = (await scenario.ask("ana")).case.id
    browser = await console.signed_in("bo")
    text = await page(browser, case)
    assert "As you are signed in now, your approval would not count" in words(text)
    assert f'href="/sign-in?to=/approve/{case}"' in text
    await browser.sign_in("sub-bo", to=f"/approve/{case}")
    assert (await answer(browser, case, "approve")).status_code == 303


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None])
async def test_the_form_of_another_site_approves_nothing(console, origin):
    case = (await console.scenario.ask("ana")).case.id
    browser = await console.signed_in("bo")
    form = {**fields(await page(browser, case)), "verdict": "approve"}
    refused = await browser.submit(f"/approve/{case}", form, origin=origin)
    assert refused.status_code == 403
    assert console.scenario.read(case).state == "pending"


async def test_a_form_is_worth_nothing_in_another_session(console):
    case = (await console.scenario.ask("ana")).case.id
    bo, cy = await console.signed_in("bo"), await console.signed_in("cy")
    form = {**fields(await page(bo, case)), "verdict": "approve"}
    assert (await cy.submit(f"/approve/{case}", form)).status_code == 403
    assert console.scenario.read(case).state == "pending"


async def test_a_link_alone_approves_nothing(console):
    case = (await console.scenario.ask("ana")).case.id
    browser = await console.signed_in("bo")
    form = {**fields(await page(browser, case)), "verdict": "approve"}
    await browser.look(f"/approve/{case}", **form)
    assert console.scenario.read(case).state == "pending"


async def test_whoever_is_signed_out_meanwhile_is_asked_to_sign_in(console):
    case = (await console.scenario.ask("ana")).case.id
    browser = await console.signed_in("bo")
    form = {**fields(await page(browser, case)), "verdict": "approve"}
    await browser.submit("/sign-out", form)
    sent = await browser.submit(f"/approve/{case}", form)
    assert sent.headers["location"] == f"/sign-in?to=%2Fapprove%2F{case}"
    assert console.scenario.read(case).state == "pending"


@pytest.mark.parametrize(
    "change",
    [{"verdict": "maybe"}, {"terms": "zz"}, {"terms": ""}, {"comment": "x" * 4001}],
)
async def test_a_form_that_makes_no_sense_gives_a_page(console, change):
    case = (await console.scenario.ask("ana")).case.id
    refused = await answer(await console.signed_in("bo"), case, "approve", **change)
    assert refused.status_code == 422
    assert refused.headers["content-type"].startswith("text/html")
    assert console.scenario.read(case).state == "pending"
