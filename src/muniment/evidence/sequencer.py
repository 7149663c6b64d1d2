"""
Give records their places: check what a decision read, number, chain, seal and encode.

Nothing here writes. A record that may not stand raises; the rest of its batch is not touched.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from muniment.errors import Conflict, DiskFull, LogInvalid, NotCanonical, Stale
from muniment.evidence import merkle, moment
from muniment.evidence.append import Outcome, Proposal
from muniment.evidence.clock import TOLERANCE, SteadyClock
from muniment.evidence.index import Index, Last
from muniment.evidence.record import (
    MAX_DOCUMENT,
    Draft,
    Header,
    Sealed,
    check_case_id,
    digest,
)
from muniment.evidence.store import Batch, Entry, Transaction, check_place, entry_of
from muniment.evidence.tree import Tree

_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
_Placed = tuple[Entry, Mapping[str, Sealed]]


@dataclass(frozen=True, slots=True)
class Staged:
    """One item's part of a batch."""

    entries: tuple[Entry, ...]
    sections: Mapping[tuple[int, str], Sealed]
    documents: Mapping[bytes, bytes]
    companions: tuple[Any, ...]


def batch_of(staged: Sequence[Staged], tree: Tree, note: bytes) -> Batch:
    """All parts of a batch as one transaction adds them; the tree and its note stand over it."""
    return Batch(
        entries=[entry for part in staged for entry in part.entries],
        sections={k: v for part in staged for k, v in part.sections.items()},
        documents={k: v for part in staged for k, v in part.documents.items()},
        tiles=tree.changed_tiles(),
        size=tree.size,
        peaks=tree.peaks_before_last,
        checkpoint=note,
        companions=[write for part in staged for write in part.companions],
    )


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
        # the item's drafts build on one another; the batch learns of them only if all of them stand
        trial = index.overlay()
        placed = _place_all(drafts, size, trial, log_id)
        entries = tuple(entry for entry, _ in placed)
        staged = Staged(
            entries,
            {(e.index, name): sealed for e, seals in placed for name, sealed in seals.items()},
            {digest(doc): doc for draft in drafts for doc in draft.documents},
            tuple(companions(entries)) if entries else (),
        )
        trial.settle()
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
    try:
        entries = [entry_of(i, data) for i, data in transaction.case(case)]
    except NotCanonical as error:
        raise LogInvalid(f"case `{case}` holds what is no record: {error}") from error
    entries += [entry for entry in index.staged if entry.header.case == case]
    for position, entry in enumerate(entries):
        check_place(entry, entries[:position][-1:], position, case)
    check_last(entries, index.last_of(case), case)
    return entries


def check_last(entries: Sequence[Entry], last: Last | None, case: str) -> None:
    """Raises `LogInvalid` unless the case ends where the checked index says that it does."""
    if (entries[-1].leaf if entries else None) != (last.leaf if last is not None else None):
        raise LogInvalid(f"the database does not have case `{case}` as it was written")


def _place_all(drafts: Sequence[Draft], size: int, trial: Index, log_id: bytes) -> list[_Placed]:
    placed: list[_Placed] = []
    for draft in drafts:
        follows = tuple(
            placed[leaf][0].leaf if isinstance(leaf, int) else leaf for leaf in draft.follows
        )
        _check_form(draft, follows)
        header, seals = _place(draft, follows, trial, log_id)
        data = header.encode()
        entry = Entry(size + len(placed), data, merkle.leaf_hash(data), header)
        placed.append((entry, seals))
        trial.add(entry)
    return placed


def _check_form(draft: Draft, follows: Sequence[bytes]) -> None:
    """Raises `NotCanonical` for what could be written now, but not be read back at a start."""
    check_case_id(draft.case)
    _check_names(draft.kind, draft.fold, tuple(draft.sections))
    if type(draft.body) is not dict or any(len(leaf) != merkle.HASH_SIZE for leaf in follows):
        raise NotCanonical(f"a draft of `{draft.kind}` with no body, or following what is no leaf")
    if any(len(document) > MAX_DOCUMENT for document in draft.documents):
        raise NotCanonical(f"a document of more than {MAX_DOCUMENT} bytes")


@lru_cache(maxsize=1024)
def _check_names(kind: str, fold: int, sections: tuple[str, ...]) -> None:
    """There are few of them: each is written into a header and read back once."""
    empty = Header(
        kind=kind, fold=fold, case="any_" + "a" * 26, position=0, at=_ANY_TIME, body={}, prev=None,
        sections=dict.fromkeys(sections, bytes(merkle.HASH_SIZE)),
    )  # fmt: skip
    Header.parse(empty.encode())


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
        observed=_observed(draft, reading, at),
    )
    return header, seals


def _observed(draft: Draft, reading: datetime, at: datetime) -> datetime | None:
    """What the header says besides `at`: nothing where both are the same moment."""
    seen = reading if draft.observed is None else moment.whole(draft.observed)
    return None if seen == at else seen
