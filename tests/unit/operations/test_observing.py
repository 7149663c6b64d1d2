"""Events come in, are linked to grants, stand in the log, and become sessions of a grant."""

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from muniment.access import check, records
from muniment.errors import Conflict, NotFound, Unavailable, Unreadable
from muniment.evidence import event_batch, moment
from muniment.evidence.bundle import Bundle
from muniment.evidence.record import Header
from muniment.operations import observe, observe_sessions, sweep
from muniment.operations.around import Around
from muniment.operations.grant_windows import GrantWindows
from muniment.operations.intake import Intake
from muniment.operations.issue import PickedUp
from muniment.operations.observe_sessions import case_of, record_sessions, sessions_of
from muniment.operations.observing import Observing, Source
from muniment.operations.story import observed
from muniment.oversight.event import Event, Key, ReaderSettings
from muniment.oversight.event_store import Chunk
from muniment.oversight.link import Correlator
from muniment.testing.events_in_memory import EventsInMemory
from muniment.testing.scenario import Scenario
from muniment.testing.trial_events import chunk

MINUTE = timedelta(minutes=1)


class PlainReader:
    """Reads one JSON object with the fields of an event."""

    kind: ClassVar[str] = "plain"

    def __init__(self, settings: ReaderSettings) -> None:
        self.settings = settings

    def cut(self, buffer: bytes) -> tuple[list[bytes], bytes]:
        *lines, rest = buffer.split(b"\n")
        return lines, rest

    def unpack(self, body: bytes) -> list[bytes]:
        return body.splitlines()

    def read(self, record: bytes) -> Event:
        try:
            said = json.loads(record)
        except ValueError:
            raise Unreadable("it is no JSON") from None
        keys = tuple(Key(*each) for each in said.pop("keys", ()))
        return Event(at=datetime.fromisoformat(said.pop("at")), keys=keys, **said)


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Scenario]:
    """A scenario with one source, `orders-log`, that speaks of `orders-prod`."""
    async with Scenario(tmp_path) as scenario:
        observe_with(scenario)
        yield scenario


def observe_with(scenario: Scenario, store: EventsInMemory | None = None) -> EventsInMemory:
    store = store or EventsInMemory()
    source = Source(
        name="orders-log",
        resource="orders-prod",
        reader=PlainReader(ReaderSettings(prefix="mun")),
        make_reader=partial(PlainReader, ReaderSettings(prefix="mun")),
        heartbeat=5 * MINUTE,
        expects=("session.opened", "logging.changed"),
    )
    scenario.service.observing = Observing(
        store=store,
        sources={"orders-log": source},
        intake=Intake(service=scenario.service, store=store),
    )
    return store


def line(scenario: Scenario, type: str, account: str = "", **said: Any) -> bytes:
    at = said.pop("at", None) or scenario.service.now()
    keys = [["account", account]] if account else []
    told = {"type": type, "at": at.isoformat(), "account": account, "keys": keys, **said}
    return json.dumps(told).encode()


async def used(scenario: Scenario, picked: PickedUp) -> str:
    """A session of a grant, from its login to its end, as the target's log has it."""
    account = picked.issued.account if picked.issued is not None else ""
    sent = [line(scenario, "session.opened", account, session="s1", client="192.0.2.7")]
    await scenario.advance(MINUTE)
    sent.append(line(scenario, "statement", account, session="s1", detail="SELECT 1"))
    await scenario.advance(MINUTE)
    sent.append(line(scenario, "session.closed", account, session="s1"))
    await observe.take(scenario.service, "orders-log", sent, "3")
    return account


async def test_what_a_source_sent_is_kept_with_its_cursor_and_linked(watched: Scenario) -> None:
    picked = await watched.granted()
    sent = [
        line(watched, "statement", picked.issued.account if picked.issued else ""),
        b"{nonsense",
    ]
    taken = await observe.take(watched.service, "orders-log", sent, "offset 7")
    assert (taken.kept, taken.rejected) == (1, 1)
    store = watched.service.observing.store
    assert store is not None
    state = store.state("orders-log")
    assert (state.next, state.rejected, state.cursor) == (1, 1, "offset 7")
    (kept,) = store.of_grant(picked.case.id)
    assert (kept.link.strength, kept.link.standing, kept.resource) == (
        "strong",
        "within",
        "orders-prod",
    )


class Contended(EventsInMemory):
    """Where another node adds at the same moment, and is faster."""

    def __init__(self, *chunks: Chunk) -> None:
        super().__init__()
        self.others = list(chunks)

    def add(self, chunk: Chunk) -> None:
        if self.others:
            super().add(self.others.pop(0))
        super().add(chunk)


async def test_events_that_another_node_was_faster_than_are_numbered_behind_its_own(
    watched: Scenario,
) -> None:
    store = observe_with(watched, Contended(chunk(0, 3), chunk(3, 4)))
    sent = [line(watched, "other")]
    await observe.take(watched.service, "orders-log", sent)
    raw = store.raw("orders-log", 7)
    assert raw is not None
    committed = event_batch.commitment(
        watched.service.log.log_id, raw.salt, "orders-log", 7, sent[0]
    )
    assert store.commitments("orders-log", 7, 9) == [committed]
    observe_with(watched, Contended(*(chunk(n, 1) for n in range(100))))
    with pytest.raises(Unavailable, match="other nodes keep adding"):
        await observe.take(watched.service, "orders-log", sent)


async def test_what_another_node_has_read_already_is_not_taken_again(watched: Scenario) -> None:
    ahead = chunk(0, 1, cursor="a", after="")
    store = observe_with(watched, Contended(ahead))
    sent = [line(watched, "other")]
    for _ in range(2):  # it overtakes us; and it was there before us
        with pytest.raises(Conflict, match="read on by somebody else"):
            await observe.take(watched.service, "orders-log", sent, "a", after="")
    await observe.take(watched.service, "orders-log", sent, "b", after="a")
    state = store.state("orders-log")
    assert (state.next, state.cursor) == (2, "b")


async def test_a_source_that_nobody_declared_is_not_heard(watched: Scenario) -> None:
    with pytest.raises(NotFound, match="no source of events is called `other`"):
        await observe.take(watched.service, "other", [b"{}"])
    watched.service.observing.intake = None
    with pytest.raises(Unavailable, match="nothing is observed here"):
        await observe.take(watched.service, "orders-log", [b"{}"])


async def test_the_log_has_a_root_over_everything_that_came(watched: Scenario) -> None:
    picked = await watched.granted()
    await used(watched, picked)
    assert await observe.seal(watched.service) == 3
    assert await observe.seal(watched.service) == 0  # there is nothing new to say
    store = watched.service.observing.store
    assert store is not None
    index = store.sealed_by("orders-log", 0)
    seen = watched.service.registry.sources["orders-log"]
    record = watched.records(seen.case)[-1]
    assert isinstance(record, records.EventsReceived)
    assert (record.start, record.count, record.rejected, index) == (
        0,
        3,
        0,
        watched.service.log.size - 1,
    )
    committed = store.commitments("orders-log", 0, 3)
    assert record.root == event_batch.root(committed)
    # one of them is shown to be what came, though its neighbours are gone
    store.erase("orders-log", [0, 2])
    raw = store.raw("orders-log", 1)
    assert raw is not None
    shown = event_batch.commitment(watched.service.log.log_id, raw.salt, "orders-log", 1, raw.raw)
    event_batch.verify(shown, 1, 3, event_batch.prove(committed, 1), record.root)


async def test_batches_follow_one_another_without_a_gap(watched: Scenario) -> None:
    for number in range(3):
        await observe.take(watched.service, "orders-log", [line(watched, "other")] * (number + 1))
        await observe.seal(watched.service)
    seen = watched.service.registry.sources["orders-log"]
    batches = [
        each for each in watched.records(seen.case) if isinstance(each, records.EventsReceived)
    ]
    assert [(each.start, each.count) for each in batches] == [(0, 1), (1, 2), (3, 3)]
    assert seen.next == 6


async def test_the_log_says_from_when_on_a_source_is_heard_though_it_says_nothing(
    watched: Scenario,
) -> None:
    await observe.take(watched.service, "orders-log", [])
    assert observe.is_due(watched.service)
    for _ in range(2):
        await observe.seal(watched.service)
    seen = watched.service.registry.sources["orders-log"]
    (record,) = watched.records(seen.case)
    assert isinstance(record, records.EventsReceived)
    assert (record.start, record.count, seen.since) == (0, 0, watched.service.now())


async def test_what_could_not_be_read_is_counted_in_the_log(watched: Scenario) -> None:
    await observe.take(watched.service, "orders-log", [b"nonsense", b"more of it"])
    await observe.seal(watched.service)
    seen = watched.service.registry.sources["orders-log"]
    assert (seen.next, seen.rejected) == (0, 2)


async def test_a_batch_that_was_recorded_just_before_a_crash_is_not_recorded_twice(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = watched.service.observing.store
    assert isinstance(store, EventsInMemory)
    await observe.take(watched.service, "orders-log", [line(watched, "other")] * 2)
    with monkeypatch.context() as patched:
        patched.setattr(store, "seal", lambda *_: (_ for _ in ()).throw(Unavailable("crash")))
        with pytest.raises(Unavailable, match="crash"):
            await observe.seal(watched.service)
    await observe.take(watched.service, "orders-log", [line(watched, "other")])
    assert await observe.seal(watched.service) == 1
    seen = watched.service.registry.sources["orders-log"]
    batches = [
        each for each in watched.records(seen.case) if isinstance(each, records.EventsReceived)
    ]
    assert [(each.start, each.count) for each in batches] == [(0, 2), (2, 1)]
    assert store.sealed_by("orders-log", 0) == store.sealed_by("orders-log", 1)


async def test_a_store_that_was_lost_goes_on_behind_what_the_log_has(watched: Scenario) -> None:
    await observe.take(watched.service, "orders-log", [line(watched, "other")] * 5)
    await observe.seal(watched.service)
    observe_with(watched)  # a new, empty one
    await observe.take(watched.service, "orders-log", [])
    await observe.seal(watched.service)
    await observe.take(watched.service, "orders-log", [line(watched, "other")])
    await observe.seal(watched.service)
    seen = watched.service.registry.sources["orders-log"]
    last = watched.records(seen.case)[-1]
    assert isinstance(last, records.EventsReceived)
    assert (last.start, last.count) == (5, 1)


async def test_silence_is_recorded_once_and_so_is_its_end(watched: Scenario) -> None:
    await observe.take(watched.service, "orders-log", [line(watched, "other")])
    await observe.listen_for_silence(watched.service)
    assert "orders-log" not in watched.service.registry.sources
    watched.clock.advance(6 * MINUTE)
    for _ in range(3):
        await observe.listen_for_silence(watched.service)
    seen = watched.service.registry.sources["orders-log"]
    assert ([gap.why for _, gap in seen.gaps], seen.is_silent) == (["silence"], True)
    await observe.take(watched.service, "orders-log", [])
    seen = watched.service.registry.sources["orders-log"]
    assert ([gap.why for _, gap in seen.gaps], seen.is_silent) == (["silence", "resumed"], False)


async def test_a_source_that_speaks_before_it_is_called_silent_is_not(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    missed = observe.missed

    async def speak_first(*given: Any, **named: Any) -> None:
        await observe.take(watched.service, "orders-log", [line(watched, "other")])
        await missed(*given, **named)

    await observe.take(watched.service, "orders-log", [line(watched, "other")])
    await observe.listen_for_silence(watched.service)
    watched.clock.advance(6 * MINUTE)
    monkeypatch.setattr(observe, "missed", speak_first)
    await observe.listen_for_silence(watched.service)
    assert "orders-log" not in watched.service.registry.sources


async def test_a_source_that_speaks_while_it_is_recorded_as_silent_is_heard_again(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = observe._append

    async def speak_first(*given: Any) -> Any:
        await observe.take(watched.service, "orders-log", [line(watched, "other")])
        return await append(*given)

    await observe.take(watched.service, "orders-log", [line(watched, "other")])
    await observe.listen_for_silence(watched.service)
    watched.clock.advance(6 * MINUTE)
    with monkeypatch.context() as patched:
        patched.setattr(observe, "_append", speak_first)
        await observe.listen_for_silence(watched.service)
    assert watched.service.registry.sources["orders-log"].is_silent
    await observe.listen_for_silence(watched.service)
    seen = watched.service.registry.sources["orders-log"]
    assert [gap.why for _, gap in seen.gaps] == ["silence", "resumed"]


@pytest.mark.parametrize("heard_again", [False, True])
async def test_what_was_silent_all_the_time_missed_what_happened_in_it(
    watched: Scenario, *, heard_again: bool
) -> None:
    service = watched.service
    await observe.take(service, "orders-log", [line(watched, "other")])
    await observe.keep_up(service)
    await watched.advance(6 * MINUTE)
    await observe.keep_up(service)
    await watched.advance(MINUTE)
    picked = await watched.granted()
    await watched.advance(MINUTE)
    await watched.end("ana", picked)
    await watched.advance(MINUTE)
    if heard_again:
        await observe.take(service, "orders-log", [])
    await watched.advance(MINUTE)
    (source,) = observed(service, service.read(picked.case.id)[0])["coverage"]
    assert [gap["why"] for gap in source["gaps"]] == ["silence"]
    windows = GrantWindows(service=service, store=EventsInMemory())
    around = Around(service=service, correlator=Correlator(service.prefix, windows))
    case = service.read(picked.case.id)[0]
    assert case.starts is not None
    assert around.usage(case.id, case.starts, service.now()) is None
    later = await watched.granted()
    (source,) = observed(service, service.read(later.case.id)[0])["coverage"]
    assert (source["gaps"] == []) == heard_again


async def test_the_record_of_a_session_says_that_its_grant_has_more_events(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe_sessions, "MOST_EVENTS", 2)
    picked = await watched.granted()
    await used(watched, picked)
    service, store = watched.service, watched.service.observing.store
    assert store is not None
    await observe.seal(service)
    # its end is among what was not looked at: it is over with its grant
    await watched.advance(timedelta(hours=1) + observe_sessions.QUIET)
    assert await record_sessions(service, store, picked.case.id)
    (row,) = service.projections.cases(kind="session", about=picked.case.id)
    told = service.section(service.log.read_case(row.case)[0], "session")
    assert told is not None
    assert (told["events"], told["cut"]) == ([[0, 1]], True)


async def test_a_session_is_recorded_once_it_is_over_and_the_log_has_its_events(
    watched: Scenario,
) -> None:
    picked = await watched.granted()
    account = await used(watched, picked)
    service, store = watched.service, watched.service.observing.store
    assert store is not None
    assert not await record_sessions(service, store, picked.case.id)  # the log lacks its events
    await observe.seal(service)
    assert await record_sessions(service, store, picked.case.id)
    assert await record_sessions(service, store, picked.case.id)
    (session,) = sessions_of(store, picked.case.id)
    entries = service.log.read_case(case_of(service, session))
    record = records.parse(entries[0].header)
    assert isinstance(record, records.SessionObserved)
    assert (record.about, record.source, record.resource) == (
        picked.case.id,
        "orders-log",
        "orders-prod",
    )
    assert (record.strength, record.standing, record.events, record.actions) == (
        "strong",
        "within",
        3,
        1,
    )
    assert record.root == event_batch.root(store.commitments("orders-log", 0, 3))
    batch = service.registry.sources["orders-log"].case
    assert watched.entries(batch)[-1].leaf in entries[0].header.follows
    told = service.section(entries[0], "session")
    assert told == {
        "account": account,
        "clients": ["192.0.2.7"],
        "cut": False,
        "events": [[0, 2]],
        "killed": False,
        "session": "s1",
    }
    (row,) = service.projections.cases(kind="session", about=picked.case.id)
    assert (row.case, row.state, row.closed) == (entries[0].header.case, "within", True)
    assert sweep.wrong_rows(service) == []
    service.projections.put_right([], [row.case])  # the log has it: its line stays
    assert service.projections.case_row(row.case) == row


async def test_the_bundle_of_a_grant_carries_what_was_done_under_it(watched: Scenario) -> None:
    picked = await watched.granted()
    await used(watched, picked)
    service, store = watched.service, watched.service.observing.store
    assert store is not None
    await observe.seal(service)
    await record_sessions(service, store, picked.case.id)
    await watched.end("ana", picked)
    bundle = await watched.export("aud", picked)
    checked = check.verify(bundle, watched.keyring.verifiers)
    assert "removal verified" in checked.state
    told = [Header.parse(each.header).kind for each in Bundle.parse(bundle).records]
    assert (told.count("session:observed"), told.count("events:received")) == (1, 1)


async def test_a_session_that_goes_on_is_not_recorded_before_its_grant_is_over(
    watched: Scenario,
) -> None:
    picked = await watched.granted()
    account = picked.issued.account if picked.issued is not None else ""
    service, store = watched.service, watched.service.observing.store
    assert store is not None
    await observe.take(
        service, "orders-log", [line(watched, "session.opened", account, session="s1")]
    )
    await observe.seal(service)
    assert not await record_sessions(service, store, picked.case.id)
    await watched.end("ana", picked)
    await watched.advance(6 * MINUTE)
    assert await record_sessions(service, store, picked.case.id)


async def test_many_deployments_elsewhere_do_not_hide_the_one_on_this_target(
    watched: Scenario,
) -> None:
    picked = await watched.granted()
    elsewhere = line(watched, "deployment", object="stock 2", resource="stock-prod")
    anywhere = line(watched, "incident.opened", object="the net is down", resource="")
    here = line(watched, "deployment", object="orders 1.2.3")
    sent = [*[elsewhere] * 300, anywhere, here]
    await observe.take(watched.service, "orders-log", sent)
    story = observed(watched.service, watched.service.read(picked.case.id)[0])
    assert [each["object"] for each in story["around"]] == ["the net is down", "orders 1.2.3"]


async def test_the_story_of_a_grant_has_what_was_done_and_who_says_so(watched: Scenario) -> None:
    await observe.take(watched.service, "orders-log", [])
    await observe.missed(watched.service, "orders-log", "cursor")
    await watched.advance(MINUTE)
    picked = await watched.granted()
    await used(watched, picked)
    deployed = line(watched, "deployment", object="orders 1.2.3")
    early = line(watched, "deployment", object="x", at=watched.service.now() - timedelta(hours=3))
    await observe.take(watched.service, "orders-log", [deployed, early])
    await observe.seal(watched.service)
    await watched.end("ana", picked)
    story = observed(watched.service, watched.service.read(picked.case.id)[0])
    (session,) = story["sessions"]
    assert [each["type"] for each in session["lines"]] == [
        "session.opened",
        "statement",
        "session.closed",
    ]
    batch = watched.service.registry.sources["orders-log"].case
    sealed = [entry.index for entry in watched.entries(batch)][-1]
    assert {each["index"] for each in session["lines"]} == {sealed}
    (around,) = story["around"]
    assert (around["object"], around["near"]) == ("orders 1.2.3", "inside")
    (source,) = story["coverage"]
    assert (source["covers"], source["gaps"], source["never_came"]) == (
        True,
        [],
        ["logging.changed"],
    )
    assert moment.parse(source["since"]) < watched.service.now()


async def test_the_story_says_what_was_missed_while_the_grant_lived(watched: Scenario) -> None:
    picked = await watched.granted()
    await observe.take(watched.service, "orders-log", [])
    await watched.advance(MINUTE)
    await observe.missed(watched.service, "orders-log", "count", count=12)
    (source,) = observed(watched.service, watched.service.read(picked.case.id)[0])["coverage"]
    assert [(gap["why"], gap["count"]) for gap in source["gaps"]] == [("count", 12)]
    assert not source["covers"]  # nothing was recorded of it before the grant began
