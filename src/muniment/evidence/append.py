"""What is handed to the log to be appended, and what comes back once it is durable."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from muniment.evidence.record import Draft
from muniment.evidence.store import Entry

#: from the records in their places to the writes that go with them (projections, due work); what
#: it raises refuses the records
Companions = Callable[[Sequence[Entry]], Iterable[Any]]


def _nothing(_entries: Sequence[Entry]) -> Iterable[Any]:
    return ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """
    Records of a decision. They stand only if everything that the decision read still stands.

    `reads` names the head (leaf hash, None for "no such case yet") of every case and counter that
    was read, the drafts' own cases included. One that has moved gives `Stale`: evaluate again.
    """

    drafts: tuple[Draft, ...]
    reads: Mapping[str, bytes | None]
    #: gives or widens access: refused while the clock is unsteady or the reading is old
    gives: bool = True
    #: may append below the reserve of disk
    urgent: bool = False
    companions: Companions = _nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """
    Records of an end, or of something already done. Never refused; built on whatever head is there.

    `build` is given the case's entries and returns drafts and their companions; no drafts if the
    case has nothing left to record.
    """

    case: str
    build: Callable[[Sequence[Entry]], tuple[Sequence[Draft], Companions]]


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append returns once it is durable: the entries and the checkpoint over them."""

    entries: tuple[Entry, ...]
    checkpoint: bytes = field(repr=False)
    size: int
