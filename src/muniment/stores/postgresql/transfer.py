"""
Copy a whole log between a SQLite file and a PostgreSQL database, in either direction.

Row by row as it stands, checkpoints included: nothing is signed, and nothing is checked here.
Whoever copies audits the copy.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, LiteralString

from psycopg import sql

from muniment.errors import Conflict, LogInvalid, LogUnavailable
from muniment.stores.postgresql.connections import Connections, Session, transaction
from muniment.stores.postgresql.erasing import shelf_of
from muniment.stores.sqlite import PUT_STATE, READ_STATE, SQLiteStore, connect

#: rows that are held in memory at once
_PIECE: Final = 1000
#: there is no bound on a copy as a whole, but on every pause in it
_UNBOUNDED: Final[LiteralString] = (
    "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = '1min'"
)
_STATE: Final[LiteralString] = "SELECT size, peaks, checkpoint FROM log_state"
_HAS_TABLE: Final = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?"


@dataclass(frozen=True, kw_only=True)
class _Table:
    """One table as both sides have it."""

    name: str
    columns: tuple[str, ...]
    #: true or false in PostgreSQL, 1 or 0 in SQLite
    flags: frozenset[str] = frozenset()
    #: what PostgreSQL has besides, from the row as SQLite has it
    besides: Mapping[str, Callable[[Mapping[str, Any]], Any]] = field(default_factory=dict)


_TABLES: Final = (
    _Table(name="entries", columns=("idx", "leaf", "header")),
    _Table(name="case_entries", columns=("case_id", "position", "idx")),
    _Table(
        name="sections",
        columns=("idx", "name", "salt", "content"),
        besides={"shelf": lambda row: shelf_of(row["idx"])},
    ),
    # what they stand for never was in the new place
    _Table(name="tombstones", columns=("idx", "name", "rule"), besides={"gone": lambda _: True}),
    _Table(name="documents", columns=("digest", "content")),
    _Table(name="tiles", columns=("level", "number", "hashes")),
    _Table(name="checkpoints", columns=("size", "note")),
    _Table(name="published", columns=("size", "note")),
    _Table(name="stamps", columns=("size", "authority", "token")),
    _Table(name="forwarded", columns=("sink", "next", "last")),
    _Table(
        name="cases",
        columns=(
            "case_id", "kind", "state", "requester", "resource", "role", "groups", "marked",
            "opened_at", "changed_at", "until", "about", "records", "closed",
        ),
        flags=frozenset({"marked", "closed"}),
    ),
    _Table(name="due", columns=("case_id", "at")),
    _Table(name="answers", columns=("principal", "operation", "key", "body", "case_id", "at")),
)  # fmt: skip


def copy_in(source: Path, target: Connections) -> dict[str, int]:
    """
    Copy the log in a SQLite file, which nobody writes to, into a database that has none.

    All of it, or nothing; returns how many rows each table has. Raises `Conflict` where there is a
    log already.
    """
    with _reading(source) as read, target.lent() as session, transaction(session):
        session.execute(_UNBOUNDED)
        size = session.rows(f"{_STATE} FOR UPDATE")[0][0]
        if size:
            raise Conflict("the database in PostgreSQL holds a log already")
        counts = {table.name: _put(read, session, table) for table in _TABLES}
        session.execute(
            "UPDATE log_state SET size = %s, peaks = %s, checkpoint = %s",
            read.execute(READ_STATE).fetchone(),
        )
    return counts


def copy_out(source: Connections, target: Path) -> dict[str, int]:
    """
    Copy the log in PostgreSQL, as it stands at this moment, to a new SQLite file.

    Others append to it meanwhile. Returns how many rows each table has.
    """
    if target.exists():
        raise Conflict(f"`{target}` is there already")
    with contextlib.closing(SQLiteStore(target)):  # makes its schema
        pass
    with source.lent() as session, contextlib.closing(connect(target)) as written:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            session.execute(_UNBOUNDED)
            counts = _fill(session, written)
        finally:
            session.execute("ROLLBACK")
    return counts


def _fill(session: Session, written: sqlite3.Connection) -> dict[str, int]:
    try:
        written.execute("BEGIN IMMEDIATE")
        counts = {table.name: _get(session, written, table) for table in _TABLES}
        written.execute(PUT_STATE, session.rows(_STATE)[0])
        written.execute("COMMIT")
    except sqlite3.Error as error:
        raise LogUnavailable(f"the copy cannot be written: {error}") from error
    return counts


def _put(read: sqlite3.Connection, session: Session, table: _Table) -> int:
    columns = (*table.columns, *table.besides)
    query = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    count = 0
    with session.cursor() as cursor, cursor.copy(query) as copy:
        for count, row in enumerate(_rows(read, table), 1):  # noqa: B007 (the last one is kept)
            copy.write_row(row)
    return count


def _rows(read: sqlite3.Connection, table: _Table) -> Iterator[list[Any]]:
    """As PostgreSQL has them, in the order of the first column."""
    if read.execute(_HAS_TABLE, (table.name,)).fetchone() is None:
        return  # the file is as an older muniment left it
    names = ", ".join(table.columns)
    # names of ours; entries have to come in their order
    query = f"SELECT {names} FROM {table.name} ORDER BY {table.columns[0]}"  # noqa: S608
    for values in read.execute(query):
        row = dict(zip(table.columns, values, strict=True))
        more = [make(row) for make in table.besides.values()]
        yield [*(bool(v) if name in table.flags else v for name, v in row.items()), *more]


def _get(session: Session, written: sqlite3.Connection, table: _Table) -> int:
    names = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    query = sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
        names, sql.Identifier(table.name), sql.Identifier(table.columns[0])
    )
    marks = ", ".join("?" * len(table.columns))
    insert = f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({marks})"  # noqa: S608 (names of ours)
    count = 0
    with session.cursor(name="copied", binary=True) as cursor:
        cursor.itersize = _PIECE
        cursor.execute(query)
        rows = iter(cursor)
        while piece := list(islice(rows, _PIECE)):
            written.executemany(insert, piece)
            count += len(piece)
    return count


@contextlib.contextmanager
def _reading(source: Path) -> Iterator[sqlite3.Connection]:
    try:
        uri = f"{source.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
            connection.execute("BEGIN")  # one state of it
            yield connection
    except sqlite3.DatabaseError as error:
        raise LogInvalid(f"`{source}` cannot be read as a log of ours: {error}") from error
