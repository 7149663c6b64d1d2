"""What happened lately, by key: kept as long as a window needs it, and no longer."""

from bisect import insort_right
from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

V = TypeVar("V")


@dataclass(slots=True, order=True)
class Seen(Generic[V]):
    """One value and its moment; in the order of moments."""

    at: datetime
    value: V = field(compare=False)


class Recent(Generic[V]):
    """
    For each key, the values of the last span of time, oldest first: a span before counts, too.

    A value that comes late is put where it belongs. Keys with nothing in their span are dropped
    now and then: `forget`.
    """

    def __init__(self, span: timedelta, most: int = 1000) -> None:
        self._span = span
        self._most = most
        self._kept: dict[Hashable, deque[Seen[V]]] = {}
        self._forgotten: datetime | None = None

    def add(self, key: Hashable, at: datetime, value: V) -> deque[Seen[V]]:
        """
        What the key has in the span that ends with its newest value, this one included.

        Of a value that is older than that nothing is kept.
        """
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = deque(maxlen=self._most)
        if not kept or kept[-1].at <= at:
            kept.append(Seen(at, value))
        elif at >= kept[-1].at - self._span:
            self._put_late(kept, Seen(at, value))
        _drop_before(kept, kept[-1].at - self._span)
        return kept

    def _put_late(self, kept: deque[Seen[V]], late: Seen[V]) -> None:
        if len(kept) == self._most:
            kept.popleft()
        insort_right(kept, late)

    def of(self, key: Hashable, at: datetime) -> deque[Seen[V]]:
        """What the key has in the span that ends then."""
        kept = self._kept.get(key)
        if kept is None:
            return deque()
        _drop_before(kept, at - self._span)
        return kept

    def forget(self, now: datetime) -> None:
        """Drop the keys that nothing was seen of for a span. Cheap: it looks once in a span."""
        if self._forgotten is not None and now < self._forgotten + self._span:
            return
        self._forgotten = now
        start = now - self._span
        for key in [key for key, kept in self._kept.items() if not kept or kept[-1].at < start]:
            del self._kept[key]

    def __iter__(self) -> Iterator[tuple[Hashable, deque[Seen[V]]]]:
        return iter(self._kept.items())

    def __len__(self) -> int:
        return len(self._kept)


def _drop_before(kept: deque[Seen[V]], start: datetime) -> None:
    while kept and kept[0].at < start:
        kept.popleft()
