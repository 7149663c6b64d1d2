"""The tree's right edge in memory, for appending; and the whole of it in a store, for proofs."""

from functools import lru_cache

from muniment.evidence import merkle
from muniment.evidence.merkle import HASH_SIZE
from muniment.evidence.store import LogStore
from muniment.evidence.tiles import WIDTH, Rows, TileReader, decode_tile, rows_of


class Tree:
    """
    The frontier and the unfinished tiles: all that appending needs.

    Level 0 of the unfinished tiles is not stored (the entries are there); higher levels are.
    """

    def __init__(self) -> None:
        self.first = b""
        self._frontier = merkle.Frontier()
        self.peaks_before_last: tuple[bytes, ...] = ()
        #: hashes of the unfinished tile of each level
        self._edges: list[bytearray] = []
        self._changed: dict[tuple[int, int], bytes] = {}

    @property
    def size(self) -> int:
        return self._frontier.size

    @property
    def peaks(self) -> tuple[bytes, ...]:
        return self._frontier.peaks

    def root(self) -> bytes:
        return self._frontier.root()

    def copy(self) -> "Tree":
        """A tree to try a batch on; the original is untouched if the batch fails."""
        twin = Tree()
        twin.first = self.first
        twin._frontier = self._frontier.copy()
        twin.peaks_before_last = self.peaks_before_last
        twin._edges = [bytearray(edge) for edge in self._edges]
        return twin

    def push(self, leaf: bytes) -> None:
        if self.size == 0:
            self.first = leaf
        self.peaks_before_last = self._frontier.peaks
        self._frontier.push(leaf)
        self._place(0, self.size - 1, leaf)

    def _place(self, level: int, number: int, hash_: bytes) -> None:
        if level == len(self._edges):
            self._edges.append(bytearray())
        edge = self._edges[level]
        edge += hash_
        full = len(edge) == WIDTH * HASH_SIZE
        if level or full:
            self._changed[level, number // WIDTH] = bytes(edge)
        if full:
            above = merkle.root(decode_tile(bytes(edge), WIDTH))
            edge.clear()
            self._place(level + 1, number // WIDTH, above)

    def changed_tiles(self) -> dict[tuple[int, int], bytes]:
        """Tiles that were touched since this tree was copied, as they now are."""
        return dict(self._changed)

    def forget_changes(self) -> None:
        self._changed.clear()


class StoredTree:
    """
    The nodes of the tree at any size, from a store's tiles and leaf hashes.

    Nothing of it is believed: whoever uses a proof verifies it against a signed root.
    """

    def __init__(self, store: LogStore, *, kept: int = 320) -> None:
        """
        `kept` decoded tiles stay at hand: those above the leaves, and those of the right edge.

        Every proof needs some of these, and all tiles above 16 million entries are 257.
        """
        self._store = store
        self._kept = lru_cache(maxsize=kept)(self._decoded)

    def at(self, size: int) -> TileReader:
        return TileReader(size, self.read, rows=self._rows)

    def read(self, level: int, number: int, width: int) -> bytes:
        """The first hashes of a tile; fewer than `width` where the store has fewer."""
        data = self._store.tile(level, number)
        if data is None and level == 0:
            data = self._store.leaves(number * WIDTH, number * WIDTH + width)
        return (data or b"")[: width * HASH_SIZE]

    def _rows(self, level: int, number: int, width: int) -> Rows:
        # full tiles of leaves are many, and each is asked for again by chance only
        one_of_many = level == 0 and width == WIDTH
        return (self._decoded if one_of_many else self._kept)(level, number, width)

    def _decoded(self, level: int, number: int, width: int) -> Rows:
        return rows_of(self.read(level, number, width), width)
