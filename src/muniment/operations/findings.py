"""Findings: their state from the log, their line in the lists, and looking at them."""

import base64
import hmac
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

from muniment.access import finding as life
from muniment.access import records
from muniment.access.finding import Finding
from muniment.errors import NotFound, NotPermitted
from muniment.evidence import moment
from muniment.evidence.store import Entry
from muniment.operations import explain, permit, scope
from muniment.operations.owed import owed
from muniment.operations.projection import known
from muniment.operations.service import Caller, Service
from muniment.ports import CaseRow, Due

#: begins the ids of findings
FINDINGS: Final = "fnd_"
#: so many cases that a finding is about stand in its line
ABOUT: Final = 100
#: lines that are looked at for one page, so many at once
MOST_LINES, LINES = 10_000, 1000
PAGE: Final = 100


def case_of(service: Service, rule: str, key: str, number: int) -> str:
    """
    Case id of the finding of this number, from 0, that a rule has of one key.

    By a key of this installation: what a target or a person is called cannot be guessed from it.
    """
    named = b"\0".join((b"muniment-finding/v1", rule.encode(), _bytes(key), b"%d" % number))
    digest = hmac.digest(service.sealing_key, named, sha256)[:16]
    return f"{FINDINGS}{base64.b32encode(digest).decode().rstrip('=').lower()}"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def newest_of(service: Service, rule: str, key: str) -> int | None:
    """Number of the newest finding of this key; None without one. They leave no gap."""

    def is_there(number: int) -> bool:
        return service.log.head(case_of(service, rule, key, number)) is not None

    if not is_there(0):
        return None
    low, high = 0, 1
    while is_there(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_there(middle) else (low, middle)
    return low


def read(service: Service, case: str) -> tuple[Finding, list[Entry]]:
    """A finding, folded from records that were just proved to be in the log."""
    entries = service.log.read_case(case)
    if not entries or entries[0].header.kind != records.FindingRaised.KIND:
        raise NotFound(f"there is no finding `{case}`")
    return fold(entries), entries


def fold(entries: Iterable[Entry]) -> Finding:
    return life.fold((entry.header, entry.leaf) for entry in entries)


def advance(finding: Finding, placed: Iterable[Entry]) -> Finding:
    """By those of these records that are its own."""
    for entry in placed:
        if not finding.id or entry.header.case == finding.id:
            finding = life.advance(finding, entry.header, entry.leaf)
    return finding


def companions(service: Service, before: Finding, placed: Sequence[Entry]) -> Iterable[Any]:
    """The writes beside records that follow on this state. Raises what refuses the records."""
    ways = service.ways.of(service.log, service.registry.configuration)
    return (*project(advance(before, placed)), *owed(ways, before, placed))


def project(finding: Finding) -> tuple[CaseRow, Due]:
    """
    The line in the lists, and that no worker has to look at it.

    A finding has no role, no requester and waits for no group: its line has in their place the
    rule, who is to deal with it, and how severe it is. It is about several cases, with a space
    between them, and marked where access ends for it.
    """
    raised, answer = finding.raised, finding.answer
    until = answer.until if answer is not None else None
    row = CaseRow(
        case=finding.id,
        kind="finding",
        state=finding.state,
        requester=finding.assigned,
        resource=raised.resource,
        role=raised.rule,
        groups=(raised.severity,),
        marked=bool(finding.ends),
        opened_at="" if finding.opened_at is None else moment.text(finding.opened_at),
        changed_at="" if finding.changed_at is None else moment.text(finding.changed_at),
        until=None if until is None else moment.text(until),
        about=" ".join(finding.about[:ABOUT]),
        records=finding.length,
        closed=finding.closed,
    )
    return row, Due(case=finding.id, at=None)


# --- looking ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which findings somebody wants to see; empty: any."""

    states: Sequence[str] = ()
    rule: str = ""
    severities: Sequence[str] = ()
    resource: str = ""
    #: an access case
    about: str = ""

    def takes(self, row: CaseRow) -> bool:
        return (
            (not self.rule or row.role == self.rule)
            and (not self.severities or row.groups[0] in self.severities)
            and (not self.resource or row.resource == self.resource)
            and (not self.about or self.about in row.about.split(" "))
        )


def meant(service: Service, caller: Caller, wanted: Wanted) -> Wanted:
    """
    With the whole id of the access case: of one that is in the lists a unique beginning will do.

    Raises `NotFound`, and `NotPermitted` for whoever may not know whether there is such a case.
    """
    if not wanted.about or service.log.head(wanted.about) is not None:
        return wanted
    try:
        return replace(wanted, about=service.find_case(wanted.about))
    except NotFound:
        permit.require(service, caller, "read")
        raise


def listed(
    service: Service, caller: Caller, wanted: Wanted, before: str | None = None
) -> tuple[list[dict[str, Any]], str | None]:
    """
    Those that are wanted, newest first, and the `before` of the next page.

    A page is short, or empty, where many others lie between them. Whoever may not read everything
    has those about cases that he may read. Raises `NotPermitted` where there is none of these, and
    `NotFound` for a resource that nobody ever heard of: that nothing was found there says nothing.
    """
    whole, first, looked = scope.is_whole(service, caller), before is None, 0
    found: list[dict[str, Any]] = []
    for _ in range(MOST_LINES // LINES):
        rows = service.projections.cases(
            kind="finding", states=wanted.states, before=before, limit=LINES
        )
        for row in known(service.log, rows):
            before = row.case
            if not wanted.takes(row):
                continue
            looked += 1
            if whole or scope.audits_finding(service, caller, read(service, row.case)[0], "read"):
                found.append(_listed(row))
            # a rule is asked about each, unless he may read them all
            if len(found) == PAGE or (not whole and looked == scope.MOST_LOOKED_AT):
                return _told(service, caller, wanted, found, before, first=first)
        if len(rows) < LINES:
            return _told(service, caller, wanted, found, None, first=first)
    return _told(service, caller, wanted, found, before, first=first)


def _told(
    service: Service,
    caller: Caller,
    wanted: Wanted,
    found: list[dict[str, Any]],
    more: str | None,
    *,
    first: bool,
) -> tuple[list[dict[str, Any]], str | None]:
    if not found and first and more is None:
        permit.require(service, caller, "read")  # says why
    # events may name one that is none of ours: then a finding about it is there
    ever = {"", *(resource for resource, _ in list(service.registry.roles))}
    if not found and first and wanted.resource not in ever:
        raise NotFound(f"there never was a resource `{wanted.resource:.80}`")
    return found, more


def _listed(row: CaseRow) -> dict[str, Any]:
    return {
        "finding": row.case,
        "state": row.state,
        "rule": row.role,
        "severity": row.groups[0],
        "resource": row.resource,
        "about": row.about.split(),
        "assigned": row.requester,
        "ended_access": row.marked,
        "opened_at": row.opened_at,
        "changed_at": row.changed_at,
        "muted_until": row.until,
    }


def show(service: Service, caller: Caller, case: str) -> dict[str, Any]:
    """A finding with its rule, its history, and what its sections say."""
    finding, entries = read(service, case)
    check_readable(service, caller, finding)
    return {
        **summary(service, finding),
        "definition": json.loads(service.document(finding.raised.definition)),
        "timeline": [explain.line(service, entry) for entry in entries],
        "checkpoint": service.log.checkpoint.decode(),
    }


def check_readable(service: Service, caller: Caller, finding: Finding) -> None:
    """Raises `NotPermitted`."""
    if scope.is_whole(service, caller) or scope.audits_finding(service, caller, finding, "read"):
        return
    permit.require(service, caller, "read")  # says why
    raise NotPermitted(
        "you may not `read` this finding: it is about more than was delegated to you"
    )


def summary(service: Service, finding: Finding) -> dict[str, Any]:
    """What a finding is now; what was only counted so far counts."""
    raised, answer = finding.raised, finding.answer
    tally = service.pace.findings.get(finding.id)
    last = max(filter(None, (finding.last, tally.seen if tally is not None else None)))
    return {
        "finding": finding.id,
        "state": finding.state,
        "closed": finding.closed,
        "rule": raised.rule,
        "severity": raised.severity,
        "nature": raised.nature,
        "resource": raised.resource,
        "about": list(finding.about),
        "subjects": _principals(service, finding.subjects),
        "persons": list(finding.subjects),
        "count": finding.count + (tally.count if tally is not None else 0),
        "first_seen": None if finding.first is None else moment.text(finding.first),
        "last_seen": moment.text(last),
        "ends": list(finding.ends),
        "why_not": "" if finding.ends else raised.why,
        "assigned": finding.assigned,
        "resolution": answer.resolution if answer is not None else "",
        "owner": (answer.owner if answer is not None else None) or "",
        "muted_until": None
        if answer is None or answer.until is None
        else moment.text(answer.until),
        "records": finding.length,
    }


def _principals(service: Service, persons: Sequence[str]) -> list[str]:
    """The accounts of these persons: people know one another by those."""
    principals = list(service.registry.principals.values())
    return [each.id for each in principals if each.type == "human" and each.person in persons]
