"""
Events as anybody may see them: without those that the log says were erased.

Their bytes may still be there for a while: a store that failed, or another node that is at it.
Whoever looks at events looks here, so that nobody is shown one; only what erases looks beneath.
"""

import json
import threading
from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, TypeAlias

from muniment.access import records
from muniment.errors import LogInvalid
from muniment.operations.erase import Erasures
from muniment.oversight.event import Key
from muniment.oversight.event_store import Chunk, EventStore, Kept, Raw, SourceState
from muniment.oversight.link import NOBODY, Link

#: first and last numbers, in their order
Runs: TypeAlias = Sequence[tuple[int, int]]
#: batches of which it is remembered what is left
_MOST_KNOWN: Final = 256


def kept_by(document: Callable[[bytes], bytes], record: records.EventsErased) -> Runs:
    """Which events of a batch were left. Raises `LogInvalid`."""
    said = json.loads(document(record.numbers))["kept"]
    found = [(first, last) for first, last in said]
    if sum(last - first + 1 for first, last in found) != record.kept:
        raise LogInvalid(f"the document of what is left of `{record.batch}` is not what it says")
    return found


def is_in(found: Runs, number: int) -> bool:
    """Whether one of these runs has a number."""
    at = bisect_right(found, number, key=lambda run: run[0]) - 1
    return at >= 0 and number <= found[at][1]


class RemainingEvents:
    """An `EventStore` on top of another: see there."""

    def __init__(
        self, under: EventStore, erasures: Erasures, document: Callable[[bytes], bytes]
    ) -> None:
        self.under = under
        self._erasures = erasures
        self._document = document
        self._learning = threading.Lock()
        #: how many `events:erased` were taken in
        self._taken = 0
        #: by source, the first number of each batch of which something was erased, and its record
        self._starts: dict[str, list[int]] = {}
        self._batch: dict[tuple[str, int], str] = {}
        self._kept: OrderedDict[bytes, Runs] = OrderedDict()

    # --- what is gone -------------------------------------------------------------------------

    def is_gone(self, source: str, number: int) -> bool:
        """Whether the log says that it was erased."""
        self._learn()
        starts = self._starts.get(source)
        at = bisect_right(starts, number) - 1 if starts else -1
        if starts is None or at < 0:
            return False
        record = self._erasures.newest[self._batch[source, starts[at]]]
        if number >= record.start + record.count:
            return False
        return not is_in(self._left(record), number)

    def _learn(self) -> None:
        events = self._erasures.events
        if self._taken == len(events):
            return
        with self._learning:
            for _, record in events[self._taken :]:
                if (record.source, record.start) not in self._batch:
                    self._batch[record.source, record.start] = record.batch
                    insort(self._starts.setdefault(record.source, []), record.start)
                self._taken += 1

    def _left(self, record: records.EventsErased) -> Runs:
        if not record.kept:
            return ()
        found = self._kept.get(record.numbers)
        if found is None:
            found = kept_by(self._document, record)
            with self._learning:
                self._kept[record.numbers] = found
                while len(self._kept) > _MOST_KNOWN:
                    self._kept.popitem(last=False)
        return found

    def _still(self, found: Iterable[Kept]) -> list[Kept]:
        return [each for each in found if not self.is_gone(each.source, each.number)]

    def _emptied(self, kept: Kept) -> Kept:
        if kept.event is None or not self.is_gone(kept.source, kept.number):
            return kept
        return replace(kept, event=None, link=NOBODY)

    # --- looking ------------------------------------------------------------------------------

    def raw(self, source: str, number: int) -> Raw | None:
        return None if self.is_gone(source, number) else self.under.raw(source, number)

    def after(self, row: int, limit: int = 1000) -> list[Kept]:
        return [self._emptied(each) for each in self.under.after(row, limit)]

    def walk(self) -> Iterator[Kept]:
        return map(self._emptied, self.under.walk())

    def of_grant(self, case: str, *, after: int = 0, limit: int = 1000) -> list[Kept]:
        # an answer with nothing in it says that there is no more
        while some := self.under.of_grant(case, after=after, limit=limit):
            if found := self._still(some):
                return found
            after = some[-1].row
        return []

    def of_session(self, source: str, session: str, limit: int = 100_000) -> list[Kept]:
        return self._still(self.under.of_session(source, session, limit))

    def between(
        self,
        since: datetime,
        until: datetime,
        *,
        resource: str | None = None,
        types: Sequence[str] = (),
        limit: int = 1000,
    ) -> list[Kept]:
        return self._still(
            self.under.between(since, until, resource=resource, types=types, limit=limit)
        )

    def first_row(self, since: datetime, until: datetime) -> int | None:
        return self.under.first_row(since, until)

    def unlinked(self, key: Key, limit: int = 1000) -> list[Kept]:
        return self._still(self.under.unlinked(key, limit))

    def relink(self, source: str, number: int, link: Link) -> None:
        if not self.is_gone(source, number):
            self.under.relink(source, number, link)

    # --- all else is as it is ------------------------------------------------------------------

    def close(self) -> None:
        self.under.close()

    def add(self, chunk: Chunk) -> None:
        self.under.add(chunk)

    def state(self, source: str) -> SourceState:
        return self.under.state(source)

    def states(self) -> list[SourceState]:
        return self.under.states()

    def move(self, source: str, cursor: str) -> None:
        self.under.move(source, cursor)

    def commitments(self, source: str, start: int, stop: int) -> list[bytes]:
        return self.under.commitments(source, start, stop)

    def span(self, source: str, start: int, stop: int) -> tuple[datetime, datetime] | None:
        return self.under.span(source, start, stop)

    def seal(self, source: str, stop: int, rejected: int, index: int) -> None:
        self.under.seal(source, stop, rejected, index)

    def sealed_by(self, source: str, number: int) -> int | None:
        return self.under.sealed_by(source, number)

    def erase(self, source: str, numbers: Iterable[int]) -> int:
        return self.under.erase(source, numbers)

    def join(self, key: Key, grant: str) -> None:
        self.under.join(key, grant)

    def joined(self, key: Key) -> str | None:
        return self.under.joined(key)
