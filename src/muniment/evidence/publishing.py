"""The log's static resources, made from what a store keeps: for `/log/` and for mirrors."""

from collections.abc import Callable
from typing import Final, TypeAlias

from muniment.errors import LogInvalid, Malformed
from muniment.evidence.merkle import HASH_SIZE
from muniment.evidence.store import LogStore, Published
from muniment.evidence.tiles import ENTRIES, Tile, encode_bundle
from muniment.evidence.tree import StoredTree

#: the path of the newest checkpoint, below the prefix of the log
CHECKPOINT: Final = "checkpoint"

#: The bytes of a resource by its path below the log's prefix; None where there is none.
Read: TypeAlias = Callable[[str], bytes | None]


def read_published(store: LogStore, published: Published) -> Read:
    """What is under a published checkpoint, by path, as another would fetch it."""

    def read(path: str) -> bytes | None:
        if path == CHECKPOINT:
            return published.note
        try:
            tile = Tile.parse(path)
        except Malformed:
            return None
        return tile_bytes(store, tile) if tile.is_of(published.size) else None

    return read


def tile_bytes(store: LogStore, tile: Tile) -> bytes:
    """
    A tile or entry bundle, partial ones of any width too. Nothing is hashed or checked.

    Ask only for one that `is_of` a size that the store has: raises `LogInvalid` where it has less.
    """
    if tile.level != ENTRIES:
        data = StoredTree(store).read(tile.level, tile.index, tile.width)
        if len(data) != tile.width * HASH_SIZE:
            raise LogInvalid(f"`{tile.path}` is gone from the database")
        return data
    entries = [data for _, data in store.entries(tile.start, tile.start + tile.width)]
    if len(entries) != tile.width:
        raise LogInvalid(f"entries of `{tile.path}` are gone from the database")
    return encode_bundle(entries)
