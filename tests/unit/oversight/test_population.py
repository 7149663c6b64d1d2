"""A line of each access case says what the fold of its records says, and what others say of it."""

from datetime import timedelta
from pathlib import Path

from muniment.access.case import ENDS, OVER
from muniment.access.records import AccessRequested
from muniment.evidence.store import entry_of
from muniment.oversight.population import STATES, Line, Population
from muniment.testing.scenario import Scenario

MINUTE = timedelta(minutes=1)


def population(scenario: Scenario) -> Population:
    found, log = Population(), scenario.service.log
    for index, data in log.store.entries(0, log.size):
        found.take(index, entry_of(index, data).header)
    assert found.size == log.size
    return found


def agrees(scenario: Scenario, line: Line) -> None:
    """With the fold of the case, which is what decisions are made on."""
    case, entries = scenario.service.read(line.case)
    assert line.state in STATES
    assert (line.first, line.last, line.records) == (
        entries[0].index,
        entries[-1].index,
        len(entries),
    )
    asked = case.requested
    assert (line.requester, line.resource, line.role) == (
        asked.requester, asked.resource, asked.role,
    )  # fmt: skip
    assert (line.emergency, line.persons) == (asked.emergency, asked.actor.persons)
    assert (line.closed is not None) == case.closed
    states = {entry.header.kind.partition(":")[2] for entry in entries}
    if line.state in OVER:
        assert case.state == line.state
    if line.end is not None:
        assert line.end.how in states & set(ENDS)
    assert line.granted == ("issued" in states)
    assert (line.gone is not None) == ("removal:verified" in {e.header.kind for e in entries})


async def test_every_line_agrees_with_the_fold_of_its_case(tmp_path: Path) -> None:
    async with Scenario(tmp_path) as scenario:
        await scenario.ask("ana", ticket="")  # denied
        await scenario.refuse("cy", await scenario.ask("ana"))
        await scenario.withdraw("ana", await scenario.ask("ana"))
        await scenario.ask("ana")  # waits
        live = await scenario.granted()
        ended = await scenario.granted()
        await scenario.end("ana", ended)
        revoked = await scenario.granted()
        await scenario.revoke("admin", revoked, "it is over")
        glass = await scenario.ask("bo", emergency=True, incident="INC-1", text="orders are stuck")
        await scenario.answer_review("admin", glass)
        found = population(scenario)
        for line in found.lines.values():
            agrees(scenario, line)
        log = scenario.service.log
        asked = [
            entry.header.case
            for entry in (entry_of(*each) for each in log.store.entries(0, log.size))
            if entry.header.kind == AccessRequested.KIND
        ]
        cy = scenario.ids["cy"]
    assert list(found.lines) == asked
    states = [line.state for line in found.lines.values()]
    assert states[:4] == ["denied", "refused", "withdrawn", "waiting"]
    assert found.lines[live.case.id].state == "live"
    assert found.lines[ended.case.id].state == "closed"
    over = found.lines[revoked.case.id].end
    assert over is not None
    assert (over.how, over.reason) == ("revoked", "")
    approved = found.lines[live.case.id].approved
    assert [(each.approver, each.assurance) for each in approved] == [(cy, "token")]
    (review,) = found.reviews.values()
    assert (review.about, review.verdict) == (glass.case.id, "justified")
    assert found.lines[glass.case.id].reviews == (review.id,)


async def test_what_is_exported_and_what_runs_out_is_counted(tmp_path: Path) -> None:
    async with Scenario(tmp_path) as scenario:
        picked = await scenario.granted()
        await scenario.export("ana", picked)
        before = population(scenario).lines[picked.case.id]
        await scenario.advance(45 * MINUTE)
        after = population(scenario).lines[picked.case.id]
    assert (before.state, before.exports, before.pickups) == ("live", 1, 1)
    assert after.until is not None
    assert after.end is not None
    assert (after.state, after.end.how, after.end.by) == ("closed", "expired", "service")
    assert after.end.at >= after.until
    assert after.gone is not None
    assert after.lag_ms is not None
