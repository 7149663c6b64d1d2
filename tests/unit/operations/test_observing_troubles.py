"""What goes wrong while events are taken in costs what it must, and nothing else."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from muniment.access import records
from muniment.errors import LogUnavailable, Unavailable
from muniment.evidence import event_batch
from muniment.operations import around, detect, findings, observe, observe_sessions
from muniment.operations.around import Around
from muniment.operations.detect import Detection, RuleSet
from muniment.operations.grant_windows import GrantWindows
from muniment.operations.intake import Intake
from muniment.operations.issue import PickedUp
from muniment.operations.observe_sessions import QUIET, record_sessions, sessions_of
from muniment.operations.observing import Observing, Source
from muniment.operations.pace import MOST_RAISED
from muniment.operations.seals import commitments, sealed_by
from muniment.operations.story import MOST_EVENTS, observed
from muniment.oversight.calendars import WorkingDays
from muniment.oversight.detector import thresholds
from muniment.oversight.detectors import BUILT_IN, SCANNED
from muniment.oversight.event import Event, Key, ReaderSettings
from muniment.oversight.link import Correlator
from muniment.oversight.recorded import Recorded
from muniment.oversight.watch import FAILED, Watch
from muniment.stores.events import SQLiteEventStore
from muniment.testing.events_in_memory import EventsInMemory
from muniment.testing.plain_reader import PlainReader, plain
from muniment.testing.scenario import Scenario

MINUTE = timedelta(minutes=1)
ABSURD = (
    datetime(1, 1, 1, tzinfo=timezone.utc),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc),
)


class Brittle(PlainReader):
    """Has a bug that some records show, and another that makes events of no use."""

    def read(self, record: bytes) -> Event:
        if record == b"secret words":
            raise KeyError(record.decode())
        if record == b"deep":
            raise RecursionError
        event = super().read(record)
        if event.object == "nowhere":
            return replace(event, at=event.at.replace(tzinfo=None))
        if event.object == "nothing":
            return replace(event, type="session.began")
        return event


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Scenario]:
    async with Scenario(tmp_path) as scenario:
        observing(scenario, EventsInMemory())
        yield scenario


def observing(scenario: Scenario, store: EventsInMemory | SQLiteEventStore) -> None:
    def source(name: str, resource: str) -> Source:
        def made() -> Brittle:
            return Brittle(ReaderSettings(prefix="mun"))

        return Source(
            name=name, resource=resource, reader=made(), make_reader=made, heartbeat=5 * MINUTE
        )

    scenario.service.observing = Observing(
        store=store,
        sources={
            "orders-log": source("orders-log", "orders-prod"),
            "trail": source("trail", ""),
        },
        intake=Intake(service=scenario.service, store=store),
    )


def stored(scenario: Scenario) -> EventsInMemory:
    store = scenario.service.observing.store
    assert isinstance(store, EventsInMemory)
    return store


def said(scenario: Scenario, type: str, account: str = "", **more: Any) -> bytes:
    more = {"at": scenario.service.now(), "session": "s1", **more}
    return plain(Event(type=type, account=account, **more))


def account_of(picked: PickedUp) -> str:
    return picked.issued.account if picked.issued is not None else ""


async def take(scenario: Scenario, *sent: bytes, source: str = "orders-log") -> tuple[int, int]:
    taken = await observe.take(scenario.service, source, sent)
    return taken.kept, taken.rejected


# --- readers and records


async def test_a_bug_of_a_reader_costs_the_record_that_shows_it_and_is_told_once(
    watched: Scenario, caplog: pytest.LogCaptureFixture
) -> None:
    good = said(watched, "statement")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert await take(watched, good, b"secret words", b"deep", good) == (2, 2)
    told = [record.getMessage() for record in caplog.records]
    assert len([each for each in told if "KeyError" in each]) == 1
    assert len([each for each in told if "RecursionError" in each]) == 1
    assert "secret words" not in caplog.text  # nor what the error says, nor a trace of it
    assert stored(watched).state("orders-log").rejected == 6


async def test_an_event_that_nothing_can_be_made_of_is_rejected(watched: Scenario) -> None:
    sent = [said(watched, "statement", object=each) for each in ("nowhere", "nothing", "orders")]
    assert await take(watched, *sent) == (1, 2)


async def test_a_moment_of_another_zone_is_kept_as_that_of_ours(watched: Scenario) -> None:
    noon = datetime(2026, 11, 21, 12, tzinfo=timezone(timedelta(hours=5)))
    before_all = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))
    sent = [said(watched, "statement", at=each) for each in (noon, before_all)]
    assert await take(watched, *sent) == (1, 1)
    (kept,) = stored(watched).after(0)
    assert kept.event is not None
    assert (kept.event.at, kept.event.at.tzinfo) == (noon, timezone.utc)


async def test_absurd_moments_break_nothing(watched: Scenario) -> None:
    watching = detection(watched)
    await watching.look()
    picked = await watched.granted()
    types = ("session.opened", "statement", "access.changed", "incident.opened", "deployment")
    for account in (account_of(picked), "postgres"):
        sent = [said(watched, type, account, at=at, object="x") for type in types for at in ABSURD]
        assert await take(watched, *sent) == (10, 0)
    assert await observe.seal(watched.service) == 20
    seen = watched.service.registry.sources["orders-log"]
    record = watched.records(seen.case)[-1]
    assert isinstance(record, records.EventsReceived)
    assert (record.first.year, record.last.year) == (1, 9999)
    await watching.look()
    assert FAILED.id not in rules_raised(watched)
    shown = observed(watched.service, watched.read(picked))
    assert {line["at"][:4] for line in shown["sessions"][0]["lines"]} == {"0001", "9999"}


async def test_a_target_whose_clock_is_ahead_keeps_no_session_open(watched: Scenario) -> None:
    picked = await watched.granted()
    later = watched.service.now() + timedelta(days=900)
    await take(watched, said(watched, "session.opened", account_of(picked), at=later))
    await observe.seal(watched.service)
    await watched.end("ana", picked)
    service, store = watched.service, stored(watched)
    assert not await record_sessions(service, store, picked.case.id)
    await watched.advance(timedelta(hours=1) + QUIET)
    assert await record_sessions(service, store, picked.case.id)


# --- keys that are given out


async def test_a_key_leads_on_though_it_was_shown_in_the_same_chunk_before(
    watched: Scenario,
) -> None:
    picked = await watched.granted()
    key = Key("access-key", "AKIA7")
    shown = said(watched, "call", keys=(key,))
    gave = said(watched, "credential.issued", account_of(picked), keys=(key,))
    await take(watched, shown, gave, shown)
    kept = stored(watched).of_grant(picked.case.id)
    assert [each.number for each in kept] == [0, 1, 2]


async def test_a_key_leads_on_for_each_of_many_that_showed_it_before(watched: Scenario) -> None:
    picked = await watched.granted()
    key = Key("access-key", "AKIA7")
    shown = said(watched, "call", keys=(key,))
    # an id that the log does not have is no grant, whatever else it shows
    stray = said(watched, "call", keys=(key, Key("account", "mun_" + "a" * 26)))
    for _ in range(3):
        await take(watched, *[shown] * 600, stray)
    await take(watched, said(watched, "credential.issued", account_of(picked), keys=(key,)))
    kept = stored(watched).of_grant(picked.case.id, limit=3000)
    assert len(kept) == 3 * 600 + 1
    assert len(stored(watched).unlinked(key)) == 3


async def test_what_is_no_key_that_is_given_out_is_not_looked_up(watched: Scenario) -> None:
    store = stored(watched)
    asked: list[Key] = []
    store.joined = asked.append  # type: ignore[method-assign, assignment]
    kinds = ("certificate", "session-name", "header", "token")
    await take(watched, said(watched, "call", keys=tuple(Key(kind, "x") for kind in kinds)))
    assert asked == [Key("token", "x")]


async def test_a_grant_that_cannot_be_read_at_the_moment_is_not_taken_for_none(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    picked = await watched.granted()
    sent = said(watched, "statement", account_of(picked))
    with monkeypatch.context() as patched:
        patched.setattr(watched.service.log, "read_case", down)
        with pytest.raises(Unavailable):
            await take(watched, sent)
    assert stored(watched).state("orders-log").next == 0
    await take(watched, sent)
    (kept,) = stored(watched).after(0)
    assert (kept.link.grant, kept.link.standing) == (picked.case.id, "within")


def down(*_: Any, **__: Any) -> Any:
    raise LogUnavailable("the log is down")


# --- the log is down, or the service ends


async def test_what_was_kept_is_not_asked_for_again_because_a_silence_ends(
    watched: Scenario,
) -> None:
    await take(watched)
    await observe.keep_up(watched.service)
    watched.clock.advance(6 * MINUTE)
    await observe.listen_for_silence(watched.service)
    watched.clock.advance(MINUTE)
    watched.break_log()
    assert await take(watched, said(watched, "other")) == (1, 0)
    watched.mend_log()
    assert watched.service.registry.sources["orders-log"].is_silent
    for _ in range(2):
        await observe.listen_for_silence(watched.service)
    seen = watched.service.registry.sources["orders-log"]
    assert [gap.why for _, gap in seen.gaps] == ["silence", "resumed"]


async def test_no_number_is_given_twice_though_the_store_was_lost(watched: Scenario) -> None:
    await take(watched, *[said(watched, "other")] * 5)
    await observe.seal(watched.service)
    observing(watched, EventsInMemory())  # a new, empty one
    await take(watched, *[said(watched, "other")] * 2)
    store = stored(watched)
    assert [each.number for each in store.after(0)] == [5, 6]
    assert store.sealed_by("orders-log", 5) is None
    assert await observe.seal(watched.service) == 2
    case = watched.service.registry.sources["orders-log"].case
    last = watched.records(case)[-1]
    assert isinstance(last, records.EventsReceived)
    assert (last.start, last.count) == (5, 2)
    assert last.root == event_batch.root(store.commitments("orders-log", 5, 7))


async def test_a_source_that_is_declared_no_more_is_recorded_to_its_last_event(
    watched: Scenario,
) -> None:
    await take(watched, said(watched, "other"), said(watched, "other"))
    watched.service.observing.sources = {}
    assert await observe.seal(watched.service) == 2
    seen = watched.service.registry.sources["orders-log"]
    assert (seen.next, seen.resource) == (2, "orders-prod")


async def test_what_is_wrong_with_one_source_keeps_no_other_from_being_recorded(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in ("orders-log", "trail"):
        await take(watched, said(watched, "other"), source=source)
    store = stored(watched)
    really = store.commitments

    def missing(source: str, start: int, stop: int) -> list[bytes]:
        if source == "orders-log":
            raise Unavailable("its commitments cannot be read")
        return really(source, start, stop)

    monkeypatch.setattr(store, "commitments", missing)
    with pytest.raises(Unavailable, match="its commitments"):
        await observe.seal(watched.service)
    assert watched.service.registry.sources.keys() == {"trail"}


async def test_all_that_came_is_recorded_however_fast_it_came(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "MOST_SEALED", 2)
    await take(watched, *[said(watched, "other")] * 5)
    assert await observe.seal(watched.service) == 5
    case = watched.service.registry.sources["orders-log"].case
    batches = [each for each in watched.records(case) if isinstance(each, records.EventsReceived)]
    assert [(each.start, each.count) for each in batches] == [(0, 2), (2, 2), (4, 1)]


async def test_two_sources_at_once_number_their_events_each_for_itself(watched: Scenario) -> None:
    await asyncio.gather(
        *(
            take(watched, said(watched, "other"), said(watched, "other"), source=source)
            for _ in range(10)
            for source in ("orders-log", "trail")
        )
    )
    store = stored(watched)
    assert [(each.source, each.next) for each in store.states()] == [
        ("orders-log", 20),
        ("trail", 20),
    ]
    log_id = watched.service.log.log_id
    for kept in store.after(0):
        raw = store.raw(kept.source, kept.number)
        assert raw is not None
        committed = event_batch.commitment(log_id, raw.salt, kept.source, kept.number, raw.raw)
        assert store.commitments(kept.source, kept.number, kept.number + 1) == [committed]


async def test_what_is_being_taken_when_the_service_ends_is_kept_and_no_more_is(
    watched: Scenario,
) -> None:
    taking = asyncio.create_task(take(watched, said(watched, "other")))
    await asyncio.sleep(0)  # its work is with the thread now
    watched.service.observing.close()
    assert await taking == (1, 0)
    with pytest.raises(Unavailable, match="the service is stopping"):
        await take(watched, said(watched, "other"))


# --- detectors


def detection(scenario: Scenario) -> Detection:
    service = scenario.service
    store = service.observing.store
    assert store is not None
    live = [each for each in BUILT_IN if each.rule.id not in SCANNED]
    windows = GrantWindows(service=service, store=store)
    surroundings = Around(service=service, correlator=Correlator(service.prefix, windows))
    rules = {
        each.rule.id: RuleSet(rule=each.rule, thresholds=thresholds(each.rule, {})) for each in live
    }
    rules[FAILED.id] = RuleSet(rule=FAILED, thresholds={})
    watch, recorded = Watch(live, {}, WorkingDays()), Recorded(world=surroundings)
    return Detection(
        service=service, watch=watch, rules=rules, around=surroundings, recorded=recorded
    )


def rules_raised(scenario: Scenario) -> list[str]:
    rows = scenario.service.projections.cases(kind="finding")
    found = [findings.read(scenario.service, row.case)[0].raised.rule for row in rows]
    return [rule for rule in found if rule != "control-changed"]


async def change(scenario: Scenario, name: str, **more: Any) -> None:
    """What detectors have to say something about."""
    more = {"action": "GRANT", "object": name, **more}
    await take(scenario, said(scenario, "access.changed", "postgres", **more))


async def test_what_was_found_while_the_log_was_down_is_raised_once_it_is_back(
    watched: Scenario,
) -> None:
    watching = detection(watched)
    await watching.look()
    await change(watched, "backdoor")
    watched.break_log()
    with pytest.raises(LogUnavailable):
        await watching.look()
    await change(watched, "another")
    with pytest.raises(LogUnavailable):  # nor is more looked for than can be raised
        await watching.look()
    assert watching._row == 1  # how far it has seen
    watched.mend_log()
    await watching.look()
    assert rules_raised(watched) == ["role-written-by-others"]
    assert watching._row == 2


async def test_what_is_new_counts_though_it_happened_before_the_last_that_was_found(
    watched: Scenario,
) -> None:
    watching = detection(watched)
    await watching.look()
    await change(watched, "backdoor")
    await watching.look()
    for late in (60, 0):
        await change(watched, "backdoor", at=watched.service.now() - late * MINUTE)
        await watching.look()
    ((case, tally),) = watched.service.pace.findings.items()
    assert (tally.count, rules_raised(watched)) == (2, ["role-written-by-others"])
    await detection(watched).look()  # after a restart none of it is
    assert watched.service.pace.findings[case].count == 2


async def test_what_was_counted_is_counted_once_whoever_begins_anew(watched: Scenario) -> None:
    watching = detection(watched)
    await watching.look()
    for minutes in range(3):
        await change(watched, "backdoor", at=watched.service.now() + minutes * MINUTE)
        await watching.look()
    ((case, tally),) = watched.service.pace.findings.items()
    assert tally.count == 2
    anew = detection(watched)
    await anew.look()  # as after a reload
    assert watched.service.pace.findings[case].count == 2
    await change(watched, "backdoor", at=watched.service.now() + MINUTE)
    await anew.look()
    assert watched.service.pace.findings[case].count == 3


async def test_what_could_not_be_read_is_seen_the_next_time(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = detection(watched)
    await watching.look()
    picked = await watched.granted()
    await take(watched, said(watched, "statement", account_of(picked)))
    await watched.end("ana", picked)
    await watched.advance(5 * MINUTE)
    await take(watched, said(watched, "statement", account_of(picked)))
    with monkeypatch.context() as patched:
        patched.setattr(watched.service.log.store, "entries", down)
        with pytest.raises(LogUnavailable):
            await watching.look()
    with monkeypatch.context() as patched:
        patched.setattr(watched.service, "read", down)
        with pytest.raises(LogUnavailable):
            await watching.look()
    await watching.look()
    assert "use-outside-window" in rules_raised(watched)


async def test_what_was_there_before_is_seen_though_the_store_did_not_answer_at_first(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    await change(watched, "backdoor")
    watching = detection(watched)
    for method in ("between", "after"):
        with monkeypatch.context() as patched:
            patched.setattr(stored(watched), method, down)
            with pytest.raises(Unavailable):
                await watching.look()
    await watching.look()
    assert rules_raised(watched) == ["role-written-by-others"]


async def test_incidents_of_ever_new_resources_fill_no_memory(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(around, "_MOST_RESOURCES", 3)
    watching, now = detection(watched), watched.service.now()
    for type, left in (("incident.opened", 3), ("statement", 3), ("incident.closed", 0)):
        sent = [said(watched, type, resource=f"r{number}", object="INC-1") for number in range(5)]
        await take(watched, *sent, source="trail")
        await watching.look()
        known = [each for each in range(5) if watching.around.incident(f"r{each}", now)]
        assert len(known) == left


async def test_what_can_never_be_read_keeps_nothing_behind_it_from_being_seen(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watching = detection(watched)
    await watching.look()
    really = watching.recorded.see

    def see(entry: Any) -> Iterator[Any]:
        if entry.header.kind == "events:received":
            raise KeyError("a bug")
        return really(entry)

    monkeypatch.setattr(watching.recorded, "see", see)
    await take(watched)
    await observe.seal(watched.service)
    await watched.pick_up("bo", await watched.ask("bo", emergency=True, incident="INC-1"))
    await watching.look()
    assert "break-glass-used" in rules_raised(watched)
    assert "KeyError" in caplog.text
    assert "a bug" not in caplog.text


async def test_others_have_their_turn_while_thousands_of_hits_are_raised(
    watched: Scenario,
) -> None:
    watching = detection(watched)
    await watching.look()
    sent = [
        said(watched, "access.changed", f"other{number}", action="GRANT", object="orders")
        for number in range(3 * MOST_RAISED)
    ]
    await take(watched, *sent)
    size, turns = watched.service.log.size, 0
    looking = asyncio.create_task(watching.look())
    while not looking.done():
        await asyncio.sleep(0)
        turns += 1
    await looking
    assert watched.service.log.size == size + MOST_RAISED + 1  # the rest is counted in one
    assert turns > len(sent)


async def test_a_session_that_goes_on_is_looked_at_now_and_then_and_soon_once_it_is_over(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching, looked = detection(watched), 0

    async def counted(*given: Any) -> bool:
        nonlocal looked
        looked += 1
        return await record_sessions(*given)

    monkeypatch.setattr("muniment.operations.detect.record_sessions", counted)
    await watching.look()
    picked = await watched.granted()
    for _ in range(60):  # a statement every ten seconds
        await take(watched, said(watched, "statement", account_of(picked)))
        await watching.look()
        watched.clock.advance(timedelta(seconds=10))
    assert 3 < looked < 8
    await take(watched, said(watched, "session.closed", account_of(picked)))
    await observe.seal(watched.service)
    await watching.look()
    watched.clock.advance(timedelta(seconds=detect.SETTLES))
    await watching.look()
    (row,) = watched.service.projections.cases(kind="session", about=picked.case.id)
    assert row.state == "within"


# --- much of it


async def test_batches_are_found_in_few_questions_however_many_events(tmp_path: Path) -> None:
    async with Scenario(tmp_path) as scenario:
        store = EventsInMemory()
        observing(scenario, store)
        await take(scenario, *[said(scenario, "other")] * 200)
        for stop, index in ((60, 7), (61, 8), (150, 9)):
            store.seal("orders-log", stop, 0, index)
        questions = 0
        really = store.sealed_by

        def counted(source: str, number: int) -> int | None:
            nonlocal questions
            questions += 1
            return really(source, number)

        store.sealed_by = counted  # type: ignore[method-assign]
        for numbers in ([], [3], [149, 150], list(range(200)), list(range(1, 200, 7))):
            found = sealed_by(store, "orders-log", numbers)
            assert found == [really("orders-log", number) for number in numbers]
        assert questions < 100


async def test_commitments_far_apart_are_those_of_their_events(tmp_path: Path) -> None:
    async with Scenario(tmp_path) as scenario:
        store = SQLiteEventStore(tmp_path / "events.db")
        observing(scenario, store)
        sent = [said(scenario, "other")] * 5000
        for _ in range(4):
            await take(scenario, *sent)
        numbers = [0, 5, 8191, 8192, 16_500, 19_999]
        found = list(commitments(store, "orders-log", numbers))
        assert found == [store.commitments("orders-log", n, n + 1)[0] for n in numbers]
        assert list(commitments(store, "orders-log", [])) == []
        scenario.service.observing.close()


async def test_a_story_says_that_there_is_more_than_was_looked_at(watched: Scenario) -> None:
    picked = await watched.granted()
    sent = said(watched, "statement", account_of(picked))
    await take(watched, *[sent] * MOST_EVENTS)
    assert not observed(watched.service, watched.read(picked))["cut"]
    await take(watched, sent)
    assert observed(watched.service, watched.read(picked))["cut"]
    (session,) = sessions_of(stored(watched), picked.case.id)
    assert len(session.numbers) == MOST_EVENTS + 1


async def test_a_session_is_told_with_whether_its_grant_has_more_events_than_were_looked_at(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe_sessions, "MOST_EVENTS", 4)
    monkeypatch.setattr(observe_sessions, "EVENTS", 3)
    picked = await watched.granted()
    for count, cut in ((4, False), (1, True)):
        await take(watched, *[said(watched, "statement", account_of(picked))] * count)
        (session,) = sessions_of(stored(watched), picked.case.id)
        assert (len(session.numbers), session.cut) == (4, cut)
