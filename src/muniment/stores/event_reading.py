"""What is asked of the events in SQLite, inside one transaction."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from heapq import merge
from itertools import islice
from typing import Any, Final, TypeAlias

from muniment.oversight.event import Key
from muniment.oversight.event_store import Kept, SourceState
from muniment.oversight.link import NOBODY, Link
from muniment.stores.event_blocks import (
    MOST,
    Opened,
    decoded,
    digest_of,
    encoded,
    mark,
    moment_of,
)

_HASH: Final = 32
#: more kinds than these are not looked through one by one
_MANY_KINDS: Final = 1000

READ_STATES = (
    "SELECT id, name, resource, next, sealed, rejected, rejected_sealed, cursor, received"
    " FROM sources WHERE name = ?1 OR ?1 IS NULL ORDER BY name"
)
READ_COUNTS = "SELECT type, events FROM counts WHERE source = ? ORDER BY type"
READ_COMMITMENTS = (
    "SELECT b.start, c.hashes FROM blocks b JOIN sources s ON s.id = b.source"
    " JOIN commitments c ON c.row = b.row"
    " WHERE s.name = ? AND b.start > ? AND b.start < ? ORDER BY b.start"
)
READ_BOUNDS = (
    "SELECT b.row, b.start, b.count, b.first, b.last FROM blocks b"
    " JOIN sources s ON s.id = b.source"
    " WHERE s.name = ? AND b.start > ? AND b.start < ? ORDER BY b.start"
)
READ_MOMENTS = "SELECT min(at), max(at) FROM events WHERE row >= ? AND row < ?"
READ_SEAL = (
    "SELECT idx FROM seals JOIN sources ON id = source WHERE name = ? AND stop > ?"
    " ORDER BY stop LIMIT 1"
)
READ_BLOCKS = (
    "SELECT b.row, s.name, s.resource, b.start, b.count, b.packed FROM blocks b"
    " JOIN sources s ON s.id = b.source WHERE b.row > ? AND b.row + b.count > ? ORDER BY b.row"
)
READ_BLOCK_OF_ROW = (
    "SELECT b.row, s.name, b.start, b.count, b.packed FROM blocks b"
    " JOIN sources s ON s.id = b.source WHERE b.row <= ? ORDER BY b.row DESC LIMIT 1"
)
READ_INDEX = "SELECT row, kind, link FROM events WHERE row >= ? AND row < ?"
READ_KIND = "SELECT resource FROM kinds WHERE id = ?"
READ_LINK = "SELECT case_id, strength, reason, standing FROM links WHERE id = ?"
READ_LINKS = "SELECT id FROM links WHERE case_id = ?"
BY_LINK = "SELECT row, kind, link FROM events WHERE link = ? AND row > ? ORDER BY row LIMIT ?"
BY_SESSION = "SELECT row, kind, link FROM events WHERE session = ? AND row > ? ORDER BY row LIMIT ?"
BY_KEY = (
    "SELECT e.row, e.kind, e.link FROM waiting w JOIN events e ON e.row = w.row"
    " WHERE w.mark = ? AND w.row > ? ORDER BY w.row LIMIT ?"
)
READ_KINDS = "SELECT id, type FROM kinds WHERE resource = ?1 OR ?1 IS NULL"
BY_KIND = (
    "SELECT at, row, kind, link FROM events INDEXED BY events_by_kind"
    " WHERE kind = ? AND at >= ? AND at < ? ORDER BY at, row"
)
BY_TIME = (
    "SELECT at, row, kind, link FROM events INDEXED BY events_by_time"
    " WHERE at >= ? AND at < ? ORDER BY at, row"
)
# in the order of the table: what is asked for is near its end, or a week of it is nearly all
FIRST_ROW = "SELECT row FROM events NOT INDEXED WHERE at >= ? AND at < ? ORDER BY row LIMIT 1"
READ_JOINED = "SELECT case_id FROM joined WHERE key = ?"

#: row, kind and link of an event, by their ids
_Line: TypeAlias = "tuple[int, int, int | None]"


def states(connection: sqlite3.Connection, source: str | None = None) -> list[SourceState]:
    """Of one source, or of all."""
    found = []
    for each in connection.execute(READ_STATES, (source,)).fetchall():
        (number, name, resource, following, sealed, rejected, rejected_sealed, *rest) = each
        cursor, received = rest
        state = SourceState(
            source=name, resource=resource, next=following, sealed=sealed, rejected=rejected,
            rejected_sealed=rejected_sealed, cursor=cursor,
            received=None if received is None else moment_of(received),
            types=dict(connection.execute(READ_COUNTS, (number,))),
        )  # fmt: skip
        found.append(state)
    return found


def commitments(connection: sqlite3.Connection, source: str, start: int, stop: int) -> list[bytes]:
    found: list[bytes] = []
    for first, hashes in connection.execute(READ_COMMITMENTS, (source, start - MOST, stop)):
        inside = range(max(start - first, 0), min(stop - first, len(hashes) // _HASH))
        found += [hashes[n * _HASH : (n + 1) * _HASH] for n in inside]
    return found


def span(
    connection: sqlite3.Connection, source: str, start: int, stop: int
) -> tuple[int, int] | None:
    found: list[int] = []
    for row, number, count, *bounds in connection.execute(
        READ_BOUNDS, (source, start - MOST, stop)
    ).fetchall():
        if start <= number and number + count <= stop:
            found += bounds
        elif start < number + count:
            inside = (row + max(start - number, 0), row + min(stop - number, count))
            found += filter(_is_there, connection.execute(READ_MOMENTS, inside).fetchone())
    return (min(found), max(found)) if found else None


def sealed_by(connection: sqlite3.Connection, source: str, number: int) -> int | None:
    row = connection.execute(READ_SEAL, (source, number)).fetchone()
    return None if row is None else int(row[0])


def after(connection: sqlite3.Connection, row: int, limit: int) -> list[Kept]:
    names = _Names(connection)
    found: list[Kept] = []
    # at most one block reaches from before this row to behind it
    cursor = connection.execute(READ_BLOCKS, (row - MOST, row + 1))
    while len(found) < limit and (block := cursor.fetchone()) is not None:
        first, source, of_source, start, count, packed = block
        opened = Opened(packed)
        lines = {line[0]: line for line in connection.execute(READ_INDEX, (first, first + count))}
        for position in range(max(row + 1 - first, 0), count):
            line = lines.get(first + position)
            resource, link = (of_source, NOBODY) if line is None else names.of(line)
            kept = Kept(
                row=first + position, source=source, number=start + position,
                event=opened.event(position), link=link, resource=resource,
            )  # fmt: skip
            found.append(kept)
    cursor.close()
    return found[:limit]


def of_grant(connection: sqlite3.Connection, case: str, row: int, limit: int) -> list[Kept]:
    links = connection.execute(READ_LINKS, (case,)).fetchall() if case else []
    lines = [connection.execute(BY_LINK, (*link, row, limit)).fetchall() for link in links]
    return _kept(connection, list(islice(merge(*lines), limit)))


def of_session(connection: sqlite3.Connection, source: str, session: str, limit: int) -> list[Kept]:
    def is_it(kept: Kept) -> bool:
        return kept.source == source and kept.event is not None and kept.event.session == session

    if not session:
        return []
    return _matching(connection, BY_SESSION, mark(source, session), is_it, limit)


def unlinked(connection: sqlite3.Connection, key: Key, limit: int) -> list[Kept]:
    def has_it(kept: Kept) -> bool:
        return kept.event is not None and key in kept.event.keys

    return _matching(connection, BY_KEY, mark(key.kind, key.value), has_it, limit)


def between(
    connection: sqlite3.Connection,
    since: int,
    until: int,
    *,
    resource: str | None,
    types: Sequence[str],
    limit: int,
) -> list[Kept]:
    lines: Iterable[tuple[Any, ...]]
    if resource is None and not types:
        lines = connection.execute(BY_TIME, (since, until))
    else:
        asked = None if resource is None else encoded(resource)
        found = connection.execute(READ_KINDS, (asked,))
        kinds = {kind for kind, type_ in found if not types or type_ in types}
        if len(kinds) > _MANY_KINDS:
            every = connection.execute(BY_TIME, (since, until))
            lines = (line for line in every if line[2] in kinds)
        else:
            # each is in order by itself; no more is read of them than is asked for
            lines = merge(*(connection.execute(BY_KIND, (kind, since, until)) for kind in kinds))
    return _kept(connection, [line[1:] for line in islice(lines, max(limit, 0))])


def first_row(connection: sqlite3.Connection, since: int, until: int) -> int | None:
    found = connection.execute(FIRST_ROW, (since, until)).fetchone()
    return None if found is None else int(found[0])


def joined(connection: sqlite3.Connection, key: Key) -> str | None:
    row = connection.execute(READ_JOINED, (digest_of(key),)).fetchone()
    return None if row is None else str(row[0])


def _matching(
    connection: sqlite3.Connection,
    query: str,
    number: int,
    is_it: Callable[[Kept], bool],
    limit: int,
) -> list[Kept]:
    """By a mark, which others may have, too."""
    found: list[Kept] = []
    row = 0
    while len(found) < limit:
        lines = connection.execute(query, (number, row, limit - len(found))).fetchall()
        if not lines:
            break
        found += filter(is_it, _kept(connection, lines))
        row = lines[-1][0]
    return found


def _kept(connection: sqlite3.Connection, lines: Sequence[_Line]) -> list[Kept]:
    """In the order of the lines; each block is opened once."""
    names = _Names(connection)
    found: dict[int, Kept] = {}
    end = 0
    for line in sorted(lines, key=lambda line: line[0]):
        row = line[0]
        if row >= end:
            first, source, start, count, packed = connection.execute(
                READ_BLOCK_OF_ROW, (row,)
            ).fetchone()
            opened, end = Opened(packed), first + count
        resource, link = names.of(line)
        found[row] = Kept(
            row=row, source=source, number=start + row - first, event=opened.event(row - first),
            link=link, resource=resource,
        )  # fmt: skip
    return [found[line[0]] for line in lines]


class _Names:
    """What ids of kinds and links stand for, each read once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._resources: dict[int, str] = {}
        self._links: dict[int | None, Link] = {None: NOBODY}

    def of(self, line: _Line) -> tuple[str, Link]:
        _, kind, number = line
        if kind not in self._resources:
            row = self._connection.execute(READ_KIND, (kind,)).fetchone()
            self._resources[kind] = decoded(row[0])
        if number not in self._links:
            case, strength, reason, standing = self._connection.execute(
                READ_LINK, (number,)
            ).fetchone()
            self._links[number] = Link(
                grant=case, strength=strength, reason=reason, standing=standing
            )
        return self._resources[kind], self._links[number]


def _is_there(value: int | None) -> bool:
    return value is not None
