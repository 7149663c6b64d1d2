"""All that ever happened, once more, as facts: for trying rules on it."""

import heapq
from collections.abc import Callable, Iterator

from muniment.evidence.store import entry_of
from muniment.operations.around import Around
from muniment.operations.grant_windows import GrantWindows
from muniment.operations.service import Service
from muniment.oversight.event_store import EventStore
from muniment.oversight.fact import Fact
from muniment.oversight.observed import fact_of
from muniment.oversight.recorded import SETTLED, Recorded


def facts(
    service: Service,
    around: Around,
    recorded: Recorded,
    progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> Iterator[Fact]:
    """
    Of the whole log, and of every event that is kept, about in the order of time.

    `progress` is told how many of how many records were read. In memory that does not grow.
    """
    streams = [_recorded(service, recorded, progress)]
    if service.observing.store is not None:
        streams.append(_observed(service, service.observing.store, around))
    return heapq.merge(*streams, key=lambda fact: fact.at)


def _recorded(
    service: Service, recorded: Recorded, progress: Callable[[int, int], object]
) -> Iterator[Fact]:
    size = service.log.size
    for index, data in service.log.store.entries(0, size):
        yield from recorded.see(entry_of(index, data))
        progress(index + 1, size)
    yield from recorded.tick(service.now() + SETTLED)


def _observed(service: Service, store: EventStore, around: Around) -> Iterator[Fact]:
    windows = GrantWindows(service=service, store=store)
    for kept in store.walk():
        around.learn(kept)
        window = windows.by_id(kept.link.grant) if kept.link.grant else None
        told = fact_of(kept, window, around.of_source(kept.source))
        if told is not None:
            yield told
