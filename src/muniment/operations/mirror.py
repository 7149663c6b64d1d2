"""
Bring a mirror up to a published checkpoint: what others publish and keep, and a restore needs.

1. what the mirror has is signed by this log, and a beginning of what is published: else it is of
   another history, and nothing is written;
2. what is new is read as anybody would read it, and holds: nothing else is copied to where it can
   not be changed;
3. bundles of entries, tiles, documents: each for ever;
4. the checkpoint, last: what it is over is there.

Sections are never mirrored: they can be erased, and a mirror can not. A crash anywhere leaves
resources above which no checkpoint stands yet; the next run puts them again, to no effect.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from muniment.errors import EvidenceError, LogInvalid
from muniment.evidence.audit_tiles import trouble_since
from muniment.evidence.checkpoint import Checkpoint
from muniment.evidence.log import Log
from muniment.evidence.merkle import Frontier
from muniment.evidence.note import MAX_NOTE_BYTES
from muniment.evidence.publishing import CHECKPOINT, read_published, tile_bytes
from muniment.evidence.record import Header, digest
from muniment.evidence.store import Mirror, Published
from muniment.evidence.tile_log import TileLog
from muniment.evidence.tiles import tiles_for
from muniment.evidence.tree import StoredTree

#: where documents are kept, by the hexadecimal SHA-256 that headers name them with
DOCUMENTS: Final = "documents"
#: where checkpoints are kept, by size: what `checkpoint` was, one after the other
CHECKPOINTS: Final = "checkpoints"


@dataclass(frozen=True, slots=True)
class Copied:
    """How far a mirror was, and is."""

    before: int
    size: int


async def copy(log: Log, mirror: Mirror, published: Published) -> Copied:
    """
    Bring a mirror up to this checkpoint; does nothing where it is further already.

    Safe to repeat; one at a time for each mirror. Raises `LogInvalid` where the mirror keeps
    another history, or the database no longer has what was published; `Conflict` where a resource
    is there with other bytes; `Unavailable` where the mirror does not answer.
    """
    return await asyncio.to_thread(_copy, log, mirror, published)


def _copy(log: Log, mirror: Mirror, published: Published) -> Copied:
    known = _known(log, mirror)
    before = known.size
    if before > published.size:
        return Copied(before, before)
    _check_new(log, known, published)
    store = log.store
    for tile in tiles_for(published.size, before):
        mirror.put(tile.path, tile_bytes(store, tile))
    for name in _documents(log, before, published.size):
        content = store.document(name)
        if content is None or digest(content) != name:
            raise LogInvalid(f"document `{name.hex()}` is not in the database as it is called")
        mirror.put(f"{DOCUMENTS}/{name.hex()}", content)
    _put_checkpoint(log, mirror, published)
    return Copied(before, published.size)


def _known(log: Log, mirror: Mirror) -> Frontier:
    """Step 1: the tree that the mirror has; an empty one, where it has none."""
    note = mirror.get(CHECKPOINT, MAX_NOTE_BYTES)
    if note is None:
        return Frontier()
    there = _opened(log, note)
    if there.size > log.size:
        raise LogInvalid(
            f"the mirror has {there.size} entries and this log {log.size}: entries are gone here;"
            " nothing was written"
        )
    return _check_ours(log, there)


def _opened(log: Log, note: bytes) -> Checkpoint:
    try:
        return log.keys.recognise(note)
    except EvidenceError as error:
        raise LogInvalid(f"a checkpoint that is not of this log: {error}") from error


def _check_ours(log: Log, there: Checkpoint) -> Frontier:
    frontier = Frontier.at(there.size, StoredTree(log.store).at(there.size).node)
    if frontier.root() != there.root:
        raise LogInvalid(
            f"the mirror keeps another history: at size {there.size} this log has another root;"
            " nothing was written, keep both"
        )
    return frontier


def _check_new(log: Log, known: Frontier, published: Published) -> None:
    """Step 2."""
    tiles = TileLog(read_published(log.store, published))
    bad = trouble_since(tiles, _opened(log, published.note), known)
    if bad is not None:
        raise LogInvalid(f"what was published is not what the database has: {bad}")


def _documents(log: Log, start: int, stop: int) -> Iterator[bytes]:
    """Every document that these entries name, once."""
    seen: set[bytes] = set()
    for _, data in log.store.entries(start, stop):
        for name in Header.parse(data).documents:
            if name not in seen:
                seen.add(name)
                yield name


def _put_checkpoint(log: Log, mirror: Mirror, published: Published) -> None:
    """Step 4. One of the same size may have been published before, with fewer cosignatures."""
    path = f"{CHECKPOINTS}/{published.size}"
    kept = mirror.get(path, MAX_NOTE_BYTES)
    if kept is None:
        mirror.put(path, published.note)
    else:
        _check_ours(log, _opened(log, kept))
    mirror.replace(CHECKPOINT, published.note)
