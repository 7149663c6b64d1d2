"""
Take in entries that are not yet known: at start all of them, after an unknown outcome the new ones,
and at any time those that another node wrote.

All are the same walk, and what it finds is held against the signed checkpoint, the tiles and the
head store before it is believed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from muniment.errors import LogInvalid, NoteInvalid
from muniment.evidence import merkle
from muniment.evidence.checkpoint import Checkpoint
from muniment.evidence.index import Index
from muniment.evidence.keys import LogKeys
from muniment.evidence.store import Entry, LogStore, Tail, entry_of
from muniment.evidence.tree import Tree


@dataclass(frozen=True, slots=True)
class Known:
    """What a log knows of itself, all of it checked."""

    tree: Tree
    #: an overlay over what was known before; to be settled when it is believed
    index: Index
    new: list[Entry]
    keys: LogKeys
    checkpoint: bytes
    signed: Checkpoint
    #: the head store is behind by checkpoints of our own: it moves on
    ahead: bool


def take_in(
    store: LogStore,
    tree: Tree,
    index: Index,
    keys: LogKeys,
    head: bytes | None,
    open_held: Callable[[bytes, str], Checkpoint],
) -> Known:
    """
    `open_held` opens what a key that we hold has signed. Raises `LogInvalid` saying what
    contradicts what.
    """
    tail = store.tail()
    if tail is None and head is not None:
        raise LogInvalid(
            "there is no log in this database, but the head store remembers one: put it back"
        )
    if tail is None:
        raise LogInvalid(
            "there is no log in this database; `muniment init` makes one in files, and `muniment "
            "migrate` moves it to PostgreSQL"
        )
    if head is None:
        raise LogInvalid("the head store is empty, but the database has a log")
    remembered = open_held(head, "the head store")
    signed = open_held(tail.checkpoint, "the database")
    check_not_older(tail.size, remembered.size, "the head store remembers")
    check_not_older(tail.size, tree.size, "this node knows")
    tree, index = tree.copy(), index.overlay()
    root_at_head = tree.root() if tree.size == remembered.size else None
    new: list[Entry] = []
    for entry in _next_entries(store, tree, index, tail.last_index + 1):
        new.append(entry)
        if tree.size == remembered.size:
            root_at_head = tree.root()
    _check_signed(tail, tree, signed)
    _check_remembered(remembered, root_at_head)
    _check_tiles(store, tree)
    keys = keys.after(new)
    # one stolen key of several does not make a history
    opened(keys.open, head, "the head store")
    opened(keys.open, tail.checkpoint, "the database")
    return Known(tree, index, new, keys, tail.checkpoint, signed, remembered.size < tree.size)


def take_in_to_head(
    store: LogStore,
    tree: Tree,
    index: Index,
    keys: LogKeys,
    head: bytes,
    open_held: Callable[[bytes, str], Checkpoint],
) -> Known:
    """
    As far as the head store vouches, and no further: for a node that does not hold the lock.

    What lies behind it in the database may be undone yet. Raises `LogInvalid` as `take_in` does.
    """
    remembered = open_held(head, "the head store")
    if tree.size > remembered.size:
        raise LogInvalid(
            f"the head store remembers {remembered.size} entries, and this node knows {tree.size}: "
            "the head store is an older copy"
        )
    tree, index = tree.copy(), index.overlay()
    new = list(_next_entries(store, tree, index, remembered.size))
    check_not_older(tree.size, remembered.size, "the head store remembers")
    _check_remembered(remembered, tree.root())
    _check_tiles(store, tree)
    keys = keys.after(new)
    opened(keys.open, head, "the head store")
    return Known(tree, index, new, keys, head, remembered, ahead=False)


def _next_entries(store: LogStore, tree: Tree, index: Index, stop: int) -> Iterator[Entry]:
    """What is behind the tree, each entry added to it and to the index before it is given."""
    for place, data in store.entries(tree.size, stop):
        entry = entry_of(place, data)
        _check_next(entry, tree.size, index)
        tree.push(entry.leaf)
        index.add(entry)
        yield entry


def _check_next(entry: Entry, size: int, index: Index) -> None:
    if entry.index != size:
        raise LogInvalid(f"entry {size} is missing")
    header, last = entry.header, index.last_of(entry.header.case)
    if size == 0 and header.kind != "log:started":
        raise LogInvalid("entry 0 is not `log:started`")
    expected = (0, None) if last is None else (last.position + 1, last.leaf)
    if (header.position, header.prev) != expected or (last is not None and last.closed):
        raise LogInvalid(f"entry {size} (`{header.id}`) does not continue its case")


def _check_signed(tail: Tail, tree: Tree, signed: Checkpoint) -> None:
    if not tail.size == tree.size == signed.size or tree.root() != signed.root:
        raise LogInvalid(
            f"the {tree.size} entries in the database are not those that the checkpoint of size "
            f"{signed.size} was signed over"
        )


def check_not_older(size: int, known: int, whose: str) -> None:
    if size < known:
        raise LogInvalid(
            f"the database has {size} entries, but {whose} {known}: this is an older copy of the "
            "database; what is missing may be in a mirror: `muniment restore --from-mirror`"
        )


def _check_remembered(remembered: Checkpoint, root_at_head: bytes | None) -> None:
    if root_at_head != remembered.root:
        raise LogInvalid(
            f"the first {remembered.size} entries are not those that the head store remembers: "
            "this is another history"
        )


def _check_tiles(store: LogStore, tree: Tree) -> None:
    """A tile may go further than the tree: another node has written to it since."""
    for (level, number), hashes in tree.changed_tiles().items():
        if not (store.tile(level, number) or b"").startswith(hashes):
            raise LogInvalid(f"tile {level}/{number} does not hold the hashes of its entries")


def check_tail(tail: Tail, checked: Checkpoint, known: bytes) -> None:
    """
    What stands in the database is exactly what this process wrote or checked last: `known`.

    `checked` is the tail's own checkpoint, its signatures verified. Raises `LogInvalid`.
    """
    before_last = merkle.Frontier(tail.size - 1, tail.peaks)
    before_last.push(merkle.leaf_hash(tail.last_data))
    if not tail.size == tail.last_index + 1 == checked.size:
        raise LogInvalid(
            f"the database has {tail.last_index + 1} entries, its state says {tail.size}, "
            f"and the signed checkpoint covers {checked.size}"
        )
    if before_last.root() != checked.root:
        raise LogInvalid("the entries in the database do not give the signed root")
    if tail.checkpoint != known:
        raise LogInvalid("another process has written to this log")


def opened(opening: Callable[[bytes], Checkpoint], note: bytes, place: str) -> Checkpoint:
    """Raises `LogInvalid`, naming the place, where the signatures do not hold."""
    try:
        return opening(note)
    except NoteInvalid as error:
        raise LogInvalid(f"{place} has a checkpoint of another log or key: {error}") from error
