"""What is asked of the events in PostgreSQL, inside one transaction."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, Final, LiteralString, TypeAlias

from muniment.oversight.event import Key
from muniment.oversight.event_store import Kept, SourceState
from muniment.oversight.link import NOBODY, Link
from muniment.stores.event_blocks import MOST, Opened, digest_of, mark, moment_of
from muniment.stores.postgresql.connections import Session

_HASH: Final = 32
_SHELVES: Final = 64
#: rows whose contents lie together, so that one chunk writes to one shelf
_RUN: Final = 1 << 14
#: blocks that are in memory at once
_PIECE: Final = 64

READ_STATES: LiteralString = (
    "SELECT id, name, resource, next, sealed, rejected, rejected_sealed, cursor, received"
    " FROM sources WHERE name = %(name)s OR %(name)s::text IS NULL ORDER BY name"
)
READ_COUNTS: LiteralString = "SELECT type, events FROM counts WHERE source = %s ORDER BY type"
READ_PLACES: LiteralString = (
    "SELECT p.row, p.start, p.count, p.first, p.last, p.commitments FROM places p"
    " JOIN sources s ON s.id = p.source"
    " WHERE s.name = %s AND p.start > %s AND p.start < %s ORDER BY p.start"
)
READ_MOMENTS: LiteralString = "SELECT min(at), max(at) FROM events WHERE row >= %s AND row < %s"
READ_SEAL: LiteralString = (
    "SELECT idx FROM seals JOIN sources ON id = source WHERE name = %s AND stop > %s"
    " ORDER BY stop LIMIT 1"
)
READ_FOLLOWING: LiteralString = (
    "SELECT row, count FROM places WHERE row > %s AND row + count > %s ORDER BY row LIMIT %s"
)
READ_INDEX: LiteralString = "SELECT row, place, link FROM events WHERE row >= %s AND row < %s"
READ_BLOCKS: LiteralString = (
    "SELECT p.row, s.name, s.resource, p.resource, p.start, c.packed FROM places p"
    " JOIN sources s ON s.id = p.source JOIN contents c ON c.row = p.row"
    " WHERE c.shelf = %s AND c.row = ANY(%s) AND p.row = ANY(%s)"
)
READ_LINKS: LiteralString = (
    "SELECT id, case_id, strength, reason, standing FROM links WHERE id = ANY(%s)"
)
BY_GRANT: LiteralString = (
    "SELECT row, place, link FROM events WHERE row > %s"
    " AND link = ANY(ARRAY(SELECT id FROM links WHERE case_id = %s)) ORDER BY row LIMIT %s"
)
BY_SESSION: LiteralString = (
    "SELECT row, place, link FROM events WHERE session = %s AND row > %s ORDER BY row LIMIT %s"
)
BY_KEY: LiteralString = (
    "SELECT e.row, e.place, e.link FROM waiting w JOIN events e ON e.row = w.row"
    " WHERE w.mark = %s AND w.row > %s ORDER BY w.row LIMIT %s"
)
BY_TIME: LiteralString = (
    "SELECT row, place, link FROM events WHERE at >= %s AND at < %s ORDER BY at, row LIMIT %s"
)
BY_TYPE: LiteralString = (
    "SELECT row, place, link, at FROM events WHERE type = %s AND at >= %s AND at < %s"
    " ORDER BY at, row LIMIT %s"
)
BY_RESOURCE: LiteralString = (
    "SELECT row, place, link, at FROM events WHERE resource = %s AND type = %s"
    " AND at >= %s AND at < %s ORDER BY at, row LIMIT %s"
)
READ_TYPES: LiteralString = "SELECT DISTINCT type FROM counts"
# by blocks: of the events themselves there may be too many for the time that a statement has
FIRST_ROW: LiteralString = (
    "SELECT e.row FROM places p JOIN LATERAL (SELECT min(row) AS row FROM events"
    " WHERE row >= p.row AND row < p.row + p.count AND at >= %(since)s AND at < %(until)s) e"
    " ON e.row IS NOT NULL"
    " WHERE p.last >= %(since)s AND p.first < %(until)s ORDER BY p.row LIMIT 1"
)
READ_JOINED: LiteralString = "SELECT case_id FROM joined WHERE key = %s"

#: row, first row of its block, and link of an event
_Line: TypeAlias = "tuple[Any, ...]"


def shelf_of(row: int) -> int:
    """Where the contents of a block lie: a part of the table that is rewritten as a whole."""
    return row // _RUN % _SHELVES


def states(session: Session, source: str | None = None) -> list[SourceState]:
    """Of one source, or of all."""
    found = []
    for each in session.rows(READ_STATES, {"name": source}):
        (number, name, resource, following, sealed, rejected, rejected_sealed, *rest) = each
        cursor, received = rest
        state = SourceState(
            source=name, resource=resource, next=following, sealed=sealed, rejected=rejected,
            rejected_sealed=rejected_sealed, cursor=cursor,
            received=None if received is None else moment_of(received),
            types=dict(session.rows(READ_COUNTS, (number,))),
        )  # fmt: skip
        found.append(state)
    return found


def commitments(session: Session, source: str, start: int, stop: int) -> list[bytes]:
    found: list[bytes] = []
    for _, first, count, _, _, hashes in session.rows(READ_PLACES, (source, start - MOST, stop)):
        inside = range(max(start - first, 0), min(stop - first, count))
        found += [hashes[n * _HASH : (n + 1) * _HASH] for n in inside]
    return found


def span(session: Session, source: str, start: int, stop: int) -> tuple[int, int] | None:
    found: list[int] = []
    for row, number, count, first, last, _ in session.rows(
        READ_PLACES, (source, start - MOST, stop)
    ):
        if start <= number and number + count <= stop:
            found += (first, last)
        elif start < number + count:
            inside = (row + max(start - number, 0), row + min(stop - number, count))
            found += [at for at in session.rows(READ_MOMENTS, inside)[0] if at is not None]
    return (min(found), max(found)) if found else None


def sealed_by(session: Session, source: str, number: int) -> int | None:
    rows = session.rows(READ_SEAL, (source, number))
    return int(rows[0][0]) if rows else None


def after(session: Session, row: int, limit: int) -> list[Kept]:
    found: list[Kept] = []
    while len(found) < limit:
        # at most one block reaches from before this row to behind it
        following = session.rows(READ_FOLLOWING, (row - MOST, row + 1, _PIECE))
        if not following:
            break
        end = following[-1][0] + following[-1][1]
        lines = {line[0]: line for line in session.rows(READ_INDEX, (row + 1, end))}
        # of an erased one there is no line
        every = [
            lines.get(each, (each, first, None))
            for first, count in following
            for each in range(max(first, row + 1), first + count)
        ]
        found += _kept(session, every[: limit - len(found)])
        row = end - 1
    return found


def of_grant(session: Session, case: str, row: int, limit: int) -> list[Kept]:
    return _kept(session, session.rows(BY_GRANT, (row, case, limit)) if case else [])


def of_session(session: Session, source: str, name: str, limit: int) -> list[Kept]:
    def is_it(kept: Kept) -> bool:
        return kept.source == source and kept.event is not None and kept.event.session == name

    return _matching(session, BY_SESSION, mark(source, name), is_it, limit) if name else []


def unlinked(session: Session, key: Key, limit: int) -> list[Kept]:
    def has_it(kept: Kept) -> bool:
        return kept.event is not None and key in kept.event.keys

    return _matching(session, BY_KEY, mark(key.kind, key.value), has_it, limit)


def between(
    session: Session,
    since: int,
    until: int,
    *,
    resource: str | None,
    types: Sequence[str],
    limit: int,
) -> list[Kept]:
    if resource is None and not types:
        return _kept(session, session.rows(BY_TIME, (since, until, limit)))
    lines: list[_Line] = []
    wanted = set(types) or {type_ for (type_,) in session.rows(READ_TYPES)}
    for type_ in wanted:  # each is in order by itself
        if resource is None:
            lines += session.rows(BY_TYPE, (type_, since, until, limit))
        else:
            lines += session.rows(BY_RESOURCE, (mark(resource), type_, since, until, limit))
    lines.sort(key=lambda line: (line[3], line[0]))
    found = _kept(session, lines[:limit])
    # another resource may have the same mark
    return [kept for kept in found if resource is None or kept.resource == resource]


def first_row(session: Session, since: int, until: int) -> int | None:
    rows = session.rows(FIRST_ROW, {"since": since, "until": until})
    return int(rows[0][0]) if rows else None


def joined(session: Session, key: Key) -> str | None:
    rows = session.rows(READ_JOINED, (digest_of(key),))
    return str(rows[0][0]) if rows else None


def _matching(
    session: Session,
    query: LiteralString,
    number: int,
    is_it: Callable[[Kept], bool],
    limit: int,
) -> list[Kept]:
    """By a mark, which others may have, too."""
    found: list[Kept] = []
    row = 0
    while len(found) < limit:
        lines = session.rows(query, (number, row, limit - len(found)))
        if not lines:
            break
        found += filter(is_it, _kept(session, lines))
        row = lines[-1][0]
    return found


def _kept(session: Session, lines: Sequence[_Line]) -> list[Kept]:
    """In the order of the lines; each block is opened once."""
    links = _links(session, {line[2] for line in lines})
    found: dict[int, Kept] = {}
    inside: dict[int, list[_Line]] = {}
    for line in lines:
        inside.setdefault(line[1], []).append(line)
    for places in _pieces(sorted(inside)):
        rows = session.rows(READ_BLOCKS, (shelf_of(places[0]), places, places))
        for first, source, of_source, resource, start, packed in rows:
            opened = Opened(packed)
            for row, _, link, *_ in inside[first]:
                event = opened.event(row - first)
                about = of_source if event is None else event.resource or resource
                found[row] = Kept(
                    row=row, source=source, number=start + row - first, event=event,
                    link=links[link], resource=about,
                )  # fmt: skip
    return [found[line[0]] for line in lines]


def _pieces(places: Iterable[int]) -> Iterable[list[int]]:
    """Some at a time, those of each on one shelf."""
    for _, on_shelf in groupby(places, key=shelf_of):
        every = list(on_shelf)
        for at in range(0, len(every), _PIECE):
            yield every[at : at + _PIECE]


def _links(session: Session, numbers: set[int | None]) -> dict[int | None, Link]:
    found: dict[int | None, Link] = {None: NOBODY}
    wanted = [number for number in numbers if number is not None]
    if wanted:
        for number, case, strength, reason, standing in session.rows(READ_LINKS, (wanted,)):
            found[number] = Link(grant=case, strength=strength, reason=reason, standing=standing)
    return found
