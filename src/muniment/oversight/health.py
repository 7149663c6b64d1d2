"""
What would not stand up of the evidence of a grant: found in its line, and in what is known around.

`Survey` reads the log once, in its order, from headers alone. `weaknesses` judges one line by it
and by what is handed in: which documents are gone, how far witnesses, time stamps and the index
reach, whose sealed content is lost, where rules of retention contradict each other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from muniment.access import records
from muniment.evidence import moment
from muniment.evidence.record import Header
from muniment.oversight.carried import OpenCases
from muniment.oversight.population import Approved, Line, Population, Reviewed
from muniment.oversight.weakness import KINDS, Weakness

#: seen gone so long after it had to end is late; what is not seen gone by then is not verified
LATE: Final = timedelta(minutes=5)
#: an outcome that was recorded so long after it happened had to wait for the log
WAITED: Final = timedelta(minutes=1)
#: how an approver shows that it is he, and not his session
_SIGNED: Final = frozenset({"signature", "step-up"})
#: what is missed of a source; that it is heard again ends a silence
_SILENCE, _RESUMED = "silence", "resumed"


# --- what the log says ------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Speaking:
    """A source of events, as far as the log has it."""

    source: str
    #: what it speaks of; empty where its events say so themselves
    resource: str
    since: datetime
    #: when something came from it the last time
    last: datetime
    #: what was missed: from when until when, and why; the last may be open
    gaps: list[tuple[datetime, datetime | None, str]] = field(default_factory=list)

    def missed_within(self, start: datetime, end: datetime) -> str:
        """Why something is missing of this time; empty where nothing is."""
        for since, until, why in self.gaps:
            if since <= end and (until is None or until >= start):
                return why
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedSection:
    """A sealed section that somebody had erased."""

    record: str
    section: str
    rule: str
    #: log index of the record that says so
    index: int


@dataclass(kw_only=True)
class Survey:
    """Sees each record of the log once, in its order."""

    population: Population = field(default_factory=Population)
    open: OpenCases = field(default_factory=OpenCases)
    sources: dict[str, Speaking] = field(default_factory=dict)
    #: source and resource: those of which a session was observed
    spoken: set[tuple[str, str]] = field(default_factory=set)
    #: by case
    erased: dict[str, list[ErasedSection]] = field(default_factory=dict)
    #: by case: the longest that one of its outcomes had to wait for the log
    waited: dict[str, timedelta] = field(default_factory=dict)
    #: log index, and when somebody vouched for a clock that had moved
    steps: list[tuple[int, datetime]] = field(default_factory=list)
    #: by case: its newest record that has sealed content
    sealed: dict[str, int] = field(default_factory=dict)
    #: measurements, the oldest first
    measured: list[tuple[datetime, records.EvidenceMeasured]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How far the log was seen."""
        return self.population.size

    def take(self, index: int, header: Header) -> None:
        """The next record of the log."""
        self.population.take(index, header)
        self.open.take(index, header)
        if header.case in self.population.lines:
            if header.sections:
                self.sealed[header.case] = index
            if header.observed is not None:
                before = self.waited.get(header.case, timedelta(0))
                self.waited[header.case] = max(before, header.at - header.observed)
        elif (tell := _ELSEWHERE.get(header.kind)) is not None:
            tell(self, header, records.parse(header))

    @property
    def index(self) -> int:
        """Of the record that is being taken in."""
        return self.population.size - 1


def _heard(survey: Survey, header: Header, record: Any) -> None:
    known = survey.sources.get(record.source)
    if known is None:
        survey.sources[record.source] = known = Speaking(
            source=record.source, resource=record.resource, since=header.at, last=header.at
        )
    known.resource = record.resource
    if not isinstance(record, records.EventsMissed):
        known.last = max(known.last, header.at)
        return
    if record.why == _RESUMED:
        if known.gaps and known.gaps[-1][2] == _SILENCE:
            since, _, why = known.gaps[-1]
            known.gaps[-1] = (since, header.at, why)
        return
    until = None if record.why == _SILENCE else header.at
    known.gaps.append((record.since, until, record.why))


def _observed(survey: Survey, _header: Header, record: records.SessionObserved) -> None:
    survey.spoken.add((record.source, record.resource))


def _erased(survey: Survey, _header: Header, record: records.RecordErased) -> None:
    gone = ErasedSection(
        record=record.record, section=record.section, rule=record.rule, index=survey.index
    )
    survey.erased.setdefault(record.record.partition("/")[0], []).append(gone)


def _stepped(survey: Survey, header: Header, _record: records.ClockStepped) -> None:
    survey.steps.append((survey.index, header.at))


def _measured(survey: Survey, header: Header, record: records.EvidenceMeasured) -> None:
    survey.measured.append((header.at, record))


_ELSEWHERE: Final[Mapping[str, Callable[[Survey, Header, Any], None]]] = {
    records.EventsReceived.KIND: _heard,
    records.EventsMissed.KIND: _heard,
    records.SessionObserved.KIND: _observed,
    records.RecordErased.KIND: _erased,
    records.ClockStepped.KIND: _stepped,
    records.EvidenceMeasured.KIND: _measured,
}


# --- what is handed in ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How far something beside the log covers it."""

    #: the entries before this one are covered
    size: int
    #: the entries before this one were there long enough to be
    settled: int

    def misses(self, line: Line) -> bool:
        return self.size <= line.last < self.settled


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """Entries that were signed by a key which others may have had."""

    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known around the grants, at one moment."""

    now: datetime
    #: digests of policy bundles, of which a file may be missing, and of role definitions
    missing: frozenset[bytes] = frozenset()
    #: None: there are no witnesses, no authorities
    witnessed: Reach | None = None
    stamped: Reach | None = None
    indexed: Reach | None = None
    doubts: tuple[Doubt, ...] = ()
    #: cases whose sealed content is not there, though nobody erased it
    lost: frozenset[str] = frozenset()
    #: by case: what rules of retention say against each other
    conflicts: Mapping[str, str] = field(default_factory=dict)
    #: sources whose silence nobody would record
    unwatched: frozenset[str] = frozenset()
    #: reviews of many that are not closed, though they should be
    overdue: frozenset[str] = frozenset()


# --- judging ----------------------------------------------------------------------------------


def weaknesses(line: Line, survey: Survey, known: Known) -> list[Weakness]:
    """All of one grant; none of a case under which nothing was ever authorised."""
    if line.authorized is None:
        return []
    return [
        Weakness(kind=kind, case=line.case, says=says)
        for kind, find in _FIND.items()
        if (says := find(line, survey, known))
    ]


def of_the_log(known: Known) -> list[Weakness]:
    """What is weak about the log itself, whatever stands in it."""
    found = []
    if known.overdue:
        found.append("campaign-overdue")
    if known.witnessed is None:
        found.append("no-witnesses")
    if known.stamped is None:
        found.append("no-time-stamps")
    return [Weakness(kind=kind, case="", says=KINDS[kind].title) for kind in found]


_Find = Callable[[Line, Survey, Known], str]


def _removal_unverified(line: Line, _survey: Survey, known: Known) -> str:
    had_to_end = line.end.at if line.end is not None else line.until
    if line.gone is not None or line.closed is not None or had_to_end is None:
        return ""
    if line.unseen is not None:
        return f"{line.unseen_why} since {moment.text(line.unseen)}"
    if had_to_end + LATE < known.now:
        return f"had to be gone by {moment.text(had_to_end)}"
    return ""


def _removal_late(line: Line, _survey: Survey, _known: Known) -> str:
    if line.lag_ms is None or line.lag_ms <= LATE / timedelta(milliseconds=1):
        return ""
    return f"seen gone {line.lag_ms // 1000} seconds after its end"


def _lost(line: Line, _survey: Survey, known: Known) -> str:
    return "its sealed content is not in the database" if line.case in known.lost else ""


def _erased_early(line: Line, survey: Survey, _known: Known) -> str:
    for gone in survey.erased.get(line.case, ()):
        if line.closed is None or gone.index < line.last:
            return f"`{gone.section}` of {gone.record} under rule `{gone.rule}`, while it was open"
    return ""


def _doubtful(line: Line, _survey: Survey, known: Known) -> str:
    for doubt in known.doubts:
        if line.first < doubt.stop and doubt.start <= line.last:
            return f"entries {doubt.start} to {doubt.stop} were signed by a key that was taken"
    return ""


def _policy_gone(line: Line, _survey: Survey, known: Known) -> str:
    return f"the bundle {line.bundle.hex()[:16]}" if line.bundle in known.missing else ""


def _definition_gone(line: Line, _survey: Survey, known: Known) -> str:
    gone = {line.definition, line.issued_definition} & known.missing
    return f"the definition {min(gone).hex()[:16]}" if gone else ""


def _reviews(line: Line, survey: Survey) -> Iterator[Reviewed]:
    for id_ in line.reviews:
        yield survey.population.reviews[id_]


def _overdue_review(line: Line, survey: Survey, known: Known) -> str:
    for each in _reviews(line, survey):
        if each.answered is None and each.due < known.now:
            return f"{each.id} was due by {moment.text(each.due)}"
    return ""


def _review_late(line: Line, survey: Survey, _known: Known) -> str:
    for each in _reviews(line, survey):
        if each.answered is not None and each.answered > each.due:
            return f"{each.id} was due by {moment.text(each.due)}"
    return ""


def _review_unanswered(line: Line, survey: Survey, known: Known) -> str:
    for each in _reviews(line, survey):
        if each.answered is None and each.due >= known.now:
            return f"{each.id} is due by {moment.text(each.due)}"
    return ""


def _token_approval(line: Line, _survey: Survey, _known: Known) -> str:
    return _approved_by(line.approved, lambda assurance: assurance == "token")


def _unsigned_approval(line: Line, _survey: Survey, _known: Known) -> str:
    others = _SIGNED | {"token"}
    return _approved_by(line.approved, lambda assurance: assurance not in others)


def _approved_by(approved: Iterable[Approved], is_weak: Callable[[str], bool]) -> str:
    found = [each.approver for each in approved if is_weak(each.assurance)]
    return f"by {', '.join(dict.fromkeys(found))}" if found else ""


def _static_token(line: Line, _survey: Survey, _known: Known) -> str:
    return f"by {line.requester}" if line.assurance == "token" else ""


def _uncovered(line: Line, survey: Survey, known: Known) -> str:
    """
    Of several sources one that saw all of it will do.

    Where nobody would record its silence, it has to have spoken since: it may have died before.
    """
    if line.issued is None:
        return ""
    start = line.starts or line.issued
    end = line.end.at if line.end is not None else min(known.now, line.until or known.now)
    spoken = line.end.at if line.end is not None else start
    reasons = []
    for source in survey.sources.values():
        if not _speaks_of(source, line.resource, survey):
            continue
        if source.since > start:
            reasons.append(f"`{source.source}` speaks only since {moment.text(source.since)}")
        elif why := source.missed_within(start, end):
            reasons.append(f"of `{source.source}` something is missing ({why})")
        elif source.source in known.unwatched and source.last < spoken:
            reasons.append(
                f"nothing came from `{source.source}` since {moment.text(source.last)}, "
                "and it has no `heartbeat`"
            )
        else:
            return ""
    return "; ".join(reasons[:3]) or f"no source speaks of `{line.resource}`"


def _speaks_of(source: Speaking, resource: str, survey: Survey) -> bool:
    """One whose events name their resource speaks of those of which it named a session."""
    return source.resource == resource or (
        not source.resource and (source.source, resource) in survey.spoken
    )


def _weak_link(line: Line, _survey: Survey, _known: Known) -> str:
    if not line.sessions or line.weak_sessions < line.sessions:
        return ""
    return f"{line.sessions} sessions, none linked by a name that its holder could not choose"


def _stepped_within(line: Line, survey: Survey, _known: Known) -> str:
    for index, at in survey.steps:
        if line.first < index and (line.closed is None or index < line.last):
            return f"at {moment.text(at)}"
    return ""


def _conflict(line: Line, _survey: Survey, known: Known) -> str:
    return known.conflicts.get(line.case, "")


def _unwitnessed(line: Line, _survey: Survey, known: Known) -> str:
    return _beyond(line, known.witnessed)


def _unstamped(line: Line, _survey: Survey, known: Known) -> str:
    return _beyond(line, known.stamped)


def _not_indexed(line: Line, _survey: Survey, known: Known) -> str:
    return _beyond(line, known.indexed)


def _beyond(line: Line, reach: Reach | None) -> str:
    if reach is None or not reach.misses(line):
        return ""
    covered = f"the entries before {reach.size} are" if reach.size else "nothing is"
    return f"{covered} covered; its newest is {line.last}"


def _late_outcome(line: Line, survey: Survey, _known: Known) -> str:
    waited = survey.waited.get(line.case, timedelta(0))
    return f"it waited {int(waited.total_seconds())} seconds" if waited > WAITED else ""


#: every kind that is about a grant, worst first
_FIND: Final[Mapping[str, _Find]] = {
    "removal-unverified": _removal_unverified,
    "section-lost": _lost,
    "key-compromised-since": _doubtful,
    "policy-text-missing": _policy_gone,
    "overdue-review": _overdue_review,
    "section-erased-early": _erased_early,
    "definition-missing": _definition_gone,
    "token-approval": _token_approval,
    "uncovered-source": _uncovered,
    "weak-link": _weak_link,
    "clock-stepped-within": _stepped_within,
    "retention-conflict": _conflict,
    "unwitnessed": _unwitnessed,
    "removal-late": _removal_late,
    "review-late": _review_late,
    "review-unanswered": _review_unanswered,
    "unsigned-approval": _unsigned_approval,
    "static-token-request": _static_token,
    "late-outcome": _late_outcome,
    "unstamped": _unstamped,
    "not-indexed": _not_indexed,
}
