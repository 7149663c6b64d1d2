"""
Where somebody is still looking: an open review, finding or ordered removal keeps what it is about.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

from muniment.access import records
from muniment.evidence.record import Header

#: an open case of these that is about another keeps it
LOOKING: Final = frozenset(
    (records.ReviewOpened.KIND, records.FindingRaised.KIND, records.RemovalOrdered.KIND)
)


def moves(header: Header) -> bool:
    """Whether somebody looks at something from this record on that he did not look at before."""
    seen = header.kind == records.FindingSeen.KIND and bool(header.body["about"])
    return seen or header.kind in LOOKING


@dataclass
class Looking:
    """Advanced by one header after the other, in the order of the log."""

    #: by the case that looks: the cases that it looks at
    _open: dict[str, set[str]] = field(default_factory=dict)
    #: by the case that is looked at: those that do
    _by: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def take(self, header: Header) -> None:
        case = header.case
        if header.kind in LOOKING:
            self._open.setdefault(case, set())
        if case not in self._open:
            return
        if header.kind == records.CaseClosed.KIND:
            self._close(case)
            return
        about = header.body.get("about", ())
        for each in (about,) if isinstance(about, str) else about:
            named = each.partition("/")[0]
            if named != case:
                self._open[case].add(named)
                self._by[named].add(case)

    def at(self, case: str) -> bool:
        """Whether anybody is looking at this case."""
        return bool(self._by.get(case))

    def who(self, case: str) -> frozenset[str]:
        """The open cases that look at this one."""
        return frozenset(self._by.get(case, ()))

    def _close(self, case: str) -> None:
        for named in self._open.pop(case):
            self._by[named].discard(case)
            if not self._by[named]:
                del self._by[named]
