"""Evidence is measured a minute after the start and then each day, by the node that leads."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from muniment.operations import health, watched
from muniment.runtime.measuring import MEASURE, SETTLE
from muniment.runtime.upkeep import Upkeep
from muniment.testing.scenario import Scenario

DAY = timedelta(days=1).total_seconds()


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    async with Scenario(tmp_path) as opened:
        yield opened


async def measured(scenario: Scenario, upkeep: Upkeep, seconds: float) -> int:
    """How many measurements stand in the log after so long."""
    scenario.clock.advance(timedelta(seconds=seconds))
    upkeep.start_due()
    await upkeep.settle()
    return len(health.overall(scenario.service, scenario.caller("aud"))["trend"])


async def test_it_is_measured_a_minute_after_the_start_and_then_once_a_day(
    scenario: Scenario,
) -> None:
    upkeep = Upkeep(service=scenario.service)
    assert await measured(scenario, upkeep, SETTLE - 1) == 0
    assert await measured(scenario, upkeep, 1) == 1
    assert await measured(scenario, upkeep, DAY - 1) == 1
    assert await measured(scenario, upkeep, 1) == 2


async def test_whoever_starts_anew_goes_on_where_the_log_is(scenario: Scenario) -> None:
    await measured(scenario, Upkeep(service=scenario.service), SETTLE)
    await scenario.restart()
    assert await measured(scenario, Upkeep(service=scenario.service), DAY / 2) == 1


async def test_a_node_that_does_not_lead_measures_nothing(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenario.store, "lead", lambda duty: duty != MEASURE)
    assert await measured(scenario, Upkeep(service=scenario.service), SETTLE) == 0


async def test_what_was_measured_stands_among_the_metrics(scenario: Scenario) -> None:
    await scenario.granted()
    await measured(scenario, Upkeep(service=scenario.service), SETTLE)
    lines = list(watched.metrics(scenario.service))
    assert 'muniment_evidence_weaknesses{kind="static-token-request"} 1' in lines
