"""From the records that a source sends to events that are kept: read, linked, committed."""

import logging
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC
from traceback import extract_tb
from typing import Final

from muniment.errors import Conflict, Unavailable, Unreadable
from muniment.evidence import event_batch
from muniment.operations.grant_windows import JOINING, GrantWindows
from muniment.operations.observing import Source, Taken
from muniment.operations.seals import remember
from muniment.operations.service import Service
from muniment.oversight.event import MAX_RECORD, TYPES, Event, Key, Reader
from muniment.oversight.event_store import Arrived, Chunk, EventStore
from muniment.oversight.link import Correlator, Link

#: bugs of readers that are told of; the next one may be anything
_MOST_TOLD: Final = 1000
#: times that others may add before us: each time their events are kept
_TRIES: Final = 20
_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Intake:
    """Numbers the events of each source: only one thread at a time may work with it."""

    service: Service
    store: EventStore
    _correlator: Correlator = field(init=False)
    #: what readers failed with, by source: told once
    _told: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        windows = GrantWindows(service=self.service, store=self.store)
        self._correlator = Correlator(self.service.prefix, windows)

    def take(
        self, source: Source, sent: Sequence[bytes], cursor: str | None, after: str | None = None
    ) -> Taken:
        """
        Durable, with the cursor, when it returns. Raises `Unavailable`: then nothing is kept.

        And `Conflict` where the source's cursor is not `after`: another node has read on.
        """
        for _ in range(_TRIES):
            try:
                return self._take(source, sent, cursor, after)
            except Conflict:
                if after is not None and after != (self.store.state(source.name).cursor or ""):
                    raise
        raise Unavailable(f"other nodes keep adding to `{source.name}`; try again")

    def _take(
        self, source: Source, sent: Sequence[bytes], cursor: str | None, after: str | None
    ) -> Taken:
        """Raises `Conflict` where another node adds at the same moment."""
        start = self._next(source.name)
        coming = _Coming(self, source, start, len(sent))
        for raw in sent:
            try:
                event = _read(source.reader, raw)
            except Unreadable as error:
                _log.debug("a record of `%s` is rejected: %s", source.name, error)
            except Exception as error:  # noqa: BLE001 (a bug of a reader costs this record only)
                self._tell(source.name, error)
            else:
                coming.add(raw, event)
        rejected = len(sent) - len(coming.arrived)
        self.store.add(
            Chunk(
                source=source.name,
                resource=source.resource,
                start=start,
                arrived=coming.arrived,
                rejected=rejected,
                cursor=cursor,
                at=self.service.now(),
                after=after,
            )
        )
        coming.look_again()
        return Taken(kept=len(coming.arrived), rejected=rejected)

    def _next(self, source: str) -> int:
        """Number of its next event: also where the store was lost, and the log has more."""
        state, seen = self.store.state(source), self.service.registry.sources.get(source)
        if seen is None or seen.next <= state.next:
            return state.next
        remember(self.service, self.store, source, state.sealed)
        return self.store.state(source).next

    def link(self, event: Event, resource: str) -> Link:
        """The grant that it belongs to, as far as is known by now."""
        return self._correlator.link(event, resource)

    def _tell(self, source: str, error: Exception) -> None:
        """Once, and where it was: what the error says may be text of the record."""
        place = extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__} at {place.filename}:{place.lineno}"
        if (source, what) not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add((source, what))
            _log.error("the reader of `%s` failed; the record is rejected: %s", source, what)


class _Coming:
    """The events of one chunk, one after the other."""

    def __init__(self, intake: Intake, source: Source, start: int, most: int) -> None:
        self._intake = intake
        self._source = source
        self._start = start
        self._log_id = intake.service.log.log_id
        self._salts = _salts(most)
        #: places of those that showed a key before anything gave it out
        self._waiting: dict[Key, list[int]] = {}
        self.arrived: list[Arrived] = []

    def add(self, raw: bytes, event: Event) -> None:
        place, source, salt = len(self.arrived), self._source, next(self._salts)
        link = self._intake.link(event, source.resource)
        number = self._start + place
        arrived = Arrived(
            raw=raw,
            salt=salt,
            commitment=event_batch.commitment(self._log_id, salt, source.name, number, raw),
            event=event,
            link=link,
        )
        self.arrived.append(arrived)
        if event.type == "credential.issued" and link.strength == "strong" and link.grant:
            self._join(event, link)
        elif not link.grant:
            for key in event.keys:
                if key.kind in JOINING:
                    self._waiting.setdefault(key, []).append(place)

    def _join(self, event: Event, gave: Link) -> None:
        """What a grant was given leads on to it; also what showed it before we were told."""
        intake = self._intake
        for key in event.keys:
            if key.kind not in JOINING:
                continue
            intake.store.join(key, gave.grant)
            self._relink(key)
            for place in self._waiting.pop(key, ()):
                each = self.arrived[place]
                link = intake.link(each.event, self._source.resource)
                self.arrived[place] = replace(each, link=link)

    def look_again(self) -> None:
        """What another node was told of a key while we kept what showed it: it did not see that."""
        for key in self._waiting if self._intake.service.shared else ():
            if self._intake.store.joined(key) is not None:
                self._relink(key)

    def _relink(self, key: Key) -> None:
        """As many as there are: those that are linked wait no more."""
        intake, seen = self._intake, set[int]()
        while some := [each for each in intake.store.unlinked(key) if each.row not in seen]:
            for kept in some:
                seen.add(kept.row)
                if kept.event is not None:
                    link = intake.link(kept.event, kept.resource)
                    intake.store.relink(kept.source, kept.number, link)
                    intake.service.observing.relinked.append(kept.row)


def _salts(count: int) -> Iterator[bytes]:
    """Fresh ones, asked of the system at once."""
    size = event_batch.SALT_SIZE
    drawn = secrets.token_bytes(count * size)
    return (drawn[at : at + size] for at in range(0, len(drawn), size))


def _read(reader: Reader, raw: bytes) -> Event:
    """Raises `Unreadable` also for an event that nothing could be made of later."""
    if len(raw) > MAX_RECORD:
        raise Unreadable("it is too long")
    event = reader.read(raw)
    if event.type not in TYPES:
        raise Unreadable("its reader gives it a type that there is not")
    if event.at.tzinfo is UTC:
        return event
    if event.at.tzinfo is None:
        raise Unreadable("its moment has no zone")
    try:
        return replace(event, at=event.at.astimezone(UTC))
    except OverflowError:
        raise Unreadable("its moment is none of UTC") from None
