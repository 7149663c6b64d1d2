"""Findings: their state from the log, their line in the lists, and whom they are told to."""

import base64
import hmac
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, Final

from muniment.access import finding as life
from muniment.access import records
from muniment.access.finding import Finding
from muniment.errors import NotFound
from muniment.evidence import moment
from muniment.evidence.store import Entry
from muniment.operations.owed import owed
from muniment.operations.service import Service
from muniment.ports import CaseRow, Due

#: begins the ids of findings
FINDINGS: Final = "fnd_"


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
    rule, who is to deal with it, and how severe it is.
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
        about=next(iter(finding.about), ""),
        records=finding.length,
        closed=finding.closed,
    )
    return row, Due(case=finding.id, at=None)
