"""What is served under a published checkpoint, against the definitions of the specification."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.errors import LogInvalid
from muniment.evidence import merkle
from muniment.evidence.publishing import tile_bytes
from muniment.evidence.tiles import ENTRIES, HEIGHT, WIDTH, Tile, tiles_for
from muniment.evidence.tree import Tree

MOST = WIDTH * WIDTH + 600
DATA = [number.to_bytes(3, "big") * (number % 5) for number in range(MOST)]
LEAVES = [merkle.leaf_hash(data) for data in DATA]


class Kept:
    """A log store, as far as tiles are made from it: partial tiles of level 0 are not kept."""

    def __init__(self, size: int) -> None:
        tree = Tree()
        for leaf in LEAVES[:size]:
            tree.push(leaf)
        self.size, self._tiles = size, tree.changed_tiles()

    def tile(self, level: int, index: int) -> bytes | None:
        return self._tiles.get((level, index))

    def leaves(self, start: int, stop: int) -> bytes:
        return b"".join(LEAVES[start : min(stop, self.size)])

    def entries(self, start: int, stop: int) -> list[tuple[int, bytes]]:
        return list(enumerate(DATA[start : min(stop, self.size)], start))


@pytest.fixture(scope="module")
def kept() -> Any:
    return Kept(MOST)


def naive(tile: Tile) -> bytes:
    """C2SP tlog-tiles: MTH(D[(n * 256 + i) * 256**l : (n * 256 + i + 1) * 256**l])."""
    first = tile.index * WIDTH
    if tile.level == ENTRIES:
        entries = DATA[first : first + tile.width]
        return b"".join(len(each).to_bytes(2, "big") + each for each in entries)
    under = WIDTH**tile.level
    places = range(first, first + tile.width)
    return b"".join(merkle.root(LEAVES[i * under : (i + 1) * under]) for i in places)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, MOST), pick=st.integers(0))
def test_every_tile_of_every_size_is_the_naive_one(kept: Any, size: int, pick: int) -> None:
    names = list(tiles_for(size))
    for tile in {names[pick % len(names)], *(name for name in names if name.width < WIDTH)}:
        assert tile.is_of(size)
        assert tile_bytes(kept, tile) == naive(tile)


@settings(max_examples=200, deadline=None)
@given(size=st.integers(0, MOST), level=st.integers(-1, 3), index=st.integers(0, 300),
       width=st.integers(1, WIDTH))  # fmt: skip
def test_a_tile_is_of_a_size_if_some_tree_up_to_it_has_it(
    size: int, level: int, index: int, width: int
) -> None:
    tile = Tile(level, index, width)
    # the smallest tree with as many hashes as the tile ends at
    ends = (index * WIDTH + width) << HEIGHT * max(level, 0)
    assert tile.is_of(size) == (ends <= size)
    if ends <= MOST:
        assert tile in set(tiles_for(ends))


def test_what_the_database_no_longer_has_is_not_served() -> None:
    short: Any = Kept(300)
    for tile in (Tile(ENTRIES, 1, 45), Tile(0, 1, 45), Tile(1, 0, 2)):
        with pytest.raises(LogInvalid, match="gone from the database"):
            tile_bytes(short, tile)
