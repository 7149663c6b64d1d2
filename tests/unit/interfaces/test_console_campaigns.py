"""The pages on which people review access, sign reviews, and close them."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-incomplete-defs=False
# a fixture says what it is by its name

from datetime import timedelta
from typing import Any

import pytest
from browsing import Console, fields, provider, quiet_provider, scenario_at, words

from muniment.access import records
from muniment.operations import campaigns
from muniment.operations.open_campaign import open_campaign
from muniment.testing.cast import human

pytestmark = quiet_provider
RULE: dict[str, Any] = {
    "name": "grants",
    "what": "grants",
    "reviewers": "sre-leads",
    "fallback": "security",
    "sign_off": "managers",
    "days": 10,
    "silence": "none",
}


@pytest.fixture(scope="module")
def issuer():
    with provider() as at:
        yield at


@pytest.fixture
async def console(tmp_path, issuer):
    scenario = scenario_at(tmp_path, issuer)
    scenario.principals["sec"] = human("sec", "security")
    scenario.principals["boss"] = human("boss", "managers")
    scenario.campaigns = [RULE, {**RULE, "name": "eligible", "what": "eligibility"}]
    async with scenario:
        made = Console.over(scenario, issuer, tmp_path)
        await made.enrol("ana", "bo", "cy", "sec", "boss")
        yield made


async def opened(console, name: str = "grants") -> str:
    scenario = console.scenario
    return await open_campaign(scenario.service, scenario.caller("sec"), name)


async def page(browser, path: str, **query: str) -> str:
    seen = await browser.look(path, **query)
    assert seen.status_code == 200, seen.text
    text: str = seen.text
    return text


async def answer(browser, case: str, **data: str):
    form = fields((await browser.look(f"/reviews/{case}")).text)
    kept: dict[str, str] = {
        name: form[name] for name in ("form", "shown", "numbers") if name in form
    }
    return await browser.submit(f"/reviews/{case}", {**kept, **data})


def outcomes(console, case: str) -> list[str]:
    console.scenario.check()
    found, _ = campaigns.read(console.scenario.service, case)
    return [item.outcome for item in found.items.items]


async def test_a_reviewer_sees_what_is_his_and_says_what_becomes_of_it(console):
    await console.scenario.granted("ana")
    case = await opened(console)
    browser = await console.signed_in("bo")
    assert "Items wait for you to look at them" in words(await page(browser, "/"))
    assert "1 wait for you" in words(await page(browser, "/reviews"))
    text = await page(browser, f"/reviews/{case}")
    assert "Ana (ana) had readwrite on orders-prod" in words(text)
    console.scenario.clock.advance(timedelta(seconds=12))
    said = {"shown": fields(text)["shown"], "verdict-0": "revoke", "reason-0": "not needed"}
    done = await answer(browser, case, act="save", **said)
    assert (done.status_code, done.headers["location"]) == (303, f"/reviews/{case}#items")
    assert outcomes(console, case) == ["revoke"]
    decided = console.scenario.last(case, records.ReviewDecided)
    assert (decided.seconds, decided.bulk) == (12, False)
    assert "Nothing waits for you here" in words(await page(browser, f"/reviews/{case}"))
    again = words(await page(browser, f"/reviews/{case}", again="true"))
    assert "What you decided" in again


async def test_what_was_revoked_stands_beside_what_may_still_be_changed(console):
    for _ in range(2):
        await console.scenario.granted("ana")
    case = await opened(console)
    browser = await console.signed_in("bo")
    said = {"verdict-0": "revoke", "reason-0": "over", "verdict-1": "keep"}
    assert (await answer(browser, case, act="save", **said)).status_code == 303
    again = await page(browser, f"/reviews/{case}", again="true")
    assert "Revoke. That stands; it is being carried out." in words(again)
    assert 'name="verdict-1"' in again
    assert 'name="verdict-0"' not in again
    form = {name: fields(again)[name] for name in ("form", "shown", "numbers")}
    more = {**form, "act": "save", "verdict-1": "abstain", "reason-1": "unsure"}
    assert (await browser.submit(f"/reviews/{case}", more)).status_code == 303
    assert outcomes(console, case) == ["revoke", "abstain"]


async def test_what_was_filled_in_stays_where_one_of_it_cannot_be_recorded(console):
    for _ in range(3):
        await console.scenario.granted("ana")
    case = await opened(console)
    browser = await console.signed_in("bo")
    first = fields(await page(browser, f"/reviews/{case}"))
    console.scenario.clock.advance(timedelta(seconds=9))
    said = {
        "verdict-0": "abstain", "reason-0": 'not "mine"', "verdict-1": "revoke", "verdict-2": "keep",
    }  # fmt: skip
    kept = {name: first[name] for name in ("form", "shown", "numbers", "again", "after")}
    seen = await browser.submit(f"/reviews/{case}", {**kept, "act": "save", **said})
    assert seen.status_code == 422
    assert outcomes(console, case) == ["not-reviewed"] * 3
    for item, word in enumerate(("abstain", "revoke", "keep")):
        assert f'name="verdict-{item}" value="{word}" checked' in seen.text
    assert 'name="reason-0" maxlength="1000" value="not &#34;mine&#34;"' in seen.text
    assert '<a href="#item-1">item 1: `revoke` takes a reason</a>' in seen.text
    assert 'id="item-1" aria-describedby="unfit"' in seen.text
    assert seen.text.count(" autofocus") == 1
    assert "Ana (ana) had readwrite" in words(seen.text)
    # he looks since he saw it first
    form = {name: fields(seen.text)[name] for name in kept}
    assert form == kept
    console.scenario.clock.advance(timedelta(seconds=3))
    more = {**form, "act": "save", **said, "reason-1": "over"}
    assert (await browser.submit(f"/reviews/{case}", more)).status_code == 303
    assert outcomes(console, case) == ["abstain", "revoke", "keep"]
    assert console.scenario.last(case, records.ReviewDecided).seconds == 12


async def test_where_nothing_was_chosen_the_page_says_so(console):
    await console.scenario.granted("ana")
    case = await opened(console)
    browser = await console.signed_in("bo")
    seen = await answer(browser, case, act="save", **{"reason-0": "hm <b>"})
    assert seen.status_code == 422
    assert "say of one item at least what is to become of it. Nothing" in words(seen.text)
    assert 'value="hm &lt;b&gt;"' in seen.text


async def test_a_note_stays_where_it_is_too_early_to_sign(console):
    await console.scenario.granted("ana")
    case = await opened(console)
    boss = await console.signed_in("boss")
    early = await answer(boss, case, act="sign", note="seen, and fine")
    assert early.status_code == 409
    assert ">seen, and fine</textarea>" in early.text


async def test_all_that_is_shown_is_kept_at_a_stroke_and_the_record_says_so(console):
    for _ in range(3):
        await console.scenario.granted("ana")
    case = await opened(console)
    done = await answer(await console.signed_in("bo"), case, act="keep-all")
    assert done.status_code == 303
    assert outcomes(console, case) == ["keep"] * 3
    assert console.scenario.last(case, records.ReviewDecided).bulk


async def test_whoever_has_no_part_in_a_review_does_not_see_it(console):
    await console.scenario.granted("ana")
    case = await opened(console)
    browser = await console.signed_in("ana")
    assert (await browser.look(f"/reviews/{case}")).status_code == 403
    assert "You have no part in any review." in words(await page(browser, "/reviews"))


async def test_a_manager_signs_and_closes(console):
    await console.scenario.granted("ana")
    case = await opened(console)
    boss = await console.signed_in("boss")
    early = await answer(boss, case, act="sign")
    assert early.status_code == 409
    await answer(await console.signed_in("bo"), case, act="keep-all")
    assert (await answer(boss, case, act="sign", note="seen")).status_code == 303
    assert "I have seen" not in await page(boss, f"/reviews/{case}")
    assert (await answer(boss, case, act="close")).status_code == 303
    assert "closed" in words(await page(boss, f"/reviews/{case}"))


async def test_a_form_of_another_site_decides_nothing(console):
    await console.scenario.granted("ana")
    case = await opened(console)
    browser = await console.signed_in("bo")
    done = await answer(browser, case, act="keep-all", form="forged")
    assert done.status_code == 403
    assert outcomes(console, case) == ["not-reviewed"]


async def test_items_of_every_kind_are_shown_in_words(console):
    case = await opened(console, "eligible")
    browser = await console.signed_in("bo")
    said = words(await page(browser, f"/reviews/{case}"))
    assert "may ask for" in said
    assert "not used for long" in said
    assert "Skip to the next ones" in said
    nothing = await answer(browser, case, act="save")
    assert nothing.status_code in (400, 422)


async def test_a_rule_is_shown_as_it_is_written_until_another_stands_in_its_place(console):
    case = await opened(console, "eligible")
    browser = await console.signed_in("bo")
    shown = await page(browser, f"/reviews/{case}")
    rules = console.scenario.service.policy().rules
    rule = next(each for each in rules if f"Text of rule {each.id}" in shown)
    assert rule.title in words(shown)
    files = {
        path: data.replace(rule.title.encode(), b"Another title")
        for path, data in console.scenario.service.policy().files.items()
    }
    await console.scenario.activate(files)
    later = await page(browser, f"/reviews/{case}")
    assert f"Text of rule {rule.id}" not in later
    assert "is not in force any more" in words(later)
