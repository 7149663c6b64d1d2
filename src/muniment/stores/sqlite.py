"""
The log and its projections in one SQLite file: WAL, `synchronous=FULL`, group commit.

`FULL` makes a commit wait for the disk; `secure_delete` and a truncated WAL make an erasure real.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from muniment.errors import Conflict, LogInvalid, LogUnavailable
from muniment.evidence.record import Sealed
from muniment.evidence.store import Batch, Published, Stamp, Tail
from muniment.oversight.siem import Progress
from muniment.ports import Answer, CaseRow, Due
from muniment.stores.migrations import migrate, refuse_foreign

_HASH = 32
#: rows of a walk that are read at once
_AT_A_TIME = 256

INSERT_ENTRY = "INSERT INTO entries (idx, leaf, header) VALUES (?, ?, ?)"
INSERT_CASE_ENTRY = "INSERT INTO case_entries (case_id, position, idx) VALUES (?, ?, ?)"
INSERT_SECTION = "INSERT INTO sections (idx, name, salt, content) VALUES (?, ?, ?, ?)"
INSERT_DOCUMENT = "INSERT OR IGNORE INTO documents (digest, content) VALUES (?, ?)"
PUT_TILE = "INSERT OR REPLACE INTO tiles (level, number, hashes) VALUES (?, ?, ?)"
INSERT_CHECKPOINT = "INSERT INTO checkpoints (size, note) VALUES (?, ?)"
PUT_STATE = "INSERT OR REPLACE INTO log_state (one, size, peaks, checkpoint) VALUES (1, ?, ?, ?)"
READ_STATE = "SELECT size, peaks, checkpoint FROM log_state"
READ_LAST = "SELECT idx, header FROM entries ORDER BY idx DESC LIMIT 1"
READ_CASE = (
    "SELECT e.idx, e.header FROM case_entries c JOIN entries e ON e.idx = c.idx"
    " WHERE c.case_id = ? AND c.idx < ? ORDER BY c.position"
)
READ_ENTRIES = "SELECT idx, header FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx"
READ_LEAVES = "SELECT leaf FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx"
READ_TILE = "SELECT hashes FROM tiles WHERE level = ? AND number = ?"
READ_SECTIONS = "SELECT name, salt, content FROM sections WHERE idx = ?"
READ_TOMBSTONES = "SELECT name, rule FROM tombstones WHERE idx = ?"
READ_DOCUMENT = "SELECT content FROM documents WHERE digest = ?"
READ_CHECKPOINT = "SELECT note FROM checkpoints WHERE size = ?"
READ_NEXT_CHECKPOINT = "SELECT size, note FROM checkpoints WHERE size >= ? ORDER BY size LIMIT 1"
PUT_PUBLISHED = "INSERT OR REPLACE INTO published (size, note) VALUES (?, ?)"
CLEAR_STAMPS = "DELETE FROM stamps WHERE size = ?"
INSERT_STAMP = "INSERT INTO stamps (size, authority, token) VALUES (?, ?, ?)"
READ_PUBLISHED = "SELECT size, note FROM published ORDER BY size DESC LIMIT 1"
READ_NEXT_PUBLISHED = "SELECT size, note FROM published WHERE size >= ? ORDER BY size LIMIT 1"
READ_STAMPS = "SELECT authority, token FROM stamps WHERE size = ? ORDER BY authority"
READ_PROGRESS = "SELECT next, last FROM forwarded WHERE sink = ?"
PUT_PROGRESS = "INSERT OR REPLACE INTO forwarded (sink, next, last) VALUES (?, ?, ?)"
DELETE_SECTION = "DELETE FROM sections WHERE idx = ? AND name = ?"
INSERT_TOMBSTONE = "INSERT OR IGNORE INTO tombstones (idx, name, rule) VALUES (?, ?, ?)"

_ROW = (
    "case_id, kind, state, requester, resource, role, groups, marked, opened_at, changed_at,"
    " until, about, records, closed"
)
PUT_CASE = f"INSERT OR REPLACE INTO cases ({_ROW}) VALUES ({','.join('?' * 14)})"  # noqa: S608 (column names of ours)
PUT_DUE = "INSERT OR REPLACE INTO due (case_id, at) VALUES (?, ?)"
CLEAR_DUE = "DELETE FROM due WHERE case_id = ?"
CLEAR_CASE = "DELETE FROM cases WHERE case_id = ?"
COUNT_RECORDS = "SELECT count(*) FROM case_entries WHERE case_id = ?"
PUT_ANSWER = (
    "INSERT OR IGNORE INTO answers (principal, operation, key, body, case_id, at)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
READ_DUE = (
    "SELECT case_id FROM due WHERE at <= ? AND (instr(case_id, '/') > 0) = ? ORDER BY at LIMIT ?"
)
READ_DUE_OF = "SELECT at FROM due WHERE case_id = ?"
NEXT_DUE = "SELECT min(at) FROM due WHERE at > ?"
READ_ANSWER = (
    "SELECT principal, operation, key, body, case_id, at FROM answers"
    " WHERE principal = ? AND operation = ? AND key = ?"
)
CASE_IDS = "SELECT case_id FROM cases WHERE case_id >= ? AND case_id < ? ORDER BY case_id LIMIT ?"
READ_CASE_ROW = f"SELECT {_ROW} FROM cases WHERE case_id = ?"  # noqa: S608 (as above)


class SQLiteStore:
    """`LogStore` and `Projections` on one file. Reads use a connection of their own per thread."""

    def __init__(self, path: Path) -> None:
        """Raises `LogInvalid` if this is no database of ours, `LogUnavailable` if unreadable."""
        self.path = path
        self._local = threading.local()
        self._generation = 0
        self._open: list[OwnConnection] = []
        self._closed = False
        self._writer = threading.Lock()
        with _as_log_errors():
            if path.exists():
                # on a connection of its own: ours turns a database to WAL as soon as it is opened
                with contextlib.closing(sqlite3.connect(path)) as plain:
                    refuse_foreign(plain)
            with self._mine() as connection:
                migrate(connection, "sqlite")

    def close(self) -> None:
        """
        Close what every thread has opened; the last one folds the write-ahead log in.

        Waits for calls that are under way in other threads. Every later one is refused.
        """
        self._closed = True
        while self._open:
            # one closed under its user takes the whole process down
            with self._open.pop() as connection:
                connection.close()

    def reopen(self) -> None:
        # others may be reading at this moment: each thread leaves its old one when it needs one
        self._generation += 1
        with _as_log_errors(), self._mine() as connection:
            connection.execute("SELECT 1")

    def settle(self) -> None:
        """Nothing to wait for: nobody reads a commit before its writer has waited for the disk."""

    # --- writing -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self) -> Iterator["SQLiteTransaction"]:
        with self._writer, _as_log_errors(), self._mine() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield SQLiteTransaction(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def found(self, batch: Batch) -> None:
        with self.transaction() as transaction:
            if self.tail() is not None:
                raise Conflict(f"`{self.path.name}` holds a log already")
            transaction.add(batch)

    def erase(self, index: int, section: str, rule: str) -> None:
        self.erase_many([(index, section, rule)])

    def erase_many(self, erasures: Sequence[tuple[int, str, str]]) -> None:
        with self._writer, _as_log_errors(), self._mine() as connection:
            with _transaction(connection):
                connection.executemany(DELETE_SECTION, [each[:2] for each in erasures])
                connection.executemany(INSERT_TOMBSTONE, erasures)
            # the deleted bytes stand in the WAL until it is written back and cut
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise LogUnavailable("the erased bytes are still in the write-ahead log: a reader")

    def publish(self, published: Published) -> None:
        stamps = [(published.size, each.authority, each.token) for each in published.stamps]
        with self._writer, _as_log_errors(), self._mine() as mine, _transaction(mine) as connection:
            connection.execute(PUT_PUBLISHED, (published.size, published.note))
            connection.execute(CLEAR_STAMPS, (published.size,))
            connection.executemany(INSERT_STAMP, stamps)

    def put_progress(self, sink: str, progress: Progress) -> None:
        with self._writer, _as_log_errors(), self._mine() as mine, _transaction(mine) as connection:
            connection.execute(PUT_PROGRESS, (sink, progress.next, progress.last))

    # --- reading the log ---------------------------------------------------------------------

    def tail(self) -> Tail | None:
        with _as_log_errors(), self._mine() as connection:
            return _tail(connection)

    def entries(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        with _as_log_errors():
            mine = self._mine()
            with mine as connection:
                cursor = connection.execute(READ_ENTRIES, (start, stop))
            while True:
                with mine:
                    rows = cursor.fetchmany(_AT_A_TIME)
                if not rows:
                    return
                yield from rows

    def case(self, case: str, size: int) -> list[tuple[int, bytes]]:
        return self._rows(READ_CASE, case, size)

    def leaves(self, start: int, stop: int) -> bytes:
        return b"".join(leaf for (leaf,) in self._rows(READ_LEAVES, start, stop))

    def tile(self, level: int, index: int) -> bytes | None:
        hashes: bytes | None = self._value(READ_TILE, level, index)
        return hashes

    def sections(self, index: int) -> dict[str, Sealed]:
        rows = self._rows(READ_SECTIONS, index)
        return {name: Sealed(salt, content) for name, salt, content in rows}

    def erased(self, index: int) -> dict[str, str]:
        return dict(self._rows(READ_TOMBSTONES, index))

    def document(self, digest: bytes) -> bytes | None:
        content: bytes | None = self._value(READ_DOCUMENT, digest)
        return content

    def checkpoint(self, size: int) -> bytes | None:
        note: bytes | None = self._value(READ_CHECKPOINT, size)
        return note

    def checkpoint_at_or_after(self, size: int) -> tuple[int, bytes] | None:
        rows = self._rows(READ_NEXT_CHECKPOINT, size)
        return (rows[0][0], rows[0][1]) if rows else None

    def published(self) -> Published | None:
        return self._published(READ_PUBLISHED)

    def published_at_or_after(self, size: int) -> Published | None:
        return self._published(READ_NEXT_PUBLISHED, size)

    def progress(self, sink: str) -> Progress | None:
        rows = self._rows(READ_PROGRESS, sink)
        return Progress(*rows[0]) if rows else None

    def _published(self, query: str, *values: Any) -> Published | None:
        rows = self._rows(query, *values)
        if not rows:
            return None
        size, note = rows[0]
        stamps = tuple(Stamp(*row) for row in self._rows(READ_STAMPS, size))
        return Published(size, note, stamps)

    # --- projections -------------------------------------------------------------------------

    def cases(
        self,
        *,
        kind: str = "access",
        states: Iterable[str] = (),
        requester: str | None = None,
        about: str | None = None,
        closed: bool | None = None,
        waiting: bool = False,
        before: str | None = None,
        limit: int = 100,
    ) -> list[CaseRow]:
        clauses: list[str] = ["kind = ?"]
        values: list[Any] = [kind]
        if wanted := list(states):
            clauses.append(f"state IN ({','.join('?' * len(wanted))})")
            values += wanted
        if requester is not None:
            clauses.append("requester = ?")
            values.append(requester)
        if about is not None:
            clauses.append("about = ? AND about <> ''")  # the second half leads to its index
            values.append(about)
        if closed is not None:
            clauses.append("closed = ?")
            values.append(int(closed))
        if waiting:
            clauses.append("groups <> ''")
        if before is not None:
            clauses.append(
                "(opened_at, case_id) < (SELECT opened_at, case_id FROM cases WHERE case_id = ?)"
            )
            values.append(before)
        # the clauses are literals of this function; every value is bound
        query = (
            f"SELECT {_ROW} FROM cases WHERE {' AND '.join(clauses)}"  # noqa: S608
            " ORDER BY opened_at DESC, case_id DESC LIMIT ?"
        )
        return [_case_row(row) for row in self._rows(query, *values, limit)]

    def case_ids(self, beginning: str, limit: int = 2) -> list[str]:
        return [case for (case,) in self._rows(CASE_IDS, beginning, beginning + "~", limit)]

    def case_row(self, case: str) -> CaseRow | None:
        rows = self._rows(READ_CASE_ROW, case)
        return _case_row(rows[0]) if rows else None

    def due(self, now: str, limit: int = 500, *, callbacks: bool = False) -> list[str]:
        return [case for (case,) in self._rows(READ_DUE, now, int(callbacks), limit)]

    def claim(
        self,
        now: str,
        limit: int = 500,
        *,
        working: Collection[str] = (),
        resting: Collection[str] = (),
        callbacks: bool = False,
    ) -> list[str]:
        out = {*working, *resting}  # there is one worker on this file: nobody else claims anything
        found = self.due(now, limit + len(out), callbacks=callbacks)
        return [case for case in found if case not in out][:limit]

    def lead(self, duty: str) -> bool:  # noqa: ARG002 (we are the only node)
        return True

    def due_at(self, case: str) -> str | None:
        at: str | None = self._value(READ_DUE_OF, case)
        return at

    def next_due(self, after: str) -> str | None:
        at: str | None = self._value(NEXT_DUE, after)
        return at

    def answer(self, principal: str, operation: str, key: str) -> Answer | None:
        rows = self._rows(READ_ANSWER, principal, operation, key)
        if not rows:
            return None
        principal, operation, key, body, case, at = rows[0]
        return Answer(
            principal=principal, operation=operation, key=key, body=body, case=case, at=at
        )

    def put_right(
        self, lines: Iterable[tuple[CaseRow, Iterable[Due]]], unknown: Iterable[str] = ()
    ) -> None:
        with self._writer, _as_log_errors(), self._mine() as mine, _transaction(mine) as connection:

            def count(case: str) -> int:
                found: int = connection.execute(COUNT_RECORDS, (case,)).fetchone()[0]
                return found

            true = [line for line in lines if count(line[0].case) == line[0].records]
            _carry_out(connection, (write for row, dues in true for write in (row, *dues)))
            for case in unknown:
                if not count(case):
                    connection.execute(CLEAR_CASE, (case,))
                    connection.execute(CLEAR_DUE, (case,))

    # --- connections -------------------------------------------------------------------------

    def _mine(self) -> "OwnConnection":
        """The connection of the calling thread."""
        if self._closed:
            raise LogUnavailable("the database is closed")
        local = self._local
        if getattr(local, "generation", None) != self._generation:
            if (old := getattr(local, "mine", None)) in self._open:
                self._open.remove(old)
                old.connection.close()
            local.mine = OwnConnection(connect(self.path))
            self._open.append(local.mine)
            local.generation = self._generation
        mine: OwnConnection = local.mine
        return mine

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with _as_log_errors(), self._mine() as connection:
            return connection.execute(query, values).fetchall()

    def _value(self, query: str, *values: Any) -> Any:
        rows = self._rows(query, *values)
        return rows[0][0] if rows else None


class OwnConnection:
    """One thread's connection; whoever closes it from another waits until it is not in use."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._in_use = threading.RLock()  # a transaction reads through it, too

    def __enter__(self) -> sqlite3.Connection:
        self._in_use.acquire()
        return self.connection

    def __exit__(self, *_: object) -> None:
        self._in_use.release()


class SQLiteTransaction:
    """`evidence.store.Transaction` on one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def tail(self) -> Tail:
        with _as_log_errors():
            tail = _tail(self._connection)
        if tail is None:
            raise LogInvalid("the log's state is gone from the database")
        return tail

    def case(self, case: str) -> list[tuple[int, bytes]]:
        # NOTE: an I/O error may have ended the transaction; the batch must not go on after it
        with _as_log_errors():
            return self._connection.execute(READ_CASE, (case, 1 << 62)).fetchall()

    def add(self, batch: Batch) -> None:
        run = self._connection.executemany
        run(INSERT_ENTRY, [(e.index, e.leaf, e.data) for e in batch.entries])
        run(INSERT_CASE_ENTRY, [(e.header.case, e.header.position, e.index) for e in batch.entries])
        run(INSERT_SECTION, [(i, n, s.salt, s.content) for (i, n), s in batch.sections.items()])
        run(INSERT_DOCUMENT, list(batch.documents.items()))
        run(PUT_TILE, [(level, number, h) for (level, number), h in batch.tiles.items()])
        self._connection.execute(INSERT_CHECKPOINT, (batch.size, batch.checkpoint))
        self._connection.execute(PUT_STATE, (batch.size, b"".join(batch.peaks), batch.checkpoint))
        _carry_out(self._connection, batch.companions)

    def read_back(self, start: int, stop: int) -> list[bytes]:
        return [data for _, data in self._connection.execute(READ_ENTRIES, (start, stop))]


def connect(path: Path) -> sqlite3.Connection:
    if not path.exists():
        # sealed content is nobody else's to read; SQLite gives the files beside it the same mode
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "secure_delete=ON",
        "recursive_triggers=ON",
        "foreign_keys=ON",
        "cache_size=-65536",
        "wal_autocheckpoint=4000",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def _as_log_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if type(error) is sqlite3.DatabaseError:  # not a database, or a malformed one
            raise LogInvalid(f"this is not a whole database of ours: {error}") from error
        raise LogUnavailable(f"the database does not answer: {error}") from error
    except OSError as error:
        raise LogUnavailable(f"the database cannot be opened: {error.strerror}") from error


def _tail(connection: sqlite3.Connection) -> Tail | None:
    state = connection.execute(READ_STATE).fetchone()
    if state is None:
        return None
    size, peaks, checkpoint = state
    last = connection.execute(READ_LAST).fetchone() or (-1, b"")
    hashes = tuple(peaks[i : i + _HASH] for i in range(0, len(peaks), _HASH))
    return Tail(size, hashes, checkpoint, *last)


def _carry_out(connection: sqlite3.Connection, writes: Iterable[Any]) -> None:
    """The last write about a case is what stands; the first answer under a key is."""
    rows: dict[str, tuple[Any, ...]] = {}
    dues: dict[str, str | None] = {}
    answers: list[tuple[Any, ...]] = []
    for write in writes:
        match write:
            case CaseRow():
                rows[write.case] = _case_values(write)
            case Due():
                dues[write.case] = write.at
            case Answer():
                answers.append(
                    (write.principal, write.operation, write.key, write.body, write.case, write.at)
                )
            case _:
                raise TypeError(f"no companion write: {type(write).__name__}")
    connection.executemany(PUT_CASE, rows.values())
    connection.executemany(PUT_DUE, [due for due in dues.items() if due[1] is not None])
    connection.executemany(CLEAR_DUE, [(case,) for case, at in dues.items() if at is None])
    connection.executemany(PUT_ANSWER, answers)


def _case_values(row: CaseRow) -> tuple[Any, ...]:
    return (
        row.case, row.kind, row.state, row.requester, row.resource, row.role,
        ",".join(row.groups), int(row.marked), row.opened_at, row.changed_at, row.until,
        row.about, row.records, int(row.closed),
    )  # fmt: skip


def _case_row(row: tuple[Any, ...]) -> CaseRow:
    case, kind, state, requester, resource, role, groups, marked, *rest = row
    opened_at, changed_at, until, about, count, closed = rest
    return CaseRow(
        case=case, kind=kind, state=state, requester=requester, resource=resource, role=role,
        groups=tuple(filter(None, groups.split(","))), marked=bool(marked), opened_at=opened_at,
        changed_at=changed_at, until=until, about=about, records=count, closed=bool(closed),
    )  # fmt: skip
