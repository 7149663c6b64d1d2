"""
Where events lie, and the promises that a database makes for it.

What was received is kept as it came, compressed, each event under a salt of its own. Beside it
stands what a reader made of it and the grant that it was linked to: a projection, made anew from
what was received at will. The log has the root over the commitments: `evidence.event_batch`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from muniment.errors import Conflict
from muniment.oversight.event import Event, Key
from muniment.oversight.link import Link


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """One event on its way into the store."""

    #: the record as the source sent it
    raw: bytes
    salt: bytes
    commitment: bytes
    event: Event
    link: Link


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What one read of a source gave. Stands whole, with the cursor behind it, or not at all."""

    source: str
    #: what the source speaks of; empty where its events say so themselves
    resource: str
    #: number of the first event: the source's next
    start: int
    arrived: Sequence[Arrived]
    #: records that could not be read
    rejected: int
    #: where to go on reading; None where the source has no such thing
    cursor: str | None
    #: when it was received, by our clock
    at: datetime
    #: the cursor that its reader went on from, empty for none; None: it did not go by one
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """How far a source was read."""

    source: str
    resource: str
    #: number of the next event
    next: int = 0
    #: events below this number are under a record of the log
    sealed: int = 0
    #: records that could not be read: ever, and those that a record of the log speaks of
    rejected: int = 0
    rejected_sealed: int = 0
    cursor: str | None = None
    #: when something was last received, by our clock
    received: datetime | None = None
    #: how many events of each type there were, ever
    types: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One event as the store has it. Of an erased one only its number and commitment are left."""

    #: in the order of arrival over all sources: what was read up to here is left behind by it
    row: int
    source: str
    number: int
    #: None once it was erased
    event: Event | None
    #: nobody's, once it was erased
    link: Link
    #: what it is about, in the end: of the event, else of its source
    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """An event as it came, with what opens its commitment."""

    raw: bytes
    salt: bytes


def check_goes_on(chunk: Chunk, following: int, cursor: str | None) -> None:
    """For a store, under its lock. Raises `Conflict` unless the chunk goes on where it is."""
    if chunk.after is not None and chunk.after != (cursor or ""):
        raise Conflict(
            f"`{chunk.source}` was read on by somebody else; read its state, and go on from there"
        )
    if chunk.start != following:
        raise Conflict(
            f"the next event of `{chunk.source}` has the number {following}, and not "
            f"{chunk.start}: somebody else has added; read its state, and go on from there"
        )


class EventStore(Protocol):
    """Any thread may call. Every method may raise `Unavailable`; none changes what was sealed."""

    def close(self) -> None:
        """Calls that are under way are finished; every later one is refused."""
        ...

    def add(self, chunk: Chunk) -> None:
        """
        Durable when it returns: events, cursor and counts in one transaction.

        Raises `Conflict` if `start` is not the source's next number, or `after` not its cursor:
        somebody else has added.
        """
        ...

    def state(self, source: str) -> SourceState:
        """Of a source that nothing came from yet: one with nothing in it."""
        ...

    def states(self) -> list[SourceState]:
        """Of every source that anything ever came from, by name."""
        ...

    def move(self, source: str, cursor: str) -> None:
        """Nothing came, and reading goes on elsewhere: a file was rotated away."""
        ...

    # --- evidence

    def commitments(self, source: str, start: int, stop: int) -> list[bytes]:
        """In the order of their numbers; also those of erased events, but none of lost ones."""
        ...

    def span(self, source: str, start: int, stop: int) -> tuple[datetime, datetime] | None:
        """
        The earliest and the latest moment of these events; None where there are none.

        Those of erased events may count, too, so that what is erased can still be sealed.
        """
        ...

    def seal(self, source: str, stop: int, rejected: int, index: int) -> None:
        """
        The log's entry of this index has what is below this number, and so many rejections.

        Never goes back. Where it is beyond what is kept, that was lost: the next event is numbered
        from there.
        """
        ...

    def sealed_by(self, source: str, number: int) -> int | None:
        """Index of the log's entry that has this event's commitment; None while there is none."""
        ...

    def raw(self, source: str, number: int) -> Raw | None:
        """None if it was erased, or never was."""
        ...

    def erase(self, source: str, numbers: Iterable[int]) -> int:
        """
        Record, salt, and what was read from it are gone from every file; commitments stay.

        Returns how many there were. `Unavailable` says that bytes of them may still be in a file:
        nobody is shown them any more, and calling it again finishes, also for no numbers at all.
        """
        ...

    # --- looking

    def after(self, row: int, limit: int = 1000) -> list[Kept]:
        """In the order of arrival, from the first behind this one; erased ones too."""
        ...

    def of_grant(self, case: str, *, after: int = 0, limit: int = 1000) -> list[Kept]:
        """Linked to this grant, in the order of arrival."""
        ...

    def of_session(self, source: str, session: str, limit: int = 100_000) -> list[Kept]:
        """By the target's own name of the session, in the order of arrival."""
        ...

    def between(
        self,
        since: datetime,
        until: datetime,
        *,
        resource: str | None = None,
        types: Sequence[str] = (),
        limit: int = 1000,
    ) -> list[Kept]:
        """By the moment that the source gives, oldest first: from `since` on, before `until`."""
        ...

    def first_row(self, since: datetime, until: datetime) -> int | None:
        """Of the events of this time, by their source's clock, the first that came."""
        ...

    def walk(self) -> Iterator[Kept]:
        """All there are, in the order of arrival, in little memory."""
        ...

    # --- keys that lead on from event to event

    def join(self, key: Key, grant: str) -> None:
        """Whoever shows this key has this grant, an event said so; what is said last stands."""
        ...

    def joined(self, key: Key) -> str | None:
        """The grant of a key."""
        ...

    def unlinked(self, key: Key, limit: int = 1000) -> list[Kept]:
        """Events with this key that are linked to no grant: they came before what gave it out."""
        ...

    def relink(self, source: str, number: int, link: Link) -> None:
        """Nothing happens where the event was erased, or never was."""
        ...
