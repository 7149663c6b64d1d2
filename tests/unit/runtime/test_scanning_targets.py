"""Targets are looked at on a schedule, by one node, and a bad one holds up no other."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from muniment.runtime.drift_section import DriftSection
from muniment.runtime.scanning import REST, SETTLE, Scanning
from muniment.runtime.settings import Settings
from muniment.runtime.upkeep import Upkeep
from muniment.testing.scenario import Scenario

PROD, STAGING = "orders-prod", "orders-staging"


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    async with Scenario(tmp_path) as opened:
        yield opened


def upkeep_of(scenario: Scenario, **settings: Any) -> Upkeep:
    section = DriftSection(**settings)
    scanning = Scanning(service=scenario.service, settings=lambda: section)
    return Upkeep(service=scenario.service, scanning=scanning)


async def passes(scenario: Scenario, upkeep: Upkeep, seconds: float) -> list[str]:
    """Which targets were looked at after so long."""
    scans = scenario.service.registry.scans
    before = {name: scans.of(name) for name in (PROD, STAGING)}
    scenario.clock.advance(timedelta(seconds=seconds))
    upkeep.start_due()
    await upkeep.settle()
    return [name for name in (PROD, STAGING) if scans.of(name) != before[name]]


async def test_each_target_is_looked_at_a_minute_after_the_start_and_then_each_hour(
    scenario: Scenario,
) -> None:
    upkeep = upkeep_of(scenario)
    assert await passes(scenario, upkeep, SETTLE - 1) == []
    assert await passes(scenario, upkeep, 1) == [PROD, STAGING]
    assert await passes(scenario, upkeep, 3599) == []
    assert await passes(scenario, upkeep, 1) == [PROD, STAGING]


async def test_a_service_that_starts_anew_goes_on_where_the_log_is(scenario: Scenario) -> None:
    await passes(scenario, upkeep_of(scenario), SETTLE)
    await scenario.restart()
    upkeep = upkeep_of(scenario)
    assert await passes(scenario, upkeep, SETTLE) == []
    assert await passes(scenario, upkeep, 3600 - SETTLE) == [PROD, STAGING]


async def test_a_target_that_is_left_out_is_not_looked_at(scenario: Scenario) -> None:
    assert await passes(scenario, upkeep_of(scenario, skip=(PROD,)), SETTLE) == [STAGING]


async def test_a_target_that_is_down_holds_up_no_other_and_says_so(scenario: Scenario) -> None:
    upkeep, failing = upkeep_of(scenario), scenario.service.publishing.failing
    scenario.target(PROD).down = True
    assert await passes(scenario, upkeep, SETTLE) == [STAGING]
    assert "down" in failing[f"drift/{PROD}"]
    scenario.target(PROD).down = False
    assert await passes(scenario, upkeep, REST - 1) == []
    assert await passes(scenario, upkeep, 1) == [PROD]
    assert f"drift/{PROD}" not in failing


async def test_a_node_that_does_not_lead_looks_at_nothing(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenario.store, "lead", lambda duty: duty != "drift")
    assert await passes(scenario, upkeep_of(scenario), SETTLE) == []


async def test_without_it_nobody_looks(scenario: Scenario) -> None:
    assert await passes(scenario, Upkeep(service=scenario.service), 7200) == []


def settings(**drift: Any) -> Settings:
    return Settings.model_validate(
        {"installation": {"origin": "muniment.example/log"}, "drift": drift}
    )


def test_what_is_no_schedule_is_refused() -> None:
    assert settings().drift.every == timedelta(hours=1)
    assert settings(every="15m").drift.every == timedelta(minutes=15)
    with pytest.raises(ValidationError, match="at least 1m"):
        settings(every="59s")
    with pytest.raises(ValidationError, match="names `nowhere`, which is no resource"):
        settings(skip=["nowhere"])
