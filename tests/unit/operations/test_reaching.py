"""Who was given what of a case is found, also of its raw events, before or after they went."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from test_erasing_events import DAY, LOGS, TEXT, observe_with, people, run
from test_erasing_events import used as used_by

from muniment.operations import reading
from muniment.operations.observe_sessions import record_sessions
from muniment.operations.reach import reach
from muniment.testing.scenario import Scenario


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Scenario]:
    async with Scenario(tmp_path, principals=people(), checking=False) as found:
        observe_with(found)
        yield found
        found.service.observing.close()


async def used(scenario: Scenario) -> str:
    """With its session on record."""
    case = await used_by(scenario)
    store = scenario.service.observing.store
    assert store is not None
    assert await record_sessions(scenario.service, store, case)
    return case


async def reached(scenario: Scenario, case: str) -> dict[str, Any]:
    return await reach(scenario.service, scenario.caller("aud"), case)


@pytest.mark.parametrize("who", ["ana", "aud"])
async def test_whoever_took_raw_events_of_a_case_is_named(watched: Scenario, who: str) -> None:
    case = await used(watched)
    await reading.of_events(watched.service, watched.caller(who), case, 3)
    (given,) = (await reached(watched, case))["given"]
    assert (given["kind"], given["by"]) == ("evidence:read", watched.ids[who])


@pytest.mark.parametrize(("number", "is_named"), [("2", True), ("0-9", True), ("77", False)])
async def test_whoever_took_them_by_their_numbers_is(
    watched: Scenario, number: str, is_named: bool
) -> None:
    case = await used(watched)
    query = {"source": "orders-log", "number": number}
    await reading.of_events(watched.service, watched.caller("aud"), None, 1, query)
    assert bool((await reached(watched, case))["given"]) == is_named


async def test_that_its_raw_events_went_is_told(watched: Scenario) -> None:
    case = await used(watched)
    other = await watched.ask("bo")
    watched.clock.advance(401 * DAY)
    await run(watched, LOGS, TEXT)
    erased = (await reached(watched, case))["erased"]
    assert "retention:logs" in {each["rule"] for each in erased if each["section"] == "events"}
    others = (await reached(watched, other.case.id))["erased"]
    assert "events" not in {each["section"] for each in others}


async def test_mirrors_and_siems_of_every_configuration_since_then_are_named(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = (await watched.ask("ana")).case.id
    assert (await reached(watched, case))["copies"] == []
    monkeypatch.setattr(
        "muniment.operations.reach.document",
        lambda *_: json.dumps({"mirrors": {"far": {}}, "siem": {"soc": {}}}).encode(),
    )
    copies = (await reached(watched, case))["copies"]
    assert [(each["kind"], each["name"]) for each in copies] == [("mirror", "far"), ("siem", "soc")]
