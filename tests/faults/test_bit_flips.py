"""
One bit that turns in any value of any table of the log, or a write-ahead log that was cut: noticed.

Noticed means: a full audit does not hold, or the log does not open, or what reads the value says so.
Lists and due work are not evidence; a start holds them against the log (`test_opening`).
"""

import contextlib
import random
import shutil
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from muniment.access import records
from muniment.errors import MunimentError
from muniment.evidence.audit import audit
from muniment.evidence.note import SigningKey
from muniment.evidence.record import Draft
from muniment.evidence.store import Published
from muniment.stores.read_only import ReadOnlyStore
from muniment.testing.cases import START, WrittenCase, WrittenLog, new_case

pytestmark = pytest.mark.deep

#: what is evidence, or leads to it: table and column
COLUMNS = (
    ("entries", "idx"),
    ("entries", "leaf"),
    ("entries", "header"),
    ("case_entries", "case_id"),
    ("case_entries", "position"),
    ("case_entries", "idx"),
    ("sections", "idx"),
    ("sections", "name"),
    ("sections", "salt"),
    ("sections", "content"),
    ("documents", "digest"),
    ("documents", "content"),
    ("tiles", "level"),
    ("tiles", "number"),
    ("tiles", "hashes"),
    ("checkpoints", "size"),
    ("checkpoints", "note"),
    ("log_state", "size"),
    ("log_state", "peaks"),
    ("log_state", "checkpoint"),
    ("published", "size"),
    ("published", "note"),
)
FLIPS = 6


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SigningKey]:
    """A log of more than one full tile, with whole cases, and a published checkpoint."""
    folder = tmp_path_factory.mktemp("written")
    log = WrittenLog(folder)
    for _ in range(3):
        WrittenCase(log).whole()
    while log.log.size < 300:
        WrittenCase(log).whole()
    log.store.publish(Published(log.log.size, log.log.checkpoint))
    key = log.key
    log.close()
    return folder, key


def flip(value: Any, random_: random.Random) -> Any:
    """The value with one bit turned, still of its type."""
    if isinstance(value, int):
        return value ^ (1 << random_.randrange(12))
    data = bytearray(value.encode() if isinstance(value, str) else value)
    data[random_.randrange(len(data))] ^= 1 << random_.randrange(7)
    return data.decode() if isinstance(value, str) else bytes(data)


def spoil(folder: Path, table: str, column: str, seed: int) -> str:
    """Turn one bit of one row; what it was in, for a message."""
    random_ = random.Random(seed)
    connection = sqlite3.connect(folder / "muniment.db", isolation_level=None)
    try:
        triggers = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        for (name,) in triggers.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        keys = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        rows = connection.execute(f"SELECT {', '.join(keys)} FROM {table}").fetchall()
        row = random_.choice(rows)
        old = row[keys.index(column)]
        where = " AND ".join(f"{name} IS ?" for name in keys)
        while True:
            with contextlib.suppress(sqlite3.IntegrityError):
                connection.execute(
                    f"UPDATE {table} SET {column} = ? WHERE {where}", (flip(old, random_), *row)
                )
                return f"{table}.{column} of {row[0]!r}"
    finally:
        connection.close()


def is_noticed(folder: Path, key: SigningKey) -> bool:
    try:
        store = ReadOnlyStore(folder / "muniment.db")
        with contextlib.closing(store):
            if not audit(store, key.verifier, full=True).holds:
                return True
    except MunimentError:
        return True
    try:
        log = WrittenLog(folder, key=key, now=START + timedelta(days=1))
    except MunimentError:
        return True
    try:
        for index in range(log.log.size):
            entry = log.log.read_entry(index)
            log.log.read_case(entry.header.case)
        log.propose(_draft(log))
    except MunimentError:
        return True
    finally:
        log.close()
    return False


def _draft(log: WrittenLog) -> Draft:
    return records.LogHeartbeat(actor=records.SERVICE, unrecorded={}).draft(
        new_case("log"), log.now
    )


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=lambda each: each)
def test_a_bit_that_turns_in_the_database_is_noticed(
    table: str, column: str, written: tuple[Path, SigningKey], tmp_path: Path
) -> None:
    whole, key = written
    for seed in range(FLIPS):
        folder = tmp_path / str(seed)
        shutil.copytree(whole, folder)
        where = spoil(folder, table, column, seed)
        assert is_noticed(folder, key), where


def test_what_was_not_spoiled_holds(written: tuple[Path, SigningKey], tmp_path: Path) -> None:
    """Else the test above would say nothing."""
    shutil.copytree(written[0], tmp_path / "copy")
    assert not is_noticed(tmp_path / "copy", written[1])


def test_a_write_ahead_log_that_was_cut_is_an_older_copy_or_whole(tmp_path: Path) -> None:
    """What was acknowledged stands in the head store: less than that does not open."""
    live = tmp_path / "live"
    live.mkdir()
    log = WrittenLog(live)
    WrittenCase(log).whole()
    size = log.log.size
    wal = (live / "muniment.db-wal").read_bytes()
    assert wal
    random_ = random.Random(7)
    opened = refused = 0
    for number in range(20):
        folder = tmp_path / f"cut-{number}"
        folder.mkdir()
        for name in ("muniment.db", "head", "erasures"):
            if (live / name).exists():
                shutil.copy(live / name, folder / name)
        cut = random_.randrange(len(wal)) if number else len(wal)
        (folder / "muniment.db-wal").write_bytes(wal[:cut])
        try:
            again = WrittenLog(folder, key=log.key)
        except MunimentError:
            refused += 1
            continue
        assert again.log.size == size, f"cut at {cut}"
        again.close()
        opened += 1
    log.close()
    assert opened
    assert refused
