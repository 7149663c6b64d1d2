"""A review of nothing is opened by nobody; where it comes round it is recorded, and over."""

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from muniment.access import campaign, records
from muniment.access.check import verify
from muniment.errors import Conflict, FoldInvalid
from muniment.operations import campaigns
from muniment.operations.open_campaign import open_by_itself, open_campaign
from muniment.oversight.controls import TESTS
from muniment.oversight.controls.control_test import Examined
from muniment.oversight.report import Counting
from muniment.runtime.reviewing import Reviewing
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario

RULE: dict[str, Any] = {
    "name": "grants",
    "what": "grants",
    "reviewers": "sre-leads",
    "fallback": "security",
    "sign_off": "managers",
    "days": 10,
    "silence": "revoke",
}
DAY = timedelta(days=1)


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    made = Scenario(tmp_path, campaigns=[RULE])
    made.principals["sec"] = human("sec", "security", "auditors")
    made.principals["boss"] = human("boss", "managers")
    async with made:
        yield made


async def daily(scenario: Scenario, **changes: Any) -> Reviewing:
    today = scenario.service.now().date().isoformat()
    scenario.campaigns = [{**RULE, "schedule": "FREQ=DAILY", "starts": today, **changes}]
    await scenario.take_in()
    return Reviewing(service=scenario.service)


async def came_round(scenario: Scenario, **changes: Any) -> str:
    rule = campaigns.rule(scenario.service, "grants")
    case = await open_by_itself(scenario.service, rule, "schedule", "2026-01-01T00:00:00.000Z")
    assert case is not None
    return case


@pytest.mark.parametrize(("resources", "where"), [([], ""), (["nothing"], " on nothing")])
async def test_nobody_opens_a_review_of_nothing(
    scenario: Scenario, resources: list[str], where: str
) -> None:
    if resources:
        await scenario.granted("ana")
    scenario.campaigns = [{**RULE, "resources": resources}]
    await scenario.take_in()
    size = scenario.service.log.size
    with pytest.raises(Conflict) as refused:
        await open_campaign(scenario.service, scenario.caller("sec"), "grants")
    assert str(refused.value) == f"there is nothing to review by `grants`{where}"
    assert scenario.service.log.size == size


async def test_one_of_nothing_that_comes_round_is_recorded_once_and_is_over(
    scenario: Scenario, caplog: pytest.LogCaptureFixture
) -> None:
    # that nobody could review is no matter where there is nothing
    piece = await daily(scenario, reviewers="nobody")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await piece.look()
            scenario.clock.advance(timedelta(minutes=6))
    assert caplog.text.count("had nothing to review") == 1
    assert not scenario.service.registry.campaigns.open
    assert not scenario.service.publishing.failing
    (row,) = campaigns.listed(scenario.service, scenario.caller("sec"))
    assert row["state"] == "closed"
    scenario.check()
    scenario.clock.advance(DAY)
    await piece.look()
    assert len(campaigns.listed(scenario.service, scenario.caller("sec"))) == 2


async def test_its_bundle_says_that_there_was_nothing_to_review(scenario: Scenario) -> None:
    case = await came_round(scenario)
    await scenario.advance(timedelta(hours=2))
    checked = verify(await scenario.export("sec", case), scenario.key.verifier)
    told = {step.number: step.detail for step in checked.steps}
    assert (told[14], told[16]) == ("no items", "nobody: there was nothing to review")
    assert checked.completeness.startswith("COMPLETE")


async def test_nobody_is_asked_to_sign_it(scenario: Scenario) -> None:
    case = await came_round(scenario)
    with pytest.raises(Conflict, match="closed already"):
        campaigns.read_open(scenario.service, case)


async def test_a_report_says_that_there_was_nothing_to_review(scenario: Scenario) -> None:
    await came_round(scenario)
    counting, log = Counting(), scenario.service.log
    for index in range(log.size):
        counting.take(index, log.read_entry(index).header)
    newest = counting.history.newest
    seen = Examined(
        population=counting.population,
        history=counting.history,
        start=newest - 10 * DAY,
        stop=newest + DAY,
    )
    for test in ("reviews-held", "reviews-complete", "reviews-applied"):
        found = TESTS[test].run(seen)
        assert (found.tested, found.not_applicable) == (0, 1)
        assert found.because.startswith("there was nothing to review")


async def test_one_that_has_items_is_not_closed_before_somebody_looked_at_them(
    scenario: Scenario,
) -> None:
    await scenario.granted("ana")
    case = await came_round(scenario)
    (entry,) = scenario.service.log.read_case(case)
    opened = campaign.advance(campaign.Campaign(), entry.header, entry.leaf)
    closed = records.CaseClosed(actor=records.SERVICE, records=2)
    header = replace(
        entry.header, kind=closed.KIND, position=1, prev=entry.leaf, body=closed.body(),
        documents=(),
    )  # fmt: skip
    with pytest.raises(FoldInvalid, match="before anybody looked"):
        campaign.advance(opened, header, entry.leaf)
