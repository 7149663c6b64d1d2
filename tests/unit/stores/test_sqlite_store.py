"""The SQLite store: what it waits for, what it erases, and which databases it refuses."""

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from muniment.errors import Conflict, LogInvalid, LogUnavailable
from muniment.stores.one_server import OneServer
from muniment.stores.sqlite import OwnConnection, SQLiteStore
from muniment.testing.faulty import Growing, add, new_case
from muniment.testing.trial_log import TrialLog


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "muniment.db")
    yield store
    store.close()


def value(store: SQLiteStore, query: str) -> Any:
    return store._mine().connection.execute(query).fetchone()[0]


# --- durability and erasure ----------------------------------------------------------------------


def test_a_commit_waits_for_the_disk_on_every_connection(store: SQLiteStore) -> None:
    found: list[tuple[Any, ...]] = []

    def look() -> None:
        names = ("journal_mode", "synchronous", "secure_delete", "recursive_triggers")
        found.append(tuple(value(store, f"PRAGMA {name}") for name in names))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    look()
    store.reopen()
    look()
    assert found == [("wal", 2, 1, 1)] * 3


def all_bytes(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


@pytest.mark.parametrize("size", [40, 3000, 200_000])
def test_an_erased_section_is_in_none_of_the_databases_files(
    size: int, store: SQLiteStore, tmp_path: Path
) -> None:
    """Small ones share a page with others, large ones have pages of their own."""
    growing = Growing()
    store.found(growing.batch())
    secret = (b"orders are stuck, said Zo\xc3\xab; " * (size // 20 + 1))[:size]
    batch = growing.batch(3, sections={"reason": secret, "note": b"kept: " + bytes(50)})
    add(store, batch)
    salt = batch.sections[2, "reason"].salt
    assert salt in all_bytes(tmp_path)
    for index in (1, 2, 3):
        store.erase(index, "reason", "GDPR 17")
    left = all_bytes(tmp_path)
    assert salt not in left
    assert b"said Zo" not in left
    assert b"kept: " in left
    assert batch.sections[2, "note"].salt in left


def test_an_erasure_that_a_reader_keeps_from_the_disk_says_so(tmp_path: Path) -> None:
    """It stands in the write-ahead log until the reader goes: erasing again finishes it."""
    store, growing = SQLiteStore(tmp_path / "muniment.db"), Growing()
    store.found(growing.batch())
    add(store, growing.batch(sections={"reason": b"orders are stuck" * 20}))
    store._mine().connection.execute("PRAGMA busy_timeout = 10")
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entries").fetchone()
        with pytest.raises(LogUnavailable, match="still in the write-ahead log: a reader"):
            store.erase(1, "reason", "GDPR 17")
    store.erase(1, "reason", "GDPR 17")
    assert b"orders are stuck" not in all_bytes(tmp_path)
    store.close()


def test_what_was_committed_survives_a_process_that_dies(tmp_path: Path) -> None:
    """Without closing anything: the write-ahead log is read at the next start."""
    program = (
        "import os, sys; from pathlib import Path\n"
        "from muniment.stores.sqlite import SQLiteStore\n"
        "from muniment.testing.log_contract import Growing, add\n"
        "store, growing = SQLiteStore(Path(sys.argv[1])), Growing()\n"
        "store.found(growing.batch())\n"
        "add(store, growing.batch(5))\n"
        "os._exit(0)"
    )
    path = tmp_path / "muniment.db"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    with contextlib.closing(SQLiteStore(path)) as store:
        assert len(list(store.entries(0, 100))) == 6


# --- trouble with the database -------------------------------------------------------------------


class BrokenConnection:
    """A connection whose reads of a case fail as SQLite's do, transaction and all."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, query: str, values: Any = ()) -> Any:
        if "case_entries c JOIN" in query:
            self._connection.execute("ROLLBACK")
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(query, values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def test_a_batch_does_not_go_on_outside_the_transaction_that_sqlite_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An I/O error takes the transaction back: what is written next would stand half."""
    trial = TrialLog(tmp_path)
    case = trial.fill(1)[0].header.case
    store, broken = trial._store, threading.Event()
    assert isinstance(store, SQLiteStore)
    real = store._mine

    def mine() -> OwnConnection:
        # only the writer, only now, and only while it is about to append
        if broken.is_set() and threading.current_thread().name == "log-writer":
            return OwnConnection(cast(sqlite3.Connection, BrokenConnection(real().connection)))
        return real()

    monkeypatch.setattr(store, "_mine", mine)
    with trial.disk.hold("commit") as reached:
        held = trial.queue(trial.draft(new_case()))
        assert reached.wait(10)
        broken.set()
        outcome = trial.conclude(trial.draft(case))
        other = trial.queue(trial.draft(new_case()))
    trial.receipt(held)
    for future in (outcome, other):
        with pytest.raises(LogUnavailable, match="the database does not answer: disk I/O error"):
            future.result(10)
    broken.clear()
    trial.fill(1)
    trial.check()
    trial.close()


def test_a_database_that_somebody_else_holds_is_unavailable_and_then_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = TrialLog(tmp_path)
    trial.fill(1)
    store = trial._store
    assert isinstance(store, SQLiteStore)
    real = store._mine

    def impatient() -> OwnConnection:
        real().connection.execute("PRAGMA busy_timeout = 10")
        return real()

    monkeypatch.setattr(store, "_mine", impatient)
    with contextlib.closing(sqlite3.connect(trial.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogUnavailable, match="database is locked"):
            trial.append(trial.draft(new_case()))
    trial.fill(1)
    trial.check()
    trial.close()


def test_a_reader_that_was_dropped_connects_anew(store: SQLiteStore) -> None:
    growing = Growing()
    store.found(growing.batch())
    before = store._mine().connection
    store.reopen()
    assert store._mine().connection is not before
    with pytest.raises(sqlite3.ProgrammingError):
        before.execute("SELECT 1")
    assert store.tail() is not None


def test_closing_waits_for_a_reader_in_another_thread_and_refuses_later_ones(
    store: SQLiteStore,
) -> None:
    """SQLite does not survive a connection that is closed while another thread reads from it."""
    store.found(Growing().batch())
    reading, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def hold() -> int:
        reading.set()
        go_on.wait(10)
        return 1

    def read() -> list[tuple[Any, ...]]:
        store._mine().connection.create_function("hold", 0, hold)
        return store._rows("SELECT hold()")

    with ThreadPoolExecutor(2) as threads:
        rows = threads.submit(read)
        assert reading.wait(10)
        closing = threads.submit(store.close)
        closing.add_done_callback(lambda _: done.set())
        assert not done.wait(0.2)  # nothing tells that somebody waits for a lock
        go_on.set()
        closing.result(10)
    assert rows.result() == [(1,)]
    with pytest.raises(LogUnavailable, match="the database is closed"):
        store.tail()


def test_a_walk_that_was_begun_before_the_store_was_closed_ends_in_an_error(
    store: SQLiteStore,
) -> None:
    store.found(Growing().batch())
    walk = store.entries(0, 1)
    with ThreadPoolExecutor(1) as other:
        other.submit(store.close).result(10)
    with pytest.raises(LogUnavailable):
        list(walk)


def test_a_database_is_nobody_elses_to_read(store: SQLiteStore) -> None:
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


# --- the schema ----------------------------------------------------------------------------------


def change(path: Path, statement: str, *values: Any) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(statement, values)
        connection.commit()


def test_a_store_that_a_newer_program_wrote_is_refused(store: SQLiteStore) -> None:
    store.close()
    change(store.path, "INSERT INTO migrations VALUES ('9999-later.sql', 'x')")
    with pytest.raises(
        LogInvalid, match=r"newer muniment \(it knows `9999-later.sql`\): install that version"
    ):
        SQLiteStore(store.path)


def test_a_schema_that_was_made_by_other_steps_is_refused(store: SQLiteStore) -> None:
    store.close()
    change(store.path, "UPDATE migrations SET digest = 'x'")
    with pytest.raises(LogInvalid, match="made this database: install the muniment that wrote"):
        SQLiteStore(store.path)


def test_a_schema_step_stands_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from muniment.stores import migrations

    path = tmp_path / "muniment.db"
    real = migrations._text
    monkeypatch.setattr(migrations, "_text", lambda *step: real(*step) + "CREATE NONSENSE;\n")
    with pytest.raises(LogUnavailable, match=r"`0001.*syntax error.*nothing was changed: look"):
        SQLiteStore(path)
    monkeypatch.setattr(migrations, "_text", real)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    with contextlib.closing(SQLiteStore(path)) as store:
        assert store.tail() is None


def test_many_that_start_at_once_make_one_schema(tmp_path: Path) -> None:
    path, barrier = tmp_path / "muniment.db", threading.Barrier(6)
    made: list[None] = []

    def start() -> None:
        barrier.wait()
        SQLiteStore(path).close()
        made.append(None)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 6


# --- one server ----------------------------------------------------------------------------------


def test_a_second_service_on_the_same_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "muniment.lock"
    first = OneServer(path)
    with pytest.raises(Conflict, match="another `muniment serve` runs on this data directory"):
        OneServer(path)
    assert path.read_text() == str(os.getpid())
    first.release()
    OneServer(path).release()


def test_a_service_that_was_killed_leaves_no_lock_behind(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path\n"
        "from muniment.stores.one_server import OneServer\n"
        "server = OneServer(Path(sys.argv[1]))\n"
        "os.kill(os.getpid(), 9)"
    )
    path = tmp_path / "muniment.lock"
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -9
    OneServer(path).release()
