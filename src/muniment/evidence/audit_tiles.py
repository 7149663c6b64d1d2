"""
Audit a log from its tiles: all of it, or what came after an earlier audit.

1. the newest checkpoint is signed by a named key;
2. every head that the auditor kept is a beginning of its tree: tiles make a proof from one signed
   root to the other;
3. entry 0 names such a key and this origin;
4. the entries are there without a gap, and give exactly the root that is signed, together with the
   tree over those that an earlier audit hashed;
5. every hash tile over these entries is that of its entries, and its beginning that of the entries
   before;
6. in the full audit: every entry is a canonical record that continues its case, and follows earlier
   records only; every index of cases is that of the entries before it.

Sections are never in tiles. Whoever serves them may lie at every single step, differently each
time: what is read is used once, and only as far as it leads to the signed root.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Final, TypeAlias

from muniment.errors import LogInvalid, ProofInvalid
from muniment.evidence import merkle
from muniment.evidence.audit import (
    SUBTREE,
    Audited,
    check_keys,
    names_first,
    open_kept,
    open_newest,
)
from muniment.evidence.blame import Bad, Found, record_id
from muniment.evidence.checkpoint import Checkpoint
from muniment.evidence.inspection import Headers, Progress
from muniment.evidence.keys import ReadersKeys
from muniment.evidence.merkle import HASH_SIZE, Frontier
from muniment.evidence.store import Entry
from muniment.evidence.tile_log import TileLog, leaves_of
from muniment.evidence.tiles import HEIGHT, WIDTH, Tile, decode_bundle
from muniment.evidence.verdict import Compared, Verdict

#: ranges that are given away together
AT_ONCE: Final = 1024


@dataclass(frozen=True, slots=True)
class Established:
    """How far an earlier audit came, as the auditor remembers it."""

    #: the checkpoint that held
    note: bytes = field(repr=False)
    #: the hashes of its tree's complete subtrees, largest first
    peaks: tuple[bytes, ...] = field(repr=False)

    def frontier(self, checkpoint: Checkpoint) -> Frontier:
        """Raises `LogInvalid` if the peaks are not of this checkpoint's tree."""
        frontier = Frontier(checkpoint.size, self.peaks)
        if frontier.root() != checkpoint.root:
            raise LogInvalid("the remembered subtrees are not those of the remembered head")
        return frontier


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditedTiles(Audited):
    """What an audit of tiles found."""

    #: entries before this one were hashed by an earlier audit
    since: int = 0
    #: what the next audit goes on from; None unless this one holds
    established: Established | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A hash that is another in the tiles than the entries make it."""

    tile: Tile
    #: the first entry under it
    index: int
    #: how many entries are under it
    entries: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """What the entries of a range come to."""

    #: the root of each full bundle
    nodes: list[bytes]
    #: the leaf hashes of the last bundle, if it is a partial one
    rest: list[bytes]
    differs: Difference | None = None
    bad: Bad | None = None


#: From ranges of entries to what they come to, in the same order.
Spread: TypeAlias = Callable[[Sequence[tuple[int, int]]], Iterable[Stretch]]


def audit_tiles(
    log: TileLog,
    key: ReadersKeys,
    heads: Sequence[bytes] = (),
    *,
    since: Established | None = None,
    full: bool = False,
    progress: Progress = lambda _done, _total: None,
    spread: Spread | None = None,
    step: int = SUBTREE,
) -> AuditedTiles:
    """
    Hold a log against its key, against heads that the auditor kept, and against an earlier audit.

    What is wrong is a result and not an error; what `log` cannot read, it raises. `spread` may hash
    ranges of `step` entries (a multiple of 256) elsewhere, but not in a full audit.
    """
    note, checkpoint = b"", None
    compared: tuple[Compared, ...] = ()
    try:
        note = _newest(log)
        checkpoint = _open_newest(note, key)
        kept = [open_kept(head, key) for head in heads]
        known = _known(since, key)
        if since is not None:
            kept.insert(0, open_kept(since.note, key))
        tree = _SignedTree(log, checkpoint)
        compared = tuple(Compared(head, tree.root(head.size)) for head in kept)
        # a head that is larger than the log contradicts it, too: entries are gone
        if any(not one.agrees and tree.shows(one) for one in compared):
            return AuditedTiles(
                verdict=Verdict.DIVERGED, checkpoint=checkpoint, note=note, compared=compared
            )
        headers = Headers() if full else None
        walk = _Walk(log, checkpoint.size, Frontier() if full else known)
        walk.run(headers, spread, step, progress)
        walk.check_root(checkpoint)
        # an earlier audit has looked, and its tree is the beginning of this one
        if full or not known.size:
            _check_first(log, checkpoint, note, key, headers)
        _check_shown(compared)
    except Found as found:
        return AuditedTiles(
            verdict=Verdict.INVALID,
            checkpoint=checkpoint,
            note=note,
            bad=found.bad,
            compared=compared,
        )
    return AuditedTiles(
        verdict=Verdict.SELF_WITNESSED if compared else Verdict.UNANCHORED,
        checkpoint=checkpoint,
        note=note,
        compared=compared,
        full=full,
        cases=headers.cases if headers is not None else 0,
        indexes=headers.indexes if headers is not None else 0,
        since=walk.start,
        established=Established(note, walk.frontier().peaks),
    )


def trouble_since(log: TileLog, checkpoint: Checkpoint, known: Frontier) -> Bad | None:
    """Steps 4 and 5 alone: what is wrong with what came after an earlier tree, if anything."""
    try:
        walk = _Walk(log, checkpoint.size, known)
        walk.run(None, None, SUBTREE, lambda _done, _total: None)
        walk.check_root(checkpoint)
    except Found as found:
        return found.bad
    return None


def stretch(
    log: TileLog, start: int, stop: int, take: Callable[[int, bytes], object] | None = None
) -> Stretch:
    """
    Hash the entries of a range that begins with a bundle, and compare them with their tiles.

    `take` is given every entry. Lets through what `log` raises, but for what is missing or
    malformed.
    """
    nodes: list[bytes] = []
    leaves: list[bytes] = []
    differs: Difference | None = None
    for first in range(start, stop, WIDTH):
        index, width = first // WIDTH, min(WIDTH, stop - first)
        try:
            bundle = log.bundle(index, width)
            leaves = leaves_of(bundle, width)
            tile = log.tile(0, index, width)
        except LogInvalid as error:
            return Stretch(nodes, [], differs, Bad(index=first, what=str(error)))
        differs = differs or difference(Tile(0, index, width), b"".join(leaves), tile)
        if take is not None and differs is None:
            for place, data in enumerate(decode_bundle(bundle, width), first):
                take(place, data)
        if width == WIDTH:
            nodes.append(merkle.root(leaves))
            leaves = []
    return Stretch(nodes, leaves, differs)


def difference(tile: Tile, made: bytes, served: bytes) -> Difference | None:
    """Where a tile that is served differs first from the one that its entries make."""
    if made == served:
        return None
    at = next(
        at
        for at in range(0, len(made), HASH_SIZE)
        if made[at : at + HASH_SIZE] != served[at : at + HASH_SIZE]
    )
    entries = 1 << HEIGHT * tile.level
    return Difference(tile, tile.start + at // HASH_SIZE * entries, entries)


# --- steps 1 to 3 ----------------------------------------------------------------------------


def _newest(log: TileLog) -> bytes:
    try:
        note = log.newest()
    except LogInvalid as error:
        raise Found(Bad(what=f"the newest checkpoint: {error}")) from error
    if note is None:
        raise Found(Bad(what="there is no checkpoint"))
    return note


def _open_newest(note: bytes, key: ReadersKeys) -> Checkpoint:
    checkpoint = open_newest(note, key)
    if not checkpoint.size:
        raise Found(Bad(what="a log without any entry proves nothing"))
    return checkpoint


def _known(since: Established | None, key: ReadersKeys) -> Frontier:
    if since is None:
        return Frontier()
    try:
        return since.frontier(open_kept(since.note, key))
    except LogInvalid:
        return Frontier()  # then nothing is taken as hashed already


class _SignedTree:
    """Earlier roots as the tiles have them, if they lead to the signed root."""

    def __init__(self, log: TileLog, checkpoint: Checkpoint) -> None:
        self._log = log
        self._newest = checkpoint

    def root(self, size: int) -> bytes | None:
        """None where the log is smaller, or its tiles prove nothing of this size."""
        newest = self._newest
        if size >= newest.size:
            return newest.root if size == newest.size else None
        node = self._log.at(newest.size).node
        try:
            root = Frontier.at(size, node).root()
            proof = merkle.consistency_proof(size, newest.size, node)
            merkle.verify_consistency(size, newest.size, proof, root, newest.root)
        except (LogInvalid, ProofInvalid):
            return None
        return root

    def shows(self, one: Compared) -> bool:
        """Whether it is proved what the log had at this size, or had not."""
        return one.shown is not None or one.kept.size > self._newest.size


def _check_shown(compared: Iterable[Compared]) -> None:
    for one in compared:
        if one.shown is None:
            what = f"the tiles prove nothing about your head of size {one.kept.size}"
            raise Found(Bad(what=what))


def _check_first(
    log: TileLog, checkpoint: Checkpoint, note: bytes, key: ReadersKeys, headers: Headers | None
) -> None:
    """It is read a second time, so that it is proved a second time, too."""
    try:
        first = list(log.entries(0, 1, checkpoint.size))
        proof = merkle.inclusion_proof(0, checkpoint.size, log.at(checkpoint.size).node)
        leaf = merkle.leaf_hash(first[0][1])
        merkle.verify_inclusion(leaf, 0, checkpoint.size, proof, checkpoint.root)
    except (LogInvalid, ProofInvalid) as error:
        raise Found(Bad(index=0, what=str(error))) from error
    first_is_named = names_first(first, key)
    if headers is not None:
        check_keys(headers.keys, note, key)
    elif not first_is_named:
        raise Found(
            Bad(
                index=0,
                what="names another key than yours: name that one, too (--log-key), or have the "
                "records read that add yours (--full)",
            )
        )


# --- steps 4 to 6 -----------------------------------------------------------------------------


class _Walk:
    """One pass over the entries, and over the tiles that they make."""

    def __init__(self, log: TileLog, size: int, known: Frontier) -> None:
        self._log = log
        self._size = size
        #: where hashing begins; the entries of a partial bundle are hashed again
        self.start = known.size - known.size % WIDTH if known.size <= size else 0
        #: hashes of the unfinished tile of each level
        self._edges: dict[int, list[bytes]] = {0: []}
        self._differs: Difference | None = None
        if self.start:
            self._take_up(known)

    def _take_up(self, known: Frontier) -> None:
        """What the unfinished tiles begin with: as they are served, if that is what was hashed."""
        level = 1
        while self.start >> HEIGHT * level:
            count, number = self.start >> HEIGHT * level, self.start >> HEIGHT * (level + 1)
            width = min(WIDTH, (self._size >> HEIGHT * level) - number * WIDTH)
            within = count - number * WIDTH
            served = self._tile(Tile(level, number, width)) if within else b""
            ends = range(0, within * HASH_SIZE, HASH_SIZE)
            self._edges[level] = [served[at : at + HASH_SIZE] for at in ends]
            level += 1
        # the peaks of the full bundles are the first of those of the whole tree
        if self._peaks() != known.peaks[: self.start.bit_count()]:
            what = "the tiles above have other hashes than an earlier audit found"
            raise Found(Bad(index=0, what=what))

    def run(
        self,
        headers: Headers | None,
        spread: Spread | None,
        step: int,
        progress: Progress,
    ) -> None:
        if spread is None or headers is not None:
            spread = partial(self._one_by_one, headers.take if headers is not None else None)
        remaining = _ranges(self.start, self._size, step)
        # a few at a time: whoever signs may sign any size, and has few entries to show
        while ranges := list(islice(remaining, AT_ONCE)):
            for (start, stop), part in zip(ranges, spread(ranges), strict=True):
                self._place(start, part)
                progress(stop, self._size)
        for level, edge in self._edges.items():
            if level and edge:
                self._compare(level, (self._size >> HEIGHT * level) // WIDTH, edge)

    def _one_by_one(
        self,
        take: Callable[[int, bytes], Entry] | None,
        ranges: Iterable[tuple[int, int]],
    ) -> Iterator[Stretch]:
        return (stretch(self._log, start, stop, take) for start, stop in ranges)

    def _place(self, start: int, part: Stretch) -> None:
        self._differs = self._differs or part.differs
        if part.bad is not None:
            raise Found(part.bad)
        for number, node in enumerate(part.nodes, start // WIDTH):
            self._rise(1, number, node)
        self._edges[0] = part.rest

    def _rise(self, level: int, number: int, node: bytes) -> None:
        edge = self._edges.setdefault(level, [])
        edge.append(node)
        if len(edge) == WIDTH:
            self._compare(level, number // WIDTH, edge)
            self._edges[level] = []
            self._rise(level + 1, number // WIDTH, merkle.root(edge))

    def _compare(self, level: int, number: int, edge: list[bytes]) -> None:
        tile = Tile(level, number, len(edge))
        differs = difference(tile, b"".join(edge), self._tile(tile))
        self._differs = self._differs or differs

    def _tile(self, tile: Tile) -> bytes:
        try:
            return self._log.tile(tile.level, tile.index, tile.width)
        except LogInvalid as error:
            raise Found(Bad(what=str(error))) from error

    def _peaks(self) -> tuple[bytes, ...]:
        """The complete subtrees of what the unfinished tiles hold, largest first."""
        found: list[bytes] = []
        for level in sorted(self._edges, reverse=True):
            edge, start = self._edges[level], 0
            for height in range(HEIGHT - 1, -1, -1):
                if len(edge) >> height & 1:
                    found.append(merkle.root(edge[start : start + (1 << height)]))
                    start += 1 << height
        return tuple(found)

    def frontier(self) -> Frontier:
        return Frontier(self._size, self._peaks())

    def check_root(self, checkpoint: Checkpoint) -> None:
        """Only now is it known which is wrong where an entry and a tile differ."""
        differs, signed = self._differs, self.frontier().root() == checkpoint.root
        if differs is None and signed:
            return
        if differs is None:
            raise Found(Bad(what="the entries are not those that the checkpoint was signed over"))
        if signed:
            what = f"`{differs.tile.path}` has another hash than it and its neighbours make"
            raise Found(Bad(index=differs.index, what=what))
        if differs.entries > 1:
            last = min(differs.index + differs.entries, self._size) - 1
            what = f"this one, or one up to entry {last}, is not what was written"
            raise Found(Bad(index=differs.index, what=what))
        what = "is not what was written: its hash in the tiles is another"
        raise Found(Bad(index=differs.index, record=self._record(differs.index), what=what))

    def _record(self, index: int) -> str | None:
        try:
            return next(
                record_id(data) for _, data in self._log.entries(index, index + 1, self._size)
            )
        except LogInvalid:
            return None


def _ranges(start: int, size: int, step: int) -> Iterator[tuple[int, int]]:
    while start < size:
        stop = min(size, start - start % step + step)
        yield start, stop
        start = stop
