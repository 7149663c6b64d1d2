"""
Raw events that have come to their end go: all of a batch, but those of grants that are kept.

In the order of every erasure: the record, then the ledger, then the bytes. Numbers and commitments
stay, so that what is said of the neighbours can be proved as before.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from hashlib import sha256

from muniment.access import records
from muniment.errors import Unavailable
from muniment.evidence import canonical
from muniment.operations.erase import EVENTS
from muniment.operations.remaining_events import RemainingEvents, is_in, kept_by
from muniment.operations.service import Service
from muniment.oversight.erasure_plan import GoingBatch
from muniment.oversight.event_store import EventStore

#: events that are looked at together
_AT_ONCE = 1000
_log = logging.getLogger(__name__)


def left_of(service: Service, going: GoingBatch) -> list[int]:
    """Numbers of the events of a batch that stay, as they belong to grants that are kept."""
    store, batch = service.observing.store, going.kept
    if store is None:
        return []
    numbers: set[int] = set()
    for grant in going.grants:
        row = 0
        while some := store.of_grant(grant, after=row, limit=_AT_ONCE):
            row = some[-1].row
            numbers.update(
                each.number
                for each in some
                if each.source == batch.source
                and batch.start <= each.number < batch.start + batch.count
                and each.event is not None
            )
    return sorted(numbers)


def record_of(going: GoingBatch, left: Sequence[int]) -> tuple[records.EventsErased, bytes]:
    """What is to be recorded of it, and the document that says which ones stay."""
    document = canonical.encode({"kept": [list(run) for run in runs(left)]})
    batch = going.kept
    record = records.EventsErased(
        actor=records.SERVICE,
        source=batch.source,
        batch=batch.record,
        start=batch.start,
        count=batch.count,
        kept=len(left),
        grants=going.digest,
        numbers=sha256(document).digest(),
        rule=going.rule,
    )
    return record, document


def runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Runs of numbers in their order, as first and last of each."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def erase_events(service: Service, record_id: str, record: records.EventsErased) -> int:
    """Make them unreadable; how many there were. Safe to repeat. The record of it stands."""
    service.ledger.add(record_id, EVENTS, record.rule)
    # Crash here: the events are still there, and `finish_events` erases them at the next start.
    store = _bare(service)
    return 0 if store is None else store.erase(record.source, _gone(service, record))


def _bare(service: Service) -> EventStore | None:
    """The store as it is, with what nobody is shown any more."""
    store = service.observing.store
    return store.under if isinstance(store, RemainingEvents) else store


def _gone(service: Service, record: records.EventsErased) -> list[int]:
    kept = kept_by(service.document, record)
    return [
        number
        for number in range(record.start, record.start + record.count)
        if not is_in(kept, number)
    ]


def finish_events(service: Service, *, starting: bool = True) -> int:
    """
    Erase whatever events the log says are gone, and are there; how many there were.

    Run at every start, before anybody reads: the store may be a restored backup. That of a batch
    nothing or all went is the store's promise, so that a look at one event of each tells. What was
    deleted may still lie in a file, so that the store is asked in any case to finish that. Raises
    `Unavailable` where it cannot; at a start that is logged, and done again later.
    """
    store = _bare(service)
    known = {record for record, section, _ in service.ledger.erasures() if section == EVENTS}
    unknown = [
        (record_id, EVENTS, record.rule)
        for record_id, record in service.erasures.events
        if record_id not in known
    ]
    service.ledger.add_many(unknown)
    if store is None or not service.erasures.events:
        return 0
    found, before = 0, dict[str, set[int]]()
    for _, record in service.erasures.events:
        gone = set(_gone(service, record))
        new = gone - before.get(record.batch, set())
        before[record.batch] = gone
        if new and _is_there(store, record.source, new):
            found += store.erase(record.source, sorted(gone))
    _finish_files(service, store, starting=starting)
    return found


def _finish_files(service: Service, store: EventStore, *, starting: bool) -> None:
    try:
        store.erase(service.erasures.events[-1][1].source, ())
    except Unavailable as error:
        service.erasures.unfinished = True
        if not starting:
            raise
        _log.error("the erasure of events is not finished: %s", error)


def _is_there(store: EventStore, source: str, numbers: set[int]) -> bool:
    """Of the first and the last: a store that erases in pieces may have done one of them."""
    return any(store.raw(source, each) is not None for each in (min(numbers), max(numbers)))


async def in_the_store(service: Service, record_id: str, record: records.EventsErased) -> int:
    """`erase_events`, where events are looked at."""
    return await asyncio.to_thread(erase_events, service, record_id, record)
