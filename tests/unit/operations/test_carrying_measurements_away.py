"""A year of measurements of the evidence is evidence, too: it leaves as a bundle that verifies."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from muniment.access import check, measurements
from muniment.errors import FoldInvalid, NotPermitted
from muniment.evidence.store import Entry
from muniment.operations import carry_away, health
from muniment.testing.scenario import Scenario

DAY = timedelta(days=1)


async def case_of(scenario: Scenario) -> str:
    await scenario.granted()
    for _ in range(2):
        await health.measure(scenario.service)
        scenario.clock.advance(DAY)
    return health.case_of(scenario.service.log.log_id, scenario.service.now().year)


async def test_a_year_of_measurements_is_carried_away_with_what_its_kinds_mean(
    scenario: Scenario,
) -> None:
    case = await case_of(scenario)
    data = await carry_away.export(scenario.service, scenario.caller("aud"), case)
    checked = check.verify(data, scenario.key.verifier)
    assert checked.state == ("2 measurements of the evidence, of the newest 1 of 1 grants weak")
    assert checked.completeness.startswith("OPEN")
    assert any(b"removal-unverified" in each for each in checked.proved.documents.values())
    with pytest.raises(NotPermitted):
        await carry_away.export(scenario.service, scenario.caller("ana"), case)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda body: {"weak": body["grants"] + 1}, "more than there was"),
        (lambda _: {"counts": {"weak-link": -1}}, "less than nothing"),
        (lambda body: {"recent_grants": body["grants"] + 1}, "more recent grants"),
        (lambda _: {"size": 1_000_000}, "no possible log"),
        (lambda _: {"size": 0}, "no possible log"),
    ],
)
async def test_figures_that_cannot_be_are_refused(
    scenario: Scenario, change: Callable[[Any], dict[str, Any]], why: str
) -> None:
    first, second = scenario.entries(await case_of(scenario))
    assert measurements.state([first, second])
    with pytest.raises(FoldInvalid, match=why):
        measurements.state([first, with_body(second, change(second.header.body))])


def with_body(entry: Entry, changes: dict[str, Any]) -> Entry:
    return replace(entry, header=replace(entry.header, body={**entry.header.body, **changes}))
