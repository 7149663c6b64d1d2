"""
The full part of an audit: one walk over all entries, and over everything that lies beside them.

The bytes of the entries are known to be the signed ones by then, so that blame is exact.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from muniment.errors import EvidenceError, LogInvalid, NotCanonical, NoteInvalid
from muniment.evidence.blame import Bad, Found, checkpoints, trouble_in
from muniment.evidence.case_index import CaseIndex
from muniment.evidence.case_proof import INDEXED, MAX_LAG
from muniment.evidence.checkpoint import Checkpoint
from muniment.evidence.index import Index, Last
from muniment.evidence.keys import LogKeys
from muniment.evidence.merkle import HASH_SIZE
from muniment.evidence.note import parse_note
from muniment.evidence.record import Header, digest
from muniment.evidence.store import LOST, Entry, LogStore, entry_of
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
    #: sections that this copy of the log came without
    lost: int = 0
    #: `log:indexed` records, each made anew
    indexes: int = 0
    documents: set[bytes] = field(default_factory=set)
    #: the keys that the log ever had
    keys: LogKeys = field(default_factory=LogKeys)
    unfinished: set[tuple[str, str]] = field(default_factory=set)


class Headers:
    """Step 6 of an audit: what the entries say is in order."""

    def __init__(self) -> None:
        self._index = Index(lambda _header: ())
        self._leaves: set[bytes] = set()
        #: of the newest entries: their case, and its newest record before them
        self._moved: deque[tuple[str, Last | None]] = deque(maxlen=MAX_LAG)
        self.cases = 0
        #: the keys that sign, as far as the entries were read
        self.keys = LogKeys()
        self.indexes = 0

    def take(self, place: int, data: bytes) -> Entry:
        try:
            entry = entry_of(place, data)
        except NotCanonical as error:
            raise Found(Bad(index=place, what=str(error))) from error
        self._moved.append((entry.header.case, self._index.last_of(entry.header.case)))
        if (trouble := trouble_in(self._index, entry)) is not None:
            raise _found(entry, trouble)
        for leaf in entry.header.follows:
            if leaf not in self._leaves:
                raise _found(entry, "follows a record that is not earlier in the log")
        try:
            self.keys = self.keys.after([entry])
        except LogInvalid as error:
            raise Found(Bad(index=place, record=entry.header.id, what=str(error))) from error
        self._leaves.add(entry.leaf)
        self.cases += entry.header.position == 0
        if entry.header.kind == INDEXED:
            self._check_index(entry)
        return entry

    def _check_index(self, entry: Entry) -> None:
        """An index of cases is made anew, as of the size that it speaks of."""
        body = entry.header.body
        size = body.get("size")
        if not isinstance(size, int) or not 0 < size <= entry.index:
            raise _found(entry, "is an index of entries that come after it")
        since = entry.index + 1 - size
        if since > len(self._moved):
            raise _found(entry, f"is an index from more than {MAX_LAG} entries before it")
        lasts = self._index.lasts()
        for case, before in islice(reversed(self._moved), since):
            if before is None:
                del lasts[case]
            else:
                lasts[case] = before
        found = CaseIndex(lasts)
        if (body.get("cases"), body.get("root")) != (found.count, found.root.hex()):
            raise _found(entry, "is not the index of the cases that there were")
        self.indexes += 1


class Inspection:
    """Steps 5 to 9 of an audit."""

    def __init__(self, store: LogStore, newest: Checkpoint, progress: Progress) -> None:
        self._store = store
        self._size = newest.size
        self._progress = progress
        self._count = Count()
        self._headers = Headers()
        self._tree = Tree()
        self._log_id = b""
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
        self._check_later()
        for (_, name), (entry, _) in self._tombs.items():
            raise _found(entry, f"section `{name}` was erased, but no record says so")
        self._count.keys = self._headers.keys
        self._count.cases, self._count.indexes = self._headers.cases, self._headers.indexes
        return self._count

    def _check_record(self, place: int, data: bytes) -> Entry:
        entry = self._headers.take(place, data)
        self._log_id = self._log_id or entry.leaf
        self._tree.push(entry.leaf)
        return entry

    def _check_checkpoint(self, size: int, note: bytes) -> None:
        try:
            signed = self._headers.keys.open(note)
        except EvidenceError as error:
            raise Found(Bad(what=f"the checkpoint kept for size {size}: {error}")) from error
        if (signed.size, signed.root) != (size, self._tree.root()):
            raise Found(Bad(what=f"the checkpoint kept for size {size} is of another tree"))
        self._count.checkpoints += 1

    def _check_later(self) -> None:
        """A log in use goes on while it is read: what is kept above says itself how large it is."""
        size = self._size
        while (later := self._store.checkpoint_at_or_after(size + 1)) is not None:
            size, note = later
            try:
                signed = Checkpoint.parse(parse_note(note)[0])
            except NoteInvalid as error:
                raise Found(Bad(what=f"the checkpoint kept for size {size}: {error}")) from error
            if signed.size != size:
                raise Found(Bad(what=f"the checkpoint kept for size {size} is of {signed.size}"))

    # --- what lies beside the entries

    def _check_beside(self, entry: Entry) -> None:
        if self._stored_leaf(entry.index) != entry.leaf:
            raise _found(entry, "the hash that is stored for it is another")
        if entry.header.sections:
            self._check_sections(entry)
        elif self._store.sections(entry.index):
            raise _found(entry, "has a section that it does not name")
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
            raise _found(entry, f"has a section `{name}` that it does not name")
        for name, committed in entry.header.sections.items():
            self._count.sections += 1
            if name not in kept:
                self._check_tomb(entry, name)
            elif kept[name].commitment(self._log_id, entry.header.id, name) != committed:
                raise _found(entry, f"section `{name}` is not what was sealed")

    def _check_tomb(self, entry: Entry, name: str) -> None:
        erased = self._store.erased(entry.index)
        if name not in erased:
            raise _found(entry, f"section `{name}` is gone, and nothing says why")
        if erased[name] == LOST:
            self._count.lost += 1
            return
        self._tombs[entry.header.id, name] = (entry, erased[name])
        self._count.erased += 1

    def _check_erasure(self, entry: Entry) -> None:
        body = entry.header.body
        record, name, rule = (str(body.get(key)) for key in ("record", "section", "rule"))
        if (record, name) not in self._tombs:
            self._check_unfinished(record, name)
        elif self._tombs[record, name][1] != rule:
            raise _found(entry, f"`{name}` of `{record}` was erased under another rule")
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
            raise _found(entry, f"document `{name.hex()}` {what}")
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


def _found(entry: Entry, what: str) -> Found:
    return Found(Bad(index=entry.index, record=entry.header.id, what=what))
