"""
Events in a PostgreSQL database of their own, for several nodes at once.

The blocks are those of SQLite. Whoever writes locks the one row of `arrival` first, so that rows
are committed in their order, and whoever reads on behind one misses nothing.
"""

import contextlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final, LiteralString

from muniment.oversight.event import Event, Key
from muniment.oversight.event_store import (
    Arrived,
    Chunk,
    Kept,
    Raw,
    SourceState,
    check_goes_on,
)
from muniment.oversight.link import NOBODY, Link
from muniment.stores.event_blocks import (
    SALT_SIZE,
    Block,
    Opened,
    blocks,
    digest_of,
    mark,
    micros,
    moment_of,
    without_salts,
)
from muniment.stores.postgresql import event_reading as reading
from muniment.stores.postgresql.connections import (
    Connections,
    Session,
    commit,
    rolled_back_on_error,
)
from muniment.stores.postgresql.erasing import finish_shelves, lacks_for_erasing
from muniment.stores.postgresql.event_reading import shelf_of
from muniment.stores.postgresql.setup import check_fences, check_schema

#: events that one transaction erases
_AT_ONCE: Final = 10_000

LOCK: LiteralString = "SELECT next FROM arrival FOR UPDATE"
ARRIVED: LiteralString = "UPDATE arrival SET next = %s"
FIRST_SOURCE: LiteralString = (
    "INSERT INTO sources (name, resource, next, sealed, rejected, rejected_sealed)"
    " VALUES (%s, '', 0, 0, 0, 0) ON CONFLICT (name) DO NOTHING"
)
READ_SOURCE: LiteralString = "SELECT id, next, cursor FROM sources WHERE name = %s"
ADVANCE: LiteralString = (
    "UPDATE sources SET resource = %s, next = next + %s, rejected = rejected + %s,"
    " cursor = coalesce(%s, cursor), received = %s WHERE id = %s"
)
COUNT: LiteralString = (
    "INSERT INTO counts (source, type, events) VALUES (%s, %s, %s)"
    " ON CONFLICT (source, type) DO UPDATE SET events = counts.events + EXCLUDED.events"
)
MOVE: LiteralString = "UPDATE sources SET cursor = %s WHERE name = %s"
INSERT_SEAL: LiteralString = (
    "INSERT INTO seals (source, stop, idx) SELECT id, %(stop)s, %(idx)s FROM sources"
    " WHERE name = %(name)s AND sealed < %(stop)s"
)
SEAL: LiteralString = (
    "UPDATE sources SET sealed = greatest(sealed, %(stop)s), next = greatest(next, %(stop)s),"
    " rejected_sealed = greatest(rejected_sealed, %(rejected)s),"
    " rejected = greatest(rejected, %(rejected)s) WHERE name = %(name)s"
)
COPY_PLACES: LiteralString = (
    "COPY places (row, source, start, count, first, last, resource, commitments)"
    " FROM STDIN (FORMAT BINARY)"
)
COPY_CONTENTS: LiteralString = (
    "COPY contents (shelf, row, salts, packed) FROM STDIN (FORMAT BINARY)"
)
COPY_EVENTS: LiteralString = (
    "COPY events (row, place, at, type, resource, session, link) FROM STDIN (FORMAT BINARY)"
)
INSERT_WAITING: LiteralString = (
    "INSERT INTO waiting (mark, row) SELECT * FROM unnest(%s::bigint[], %s::bigint[])"
    " ON CONFLICT DO NOTHING"
)
DELETE_WAITING: LiteralString = (
    "DELETE FROM waiting USING unnest(%s::bigint[], %s::bigint[]) AS gone (mark, row)"
    " WHERE waiting.mark = gone.mark AND waiting.row = gone.row"
)
FIRST_LINK: LiteralString = (
    "INSERT INTO links (case_id, strength, reason, standing) VALUES (%s, %s, %s, %s)"
    " ON CONFLICT DO NOTHING"
)
READ_LINK: LiteralString = (
    "SELECT id FROM links WHERE case_id = %s AND strength = %s AND reason = %s AND standing = %s"
)
RELINK: LiteralString = "UPDATE events SET link = %s WHERE row = %s"
JOIN: LiteralString = (
    "INSERT INTO joined (key, case_id) VALUES (%s, %s)"
    " ON CONFLICT (key) DO UPDATE SET case_id = EXCLUDED.case_id"
)
READ_PLACE: LiteralString = (
    "SELECT p.row, p.start, p.count FROM places p JOIN sources s ON s.id = p.source"
    " WHERE s.name = %s AND p.start <= %s ORDER BY p.start DESC LIMIT 1"
)
READ_CONTENT: LiteralString = "SELECT salts, packed FROM contents WHERE shelf = %s AND row = %s"
ERASE_CONTENT: LiteralString = (
    "UPDATE contents SET salts = %s, packed = %s WHERE shelf = %s AND row = %s"
)
ERASE_EVENTS: LiteralString = "DELETE FROM events WHERE row = ANY(%s)"
LEAVE_UNFINISHED: LiteralString = (
    "INSERT INTO unfinished (shelf, xact) VALUES (%s, pg_current_xact_id()::text)"
    " ON CONFLICT (shelf) DO UPDATE SET xact = EXCLUDED.xact"
)


class PostgreSQLEventStore:
    """`EventStore` in the schema `muniment` of one database. Any thread may call it."""

    def __init__(self, conninfo: str, node: str, lease: float = 5.0) -> None:
        """
        Connect, and check the server, the schema and the rights of our role.

        Raises `ConfigInvalid` where no events are to be kept here, saying what to do, and
        `LogUnavailable` where the server does not answer.
        """
        connections = Connections(
            conninfo,
            place="the database of events",
            application=f"muniment {node}",
            lease=lease,
        )
        self.connections = connections
        try:
            connections.connect_first()
            check_schema(connections, "events")
            check_fences(connections, "events")
        except BaseException:
            connections.close()
            raise

    def close(self) -> None:
        self.connections.close()

    def lacks_for_erasing(self) -> list[str]:
        """What stands in the way of erasing anything from the server's files: what to do."""
        return lacks_for_erasing(self.connections, "events")

    # --- taking in ---------------------------------------------------------------------------

    def add(self, chunk: Chunk) -> None:
        made = list(blocks(chunk.arrived))  # before the lock: it is most of the work
        with self._writing() as session:
            source = _source(session, chunk)
            _insert(session, chunk, source, made)
            types = Counter(each.event.type for each in chunk.arrived)
            session.cursor().executemany(COUNT, [(source, *counted) for counted in types.items()])
            advance = (
                chunk.resource, len(chunk.arrived), chunk.rejected, chunk.cursor,
                micros(chunk.at), source,
            )  # fmt: skip
            session.execute(ADVANCE, advance)

    def state(self, source: str) -> SourceState:
        with self._reading() as session:
            found = reading.states(session, source)
        return found[0] if found else SourceState(source=source, resource="")

    def states(self) -> list[SourceState]:
        with self._reading() as session:
            return reading.states(session)

    def move(self, source: str, cursor: str) -> None:
        with self._writing() as session:
            session.execute(FIRST_SOURCE, (source,))
            session.execute(MOVE, (cursor, source))

    # --- evidence ----------------------------------------------------------------------------

    def commitments(self, source: str, start: int, stop: int) -> list[bytes]:
        with self._reading() as session:
            return reading.commitments(session, source, start, stop)

    def span(self, source: str, start: int, stop: int) -> tuple[datetime, datetime] | None:
        with self._reading() as session:
            found = reading.span(session, source, start, stop)
        return None if found is None else (moment_of(found[0]), moment_of(found[1]))

    def seal(self, source: str, stop: int, rejected: int, index: int) -> None:
        names = {"name": source, "stop": stop, "rejected": rejected, "idx": index}
        with self._writing() as session:
            session.execute(FIRST_SOURCE, (source,))
            session.execute(INSERT_SEAL, names)
            session.execute(SEAL, names)

    def sealed_by(self, source: str, number: int) -> int | None:
        with self._reading() as session:
            return reading.sealed_by(session, source, number)

    def raw(self, source: str, number: int) -> Raw | None:
        with self._reading() as session:
            found = _block(session, source, number)
        if found is None:
            return None
        position, opened = number - found.start, Opened(found.packed)
        if opened.is_gone(position):
            return None
        salt = found.salts[position * SALT_SIZE : (position + 1) * SALT_SIZE]
        return Raw(raw=opened.raw(position), salt=salt)

    def erase(self, source: str, numbers: Iterable[int]) -> int:
        """
        As `EventStore` says; of the server's files, see `PostgreSQLStore.erase`.

        The lines by which an erased event was found are deleted, and hold numbers only: its moment,
        and marks of its session and resource.
        """
        ordered = iter(sorted(set(numbers)))
        count = 0
        while some := list(islice(ordered, _AT_ONCE)):
            with self._writing() as session:
                count += _erase(session, source, some)
        finish_shelves(self.connections)
        return count

    # --- looking -----------------------------------------------------------------------------

    def after(self, row: int, limit: int = 1000) -> list[Kept]:
        with self._reading() as session:
            return reading.after(session, row, limit)

    def of_grant(self, case: str, *, after: int = 0, limit: int = 1000) -> list[Kept]:
        with self._reading() as session:
            return reading.of_grant(session, case, after, limit)

    def of_session(self, source: str, session: str, limit: int = 100_000) -> list[Kept]:
        with self._reading() as reader:
            return reading.of_session(reader, source, session, limit)

    def between(
        self,
        since: datetime,
        until: datetime,
        *,
        resource: str | None = None,
        types: Sequence[str] = (),
        limit: int = 1000,
    ) -> list[Kept]:
        with self._reading() as session:
            return reading.between(
                session, micros(since), micros(until), resource=resource, types=types, limit=limit
            )

    def first_row(self, since: datetime, until: datetime) -> int | None:
        with self._reading() as session:
            return reading.first_row(session, micros(since), micros(until))

    def walk(self) -> Iterator[Kept]:
        row = 0
        while some := self.after(row):
            yield from some
            row = some[-1].row

    # --- keys --------------------------------------------------------------------------------

    def join(self, key: Key, grant: str) -> None:
        with self._writing() as session:
            session.execute(JOIN, (digest_of(key), grant))

    def joined(self, key: Key) -> str | None:
        with self._reading() as session:
            return reading.joined(session, key)

    def unlinked(self, key: Key, limit: int = 1000) -> list[Kept]:
        with self._reading() as session:
            return reading.unlinked(session, key, limit)

    def relink(self, source: str, number: int, link: Link) -> None:
        with self._writing() as session:
            found = _block(session, source, number)
            event = None if found is None else Opened(found.packed).event(number - found.start)
            if found is None or event is None:
                return
            row = found.row + number - found.start
            session.execute(RELINK, (_link(session, link), row))
            query = DELETE_WAITING if link.grant else INSERT_WAITING
            session.execute(query, _arrays(_waiting(event, row)))

    # --- sessions ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Session]:
        """All of the block, or nothing of it; one at a time on whatever node."""
        with self.connections.lent() as session:
            session.execute("BEGIN")
            with rolled_back_on_error(session):
                session.execute(LOCK)
                yield session
                self._commit(session)

    def _commit(self, session: Session) -> None:
        commit(session)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Session]:
        """All statements of the block see the same."""
        with self.connections.lent() as session:
            session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            with rolled_back_on_error(session):
                yield session
                session.execute("COMMIT")


# --- writing, inside a transaction ---------------------------------------------------------------


def _source(session: Session, chunk: Chunk) -> int:
    """Its id. Raises `Conflict` unless the chunk goes on where it is."""
    session.execute(FIRST_SOURCE, (chunk.source,))
    source, following, cursor = session.rows(READ_SOURCE, (chunk.source,))[0]
    check_goes_on(chunk, following, cursor)
    return int(source)


def _insert(session: Session, chunk: Chunk, source: int, made: list[Block]) -> None:
    if not made:
        return
    row = first = session.rows("SELECT next FROM arrival")[0][0]
    places, contents, where = [], [], list[tuple[int, int]]()
    for block in made:
        start = chunk.start + row - first
        bounds = (min(block.moments), max(block.moments))
        places.append((row, source, start, block.count, *bounds, chunk.resource, block.commitments))
        contents.append((shelf_of(row), row, block.salts, block.packed))
        where += [(row, at) for at in block.moments]
        row += block.count
    _copy(session, COPY_PLACES, "int8 int4 int8 int2 int8 int8 text bytea", places)
    _copy(session, COPY_CONTENTS, "int2 int8 bytea bytea", contents)
    lines, waiting = _lines(session, chunk, first, where)
    _copy(session, COPY_EVENTS, "int8 int8 int8 text int8 int8 int4", lines)
    if waiting:
        session.execute(INSERT_WAITING, _arrays(waiting))
    session.execute(ARRIVED, (row,))


def _lines(
    session: Session, chunk: Chunk, first: int, where: list[tuple[int, int]]
) -> tuple[list[tuple[Any, ...]], list[tuple[int, int]]]:
    """By which the events of a chunk are found; and those that wait for a key."""
    links: dict[Link, int | None] = {NOBODY: None}
    sessions: dict[str, int | None] = {"": None}
    resources: dict[str, int] = {}
    waiting: list[tuple[int, int]] = []

    def line(row: int, place: int, at: int, each: Arrived) -> tuple[Any, ...]:
        event, resource = each.event, each.event.resource or chunk.resource
        if resource not in resources:
            resources[resource] = mark(resource)
        if event.session not in sessions:
            sessions[event.session] = mark(chunk.source, event.session)
        if each.link not in links:
            links[each.link] = _link(session, each.link)
        if event.keys and not each.link.grant:
            waiting.extend(_waiting(event, row))
        found = (resources[resource], sessions[event.session], links[each.link])
        return (row, place, at, event.type, *found)

    lines = [
        line(row, *placed, each)
        for row, (placed, each) in enumerate(zip(where, chunk.arrived, strict=True), first)
    ]
    return lines, waiting


def _copy(
    session: Session, statement: LiteralString, types: str, rows: Iterable[Sequence[Any]]
) -> None:
    with session.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(types.split())
        for row in rows:
            copy.write_row(row)


def _link(session: Session, link: Link) -> int | None:
    if link == NOBODY:
        return None
    values = (link.grant, link.strength, link.reason, link.standing)
    session.execute(FIRST_LINK, values)
    return int(session.rows(READ_LINK, values)[0][0])


def _waiting(event: Event | None, row: int) -> list[tuple[int, int]]:
    return [] if event is None else [(mark(key.kind, key.value), row) for key in event.keys]


def _arrays(pairs: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [one for one, _ in pairs], [two for _, two in pairs]


@dataclass(frozen=True, slots=True)
class _Found:
    """A block, as it lies there."""

    row: int
    start: int
    count: int
    salts: bytes
    packed: bytes


def _block(session: Session, source: str, number: int) -> _Found | None:
    """The one with this event."""
    rows = session.rows(READ_PLACE, (source, number))
    if not rows or number >= rows[0][1] + rows[0][2]:
        return None
    row, start, count = rows[0]
    salts, packed = session.rows(READ_CONTENT, (shelf_of(row), row))[0]
    return _Found(row, start, count, salts, packed)


def _erase(session: Session, source: str, numbers: list[int]) -> int:
    count = place = 0
    while place < len(numbers):
        found = _block(session, source, numbers[place])
        if found is None:
            place += 1
            continue
        stop = bisect_left(numbers, found.start + found.count, place)
        wanted = {number - found.start for number in numbers[place:stop]}
        count += _erase_from(session, found, wanted)
        place = stop
    return count


def _erase_from(session: Session, found: _Found, wanted: set[int]) -> int:
    opened, shelf = Opened(found.packed), shelf_of(found.row)
    gone = {position for position in wanted if not opened.is_gone(position)}
    if not gone:
        return 0
    values = (without_salts(found.salts, gone), opened.without(gone), shelf, found.row)
    session.execute(ERASE_CONTENT, values)
    session.execute(LEAVE_UNFINISHED, (shelf,))
    rows = {found.row + position: opened.event(position) for position in gone}
    session.execute(ERASE_EVENTS, (list(rows),))
    waiting = [pair for row, event in rows.items() for pair in _waiting(event, row)]
    session.execute(DELETE_WAITING, _arrays(waiting))
    return len(gone)
