"""
Which entry is the first bad one: asked only once something is known to be wrong.

What lies beside the entries (stored leaf hashes, tiles) proves nothing, but where it contradicts an
entry it shows where to look.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from muniment.errors import EvidenceError, NotCanonical
from muniment.evidence import merkle
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint
from muniment.evidence.index import Index
from muniment.evidence.keys import ReadersKeys, named
from muniment.evidence.merkle import HASH_SIZE, leaf_hash
from muniment.evidence.record import Header
from muniment.evidence.store import Entry, LogStore, entry_of
from muniment.evidence.tiles import WIDTH


@dataclass(frozen=True, kw_only=True, slots=True)
class Bad:
    """What is wrong, and with which entry first."""

    what: str
    #: None where it is not about one entry
    index: int | None = None
    #: record id, where the entry still shows one
    record: str | None = None

    def __str__(self) -> str:
        if self.index is None:
            return self.what
        name = f" (`{self.record}`)" if self.record is not None else ""
        return f"entry {self.index}{name}: {self.what}"


class Found(Exception):  # never leaves an audit
    """something is wrong with the log"""

    def __init__(self, bad: Bad) -> None:
        self.bad = bad
        super().__init__(str(bad))


def gap(store: LogStore, size: int, otherwise: str) -> Bad:
    expected = 0
    for index, _ in store.entries(0, size):
        if index != expected:
            break
        expected += 1
    return Bad(index=expected, what="is missing") if expected < size else Bad(what=otherwise)


def first_bad(store: LogStore, key: ReadersKeys, newest: Checkpoint) -> Bad:
    """
    The entries are not the signed ones: which is the first?

    Every signed checkpoint bounds it: the first whose root is another. Within these bounds it is
    the first entry that contradicts its own stored leaf hash, its tile, its form or its case.
    """
    good, bad = _bounds(store, key, newest)
    if good == bad:
        return Bad(what=f"two checkpoints of size {bad} were signed, with different roots")
    index = Index(lambda _header: ())
    suspects = _leaves_beside(store, good, bad)
    for place, data in store.entries(0, bad):
        leaf = leaf_hash(data)
        try:
            entry = entry_of(place, data)
            trouble = trouble_in(index, entry)
        except NotCanonical as error:
            trouble = str(error)
        if suspects.get(place, set()) - {leaf}:
            trouble = "is not what was written: its hash beside the log is another"
        if place >= good and trouble is not None:
            return Bad(index=place, record=record_id(data), what=trouble)
    if bad - good == 1:
        data = next((data for _, data in store.entries(good, bad)), b"")
        return Bad(
            index=good, record=record_id(data), what="is not what the checkpoint was signed over"
        )
    return Bad(
        index=good,
        what=f"this one, or one up to entry {bad - 1}, is not what the checkpoint was signed over",
    )


def _bounds(store: LogStore, key: ReadersKeys, newest: Checkpoint) -> tuple[int, int]:
    """The size at which all was well, and the first signed size at which it is not."""
    frontier, good, keys = merkle.Frontier(), 0, named(key)
    kept = checkpoints(store, newest.size)
    size, note = next(kept, (newest.size, b""))
    for _, data in store.entries(0, newest.size):
        frontier.push(leaf_hash(data))
        if frontier.size < size:
            continue
        try:
            signed: Checkpoint | None = open_checkpoint(note, keys[0].name, keys)
        except EvidenceError:
            signed = None  # it bounds nothing; the newest does, and it was verified
        if signed is not None and signed.size == size:
            if signed.root != frontier.root():
                return good, size
            good = size
        size, note = next(kept, (newest.size, b""))
    return good, newest.size


def _leaves_beside(store: LogStore, start: int, stop: int) -> dict[int, set[bytes]]:
    """What the database says elsewhere about the hashes of these entries: claims, no proof."""
    said: dict[int, set[bytes]] = {place: set() for place in range(start, stop)}
    stored = store.leaves(start, stop)
    for place, leaf in zip(range(start, stop), _hashes(stored), strict=False):
        said[place].add(leaf)
    for number in range(start // WIDTH, (stop - 1) // WIDTH + 1):
        tile = store.tile(0, number) or b""
        for place, leaf in enumerate(_hashes(tile), number * WIDTH):
            if place in said:
                said[place].add(leaf)
    return said


def _hashes(data: bytes) -> Iterator[bytes]:
    return (data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE))


def trouble_in(index: Index, entry: Entry) -> str | None:
    """Take an entry into the index of cases; what is wrong with it, if anything."""
    header = entry.header
    last = index.last_of(header.case)
    expected = (0, None) if last is None else (last.position + 1, last.leaf)
    if (header.position, header.prev) != expected:
        return "does not continue its case"
    if last is not None and last.closed:
        return "follows the end of its case"
    index.add(entry)
    return None


def record_id(data: bytes) -> str | None:
    try:
        return Header.parse(data).id
    except NotCanonical:
        return None


def checkpoints(store: LogStore, size: int) -> Iterator[tuple[int, bytes]]:
    """Every checkpoint that was kept, up to this size."""
    found = store.checkpoint_at_or_after(1)
    while found is not None and found[0] <= size:
        yield found
        found = store.checkpoint_at_or_after(found[0] + 1)
