"""
Verify an excerpt of the log with nothing but the file and the public key of its log.

The steps, each numbered where it is done; whoever fails step n is told so:

1. the file is an excerpt, in the one form that its lines have;
2. its checkpoint is of the log of which the reader named a key, or several; one of them signed it,
   and nobody else but the witnesses that the excerpt lists, each of them did, and every time stamp
   is about this checkpoint;
3. entry 0 names this key and origin, or a record adds the key, and no record that is shown had
   retired it by then; the leaf hash of entry 0 is the log id;
4. what is shown, and the hashes of what is not, give exactly the signed root;
5. every record that is shown is canonical, and names the one before it in its case, where that is
   shown, too;
6. no head that the reader kept contradicts it.

Nothing is kept of what was read, so that a log of any length can be checked: whoever wants to
count something is handed each record as it comes. **What he counted is worth something only once
this has returned.**
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from muniment.errors import BundleInvalid, EvidenceError
from muniment.evidence import excerpt, merkle
from muniment.evidence.bundle import Bundle, BundledRecord
from muniment.evidence.bundle_signatures import check_first, check_keys, check_signatures
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint
from muniment.evidence.excerpt import Heading, Part, Shown
from muniment.evidence.index import CASE_CLOSED
from muniment.evidence.keys import KINDS, ReadersKeys, named
from muniment.evidence.note import VerifierKey
from muniment.evidence.record import Header
from muniment.evidence.steps import failing_as, require
from muniment.evidence.store import Entry
from muniment.evidence.verdict import NOBODY, Compared, Reader, Verdict, Vouched, grade, vouch

#: What each step establishes, in a reader's words.
STEPS: Final[Mapping[int, str]] = {
    1: "the file is an excerpt of a log in canonical form",
    2: "its checkpoint is signed by the log's key; what others added holds",
    3: "the log's own records name this key",
    4: "what is shown and what is not give exactly the signed root",
    5: "every record that is shown is canonical, and follows its predecessor",
    6: "no head that you kept contradicts it",
}

#: is handed every record that is shown, in the order of the log
See: TypeAlias = Callable[[int, Header], None]
#: is told how many entries were gone through, of how many
Progress: TypeAlias = Callable[[int, int], None]
_OFTEN: Final = 1 << 12


@dataclass(frozen=True, kw_only=True, slots=True)
class ProvedExcerpt:
    """What the steps established."""

    log_id: bytes
    #: of the keys that the reader named, the one that signed
    key: VerifierKey
    checkpoint: Checkpoint
    #: entries that are shown, and that are not
    shown: int
    hidden: int
    #: from here on every entry up to the checkpoint is shown
    whole_from: int
    compared: tuple[Compared, ...]
    vouched: Vouched
    verdict: Verdict
    #: by number, what was seen
    steps: Mapping[int, str]

    @property
    def not_shown(self) -> tuple[Checkpoint, ...]:
        """Heads of the reader that fall among entries that are not shown."""
        return tuple(one.kept for one in self.compared if one.shown is None)


def verify_excerpt(
    pieces: Iterable[bytes],
    key: ReadersKeys,
    *,
    heads: Sequence[bytes] = (),
    reader: Reader = NOBODY,
    see: See = lambda _index, _header: None,
    progress: Progress = lambda _done, _total: None,
) -> ProvedExcerpt:
    """
    All steps over the bytes of a file, handed in piece by piece.

    `heads` are checkpoints of this log that the reader kept. Raises `BundleInvalid` with the number
    of the step that failed; contradicting a kept head is a verdict, not an error. What `see` was
    handed before that is worth nothing.
    """
    with failing_as(1):
        heading, parts = excerpt.read(pieces)
    keys = named(key)
    signed = Bundle(
        checkpoint=heading.checkpoint,
        records=(),
        documents={},
        heads=(),
        witnesses=heading.witnesses,
        stamps=heading.stamps,
    )
    checkpoint, note, stamps, signer = check_signatures(signed, keys)
    kept = [_kept(head, keys) for head in heads]
    walk = _Walk(checkpoint=checkpoint, wanted={each.size for each in kept}, see=see)
    walk.through(parts, progress)
    log_id = walk.check_keys(heading, signer)
    compared = tuple(Compared(each, walk.roots.get(each.size)) for each in kept)
    vouched = vouch(note, checkpoint.size, stamps, reader)
    verdict = grade(
        vouched,
        agrees=any(one.agrees for one in compared),
        diverged=any(one.shown is not None and not one.agrees for one in compared),
    )
    steps = {
        1: f"{walk.shown + walk.nodes + 1:,} lines",
        2: f"`{checkpoint.origin}` at size {checkpoint.size:,}",
        3: f"log id {log_id.hex()[:16]}…",
        4: f"{walk.shown:,} entries shown, {walk.hidden:,} not",
        5: f"all from entry {walk.whole_from:,} on",
        6: _of_heads(compared),
    }
    if verdict is Verdict.DIVERGED:
        del steps[6]
    return ProvedExcerpt(
        log_id=log_id,
        key=signer,
        checkpoint=checkpoint,
        shown=walk.shown,
        hidden=walk.hidden,
        whole_from=walk.whole_from,
        compared=compared,
        vouched=vouched,
        verdict=verdict,
        steps=steps,
    )


def _kept(note: bytes, keys: Sequence[VerifierKey]) -> Checkpoint:
    try:
        kept = open_checkpoint(note, keys[0].name, keys)
    except EvidenceError as error:
        raise BundleInvalid(6, f"a head that you kept is not of this log: {error}") from error
    require(6, kept.size > 0, "a head of size 0 says nothing")
    return kept


def _of_heads(compared: Sequence[Compared]) -> str:
    if not compared:
        return "you gave none"
    agree = sum(one.agrees for one in compared)
    return f"{agree} of {len(compared)} agree, {len(compared) - agree} not comparable"


@dataclass(kw_only=True, slots=True)
class _Walk:
    """From entry 0 to the last: a tree that grows, and what has to be remembered on the way."""

    checkpoint: Checkpoint
    #: sizes at which the reader knows the root
    wanted: set[int]
    see: See
    roots: dict[int, bytes] = field(default_factory=dict)
    shown: int = 0
    hidden: int = 0
    #: how many hashes stand for what is hidden
    nodes: int = 0
    whole_from: int = 0
    #: entry 0 and what names keys
    keys: list[Entry] = field(default_factory=list)
    #: of each case that is not closed: position and leaf of its newest record
    _last: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    #: level, hash, and whether it is shown: the subtrees so far, the largest first
    _peaks: list[tuple[int, bytes, bool]] = field(default_factory=list)

    def through(self, parts: Iterable[Part], progress: Progress) -> None:
        size, done = self.checkpoint.size, 0
        with failing_as(1):
            for part in parts:
                done = self._take(part)
                if done % _OFTEN == 0:
                    progress(done, size)
                if done in self.wanted:
                    self.roots[done] = self._root()
        require(4, done == size, f"there are {done:,} entries here, and {size:,} in the log")
        require(4, self._root() == self.checkpoint.root, "they give another root than was signed")
        progress(done, size)

    def check_keys(self, heading: Heading, signer: VerifierKey) -> bytes:
        """Step 3, once the records are known to be the log's."""
        bundled = [BundledRecord(index=e.index, header=e.data, proof=()) for e in self.keys]
        log_id = check_first(bundled, signer)
        check_keys(self.keys, heading.checkpoint, signer)
        return log_id

    def _take(self, part: Part) -> int:
        """One part more; returns how many entries there are then."""
        if isinstance(part, Shown):
            inside = part.index < self.checkpoint.size
            require(4, inside, "there are more entries here than in the log")
            leaf = merkle.leaf_hash(part.data)
            self._push(0, leaf, shown=True)
            self._read(part, leaf)
            self.shown += 1
            return part.index + 1
        after = part.index + (1 << part.level)
        require(
            1,
            part.index % (1 << part.level) == 0 and after <= self.checkpoint.size,
            f"a hash of {1 << part.level} entries does not belong after {part.index}",
        )
        self._push(part.level, part.hash, shown=False)
        self.hidden, self.whole_from = self.hidden + (1 << part.level), after
        self.nodes += 1
        return after

    def _push(self, level: int, hashed: bytes, *, shown: bool) -> None:
        peaks = self._peaks
        while peaks and peaks[-1][0] == level:
            _, left, has_shown = peaks.pop()
            require(1, shown or has_shown, "two hashes stand where one would do")
            hashed, level, shown = merkle.node_hash(left, hashed), level + 1, True
        peaks.append((level, hashed, shown))

    def _root(self) -> bytes:
        if not self._peaks:
            return merkle.EMPTY_ROOT
        hashed = self._peaks[-1][1]
        for _, peak, _ in self._peaks[-2::-1]:
            hashed = merkle.node_hash(peak, hashed)
        return hashed

    # --- step 5

    def _read(self, part: Shown, leaf: bytes) -> None:
        try:
            header = Header.parse(part.data)
            self._check_place(header, leaf)
            if part.index == 0 or header.kind in KINDS:
                self.keys.append(Entry(part.index, part.data, leaf, header))
            self.see(part.index, header)
        except BundleInvalid:
            raise
        except EvidenceError as error:
            raise BundleInvalid(5, f"entry {part.index}: {error}") from error

    def _check_place(self, header: Header, leaf: bytes) -> None:
        position, before = header.position, self._last.get(header.case)
        follows = (header.prev is None) == (position == 0) and (
            before is None
            or (position > before[0] and (position > before[0] + 1 or header.prev == before[1]))
        )
        require(5, follows, f"`{header.id}` does not name the record before it")
        if header.kind == CASE_CLOSED:
            self._last.pop(header.case, None)
        else:
            self._last[header.case] = position, leaf
