"""The pages on which people see what is held and what is erased, and let go of it by two."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-incomplete-defs=False
# a fixture says what it is by its name

from dataclasses import replace
from datetime import timedelta

import pytest
from browsing import Console, fields, provider, quiet_provider, scenario_at, words

from muniment.operations import erase_run, hold
from muniment.operations.hold import Scope
from muniment.oversight.retention import Class, Rules

pytestmark = quiet_provider
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def issuer():
    with provider() as at:
        yield at


@pytest.fixture
async def console(tmp_path, issuer):
    scenario = scenario_at(tmp_path, issuer)
    dan = scenario.principals["dan"]
    scenario.principals["dan"] = replace(dan, groups=("privacy-officers", "auditors"))
    async with scenario:
        made = Console.over(scenario, issuer, tmp_path)
        await made.enrol("ana", "aud", "admin", "dan")
        yield made


async def placed(console, matter: str = "Doe v. Example") -> str:
    service, admin = console.scenario.service, console.scenario.caller("admin")
    scope = Scope(people=("ana",), resources=("orders-prod",))
    return (await hold.place(service, admin, scope, matter, "letter of counsel")).id


async def proposed(console) -> str:
    """It takes another one."""
    scenario = console.scenario
    asked = await scenario.ask("ana", text="words")
    await scenario.withdraw("ana", asked)
    ceiling = Class(name="c", sections=frozenset({"reason"}), ceiling=timedelta(seconds=1))
    scenario.service.erasures.rules = Rules(classes=(ceiling,), two_people_above=0)
    scenario.clock.advance(timedelta(minutes=1))
    run = (await erase_run.propose(scenario.service, scenario.caller("pia"))).run
    assert run is not None
    return run.id


async def page(browser, path: str, **query: str) -> str:
    seen = await browser.look(path, **query)
    assert seen.status_code == 200, seen.text
    assert "default-src 'none'" in seen.headers["content-security-policy"]
    text: str = seen.text
    assert "<script" not in text
    assert " style=" not in text
    return text


async def test_what_is_held_is_listed_and_told(console):
    case = await placed(console, "Doe <v.> Example")
    browser = await console.signed_in("aud")
    assert 'href="/holds"' in await page(browser, "/")
    listed = await page(browser, "/holds")
    assert f'href="/holds/{case}"' in listed
    assert "Doe &lt;v.&gt; Example" in listed
    said = words(await page(browser, f"/holds/{case}"))
    for part in ("letter of counsel", "(ana)", "orders-prod", "(admin)", "Ask for its release"):
        assert part in said, part


async def test_it_is_released_by_two_on_its_page(console):
    case = await placed(console)
    path = f"/holds/{case}"
    admin = await console.signed_in("admin")
    form = fields(await page(admin, path))
    asked = await admin.submit(path, {**form, "act": "release", "said": "settled\r\nat last"})
    assert (asked.status_code, asked.headers["location"]) == (303, path)
    own = await page(admin, path)
    assert "Somebody else has to confirm the release" in words(own)
    assert 'name="act"' not in own
    alone = await admin.submit(path, {**form, "act": "confirm"})
    assert alone.status_code == 403
    other = await console.signed_in("aud")
    text = await page(other, path)
    assert "settled\nat last" in text
    done = await other.submit(path, {**fields(text), "act": "confirm", "said": "agreed"})
    assert done.status_code == 303
    assert "Confirmed by" in words(await page(other, path))
    assert not hold.find(console.scenario.service, case).stands()
    assert f'href="{path}"' not in await page(other, "/holds")
    assert f'href="{path}"' in await page(other, "/holds", everything="true")


async def test_a_form_of_another_page_lets_go_of_nothing(console):
    path = f"/holds/{await placed(console)}"
    browser = await console.signed_in("admin")
    form = {**fields(await page(browser, path)), "act": "release", "said": "x"}
    for sent, origin in ((form, "https://evil.example"), ({**form, "form": "guessed"}, "")):
        refused = await browser.submit(path, sent, origin=origin)
        assert refused.status_code == 403
    short = await browser.submit("/holds/hld_", form)
    assert short.status_code == 422
    assert "too short to act on" in words(short.text)


async def test_a_run_is_told_and_approved_on_its_page(console):
    run = await proposed(console)
    path = f"/erasures/{run}"
    reader = await console.signed_in("aud")
    assert f'href="{path}"' in await page(reader, "/holds")
    text = await page(reader, path)
    assert "it takes 1 more" in words(text)
    assert "Have it erased" not in text
    refused = await reader.submit(path, fields(await page(reader, "/")))
    assert refused.status_code == 403
    other = await console.signed_in("dan")
    done = await other.submit(path, fields(await page(other, path)))
    assert done.status_code == 303, done.text
    await erase_run.keep_up(console.scenario.service)
    said = words(await page(other, path))
    assert "1 section and 0 events" in said
    assert "(pia)" in said
    assert "(dan)" in said


async def test_whoever_may_see_neither_is_shown_no_page(console):
    run = await proposed(console)
    case = await placed(console)
    browser = await console.signed_in("ana")
    for path in ("/holds", f"/holds/{case}", "/holds/hld_", f"/erasures/{run}", "/erasures/ers_"):
        seen = await browser.look(path)
        assert seen.status_code == 403, path
    assert 'href="/holds"' not in await page(browser, "/")


async def test_whoever_only_looks_and_whom_it_is_about_are_given_no_form(console):
    case = await placed(console)
    auditor = await console.signed_in("dan")
    assert f'href="/holds/{case}"' in await page(auditor, "/holds")
    assert "Holds are for others to release." in words(await page(auditor, f"/holds/{case}"))
    service, admin = console.scenario.service, console.scenario.caller("admin")
    own = (await hold.place(service, admin, Scope(people=("aud",)), "matter", "")).id
    text = await page(await console.signed_in("aud"), f"/holds/{own}")
    assert "This hold is about you" in words(text)
    assert 'name="act"' not in text
