"""Workers of several nodes: they share what is due, lead what one does, and take over from another."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from muniment.access import records
from muniment.access.registry import OpenGrant
from muniment.errors import LogUnavailable, Unavailable
from muniment.operations import publish, signals, take_in
from muniment.operations.pace import MOST
from muniment.operations.providers import ProviderRules, Providers
from muniment.operations.publishing import CopyRules
from muniment.operations.service import Service
from muniment.ports import Notice
from muniment.runtime import worker as module
from muniment.runtime.bookkeeping import Bookkeeping
from muniment.runtime.duties import Duties
from muniment.runtime.upkeep import Upkeep
from muniment.runtime.worker import POLL, Worker
from muniment.stores.tile_directory import TileDirectory
from muniment.testing.scenario import CaseLike, Scenario, case_id
from muniment.testing.stand_ins import Claims

HALF_AN_HOUR, A_LEASE = timedelta(minutes=30), timedelta(seconds=Claims.LEASE + 0.1)


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    async with Scenario(tmp_path, shared=True, checking=False) as opened:
        yield opened
        await opened.service.catch_up()
        opened.check()


@pytest.fixture
def other(scenario: Scenario) -> Iterator[Worker]:
    """The worker of another node."""
    with scenario.another_node() as service:
        yield Worker(service=service)


def claims(scenario: Scenario) -> Claims:
    assert scenario._claims is not None
    return scenario._claims


def holder(scenario: Scenario, case: CaseLike) -> str | None:
    return claims(scenario).holder(case_id(case))


async def known(*services: Service) -> None:
    for each in services:
        await each.catch_up()


# --- sharing ------------------------------------------------------------------------------------


async def test_a_worker_claims_no_more_than_it_has_room_for(
    scenario: Scenario, other: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONCURRENCY", 2)
    picked = [await scenario.granted(seconds=600) for _ in range(4)]
    await known(other.service)
    scenario.clock.advance(timedelta(minutes=10))
    holds = [scenario.target().hold("revoke") for _ in range(4)]
    for worker in (scenario.worker, other):
        await worker.tick()
    for hold in holds:
        await hold.reached.wait()
    at_work = [{*worker._running} for worker in (scenario.worker, other)]
    assert [len(each) for each in at_work] == [2, 2]
    assert set.union(*at_work) == {each.case.id for each in picked}
    for hold in holds:
        hold.release()
    for worker in (scenario.worker, other):
        await worker.settle()
    await known(scenario.service)
    assert all(scenario.read(each).closed for each in picked)


async def test_what_one_worker_could_not_do_another_may_try_at_once(
    scenario: Scenario, other: Worker
) -> None:
    picked = await scenario.granted()
    await known(other.service)
    scenario.service.connectors = {}
    scenario.clock.advance(HALF_AN_HOUR)
    await scenario.worker.catch_up()
    assert not scenario.read(picked).closed
    assert holder(scenario, picked) is None
    await other.catch_up()
    assert other.service.read(picked.case.id)[0].closed


async def test_what_a_worker_works_on_stays_its_own_for_as_long_as_it_takes(
    scenario: Scenario, other: Worker
) -> None:
    picked = await scenario.granted()
    await known(other.service)
    scenario.clock.advance(HALF_AN_HOUR)
    hold = scenario.target().hold("revoke")
    await scenario.worker.tick()
    await hold.reached.wait()
    for _ in range(4):
        scenario.clock.advance(timedelta(seconds=2))
        await scenario.worker.tick()
        await other.tick()
        assert picked.case.id not in other._running
    hold.release()
    await scenario.worker.settle()
    assert scenario.read(picked).closed


async def test_what_a_request_is_ending_here_no_worker_takes(
    scenario: Scenario, other: Worker
) -> None:
    picked = await scenario.granted()
    hold = scenario.target().hold("revoke")
    asked = asyncio.create_task(scenario.revoke("cy", picked))
    await hold.reached.wait()
    await known(other.service)
    for _ in range(4):  # longer than such an end is left alone
        scenario.clock.advance(timedelta(seconds=2))
        await scenario.worker.tick()
        await other.catch_up()
    assert scenario.worker._running == {}
    assert holder(scenario, picked) == ""
    hold.release()
    assert (await asked).closed


async def test_what_a_node_that_died_had_claimed_another_does_after_its_lease(
    scenario: Scenario, other: Worker
) -> None:
    picked = await scenario.granted()
    await known(other.service)
    scenario.clock.advance(HALF_AN_HOUR)
    scenario.target().hold("revoke")
    await scenario.worker.tick()
    for task in scenario.worker._running.values():
        task.cancel()  # and nobody says that it is free
    await other.catch_up()
    assert not other.service.read(picked.case.id)[0].closed
    scenario.clock.advance(A_LEASE)
    await other.catch_up()
    assert other.service.read(picked.case.id)[0].closed
    await scenario.worker.settle()


async def test_a_worker_that_stops_leaves_what_it_was_at_to_the_others(
    scenario: Scenario, other: Worker
) -> None:
    picked = await scenario.granted()
    await known(other.service)
    scenario.clock.advance(HALF_AN_HOUR)
    hold = scenario.target().hold("revoke")
    running = asyncio.create_task(scenario.worker.run())
    await hold.reached.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await other.catch_up()
    assert other.service.read(picked.case.id)[0].closed


async def test_a_worker_that_drains_claims_nothing_more(scenario: Scenario, other: Worker) -> None:
    picked = await scenario.granted()
    await known(other.service)
    scenario.clock.advance(HALF_AN_HOUR)
    await scenario.worker.drain()
    await scenario.worker.catch_up()
    await other.catch_up()
    assert other.service.read(picked.case.id)[0].closed


async def test_a_wait_for_what_somebody_else_settled_holds_up_nothing_that_comes_due_later(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted(seconds=60)
    for _ in range(12):  # whatever it was: there is nothing due about it any more
        scenario.worker._put_off(picked.case.id)
    await scenario.advance(timedelta(seconds=61))
    assert scenario.read(picked).closed
    assert scenario.worker._attempts == {}


async def test_a_case_that_a_node_does_not_know_yet_is_no_trouble(
    scenario: Scenario, other: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    asked = await scenario.ask("ana")
    unknown = "mun_" + "a" * 26
    await other._work(unknown)
    assert [r for r in caplog.records if r.levelname == "WARNING"] == []
    assert unknown in other._not_before
    assert scenario.read(asked).state == "pending"


# --- who is told --------------------------------------------------------------------------------


@dataclass
class Channel:
    """A server that takes notices as long as nobody holds it."""

    personal: ClassVar[bool] = False
    told: list[str] = field(default_factory=list)
    free: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    async def tell(self, notice: Notice, address: str = "") -> None:
        self.waiting += 1
        await self.free.wait()
        self.told.append(notice.case)


@pytest.fixture
async def channels(scenario: Scenario, other: Worker) -> dict[str, Channel]:
    ways = {name: {"events": ["waiting"], "to": []} for name in ("one", "two")}
    scenario.notices.update(ways)
    made = {name: Channel() for name in ways}
    for service in (scenario.service, other.service):
        service.notifiers = made
    await scenario.take_in()
    await take_in.take_in(other.service, scenario.proposed(), records.SERVICE)
    return made


async def test_a_server_that_takes_no_notices_holds_up_no_other(
    scenario: Scenario, channels: dict[str, Channel]
) -> None:
    channels["two"].free.set()
    for _ in range(module.TELLING + 3):
        await scenario.ask("ana")
    # the most overdue are all of the one that does not answer
    with scenario.store._mine() as connection:
        connection.execute(
            "UPDATE due SET at = '2026-01-01T00:00:00.000Z' WHERE case_id LIKE 'notice/one/%'"
        )
    worker = scenario.worker
    worker._next_sweep = float("inf")  # it would put that right
    async with asyncio.timeout(20):
        while len(channels["two"].told) < MOST:  # then it waits so as not to be a nuisance
            await worker.tick()
            await asyncio.sleep(0.005)
    assert channels["one"].told == []
    assert channels["one"].waiting == module.TELLING_ONE
    channels["one"].free.set()
    await worker.settle()
    for _ in range(3):
        scenario.clock.advance(timedelta(minutes=1))
        await worker.catch_up()
    assert scenario.store.due("9999", callbacks=True) == []


async def test_notices_that_one_node_has_no_room_for_are_told_by_another(
    scenario: Scenario, other: Worker, channels: dict[str, Channel]
) -> None:
    for _ in range(3 * module.TELLING_ONE):
        await scenario.ask("ana")
    await known(other.service)
    for worker in (scenario.worker, other):
        await worker.tick()
    both = [
        {work for work in worker._running if work.startswith("notice/")}
        for worker in (scenario.worker, other)
    ]
    assert not set.intersection(*both)
    assert [len(each) for each in both] == [2 * module.TELLING_ONE] * 2
    for channel in channels.values():
        channel.free.set()
    for worker in (scenario.worker, other):
        await worker.catch_up()
    assert [len(each.told) for each in channels.values()] == [3 * module.TELLING_ONE] * 2


async def test_a_node_whose_files_are_not_in_force_tells_nobody(
    scenario: Scenario, other: Worker, channels: dict[str, Channel]
) -> None:
    for channel in channels.values():
        channel.free.set()
    await scenario.ask("ana")
    changed = replace(scenario.proposed(), configuration=_with(scenario, "three"))
    await take_in.take_in(other.service, changed, records.SERVICE)
    await known(scenario.service)
    await scenario.worker.catch_up()
    assert channels["one"].told == []
    await other.catch_up()
    assert len(channels["one"].told) == 1


def _with(scenario: Scenario, name: str) -> bytes:
    """The configuration with one more way of telling."""
    scenario.notices[name] = {"events": [], "to": []}
    return scenario.proposed().configuration


# --- duties -------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Service]:
    """Which service asked the provider of signals, one after the other."""
    found: list[Service] = []

    async def poll(service: Service, _provider: str) -> None:
        found.append(service)

    monkeypatch.setattr(signals, "poll", poll)
    return found


def polls(*services: Service) -> None:
    rules = ProviderRules(name="idp", kind="signals", issuer="https://i.example", poll="https://p")
    for each in services:
        each.providers = Providers(rules={"idp": rules})


async def test_a_provider_is_asked_by_one_node(
    scenario: Scenario, other: Worker, asked: list[Service]
) -> None:
    polls(scenario.service, other.service)
    for _ in range(61):
        scenario.clock.advance(timedelta(seconds=1))
        for worker in (scenario.worker, other):
            await worker.catch_up()
    assert asked == [scenario.service] * 3


async def test_another_node_asks_when_the_one_that_did_is_gone(
    scenario: Scenario, other: Worker, asked: list[Service]
) -> None:
    polls(scenario.service, other.service)
    await scenario.worker.catch_up()
    await other.catch_up()
    assert asked == [scenario.service]
    scenario.clock.advance(A_LEASE)
    await other.catch_up()
    assert asked == [scenario.service, other.service]


async def test_a_node_that_cannot_reach_the_provider_gives_way(
    scenario: Scenario, other: Worker, asked: list[Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def poll(service: Service, _provider: str) -> None:
        asked.append(service)
        if service is scenario.service:
            raise Unavailable("no way there from here")

    monkeypatch.setattr(signals, "poll", poll)
    polls(scenario.service, other.service)
    for _ in range(8):
        for worker in (scenario.worker, other):
            await worker.catch_up()
        scenario.clock.advance(timedelta(seconds=1))
    assert asked == [scenario.service, other.service]


async def test_a_node_whose_files_are_not_in_force_asks_no_provider(
    scenario: Scenario, other: Worker, asked: list[Service]
) -> None:
    polls(scenario.service)
    changed = replace(scenario.proposed(), configuration=_with(scenario, "three"))
    await take_in.take_in(other.service, changed, records.SERVICE)
    await known(scenario.service)
    await scenario.worker.catch_up()
    assert asked == []
    assert claims(scenario).holder(f"duty/{POLL}idp") is None


async def test_the_lists_are_swept_by_one_node_and_then_by_another(
    scenario: Scenario, other: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[Worker] = []

    def sweep(self: Worker) -> None:
        swept.append(self)

    monkeypatch.setattr(Worker, "_sweep", sweep)
    for _ in range(3):
        for worker in (scenario.worker, other):
            await worker.tick()
        scenario.clock.advance(timedelta(seconds=1))
    assert swept == [scenario.worker]
    scenario.clock.advance(A_LEASE)
    await other.tick()
    assert swept == [scenario.worker, other]


async def test_a_node_that_takes_over_sweeps_what_was_appended_since_it_began(
    scenario: Scenario, other: Worker
) -> None:
    for worker in (scenario.worker, other):
        await worker.tick()
    asked = await scenario.ask("ana")
    with scenario.store._mine() as connection:
        connection.execute("UPDATE cases SET state = 'approved'")
    scenario.clock.advance(A_LEASE)
    await known(other.service)
    other._turn = other.service.log.size  # not by chance
    found: list[str] = []
    other.on_wrong = found.extend
    await other.tick()
    assert found == [case_id(asked)]


async def test_a_node_that_cannot_ask_whether_it_leads_leads_nothing(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_duty: str) -> bool:
        raise LogUnavailable("the database does not answer")

    monkeypatch.setattr(scenario.store, "lead", gone)
    with pytest.raises(LogUnavailable):
        Duties(service=scenario.service).has("sweep")
    await scenario.worker.tick()  # raises nothing
    upkeep = Upkeep(service=scenario.service)
    upkeep.start_due()
    assert upkeep._running == {}


async def test_an_answer_is_not_asked_for_more_often_than_needed(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[str] = []

    def lead(duty: str) -> bool:
        times.append(duty)
        return True

    monkeypatch.setattr(scenario.store, "lead", lead)
    duties = Duties(service=scenario.service)
    for _ in range(10):
        assert duties.has("sweep")
    assert times == ["sweep"]
    scenario.clock.advance(timedelta(seconds=1))
    assert duties.has("sweep")
    assert times == ["sweep"] * 2


# --- heartbeats ---------------------------------------------------------------------------------


def beats(scenario: Scenario) -> list[Any]:
    found = scenario.records(scenario.service.registry.log_case)
    return [record for record in found if isinstance(record, records.LogHeartbeat)]


async def hours(scenario: Scenario, count: int, *workers: Worker) -> None:
    """Whoever comes first leads for all of it."""
    for _ in range(count * 30):
        scenario.clock.advance(timedelta(minutes=2))
        for worker in workers:
            await worker.tick()
    await known(scenario.service)


async def test_silence_is_broken_by_one_node_each_hour(scenario: Scenario, other: Worker) -> None:
    await other.tick()
    await hours(scenario, 3, other, scenario.worker)
    assert len(beats(scenario)) == 3


async def test_whoever_has_counted_something_says_it_too(scenario: Scenario, other: Worker) -> None:
    for worker in (scenario.worker, other):
        await worker.tick()
    other.service.count("unauthenticated")
    other.service.count("unauthenticated")
    await hours(scenario, 1, scenario.worker, other)
    said = [each.unrecorded for each in beats(scenario)]
    assert sorted(said, key=len) == [{}, {"unauthenticated": 2}]
    assert other.service.unrecorded == {}


async def test_another_node_breaks_the_silence_of_one_that_is_gone(
    scenario: Scenario, other: Worker
) -> None:
    for worker in (scenario.worker, other):
        await worker.tick()
    await hours(scenario, 1, scenario.worker, other)
    assert len(beats(scenario)) == 1
    await hours(scenario, 1, other)
    assert len(beats(scenario)) >= 2


async def test_a_node_that_only_answers_keeps_its_books(scenario: Scenario) -> None:
    """Its spool, its counts, and a log in trouble: nobody else can see to them."""
    service = scenario.service
    books = Bookkeeping(service=service, duties=Duties(service=service))
    await books.look()
    picked = await scenario.granted()
    scenario.break_log()
    with pytest.raises(LogUnavailable):
        await scenario.revoke("cy", picked)
    await books.look()
    assert service.troubles()
    scenario.mend_log()
    await books.look()
    assert not service.troubles()
    assert service.spool.waiting() == []
    assert "grant:revoked" in scenario.kinds(picked)
    service.count("too-many")
    await books.last_words()
    assert beats(scenario)[-1].unrecorded == {"too-many": 1}
    await scenario.work()


async def test_trouble_is_said_once(scenario: Scenario, caplog: pytest.LogCaptureFixture) -> None:
    service = scenario.service
    books = Bookkeeping(service=service, duties=Duties(service=service))
    await books.look()
    scenario.break_log()
    with pytest.raises(LogUnavailable):
        await scenario.ask("ana")
    for _ in range(3):
        await books.look()
    said = [r for r in caplog.records if "nothing can be recorded" in r.message]
    assert len(said) == 1
    scenario.mend_log()
    await books.look()


# --- cut off ------------------------------------------------------------------------------------


@pytest.mark.parametrize("grace", [timedelta(0), timedelta(seconds=10)])
async def test_a_node_that_is_cut_off_waits_for_the_others_before_it_acts_by_memory(
    scenario: Scenario, grace: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    picked = await scenario.granted()
    session = scenario.login(picked)
    worker = Worker(service=scenario.service, unread_grace=grace)

    def gone(*_: object, **__: object) -> list[str]:
        raise LogUnavailable("the wire is cut")

    with monkeypatch.context() as patch:
        for query in ("due", "claim", "next_due", "lead"):
            patch.setattr(scenario.store, query, gone)
        scenario.clock.advance(HALF_AN_HOUR)
        if grace:
            await worker.tick()
            assert session.alive
            scenario.clock.advance(grace)
        await worker.tick()
        assert not session.alive
    await scenario.work()
    assert scenario.read(picked).closed


async def test_a_grant_that_another_node_extended_outlives_the_cut(
    scenario: Scenario, other: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This node missed it; by the time that it would act it knows better."""
    picked = await scenario.granted(seconds=600)
    session = scenario.login(picked)
    worker = Worker(service=scenario.service, unread_grace=timedelta(seconds=10))

    def gone(*_: object, **__: object) -> list[str]:
        raise LogUnavailable("the wire is cut")

    with monkeypatch.context() as patch:
        patch.setattr(scenario.store, "claim", gone)
        scenario.clock.advance(timedelta(seconds=605))
        await worker.tick()
    grant = scenario.service.registry.grants[picked.case.id]
    later = replace(grant, until=grant.until + HALF_AN_HOUR)
    assert isinstance(later, OpenGrant)
    scenario.service.registry.grants[picked.case.id] = later  # as following the others tells it
    with monkeypatch.context() as patch:
        patch.setattr(scenario.store, "claim", gone)
        scenario.clock.advance(timedelta(seconds=10))
        await worker.tick()
    assert session.alive
    await other.catch_up()


# --- upkeep -------------------------------------------------------------------------------------


@pytest.fixture
def two(scenario: Scenario, other: Worker, tmp_path: Path) -> tuple[Upkeep, Upkeep]:
    rules = CopyRules(mirror=TileDirectory(tmp_path / "mirror"), every=timedelta(minutes=1))
    for service in (scenario.service, other.service):
        service.publishing.mirrors = {"far": rules}
    return Upkeep(service=scenario.service), Upkeep(service=other.service)


async def keep(*all_of_them: Upkeep) -> None:
    for upkeep in all_of_them:
        upkeep.start_due()
        await upkeep.settle()


async def test_each_piece_of_upkeep_is_done_by_one_node(
    scenario: Scenario, other: Worker, two: tuple[Upkeep, Upkeep]
) -> None:
    for _ in range(12):
        await keep(*two)
        scenario.clock.advance(timedelta(seconds=1))
    first, second = scenario.service.publishing, other.service.publishing
    assert first.tried is not None
    assert first.mirrored
    assert second.tried is None
    assert second.mirrored == {}
    assert publish.gauges(other.service)["muniment_mirrors_behind"] == 0


async def test_what_a_node_knows_of_its_work_stays_until_that_has_ended(
    scenario: Scenario, two: tuple[Upkeep, Upkeep], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    real = publish.publish

    async def slow(service: Service, size: int = 0) -> Any:
        begun.set()
        await go_on.wait()
        return await real(service, size)

    monkeypatch.setattr(publish, "publish", slow)
    stood_by: list[str] = []
    monkeypatch.setattr(publish, "stand_by", lambda _, name: stood_by.append(name))
    upkeep = two[0]
    upkeep.start_due()
    await begun.wait()
    monkeypatch.setattr(scenario.store, "lead", lambda _: False)
    scenario.clock.advance(A_LEASE)
    upkeep.start_due()
    assert "publish" not in stood_by
    go_on.set()
    await upkeep.settle()
    upkeep.start_due()
    assert "publish" in stood_by


async def test_upkeep_passes_to_another_node_when_one_is_gone(
    scenario: Scenario, other: Worker, two: tuple[Upkeep, Upkeep]
) -> None:
    for _ in range(3):
        await keep(*two)
        scenario.clock.advance(timedelta(seconds=1))
    scenario.clock.advance(A_LEASE)
    for _ in range(3):
        await keep(two[1])
    assert other.service.publishing.tried is not None
    await keep(two[0])
    assert scenario.service.publishing.at is None, "its age is told by who publishes now"


async def test_a_piece_that_fails_on_one_node_passes_to_another(
    scenario: Scenario, other: Worker, two: tuple[Upkeep, Upkeep], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = publish.publish

    async def failing(service: Service, size: int = 0) -> Any:
        if service is scenario.service:
            raise Unavailable("no way there from here")
        return await real(service, size)

    monkeypatch.setattr(publish, "publish", failing)
    for _ in range(30):
        await keep(*two)
        scenario.clock.advance(timedelta(seconds=1))
    assert other.service.publishing.at is not None
    for _ in range(60):
        await keep(*two)
        scenario.clock.advance(timedelta(seconds=1))
    assert scenario.service.publishing.failing == {}


async def test_a_node_whose_files_are_not_in_force_does_no_upkeep(
    scenario: Scenario, other: Worker, two: tuple[Upkeep, Upkeep]
) -> None:
    changed = replace(scenario.proposed(), configuration=_with(scenario, "three"))
    await take_in.take_in(other.service, changed, records.SERVICE)
    await known(scenario.service)
    await keep(two[0])
    assert scenario.service.publishing.tried is None
    await keep(two[1])
    assert other.service.publishing.tried is not None
