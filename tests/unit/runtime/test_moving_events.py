"""What sources said is moved to another store: the same numbers, commitments, seals and cursors."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from muniment.access import records
from muniment.errors import Conflict, LogInvalid, Unavailable
from muniment.operations.observing import case_of
from muniment.oversight.event import Key
from muniment.oversight.event_store import Chunk, EventStore
from muniment.runtime import move_events as moving
from muniment.runtime.move_events import MovedEvents, move_events
from muniment.stores.events import SQLiteEventStore
from muniment.stores.postgresql.events import PostgreSQLEventStore
from muniment.testing.cases import WrittenLog
from muniment.testing.log_servers import DURABLE, make_database
from muniment.testing.postgres_server import PostgresServer
from muniment.testing.trial_events import (
    AT,
    MUN_A,
    STRONG,
    arrived,
    chunk,
    event,
    everything,
    numbers,
    of,
)

TOKEN = Key("token", "t-1")


@pytest.fixture
def held() -> Iterator[ExitStack]:
    with ExitStack() as held:
        yield held


@pytest.fixture
def log(tmp_path: Path, held: ExitStack) -> WrittenLog:
    return held.enter_context(closing(WrittenLog(tmp_path)))


@pytest.fixture
def old(tmp_path: Path, held: ExitStack) -> SQLiteEventStore:
    return held.enter_context(closing(SQLiteEventStore(tmp_path / "old.db")))


@pytest.fixture
def new(tmp_path: Path, held: ExitStack) -> SQLiteEventStore:
    return held.enter_context(closing(SQLiteEventStore(tmp_path / "new.db")))


@pytest.fixture
def shared(tmp_path: Path, held: ExitStack) -> EventStore:
    """In PostgreSQL."""
    server = held.enter_context(PostgresServer.start(tmp_path / "server", settings=DURABLE))
    conninfo, _ = make_database(server, "events", "events")
    return held.enter_context(closing(PostgreSQLEventStore(conninfo, "new")))


def seal(log: WrittenLog, store: EventStore | None, start: int, count: int, rejected: int) -> int:
    """As the log has it; and the store too, where it lived to be told."""
    case = case_of(log.store.leaves(0, 1), "orders-log")
    record = records.EventsReceived(
        actor=records.SERVICE, source="orders-log", resource="orders-prod", start=start,
        count=count, root=bytes(32), rejected=rejected, first=AT, last=AT,
    )  # fmt: skip
    entry = log.append(case, record)
    if store is not None:
        store.seal("orders-log", start + count, rejected, entry.index)
    return entry.index


def fill(old: EventStore, log: WrittenLog) -> None:
    """Two sources; something is linked, erased, rejected, sealed, lost, and waits for a key."""
    old.add(chunk(0, 40, rejected=3))
    old.add(chunk(0, 2, "other-log", cursor=None))
    seal(log, old, 0, 40, 3)
    lost = seal(log, None, 40, 10, 0)  # the store was put back from before this
    old.seal("orders-log", 50, 3, lost)
    old.add(chunk(50, 30, resource="orders-new"))
    linked = arrived("orders-log", 80, link=STRONG, keys=(TOKEN,), type="credential.issued")
    waits = arrived("orders-log", 81, keys=(Key("token", "t-2"),), resource="of-its-own")
    old.add(chunk(80, 0, arrived=[linked, waits], cursor="at the end"))
    old.add(chunk(2, 3, "other-log", cursor=None))
    old.join(TOKEN, MUN_A)
    old.erase("orders-log", [0, 7, 33, 60])
    old.move("quiet-log", "somewhere")


def check_same(old: EventStore, new: EventStore) -> None:
    before, after = everything(old), everything(new)
    assert after[0] == before[0]
    assert [replace(kept, row=0) for kept in after[1]] == [
        replace(kept, row=0) for kept in before[1]
    ]
    assert after[2] == before[2]
    for kept in before[1]:
        assert new.raw(kept.source, kept.number) == old.raw(kept.source, kept.number)
        assert new.sealed_by(kept.source, kept.number) == old.sealed_by(kept.source, kept.number)
    assert new.joined(TOKEN) == MUN_A
    waiting = Key("token", "t-2")
    assert numbers(new.unlinked(waiting)) == numbers(old.unlinked(waiting)) == [81]
    assert numbers(new.of_grant(MUN_A)) == [80]


def test_everything_is_in_the_new_place_under_its_number(
    old: SQLiteEventStore, new: SQLiteEventStore, log: WrittenLog
) -> None:
    fill(old, log)
    assert move_events(old, new, log.store) == MovedEvents(sources=3, events=87)
    check_same(old, new)
    move_events(old, new, log.store)  # once more
    check_same(old, new)
    new.add(chunk(82, 1, after="at the end"))


@pytest.mark.target
def test_so_it_is_in_postgresql(old: SQLiteEventStore, shared: EventStore, log: WrittenLog) -> None:
    fill(old, log)
    for _ in range(2):
        move_events(old, shared, log.store)
        check_same(old, shared)


class Failing(SQLiteEventStore):
    """Takes so many writes, then none."""

    left = 0

    def _commit(self, connection: object) -> None:
        self.left -= 1
        if self.left < 0:
            raise Unavailable("the server is gone")
        super()._commit(connection)  # type: ignore[arg-type]  # whatever it hands us


def test_what_was_cut_short_is_finished_by_the_next_try(
    old: SQLiteEventStore,
    log: WrittenLog,
    tmp_path: Path,
    held: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(moving, "_MOST", 7)
    fill(old, log)
    new = held.enter_context(closing(Failing(tmp_path / "failing.db")))
    tries = 0
    while True:
        new.left = tries = tries + 1
        try:
            move_events(old, new, log.store)
        except Unavailable:
            assert tries < 50
            continue
        break
    assert tries > 5
    check_same(old, new)


def test_large_records_are_put_in_by_and_by(
    old: SQLiteEventStore,
    new: SQLiteEventStore,
    log: WrittenLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(moving, "_MOST_BYTES", 100)
    fill(old, log)
    move_events(old, new, log.store)
    check_same(old, new)


def test_a_place_with_other_events_is_refused(
    old: SQLiteEventStore, new: SQLiteEventStore, log: WrittenLog
) -> None:
    old.add(chunk(0, 3))
    new.add(chunk(0, 1, "a-log"))
    with pytest.raises(Conflict, match="events of `a-log` already"):
        move_events(old, new, log.store)


@pytest.mark.parametrize("there", [chunk(0, 4), of([event(detail="other")] * 3)])
def test_a_source_that_went_on_elsewhere_or_is_another_is_refused(
    old: SQLiteEventStore, new: SQLiteEventStore, log: WrittenLog, there: Chunk
) -> None:
    made = arrived("orders-log", 0, raw=b"ours")
    old.add(chunk(0, 0, arrived=[made]))
    old.add(chunk(1, 2))
    new.add(there)
    with pytest.raises(Conflict, match=r"`store\.events` has"):
        move_events(old, new, log.store)


def test_a_gap_that_the_log_does_not_know_is_no_move(
    old: SQLiteEventStore, new: SQLiteEventStore, log: WrittenLog
) -> None:
    old.add(chunk(0, 3))
    old.seal("orders-log", 10, 0, 0)
    old.add(chunk(10, 3))
    with pytest.raises(LogInvalid, match="from number 3 on are missing"):
        move_events(old, new, log.store)
