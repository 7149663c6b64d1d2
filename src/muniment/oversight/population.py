"""
Every access case of a log, a line each: what reviews, reports and evidence health are counted over.

A line is made from headers alone, in the order of the log, each seen once. It holds what a sample
of cases is judged by, and points back to the records by case id; it is no fold and permits nothing.
"""

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from muniment.access import records
from muniment.access.records import (
    AccessLapsed,
    AccessRequested,
    Actor,
    ApprovalGiven,
    ApprovalRefused,
    CaseClosed,
    CredentialIssued,
    DecisionEvaluated,
    EvidenceExported,
    FindingClosed,
    FindingRaised,
    FindingSeen,
    GrantAuthorized,
    GrantExtended,
    RemovalUnverified,
    RemovalVerified,
    ReviewAnswered,
    ReviewOpened,
    SessionObserved,
)
from muniment.evidence.record import Header
from muniment.oversight.packed_lines import Lines
from muniment.oversight.population_line import STATES, Approved, Ended, Line

__all__ = ["STATES", "Approved", "Ended", "Found", "Line", "Population", "Reviewed"]


@dataclass(slots=True, kw_only=True)
class Reviewed:
    """A review of broken glass."""

    id: str
    about: str
    opened: datetime
    due: datetime
    #: nobody of these may review
    persons: tuple[str, ...]
    answered: datetime | None = None
    person: str = ""
    verdict: str = ""


@dataclass(slots=True, kw_only=True)
class Found:
    """A finding."""

    id: str
    rule: str
    severity: str
    nature: str
    resource: str
    raised: datetime
    about: tuple[str, ...]
    subjects: tuple[str, ...]
    closed: datetime | None = None
    closed_by: str = ""
    resolution: str = ""


@dataclass(kw_only=True)
class Population:
    """Lines by case id, with the reviews and findings that speak of them."""

    lines: MutableMapping[str, Line] = field(default_factory=Lines)
    reviews: dict[str, Reviewed] = field(default_factory=dict)
    findings: dict[str, Found] = field(default_factory=dict)
    #: how far the log was seen
    size: int = 0

    def take(self, index: int, header: Header) -> None:
        """The next record of the log. Raises `FoldInvalid` for one that nobody knows."""
        self.size = index + 1
        line = self.lines.get(header.case)
        if line is not None:
            line.last, line.records = index, header.position + 1
            if (of_case := _OF_CASE.get(header.kind)) is not None:
                of_case(line, header, records.parse(header))
            if line.closed is not None:
                self.lines[header.case] = line
        elif header.kind == AccessRequested.KIND:
            self.lines[header.case] = _requested(index, header, records.parse(header))
        elif (elsewhere := _ELSEWHERE.get(header.kind)) is not None:
            elsewhere(self, header, records.parse(header))


# --- asked and decided ------------------------------------------------------------------------


def _requested(index: int, header: Header, record: Any) -> Line:
    actor: Actor = record.actor
    return Line(
        case=header.case,
        first=index,
        last=index,
        records=1,
        requester=record.requester,
        kind=actor.type,
        sponsor=actor.sponsor,
        persons=actor.persons,
        assurance=actor.assurance,
        mfa=_mfa(actor),
        resource=record.resource,
        role=record.role,
        environment=record.environment,
        definition=record.definition,
        seconds=record.seconds,
        emergency=record.emergency,
        requested=header.at,
    )


def _decided(line: Line, _header: Header, record: DecisionEvaluated) -> None:
    if record.question != "request":
        return
    line.outcome, line.rules, line.bundle = record.outcome, record.rules, record.bundle
    line.required, line.requires = record.approvals, record.requires
    line.cap = record.max_seconds
    if record.outcome == "deny":
        line.state = "denied"


def _given(line: Line, header: Header, record: ApprovalGiven) -> None:
    given = Approved(
        approver=record.approver,
        person=record.person,
        at=header.at,
        assurance=record.actor.assurance,
        mfa=_mfa(record.actor),
    )
    line.approved = (*line.approved, given)


def _refused(line: Line, _header: Header, record: ApprovalRefused) -> None:
    line.refused = (*line.refused, record.person)
    line.state = "refused" if line.issued is None else line.state


def _over(line: Line, header: Header, _record: Any) -> None:
    if line.issued is None:
        line.state = header.kind.partition(":")[2]


# --- issued and ended -------------------------------------------------------------------------


def _authorized(line: Line, header: Header, record: GrantAuthorized) -> None:
    if line.end is not None:  # it was undone, and is picked up anew: what was seen gone was that
        line.starts = line.end = line.gone = line.lag_ms = line.unseen = None
        line.unseen_why = ""
    line.authorized = line.authorized or header.at
    line.starts, line.until = line.starts or record.starts, record.until
    line.satisfied, line.connector = record.satisfied, record.connector
    line.issued_definition, line.state = record.definition, "live"


def _issued(line: Line, header: Header, _record: CredentialIssued) -> None:
    line.issued = line.issued or header.at
    line.pickups += 1


def _extended(line: Line, _header: Header, record: GrantExtended) -> None:
    line.until, line.satisfied = record.until, record.satisfied
    line.extensions += 1


def _ended(line: Line, header: Header, record: Any) -> None:
    line.end = Ended(
        how=header.kind.partition(":")[2],
        at=header.at,
        by=record.actor.principal,
        reason=getattr(record, "reason", ""),
    )
    line.state = "ended"


def _gone(line: Line, header: Header, record: RemovalVerified) -> None:
    line.gone, line.lag_ms = header.at, record.lag_ms


def _unseen(line: Line, header: Header, record: RemovalUnverified) -> None:
    line.unseen = line.unseen or header.at
    line.unseen_count += 1
    line.unseen_why, line.state = record.reason, "unverified"


def _closed(line: Line, header: Header, _record: CaseClosed) -> None:
    line.closed = header.at
    line.state = "closed" if line.authorized is not None else line.state


# --- what is said of a case elsewhere ---------------------------------------------------------


def _review(population: Population, header: Header, record: ReviewOpened) -> None:
    population.reviews[header.case] = Reviewed(
        id=header.case,
        about=record.about,
        opened=header.at,
        due=record.due,
        persons=record.persons,
    )
    if (line := population.lines.get(record.about)) is not None:
        line.reviews = (*line.reviews, header.case)
        population.lines[record.about] = line


def _answered(population: Population, header: Header, record: ReviewAnswered) -> None:
    review = population.reviews.get(header.case)
    if review is not None:
        review.answered = header.at
        review.person, review.verdict = record.person, record.verdict


def _observed(population: Population, _header: Header, record: SessionObserved) -> None:
    line = population.lines.get(record.about)
    if line is not None:
        line.sessions += 1
        line.weak_sessions += record.strength == "weak"
        line.odd_sessions += record.standing != "within"
        line.actions += record.actions
        used = record.closed or record.opened
        if used is not None and (line.last_used is None or used > line.last_used):
            line.last_used = used
        population.lines[record.about] = line


def _raised(population: Population, header: Header, record: FindingRaised) -> None:
    population.findings[header.case] = found = Found(
        id=header.case,
        rule=record.rule,
        severity=record.severity,
        nature=record.nature,
        resource=record.resource,
        raised=header.at,
        about=(),
        subjects=(),
    )
    _concerns(population, found, record)


def _seen(population: Population, header: Header, record: FindingSeen) -> None:
    if (found := population.findings.get(header.case)) is not None:
        _concerns(population, found, record)


def _concerns(population: Population, found: Found, record: FindingRaised | FindingSeen) -> None:
    found.about = (*found.about, *record.about)
    found.subjects = (*found.subjects, *record.subjects)
    for case in record.about:
        line = population.lines.get(case)
        if line is not None and found.id not in line.findings:
            line.findings = (*line.findings, found.id)
            population.lines[case] = line


def _settled(population: Population, header: Header, record: FindingClosed) -> None:
    if (found := population.findings.get(header.case)) is not None:
        found.closed, found.closed_by = header.at, record.person
        found.resolution = record.resolution


def _exported(population: Population, _header: Header, record: EvidenceExported) -> None:
    if (line := population.lines.get(record.about)) is not None:
        line.exports += 1
        population.lines[record.about] = line


def _mfa(actor: Actor) -> str:
    return "" if actor.sign_in is None else actor.sign_in.mfa


_OF_CASE: Final[Mapping[str, Callable[[Line, Header, Any], None]]] = {
    DecisionEvaluated.KIND: _decided,
    ApprovalGiven.KIND: _given,
    ApprovalRefused.KIND: _refused,
    records.AccessWithdrawn.KIND: _over,
    AccessLapsed.KIND: _over,
    GrantAuthorized.KIND: _authorized,
    CredentialIssued.KIND: _issued,
    GrantExtended.KIND: _extended,
    records.GrantExpired.KIND: _ended,
    records.GrantRevoked.KIND: _ended,
    records.GrantEnded.KIND: _ended,
    records.GrantUndone.KIND: _ended,
    RemovalVerified.KIND: _gone,
    RemovalUnverified.KIND: _unseen,
    CaseClosed.KIND: _closed,
}
_ELSEWHERE: Final[Mapping[str, Callable[[Population, Header, Any], None]]] = {
    ReviewOpened.KIND: _review,
    ReviewAnswered.KIND: _answered,
    SessionObserved.KIND: _observed,
    FindingRaised.KIND: _raised,
    FindingSeen.KIND: _seen,
    FindingClosed.KIND: _settled,
    EvidenceExported.KIND: _exported,
}
