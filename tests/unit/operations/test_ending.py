"""Taking access away: at its time, early, by others; against targets and logs that do not answer."""

import asyncio
import itertools
from collections.abc import Callable
from datetime import timedelta

import pytest

from muniment.access import records
from muniment.errors import Conflict, LogUnavailable, NotFound, NotPermitted, TargetUnavailable
from muniment.evidence import moment
from muniment.operations import end, explain
from muniment.testing.fake_target import FakeTarget
from muniment.testing.scenario import Scenario

MINUTE = timedelta(minutes=1)
HALF_AN_HOUR = timedelta(minutes=30)
GONE = ["removal:verified", "case:closed"]


async def test_access_ends_at_its_time_with_a_session_open(scenario: Scenario) -> None:
    picked = await scenario.granted()
    session = scenario.login(picked)
    await scenario.advance(HALF_AN_HOUR - timedelta(milliseconds=1))
    assert session.alive
    await scenario.advance(timedelta(milliseconds=1))
    assert scenario.target().live_sessions(picked.case.id) == []
    assert scenario.kinds(picked)[-3:] == ["grant:expired", *GONE]
    verified = scenario.last(picked, records.RemovalVerified)
    assert (verified.accounts_removed, verified.sessions_killed) == (1, 1)
    assert verified.lag_ms == 0


async def test_its_holder_gives_it_back(scenario: Scenario) -> None:
    picked = await scenario.granted()
    session = scenario.login(picked)
    ended = await scenario.end("ana", picked)
    assert (ended.state, ended.closed, session.alive) == ("ended", True, False)
    assert scenario.kinds(picked)[-3:] == ["grant:ended", *GONE]
    with pytest.raises(Conflict, match="no access to end"):
        await scenario.end("ana", picked)


@pytest.mark.parametrize("who", ["admin", "cy"])
async def test_an_administrator_and_an_approver_take_it_away(scenario: Scenario, who: str) -> None:
    picked = await scenario.granted()
    revoked = await scenario.revoke(who, picked, note="enough")
    assert (revoked.state, revoked.closed) == ("revoked", True)
    entry = next(e for e in scenario.entries(picked) if e.header.kind == "grant:revoked")
    assert scenario.caller(who).principal.leaf in entry.header.follows
    assert scenario.service.section(entry, "note") == {"text": "enough"}


async def test_an_end_by_somebody_who_does_not_hold_it_is_a_revocation(scenario: Scenario) -> None:
    picked = await scenario.granted()
    ended = await scenario.end("admin", picked)
    assert (ended.state, ended.closed) == ("revoked", True)
    assert scenario.service.spool.waiting() == []


async def test_a_sponsor_ends_what_his_agent_holds(scenario: Scenario) -> None:
    picked = await scenario.granted("robo", "orders-staging/readwrite", seconds=600)
    assert (await scenario.end("ana", picked)).state == "ended"


async def test_others_may_not(scenario: Scenario) -> None:
    picked = await scenario.granted()
    for verb in (scenario.end, scenario.revoke):
        with pytest.raises(NotPermitted):
            await verb("aud", picked)  # who only reads
        with pytest.raises(NotFound):
            await verb("dan", picked)
    assert scenario.read(picked).state == "issued"


async def test_what_was_approved_and_not_picked_up_can_be_revoked(scenario: Scenario) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    revoked = await scenario.revoke("admin", asked)
    assert (revoked.state, revoked.closed, revoked.removal) == ("revoked", True, "nothing")
    with pytest.raises(Conflict):
        await scenario.pick_up("ana", asked)


async def test_what_only_waits_has_nothing_to_revoke(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    with pytest.raises(Conflict, match="no access to end"):
        await scenario.revoke("admin", asked)


async def test_overlapping_grants_of_one_role_end_each_at_its_time(scenario: Scenario) -> None:
    first = await scenario.granted(seconds=600)
    await scenario.advance(5 * MINUTE)
    second = await scenario.granted(seconds=600)
    sessions = scenario.login(first), scenario.login(second)
    await scenario.advance(5 * MINUTE)
    assert [session.alive for session in sessions] == [False, True]
    assert [scenario.read(each).closed for each in (first, second)] == [True, False]
    await scenario.advance(5 * MINUTE)
    assert not sessions[1].alive
    assert scenario.target().accounts == {}


async def test_two_ends_at_once_are_one_end(scenario: Scenario) -> None:
    picked = await scenario.granted()
    await asyncio.gather(
        scenario.end("ana", picked), scenario.revoke("admin", picked), return_exceptions=True
    )
    await scenario.advance(MINUTE)
    kinds = scenario.kinds(picked)
    assert sum(kind in ("grant:ended", "grant:revoked") for kind in kinds) == 1
    assert kinds.count("removal:verified") == 1
    assert scenario.read(picked).closed


async def test_an_end_beside_an_expiry_is_one_end(scenario: Scenario) -> None:
    picked = await scenario.granted()
    scenario.clock.advance(HALF_AN_HOUR)
    hold = scenario.target().hold("revoke")
    expiring = asyncio.create_task(scenario.work())
    await hold.reached.wait()
    await end.end(scenario.service, scenario.caller("ana"), picked.case.id)
    hold.release()
    await expiring
    assert scenario.kinds(picked)[-3:] == ["grant:ended", *GONE]


async def test_a_revocation_on_a_case_that_moved_meanwhile_takes_it_away(
    scenario: Scenario,
) -> None:
    """Read before an approval, declared after it: ends are rebuilt on the new head."""
    picked = await scenario.granted()
    await scenario.extend("ana", picked, 2400)
    service = scenario.service
    revoked, _ = await asyncio.gather(
        end.revoke(service, scenario.caller("admin"), picked.case.id),
        scenario.approve("bo", picked),
        return_exceptions=True,
    )
    assert not isinstance(revoked, BaseException)
    assert revoked.state == "revoked"
    await scenario.advance(MINUTE)
    assert scenario.read(picked).closed


async def test_the_worker_finds_nothing_to_do_twice(scenario: Scenario) -> None:
    picked = await scenario.granted()
    await scenario.advance(HALF_AN_HOUR)
    size = scenario.service.log.size
    for _ in range(3):
        await end.expire(scenario.service, picked.case.id)
        await end.finish(scenario.service, picked.case.id)
        await scenario.work()
    assert scenario.service.log.size == size


async def test_two_workers_end_it_once(scenario: Scenario) -> None:
    picked = await scenario.granted()
    scenario.clock.advance(HALF_AN_HOUR)
    case = picked.case.id
    await asyncio.gather(*(end.expire(scenario.service, case) for _ in range(3)))
    assert scenario.kinds(picked)[-3:] == ["grant:expired", *GONE]
    scenario.check()


# --- targets ----------------------------------------------------------------------------------


async def test_a_target_that_is_down_leaves_it_open_in_the_open(scenario: Scenario) -> None:
    picked = await scenario.granted()
    session = scenario.login(picked)
    scenario.target().down = True
    await scenario.advance(HALF_AN_HOUR)
    assert scenario.kinds(picked)[-2:] == ["grant:expired", "removal:unverified"]
    assert scenario.last(picked, records.RemovalUnverified).reason == "target-unavailable"
    assert [row.case for row in explain.overdue(scenario.service)] == [picked.case.id]
    tried: list[float] = []
    scenario.hook = lambda point: (
        tried.append(scenario.clock.elapsed) if point == "target:revoke" else None
    )
    await scenario.advance(timedelta(hours=1))
    waits = [after - before for before, after in itertools.pairwise(tried)]
    assert waits == sorted(waits)  # each wait is longer
    assert waits[-1] <= 300.1
    assert scenario.kinds(picked).count("removal:unverified") == 1  # said once
    scenario.target().down = False
    await scenario.advance(timedelta(minutes=5))
    assert not session.alive
    assert scenario.kinds(picked)[-2:] == GONE
    assert explain.overdue(scenario.service) == []
    assert scenario.last(picked, records.RemovalVerified).lag_ms >= 3_600_000


async def test_an_unseen_removal_is_said_again_each_day_and_when_it_changes(
    scenario: Scenario,
) -> None:
    scenario.checking = False  # a thousand attempts
    picked = await scenario.granted()
    scenario.target().down = True
    await scenario.advance(timedelta(days=2, hours=1))
    said = [r for r in scenario.records(picked) if isinstance(r, records.RemovalUnverified)]
    assert [each.reason for each in said] == ["target-unavailable"] * 3
    scenario.target().down = False
    scenario.target().blind = True
    await scenario.advance(timedelta(minutes=5))
    assert scenario.last(picked, records.RemovalUnverified).reason == "blind"
    scenario.check()


async def test_a_revocation_that_is_not_seen_gone_is_overdue_at_once(scenario: Scenario) -> None:
    picked = await scenario.granted()
    scenario.target().down = True
    revoked = await scenario.revoke("admin", picked)
    assert not revoked.closed
    assert [row.case for row in explain.overdue(scenario.service)] == [picked.case.id]


def _blind(target: FakeTarget) -> None:
    target.blind = True


def _unreachable(target: FakeTarget) -> None:
    target.unreachable.add("fake")


def _another(target: FakeTarget) -> None:
    target.identity = "fake:restored-from-a-snapshot"


def _one_more(target: FakeTarget) -> None:
    target.endpoints = ("fake", "replica")


def _lost(target: FakeTarget) -> None:
    target.lose_revokes = 1


def _no_answer(target: FakeTarget) -> None:
    target.fail("probe")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_blind, "blind"),
        (_unreachable, "blind"),
        (_no_answer, "blind"),
        (_another, "other-target"),
        (_one_more, "other-endpoints"),
        (_lost, "still-there"),
    ],
)
async def test_a_look_that_does_not_show_it_verifies_nothing(
    scenario: Scenario, spoil: Callable[[FakeTarget], None], reason: str
) -> None:
    picked = await scenario.granted()
    spoil(scenario.target())
    ended = await scenario.end("ana", picked)
    assert not ended.closed
    unverified = scenario.last(picked, records.RemovalUnverified)
    assert unverified.reason == reason
    assert unverified.endpoints  # what it did see is recorded
    target = scenario.target()
    target.blind, target.identity, target.endpoints = False, "fake:orders-prod", ("fake",)
    target.unreachable.clear()
    await scenario.advance(MINUTE)
    assert scenario.kinds(picked)[-2:] == GONE


async def test_a_revocation_that_failed_half_way_is_tried_again(scenario: Scenario) -> None:
    picked = await scenario.granted()
    session = scenario.login(picked)
    scenario.target().fail("revoked")
    ended = await scenario.end("ana", picked)
    assert not ended.closed
    assert not session.alive  # it happened; only the answer was lost
    await scenario.advance(MINUTE)
    assert scenario.read(picked).closed


async def test_a_target_that_hangs_counts_as_one_that_does_not_answer(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(end, "ATTEMPT", timedelta(milliseconds=20))
    picked = await scenario.granted()
    hold = scenario.target().hold("revoke")
    ended = await scenario.end("ana", picked)
    assert hold.reached.is_set()
    assert scenario.last(picked, records.RemovalUnverified).reason == "target-unavailable"
    assert not ended.closed
    await scenario.advance(MINUTE)
    assert scenario.read(picked).closed


# --- logs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["log:commit", "head:write"])
async def test_with_the_log_down_access_ends_all_the_same(scenario: Scenario, fault: str) -> None:
    picked = await scenario.granted()
    session = scenario.login(picked)
    scenario.break_log(fault)
    await scenario.advance(HALF_AN_HOUR)
    ended_at = scenario.clock.wall
    assert not session.alive
    assert scenario.target().accounts == {}
    waiting = scenario.service.spool.waiting()
    assert [line["kind"] for line in waiting] == ["grant:expired"]
    await scenario.advance(timedelta(hours=1))
    assert scenario.service.spool.waiting() == waiting  # once, however often it is tried
    scenario.mend_log()
    await scenario.advance(timedelta(minutes=6))
    assert scenario.service.spool.waiting() == []
    assert scenario.kinds(picked)[-3:] == ["grant:expired", *GONE]
    expired = next(e for e in scenario.entries(picked) if e.header.kind == "grant:expired")
    happened = expired.header.observed or expired.header.at
    assert happened == moment.parse(waiting[0]["at"])
    assert happened <= ended_at


@pytest.mark.parametrize("verb", ["end", "revoke"])
async def test_with_the_log_down_an_early_end_takes_effect_and_says_so(
    scenario: Scenario, verb: str
) -> None:
    picked = await scenario.granted()
    session = scenario.login(picked)
    scenario.break_log()
    act = scenario.end("ana", picked) if verb == "end" else scenario.revoke("admin", picked)
    with pytest.raises(LogUnavailable, match="taken away all the same"):
        await act
    assert not session.alive
    await scenario.restart()  # what was spooled outlives the process
    scenario.mend_log()
    await scenario.advance(MINUTE)
    kind = {"end": "grant:ended", "revoke": "grant:revoked"}[verb]
    assert scenario.kinds(picked)[-3:] == [kind, *GONE]


async def test_with_the_log_down_a_revoked_approval_is_not_forgotten(scenario: Scenario) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    scenario.break_log()
    with pytest.raises(LogUnavailable):
        await scenario.revoke("admin", asked)
    scenario.mend_log()
    await scenario.work()
    assert (scenario.read(asked).state, scenario.read(asked).closed) == ("revoked", True)


async def test_an_end_that_was_persisted_after_all_is_not_recorded_twice(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted()
    scenario.break_log("log:committed")
    with pytest.raises(LogUnavailable):
        await scenario.end("ana", picked)
    scenario.mend_log()
    await scenario.advance(MINUTE)
    assert scenario.kinds(picked).count("grant:ended") == 1
    assert scenario.kinds(picked)[-2:] == GONE
    assert scenario.service.spool.waiting() == []


async def test_a_spooled_end_that_does_not_fold_holds_up_no_other(scenario: Scenario) -> None:
    picked = await scenario.granted()
    other = await scenario.granted("dan")
    service = scenario.service
    bad = records.GrantEnded(actor=service.actor(scenario.caller("admin")))
    service.spool.add(end._spooled(bad.draft(other.case.id, service.now())))
    scenario.break_log()
    with pytest.raises(LogUnavailable):
        await scenario.end("ana", picked)
    scenario.mend_log()
    await scenario.work()
    assert scenario.read(picked).state == "ended"
    assert scenario.read(other).state == "issued"
    assert [line["case"] for line in service.spool.waiting()] == [other.case.id]


async def test_a_damaged_spool_holds_up_no_end(scenario: Scenario) -> None:
    picked = await scenario.granted()
    (scenario.folder / "spool").write_bytes(b"[]\n")
    await scenario.advance(HALF_AN_HOUR)
    assert scenario.read(picked).closed


async def test_an_expiry_that_an_extension_overtook_is_not_recorded(scenario: Scenario) -> None:
    """Taken away a moment too early: the grant goes on, and its holder picks up anew."""
    picked = await scenario.granted()
    due = picked.case.until
    assert due is not None
    state, service = scenario.read(picked), scenario.service
    seen = await end._take_away(service, state)
    await scenario.extend("ana", picked, 2400)
    await scenario.approve("bo", picked)
    after = await end._record(
        service, state, seen, records.GrantExpired(actor=records.SERVICE, due=due)
    )
    assert after.state == "issued"
    assert (await scenario.pick_up("ana", picked)).issued is not None


async def test_grants_end_from_memory_while_the_database_cannot_be_read(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    picked = await scenario.granted()
    session = scenario.login(picked)

    def gone(*_: object, **__: object) -> list[str]:
        raise LogUnavailable("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(scenario.store, "due", gone)
        patch.setattr(scenario.store, "next_due", gone)
        scenario.clock.advance(HALF_AN_HOUR)
        await scenario.worker.tick()
        assert scenario.worker._longest_rest() > 0
    assert not session.alive
    await scenario.advance(MINUTE)
    assert scenario.kinds(picked)[-3:] == ["grant:expired", *GONE]


async def test_a_connector_that_cannot_be_found_is_a_target_that_does_not_answer(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted()
    connectors = scenario.service.connectors
    scenario.service.connectors = {}
    await scenario.advance(HALF_AN_HOUR)
    assert scenario.last(picked, records.RemovalUnverified).reason == "target-unavailable"
    scenario.service.connectors = connectors
    await scenario.advance(timedelta(minutes=5))
    assert scenario.read(picked).closed


async def test_after_a_restart_an_unfinished_end_is_finished(scenario: Scenario) -> None:
    picked = await scenario.granted()
    hold = scenario.target().hold("revoke")
    task = asyncio.create_task(scenario.end("ana", picked))
    await hold.reached.wait()
    await scenario.restart()
    assert task.cancelled()
    assert scenario.read(picked).state == "ended"
    await scenario.work()
    assert scenario.kinds(picked)[-3:] == ["grant:ended", *GONE]


async def test_the_target_is_asked_again_after_an_error_of_its_connector(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted()
    scenario.target().fail("revoke", 3)
    with pytest.raises(TargetUnavailable):
        await scenario.service.connectors["orders-prod"].revoke(picked.case.id)
    await scenario.advance(HALF_AN_HOUR + MINUTE)
    assert scenario.read(picked).closed
