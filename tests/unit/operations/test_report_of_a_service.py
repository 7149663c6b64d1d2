"""What a service itself writes passes the tests of controls, wherever nothing was wrong."""

from datetime import datetime, timedelta, timezone

import pytest

from muniment.evidence import excerpt, merkle
from muniment.evidence.excerpt import Heading
from muniment.evidence.excerpt_proof import verify_excerpt
from muniment.evidence.keys import only
from muniment.operations import health
from muniment.operations.heartbeat import beat
from muniment.oversight import control_map, report
from muniment.oversight.carried import STATEMENT, stated_size
from muniment.oversight.controls import TESTS
from muniment.oversight.controls.control_test import Examined, Result
from muniment.oversight.report import Counting
from muniment.testing.scenario import Scenario

MINUTE = timedelta(minutes=1)
#: by static tokens, and nothing runs that would index, observe or scan
EXPECTED = {"requests-strong", "approvals-strong"}


async def live(scenario: Scenario) -> None:
    """Some hours in which everything was as it should be."""
    picked = await scenario.granted()
    await scenario.pick_up("ana", picked.case)
    await scenario.end("ana", picked)
    await scenario.ask("dan", ticket="")
    await scenario.withdraw("dan", await scenario.ask("dan"))
    await scenario.refuse("bo", await scenario.ask("ana"))
    glass = await scenario.ask("bo", incident="INC-1", emergency=True, seconds=600)
    await scenario.pick_up("bo", glass)
    await scenario.advance(15 * MINUTE)
    await scenario.answer_review("aud", glass, note="it was real")
    revoked = await scenario.granted("dan")
    await scenario.revoke("admin", revoked)
    extended = await scenario.granted("ana", "orders-staging/readwrite", seconds=1200)
    await scenario.extend("ana", extended, 2400)
    for _ in range(3):
        await scenario.advance(30 * MINUTE)
        await beat(scenario.service)
    await scenario.granted("ana", seconds=600)
    await scenario.advance(30 * MINUTE)
    await scenario.granted("ana", seconds=3600)


def examined(scenario: Scenario) -> Examined:
    counting = Counting()
    log = scenario.service.log
    for index in range(log.size):
        counting.take(index, log.read_entry(index).header)
    now = scenario.service.now()
    year = datetime(now.year, 1, 1, tzinfo=timezone.utc)
    return Examined(
        population=counting.population,
        history=counting.history,
        start=year,
        stop=datetime(now.year + 1, 1, 1, tzinfo=timezone.utc),
    )


def results(scenario: Scenario) -> dict[str, Result]:
    seen = examined(scenario)
    return {id_: test.run(seen) for id_, test in TESTS.items()}


async def test_what_was_as_it_should_be_has_no_exception(scenario: Scenario) -> None:
    await live(scenario)
    found = results(scenario)
    assert {id_: each.faults for id_, each in found.items() if each.faults}.keys() == EXPECTED
    assert found["approved-by-others"].tested >= 4
    assert found["break-glass-reviewed"].tested == 1
    assert found["denied-got-nothing"].tested == 3
    assert found["ended-in-time"].not_applicable == 1, "one is live"
    assert found["removal-seen"].tested == found["ended-in-time"].tested


async def test_a_removal_that_cannot_be_seen_is_an_exception(scenario: Scenario) -> None:
    picked = await scenario.granted(seconds=600)
    scenario.target().unreachable |= set(scenario.target().endpoints)
    await scenario.advance(timedelta(hours=1))
    await beat(scenario.service)
    faults = results(scenario)["removal-seen"].faults
    assert [fault.about for fault in faults] == [picked.case.id]


async def test_an_unanswered_review_is_an_exception_once_it_is_due(scenario: Scenario) -> None:
    glass = await scenario.ask("bo", incident="INC-1", emergency=True, seconds=600)
    await scenario.pick_up("bo", glass)
    await scenario.advance(15 * MINUTE)
    assert results(scenario)["break-glass-reviewed"].not_applicable == 1
    await scenario.advance(timedelta(days=30))
    await beat(scenario.service)
    assert [each.about for each in results(scenario)["break-glass-reviewed"].faults] == [
        glass.case.id
    ]


async def test_its_log_gives_an_excerpt_and_a_report(scenario: Scenario) -> None:
    await live(scenario)
    log = scenario.service.log
    heading = Heading(checkpoint=only(log.checkpoint, [log.verifier]))
    entries = ((index, log.read_entry(index).data) for index in range(log.size))
    counting = Counting()
    data = excerpt.write(heading, log.size, entries, log.nodes(log.size))
    proved = verify_excerpt(data, log.verifier, see=counting.take)
    assert proved.log_id == log.log_id == merkle.leaf_hash(log.read_entry(0).data)
    known = control_map.parse(control_map.shipped(), TESTS)
    now = scenario.service.now()
    value = report.build(
        counting, proved, known, known.frameworks["nistcsf2"],
        start=now - timedelta(days=1), stop=now + timedelta(days=1),
    )  # fmt: skip
    assert value["population"]["grants"] >= 6
    assert value["population"]["emergencies"] == 1


async def test_what_it_says_of_its_open_cases_is_true(scenario: Scenario) -> None:
    await health.measure(scenario.service)
    await live(scenario)
    await scenario.advance(timedelta(days=1))
    asked = await scenario.ask("ana")
    await health.measure(scenario.service)
    counting = Counting()
    log = scenario.service.log
    for index in range(log.size):
        counting.take(index, log.read_entry(index).header)
    assert counting.open.stated is not None
    assert counting.open.untrue == []
    assert asked.case.id in counting.open.cases
    stated = [stated_size(log.read_entry(index).header) for index in range(log.size)]
    assert sum(each is not None for each in stated) == 2


async def test_it_says_nothing_of_open_cases_where_the_log_grew_too_fast(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads a report looks back so far and no further; the counts are recorded."""
    await live(scenario)
    monkeypatch.setattr(health, "MOST_BETWEEN", 0)
    await health.measure(scenario.service)
    last = scenario.service.log.read_entry(scenario.service.log.size - 1).header
    assert last.kind == STATEMENT
    assert stated_size(last) is None


async def test_an_empty_log_is_no_exception(scenario: Scenario) -> None:
    assert [id_ for id_, each in results(scenario).items() if each.faults] == []
