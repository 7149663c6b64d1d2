"""
The life of a finding: a fold over its records, by one table of allowed transitions.

    open ─→ acknowledged ─→ assigned ─→ closed

Each step may be left out. Until it is closed the same may be seen again, and be about more cases
and more persons; what recurs afterwards is another finding. It is answered only by a human whom it
is not about.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from muniment.access import records
from muniment.access.case import replace
from muniment.access.folding import move, require
from muniment.access.records import Record
from muniment.errors import FoldInvalid
from muniment.evidence.record import Header

#: how a finding may be closed: see `records.FindingClosed`
RESOLUTIONS: Final = ("remedied", "explained", "adopted", "false-alarm")
#: states of a finding that is not closed
OPEN: Final = ("open", "acknowledged", "assigned")
#: nobody answers for something, or silences it, for longer without another look
LONGEST: Final = timedelta(days=367)
_SEVERITIES: Final = ("info", "low", "medium", "high", "critical")
_NATURES: Final = ("deterministic", "baseline")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a finding is, at one of its records."""

    id: str = ""
    #: one of `OPEN`, or `closed`
    state: str = ""
    length: int = 0
    head: bytes = b""
    opened_at: datetime | None = None
    changed_at: datetime | None = None
    record: records.FindingRaised | None = None
    #: how often it was seen, as far as that is recorded
    count: int = 0
    #: the first and the last time that it was seen, whichever came to be known first
    first: datetime | None = None
    last: datetime | None = None
    #: when it was last recorded that it was seen
    noted_at: datetime | None = None
    #: every access case that it is about, and those of them whose access ends for it
    about: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    #: person ids: none of these may answer it
    subjects: tuple[str, ...] = ()
    #: principal id of who is to deal with it; empty while nobody is
    assigned: str = ""
    answer: records.FindingClosed | None = None
    closed: bool = False

    @property
    def raised(self) -> records.FindingRaised:
        if self.record is None:
            raise FoldInvalid("a finding that nobody raised")
        return self.record

    def may_be_answered_by(self, actor: records.Actor) -> bool:
        """By a human who is not what it is about; that policy lets him is asked elsewhere."""
        return actor.type == "human" and not set(actor.persons) & set(self.subjects)

    def mutes(self, at: datetime) -> bool:
        """Whether it was closed in a way by which the same raises no new finding yet."""
        until = self.answer.until if self.answer is not None else None
        return until is not None and at < until


def fold(entries: Iterable[tuple[Header, bytes]]) -> Finding:
    """The state of a finding from its records (header and leaf hash), gap-free from position 0."""
    finding = Finding()
    for header, leaf in entries:
        finding = advance(finding, header, leaf)
    return finding


def advance(finding: Finding, header: Header, leaf: bytes) -> Finding:
    """One record further. Raises `FoldInvalid` if the table or an invariant forbids it."""
    record = records.parse(header)
    moves = move(TRANSITIONS, finding, header, "finding")
    return replace(
        moves(finding, header, record),
        id=header.case,
        length=header.position + 1,
        head=leaf,
        opened_at=finding.opened_at or header.at,
        changed_at=header.at,
    )


# --- one function for each kind ---------------------------------------------------------------


def _raised(finding: Finding, header: Header, record: records.FindingRaised) -> Finding:
    require(record.severity in _SEVERITIES, f"`{record.severity}` as a severity")
    require(record.nature in _NATURES, f"`{record.nature}` as a nature")
    require(record.definition in header.documents, "a finding without its rule")
    return _seen_so(replace(finding, state="open", record=record), header, record, 1)


def _seen(finding: Finding, header: Header, record: records.FindingSeen) -> Finding:
    require(record.count >= 0, "seen less often than never")
    named = {*finding.about, *finding.subjects}
    require(not named & {*record.about, *record.subjects}, "somebody or something named twice")
    return _seen_so(finding, header, record, record.count)


def _seen_so(
    finding: Finding,
    header: Header,
    record: records.FindingRaised | records.FindingSeen,
    count: int,
) -> Finding:
    about = (*finding.about, *record.about)
    require(len({*about}) == len(about), "a case named twice")
    require({*record.ends} <= {*about} - {*finding.ends}, "an end that is not for it to bring")
    require(bool(record.ends) != bool(record.why), "an end without a reason, or no end without")
    return replace(
        finding,
        count=finding.count + count,
        first=min(finding.first or record.seen, record.seen),
        last=max(finding.last or record.seen, record.seen),
        noted_at=header.at,
        about=about,
        ends=(*finding.ends, *record.ends),
        subjects=(*finding.subjects, *record.subjects),
    )


def _acknowledged(finding: Finding, _header: Header, record: Record) -> Finding:
    _check_answerer(finding, record)
    return replace(finding, state="acknowledged")


def _assigned(finding: Finding, _header: Header, record: records.FindingAssigned) -> Finding:
    _check_answerer(finding, record)
    require(bool(record.to) and record.to != finding.assigned, "assigned to nobody else")
    return replace(finding, state="assigned", assigned=record.to)


def _answered(finding: Finding, header: Header, record: records.FindingClosed) -> Finding:
    _check_answerer(finding, record)
    require(record.person in record.actor.persons, "closed in the name of somebody else")
    require(record.resolution in RESOLUTIONS, f"`{record.resolution}` as a resolution")
    require((record.resolution == "adopted") == bool(record.owner), "adopted means by somebody")
    if record.until is not None:
        require(record.resolution != "remedied", "what was remedied is not to come again")
        require(header.at < record.until <= header.at + LONGEST, "silenced for no possible time")
    return replace(finding, state="closed", answer=record)


def _closed(finding: Finding, header: Header, record: records.CaseClosed) -> Finding:
    require(record.records == header.position + 1, f"`{header.id}` miscounts its finding")
    return replace(finding, closed=True)


def _check_answerer(finding: Finding, record: Record) -> None:
    require(
        finding.may_be_answered_by(record.actor),
        "a finding is answered by a human whom it is not about",
    )


_Move = Callable[[Finding, Header, Any], Finding]
#: the only steps there are: (state, kind of record) to what follows from it
TRANSITIONS: Final[dict[tuple[str, str], _Move]] = {
    ("", "finding:raised"): _raised,
    ("open", "finding:acknowledged"): _acknowledged,
    **{(state, "finding:seen"): _seen for state in OPEN},
    **{(state, "finding:assigned"): _assigned for state in OPEN},
    **{(state, "finding:closed"): _answered for state in OPEN},
    ("closed", "case:closed"): _closed,
}
