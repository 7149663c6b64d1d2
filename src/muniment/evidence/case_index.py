"""
The index of cases: which cases a log of some size had, and with which record each of them ended.

It is a tree of RFC 6962 with one leaf for each case, sorted by case id. A leaf is the canonical
JSON of case id, position of the case's last record, and that record's leaf hash:

    ["mun_yfcf5y2z2v4hvywrrcuvvlcpgi",7,"5d0b…"]

The record `log:indexed` holds the size of the log, the number of cases and the root. One short
proof then says that a case had no later record, and another that there was no such case: its
neighbours, between which it would have to stand.

NOTE: a proof holds what the log said about itself. That the index leaves nothing out is seen by
whoever has all entries: an audit computes it anew.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import Final

from muniment.errors import ProofInvalid
from muniment.evidence import merkle
from muniment.evidence.index import CASE_CLOSED, Last
from muniment.evidence.merkle import HASH_SIZE, leaf_hash, node_hash
from muniment.evidence.record import Header
from muniment.evidence.store import LogStore

#: cases that are sorted at once: sorting holds up every other thread of the process
_RUN: Final = 16_384


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A case in an index, and the proof that it stands there."""

    case: str
    #: position of its last record
    position: int
    #: leaf hash of its last record
    leaf: bytes
    #: where it stands in the order of the cases
    index: int
    #: inclusion proof to the index's root
    proof: tuple[bytes, ...]


class CaseIndex:
    """All cases of a log at one size. Takes about 100 bytes for each, beside what it is given."""

    def __init__(self, lasts: Mapping[str, Last]) -> None:
        """`lasts` is the newest record of each case, and is not to change."""
        self._lasts = lasts
        self._cases = _sorted(lasts)
        #: hashes of the complete subtrees of each level, joined
        self._rows = [_joined(_leaf(case, lasts[case]) for case in self._cases)]
        while len(self._rows[-1]) >= 2 * HASH_SIZE:
            self._rows.append(_joined(_parents(self._rows[-1])))

    @property
    def count(self) -> int:
        return len(self._cases)

    @property
    def root(self) -> bytes:
        return merkle.Frontier.at(self.count, self._node).root()

    def places(self, case: str) -> tuple[Place, ...]:
        """What `look_up` needs: the case itself or, where it is not, its one or two neighbours."""
        at = _bisect(self._cases, case)
        if case in self._lasts:
            return (self._place(at),)
        return tuple(self._place(i) for i in (at - 1, at) if 0 <= i < self.count)

    def _place(self, index: int) -> Place:
        case = self._cases[index]
        return Place(
            case=case,
            position=self._lasts[case].position,
            leaf=self._lasts[case].leaf,
            index=index,
            proof=tuple(merkle.inclusion_proof(index, self.count, self._node)),
        )

    def _node(self, level: int, index: int) -> bytes:
        return self._rows[level][index * HASH_SIZE : (index + 1) * HASH_SIZE]


def index_as_of(store: LogStore, lasts: dict[str, Last], size: int, then: int) -> CaseIndex:
    """
    The index of the cases at an earlier size of the log.

    `lasts` is the newest record of each case at the size `then`, and is set back.
    """
    moved = dict.fromkeys(Header.parse(data).case for _, data in store.entries(size, then))
    for case in moved:
        before = store.case(case, size)
        if before:
            data = before[-1][1]
            header = Header.parse(data)
            closed = header.kind == CASE_CLOSED
            lasts[case] = Last(header.position, leaf_hash(data), header.at, closed)
        else:
            lasts.pop(case, None)
    return CaseIndex(lasts)


def look_up(case: str, places: Sequence[Place], count: int, root: bytes) -> Place | None:
    """
    Where this case stands in the index with this count and root; None: it is proved to be absent.

    1. Every place is in the index: its proof leads to the root.
    2. One place, of this case: there it is.
    3. Two places side by side, before and after it; or the first alone, after it; or the last
       alone, before it; or no place in an index of nothing: it is not there.

    Raises `ProofInvalid` for everything else.
    """
    for place in places:
        leaf = leaf_hash(encode(place.case, place.position, place.leaf))
        merkle.verify_inclusion(leaf, place.index, count, place.proof, root)
    if not places:
        if count or root != merkle.EMPTY_ROOT:
            raise ProofInvalid("an index of cases that is not empty needs a place to be shown")
        return None
    if len(places) == 1 and places[0].case == case:
        return places[0]
    if not _is_beside(case, places, count):
        raise ProofInvalid(f"the places shown do not say whether there is a case `{case}`")
    return None


def _is_beside(case: str, places: Sequence[Place], count: int) -> bool:
    """Rule 3: nothing can stand between these places and where the case would be."""
    first, last = places[0], places[-1]
    if len(places) == 1:
        return (first.index == 0 and case < first.case) or (
            last.index == count - 1 and last.case < case
        )
    return len(places) == 2 and first.index + 1 == last.index and first.case < case < last.case  # noqa: PLR2004 (two neighbours)


def encode(case: str, position: int, leaf: bytes) -> bytes:
    """The canonical JSON of a leaf: a case id holds nothing that would have to be escaped."""
    return f'["{case}",{position},"{leaf.hex()}"]'.encode()


def _leaf(case: str, last: Last) -> bytes:
    return leaf_hash(encode(case, last.position, last.leaf))


def _sorted(cases: Iterable[str]) -> list[str]:
    waiting = iter(cases)
    runs = iter(lambda: sorted(islice(waiting, _RUN)), [])
    return list(merge(*runs))


def _bisect(cases: Sequence[str], case: str) -> int:
    low, high = 0, len(cases)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if cases[middle] < case else (low, middle)
    return low


def _joined(hashes: Iterable[bytes]) -> bytes:
    return b"".join(hashes)


def _parents(row: bytes) -> Iterator[bytes]:
    """Of complete pairs only: an odd last hash is no complete subtree of the next level."""
    hashes = (row[at : at + HASH_SIZE] for at in range(0, len(row), HASH_SIZE))
    return (node_hash(left, right) for left, right in zip(hashes, hashes, strict=False))
