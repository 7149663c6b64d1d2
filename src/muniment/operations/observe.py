"""
Take in what sources say, and record it in the log, batch by batch.

An event counts from the moment that it is kept. The log has it a little later: a root over the
commitments of all events since the last batch, in the case of its source.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from muniment.access import records
from muniment.access.records import Record
from muniment.errors import LogUnavailable, MunimentError, NotFound, Unavailable
from muniment.evidence import event_batch
from muniment.evidence.append import Appended, Proposal
from muniment.operations.attempts import until_it_stands
from muniment.operations.observing import Source, Taken, case_of, in_thread
from muniment.operations.seals import remember
from muniment.operations.service import Service
from muniment.oversight.event_store import EventStore, SourceState

#: seconds that an event waits for its record in the log, about
EVERY: Final = 10.0
#: seconds that events wait until it is known what other nodes had handed out
CATCHING_UP: Final = 5.0
#: events of one record of the log at most
MOST_SEALED: Final = 100_000
_log = logging.getLogger(__name__)


async def take(
    service: Service,
    source: str,
    sent: Sequence[bytes],
    cursor: str | None = None,
    *,
    after: str | None = None,
) -> Taken:
    """
    Keep what a source sent; durable with the cursor when it returns. Nothing is a sign of life.

    Raises `NotFound` for a source that nobody declared; `Conflict` where its cursor is not `after`,
    empty for none: another node has read on; and `Unavailable`: then nothing was kept, and the same
    may be sent again.
    """
    known, intake = source_of(service, source), service.observing.intake
    if intake is None:
        raise Unavailable("nothing is observed here: there is no store of events")
    if sent and not await service.catch_up(CATCHING_UP):
        # whatever an event shows was handed out and recorded before: to be nobody's is an answer
        raise Unavailable("this node does not know which grants others made; send it again")
    taken: Taken = await _in_turn(service, intake.take, known, sent, cursor, after)
    seen = service.registry.sources.get(source)
    if seen is None:
        service.observing.kept_up = -EVERY  # from when on it is covered is to be known soon
    elif seen.is_silent:
        await _resume(service, source)
    return taken


async def _resume(service: Service, source: str) -> None:
    """It is kept already: whoever is told that it is not would send it again."""
    try:
        await missed(service, source, "resumed")
    except MunimentError as error:
        _log.warning("that `%s` is heard again is recorded later: %s", source, error)


async def missed(
    service: Service,
    source: str,
    why: str,
    *,
    count: int | None = None,
    heard: datetime | None = None,
) -> None:
    """
    Record that something of a source was lost; or that it is silent, or not any more.

    `why` is one of those that `records.EventsMissed` has; `heard` is when one that is silent was
    last heard, and nothing is recorded where it was heard since.
    """
    known, now = source_of(service, source), service.now()
    state = await _in_turn(service, _store(service).state, source)
    if why == "silence" and state.received != heard:
        return

    async def attempt() -> None:
        # before anything else is: another node may record the same
        head, seen = _head(service, source), service.registry.sources.get(source)
        if (seen is not None and seen.is_silent) == (why == "silence") and why in _TURNS:
            return  # another node was faster
        record = records.EventsMissed(
            actor=records.SERVICE,
            source=source,
            resource=known.resource,
            why=why,
            since=state.received or (seen.newest if seen is not None else now),
            count=count,
        )
        await _append(service, source, record, now, head)

    await until_it_stands(attempt)


def is_due(service: Service) -> bool:
    """Whether what was kept has waited long enough for its record."""
    return service.log.clock.elapsed() - service.observing.kept_up >= EVERY


async def keep_up(service: Service) -> None:
    """Record what was kept, and who is silent."""
    service.observing.kept_up = service.log.clock.elapsed()
    await seal(service)
    await listen_for_silence(service)


async def listen_for_silence(service: Service) -> None:
    """
    Record of each source, once, that it was not heard of for longer than its heartbeat.

    And that it is heard again, where that could not be recorded at once.
    """
    observing = service.observing
    began = observing.began = observing.began or service.now()
    for source in list(service.observing.sources.values()):
        seen = service.registry.sources.get(source.name)
        was_silent = seen is not None and seen.is_silent
        if source.heartbeat is None and not was_silent:
            continue
        state = await _in_turn(service, _store(service).state, source.name)
        if seen is not None and was_silent:
            if state.received is not None and state.received >= seen.gaps[-1][0]:
                await missed(service, source.name, "resumed")
            continue
        heard = max(state.received or began, began)
        if source.heartbeat is not None and service.now() - heard > source.heartbeat:
            await missed(service, source.name, "silence", heard=state.received)


async def seal(service: Service) -> int:
    """
    Record what was kept of every source since the last time; returns how many events.

    The first record of a source may have none: it says from when on it is heard. What is wrong with
    one source is raised once the others were recorded.
    """
    store = service.observing.store
    if store is None:
        return 0
    count, wrong = 0, None
    for state in await _in_turn(service, store.states):
        try:
            count += await _seal_all(service, store, state.source)
        except LogUnavailable:
            raise
        except MunimentError as error:
            wrong = wrong or error
    if wrong is not None:
        raise wrong
    return count


async def _seal_all(service: Service, store: EventStore, source: str) -> int:
    """All that there is at this moment: as fast as it may come."""
    count = 0
    while True:
        sealed: int = await until_it_stands(partial(_seal, service, store, source))
        count += sealed
        if sealed < MOST_SEALED:
            return count


def source_of(service: Service, source: str) -> Source:
    """Raises `NotFound` for one that nobody declared."""
    try:
        return service.observing.sources[source]
    except KeyError:
        raise NotFound(f"no source of events is called `{source}`") from None


#: a source is silent, or it is not: the second record of the same says nothing
_TURNS: Final = ("silence", "resumed")


async def _seal(service: Service, store: EventStore, source: str) -> int:
    # before anything else is: what another node records meanwhile would be recorded once more
    head = _head(service, source)
    state: SourceState = await _in_turn(service, store.state, source)
    seen = service.registry.sources.get(source)
    if seen is not None and seen.next > state.sealed:
        # what we recorded just before a crash; or events that were lost with the store
        await _in_turn(service, remember, service, store, source, state.sealed)
        state = await _in_turn(service, store.state, source)
    stop = min(state.next, state.sealed + MOST_SEALED)
    nothing_new = stop == state.sealed and state.rejected == state.rejected_sealed
    if nothing_new and seen is not None:
        return 0
    root = await _in_turn(service, _root, store, source, state.sealed, stop)
    now = service.now()
    first, last = await _in_turn(service, store.span, source, state.sealed, stop) or (now, now)
    record = records.EventsReceived(
        actor=records.SERVICE,
        source=source,
        resource=state.resource,
        start=state.sealed,
        count=stop - state.sealed,
        root=root,
        rejected=state.rejected - state.rejected_sealed,
        first=first,
        last=last,
    )
    appended = await _append(service, source, record, now, head)
    index = appended.entries[0].index
    await _in_turn(service, store.seal, source, stop, state.rejected, index)
    return stop - state.sealed


def _root(store: EventStore, source: str, start: int, stop: int) -> bytes:
    return event_batch.root(store.commitments(source, start, stop))


def _head(service: Service, source: str) -> bytes | None:
    return service.log.head(case_of(service.log.log_id, source))


async def _append(
    service: Service, source: str, record: Record, now: datetime, head: bytes | None
) -> Appended:
    """Raises `Stale` where something was appended to the source's case since it had this head."""
    case = case_of(service.log.log_id, source)
    return await service.append(
        Proposal(drafts=(record.draft(case, now),), reads={case: head}, gives=False, urgent=True)
    )


def _store(service: Service) -> EventStore:
    if service.observing.store is None:
        raise Unavailable("nothing is observed here: there is no store of events")
    return service.observing.store


async def _in_turn(service: Service, work: Callable[..., Any], *given: Any) -> Any:
    """In the one thread that numbers events."""
    return await in_thread(service.observing.thread, work, *given)
