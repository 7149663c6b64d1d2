"""
How those who watch over everything, in a SIEM, are told of the log: what they are sent, and how.

A sink is told of records in the order of the log, each at least once. Every event has the index of
its record, and of the one that was sent before it: so whoever receives them sees what is missing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from muniment.evidence.store import Entry


@dataclass(frozen=True, kw_only=True, slots=True)
class SiemEvent:
    """One record of the log, for people and programs that do not know the log."""

    #: of its record
    index: int
    #: index of the record that this sink was sent before it; None for the first
    previous: int | None
    #: record id: stays the same when it is sent again
    id: str
    case: str
    kind: str
    #: leaf hash
    leaf: bytes
    #: when it was recorded
    at: datetime
    #: OCSF: 1 informational, 2 low, 3 medium, 4 high, 5 critical
    severity: int
    #: name of its OCSF class
    schema: str
    #: the OCSF event: JSON in ASCII, on one line
    body: bytes = field(repr=False)


class Describer(Protocol):
    """Makes events of records."""

    def event(
        self,
        entry: Entry,
        *,
        log_id: bytes,
        previous: int | None,
        read_case: Callable[[str], Sequence[Entry]],
    ) -> SiemEvent:
        """Of every record there can be. `read_case` gives what is needed of its case."""
        ...


class SiemSink(Protocol):
    """One receiver. Nothing that it raises holds a secret."""

    async def send(self, events: Sequence[SiemEvent]) -> None:
        """
        Return once all of them were taken, in this order; within a bounded time.

        Raises `Unavailable` or `AddressRefused` where that is not known: then the same are sent
        again, also those that were taken.
        """
        ...

    async def look(self) -> str:
        """What is there, in words; raises as `send` does. Sends nothing of the log."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sink was told of the log."""

    #: index of the first record that it was not told of yet
    next: int
    #: index of the newest that it was sent; None where it was sent nothing yet
    last: int | None = None


class Cursors(Protocol):
    """How far each sink is, where every node that may tell it sees it."""

    def progress(self, sink: str) -> Progress | None:
        """None for a sink that was never begun."""
        ...

    def put_progress(self, sink: str, progress: Progress) -> None:
        """Durable when it returns."""
        ...
