"""
Move what sources said from one store of events to another: every number, commitment and salt.

Of an erased event an empty one is put in its place and erased there. What was cut short is finished
by calling it again; the log says under which of its entries the events are.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from muniment.access import records
from muniment.errors import Conflict, LogInvalid, Unavailable
from muniment.evidence.record import Header
from muniment.evidence.store import LogStore
from muniment.operations.grant_windows import JOINING
from muniment.operations.observing import case_of
from muniment.oversight.event import Event, Key
from muniment.oversight.event_store import Arrived, Chunk, EventStore, Kept, SourceState
from muniment.oversight.link import NOBODY
from muniment.stores.event_blocks import SALT_SIZE

#: events, and bytes of them, that are put in at once
_MOST, _MOST_BYTES = 2000, 8 << 20
#: commitments that are compared at once
_COMPARED: Final = 100_000
#: of a source that nothing was ever received from
_NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class MovedEvents:
    """All of them are in the new place."""

    sources: int
    events: int


def move_events(old: EventStore, new: EventStore, log: LogStore) -> MovedEvents:
    """
    Nobody else may write to either of them.

    Raises `Conflict` where other events are in the new place, and `LogInvalid` where the log does
    not account for what is missing in the old one.
    """
    moving = {state.source: _Moving.of(state, new, log) for state in old.states()}
    others = sorted({state.source for state in new.states()} - moving.keys())
    if others:
        raise Conflict(
            f"`store.events` has events of `{others[0]}` already; name an empty database"
        )
    for kept in old.walk():
        _count(moving[kept.source], kept)
    for piece in _pieces(old, moving):
        _put(old, new, moving[piece[0].source], piece)
    for each in moving.values():
        _finish(new, each)
        _check_same(old, new, each.state)
    return MovedEvents(sources=len(moving), events=sum(each.state.next for each in moving.values()))


@dataclass(kw_only=True)
class _Moving:
    """One source on its way."""

    #: as it is in the old place
    state: SourceState
    #: number of the next event in the new place
    next: int
    #: the log's records of it: where each ends, how many rejections it tells of, and its index
    seals: list[tuple[int, int, int]]
    #: of how many events of each type nothing else is left: they were erased
    types: Counter[str]
    erased: list[int] = field(default_factory=list)
    joined: set[Key] = field(default_factory=set)

    @classmethod
    def of(cls, state: SourceState, new: EventStore, log: LogStore) -> "_Moving":
        there, seals = new.state(state.source), list(_seals(log, state.source))
        if there.next > max([state.next, *(stop for stop, _, _ in seals)]):
            raise Conflict(
                f"`store.events` has more of `{state.source}` than there is to be moved: it has "
                "been in use already"
            )
        return cls(
            state=state,
            next=there.next,
            seals=seals,
            types=Counter(state.types) - Counter(there.types),
        )


def _seals(log: LogStore, source: str) -> Iterator[tuple[int, int, int]]:
    rejected = 0
    for index, data in log.case(case_of(log.leaves(0, 1), source), 1 << 62):
        record = records.parse(Header.parse(data))
        if isinstance(record, records.EventsReceived):
            rejected += record.rejected
            yield record.start + record.count, rejected, index


def _count(moving: _Moving, kept: Kept) -> None:
    if kept.event is None:
        moving.erased.append(kept.number)
    elif kept.number >= moving.next:
        moving.types[kept.event.type] -= 1


def _pieces(old: EventStore, moving: dict[str, _Moving]) -> Iterator[list[Kept]]:
    """What is not in the new place yet, in the order of arrival; each of one source, about one."""
    piece: list[Kept] = []
    for kept in old.walk():
        if kept.number < moving[kept.source].next:
            continue  # an earlier try has put it there
        if piece and not _goes_on(piece, kept, moving[kept.source].state):
            yield piece
            piece = []
        piece.append(kept)
    if piece:
        yield piece


def _goes_on(piece: Sequence[Kept], kept: Kept, state: SourceState) -> bool:
    last = piece[-1]
    follows = (last.source, last.number + 1) == (kept.source, kept.number)
    same = follows and _resource(last, state) == _resource(kept, state)
    return same and len(piece) < _MOST


def _resource(kept: Kept, state: SourceState) -> str:
    """What its source spoke of when it came, as far as that matters for it."""
    says_itself = kept.event is None or kept.event.resource
    return state.resource if says_itself else kept.resource


def _put(old: EventStore, new: EventStore, moving: _Moving, piece: Sequence[Kept]) -> None:
    source, start = piece[0].source, piece[0].number
    if moving.next < start:  # some were lost before, and the log speaks of them
        _seal(new, moving, start)
    resource = _resource(piece[0], moving.state)
    committed = old.commitments(source, start, start + len(piece))
    arrived, size = list[Arrived](), 0
    for kept, commitment in zip(piece, committed, strict=True):
        arrived.append(_arrived(old, new, moving, kept, commitment))
        size += len(arrived[-1].raw)
        if size >= _MOST_BYTES:
            _add(new, moving, start, arrived, resource)
            start, arrived, size = start + len(arrived), [], 0
    _add(new, moving, start, arrived, resource)


def _arrived(
    old: EventStore, new: EventStore, moving: _Moving, kept: Kept, commitment: bytes
) -> Arrived:
    opened = None if kept.event is None else old.raw(kept.source, kept.number)
    if kept.event is None or opened is None:
        type_ = next((each for each, count in moving.types.items() if count > 0), "other")
        moving.types[type_] -= 1
        event = Event(type=type_, at=moving.state.received or _NO_TIME)
        return Arrived(
            raw=b"", salt=bytes(SALT_SIZE), commitment=commitment, event=event, link=NOBODY
        )
    for key in kept.event.keys:
        if key.kind in JOINING and key not in moving.joined:
            moving.joined.add(key)
            if (grant := old.joined(key)) is not None:
                new.join(key, grant)
    return Arrived(
        raw=opened.raw, salt=opened.salt, commitment=commitment, event=kept.event, link=kept.link
    )


def _add(
    new: EventStore, moving: _Moving, start: int, arrived: Sequence[Arrived], resource: str
) -> None:
    if moving.next != start:
        raise LogInvalid(
            f"events of `{moving.state.source}` from number {moving.next} on are missing, and no "
            "record of the log speaks of them"
        )
    new.add(_chunk(moving.state, start, arrived, resource))
    moving.next = start + len(arrived)


def _chunk(
    state: SourceState, start: int, arrived: Sequence[Arrived] = (), resource: str = ""
) -> Chunk:
    return Chunk(
        source=state.source,
        resource=resource,
        start=start,
        arrived=arrived,
        rejected=0,
        cursor=None,
        at=state.received or _NO_TIME,
    )


def _seal(new: EventStore, moving: _Moving, stop: int) -> None:
    """As the log does, up to this number."""
    for sealed, rejected, index in moving.seals:
        if sealed <= stop:
            new.seal(moving.state.source, sealed, rejected, index)
            moving.next = max(moving.next, sealed)


def _finish(new: EventStore, moving: _Moving) -> None:
    state = moving.state
    _seal(new, moving, max([0, *(stop for stop, _, _ in moving.seals)]))
    _erase(new, state.source, moving.erased)
    there = new.state(state.source)
    if state.received is not None:
        rejected = max(state.rejected - there.rejected, 0)
        last = _chunk(state, there.next, resource=state.resource)
        new.add(replace(last, rejected=rejected, cursor=state.cursor))
    elif state.cursor is not None:
        new.move(state.source, state.cursor)


def _erase(new: EventStore, source: str, numbers: Sequence[int]) -> None:
    if not numbers:
        return
    try:
        new.erase(source, numbers)
    except Unavailable:
        # nothing was in them: that bytes of them are still in a file does no harm
        if any(new.raw(source, number) is not None for number in numbers):
            raise


def _check_same(old: EventStore, new: EventStore, state: SourceState) -> None:
    for start in range(0, state.next, _COMPARED):
        stop = min(start + _COMPARED, state.next)
        if old.commitments(state.source, start, stop) != new.commitments(state.source, start, stop):
            raise Conflict(
                f"`store.events` has other events of `{state.source}`; name an empty database"
            )
