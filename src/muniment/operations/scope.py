"""
What somebody may read who may not read everything: case by case, as rules of the policy say.

An auditor of some resources and some months sees those, and how many others there are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from muniment.access.finding import Finding
from muniment.errors import NotFound
from muniment.operations import delegation, explain, permit, reading
from muniment.operations.service import Caller, Service
from muniment.ports import CaseRow

#: cases that are looked through for one answer: a rule is asked about each
MOST_LOOKED_AT: Final = 1_000
_PAGE: Final = 100


@dataclass(frozen=True, kw_only=True)
class Scoped:
    """A page of cases that the caller may read."""

    rows: tuple[CaseRow, ...]
    #: how many of those that were looked at are beyond it
    beyond: int
    #: the `before` of the next page; None where there are no more
    next: str | None


def reads_all(service: Service, caller: Caller) -> bool:
    return permit.ask(service, caller, "read", None).outcome == "permit"


def may_read(service: Service, caller: Caller, row: CaseRow) -> bool:
    """Whether the policy lets the caller read this access case."""
    try:
        case, _ = service.read(row.case)
    except NotFound:
        return False  # its batch is durable, and not yet under a head that anybody was shown
    covered = delegation.covers(caller, row.resource, row.role)
    return covered and permit.ask(service, caller, "read", case).outcome == "permit"


def is_whole(service: Service, caller: Caller) -> bool:
    """Whether nothing is kept from whoever reads everything: no delegation limits him, either."""
    return reads_all(service, caller) and delegation.covers_all(caller)


def audits_finding(service: Service, caller: Caller, finding: Finding, *operations: str) -> bool:
    """
    Whether his rules permit this of every case that a finding is about: then it is his to see.

    One that is about no case, about a case of others as well, or about himself is not.
    """
    if set(finding.subjects) & set(service.registry.persons(caller.principal)):
        return False
    return bool(finding.about) and all(
        _audits(service, caller, case, operations) for case in finding.about
    )


def _audits(service: Service, caller: Caller, case_id: str, operations: Sequence[str]) -> bool:
    """By right of audit: what is his own, or waits for his approval, he sees as such."""
    try:
        case, _ = service.read(case_id)
    except NotFound:
        return False
    return (
        not reading.is_close_to(service, caller, case)
        and delegation.covers(caller, case.requested.resource, case.requested.role)
        and all(permit.ask(service, caller, each, case).outcome == "permit" for each in operations)
    )


def everyones(
    service: Service, caller: Caller, states: Sequence[str], before: str | None
) -> Scoped:
    """
    Of everybody's cases those that the caller may read, newest first.

    Raises `NotPermitted` where he may read nobody's but his own, or what he may approve.
    """
    if reads_all(service, caller):
        rows = service.projections.cases(states=states, before=before, limit=_PAGE)
        more = rows[-1].case if len(rows) == _PAGE else None
        return Scoped(rows=tuple(explain.told_rows(service, caller, rows)), beyond=0, next=more)
    return _in_scope(service, caller, states, before)


def _in_scope(
    service: Service, caller: Caller, states: Sequence[str], before: str | None
) -> Scoped:
    found: list[CaseRow] = []
    beyond, last, others = 0, None, False
    for looked, row in enumerate(_rows(service, states, before), start=1):
        if may_read(service, caller, row):
            found.append(row)
            others = others or not reading.is_close_to(service, caller, service.read(row.case)[0])
        else:
            beyond += 1
        if len(found) == _PAGE or looked == MOST_LOOKED_AT:
            last = row.case
            break
    if not others and before is None:
        permit.require(service, caller, "read")  # nothing of it by right of audit: says why
    rows = tuple(explain.told_rows(service, caller, found))
    return Scoped(rows=rows, beyond=beyond, next=last)


def _rows(service: Service, states: Sequence[str], before: str | None) -> Iterator[CaseRow]:
    while True:
        rows = service.projections.cases(states=states, before=before, limit=_PAGE)
        yield from rows
        if len(rows) < _PAGE:
            return
        before = rows[-1].case
