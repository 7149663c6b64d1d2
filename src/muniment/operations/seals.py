"""Which entries of the log have the commitments of events, and what the store knows of that."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from muniment.access import records
from muniment.evidence.record import Header
from muniment.operations.observing import case_of
from muniment.operations.service import Service
from muniment.oversight.event_store import EventStore

#: commitments that are read at a time
_AT_ONCE: Final = 8192


def sealed_by(store: EventStore, source: str, numbers: Sequence[int]) -> list[int | None]:
    """
    Of each of these numbers, which ascend, the index of the entry that has it; None: not yet.

    A batch is without a gap: what lies between two events of one batch is not asked for.
    """
    found: list[int | None] = [None] * len(numbers)
    if not numbers:
        return found
    last = len(numbers) - 1
    found[0], found[last] = (store.sealed_by(source, numbers[n]) for n in (0, last))
    stretches = [(0, last)]
    while stretches:
        low, high = stretches.pop()
        if found[low] == found[high]:
            found[low : high + 1] = [found[low]] * (high + 1 - low)
        elif high - low > 1:
            middle = (low + high) // 2
            found[middle] = store.sealed_by(source, numbers[middle])
            stretches += ((low, middle), (middle, high))
    return found


def remember(service: Service, store: EventStore, source: str, sealed: int) -> None:
    """Let the store know of every batch that the log has and it does not."""
    rejected = 0
    for index, data in service.log.store.case(
        case_of(service.log.log_id, source), service.log.size
    ):
        record = records.parse(Header.parse(data))
        if isinstance(record, records.EventsReceived):
            rejected += record.rejected
            if record.start + record.count > sealed:
                store.seal(source, record.start + record.count, rejected, index)


def commitments(store: EventStore, source: str, numbers: Sequence[int]) -> Iterator[bytes]:
    """Of these events, whose numbers ascend; what lies between them is not kept in memory."""
    for stretch in _stretches(numbers):
        first = stretch[0]
        every = store.commitments(source, first, stretch[-1] + 1)
        yield from (every[number - first] for number in stretch)


def _stretches(numbers: Iterable[int]) -> Iterator[list[int]]:
    stretch: list[int] = []
    for number in numbers:
        if stretch and number - stretch[0] >= _AT_ONCE:
            yield stretch
            stretch = []
        stretch.append(number)
    if stretch:
        yield stretch
