"""
Append to a log in a database what somebody else kept of it: entries, as they were signed.

This is for a restored copy, while nothing else has it open. Nothing is signed: the checkpoint was
signed before, and what is appended has to lead to its root, or nothing is. Sections are not there,
and each says so by a tombstone.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from muniment.errors import LogInvalid, LogUnavailable
from muniment.evidence.checkpoint import Checkpoint
from muniment.evidence.merkle import leaf_hash
from muniment.evidence.record import Header, digest
from muniment.evidence.store import LOST, Entry, entry_of
from muniment.evidence.tree import Tree
from muniment.evidence.verify import ERASED
from muniment.stores.sqlite import (
    INSERT_CASE_ENTRY,
    INSERT_CHECKPOINT,
    INSERT_DOCUMENT,
    INSERT_ENTRY,
    INSERT_TOMBSTONE,
    PUT_STATE,
    PUT_TILE,
    READ_DOCUMENT,
    READ_ENTRIES,
    SQLiteStore,
    connect,
)

#: entries that are held in memory at once
_PIECE: Final = 4096
_EXPLAIN = (
    "UPDATE tombstones SET rule = ? WHERE name = ? AND rule = ? AND idx ="
    " (SELECT idx FROM case_entries WHERE case_id = ? AND position = ?)"
)


@dataclass(kw_only=True)
class Missing:
    """What a copy of a log lacks, as another copy gives it: nothing of it is believed."""

    #: the signed note that says how far it goes
    note: bytes = field(repr=False)
    #: what the note says, its signature verified
    signed: Checkpoint
    #: the head that the head store knows: it must lie on the way
    remembered: Checkpoint | None
    #: bytes of the entries that the database lacks, in order
    entries: Iterable[bytes]
    #: the documents that there are, of those with these digests
    documents: Callable[[Iterable[bytes]], Iterable[bytes]]


def extend(database: Path, size: int, missing: Missing) -> int:
    """
    Append to the log of `size` entries in this database; a new one is made for size 0.

    Returns how many entries were added: all that `missing.signed` speaks of, in one transaction, or
    none. Raises `LogInvalid` if what is there and what is added are not the tree that was signed.
    """
    SQLiteStore(database).close()  # brings the schema up to date
    with contextlib.closing(connect(database)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            added = _extend(connection, size, missing)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise LogUnavailable(f"`{database}` cannot be extended: {error}") from error
    return added


def _extend(connection: sqlite3.Connection, size: int, missing: Missing) -> int:
    tree = Tree()
    for _, data in connection.execute(READ_ENTRIES, (0, 1 << 62)):
        tree.push(leaf_hash(data))
    if tree.size != size:
        raise LogInvalid(f"the database has {tree.size} entries, and not {size}")
    tree.forget_changes()
    entries, erasures, wanted = _placed(missing, size), [], {}
    while piece := list(islice(entries, _PIECE)):
        for entry in piece:
            tree.push(entry.leaf)
            _check_way(tree, missing.remembered)
            wanted.update(dict.fromkeys(entry.header.documents))
            erasures += [entry.header] if entry.header.kind == ERASED else []
        _insert(connection, piece)
    if (tree.size, tree.root()) != (missing.signed.size, missing.signed.root):
        raise LogInvalid(
            f"the {size} entries here and the {tree.size - size} that were given do not make the "
            f"tree of size {missing.signed.size} that was signed: they are not of one history"
        )
    for header in erasures:
        _explain(connection, header)
    documents = [(digest(document), document) for document in missing.documents(wanted)]
    connection.executemany(INSERT_DOCUMENT, documents)
    for name in wanted:
        if connection.execute(READ_DOCUMENT, (name,)).fetchone() is None:
            raise LogInvalid(f"nobody gave the document `{name.hex()}`, which records name")
    tiles = tree.changed_tiles().items()
    connection.executemany(PUT_TILE, [(level, number, h) for (level, number), h in tiles])
    connection.execute(INSERT_CHECKPOINT, (tree.size, missing.note))
    peaks = b"".join(tree.peaks_before_last)
    connection.execute(PUT_STATE, (tree.size, peaks, missing.note))
    return tree.size - size


def _check_way(tree: Tree, remembered: Checkpoint | None) -> None:
    if remembered is None or tree.size != remembered.size:
        return
    if tree.root() != remembered.root:
        raise LogInvalid(
            f"at size {tree.size} this is another history than the head store remembers"
        )


def _placed(missing: Missing, size: int) -> Iterator[Entry]:
    for index, data in enumerate(missing.entries, size):
        if index >= missing.signed.size:
            raise LogInvalid("more entries were given than the checkpoint speaks of")
        yield entry_of(index, data)


def _insert(connection: sqlite3.Connection, entries: list[Entry]) -> None:
    run = connection.executemany
    run(INSERT_ENTRY, [(e.index, e.leaf, e.data) for e in entries])
    run(INSERT_CASE_ENTRY, [(e.header.case, e.header.position, e.index) for e in entries])
    run(INSERT_TOMBSTONE, [(e.index, name, LOST) for e in entries for name in e.header.sections])


def _explain(connection: sqlite3.Connection, erasure: Header) -> None:
    """What was erased, and is not here for this reason too, is shown as erased."""
    body = erasure.body
    case, _, position = body["record"].partition("/")
    connection.execute(_EXPLAIN, (body["rule"], body["section"], LOST, case, int(position)))
