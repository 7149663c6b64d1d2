"""Tiles: their names, their bytes, and the tree read back from them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.errors import LogInvalid, Malformed
from muniment.evidence import merkle, tiles
from muniment.evidence.tiles import ENTRIES, Tile, TileReader, tiles_for

SIZE = 256 * 256 + 700
LEAVES = [number.to_bytes(32, "big") for number in range(SIZE)]


@pytest.fixture(scope="module")
def nodes() -> dict[tuple[int, int], bytes]:
    frontier = merkle.Frontier()
    return {(level, i): hashed for leaf in LEAVES for level, i, hashed in frontier.push(leaf)}


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(0, 1234067, 5), "tile/0/x001/x234/067.p/5"),
        (Tile(1, 1000), "tile/1/x001/000"),
        (Tile(63, 999, 255), "tile/63/999.p/255"),
        (Tile(ENTRIES, 273, 112), "tile/entries/273.p/112"),
        (Tile(ENTRIES, 2**63 - 1), "tile/entries/x009/x223/x372/x036/x854/x775/807"),
    ],
)
def test_a_tile_has_one_path_and_the_path_one_tile(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert Tile.parse(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "checkpoint",
        "tile/0",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/00/001",
        "tile/64/001",
        "tile/-1/001",
        "tile/Entries/001",
        "tile/0/001.p/0",
        "tile/0/001.p/01",
        "tile/0/001.p/256",
        "tile/0/001.p/300",
        "tile/0/001.p/",
        "tile/0/001/",
        "/tile/0/001",
        "tile/0/001\n",
        "tile/0/٠٠١",
        "tile/0/../001",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/" + "x001/" * 5000 + "001",
    ],
)
def test_any_other_path_is_malformed(path: str) -> None:
    with pytest.raises(Malformed):
        Tile.parse(path)


def test_the_tree_of_70000_entries_has_the_tiles_of_the_specification() -> None:
    names = list(tiles_for(70_000))
    assert len(names) == len(set(names)) == 274 + 274 + 2 + 1
    partial = [tile.path for tile in names if tile.width < 256]
    assert partial == [
        "tile/entries/273.p/112",
        "tile/0/273.p/112",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    ]


def test_a_tree_of_256_entries_has_a_full_tile_and_one_above() -> None:
    paths = [tile.path for tile in tiles_for(256)]
    assert paths == ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]


def test_an_empty_tree_has_no_tiles() -> None:
    assert list(tiles_for(0)) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 70_000), st.integers(0, 3000))
def test_tiles_since_a_size_are_those_it_did_not_have(before: int, more: int) -> None:
    had = set(tiles_for(before))
    assert list(tiles_for(before + more, since=before)) == [
        tile for tile in tiles_for(before + more) if tile not in had
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=20))
def test_an_entry_bundle_reads_back(entries: list[bytes]) -> None:
    data = tiles.encode_bundle(entries)
    assert tiles.decode_bundle(data, len(entries)) == entries
    with pytest.raises(LogInvalid):
        tiles.decode_bundle(data, len(entries) + 1)
    with pytest.raises(LogInvalid):
        tiles.decode_bundle(data + b"\0", len(entries))
    if entries:
        with pytest.raises(LogInvalid):
            tiles.decode_bundle(data[:-1], len(entries))
        with pytest.raises(LogInvalid):
            tiles.decode_bundle(data, len(entries) - 1)


def test_an_entry_of_65535_bytes_is_the_longest() -> None:
    longest = bytes(65535)
    assert tiles.decode_bundle(tiles.encode_bundle([longest]), 1) == [longest]
    with pytest.raises(LogInvalid, match="65536 bytes"):
        tiles.encode_bundle([bytes(65536)])


def test_a_tile_of_the_wrong_length_is_refused() -> None:
    data = b"".join(LEAVES[:3])
    assert tiles.decode_tile(data, 3) == LEAVES[:3]
    for width in (2, 4):
        with pytest.raises(LogInvalid):
            tiles.decode_tile(data, width)
    with pytest.raises(LogInvalid):
        TileReader(3, lambda *_: data + b"\0").node(0, 0)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 700, 65535, 65536, SIZE])
def test_the_reader_gives_every_kind_of_node(
    size: int, nodes: dict[tuple[int, int], bytes]
) -> None:
    asked: list[Tile] = []

    def tile(level: int, index: int, width: int) -> bytes:
        asked.append(Tile(level, index, width))
        first = index * 256
        return b"".join(nodes[level * 8, first + i] for i in range(width))

    reader = TileReader(size, tile)
    for level in range(18):
        last = (size >> level) - 1
        for index in {0, last // 3, last - 1, last} if last >= 0 else ():
            if index >= 0:
                assert reader.node(level, index) == nodes[level, index]
    # C2SP tlog-tiles: only partial tiles that this size requires may be asked for
    assert set(asked) <= set(tiles_for(size))
    root = merkle.Frontier.at(size, reader.node).root()
    index = size * 2 // 3
    proof = merkle.inclusion_proof(index, size, reader.node)
    merkle.verify_inclusion(LEAVES[index], index, size, proof, root)


def test_a_tile_is_read_once() -> None:
    asked: list[tuple[int, int, int]] = []

    def tile(level: int, index: int, width: int) -> bytes:
        asked.append((level, index, width))
        return b"".join(LEAVES[:width])

    reader = TileReader(100, tile)
    for index in range(100):
        merkle.inclusion_proof(index, 100, reader.node)
    assert asked == [(0, 0, 100)]


@pytest.mark.parametrize(("level", "index"), [(0, 3), (1, 1), (2, 0), (-1, 0), (0, -1)])
def test_a_node_that_the_tree_does_not_hold_is_refused(level: int, index: int) -> None:
    with pytest.raises(LogInvalid, match="has no node"):
        TileReader(3, lambda *_: b"").node(level, index)
