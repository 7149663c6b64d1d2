"""
The log and its projections in PostgreSQL, for several nodes at once.

Whoever writes locks the one row of `log_state` first, so that there is one writer at a time on
whatever node; a commit waits for the disk. The rights of our role and the triggers keep entries
from being changed: a fence, as the proof is the tree.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, LiteralString

from psycopg import errors

from muniment.errors import Conflict, LogInvalid
from muniment.evidence.record import Sealed
from muniment.evidence.store import Batch, Published, Stamp, Tail
from muniment.stores.postgresql.connections import (
    Connections,
    Session,
    commit,
    rolled_back_on_error,
    surely,
    transaction,
)
from muniment.stores.postgresql.erasing import finish_erasures, shelf_of
from muniment.stores.postgresql.projections import (
    CLEAR_DUE,
    LOCK_STATE,
    PUT_ANSWER,
    PUT_CASE,
    PUT_DUE,
    PostgreSQLProjections,
    sorted_out,
)
from muniment.stores.postgresql.setup import check_fences, check_schema

_HASH = 32
#: rows of a page, so that reading a log of any size takes little memory and no session for long
_PAGE = 4_000
_LEAVES = 100_000

INSERT_ENTRY: LiteralString = "INSERT INTO entries (idx, leaf, header) VALUES (%s, %s, %s)"
INSERT_CASE_ENTRY: LiteralString = (
    "INSERT INTO case_entries (case_id, position, idx) VALUES (%s, %s, %s)"
)
INSERT_SECTION: LiteralString = (
    "INSERT INTO sections (shelf, idx, name, salt, content) VALUES (%s, %s, %s, %s, %s)"
)
INSERT_DOCUMENT: LiteralString = (
    "INSERT INTO documents (digest, content) VALUES (%s, %s) ON CONFLICT DO NOTHING"
)
PUT_TILE: LiteralString = (
    "INSERT INTO tiles (level, number, hashes) VALUES (%s, %s, %s)"
    " ON CONFLICT (level, number) DO UPDATE SET hashes = EXCLUDED.hashes"
)
INSERT_CHECKPOINT: LiteralString = "INSERT INTO checkpoints (size, note) VALUES (%s, %s)"
PUT_STATE: LiteralString = "UPDATE log_state SET size = %s, peaks = %s, checkpoint = %s"
READ_TAIL: LiteralString = (
    "SELECT size, peaks, checkpoint, idx, header FROM log_state"
    " LEFT JOIN (SELECT idx, header FROM entries ORDER BY idx DESC LIMIT 1) AS last ON true"
)
READ_CASE: LiteralString = (
    "SELECT e.idx, e.header FROM case_entries c JOIN entries e ON e.idx = c.idx"
    " WHERE c.case_id = %s AND c.idx < %s ORDER BY c.position"
)
READ_ENTRIES: LiteralString = (
    "SELECT idx, header FROM entries WHERE idx >= %s AND idx < %s ORDER BY idx LIMIT %s"
)
READ_LEAVES: LiteralString = (
    "SELECT idx, leaf FROM entries WHERE idx >= %s AND idx < %s ORDER BY idx LIMIT %s"
)
READ_BACK: LiteralString = "SELECT header FROM entries WHERE idx >= %s AND idx < %s ORDER BY idx"
READ_TILE: LiteralString = "SELECT hashes FROM tiles WHERE level = %s AND number = %s"
READ_SECTIONS: LiteralString = (
    "SELECT name, salt, content FROM sections WHERE shelf = %s AND idx = %s"
)
READ_TOMBSTONES: LiteralString = "SELECT name, rule FROM tombstones WHERE idx = %s"
READ_DOCUMENT: LiteralString = "SELECT content FROM documents WHERE digest = %s"
READ_CHECKPOINT: LiteralString = "SELECT note FROM checkpoints WHERE size = %s"
READ_NEXT_CHECKPOINT: LiteralString = (
    "SELECT size, note FROM checkpoints WHERE size >= %s ORDER BY size LIMIT 1"
)
PUT_PUBLISHED: LiteralString = (
    "INSERT INTO published (size, note) VALUES (%s, %s)"
    " ON CONFLICT (size) DO UPDATE SET note = EXCLUDED.note"
)
CLEAR_STAMPS: LiteralString = "DELETE FROM stamps WHERE size = %s"
INSERT_STAMP: LiteralString = "INSERT INTO stamps (size, authority, token) VALUES (%s, %s, %s)"
READ_PUBLISHED: LiteralString = (
    "SELECT p.size, p.note, s.authority, s.token"
    " FROM (SELECT size, note FROM published ORDER BY size DESC LIMIT 1) AS p"
    " LEFT JOIN stamps s ON s.size = p.size ORDER BY s.authority"
)
READ_NEXT_PUBLISHED: LiteralString = (
    "SELECT p.size, p.note, s.authority, s.token"
    " FROM (SELECT size, note FROM published WHERE size >= %s ORDER BY size LIMIT 1) AS p"
    " LEFT JOIN stamps s ON s.size = p.size ORDER BY s.authority"
)
#: Whoever has the log's state locked. Between two parts of one exchange no time-out of the server's
#: runs, so that a node which stops there would keep its lock for ever.
END_HOLDERS: LiteralString = """
    SELECT count(pg_terminate_backend(pid, %s)) FROM pg_locks JOIN pg_stat_activity USING (pid)
     WHERE relation = 'log_state'::regclass AND datname = current_database()
       AND granted AND mode IN ('RowShareLock', 'RowExclusiveLock') AND pid <> pg_backend_pid()
"""
#: of these, the ones that we left behind ourselves
END_OUR_OWN: LiteralString = (
    END_HOLDERS + " AND application_name = current_setting('application_name')"
)
#: a write like any other: when it is durable, so is what was committed before it
WRITE_SOMETHING: LiteralString = """
    INSERT INTO duties (name, holder, held_until) VALUES ('settled', %s, now())
    ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, held_until = EXCLUDED.held_until
"""
#: the first rule stays; what came back with a restored copy has to leave the files once more
DELETE_SECTION: LiteralString = """
    WITH deleted AS (
      DELETE FROM sections WHERE shelf = %(shelf)s AND idx = %(idx)s AND name = %(name)s RETURNING 1
    )
    INSERT INTO tombstones (idx, name, rule) VALUES (%(idx)s, %(name)s, %(rule)s)
    ON CONFLICT (idx, name)
    DO UPDATE SET gone = tombstones.gone AND NOT EXISTS (SELECT FROM deleted)
"""


class PostgreSQLStore(PostgreSQLProjections):
    """
    `LogStore` and `Projections` in the schema `muniment` of one database.

    Any thread may call it. `node` names this process to the others: what it has claimed is its own
    again after a restart under the same name.
    """

    def __init__(self, conninfo: str, node: str, lease: float = 5.0) -> None:
        """
        Connect, and check the server, the schema and the rights of our role.

        A node that stops, in whatever it does, keeps the others waiting for at most a `lease`, in
        seconds. Raises `ConfigInvalid` where no log is to be kept here, saying what to do, and
        `LogUnavailable` where the server does not answer.
        """
        connections = Connections(
            conninfo, place="the log's database", application=f"muniment {node}", lease=lease
        )
        super().__init__(connections, node)
        try:
            connections.connect_first()
            check_schema(connections, "log")
            check_fences(connections, "log")
        except BaseException:
            connections.close()
            raise

    @property
    def server_identity(self) -> str:
        """The same for a server, its standbys and copies of its files."""
        return self.connections.identity

    def close(self) -> None:
        self.connections.close()

    def reopen(self) -> None:
        self.connections.reopen()
        with self.connections.lent() as session:
            # a commit of ours may still be under way on the session that was dropped: now it is
            # either done or undone, and stays so. Nobody else is waited for
            session.execute(END_OUR_OWN, (int(1000 * self.connections.lease),))

    # --- writing -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self) -> Iterator["PostgreSQLTransaction"]:
        with self.connections.lent() as session:
            begun = PostgreSQLTransaction(session, self.connections.telling)
            with rolled_back_on_error(session):
                begun.begin(int(500 * self.connections.lease))
                yield begun
                commit(session)

    def settle(self) -> None:
        with self.connections.lent() as session, surely(session):
            session.execute(WRITE_SOMETHING, (self._ours["node"],))

    def found(self, batch: Batch) -> None:
        with self.transaction() as transaction:
            if transaction.seen is not None:
                raise Conflict("the log's database holds a log already")
            transaction.add(batch)

    def erase(self, index: int, section: str, rule: str) -> None:
        """
        Delete content and salt, leave a tombstone, and have the bytes leave the server's files.

        When it returns they are in no table, index, statistics or write-ahead log of this server.
        `LogUnavailable` says that they may still be, and what to do: nobody is shown them any more,
        and calling it again finishes. Out of our reach is what took a copy before: standbys, the
        archive of the write-ahead log, base backups and dumps, snapshots of a disk, and the blocks
        of a disk below its files.
        """
        self.erase_many([(index, section, rule)])

    def erase_many(self, erasures: Sequence[tuple[int, str, str]]) -> None:
        names = [
            {"shelf": shelf_of(index), "idx": index, "name": section, "rule": rule}
            for index, section, rule in erasures
        ]
        with self.connections.lent() as session, surely(session), transaction(session):
            session.cursor().executemany(DELETE_SECTION, names)
        finish_erasures(self.connections)

    def publish(self, published: Published) -> None:
        stamps = [(published.size, each.authority, each.token) for each in published.stamps]
        with self.connections.lent() as session, transaction(session):
            session.execute(PUT_PUBLISHED, (published.size, published.note))
            session.execute(CLEAR_STAMPS, (published.size,))
            session.cursor().executemany(INSERT_STAMP, stamps)

    # --- reading the log ---------------------------------------------------------------------

    def tail(self) -> Tail | None:
        return _tail(self._rows(READ_TAIL))

    def entries(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        for page in self._pages(READ_ENTRIES, start, stop, _PAGE):
            yield from page

    def case(self, case: str, size: int) -> list[tuple[int, bytes]]:
        return self._rows(READ_CASE, case, size)

    def leaves(self, start: int, stop: int) -> bytes:
        pages = self._pages(READ_LEAVES, start, stop, _LEAVES)
        return b"".join(leaf for page in pages for _, leaf in page)

    def tile(self, level: int, index: int) -> bytes | None:
        hashes: bytes | None = self._value(READ_TILE, level, index)
        return hashes

    def sections(self, index: int) -> dict[str, Sealed]:
        rows = self._rows(READ_SECTIONS, shelf_of(index), index)
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
        return _published(self._rows(READ_PUBLISHED))

    def published_at_or_after(self, size: int) -> Published | None:
        return _published(self._rows(READ_NEXT_PUBLISHED, size))

    def _pages(
        self, query: LiteralString, start: int, stop: int, length: int
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Each by a statement of its own: entries are never changed, so nothing is missed."""
        while page := self._rows(query, start, stop, length):
            yield page
            if len(page) < length:
                return
            start = page[-1][0] + 1


class PostgreSQLTransaction:
    """`evidence.store.Transaction` on one session, which holds the lock on the log's state."""

    def __init__(
        self, session: Session, telling: Callable[[], contextlib.AbstractContextManager[None]]
    ) -> None:
        self._session = session
        self._telling = telling
        #: the tail as it was when the lock was taken; None where there has never been a log
        self.seen: Tail | None = None
        self._added = False

    def begin(self, patience: int) -> None:
        """
        In one exchange with the server. Whoever has the lock for longer than that loses it.

        `patience` is in milliseconds, and less than our own lease on the head store. The lock may
        be taken away, as nobody writes to the log who does not hold the head store's, and that is
        ours at this moment.
        """
        try:
            self._begin(patience)
        except errors.LockNotAvailable:
            self._session.execute("ROLLBACK")
            self._session.execute(END_HOLDERS, (patience,))
            self._begin(patience)

    def _begin(self, patience: int) -> None:
        with self._session.pipeline():
            self._session.execute("BEGIN")
            self._session.execute("SELECT set_config('lock_timeout', %s, true)", (str(patience),))
            self._session.execute(LOCK_STATE)
            # a statement of its own, which sees what was committed while the lock was waited for
            tail = self._session.execute(READ_TAIL, binary=True)
        self.seen = _tail(tail.fetchall())

    def tail(self) -> Tail:
        if self._added:
            with self._telling():
                self.seen = _tail(self._session.rows(READ_TAIL))
        if self.seen is None:
            raise LogInvalid("the log's state is gone from the database")
        return self.seen

    def case(self, case: str) -> list[tuple[int, bytes]]:
        # NOTE: an error has ended the transaction; the batch must not go on after it
        with self._telling():
            return self._session.rows(READ_CASE, (case, 1 << 62))

    def add(self, batch: Batch) -> None:
        self._added = True
        companions = sorted_out(batch.companions)
        entries, sections = batch.entries, batch.sections.items()
        with self._telling(), self._session.pipeline():
            self._put(INSERT_ENTRY, [(e.index, e.leaf, e.data) for e in entries])
            self._put(
                INSERT_CASE_ENTRY, [(e.header.case, e.header.position, e.index) for e in entries]
            )
            self._put(
                INSERT_SECTION,
                [(shelf_of(i), i, name, s.salt, s.content) for (i, name), s in sections],
            )
            self._put(INSERT_DOCUMENT, list(batch.documents.items()))
            self._put(PUT_TILE, [(level, n, hashes) for (level, n), hashes in batch.tiles.items()])
            self._put(INSERT_CHECKPOINT, [(batch.size, batch.checkpoint)])
            self._put(PUT_STATE, [(batch.size, b"".join(batch.peaks), batch.checkpoint)])
            self._put(PUT_CASE, list(companions.rows.values()))
            self._put(PUT_DUE, companions.moments)
            self._put(CLEAR_DUE, companions.cleared)
            self._put(PUT_ANSWER, companions.answers)

    def read_back(self, start: int, stop: int) -> list[bytes]:
        with self._telling():
            return [data for (data,) in self._session.rows(READ_BACK, (start, stop))]

    def _put(self, statement: LiteralString, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            self._session.cursor().executemany(statement, rows)


def _tail(rows: Sequence[tuple[Any, ...]]) -> Tail | None:
    if not rows:
        raise LogInvalid("the log's state is gone from the database")
    size, peaks, checkpoint, last_index, last_data = rows[0]
    if size == 0 and last_index is None:
        return None
    hashes = tuple(peaks[i : i + _HASH] for i in range(0, len(peaks), _HASH))
    return Tail(
        size, hashes, checkpoint, *((-1, b"") if last_index is None else (last_index, last_data))
    )


def _published(rows: Iterable[tuple[Any, ...]]) -> Published | None:
    found = list(rows)
    if not found:
        return None
    size, note = found[0][:2]
    return Published(size, note, tuple(Stamp(*row[2:]) for row in found if row[2] is not None))
