"""
Audit a whole log where it lies: every entry, and everything that lies beside the entries.

The quick audit hashes every entry and holds the tree against the signed checkpoint and the heads
that the auditor kept:

1. the newest checkpoint is signed by a named key;
2. the entries are there without a gap, and give exactly the root that it signs;
3. entry 0 names this origin and such a key, or a record adds the one that signed;
4. every head that the auditor kept, and the newest that was published, is the root at its size.

The full audit goes on, over bytes that now are known to be the signed ones:

5. every checkpoint that was kept is signed by all keys that signed at its size, as the records
   have it, and is the root there;
6. every entry is a canonical record that continues its case, and follows earlier records only;
7. leaf hashes and tiles beside the log, which serve proofs, are those of the entries;
8. every section is what was sealed, or has a tombstone that a `record:erased` explains; those that
   a restored copy came without are counted;
9. every document that a record names is there;
10. every index of cases is that of the entries before it.

Whatever fails names the first bad entry. Memory: a hash for every 65,536 entries; in the full audit
a hash for every entry.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final, TypeAlias, TypeVar

from muniment.errors import (
    EvidenceError,
    LogInvalid,
    LogUnavailable,
    NotCanonical,
    NoteInvalid,
)
from muniment.evidence import merkle, verdict
from muniment.evidence.blame import Bad, Found, first_bad, gap
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint
from muniment.evidence.inspection import Count, Inspection, Progress
from muniment.evidence.keys import KINDS, LOG_STARTED, LogKeys, ReadersKeys, named
from muniment.evidence.note import parse_note
from muniment.evidence.record import Header
from muniment.evidence.store import LogStore, Published, entry_of
from muniment.evidence.verdict import Compared, Reader, Verdict, Vouched

OTHER_KEY: Final = "names another key or origin"
#: leaves of the subtrees that are hashed one at a time, or by one process each
SUBTREE: Final = 1 << 16

#: From ranges of entries to the roots over them, in the same order.
Roots: TypeAlias = Callable[[Sequence[tuple[int, int]]], Iterable[bytes]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Audited:
    """What an audit found."""

    verdict: Verdict
    checkpoint: Checkpoint | None
    #: the newest checkpoint as it was shown, with whatever others put to it
    note: bytes = field(default=b"", repr=False)
    #: the newest that was published from this database, with time stamps
    published: Published | None = None
    #: who else stands behind what was published, as far as the auditor trusts him
    vouched: Vouched | None = None
    bad: Bad | None = None
    compared: tuple[Compared, ...] = ()
    full: bool = False
    #: counted by the full audit
    checkpoints: int = 0
    cases: int = 0
    sections: int = 0
    erased: int = 0
    #: sections that this copy came without: a mirror, from which it was restored, has none
    lost: int = 0
    #: indexes of cases, each made anew from the entries
    indexes: int = 0
    documents: int = 0
    #: sections whose erasure is recorded, but which are still there
    unfinished: tuple[tuple[str, str], ...] = ()

    @property
    def holds(self) -> bool:
        return self.verdict not in (Verdict.INVALID, Verdict.DIVERGED)


FoundT = TypeVar("FoundT", bound=Audited)


def audit(
    store: LogStore,
    key: ReadersKeys,
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
    note = b""
    compared: tuple[Compared, ...] = ()
    try:
        note = _newest(store)
        checkpoint = open_newest(note, key)
        kept = [open_kept(head, key) for head in heads]
        tree = _Subtrees(store, checkpoint.size, progress, roots or _one_by_one(store))
        _check_root(store, key, checkpoint, tree)
        if not names_first(store.entries(0, 1), key):
            check_keys(_keys(store, checkpoint.size), note, key)
        published = _published(store, key, tree, checkpoint.size)
        compared = tuple(_compare(head, tree, checkpoint.size) for head in kept)
        # a head that is larger than the log contradicts it, too: entries are gone
        if not all(one.agrees for one in compared):
            return Audited(
                verdict=Verdict.DIVERGED, checkpoint=checkpoint, note=note, compared=compared
            )
        count = Count()
        if full:
            count = Inspection(store, checkpoint, progress).run()
            check_keys(count.keys, note, key)
    except Found as found:
        return Audited(
            verdict=Verdict.INVALID,
            checkpoint=checkpoint,
            note=note,
            bad=found.bad,
            compared=compared,
        )
    return Audited(
        verdict=Verdict.SELF_WITNESSED if compared else Verdict.UNANCHORED,
        checkpoint=checkpoint,
        note=note,
        published=published,
        compared=compared,
        full=full,
        checkpoints=count.checkpoints,
        cases=count.cases,
        sections=count.sections,
        erased=count.erased,
        lost=count.lost,
        indexes=count.indexes,
        documents=len(count.documents),
        unfinished=tuple(sorted(count.unfinished)),
    )


def graded(found: FoundT, key: ReadersKeys, reader: Reader) -> FoundT:
    """The same audit, with the grade that witnesses and time stamps give it for this reader."""
    if not found.holds:
        return found
    shown = found.published or Published(0, found.note)
    try:
        tokens = [stamp.token for stamp in shown.stamps]
        vouched = verdict.graded(shown.note, key, tokens, reader)
    except NoteInvalid as error:
        bad = Bad(what=f"the published checkpoint: {error}")
        return replace(found, verdict=Verdict.INVALID, bad=bad)
    agrees = found.verdict is Verdict.SELF_WITNESSED
    return replace(found, verdict=verdict.grade(vouched, agrees=agrees), vouched=vouched)


def subtree_root(store: LogStore, start: int, stop: int) -> bytes:
    """
    The root over the entries of a range that begins a subtree.

    NOTE: this is the loop that an audit spends its time in. Raises `LogInvalid` for a gap.
    """
    leaves: list[bytes] = []
    # RFC 6962 section 2.1: the hash of a leaf begins with 0x00; to copy that state is cheapest
    begun, add = sha256(b"\x00").copy, leaves.append
    for _, data in store.entries(start, stop):
        leaf = begun()
        leaf.update(data)
        add(leaf.digest())
    if len(leaves) != stop - start:
        raise LogInvalid(f"{stop - start - len(leaves)} of the entries {start} to {stop} are gone")
    return merkle.root(leaves)


def _one_by_one(store: LogStore) -> Roots:
    return lambda ranges: (subtree_root(store, start, stop) for start, stop in ranges)


# --- steps 1 to 4 -----------------------------------------------------------------------------


def _newest(store: LogStore) -> bytes:
    tail = store.tail()
    if tail is None:
        raise Found(Bad(what="there is no log in this database"))
    return tail.checkpoint


def open_newest(note: bytes, key: ReadersKeys) -> Checkpoint:
    """Step 1."""
    try:
        keys = named(key)
        return open_checkpoint(note, keys[0].name, keys)
    except EvidenceError as error:
        raise Found(Bad(what=f"the newest checkpoint: {error}")) from error


def open_kept(note: bytes, key: ReadersKeys) -> Checkpoint:
    """A head that the auditor gave."""
    try:
        keys = named(key)
        kept = open_checkpoint(note, keys[0].name, keys)
    except EvidenceError as error:
        raise Found(Bad(what=f"a head that you kept is not of this log: {error}")) from error
    if not kept.size:
        raise Found(Bad(what="a head of size 0 says nothing"))
    return kept


def _published(store: LogStore, key: ReadersKeys, tree: "_Subtrees", size: int) -> Published | None:
    """What was published last, if it is a beginning of this tree."""
    try:
        published = store.published()
    except LogUnavailable:
        return None  # a database of an earlier version has no place for it
    if published is None:
        return None
    if not _is_of(published.note, key) and not names_first(store.entries(0, 1), key):
        return None  # it is of an earlier time, and so is its key, which this auditor was not given
    shown, tail = open_newest(published.note, key), store.tail()
    if tail is None or shown.size > tail.size:
        raise Found(Bad(what=f"entries are gone: {shown.size} were published"))
    if shown.size != published.size:
        raise Found(Bad(what=f"what is kept as published at {published.size} is of {shown.size}"))
    if shown.size > size:
        return None  # the log went on while this audit read
    if tree.root(shown.size) != shown.root:
        raise Found(Bad(what=f"the checkpoint published at size {shown.size} is not of this log"))
    return published


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
            raise Found(gap(store, size, str(error))) from error

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


def _check_root(store: LogStore, key: ReadersKeys, checkpoint: Checkpoint, tree: _Subtrees) -> None:
    if tree.root(checkpoint.size) != checkpoint.root:
        raise Found(first_bad(store, key, checkpoint))
    # a log that is in use may have grown since; then there is a newer checkpoint
    if store.checkpoint_at_or_after(checkpoint.size + 1) is None:
        for index, _ in store.entries(checkpoint.size, checkpoint.size + 1):
            raise Found(Bad(index=index, what="stands behind the newest checkpoint, unsigned"))


def names_first(first: Iterable[tuple[int, bytes]], key: ReadersKeys) -> bool:
    """Step 3: whether entry 0 names a key of the reader; if not, a record has to add his."""
    keys = named(key)
    for index, data in first:
        try:
            header = Header.parse(data)
        except NotCanonical as error:
            raise Found(Bad(index=index, what=str(error))) from error
        if (header.kind, header.body.get("origin")) != (LOG_STARTED, keys[0].name):
            raise Found(Bad(index=index, record=header.id, what=OTHER_KEY))
        return any(header.body.get("key") == each.vkey for each in keys)
    return True


def check_keys(keys: LogKeys, note: bytes, key: ReadersKeys) -> None:
    """The rest of step 3: whoever signed the newest checkpoint signs, by the log's own records."""
    try:
        keys.check_signer(note, named(key))
    except NoteInvalid as error:
        raise Found(Bad(index=0, what=f"{OTHER_KEY}: {error}")) from error


def _keys(store: LogStore, size: int) -> LogKeys:
    """The records of keys among entries that are known to be the signed ones."""
    kinds = [f'"kind":"{kind}"'.encode() for kind in KINDS]
    try:
        return LogKeys().after(
            entry_of(index, data)
            for index, data in store.entries(0, size)
            if any(kind in data for kind in kinds)
        )
    except (LogInvalid, NotCanonical) as error:
        raise Found(Bad(what=str(error))) from error


def _is_of(note: bytes, key: ReadersKeys) -> bool:
    """Whether it claims to be signed by one of these keys."""
    ids = {each.key_id for each in named(key)}
    try:
        return any(line.key_id in ids for line in parse_note(note)[1])
    except NoteInvalid:
        return True  # that is found soon enough


def _compare(kept: Checkpoint, tree: _Subtrees, size: int) -> Compared:
    return Compared(kept, tree.root(kept.size) if kept.size <= size else None)
