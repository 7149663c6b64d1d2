"""The store of events in SQLite: what an erasure leaves in its files, fences, connections."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from muniment.errors import LogInvalid, Unavailable
from muniment.oversight.event import Event, Key
from muniment.oversight.link import Link
from muniment.stores import event_reading
from muniment.stores.event_blocks import mark, micros
from muniment.stores.events import SQLiteEventStore
from muniment.testing.trial_events import (
    AT,
    MUN_A,
    STRONG,
    arrived,
    chunk,
    event,
    everything,
    numbers,
    salt,
)

PATIENCE = 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events" / "events.db"


@pytest.fixture
def open_store(path: Path) -> Iterator[Callable[[], SQLiteEventStore]]:
    path.parent.mkdir()
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(SQLiteEventStore(path)))


@pytest.fixture
def store(open_store: Callable[[], SQLiteEventStore]) -> SQLiteEventStore:
    return open_store()


def files(path: Path) -> bytes:
    """All that stands in the folder of the database."""
    return b"".join(each.read_bytes() for each in sorted(path.parent.iterdir()))


def rows(path: Path, query: str, *values: Any) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query, values).fetchall()


def pieces(data: bytes, size: int = 12) -> set[bytes]:
    return {data[at : at + size] for at in range(len(data) - size + 1)}


# --- erasing -------------------------------------------------------------------------------------


def test_of_an_erased_block_no_byte_is_left_in_any_file(
    store: SQLiteEventStore, path: Path
) -> None:
    store.add(chunk(0, 32))
    ((packed, salts),) = rows(path, "SELECT packed, salts FROM blocks")
    assert packed in files(path)
    assert salts in files(path)
    store.erase("orders-log", range(32))
    ((left, _),) = rows(path, "SELECT packed, salts FROM blocks")
    found = files(path)
    assert not [piece for piece in pieces(packed) - pieces(left) if piece in found]
    assert not [piece for piece in pieces(salts) if piece in found]


def test_whatever_is_erased_in_whatever_order_is_gone_from_every_file(
    store: SQLiteEventStore, path: Path
) -> None:
    """Pages are split, joined and freed on the way, and what lies on them is moved."""
    secret: dict[int, bytes] = {}
    for start in range(0, 600, 50):
        made = []
        for n in range(start, start + 50):
            # incompressible, so that it stands in the file byte by byte
            secret[n] = b"".join(salt(f"secret {n}", k) for k in range(n % 7 * 20))
            made.append(arrived("orders-log", n, raw=secret[n]))
        store.add(chunk(start, 0, arrived=made))
    opens = {n: salt("orders-log", n) for n in secret}
    found = files(path)
    # where one reaches from a page to the next it is not found; nearly all are
    assert sum(opens[n] in found for n in secret) > 550
    assert sum(any(s in found for s in _some(secret[n])) for n in secret) > 100
    order = sorted(secret, key=lambda n: salt("order", n))
    for at in range(0, 450, 45):
        store.erase("orders-log", order[at : at + 45])
    found = files(path)
    assert [n for n in order[:450] if opens[n] in found] == []
    # a piece of a record lies in the file as it is where the compression gave up on it
    assert [n for n in order[:450] if any(s in found for s in _some(secret[n]))] == []
    assert sum(opens[n] in found for n in order[450:]) > 130


def _some(data: bytes) -> list[bytes]:
    return [data[at : at + 16] for at in range(0, len(data) - 16, 641)]


def test_records_lie_compressed_so_the_search_for_them_could_find_them(
    store: SQLiteEventStore, path: Path
) -> None:
    """What the test above looks for is there before: random bytes are kept as they are."""
    secret = b"".join(salt("secret", k) for k in range(2000))
    store.add(chunk(0, 0, arrived=[arrived("orders-log", 0, raw=secret)]))
    assert any(piece in files(path) for piece in _some(secret))


def test_what_was_read_from_an_erased_event_is_gone_too(
    store: SQLiteEventStore, path: Path
) -> None:
    key = Key("access-key", "ASIA-of-ana")
    one = event(
        session="session-of-ana", resource="resource-of-ana", account="ana", keys=(key,),
        detail="detail of ana",
    )  # fmt: skip
    link = Link(strength="strong", reason="reason-of-ana", standing="unknown")
    store.add(chunk(0, 0, arrived=[arrived("orders-log", 0, event=one, link=link)]))
    store.add(chunk(1, 1))
    store.join(key, MUN_A)
    assert b"resource-of-ana" in files(path)
    session = mark("orders-log", "session-of-ana")
    assert rows(path, "SELECT row FROM events WHERE session = ?", session)
    store.erase("orders-log", [0])
    found = files(path)
    for text in (b"session-of-ana", b"resource-of-ana", b"ASIA-of-ana", b"reason-of-ana"):
        assert text not in found
    assert not rows(path, "SELECT row FROM events WHERE session = ?", session)
    assert not rows(path, "SELECT row FROM waiting")
    assert session.to_bytes(6, "big") not in found
    assert micros(one.at).to_bytes(8, "big") in found  # the bounds of its block stay
    # whoever still shows the key is linked by it
    assert store.joined(key) == MUN_A


def test_kinds_and_links_of_others_stay_when_an_event_is_erased(store: SQLiteEventStore) -> None:
    made = [arrived("orders-log", n, link=STRONG) for n in range(3)]
    store.add(chunk(0, 0, arrived=made))
    store.erase("orders-log", [0, 1])
    assert [kept.resource for kept in store.of_grant(MUN_A)] == ["orders-prod"]
    store.erase("orders-log", [2])
    store.add(chunk(3, 0, arrived=[arrived("orders-log", 3, link=STRONG)]))
    assert numbers(store.of_grant(MUN_A)) == [3]


def test_erased_bytes_that_a_reader_still_holds_are_said_and_go_the_next_time(
    store: SQLiteEventStore, path: Path
) -> None:
    store.add(chunk(0, 3))
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM blocks").fetchone()
        with store._mine() as connection:
            connection.execute("PRAGMA busy_timeout=1")
        with pytest.raises(Unavailable, match="still in the write-ahead log"):
            store.erase("orders-log", [0])
        assert store.raw("orders-log", 0) is None
    assert salt("orders-log", 0) in files(path)
    assert store.erase("orders-log", [0]) == 0
    assert salt("orders-log", 0) not in files(path)


def test_more_are_erased_at_once_than_one_transaction_takes(
    store: SQLiteEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniment.stores.events._AT_ONCE", 7)
    store.add(chunk(0, 100))
    assert store.erase("orders-log", range(3, 97)) == 94
    assert [kept.number for kept in store.walk() if kept.event] == [0, 1, 2, 97, 98, 99]


# --- fences --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE commitments SET hashes = zeroblob(32)",
        "DELETE FROM commitments",
        "INSERT OR REPLACE INTO commitments SELECT row, zeroblob(32) FROM blocks",
        "UPDATE blocks SET start = 7",
        "UPDATE blocks SET last = 7",
        "DELETE FROM blocks",
        "UPDATE seals SET idx = 1",
        "DELETE FROM seals",
        "UPDATE sources SET next = 1",
        "UPDATE sources SET sealed = 0",
        "UPDATE sources SET rejected_sealed = 0",
        "UPDATE sources SET name = 'x'",
        "UPDATE sources SET sealed = next + 1",
        "DELETE FROM sources",
    ],
)
def test_the_database_refuses_to_change_what_is_never_changed(
    store: SQLiteEventStore, path: Path, statement: str
) -> None:
    store.add(chunk(0, 3, rejected=2))
    store.seal("orders-log", 3, 2, 9)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA recursive_triggers=ON")
        with pytest.raises(sqlite3.IntegrityError, match=r"never|only|CHECK"):
            connection.execute(statement)


def test_a_damaged_block_is_said_and_not_guessed(store: SQLiteEventStore, path: Path) -> None:
    store.add(chunk(0, 3))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE blocks SET packed = x'00010203'")
    for ask in (lambda: list(store.walk()), lambda: store.raw("orders-log", 0)):
        with pytest.raises(LogInvalid, match="damaged"):
            ask()


# --- marks that others have, too -----------------------------------------------------------------


def test_texts_of_the_same_mark_are_told_apart(
    store: SQLiteEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("events", "event_reading"):
        monkeypatch.setattr(f"muniment.stores.{module}.mark", lambda *_: 7)
    sessions = ["s-1", "s-2", "s-2", "s-2", "s-1", "s-1"]
    made: list[Event] = [
        event(n, session=each, keys=(Key("token", each),)) for n, each in enumerate(sessions)
    ]
    given = [arrived("orders-log", n, event=each) for n, each in enumerate(made)]
    store.add(chunk(0, 0, arrived=given))
    assert numbers(store.of_session("orders-log", "s-1")) == [0, 4, 5]
    assert numbers(store.of_session("orders-log", "s-1", limit=2)) == [0, 4]
    assert numbers(store.unlinked(Key("token", "s-1"), limit=2)) == [0, 4]
    assert store.of_session("orders-log", "s-3") == []
    assert store.unlinked(Key("account", "s-1")) == []


def test_very_many_resources_are_looked_through_all_the_same(
    store: SQLiteEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_reading, "_MANY_KINDS", 2)
    made = [
        arrived("orders-log", n, event=event(n, resource=f"r-{n}", type=("error", "call")[n % 2]))
        for n in range(10)
    ]
    store.add(chunk(0, 0, arrived=made))
    until = AT.replace(hour=23)
    assert numbers(store.between(AT, until, types=["call"])) == [1, 3, 5, 7, 9]
    assert numbers(store.between(AT, until, types=["call"], limit=2)) == [1, 3]


# --- files and connections -----------------------------------------------------------------------


def test_the_file_is_nobody_elses_to_read(store: SQLiteEventStore, path: Path) -> None:
    store.add(chunk())
    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(LogInvalid, match="another program"):
        SQLiteEventStore(path)
    assert path.read_bytes() == before


def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(b"not a database, whatever it is called" * 100)
    with pytest.raises(LogInvalid, match="not whole"):
        SQLiteEventStore(path)
    with pytest.raises(Unavailable):
        SQLiteEventStore(tmp_path / "nowhere" / "events.db")


def test_a_closed_store_says_so(store: SQLiteEventStore) -> None:
    store.close()
    with pytest.raises(Unavailable, match="closed"):
        store.states()


def test_a_store_is_closed_when_nobody_is_in_it(open_store: Callable[[], SQLiteEventStore]) -> None:
    """A connection that is closed under its user takes the process down."""
    store, stop = open_store(), threading.Event()
    store.add(chunk(0, 200))
    refused: list[str] = []

    def look() -> None:
        try:
            while not stop.is_set():
                store.of_session("orders-log", "s-1")
        except Unavailable as error:
            refused.append(str(error))

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    store.close()
    stop_at = threading.Timer(PATIENCE, stop.set)
    stop_at.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    stop_at.cancel()
    assert refused == ["the store of events is closed"] * 3


def test_after_an_error_of_the_disk_each_begins_on_a_new_connection(
    store: SQLiteEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(chunk(0, 2))
    before = everything(store)
    with store._mine() as old:
        pass

    def fail(_: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(store, "_commit", fail)
        with pytest.raises(Unavailable, match="disk I/O error"):
            store.add(chunk(2, 2))
    assert everything(store) == before
    with store._mine() as new:
        assert new is not old
    store.add(chunk(2, 2))
    assert numbers(store.walk()) == [0, 1, 2, 3]
