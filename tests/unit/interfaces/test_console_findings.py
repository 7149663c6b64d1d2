"""The pages on which people see what was found, and answer it."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-incomplete-defs=False
# a fixture says what it is by its name

from dataclasses import replace

import pytest
from browsing import Console, fields, provider, quiet_provider, scenario_at, words

from muniment.operations import findings
from muniment.operations.raise_finding import raise_finding
from muniment.oversight.detector import Hit, Rule, Threshold
from muniment.testing.cast import human

pytestmark = quiet_provider
RULE = Rule(
    id="too-much",
    title="More than usual <b>",
    advice="Ask who did it.",
    severity="high",
    kind="deterministic",
    needs=("activity",),
    thresholds={"most": Threshold(default=3, unit="count", meaning="how often is usual")},
)


@pytest.fixture(scope="module")
def issuer():
    with provider() as at:
        yield at


@pytest.fixture
async def console(tmp_path, issuer):
    scenario = scenario_at(tmp_path, issuer)
    scenario.principals["sec"] = human("sec", "security")
    async with scenario:
        made = Console.over(scenario, issuer, tmp_path)
        await made.enrol("ana", "aud", "sec")
        yield made


async def found(console, *about: str, key: str = "k", **changes) -> str:
    scenario = console.scenario
    hit = Hit(
        rule=RULE.id,
        at=scenario.service.now(),
        key=key,
        summary=f"{scenario.ids['ana']} did it 7 times",
        severity="high",
        resource="orders-prod",
        subjects=tuple(scenario.caller(login).principal.person for login in about),
        evidence=("orders-log#12",),
        detail="<script>\u202e",
    )
    return await raise_finding(scenario.service, RULE, {}, replace(hit, **changes))


async def page(browser, path: str, **query: str) -> str:
    seen = await browser.look(path, **query)
    assert seen.status_code == 200, seen.text
    text: str = seen.text
    return text


async def answer(browser, case: str, **data: str):
    form = fields((await browser.look(f"/findings/{case}")).text)
    return await browser.submit(f"/findings/{case}", {**form, **data})


def state(console, case: str) -> str:
    console.scenario.check()
    return findings.read(console.scenario.service, case)[0].state


async def test_the_page_says_what_was_found_and_what_to_do(console):
    case = await found(console, "ana")
    said = words(await page(await console.signed_in("sec"), f"/findings/{case}"))
    for part in (
        "More than usual <b> high open",
        "ana did it 7 times",
        "Resource orders-prod",
        "About Ana (ana)",
        "Ask who did it.",
        "most = 3 count",
        "claimed by the target",
        "orders-log#12",
        "Raised",
    ):
        assert part in said


async def test_text_of_a_target_is_shown_as_text(console):
    case = await found(console)
    text = await page(await console.signed_in("sec"), f"/findings/{case}")
    assert "&lt;script&gt;" in text
    assert "<script>" not in text
    assert "\u202e" not in text


async def test_a_finding_is_read_assigned_and_closed_by_forms(console):
    case = await found(console, "ana")
    browser = await console.signed_in("sec")
    done = await answer(browser, case, act="acknowledge")
    assert (done.status_code, done.headers["location"]) == (303, f"/findings/{case}#history")
    assert state(console, case) == "acknowledged"
    await answer(browser, case, act="assign", to="aud")
    assert state(console, case) == "assigned"
    closing = {"resolution": "explained", "reason": "planned\r\nwork", "quiet": "7"}
    assert (await answer(browser, case, act="close", **closing)).status_code == 303
    assert state(console, case) == "closed"
    text = await page(browser, f"/findings/{case}")
    assert 'name="form"' not in text.partition("<main")[2]
    said = words(text)
    assert "Closed: explained by Sec (sec)" in said
    assert "planned work" in said
    assert "Quiet until" in said


async def test_whoever_it_is_about_sees_no_form_and_cannot_send_one(console):
    case = await found(console, "sec")
    browser = await console.signed_in("sec")
    text = await page(browser, f"/findings/{case}")
    assert "is not yours to answer" in words(text)
    assert "<textarea" not in text
    closing = {"act": "close", "resolution": "explained", "reason": "it was me"}
    assert (await answer(browser, case, **closing)).status_code == 403
    assert state(console, case) == "open"


async def test_a_form_from_elsewhere_answers_nothing(console):
    case = await found(console)
    browser = await console.signed_in("sec")
    form = fields(await page(browser, f"/findings/{case}"))
    path, data = f"/findings/{case}", {**form, "act": "acknowledge"}
    assert (await browser.submit(path, data, origin="https://evil.example")).status_code == 403
    assert (await browser.submit(path, {**data, "form": "x"})).status_code == 403
    assert state(console, case) == "open"


async def test_a_form_that_is_not_filled_in_is_told_so(console):
    case = await found(console)
    browser = await console.signed_in("sec")
    for data in ({"act": "close"}, {"act": "assign", "to": "nobody"}, {"act": "forget"}):
        assert (await answer(browser, case, **data)).status_code == 422
    assert state(console, case) == "open"


async def test_the_list_has_the_open_ones_and_all_on_demand(console):
    one, two = await found(console, key="1"), await found(console, key="2", severity="low")
    browser = await console.signed_in("sec")
    await answer(browser, one, act="close", resolution="remedied", reason="done")
    text = await page(browser, "/findings")
    assert two in text
    assert one not in text
    assert one in await page(browser, "/findings", everything="true")
    low = await page(browser, "/findings", everything="true", severity="high")
    assert two not in low
    assert (await browser.look("/findings", severity="awful")).status_code == 422


async def test_the_list_goes_on_over_pages(console, monkeypatch):
    monkeypatch.setattr(findings, "PAGE", 1)
    for key in "12":
        await found(console, key=key)
    browser = await console.signed_in("sec")
    text = await page(browser, "/findings")
    assert "Older ones" in text
    before = text.partition("before=")[2].partition('"')[0]
    assert before not in await page(browser, "/findings", before=before)


async def test_engineers_see_no_findings_and_others_how_many_there_are(console):
    case = await found(console)
    ana, sec = await console.signed_in("ana"), await console.signed_in("sec")
    assert "/findings" not in await page(ana, "/")
    assert "Findings 1" in words(await page(sec, "/"))
    for path in ("/findings", f"/findings/{case}"):
        assert (await ana.look(path)).status_code == 403


async def test_whoever_is_not_signed_in_is_sent_to_sign_in_first(console):
    case = await found(console)
    seen = await console.browser().look(f"/findings/{case}")
    assert (seen.status_code, seen.headers["location"]) == (
        303,
        f"/sign-in?to=%2Ffindings%2F{case}",
    )


async def test_what_is_meant_to_be_typed_stands_apart_and_is_never_markup(console):
    case = await found(console, summary="`a` <i>`b` was seen")
    browser = await console.signed_in("sec")
    shown = await page(browser, f"/findings/{case}")
    assert '<span class="mono">a</span> &lt;i&gt;<span class="mono">b</span> was seen' in shown
