"""The page on which people see what would not stand up of the evidence."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-incomplete-defs=False
# a fixture says what it is by its name

from datetime import timedelta

import pytest
from browsing import Console, provider, quiet_provider, scenario_at, words

from muniment.evidence.store import entry_of
from muniment.interfaces.console import health as pages
from muniment.operations import health

pytestmark = quiet_provider
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def issuer():
    with provider() as at:
        yield at


@pytest.fixture
async def console(tmp_path, issuer):
    scenario = scenario_at(tmp_path, issuer)
    async with scenario:
        made = Console.over(scenario, issuer, tmp_path)
        await made.enrol("ana", "aud")
        yield made


async def page(console, who: str = "aud") -> str:
    seen = await (await console.signed_in(who)).look("/health")
    assert seen.status_code == 200, seen.text
    text: str = seen.text
    return text


async def test_each_weakness_is_told_with_what_to_do_and_its_newest_cases(console):
    case = (await console.scenario.granted()).case.id
    text = await page(console)
    said = words(text)
    for part in (
        "Of 1 grants 1 have weak evidence",
        "Nothing, or not everything, says what was done there",
        "What to do: Add a source that speaks of this target",
        "no source speaks of orders-prod",
        "by ana",
        "The log has no witnesses",
        "Looked for, and not found",
        "Access was seen gone late",
        "nothing to compare yet",
    ):
        assert part in said, part
    assert f'href="/approve/{case}"' in text
    assert "<script" not in text
    assert " style=" not in text


async def test_an_empty_log_has_nothing_weak_about_any_grant(console):
    assert "All evidence of all grants stands up." in words(await page(console))


async def test_the_trend_is_drawn_and_said_in_words(console):
    scenario = console.scenario
    for _ in range(3):
        await scenario.granted()
        await health.measure(scenario.service)
        scenario.clock.advance(DAY)
    text = await page(console)
    assert text.count("<rect") == 3
    assert 'role="img" aria-labelledby="trend-words"' in text
    assert ", 3 at most." in words(text)


def test_bars_are_as_high_as_their_counts():
    points = [{"recent_weak": count, "at": "x"} for count in (0, 5, 10)]
    drawing = pages._drawing(points)
    assert drawing is not None
    assert [bar["height"] for bar in drawing["bars"]] == [1, 50, 100]
    assert all(bar["y"] + bar["height"] == drawing["height"] for bar in drawing["bars"])
    assert pages._drawing(points[:1]) is None


async def test_whoever_reads_it_is_recorded_once_an_hour(console):
    size = console.scenario.service.log.size
    browser = await console.signed_in("aud")
    await browser.look("/health")
    kinds = [
        entry_of(*each).header.kind
        for each in console.scenario.service.log.store.entries(
            size, console.scenario.service.log.size
        )
    ]
    assert kinds.count("evidence:read") == 1
    size = console.scenario.service.log.size
    await browser.look("/health")
    assert console.scenario.service.log.size == size


async def test_whoever_may_not_read_all_cases_is_not_shown_the_page(console):
    seen = await (await console.signed_in("ana")).look("/health")
    assert seen.status_code == 403
