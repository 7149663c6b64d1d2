"""
Give records their places: check what a decision read, number, chain, seal and encode.

Nothing here writes. A record that may not stand raises; the rest of its batch is not touched.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from muniment.errors import Conflict, DiskFull, LogInvalid, Stale
from muniment.evidence import merkle, moment
from muniment.evidence.append import Outcome, Proposal
from muniment.evidence.clock import TOLERANCE, SteadyClock
from muniment.evidence.index import Index
from muniment.evidence.record import Draft, Header, Sealed, digest
from muniment.evidence.store import Entry, Transaction, check_place, entry_of

_Placed = tuple[Entry, Mapping[str, Sealed]]


@dataclass(frozen=True, slots=True)
class Staged:
    """One item's part of a batch."""

    entries: tuple[Entry, ...]
    sections: Mapping[tuple[int, str], Sealed]
    documents: Mapping[bytes, bytes]
    companions: tuple[Any, ...]


class Sequencer:
    """The rules by which an item joins a batch, in one log."""

    def __init__(self, clock: SteadyClock, space: Callable[[], int], reserve: int) -> None:
        self._clock = clock
        self._space = space
        self._reserve = reserve

    def stage(
        self,
        item: Proposal | Outcome,
        transaction: Transaction,
        index: Index,
        size: int,
        log_id: bytes,
    ) -> Staged:
        """
        Place an item's records behind `size` entries; the index learns of them only if all stand.

        Raises `Stale`, `ClockUnsteady`, `DiskFull`, `Conflict`, or what the item's own functions
        raise.
        """
        if isinstance(item, Outcome):
            drafts, companions = item.build(whole_case(item.case, transaction, index))
        else:
            self._check_proposal(item, index)
            drafts, companions = item.drafts, item.companions
        placed = _place_all(drafts, size, index, log_id)
        entries = tuple(entry for entry, _ in placed)
        staged = Staged(
            entries,
            {(e.index, name): sealed for e, seals in placed for name, sealed in seals.items()},
            {digest(doc): doc for draft in drafts for doc in draft.documents},
            tuple(companions(entries)),
        )
        for entry in entries:
            index.add(entry)
        return staged

    def _check_proposal(self, proposal: Proposal, index: Index) -> None:
        for key, leaf in proposal.reads.items():
            if index.head(key) != leaf:
                raise Stale(f"`{key}` has moved since the decision read it")
        if any(draft.case not in proposal.reads for draft in proposal.drafts):
            raise RuntimeError("a proposal must name the head of each case that it adds to")
        if not proposal.urgent and self._space() < self._reserve:
            raise DiskFull
        if proposal.gives:
            self._check_time(proposal, index)

    def _check_time(self, proposal: Proposal, index: Index) -> None:
        """What gives access is refused away from our reading, or before its predecessor."""
        self._clock.check_steady()
        now = self._clock.now()
        for draft in proposal.drafts:
            last = index.last_of(draft.case)
            if abs(now - draft.at) > TOLERANCE:
                raise Stale("the decision is more than 5 s away from the log's own clock")
            if last is not None and moment.whole(draft.at) < last.at:
                raise Stale("the decision is earlier than the record before it")


def whole_case(case: str, transaction: Transaction, index: Index) -> list[Entry]:
    """A case as the transaction has it, with what this batch added; checked against the index."""
    entries = [entry_of(i, data) for i, data in transaction.case(case)]
    entries += [entry for entry in index.staged if entry.header.case == case]
    for position, entry in enumerate(entries):
        check_place(entry, entries[:position][-1:], position, case)
    last = index.last_of(case)
    if (entries[-1].leaf if entries else None) != (last.leaf if last is not None else None):
        raise LogInvalid(f"the database does not have case `{case}` as it was written")
    return entries


def _place_all(drafts: Sequence[Draft], size: int, index: Index, log_id: bytes) -> list[_Placed]:
    """Drafts of one item build on one another."""
    trial = index.overlay()
    placed: list[_Placed] = []
    for draft in drafts:
        follows = tuple(
            placed[leaf][0].leaf if isinstance(leaf, int) else leaf for leaf in draft.follows
        )
        header, seals = _place(draft, follows, trial, log_id)
        data = header.encode()
        entry = Entry(size + len(placed), data, merkle.leaf_hash(data), header)
        placed.append((entry, seals))
        trial.add(entry)
    return placed


def _place(
    draft: Draft, follows: tuple[bytes, ...], index: Index, log_id: bytes
) -> tuple[Header, Mapping[str, Sealed]]:
    last = index.last_of(draft.case)
    if last is not None and last.closed:
        raise Conflict(f"case `{draft.case}` is closed; nothing follows")
    position = 0 if last is None else last.position + 1
    reading = moment.whole(draft.at)
    # DESIGN, time: the later of reading and predecessor, and it says so
    at = reading if last is None else max(reading, last.at)
    record_id = f"{draft.case}/{position}"
    seals = {name: Sealed.seal(content) for name, content in draft.sections.items()}
    header = Header(
        kind=draft.kind,
        fold=draft.fold,
        case=draft.case,
        position=position,
        at=at,
        body=draft.body,
        prev=None if last is None else last.leaf,
        follows=follows,
        documents=tuple(digest(doc) for doc in draft.documents),
        sections={n: s.commitment(log_id, record_id, n) for n, s in seals.items()},
        observed=None if at == reading else reading,
    )
    return header, seals
