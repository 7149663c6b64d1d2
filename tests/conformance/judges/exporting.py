"""Writes a log as the directory that judges are given."""

import base64
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from muniment.evidence import merkle
from muniment.evidence.checkpoint import Checkpoint
from muniment.evidence.note import parse_note
from muniment.evidence.proof import Receipt
from muniment.evidence.store import LogStore
from muniment.evidence.tiles import ENTRIES, WIDTH, Tile, encode_bundle, tiles_for
from muniment.evidence.tree import StoredTree


def export_log(
    store: LogStore,
    checkpoint: bytes,
    directory: Path,
    *,
    older: Sequence[bytes] = (),
    proofs: Iterable[int] = (),
) -> None:
    """
    Everything under `checkpoint`; inclusion proofs of the entries `proofs`; growth over `older`.

    `older` are signed checkpoints in the order of their sizes. Tiles are what the store has, byte
    for byte: nothing is computed anew that the log itself has computed.
    """
    size = _size(checkpoint)
    _write(directory / "checkpoint", checkpoint)
    for tile in tiles_for(size):
        _write(directory / tile.path, _bytes(store, tile))
    node = StoredTree(store).at(size).node
    for index in proofs:
        hashes = merkle.inclusion_proof(index, size, node)
        receipt = Receipt(index, tuple(hashes), checkpoint).format()
        _write(directory / "proofs" / f"{index}.tlog-proof", receipt)
    notes = {0: b"", **{_size(note): note for note in older}, size: checkpoint}
    for (before, _), (after, note) in pairwise(notes.items()):
        hashes = merkle.consistency_proof(before, after, StoredTree(store).at(after).node)
        lines = [f"old {before}", *(base64.b64encode(each).decode() for each in hashes), "", ""]
        request = "\n".join(lines).encode() + note
        # numbered so that names sort by size
        _write(directory / "growth" / f"{before:012}-{after:012}.add-checkpoint", request)
        _write(directory / "checkpoints" / str(after), note)


def _bytes(store: LogStore, tile: Tile) -> bytes:
    start = tile.index * WIDTH
    if tile.level == ENTRIES:
        return encode_bundle(data for _, data in store.entries(start, start + tile.width))
    data = store.tile(tile.level, tile.index)
    if data is None and tile.level == 0:  # the store keeps full tiles only of this level
        data = store.leaves(start, start + tile.width)
    return (data or b"")[: tile.width * merkle.HASH_SIZE]


def _size(note: bytes) -> int:
    return Checkpoint.parse(parse_note(note)[0]).size


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
