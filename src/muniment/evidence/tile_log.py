"""
A log read from its tiles, wherever they lie: in a folder, behind HTTP, in an object store.

Nothing that is read is believed here. What a resource holds is checked by whoever asked for it.
"""

from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Final

from muniment.errors import LogInvalid
from muniment.evidence.merkle import HASH_SIZE
from muniment.evidence.note import MAX_NOTE_BYTES
from muniment.evidence.publishing import CHECKPOINT, Read
from muniment.evidence.record import MAX_HEADER
from muniment.evidence.tiles import (
    ENTRIES,
    WIDTH,
    Tile,
    TileReader,
    decode_bundle,
    encode_bundle,
)

#: no resource of a log of ours is larger; whoever reads one reads no more than one byte beyond
MAX_RESOURCE: Final = max(WIDTH * (2 + MAX_HEADER), MAX_NOTE_BYTES)


class TileLog:
    """The resources of C2SP tlog-tiles as a log that can be audited."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def newest(self) -> bytes | None:
        """The note of the newest checkpoint, unchecked."""
        return self._read(CHECKPOINT)

    def tile(self, level: int, index: int, width: int) -> bytes:
        """A tile; raises `LogInvalid` where there is none, or one of another length."""
        data = self._read(Tile(level, index, width).path)
        if data is None:
            data = self._full(Tile(level, index, width))[: width * HASH_SIZE]
        if len(data) != width * HASH_SIZE:
            raise LogInvalid(f"`{Tile(level, index, width).path}` is of another length")
        return data

    def bundle(self, index: int, width: int) -> bytes:
        """The bytes of an entry bundle; raises `LogInvalid` where there is none."""
        data = self._read(Tile(ENTRIES, index, width).path)
        if data is None:
            full = self._full(Tile(ENTRIES, index, width))
            return encode_bundle(decode_bundle(full, WIDTH)[:width])
        return data

    def document(self, digest: bytes) -> bytes | None:
        """What a mirror keeps beside its tiles by this name, unchecked; None where it is not."""
        return self._read(f"documents/{digest.hex()}")

    def at(self, size: int) -> TileReader:
        """The nodes of the tree of this size, as the tiles have them."""
        return TileReader(size, self.tile)

    def entries(self, start: int, stop: int, size: int) -> Iterator[tuple[int, bytes]]:
        """Of a log of this size, in order; raises `LogInvalid` where one is missing."""
        for index in range(start // WIDTH, -(-stop // WIDTH)):
            first = index * WIDTH
            width = min(WIDTH, size - first)
            for place, data in enumerate(decode_bundle(self.bundle(index, width), width), first):
                if start <= place < stop:
                    yield place, data

    def _full(self, tile: Tile) -> bytes:
        # C2SP tlog-tiles: a partial tile may be gone once the full one is there
        full = Tile(tile.level, tile.index)
        data = self._read(full.path) if tile != full else None
        if data is None:
            raise LogInvalid(f"`{tile.path}` is missing")
        return data


def leaves_of(bundle: bytes, width: int) -> list[bytes]:
    """
    The leaf hashes of a bundle of this width.

    NOTE: this is the loop that an audit of tiles spends its time in. Raises `LogInvalid`.
    """
    leaves: list[bytes] = []
    # RFC 6962 section 2.1: the hash of a leaf begins with 0x00; to copy that state is cheapest
    begun, add, view = sha256(b"\x00").copy, leaves.append, memoryview(bundle)
    position = 0
    with suppress(IndexError):
        for _ in range(width):
            start = position + 2
            position = start + (bundle[position] << 8 | bundle[position + 1])
            leaf = begun()
            leaf.update(view[start:position])
            add(leaf.digest())
    # a slice that reaches beyond the end is cut short without a word
    if position != len(bundle) or len(leaves) != width:
        raise LogInvalid(f"the entry bundle does not hold exactly {width} entries")
    return leaves
