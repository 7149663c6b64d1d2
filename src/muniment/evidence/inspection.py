"""
The full part of an audit: one walk over all entries, and over everything that lies beside them.

The bytes of the entries are known to be the signed ones by then, so that blame is exact.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from muniment.errors import EvidenceError, NotCanonical
from muniment.evidence.blame import Bad, Found, checkpoints, trouble_in
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint
from muniment.evidence.index import Index
from muniment.evidence.merkle import HASH_SIZE
from muniment.evidence.note import VerifierKey
from muniment.evidence.record import Header, digest
from muniment.evidence.store import Entry, LogStore, entry_of
from muniment.evidence.tiles import WIDTH
from muniment.evidence.tree import Tree
from muniment.evidence.verify import ERASED

#: Called with how many entries are done, and of how many.
Progress: TypeAlias = Callable[[int, int], None]


@dataclass
class Count:
    checkpoints: int = 0
    cases: int = 0
    sections: int = 0
    erased: int = 0
    documents: set[bytes] = field(default_factory=set)
    unfinished: set[tuple[str, str]] = field(default_factory=set)


class Inspection:
    """Steps 5 to 9 of an audit."""

    def __init__(
        self, store: LogStore, key: VerifierKey, newest: Checkpoint, progress: Progress
    ) -> None:
        self._store = store
        self._key = key
        self._size = newest.size
        self._progress = progress
        self._count = Count()
        self._index = Index(lambda _header: ())
        self._tree = Tree()
        self._log_id = b""
        self._leaves: set[bytes] = set()
        self._tiles: dict[tuple[int, int], bytes] = {}
        #: stored leaf hashes of the tile at hand
        self._stored = b""
        #: tombstones that no record has explained yet, with the entry that they belong to
        self._tombs: dict[tuple[str, str], tuple[Entry, str]] = {}

    def run(self) -> Count:
        kept = checkpoints(self._store, self._size)
        due = next(kept, None)
        for place, data in self._store.entries(0, self._size):
            entry = self._check_record(place, data)
            self._check_beside(entry)
            while due is not None and due[0] == self._tree.size:
                self._check_checkpoint(*due)
                due = next(kept, None)
            if self._tree.size % WIDTH == 0:
                self._check_tiles()
                self._progress(self._tree.size, self._size)
        self._check_tiles(last=True)
        for (_, name), (entry, _) in self._tombs.items():
            raise self._found(entry, f"section `{name}` was erased, but no record says so")
        return self._count

    def _found(self, entry: Entry, what: str) -> Found:
        return Found(Bad(index=entry.index, record=entry.header.id, what=what))

    def _check_record(self, place: int, data: bytes) -> Entry:
        try:
            entry = entry_of(place, data)
        except NotCanonical as error:
            raise Found(Bad(index=place, what=str(error))) from error
        if (trouble := trouble_in(self._index, entry)) is not None:
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
            raise Found(Bad(what=f"the checkpoint kept for size {size}: {error}")) from error
        if (signed.size, signed.root) != (size, self._tree.root()):
            raise Found(Bad(what=f"the checkpoint kept for size {size} is of another tree"))
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
        self._tiles.update(self._tree.changed_tiles())
        self._tree.forget_changes()
        full = WIDTH * HASH_SIZE
        for tile in [tile for tile, data in self._tiles.items() if last or len(data) == full]:
            level, number = tile
            data = self._tiles.pop(tile)
            # unfinished tiles may have grown since; what they begin with stays
            if (self._store.tile(level, number) or b"")[: len(data)] != data:
                first = number * WIDTH ** (level + 1)
                what = f"tile {level}/{number}, which begins with it, has other hashes"
                raise Found(Bad(index=first, what=what))
