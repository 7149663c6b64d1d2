"""
Tiles: the log as immutable files of 256 hashes or 256 entries each, as C2SP tlog-tiles names them.

A tile at level `l` holds the nodes of Merkle level `8 * l`; the levels between are computed from
it. The last tile of a level is partial until it is full. Entry bundles follow the same scheme
beside the tiles of level 0. Nothing here is authenticated: what comes out of a tile is worth the
proof that it leads to a root somebody signed.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from muniment.errors import LogInvalid, Malformed
from muniment.evidence.merkle import HASH_SIZE, node_hash

#: C2SP tlog-tiles: a tile is a subtree of height 8.
HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
MAX_LEVEL: Final = 63
MAX_ENTRY_BYTES: Final = 2**16 - 1
MAX_INDEX: Final = 2**63 - 1

#: The level under which entry bundles are named; they have none in the tree.
ENTRIES: Final = -1

#: The bytes of a tile or bundle, by level, index and width.
ReadTile: TypeAlias = Callable[[int, int, int], bytes]

_PATH: Final = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """The name of one tile (`level` 0 to 63) or entry bundle (`level` ENTRIES)."""

    level: int
    index: int
    #: how many hashes or entries it holds, 1 to 256; fewer than 256 make it partial
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Where it is published, below the prefix of the log: `tile/0/x001/x234/067.p/5`."""
        # C2SP tlog-tiles: three-digit groups, an `x` before all but the last
        rest, last = divmod(self.index, 1000)
        groups = [f"{last:03d}"]
        while rest:
            rest, group = divmod(rest, 1000)
            groups.insert(0, f"x{group:03d}")
        level = "entries" if self.level == ENTRIES else str(self.level)
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{level}/{'/'.join(groups)}{partial}"

    @classmethod
    def parse(cls, path: str) -> "Tile":
        """The tile of this path; raises Malformed unless it is the one path that a tile has."""
        match = _PATH.fullmatch(path)
        if match is None:
            raise Malformed("the path names no tile")
        level, width = match["level"], match["width"]
        tile = cls(
            level=ENTRIES if level == "entries" else int(level),
            index=int(match["index"].replace("/", "").replace("x", "")),
            width=int(width) if width else WIDTH,
        )
        if tile.level > MAX_LEVEL or tile.index > MAX_INDEX or tile.width > WIDTH:
            raise Malformed("the path names a tile beyond all trees")
        if tile.path != path:  # leading groups of zeros, a full width spelt out
            raise Malformed("the path is not the one that its tile has")
        return tile

    @property
    def start(self) -> int:
        """The first entry under it. C2SP tlog-tiles: its start index."""
        return self.index * WIDTH << HEIGHT * max(self.level, 0)

    def is_of(self, size: int) -> bool:
        """Whether a tree of `size` entries, or any smaller one, has this tile."""
        # a width that no tree ends at is one that a smaller tree ended at
        return self.index * WIDTH + self.width <= size >> HEIGHT * max(self.level, 0)


def tiles_for(size: int, since: int = 0) -> Iterator[Tile]:
    """
    Every tile and entry bundle of a tree of `size` entries, the partial ones of its right edge too.

    Given `since`, a smaller size already published, only those that it did not have. Full ones come
    before the partial one; bundles before tiles.
    """
    yield from _row(ENTRIES, size, since)
    for level in range(MAX_LEVEL + 1):
        hashes, before = size >> HEIGHT * level, since >> HEIGHT * level
        if hashes == before:
            return
        yield from _row(level, hashes, before)


def _row(level: int, count: int, before: int) -> Iterator[Tile]:
    full, rest = divmod(count, WIDTH)
    for index in range(before // WIDTH, full):
        yield Tile(level, index)
    # C2SP tlog-tiles: an empty tile is never served
    if rest and count != before:
        yield Tile(level, full, rest)


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """The bytes of an entry bundle; raises LogInvalid if an entry is longer than 65,535 bytes."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise LogInvalid(f"an entry of {len(entry)} bytes does not fit an entry bundle")
        # C2SP tlog-tiles: big-endian uint16 length, then the entry
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def decode_bundle(data: bytes, width: int) -> list[bytes]:
    """The `width` entries of a bundle; raises LogInvalid unless it holds exactly these."""
    entries: list[bytes] = []
    position, end = 0, len(data)
    while position + 2 <= end and len(entries) < width:
        start = position + 2
        position = start + (data[position] << 8 | data[position + 1])
        entries.append(data[start:position])
    if position != end or len(entries) != width:
        raise LogInvalid(f"the entry bundle does not hold exactly {width} entries")
    return entries


def decode_tile(data: bytes, width: int) -> list[bytes]:
    """The `width` hashes of a tile; raises LogInvalid if its length says otherwise."""
    if len(data) != width * HASH_SIZE:
        raise LogInvalid(f"a tile of {len(data)} bytes does not hold {width} hashes")
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]


#: A tile's own hashes, then the complete pairs of each row before.
Rows: TypeAlias = list[list[bytes]]


class TileReader:
    """
    The nodes of a tree of a given size, read from its tiles.

    `node` is what the proofs of `merkle` ask for. Partial tiles are asked for by the width that the
    size requires. C2SP tlog-tiles: an old partial tile may be gone once the full one is there; then
    `tile` may cut the full one short, since its first hashes are the same.
    """

    def __init__(
        self,
        size: int,
        tile: ReadTile,
        *,
        kept: int = 64,
        rows: Callable[[int, int, int], Rows] | None = None,
    ) -> None:
        """
        `tile` gives the bytes of `(level, index, width)`; `kept` decoded tiles stay at hand.

        `rows` gives tiles decoded already, for whoever reads at many sizes and keeps some himself.
        """
        self.size = size
        self._decoded = rows or (lambda *named: rows_of(tile(*named), named[-1]))
        self._rows = lru_cache(maxsize=kept)(self._read)

    def node(self, level: int, index: int) -> bytes:
        """
        The hash of a complete subtree.

        Raises LogInvalid if the tree does not hold it or its tile is of the wrong length, and lets
        through what `tile` raises.
        """
        if level < 0 or index < 0 or (index + 1) << level > self.size:
            raise LogInvalid(f"a tree of size {self.size} has no node {level}/{index}")
        tile_level, height = divmod(level, HEIGHT)
        tile_index, within = divmod(index, WIDTH >> height)
        return self._rows(tile_level, tile_index)[height][within]

    def _read(self, level: int, index: int) -> Rows:
        return self._decoded(
            level, index, min(WIDTH, (self.size >> HEIGHT * level) - index * WIDTH)
        )


def rows_of(data: bytes, width: int) -> Rows:
    """Raises LogInvalid if the tile is not of this width."""
    rows = [decode_tile(data, width)]
    for _ in range(HEIGHT - 1):
        row = rows[-1]
        pairs = zip(row[::2], row[1::2], strict=False)
        rows.append([node_hash(left, right) for left, right in pairs])
    return rows
