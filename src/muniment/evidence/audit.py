"""
Audit a whole log where it lies: every entry, and everything that lies beside the entries.

The quick audit hashes every entry and holds the tree against the signed checkpoint and the heads
that the auditor kept:

1. the newest checkpoint is signed by the named key;
2. the entries are there without a gap, and give exactly the root that it signs;
3. entry 0 names this key and origin;
4. every head that the auditor kept is the root at its size.

The full audit goes on, over bytes that now are known to be the signed ones:

5. every checkpoint that was kept is signed, and is the root at its size;
6. every entry is a canonical record that continues its case, and follows earlier records only;
7. leaf hashes and tiles beside the log, which serve proofs, are those of the entries;
8. every section is what was sealed, or has a tombstone that a `record:erased` explains;
9. every document that a record names is there.

Whatever fails names the first bad entry. Memory: a hash for every 65,536 entries; in the full audit
a hash for every entry.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, TypeAlias

from muniment.errors import EvidenceError, LogInvalid, NotCanonical
from muniment.evidence import merkle
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint
from muniment.evidence.index import Index
from muniment.evidence.merkle import HASH_SIZE, leaf_hash
from muniment.evidence.note import VerifierKey
from muniment.evidence.record import Header, digest
from muniment.evidence.store import Entry, LogStore
from muniment.evidence.tiles import WIDTH
from muniment.evidence.tree import Tree
from muniment.evidence.verify import ERASED, LOG_STARTED, Compared, Verdict

#: leaves of the subtrees that are hashed one at a time, or by one process each
SUBTREE: Final = 1 << 16

#: Called with how many entries are done, and of how many.
Progress: TypeAlias = Callable[[int, int], None]
#: From ranges of entries to the roots over them, in the same order.
Roots: TypeAlias = Callable[[Sequence[tuple[int, int]]], Iterable[bytes]]


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Audited:
    """What an audit found."""

    verdict: Verdict
    checkpoint: Checkpoint | None
    bad: Bad | None = None
    compared: tuple[Compared, ...] = ()
    full: bool = False
    #: counted by the full audit
    checkpoints: int = 0
    cases: int = 0
    sections: int = 0
    erased: int = 0
    documents: int = 0
    #: sections whose erasure is recorded, but which are still there
    unfinished: tuple[tuple[str, str], ...] = ()

    @property
    def not_shown(self) -> tuple[Checkpoint, ...]:
        """Heads of the auditor that are larger than this log."""
        return tuple(one.kept for one in self.compared if one.shown is None)


class _Found(Exception):  # never leaves this module
    """something is wrong with the log"""

    def __init__(self, bad: Bad) -> None:
        self.bad = bad
        super().__init__(str(bad))


def audit(
    store: LogStore,
    key: VerifierKey,
    heads: Sequence[bytes] = (),
    *,
    full: bool = False,
    progress: Progress = lambda _done, _total: None,
    roots: Roots | None = None,
) -> Audited:
    """
    Hold a log against its key and against heads that the auditor kept (signed notes).

    What is wrong is a result and not an error. `roots` may spread the hashing over processes.
    """
    checkpoint: Checkpoint | None = None
    compared: tuple[Compared, ...] = ()
    try:
        checkpoint = _newest(store, key)
        kept = [_open_kept(note, key) for note in heads]
        tree = _Subtrees(store, checkpoint.size, progress, roots or _one_by_one(store))
        _check_root(store, key, checkpoint, tree)
        _check_first(store, key)
        compared = tuple(_compare(head, tree, checkpoint.size) for head in kept)
        if any(one.shown is not None and not one.agrees for one in compared):
            return Audited(verdict=Verdict.DIVERGED, checkpoint=checkpoint, compared=compared)
        count = _Thorough(store, key, checkpoint, progress).run() if full else _Count()
    except _Found as found:
        return Audited(
            verdict=Verdict.INVALID, checkpoint=checkpoint, bad=found.bad, compared=compared
        )
    agrees = any(one.agrees for one in compared)
    return Audited(
        verdict=Verdict.SELF_WITNESSED if agrees else Verdict.UNANCHORED,
        checkpoint=checkpoint,
        compared=compared,
        full=full,
        checkpoints=count.checkpoints,
        cases=count.cases,
        sections=count.sections,
        erased=count.erased,
        documents=len(count.documents),
        unfinished=tuple(sorted(count.unfinished)),
    )


def subtree_root(store: LogStore, start: int, stop: int) -> bytes:
    """
    The root over the entries of a range that begins a subtree.

    NOTE: this is the loop that an audit spends its time in. Raises `LogInvalid` for a gap.
    """
    # RFC 6962 section 2.1: the hash of a leaf begins with 0x00
    leaves = [sha256(b"\x00" + data).digest() for _, data in store.entries(start, stop)]
    if len(leaves) != stop - start:
        raise LogInvalid(f"{stop - start - len(leaves)} of the entries {start} to {stop} are gone")
    return merkle.root(leaves)


def _one_by_one(store: LogStore) -> Roots:
    return lambda ranges: (subtree_root(store, start, stop) for start, stop in ranges)


# --- steps 1 to 4 -----------------------------------------------------------------------------


def _newest(store: LogStore, key: VerifierKey) -> Checkpoint:
    tail = store.tail()
    if tail is None:
        raise _Found(Bad(what="there is no log in this database"))
    try:
        return open_checkpoint(tail.checkpoint, key.name, [key])
    except EvidenceError as error:
        raise _Found(Bad(what=f"the newest checkpoint: {error}")) from error


def _open_kept(note: bytes, key: VerifierKey) -> Checkpoint:
    try:
        return open_checkpoint(note, key.name, [key])
    except EvidenceError as error:
        raise _Found(Bad(what=f"a head that you kept is not of this log: {error}")) from error


class _Subtrees:
    """The roots of the complete subtrees of a log; any earlier root costs one subtree at most."""

    def __init__(self, store: LogStore, size: int, progress: Progress, roots: Roots) -> None:
        self._store = store
        whole = size - size % SUBTREE
        ranges = [(start, start + SUBTREE) for start in range(0, whole, SUBTREE)]
        if whole < size:
            ranges.append((whole, size))
        self._size, self._roots = size, []
        try:
            for (_, stop), root in zip(ranges, roots(ranges), strict=True):
                self._roots.append(root)
                progress(stop, size)
        except LogInvalid as error:
            raise _Found(_gap(store, size, str(error))) from error

    def root(self, size: int) -> bytes:
        """
        The root of the first `size` entries.

        RFC 6962 splits at powers of two: a tree over subtrees is the tree over their leaves.
        """
        if size == self._size:
            return merkle.root(self._roots)
        whole = size // SUBTREE
        edge = [subtree_root(self._store, whole * SUBTREE, size)] if size % SUBTREE else []
        return merkle.root([*self._roots[:whole], *edge])


def _check_root(store: LogStore, key: VerifierKey, checkpoint: Checkpoint, tree: _Subtrees) -> None:
    if tree.root(checkpoint.size) != checkpoint.root:
        raise _Found(_first_bad(store, key, checkpoint))
    for index, _ in store.entries(checkpoint.size, checkpoint.size + 1):
        raise _Found(Bad(index=index, what="stands behind the newest checkpoint, unsigned"))


def _check_first(store: LogStore, key: VerifierKey) -> None:
    for index, data in store.entries(0, 1):
        try:
            header = Header.parse(data)
        except NotCanonical as error:
            raise _Found(Bad(index=index, what=str(error))) from error
        named = (header.kind, header.body.get("key"), header.body.get("origin"))
        if named != (LOG_STARTED, key.vkey, key.name):
            raise _Found(Bad(index=index, record=header.id, what="names another key or origin"))


def _compare(kept: Checkpoint, tree: _Subtrees, size: int) -> Compared:
    return Compared(kept, tree.root(kept.size) if 0 < kept.size <= size else None)


# --- which entry: only when the root is wrong -----------------------------------------------


def _gap(store: LogStore, size: int, otherwise: str) -> Bad:
    expected = 0
    for index, _ in store.entries(0, size):
        if index != expected:
            break
        expected += 1
    return Bad(index=expected, what="is missing") if expected < size else Bad(what=otherwise)


def _first_bad(store: LogStore, key: VerifierKey, newest: Checkpoint) -> Bad:
    """
    The entries are not the signed ones: which is the first?

    Every signed checkpoint bounds it: the first whose root is another. Within these bounds it is
    the first entry that contradicts its own stored leaf hash, its tile, its form or its case.
    """
    good, bad = _bounds(store, key, newest)
    index = Index(lambda _header: ())
    suspects = _leaves_beside(store, good, bad)
    for place, data in store.entries(0, bad):
        leaf = leaf_hash(data)
        try:
            entry = Entry(place, data, leaf, Header.parse(data))
            trouble = _trouble(index, entry)
        except NotCanonical as error:
            trouble = str(error)
        if suspects.get(place, set()) - {leaf}:
            trouble = "is not what was written: its hash beside the log is another"
        if place >= good and trouble is not None:
            return Bad(index=place, record=_record_id(data), what=trouble)
    if bad - good == 1:
        data = next((data for _, data in store.entries(good, bad)), b"")
        return Bad(
            index=good, record=_record_id(data), what="is not what the checkpoint was signed over"
        )
    return Bad(
        index=good,
        what=f"this one, or one up to entry {bad - 1}, is not what the checkpoint was signed over",
    )


def _bounds(store: LogStore, key: VerifierKey, newest: Checkpoint) -> tuple[int, int]:
    """The size at which all was well, and the first signed size at which it is not."""
    frontier, good = merkle.Frontier(), 0
    checkpoints = _checkpoints(store, newest.size)
    size, note = next(checkpoints, (newest.size, b""))
    for _, data in store.entries(0, newest.size):
        frontier.push(leaf_hash(data))
        if frontier.size < size:
            continue
        try:
            signed: Checkpoint | None = open_checkpoint(note, key.name, [key])
        except EvidenceError:
            signed = None  # it bounds nothing; the newest does, and it was verified
        if signed is not None and signed.size == size:
            if signed.root != frontier.root():
                return good, size
            good = size
        size, note = next(checkpoints, (newest.size, b""))
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


def _trouble(index: Index, entry: Entry) -> str | None:
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


def _record_id(data: bytes) -> str | None:
    try:
        return Header.parse(data).id
    except NotCanonical:
        return None


def _checkpoints(store: LogStore, size: int) -> Iterator[tuple[int, bytes]]:
    """Every checkpoint that was kept, up to this size."""
    found = store.checkpoint_at_or_after(1)
    while found is not None and found[0] <= size:
        yield found
        found = store.checkpoint_at_or_after(found[0] + 1)


# --- steps 5 to 9 -----------------------------------------------------------------------------


@dataclass
class _Count:
    checkpoints: int = 0
    cases: int = 0
    sections: int = 0
    erased: int = 0
    documents: set[bytes] = field(default_factory=set)
    unfinished: set[tuple[str, str]] = field(default_factory=set)


class _Thorough:
    """One walk over all entries, in order: their bytes are the signed ones, so blame is exact."""

    def __init__(
        self, store: LogStore, key: VerifierKey, newest: Checkpoint, progress: Progress
    ) -> None:
        self._store = store
        self._key = key
        self._size = newest.size
        self._progress = progress
        self._count = _Count()
        self._index = Index(lambda _header: ())
        self._tree = Tree()
        self._log_id = b""
        self._leaves: set[bytes] = set()
        self._tiles: dict[tuple[int, int], bytes] = {}
        #: stored leaf hashes of the tile at hand
        self._stored = b""
        #: tombstones that no record has explained yet, with the entry that they belong to
        self._tombs: dict[tuple[str, str], tuple[Entry, str]] = {}

    def run(self) -> _Count:
        checkpoints = _checkpoints(self._store, self._size)
        due = next(checkpoints, None)
        for place, data in self._store.entries(0, self._size):
            entry = self._check_record(place, data)
            self._check_beside(entry)
            while due is not None and due[0] == self._tree.size:
                self._check_checkpoint(*due)
                due = next(checkpoints, None)
            if self._tree.size % WIDTH == 0:
                self._check_tiles()
                self._progress(self._tree.size, self._size)
        self._check_tiles(last=True)
        for (_, name), (entry, _) in self._tombs.items():
            raise self._found(entry, f"section `{name}` was erased, but no record says so")
        return self._count

    def _found(self, entry: Entry, what: str) -> _Found:
        return _Found(Bad(index=entry.index, record=entry.header.id, what=what))

    def _check_record(self, place: int, data: bytes) -> Entry:
        try:
            entry = Entry(place, data, leaf_hash(data), Header.parse(data))
        except NotCanonical as error:
            raise _Found(Bad(index=place, what=str(error))) from error
        if (trouble := _trouble(self._index, entry)) is not None:
            raise self._found(entry, trouble)
        for leaf in entry.header.follows:
            if leaf not in self._leaves:
                raise self._found(entry, "follows a record that is not earlier in the log")
        self._log_id = self._log_id or entry.leaf
        self._leaves.add(entry.leaf)
        self._tree.push(entry.leaf)
        self._count.cases += entry.header.position == 0
        return entry

    def _check_checkpoint(self, size: int, note: bytes) -> None:
        try:
            signed = open_checkpoint(note, self._key.name, [self._key])
        except EvidenceError as error:
            raise _Found(Bad(what=f"the checkpoint kept for size {size}: {error}")) from error
        if (signed.size, signed.root) != (size, self._tree.root()):
            raise _Found(Bad(what=f"the checkpoint kept for size {size} is of another tree"))
        self._count.checkpoints += 1

    # --- what lies beside the entries

    def _check_beside(self, entry: Entry) -> None:
        if self._stored_leaf(entry.index) != entry.leaf:
            raise self._found(entry, "the hash that is stored for it is another")
        if entry.header.sections:
            self._check_sections(entry)
        elif self._store.sections(entry.index):
            raise self._found(entry, "has a section that it does not name")
        if entry.header.kind == ERASED:
            self._check_erasure(entry)
        for name in entry.header.documents:
            self._check_document(entry, name)

    def _stored_leaf(self, place: int) -> bytes:
        within = place % WIDTH * HASH_SIZE
        if within == 0:
            self._stored = self._store.leaves(place, place + WIDTH)
        return self._stored[within : within + HASH_SIZE]

    def _check_sections(self, entry: Entry) -> None:
        kept = self._store.sections(entry.index)
        for name in kept.keys() - entry.header.sections.keys():
            raise self._found(entry, f"has a section `{name}` that it does not name")
        for name, committed in entry.header.sections.items():
            self._count.sections += 1
            if name not in kept:
                self._check_tomb(entry, name)
            elif kept[name].commitment(self._log_id, entry.header.id, name) != committed:
                raise self._found(entry, f"section `{name}` is not what was sealed")

    def _check_tomb(self, entry: Entry, name: str) -> None:
        erased = self._store.erased(entry.index)
        if name not in erased:
            raise self._found(entry, f"section `{name}` is gone, and nothing says why")
        self._tombs[entry.header.id, name] = (entry, erased[name])
        self._count.erased += 1

    def _check_erasure(self, entry: Entry) -> None:
        body = entry.header.body
        record, name, rule = (str(body.get(key)) for key in ("record", "section", "rule"))
        if (record, name) not in self._tombs:
            self._check_unfinished(record, name)
        elif self._tombs[record, name][1] != rule:
            raise self._found(entry, f"`{name}` of `{record}` was erased under another rule")
        self._tombs.pop((record, name), None)

    def _check_unfinished(self, record: str, name: str) -> None:
        """Recorded, but the section may still be there: a crash came between."""
        case, _, position = record.partition("/")
        for index, data in self._store.case(case, self._size):
            if Header.parse(data).position == int(position) and name in self._store.sections(index):
                self._count.unfinished.add((record, name))

    def _check_document(self, entry: Entry, name: bytes) -> None:
        if name in self._count.documents:
            return
        content = self._store.document(name)
        if content is None or digest(content) != name:
            what = "is missing" if content is None else "is not what it is called"
            raise self._found(entry, f"document `{name.hex()}` {what}")
        self._count.documents.add(name)

    def _check_tiles(self, *, last: bool = False) -> None:
        """Full tiles once they are full; the unfinished ones at the end."""
        self._tiles.update(self._tree.changed_tiles(forget=True))
        full = WIDTH * HASH_SIZE
        for tile in [tile for tile, data in self._tiles.items() if last or len(data) == full]:
            level, number = tile
            if self._store.tile(level, number) != self._tiles.pop(tile):
                first = number * WIDTH ** (level + 1)
                what = f"tile {level}/{number}, which begins with it, has other hashes"
                raise _Found(Bad(index=first, what=what))
