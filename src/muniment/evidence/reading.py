"""Read from a log's store what is then proved: nothing is believed because a database says so."""

import functools
from collections.abc import Iterator

from muniment.errors import EvidenceError, LogInvalid
from muniment.evidence import merkle
from muniment.evidence.checkpoint import Checkpoint
from muniment.evidence.index import Last
from muniment.evidence.sequencer import check_last
from muniment.evidence.store import Entry, LogStore, check_place, entry_of


def case(
    store: LogStore, name: str, last: Last | None, signed: Checkpoint, node: merkle.Node
) -> list[Entry]:
    """
    Every record of a case, each proved to be under a checkpoint, without a gap up to the last.

    Raises `LogInvalid` if the store shows anything else.
    """
    entries: list[Entry] = []
    for index, data in store.case(name, signed.size):
        entry = _proved(index, data, signed, node)
        check_place(entry, entries[-1:], len(entries), name)
        entries.append(entry)
    check_last(entries, last, name)
    return entries


def entry(store: LogStore, index: int, signed: Checkpoint, node: merkle.Node) -> Entry:
    """One record, proved to be under a checkpoint. Raises `LogInvalid`."""
    found = list(store.entries(index, index + 1))
    if not found or index >= signed.size:
        raise LogInvalid(f"entry {index} is missing")
    return _proved(*found[0], signed, node)


def entries(
    store: LogStore, start: int, stop: int, signed: Checkpoint, node: merkle.Node
) -> Iterator[Entry]:
    """Records in a row, without a gap, each proved to be under a checkpoint. `LogInvalid`."""
    shared = functools.cache(node)  # the proofs of neighbours are nearly the same
    due = start
    for index, data in store.entries(start, stop):
        if index != due or index >= signed.size:
            break
        yield _proved(index, data, signed, shared)
        due += 1
    if due != stop:
        raise LogInvalid(f"entry {due} is missing")


def known_entry(store: LogStore, index: int, leaf: bytes) -> Entry:
    """One record by its leaf hash, which is known to be under a checkpoint. Raises `LogInvalid`."""
    found = list(store.entries(index, index + 1))
    if not found or merkle.leaf_hash(found[0][1]) != leaf:
        raise LogInvalid(f"entry {index} is not the one that was signed")
    return entry_of(*found[0])


def sections(store: LogStore, of: Entry, log_id: bytes) -> dict[str, bytes]:
    """The content of each section that is still there, checked against its commitment."""
    found: dict[str, bytes] = {}
    for name, sealed in store.sections(of.index).items():
        committed = of.header.sections.get(name)
        if committed != sealed.commitment(log_id, of.header.id, name):
            raise LogInvalid(f"section `{name}` of `{of.header.id}` is not what was sealed")
        found[name] = sealed.content
    return found


def _proved(index: int, data: bytes, signed: Checkpoint, node: merkle.Node) -> Entry:
    try:
        found = entry_of(index, data)
        proof = merkle.inclusion_proof(index, signed.size, node)
        merkle.verify_inclusion(found.leaf, index, signed.size, proof, signed.root)
    except EvidenceError as error:
        raise LogInvalid(f"entry {index} is not the one that was signed: {error}") from error
    return found
