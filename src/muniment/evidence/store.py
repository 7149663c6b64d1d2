"""What the log needs kept: the promises that a database, a head store and a ledger make."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from muniment.errors import LogInvalid
from muniment.evidence.merkle import leaf_hash
from muniment.evidence.record import Header, Sealed

#: instead of a rule: nobody erased the section. No rule that an erasure may name looks like this
LOST: Final = "(none: this copy of the log came without it)"


@dataclass(frozen=True, slots=True)
class Entry:
    """One record in the log."""

    index: int
    #: the exact bytes of the header
    data: bytes = field(repr=False)
    leaf: bytes = field(repr=False)
    header: Header


def entry_of(index: int, data: bytes) -> Entry:
    """Raises `NotCanonical` if the bytes are no header."""
    return Entry(index, data, leaf_hash(data), Header.parse(data))


def check_place(entry: Entry, before: Sequence[Entry], position: int, case: str) -> None:
    """Raises `LogInvalid` unless the entry is this record of the case, chained to the last."""
    prev = before[-1].leaf if before else None
    header = entry.header
    if (header.case, header.position, header.prev) != (case, position, prev):
        raise LogInvalid(f"entry {entry.index} is not record {position} of case `{case}`")


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of the log as the database has it: claims, to be checked before they are used."""

    size: int
    #: roots of the complete subtrees over all entries *but the last*, largest first
    peaks: tuple[bytes, ...]
    #: the signed checkpoint over all entries
    checkpoint: bytes
    last_index: int
    last_data: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """All that one transaction of the log adds."""

    entries: Sequence[Entry]
    #: content and salt, by index of the entry and name of the section
    sections: Mapping[tuple[int, str], Sealed]
    documents: Mapping[bytes, bytes]
    #: hashes of each tile that changed, by (level, index); level 0 only when full
    tiles: Mapping[tuple[int, int], bytes]
    size: int
    peaks: tuple[bytes, ...]
    checkpoint: bytes
    #: writes that are opaque to the log: projections, due work, idempotency keys
    companions: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Stamp:
    """An RFC 3161 token over the text of a checkpoint, as its authority gave it."""

    #: our name for the authority
    authority: str
    #: DER of the TimeStampToken
    token: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint as others are shown it."""

    size: int
    #: signed by the log, and cosigned by those witnesses that answered
    note: bytes = field(repr=False)
    stamps: tuple[Stamp, ...] = ()


class Transaction(Protocol):
    """One open write transaction. Nobody else can write until it ends."""

    def tail(self) -> Tail: ...

    def case(self, case: str) -> list[tuple[int, bytes]]:
        """Index and bytes of every entry of a case, in order."""
        ...

    def add(self, batch: Batch) -> None: ...

    def read_back(self, start: int, stop: int) -> list[bytes]:
        """The entries as the database now has them."""
        ...


class LogStore(Protocol):
    """
    A database that holds the log.

    Reads may run on any thread, at the same time as one writer.
    """

    def transaction(self) -> AbstractContextManager[Transaction]:
        """
        Durable when the block is left without an error; rolled back when left with one.

        An error on leaving means that the outcome is unknown.
        """
        ...

    def reopen(self) -> None:
        """Drop every connection and connect anew, after an unknown outcome."""
        ...

    def settle(self) -> None:
        """
        Return once all that can be read is durable.

        What somebody else has committed can be read before the last copy that he waits for has it.
        """
        ...

    def tail(self) -> Tail | None:
        """None only where there has never been a log."""
        ...

    def found(self, batch: Batch) -> None:
        """Write the first entry of a new log. Raises `Conflict` where there is one already."""
        ...

    def entries(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]: ...

    def case(self, case: str, size: int) -> list[tuple[int, bytes]]:
        """Index and bytes of every entry of a case below `size`, in order."""
        ...

    def leaves(self, start: int, stop: int) -> bytes:
        """Leaf hashes, joined."""
        ...

    def tile(self, level: int, index: int) -> bytes | None:
        """As added: level 0 only when full; higher levels as far as they go."""
        ...

    def sections(self, index: int) -> dict[str, Sealed]: ...

    def erased(self, index: int) -> dict[str, str]:
        """Tombstones: the rule under which each erased section went; or `LOST`."""
        ...

    def document(self, digest: bytes) -> bytes | None: ...

    def checkpoint(self, size: int) -> bytes | None:
        """The checkpoint that was signed at this size, if one was."""
        ...

    def checkpoint_at_or_after(self, size: int) -> tuple[int, bytes] | None:
        """Size and note of the smallest checkpoint over at least `size` entries."""
        ...

    def publish(self, published: Published) -> None:
        """
        Keep a checkpoint with what others put to it; one of the same size is replaced.

        Durable when it returns. Whatever is kept here can be asked for again: it is no evidence
        that the log itself rests on.
        """
        ...

    def published(self) -> Published | None:
        """The largest that was published."""
        ...

    def published_at_or_after(self, size: int) -> Published | None:
        """The smallest that was published over at least `size` entries."""
        ...

    def erase(self, index: int, section: str, rule: str) -> None:
        """
        Delete content and salt, leave a tombstone. Safe to repeat.

        When it returns, no byte of the content is left in the database's files.
        """
        ...

    def erase_many(self, erasures: Sequence[tuple[int, str, str]]) -> None:
        """The same for each index, section and rule: all in one transaction, or none of them."""
        ...


class Mirror(Protocol):
    """
    A copy of what the log publishes, kept where whoever runs the log cannot change it.

    Resources are named as C2SP tlog-tiles names them, with documents beside them. Every method may
    block, and raises `Unavailable` where the place does not answer.
    """

    def put(self, path: str, data: bytes) -> None:
        """
        Keep a resource for ever; durable when it returns, and safe to repeat.

        Raises `Conflict` where something else is kept under this path: it is never replaced.
        """
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Keep the newest of something, for the checkpoint alone; durable when it returns."""
        ...

    def get(self, path: str, most: int) -> bytes | None:
        """The newest that is kept, None where nothing is; `Conflict` for more than `most` bytes."""
        ...


class HeadStore(Protocol):
    """
    Remembers the largest signed checkpoint, apart from the database. It only grows.

    What the database says is believed only if it extends what stands here.
    """

    def lock(self) -> AbstractContextManager[None]:
        """Held from before a transaction begins until its head is durable here."""
        ...

    def read(self) -> bytes | None:
        """The checkpoint with the largest size; None only where none was ever written."""
        ...

    def write(self, checkpoint: bytes, size: int) -> None:
        """Durable when it returns. Never replaces a larger one."""
        ...


class SharedHeadStore(HeadStore, Protocol):
    """
    One that several nodes write to, each with the same database behind it.

    The lock is lost, and with it the right to write, by a node that does not use it for a lease.
    """

    def await_change(self, seconds: float) -> None:
        """Return once another node may have written, after `seconds` at the latest."""
        ...


class ErasureLedger(Protocol):
    """Remembers what was erased, outside the database and every backup of it."""

    def add(self, record_id: str, section: str, rule: str) -> None:
        """Durable when it returns; safe to repeat."""
        ...

    def add_many(self, erasures: Sequence[tuple[str, str, str]]) -> None:
        """The same for each record id, section and rule. An error may have come amid them."""
        ...

    def erasures(self) -> list[tuple[str, str, str]]:
        """Record id, section and rule of everything ever erased."""
        ...
