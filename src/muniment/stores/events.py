"""
Events in one SQLite file of their own: WAL, `synchronous=FULL`, a chunk a transaction.

Records, and all text of them, lie in compressed blocks; the tables by which they are found hold
numbers only. So an erasure rewrites a block, and cuts the write-ahead log.
"""

import contextlib
import sqlite3
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from muniment.errors import LogInvalid, Unavailable
from muniment.oversight.event import Event, Key
from muniment.oversight.event_store import Chunk, Kept, Raw, SourceState, check_goes_on
from muniment.oversight.link import NOBODY, Link
from muniment.stores import event_reading as reading
from muniment.stores.event_blocks import (
    SALT_SIZE,
    Block,
    Opened,
    blocks,
    digest_of,
    encoded,
    mark,
    micros,
    moment_of,
    without_salts,
)
from muniment.stores.migrations import migrate, refuse_foreign
from muniment.stores.sqlite import OwnConnection, connect

_SCHEMA: Final = "events"
#: KiB that each thread keeps of the file: what is written to lies close together
_CACHE: Final = 16 * 1024
#: events that one transaction erases
_AT_ONCE: Final = 10_000

READ_SOURCE = "SELECT id, next, cursor FROM sources WHERE name = ?"
FIRST_SOURCE = (
    "INSERT INTO sources (name, resource, next, sealed, rejected, rejected_sealed)"
    " VALUES (?, '', 0, 0, 0, 0) ON CONFLICT (name) DO NOTHING"
)
ADVANCE = (
    "UPDATE sources SET resource = ?, next = next + ?, rejected = rejected + ?,"
    " cursor = coalesce(?, cursor), received = ? WHERE id = ?"
)
COUNT = (
    "INSERT INTO counts (source, type, events) VALUES (?, ?, ?)"
    " ON CONFLICT (source, type) DO UPDATE SET events = events + excluded.events"
)
MOVE = "UPDATE sources SET cursor = ? WHERE name = ?"
SEAL = (
    "UPDATE sources SET sealed = max(sealed, ?1), next = max(next, ?1),"
    " rejected_sealed = max(rejected_sealed, ?2), rejected = max(rejected, ?2) WHERE id = ?3"
)
INSERT_SEAL = (
    "INSERT INTO seals (source, stop, idx) SELECT id, ?1, ?2 FROM sources"
    " WHERE id = ?3 AND sealed < ?1"
)
NEXT_ROW = "SELECT row + count FROM blocks ORDER BY row DESC LIMIT 1"
INSERT_BLOCK = (
    "INSERT INTO blocks (row, source, start, count, first, last, salts, packed)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
INSERT_COMMITMENTS = "INSERT INTO commitments (row, hashes) VALUES (?, ?)"
INSERT_EVENT = "INSERT INTO events (row, at, kind, session, link) VALUES (?, ?, ?, ?, ?)"
INSERT_WAITING = "INSERT OR IGNORE INTO waiting (mark, row) VALUES (?, ?)"
DELETE_WAITING = "DELETE FROM waiting WHERE mark = ? AND row = ?"
FIRST_KIND = "INSERT INTO kinds (resource, type) VALUES (?, ?) ON CONFLICT DO NOTHING"
READ_KIND = "SELECT id FROM kinds WHERE resource = ? AND type = ?"
FIRST_LINK = (
    "INSERT INTO links (case_id, strength, reason, standing) VALUES (?, ?, ?, ?)"
    " ON CONFLICT DO NOTHING"
)
READ_LINK = (
    "SELECT id FROM links WHERE case_id = ? AND strength = ? AND reason = ? AND standing = ?"
)
RELINK = "UPDATE events SET link = ? WHERE row = ?"
JOIN = "INSERT OR REPLACE INTO joined (key, case_id) VALUES (?, ?)"
READ_BLOCK = (
    "SELECT b.row, b.start, b.count, b.salts, b.packed FROM blocks b"
    " JOIN sources s ON s.id = b.source WHERE s.name = ? AND b.start <= ?"
    " ORDER BY b.start DESC LIMIT 1"
)
ERASE_BLOCK = "UPDATE blocks SET salts = ?, packed = ? WHERE row = ?"
READ_INDEXED = "SELECT kind, link FROM events WHERE row = ?"
ERASE_EVENT = "DELETE FROM events WHERE row = ?"
ERASE_KIND = "DELETE FROM kinds WHERE id = ? AND NOT EXISTS (SELECT 1 FROM events WHERE kind = ?1)"
ERASE_LINK = "DELETE FROM links WHERE id = ? AND NOT EXISTS (SELECT 1 FROM events WHERE link = ?1)"


class SQLiteEventStore:
    """`EventStore` on one file. Reads use a connection of their own per thread."""

    def __init__(self, path: Path) -> None:
        """Raises `LogInvalid` if this is no database of ours, `Unavailable` if unreadable."""
        self.path = path
        self._local = threading.local()
        self._generation = 0
        self._open: list[OwnConnection] = []
        self._closed = False
        self._writer = threading.Lock()
        with self._telling():
            if path.exists():  # or it would be made here, for everybody to read
                # on a connection of its own: ours turns a database to WAL as soon as it is opened
                with contextlib.closing(sqlite3.connect(path)) as plain:
                    refuse_foreign(plain)
            with self._mine() as connection:
                migrate(connection, _SCHEMA)

    def close(self) -> None:
        """Waits for calls that are under way in other threads. Every later one is refused."""
        self._closed = True
        while self._open:
            # one closed under its user takes the whole process down
            with self._open.pop() as connection:
                connection.close()

    # --- taking in ---------------------------------------------------------------------------

    def add(self, chunk: Chunk) -> None:
        made = list(blocks(chunk.arrived))  # before the lock: it is most of the work
        with self._writing() as connection:
            source = _source(connection, chunk)
            _insert(connection, chunk, source, made)
            types = Counter(each.event.type for each in chunk.arrived)
            connection.executemany(COUNT, [(source, *counted) for counted in types.items()])
            advance = (
                chunk.resource, len(chunk.arrived), chunk.rejected, chunk.cursor,
                micros(chunk.at), source,
            )  # fmt: skip
            connection.execute(ADVANCE, advance)

    def state(self, source: str) -> SourceState:
        with self._reading() as connection:
            found = reading.states(connection, source)
        return found[0] if found else SourceState(source=source, resource="")

    def states(self) -> list[SourceState]:
        with self._reading() as connection:
            return reading.states(connection)

    def move(self, source: str, cursor: str) -> None:
        with self._writing() as connection:
            connection.execute(FIRST_SOURCE, (source,))
            connection.execute(MOVE, (cursor, source))

    # --- evidence ----------------------------------------------------------------------------

    def commitments(self, source: str, start: int, stop: int) -> list[bytes]:
        with self._reading() as connection:
            return reading.commitments(connection, source, start, stop)

    def span(self, source: str, start: int, stop: int) -> tuple[datetime, datetime] | None:
        with self._reading() as connection:
            found = reading.span(connection, source, start, stop)
        return None if found is None else (moment_of(found[0]), moment_of(found[1]))

    def seal(self, source: str, stop: int, rejected: int, index: int) -> None:
        with self._writing() as connection:
            connection.execute(FIRST_SOURCE, (source,))
            (number, *_) = connection.execute(READ_SOURCE, (source,)).fetchone()
            connection.execute(INSERT_SEAL, (stop, index, number))
            connection.execute(SEAL, (stop, rejected, number))

    def sealed_by(self, source: str, number: int) -> int | None:
        with self._reading() as connection:
            return reading.sealed_by(connection, source, number)

    def raw(self, source: str, number: int) -> Raw | None:
        with self._reading() as connection:
            found = _block(connection, source, number)
        if found is None:
            return None
        position, opened = number - found.start, Opened(found.packed)
        if opened.is_gone(position):
            return None
        salt = found.salts[position * SALT_SIZE : (position + 1) * SALT_SIZE]
        return Raw(raw=opened.raw(position), salt=salt)

    def erase(self, source: str, numbers: Iterable[int]) -> int:
        ordered = iter(sorted(set(numbers)))
        count = 0
        while some := list(islice(ordered, _AT_ONCE)):
            with self._writing() as connection:
                count += _erase(connection, source, some)
        with self._writer, self._telling(), self._mine() as connection:
            # the bytes stand in the WAL until it is written back and cut: also what was erased
            # before a crash, and could not be cut then
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise Unavailable("the erased bytes are still in the write-ahead log: a reader")
        return count

    # --- looking -----------------------------------------------------------------------------

    def after(self, row: int, limit: int = 1000) -> list[Kept]:
        with self._reading() as connection:
            return reading.after(connection, row, limit)

    def of_grant(self, case: str, *, after: int = 0, limit: int = 1000) -> list[Kept]:
        with self._reading() as connection:
            return reading.of_grant(connection, case, after, limit)

    def of_session(self, source: str, session: str, limit: int = 100_000) -> list[Kept]:
        with self._reading() as connection:
            return reading.of_session(connection, source, session, limit)

    def between(
        self,
        since: datetime,
        until: datetime,
        *,
        resource: str | None = None,
        types: Sequence[str] = (),
        limit: int = 1000,
    ) -> list[Kept]:
        with self._reading() as connection:
            return reading.between(
                connection, micros(since), micros(until), resource=resource, types=types,
                limit=limit,
            )  # fmt: skip

    def first_row(self, since: datetime, until: datetime) -> int | None:
        with self._reading() as connection:
            return reading.first_row(connection, micros(since), micros(until))

    def walk(self) -> Iterator[Kept]:
        row = 0
        while some := self.after(row):
            yield from some
            row = some[-1].row

    # --- keys --------------------------------------------------------------------------------

    def join(self, key: Key, grant: str) -> None:
        with self._writing() as connection:
            connection.execute(JOIN, (digest_of(key), grant))

    def joined(self, key: Key) -> str | None:
        with self._reading() as connection:
            return reading.joined(connection, key)

    def unlinked(self, key: Key, limit: int = 1000) -> list[Kept]:
        with self._reading() as connection:
            return reading.unlinked(connection, key, limit)

    def relink(self, source: str, number: int, link: Link) -> None:
        with self._writing() as connection:
            _relink(connection, source, number, link)

    # --- connections -------------------------------------------------------------------------

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """All of the block, or nothing of it."""
        with self._writer, self._telling(), self._mine() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                self._commit(connection)
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _commit(self, connection: sqlite3.Connection) -> None:
        connection.execute("COMMIT")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """All statements of the block see the same."""
        with self._telling(), self._mine() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:  # an error of the disk may have ended it
                    connection.execute("ROLLBACK")

    def _mine(self) -> OwnConnection:
        """The connection of the calling thread."""
        if self._closed:
            raise Unavailable("the store of events is closed")
        local = self._local
        if getattr(local, "generation", None) != self._generation:
            if (old := getattr(local, "mine", None)) in self._open:
                self._open.remove(old)
                old.connection.close()
            opened = connect(self.path)
            opened.execute(f"PRAGMA cache_size=-{_CACHE}")
            local.mine = OwnConnection(opened)
            self._open.append(local.mine)
            local.generation = self._generation
        mine: OwnConnection = local.mine
        return mine

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError) or type(error) is sqlite3.DatabaseError:
                raise LogInvalid(f"the store of events is not whole: {error}") from error
            # what a connection knows of a file after an error may not be so: each begins anew
            self._generation += 1
            raise Unavailable(f"the store of events does not answer: {error}") from error
        except OSError as error:
            raise Unavailable(f"the store of events cannot be opened: {error.strerror}") from error


# --- writing, inside a transaction ---------------------------------------------------------------


def _source(connection: sqlite3.Connection, chunk: Chunk) -> int:
    """Its id. Raises `Conflict` unless the chunk goes on where it is."""
    connection.execute(FIRST_SOURCE, (chunk.source,))
    (source, following, cursor) = connection.execute(READ_SOURCE, (chunk.source,)).fetchone()
    check_goes_on(chunk, following, cursor)
    return int(source)


def _insert(connection: sqlite3.Connection, chunk: Chunk, source: int, made: list[Block]) -> None:
    row = first = (connection.execute(NEXT_ROW).fetchone() or (1,))[0]
    whole, hashes, moments = [], [], list[int]()
    for block in made:
        start = chunk.start + row - first
        bounds = (min(block.moments), max(block.moments))
        whole.append((row, source, start, block.count, *bounds, block.salts, block.packed))
        hashes.append((row, block.commitments))
        moments += block.moments
        row += block.count
    connection.executemany(INSERT_BLOCK, whole)
    connection.executemany(INSERT_COMMITMENTS, hashes)
    index = _Index(connection, chunk.source)
    found = [
        index.line(first + place, at, each.event, each.event.resource or chunk.resource, each.link)
        for place, (at, each) in enumerate(zip(moments, chunk.arrived, strict=True))
    ]
    connection.executemany(INSERT_EVENT, found)
    connection.executemany(INSERT_WAITING, index.waiting)


class _Index:
    """Makes the lines by which events of one chunk are found."""

    def __init__(self, connection: sqlite3.Connection, source: str) -> None:
        self._connection = connection
        self._source = source
        self._kinds: dict[tuple[str, str], int] = {}
        self._links: dict[Link, int | None] = {NOBODY: None}
        self._sessions: dict[str, int | None] = {"": None}
        #: marks of keys, with the events that wait for one to be given out
        self.waiting: list[tuple[int, int]] = []

    def line(self, row: int, at: int, event: Event, resource: str, link: Link) -> tuple[Any, ...]:
        kind = self._kinds.get((resource, event.type))
        if kind is None:
            kind = _kind(self._connection, resource, event.type)
            self._kinds[resource, event.type] = kind
        if event.session not in self._sessions:
            self._sessions[event.session] = mark(self._source, event.session)
        if link not in self._links:
            self._links[link] = _link(self._connection, link)
        if event.keys and not link.grant:
            self.waiting += _waiting(event, row)
        return (row, at, kind, self._sessions[event.session], self._links[link])


def _kind(connection: sqlite3.Connection, resource: str, type_: str) -> int:
    values = (encoded(resource), type_)
    connection.execute(FIRST_KIND, values)
    return int(connection.execute(READ_KIND, values).fetchone()[0])


def _waiting(event: Event | None, row: int) -> list[tuple[int, int]]:
    return [] if event is None else [(mark(key.kind, key.value), row) for key in event.keys]


def _link(connection: sqlite3.Connection, link: Link) -> int | None:
    if link == NOBODY:
        return None
    values = (link.grant, link.strength, link.reason, link.standing)
    connection.execute(FIRST_LINK, values)
    return int(connection.execute(READ_LINK, values).fetchone()[0])


def _relink(connection: sqlite3.Connection, source: str, number: int, link: Link) -> None:
    found = _block(connection, source, number)
    event = None if found is None else Opened(found.packed).event(number - found.start)
    if found is None or event is None:
        return
    row = found.row + number - found.start
    connection.execute(RELINK, (_link(connection, link), row))
    query = DELETE_WAITING if link.grant else INSERT_WAITING
    connection.executemany(query, _waiting(event, row))


@dataclass(frozen=True, slots=True)
class _Found:
    """A block, as it lies there."""

    row: int
    start: int
    count: int
    salts: bytes
    packed: bytes


def _block(connection: sqlite3.Connection, source: str, number: int) -> _Found | None:
    """The one with this event."""
    row = connection.execute(READ_BLOCK, (source, number)).fetchone()
    if row is None or number >= row[1] + row[2]:
        return None
    return _Found(*row)


def _erase(connection: sqlite3.Connection, source: str, numbers: list[int]) -> int:
    count, place = 0, 0
    kinds: set[int] = set()
    links: set[int] = set()
    while place < len(numbers):
        found = _block(connection, source, numbers[place])
        if found is None:
            place += 1
            continue
        stop = bisect_left(numbers, found.start + found.count, place)
        opened = Opened(found.packed)
        wanted = {number - found.start for number in numbers[place:stop]}
        gone = {position for position in wanted if not opened.is_gone(position)}
        place = stop
        if not gone:
            continue
        count += len(gone)
        values = (without_salts(found.salts, gone), opened.without(gone), found.row)
        connection.execute(ERASE_BLOCK, values)
        for position in gone:
            row = found.row + position
            (kind, link) = connection.execute(READ_INDEXED, (row,)).fetchone()
            kinds.add(kind)
            links.add(link)
            connection.executemany(DELETE_WAITING, _waiting(opened.event(position), row))
            connection.execute(ERASE_EVENT, (row,))
    connection.executemany(ERASE_KIND, [(kind,) for kind in kinds])
    connection.executemany(ERASE_LINK, [(link,) for link in links])
    return count
