"""
What was not over when a period began, and how a reader sees that none of it was left out.

A report is over one period, and the excerpt shows all of that. Of before it shows each case that
was open then, from its first record on. Once a day the log itself says which cases are open: with
`evidence:measured`, as the digest of a document that anybody makes again from the records that are
shown. Whoever cuts an excerpt later can leave none of them out.

Each report holds every such statement of its stretch against the records, so that the reports of
one year show that the statement with which the next one begins was true.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Final, TypeAlias

from muniment.access import records
from muniment.evidence import canonical
from muniment.evidence.index import CASE_CLOSED
from muniment.evidence.record import Header

FORMAT: Final = "muniment-open-cases/v1"
#: begin the cases that are carried over
OPENING: Final = frozenset(
    each.KIND
    for each in (
        records.AccessRequested,
        records.CampaignOpened,
        records.FindingRaised,
        records.ReviewOpened,
    )
)
#: of these the newest is carried over, as what it says holds until the next
STANDING: Final = frozenset((records.LogWitnessed.KIND, records.LogIndexed.KIND))
#: that a source is silent is carried over until the next of its records of this kind
SILENT: Final = records.EventsMissed.KIND
STATEMENT: Final = records.EvidenceMeasured.KIND
#: entries between the size that a statement is about and itself; with more it is none that holds
MOST_BETWEEN: Final = 1 << 15


#: where a case stands: position and log index of its newest record
Newest: TypeAlias = tuple[int, int]


@dataclass(kw_only=True, slots=True)
class OpenCases:
    """A fold over headers in the order of the log, some of which may be missing."""

    cases: dict[str, Newest] = field(default_factory=dict)
    #: how far the log was seen
    size: int = 0
    #: the first statement about the last stretch of entries in a row that was found true: when it
    #: was made. One before a gap says nothing of what the gap hides
    stated: datetime | None = None
    #: statements that were found untrue, by their record
    untrue: list[str] = field(default_factory=list)
    #: what changed last: log index, case, and where it had stood
    _moved: deque[tuple[int, str, Newest | None]] = field(
        default_factory=lambda: deque(maxlen=MOST_BETWEEN)
    )
    #: the last stretch of entries in a row begins here
    _whole_from: int = 0

    def take(self, index: int, header: Header) -> None:
        """The next record that is shown."""
        if index != self.size:
            self._whole_from, self.stated = index, None
        self.size, kind = index + 1, header.kind
        if header.case in self.cases:
            self._go_on(index, header)
        elif kind in OPENING and header.position == 0:
            self._move(index, header.case, (0, index))
        elif kind in STANDING:
            self._move(index, kind, (header.position, index))
        elif kind == SILENT:
            self._hear(index, header)
        elif kind == STATEMENT:
            self._hold_against(index, header)

    def _hear(self, index: int, header: Header) -> None:
        record, source = records.parse(header), f"{header.kind} {header.case}"
        if isinstance(record, records.EventsMissed) and record.why == "silence":
            self._move(index, source, (header.position, index))
        elif source in self.cases:
            self._move(index, source, None)

    def _go_on(self, index: int, header: Header) -> None:
        due = self.cases[header.case][0] + 1
        # what is shown of it with a hole is as good as not shown: no statement fits it then
        closed = header.kind == CASE_CLOSED or header.position != due
        self._move(index, header.case, None if closed else (due, index))

    def _move(self, index: int, case: str, to: Newest | None) -> None:
        self._moved.append((index, case, self.cases.get(case)))
        if to is None:
            del self.cases[case]
        else:
            self.cases[case] = to

    def document(self) -> bytes:
        """What is stated of the log as far as it was seen."""
        return _document(self.size, self.cases)

    def _document_at(self, size: int) -> bytes:
        """The same of an earlier size, at most `MOST_BETWEEN` ago."""
        cases = dict(self.cases)
        for index, case, before in reversed(self._moved):
            if index < size:
                break
            if before is None:
                cases.pop(case, None)
            else:
                cases[case] = before
        return _document(size, cases)

    def _hold_against(self, index: int, header: Header) -> None:
        size = stated_size(header)
        if size is None:
            return
        if not 0 <= index - size <= MOST_BETWEEN:
            self.untrue.append(header.id)  # or nobody could ever hold it against anything
        elif size < self._whole_from:
            return  # what it is about is not shown: it is held in the report of the time before
        elif sha256(self._document_at(size)).digest() in header.documents:
            self.stated = self.stated or header.at
        else:
            self.untrue.append(header.id)


def stated_size(header: Header) -> int | None:
    """Of which size of the log this record says which cases are open; None if of none."""
    record = records.parse(header) if header.kind == STATEMENT else None
    # one of its documents is what its figures mean; without another it states nothing
    if not isinstance(record, records.EvidenceMeasured) or len(header.documents) == 1:
        return None
    return record.size


def _document(size: int, cases: Mapping[str, Newest]) -> bytes:
    """Of many cases the digest alone: they stand in the log."""
    lines = (f'["{case}",{at[0]},{at[1]}]\n' for case, at in sorted(cases.items()))
    hashed = sha256()
    for line in lines:
        hashed.update(line.encode())
    return canonical.encode(
        {"cases": len(cases), "digest": hashed.hexdigest(), "format": FORMAT, "size": size}
    )


# --- cutting ----------------------------------------------------------------------------------

#: a case, the position of a record in it, and its kind: side by side in canonical JSON
_PLACE: Final = re.compile(rb'"id":"([^"/]+)/(\d+)","kind":"([^"]+)"')


@dataclass(kw_only=True, slots=True)
class CarriedOver:
    """
    Picks of all that comes before a period what an excerpt shows: hand each entry to `take`.

    Nothing is parsed as long as it may be dropped again: whoever reads the excerpt does that.
    """

    #: kinds of which every record is shown, whatever came of it
    always: frozenset[str]
    _kept: list[tuple[int, bytes]] = field(default_factory=list)
    _open: dict[bytes, list[tuple[int, bytes]]] = field(default_factory=dict)

    def take(self, index: int, data: bytes) -> None:
        # a body may say the same within it, but comes before
        case, position, name = (_PLACE.findall(data) or [(b"", b"", b"")])[-1]
        kind = name.decode("ascii", "replace")
        if index == 0 or kind in self.always:
            self._kept.append((index, data))
        elif kind in OPENING and position == b"0":
            self._open[case] = [(index, data)]
        elif case in self._open:
            if kind == CASE_CLOSED:
                del self._open[case]
            else:
                self._open[case].append((index, data))

    def picked(self) -> Iterator[tuple[int, bytes]]:
        """In the order of the log."""
        yield from sorted((*self._kept, *(each for held in self._open.values() for each in held)))
