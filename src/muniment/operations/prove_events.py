"""
Show events unchanged, to whoever holds nothing but the log's public key.

An event is shown with its salt, its place in its batch and the log's record of that batch. Of one
that was erased the commitment is shown: so it is named, and not left out in silence.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from muniment.access import records
from muniment.errors import (
    Conflict,
    LogInvalid,
    Malformed,
    NotCanonical,
    NotFound,
    NotPermitted,
)
from muniment.evidence import event_batch
from muniment.evidence.event_batch import EventProof
from muniment.evidence.event_evidence import (
    MAX_EVENTS,
    MAX_EVIDENCE,
    Batch,
    EventEvidence,
    Gone,
    Placed,
)
from muniment.evidence.keys import only
from muniment.evidence.log import Log
from muniment.evidence.store import Entry
from muniment.operations import permit
from muniment.operations.projection import known
from muniment.operations.service import Caller, Service
from muniment.oversight.event_store import EventStore

#: commitments that are read for one file: the trees of its batches are made again from them
MOST_READ: Final = 5_000_000
#: recorded sessions of one grant that are looked at
_MOST_SESSIONS: Final = 1_000
_SOON: Final = "the log has no record of it yet; try again in a few seconds"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """One event, by its source and its number there."""

    source: str
    number: int

    def __str__(self) -> str:
        return f"event {self.number} of `{self.source}`"


@dataclass(frozen=True, kw_only=True, slots=True)
class EventsProved:
    """The file, and what it has."""

    data: bytes = field(repr=False)
    events: int
    #: shown by their commitments
    erased: int
    #: events of the case that the log has no record of yet: they are not in the file
    waiting: int = 0


async def prove(
    service: Service, caller: Caller, source: str, numbers: Iterable[int], case: str | None = None
) -> EventsProved:
    """
    The file that shows these events of a source; with a case, those that are linked to it.

    Whoever may audit has any shown. Whoever may export a case names it, and gets what is linked to
    it. Raises `NotFound` for events that never came or were erased, and `Conflict` for those that
    the log has no record of yet.
    """
    wanted = sorted(set(numbers))
    if not 0 < len(wanted) <= MAX_EVENTS:
        raise Malformed(f"ask for 1 to {MAX_EVENTS} events at once, not for {len(wanted)}")
    _check_permitted(service, caller, case)
    places = [Place(source, number) for number in wanted]
    return await asyncio.to_thread(_of_places, service, _store(service), places, case)


async def prove_of_case(service: Service, caller: Caller, case: str) -> EventsProved:
    """
    The file that shows all that sources sent of a grant, as far as the log has a record of it.

    Raises `NotFound` if there is nothing, and `Conflict` if there is too much for one file.
    """
    _check_permitted(service, caller, case)
    return await asyncio.to_thread(_of_case, service, _store(service), case)


def _check_permitted(service: Service, caller: Caller, case: str | None) -> None:
    decision = permit.ask(service, caller, "audit", None)
    if decision.outcome == "permit":
        return
    if case is None:
        service.count("not-permitted")
        raise NotPermitted(
            f"you may not `audit`: {permit.refusal(decision)}; name the case that the event is "
            "linked to, if you may export that"
        )
    state, _ = service.read(case)
    permit.require(service, caller, "read", state)
    permit.require(service, caller, "export", state)


def _store(service: Service) -> EventStore:
    if service.observing.store is None:
        raise NotFound("nothing is observed here: there is no event to prove")
    return service.observing.store


# --- which events -----------------------------------------------------------------------------


def _of_places(
    service: Service, store: EventStore, places: Sequence[Place], case: str | None
) -> EventsProved:
    if case is not None:
        linked = _linked(service, store, case, set(places))
        places = [place for place in places if place in linked]
        if not places:
            raise NotFound(f"nothing of it is linked to `{case}`")
    if places[-1].number >= store.state(places[-1].source).next:
        raise NotFound(f"there is no {places[-1]}")
    sealed, waiting = _sealed(service, store, places)
    if waiting:
        raise Conflict(f"{waiting[0]}: {_SOON}")
    return assemble(service.log, store, sealed)


def _of_case(service: Service, store: EventStore, case: str) -> EventsProved:
    places = sorted(_linked(service, store, case))
    if not places:
        raise NotFound(f"nothing that a source sent is linked to `{case}`")
    if len(places) > MAX_EVENTS:
        raise _too_much(f"more than {MAX_EVENTS} events", places[0])
    sealed, waiting = _sealed(service, store, places)
    if not sealed:
        raise Conflict(f"{waiting[0]}: {_SOON}")
    return assemble(service.log, store, sealed, len(waiting))


def _linked(
    service: Service, store: EventStore, case: str, wanted: set[Place] | None = None
) -> set[Place]:
    """
    What is linked to a grant, or was until it was erased; of some, or up to one more than a file.

    An erased event may be known by the recorded session alone. Of that nothing else is taken: what
    is still there may be another's by now.
    """
    found: set[Place] = set()
    enough = MAX_EVENTS + 1 if wanted is None else len(wanted)
    for place in _linked_now(store, case):
        if wanted is None or place in wanted:
            found.add(place)
        if len(found) == enough:
            return found
    for place in _recorded(service, case):
        if (wanted is not None and place not in wanted) or place in found:
            continue
        if store.raw(place.source, place.number) is None:
            found.add(place)
        if len(found) == enough:
            break
    return found


def _linked_now(store: EventStore, case: str) -> Iterator[Place]:
    row = 0
    while some := store.of_grant(case, after=row):
        yield from (Place(kept.source, kept.number) for kept in some)
        row = some[-1].row


def _recorded(service: Service, case: str) -> Iterator[Place]:
    """The events of its recorded sessions, as far as these may be read."""
    rows = service.projections.cases(kind="session", about=case, limit=_MOST_SESSIONS)
    for row in known(service.log, rows):
        first = service.log.read_case(row.case)[0]
        record = records.parse(first.header)
        if not isinstance(record, records.SessionObserved) or record.about != case:
            continue
        told = service.section(first, "session") or {"events": []}
        for start, last in told["events"]:
            yield from (Place(record.source, number) for number in range(start, last + 1))


def _sealed(
    service: Service, store: EventStore, places: Iterable[Place]
) -> tuple[dict[int, list[Place]], list[Place]]:
    """By the index of the log's record; and those that this node knows no record of."""
    sealed: dict[int, list[Place]] = {}
    waiting: list[Place] = []
    for place in places:
        index = store.sealed_by(place.source, place.number)
        if index is None or index >= service.log.size:
            waiting.append(place)
        else:
            sealed.setdefault(index, []).append(place)
    return sealed, waiting


# --- the file ---------------------------------------------------------------------------------


def assemble(
    log: Log, store: EventStore, sealed: Mapping[int, Sequence[Place]], waiting: int = 0
) -> EventsProved:
    """The file with these events, in their order, by the index of the log's record of each."""
    covering = log.store.checkpoint_at_or_after(max(sealed) + 1)
    if covering is None:
        raise LogInvalid(f"no checkpoint covers entry {max(sealed)}")
    size, note = covering
    maker = _Maker(log=log, store=store, size=size)
    batches = tuple(maker.batch(index, places) for index, places in sorted(sealed.items()))
    erased = [gone for batch in batches for gone in batch.erased]
    events = [event for batch in batches for event in batch.events]
    if not events:
        first = sealed[min(sealed)][0]
        raise NotFound(f"{first} was erased: only its commitment is left, and shows nothing")
    evidence = EventEvidence(
        checkpoint=only(note, [log.keys.shown(size)]),
        started=maker.placed(log.read_entry(0)),
        batches=batches,
    )
    try:
        data = evidence.encode()
    except NotCanonical as error:
        raise _too_much(str(error), min(map(min, sealed.values()))) from error
    return EventsProved(data=data, events=len(events), erased=len(erased), waiting=waiting)


@dataclass(kw_only=True, slots=True)
class _Maker:
    """Makes the parts of one file, and stops before they are too many."""

    log: Log
    store: EventStore
    #: of the log, at the checkpoint
    size: int
    _bytes: int = 0
    _read: int = 0

    def placed(self, entry: Entry) -> Placed:
        proof = tuple(self.log.inclusion(entry.index, self.size))
        return Placed(index=entry.index, header=entry.data, proof=proof)

    def batch(self, index: int, places: Sequence[Place]) -> Batch:
        """Of one record, those of its events."""
        entry = self.log.read_entry(index)
        record = records.parse(entry.header)
        source = places[0].source
        if not isinstance(record, records.EventsReceived) or record.source != source:
            raise LogInvalid(f"entry {index} is no record of events of `{source}`")
        positions = [place.number - record.start for place in places]
        if min(positions) < 0 or max(positions) >= record.count:
            raise LogInvalid(f"entry {index} is not the record of {places[0]}")
        committed = self._commitments(record, places[0])
        paths = event_batch.paths(committed, positions)
        events: list[EventProof] = []
        erased: list[Gone] = []
        for place, position, path in zip(places, positions, paths, strict=True):
            shown = self._event(place, record, entry.header.id, tuple(path), committed[position])
            if shown is None:
                gone = Gone(number=place.number, commitment=committed[position], path=tuple(path))
                erased.append(gone)
            else:
                events.append(shown)
        return Batch(record=self.placed(entry), events=tuple(events), erased=tuple(erased))

    def _commitments(self, record: records.EventsReceived, first: Place) -> list[bytes]:
        self._read += record.count
        if self._read > MOST_READ:
            raise _too_much("events of batches that are too large", first)
        stop = record.start + record.count
        found = self.store.commitments(record.source, record.start, stop)
        if len(found) != record.count:
            raise NotFound(
                f"{first} cannot be shown any more: of its batch not all is left; the store of "
                "events was lost since, or set back"
            )
        if event_batch.root(found) != record.root:
            raise LogInvalid(f"what is kept of the batch of {first} is not what the log has")
        return found

    def _event(
        self,
        place: Place,
        record: records.EventsReceived,
        id_: str,
        path: tuple[bytes, ...],
        committed: bytes,
    ) -> EventProof | None:
        """None where it was erased."""
        kept = self.store.raw(place.source, place.number)
        if kept is None:
            return None
        made = event_batch.commitment(
            self.log.log_id, kept.salt, place.source, place.number, kept.raw
        )
        if made != committed:
            raise LogInvalid(f"{place} is not kept as it came: it is not what the log has")
        self._bytes += len(kept.raw) * 4 // 3
        if self._bytes > MAX_EVIDENCE:
            raise _too_much(f"more than {MAX_EVIDENCE} bytes", place)
        return EventProof(
            source=place.source,
            number=place.number,
            raw=kept.raw,
            salt=kept.salt,
            start=record.start,
            count=record.count,
            path=path,
            record=id_,
        )


def _too_much(what: str, first: Place) -> Conflict:
    return Conflict(
        f"{what} are too much for one file: ask for some of them by their numbers, such as those "
        f"from {first} on"
    )
