"""A wall clock that moves on its own, a log about itself, and lists that somebody edits."""

from datetime import timedelta

import pytest

from muniment.access import records
from muniment.errors import ClockUnsteady, LogUnavailable, NotPermitted
from muniment.operations import sweep
from muniment.testing.scenario import Scenario

HOUR = timedelta(hours=1)


# --- clocks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_stepped_clock_grants_nothing_and_ends_everything(
    scenario: Scenario, step: timedelta
) -> None:
    picked = await scenario.granted(seconds=600)
    session = scenario.login(picked)
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    scenario.clock.step(step)
    with pytest.raises(ClockUnsteady, match="muniment clock accept"):
        await scenario.pick_up("ana", asked)
    with pytest.raises(ClockUnsteady):
        await scenario.ask("ana")
    await scenario.advance(timedelta(minutes=9))
    assert session.alive  # by elapsed time it is not over yet
    await scenario.advance(timedelta(minutes=1))
    assert scenario.target().live_sessions(picked.case.id) == []
    assert scenario.read(picked).closed


async def test_an_operator_vouches_for_the_clock_on_record(scenario: Scenario) -> None:
    scenario.clock.step(HOUR)
    with pytest.raises(NotPermitted):
        await scenario.accept_clock("ana")
    assert await scenario.accept_clock("admin") == 3_600_000
    stepped = scenario.last(scenario.service.registry.log_case, records.ClockStepped)
    assert stepped.step_ms == 3_600_000
    assert stepped.actor.principal == scenario.ids["admin"]
    assert (await scenario.ask("ana")).case.state == "pending"


async def test_nobody_has_vouched_until_it_stands(scenario: Scenario) -> None:
    scenario.clock.step(HOUR)
    scenario.break_log()
    with pytest.raises(LogUnavailable):
        await scenario.accept_clock("admin")
    scenario.mend_log()
    with pytest.raises(ClockUnsteady):
        await scenario.ask("ana")


async def test_a_clock_before_the_last_record_at_start_grants_nothing(scenario: Scenario) -> None:
    picked = await scenario.granted(seconds=600)
    scenario.clock.step(-HOUR)
    await scenario.restart()
    with pytest.raises(ClockUnsteady, match="before the last record"):
        await scenario.ask("ana")
    await scenario.advance(timedelta(minutes=10))
    assert scenario.read(picked).closed


async def test_a_clock_that_drifts_a_little_is_believed(scenario: Scenario) -> None:
    scenario.clock.step(timedelta(seconds=4))
    assert (await scenario.ask("ana")).case.state == "pending"


async def test_an_end_on_a_clock_that_went_back_says_when_it_was_observed(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted()
    scenario.clock.step(-HOUR)
    await scenario.end("ana", picked)
    ended = next(e for e in scenario.entries(picked) if e.header.kind == "grant:ended")
    assert ended.header.observed is not None
    assert ended.header.observed < ended.header.at


async def test_silence_is_made_visible_every_hour(scenario: Scenario) -> None:
    await scenario.advance(timedelta(seconds=1))
    before = scenario.service.log.size
    for _ in range(3):
        await scenario.advance(HOUR)
    assert scenario.service.log.size == before + 3


# --- lists ------------------------------------------------------------------------------------


def edit(scenario: Scenario, statement: str, *values: object) -> None:
    """What somebody with a hand on the database does."""
    with scenario.store.transaction() as transaction:
        transaction._connection.execute(statement, values)
    scenario.checking = False


async def test_lists_rebuilt_from_the_log_are_the_lists_that_were_there(
    scenario: Scenario,
) -> None:
    await scenario.granted()
    await scenario.ask("dan")
    await scenario.ask("bo", incident="INC-1", emergency=True, seconds=600)
    rows = {
        row.case: row for kind in ("access", "review") for row in scenario.store.cases(kind=kind)
    }
    dues = {case: scenario.store.due_at(case) for case in rows}
    assert sweep.rebuild(scenario.service) == 4
    assert rows == {
        row.case: row for kind in ("access", "review") for row in scenario.store.cases(kind=kind)
    }
    assert dues == {case: scenario.store.due_at(case) for case in rows}


async def test_a_case_that_is_approved_in_a_table_only_is_not_granted(scenario: Scenario) -> None:
    from muniment.errors import Conflict

    asked = await scenario.ask("ana")
    edit(
        scenario,
        "UPDATE cases SET state = 'approved', groups = '' WHERE case_id = ?",
        asked.case.id,
    )
    assert sweep.wrong_rows(scenario.service) == [asked.case.id]
    with pytest.raises(Conflict, match="pending"):
        await scenario.pick_up("ana", asked)
    assert scenario.target().accounts == {}
    await scenario.advance(timedelta(minutes=2))
    assert scenario.found_wrong == [asked.case.id]
    scenario.check()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM due WHERE case_id = ?",
        "UPDATE due SET at = '2099-01-01T00:00:00.000Z' WHERE case_id = ?",
        "DELETE FROM cases WHERE case_id = ?",
    ],
)
async def test_a_grant_that_somebody_hid_from_the_worker_ends_all_the_same(
    scenario: Scenario, statement: str
) -> None:
    picked = await scenario.granted()
    edit(scenario, statement, picked.case.id)
    assert picked.case.id in sweep.wrong_rows(scenario.service)
    for _ in range(3):
        scenario.clock.advance(timedelta(minutes=1))
        await scenario.work()
    assert picked.case.id in scenario.found_wrong
    await scenario.advance(timedelta(minutes=30))
    assert scenario.read(picked).closed
    scenario.check()


async def test_a_case_that_is_in_a_table_only_is_wrong(scenario: Scenario) -> None:
    edit(
        scenario,
        "INSERT INTO cases SELECT 'mun_' || substr(replace(hex(zeroblob(13)), '0', 'a'), 1, 26),"
        " 'access', 'approved', '', '', '', '', 0, '', '', NULL, '', 1, 0"
        if _columns(scenario) == 14
        else "INSERT INTO cases SELECT 'mun_' || substr(replace(hex(zeroblob(13)), '0', 'a'), 1, 26),"
        " 'access', 'approved', '', '', '', '', 0, '', '', NULL, '', 1",
    )
    assert sweep.wrong_rows(scenario.service) == ["mun_" + "a" * 26]
    await scenario.restart()
    assert sweep.wrong_rows(scenario.service) == []


def _columns(scenario: Scenario) -> int:
    with scenario.store.transaction() as transaction:
        return len(transaction._connection.execute("PRAGMA table_info(cases)").fetchall())


async def test_wrong_lists_are_rebuilt_at_the_next_start(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    edit(scenario, "DELETE FROM cases")
    edit(scenario, "DELETE FROM due")
    await scenario.restart()
    assert [row.case for row in scenario.store.cases()] == [asked.case.id]
    scenario.check()


async def test_a_case_is_found_by_any_unique_beginning(scenario: Scenario) -> None:
    from muniment.errors import NotFound

    first, second = (await scenario.ask("ana")).case.id, (await scenario.ask("ana")).case.id
    service = scenario.service
    assert service.find_case(first) == first
    length = next(n for n in range(5, 31) if first[:n] != second[:n])
    assert service.find_case(second[:length]) == second
    with pytest.raises(NotFound, match="more than one"):
        service.find_case("mun_")
    with pytest.raises(NotFound, match="no case begins"):
        service.find_case("zzz")
