"""The sequencer's own memory of every case's head, built from checked entries only."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from muniment.evidence.record import Header
from muniment.evidence.store import Entry

CASE_CLOSED = "case:closed"


@dataclass(frozen=True, slots=True)
class Last:
    """The newest record of one case."""

    position: int
    leaf: bytes
    at: datetime
    closed: bool


class Index:
    """
    Heads by case, and by counter: a key that some records move besides their own case's.

    An overlay holds what a batch would add until the batch is durable.
    """

    def __init__(
        self, counters: Callable[[Header], Iterable[str]], under: Self | None = None
    ) -> None:
        self._counters = counters
        self._under = under
        self._cases: dict[str, Last] = {}
        self._counts: dict[str, bytes] = {}
        self.latest: datetime | None = under.latest if under is not None else None
        #: entries of an overlay that are not durable yet
        self.staged: list[Entry] = []

    def overlay(self) -> "Index":
        return Index(self._counters, self)

    def last_of(self, case: str) -> Last | None:
        found = self._cases.get(case)
        return self._under.last_of(case) if found is None and self._under is not None else found

    def lasts(self) -> dict[str, Last]:
        """A copy, by case: not for an overlay."""
        return dict(self._cases)

    def head(self, key: str) -> bytes | None:
        last = self.last_of(key)
        return last.leaf if last is not None else self._count(key)

    def add(self, entry: Entry) -> None:
        header = entry.header
        self._cases[header.case] = Last(
            header.position, entry.leaf, header.at, header.kind == CASE_CLOSED
        )
        for key in self._counters(header):
            self._counts[key] = entry.leaf
        self.latest = header.at if self.latest is None else max(self.latest, header.at)
        if self._under is not None:
            self.staged.append(entry)

    def settle(self) -> None:
        """It holds: what the overlay adds becomes part of what lies under it."""
        if self._under is None:
            raise RuntimeError("only an overlay settles")
        self._under._cases.update(self._cases)  # noqa: SLF001 (one class, two layers)
        self._under._counts.update(self._counts)  # noqa: SLF001
        self._under.latest = self.latest
        if self._under._under is not None:  # noqa: SLF001
            self._under.staged += self.staged

    def _count(self, key: str) -> bytes | None:
        found = self._counts.get(key)
        return self._under._count(key) if found is None and self._under is not None else found  # noqa: SLF001
