"""
Hold a target's inventory against the log, record that somebody looked, and raise what differs.

The first look at a target is a report: what stood there before is listed in one finding, and stays
listed as standing. What came since is a finding each. Nothing is taken away, and no finding is
closed because something is gone: a person says that it is remedied, and sees when it was last seen.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from muniment.access import records
from muniment.access.scans import Ordered
from muniment.errors import NotFound
from muniment.evidence import moment
from muniment.evidence.append import Proposal
from muniment.evidence.record import MAX_SECTION, Draft
from muniment.operations import findings, permit
from muniment.operations.attempts import until_it_stands
from muniment.operations.drift_look import (
    Look,
    is_fleeting,
    line,
    look_again,
    look_at,
    report_key,
    text,
    told_by,
)
from muniment.operations.raise_finding import raise_finding
from muniment.operations.service import Caller, Service, close, content
from muniment.oversight.detector import Hit, Rule, Severity
from muniment.oversight.difference import STANDING, Difference, rule_of
from muniment.ports import Connector

#: begins the ids of the cases of scans
SCANS: Final = "drf"
#: so many differences of one kind are findings of their own; the others are counted in one more
MOST: Final = 50
#: how much of its section a scan fills with differences
_ROOM: Final = MAX_SECTION // 5

#: `raise_finding`, or what stands in for it
Raise = Callable[[Service, Rule, Mapping[str, int], Hit], Awaitable[str]]


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One look at a target, as it was recorded."""

    case: str
    at: datetime
    resource: str
    target: str
    first: bool
    #: those that nobody explained or answers for
    differences: tuple[Difference, ...]
    #: by key of the difference: case id of its finding
    findings: Mapping[str, str]
    #: accounts that did not fit into what is remembered: none of them counts as new
    forgotten: int
    #: case ids of removals that were ordered, and seen done
    removed: tuple[str, ...]


async def scan(service: Service, resource: str, *, raise_: Raise = raise_finding) -> Scan:
    """
    Look, record it, and raise what differs.

    Raises `NotFound`, `TargetUnavailable` where the target does not answer in time, and
    `LogUnavailable`: then it is done anew.
    """
    connector = _connector(service, resource)
    look = await look_at(service, connector, resource)
    if any(is_fleeting(service, each) for each in look.differences):
        look = await look_again(service, connector, look)
    appended = await until_it_stands(lambda: _record(service, look))
    case, removed = appended
    raised = await _raise(service, look, case, raise_)
    return Scan(
        case=case,
        at=look.at,
        resource=resource,
        target=look.seen.target,
        first=look.expected.first,
        differences=tuple(look.differences),
        findings=raised,
        forgotten=look.forgotten,
        removed=removed,
    )


def check_may_look(service: Service, caller: Caller) -> None:
    """Whoever answers findings, and programs that hand in what they see. Raises `NotPermitted`."""
    if permit.ask(service, caller, "observe", None).outcome != "permit":
        permit.require(service, caller, "review")


def _connector(service: Service, resource: str) -> Connector:
    if resource not in service.connectors:
        known = ", ".join(f"`{each}`" for each in sorted(service.connectors)) or "none"
        raise NotFound(f"there is no resource `{resource}`; there are: {known}")
    return service.connector(resource)


# --- recording --------------------------------------------------------------------------------


async def _record(service: Service, look: Look) -> tuple[str, tuple[str, ...]]:
    """`drift:scanned`, and the end of every removal whose account was not seen any more."""
    case, now = service.new_case(SCANS), service.now()
    seen, newest = look.seen, service.registry.scans.newest.get((look.resource, look.seen.target))
    told = _told(look)
    before = told_by(service, newest.told) if newest is not None else None
    scanned = records.DriftScanned(
        actor=records.SERVICE,
        resource=look.resource,
        target=seen.target,
        first=look.expected.first,
        accounts=len(seen.accounts),
        sessions=len(seen.sessions),
        privileges=len(seen.privileges),
        differences=dict(sorted(Counter(each.kind for each in look.differences).items())),
    ).draft(case, now, sections={} if told == before else {"seen": content(told)})
    done = list(_done(service, look))
    drafts = [*close([scanned], case, 0, now), *(_closing(each, now) for each in done)]
    reads = {case: None, **{each.entry.header.case: each.entry.leaf for each in done}}
    await service.append(Proposal(drafts=tuple(drafts), reads=reads, gives=False))
    return case, tuple(each.entry.header.case for each in done)


def _told(look: Look) -> dict[str, Any]:
    return {
        "accounts": [line(name, stood) for name, stood in look.memory.items()],
        "differences": _listed(look.differences),
        "forgotten": look.forgotten,
    }


def _listed(differences: Sequence[Difference]) -> list[dict[str, Any]]:
    """As many as there is room for; what is worst comes first, what stood there before last."""
    order = sorted(
        differences,
        key=lambda each: (each.is_standing, -_ORDER.index(each.severity), each.kind, each.account),
    )
    found, room = list[dict[str, Any]](), _ROOM
    for each in map(as_told, order):
        size = len(content(each)) + 1
        if size <= room:
            found.append(each)
            room -= size
    return found


def as_told(difference: Difference) -> dict[str, Any]:
    """A difference, as the section of a scan has it."""
    return {
        "key": text(difference.key),
        "kind": difference.kind,
        "what": difference.what,
        "account": text(difference.account),
        "severity": difference.severity,
        "objects": [text(each) for each in difference.objects],
        "count": difference.count,
        "grant": difference.grant,
        "persons": list(difference.persons),
        "since": None if difference.since is None else moment.text(difference.since),
    }


def _done(service: Service, look: Look) -> Iterator[Ordered]:
    there = {*(a.name for a in look.seen.accounts), *(s.account for s in look.seen.sessions)}
    for order in service.registry.scans.orders(look.resource):
        wanted = service.section(order.entry, "order")
        same = order.record.target == look.seen.target
        if same and wanted is not None and wanted["account"] not in there:
            yield order


def _closing(order: Ordered, now: datetime) -> Draft:
    """It follows the scan, which is the first of the batch."""
    at = max(now, order.entry.header.at)
    closed = records.CaseClosed(actor=records.SERVICE, records=order.entry.header.position + 2)
    return closed.draft(order.entry.header.case, at, follows=(0,))


# --- raising ----------------------------------------------------------------------------------


async def _raise(service: Service, look: Look, case: str, raise_: Raise) -> dict[str, str]:
    """By key of the difference: the finding in which it was recorded, or counted."""
    raised: dict[str, str] = {}
    alarms = [each for each in look.differences if not _is_reported(service, each)]
    counted: Counter[str] = Counter()
    for each in alarms:
        counted[each.kind] += 1
        if counted[each.kind] <= MOST:
            hit = hit_of(each, look.at, case)
            raised[each.key] = await raise_(service, rule_of(each), {}, hit)
    for kind, count in counted.items():
        if count > MOST:
            some = [each for each in alarms if each.kind == kind]
            await raise_(service, rule_of(some[0]), {}, _many(look, case, some[MOST:]))
    standing = [each for each in look.differences if each.is_standing]
    if standing and (look.expected.first or not _has_report(service, look)):
        await raise_(service, STANDING, {}, _report(look, case, standing))
    return raised


def _is_reported(service: Service, difference: Difference) -> bool:
    """
    Whether it is no alarm: it stood there before, and nobody was ever asked about it by itself.

    What somebody answered for until a date is an alarm when the date has come.
    """
    rule = rule_of(difference).id
    return difference.is_standing and findings.newest_of(service, rule, difference.key) is None


def hit_of(difference: Difference, at: datetime, case: str) -> Hit:
    """What is raised; `case` is that of the scan."""
    lapsed: Severity = "medium"
    return Hit(
        rule=rule_of(difference).id,
        at=at,
        key=difference.key,
        summary=difference.summary,
        severity=lapsed if difference.is_standing else difference.severity,
        cases=(difference.grant,) if difference.grant else (),
        subjects=difference.persons,
        resource=difference.resource,
        evidence=(f"{case}/0",),
        detail=_in_words(difference),
    )


def _in_words(difference: Difference) -> str:
    objects = ", ".join(difference.objects)
    more = difference.count - len(difference.objects)
    named = f"account {difference.account}" + (f": {objects}" if objects else "")
    return named + (f" and {more} more" if more > 0 else "")


def _many(look: Look, case: str, others: Sequence[Difference]) -> Hit:
    kind = others[0].kind
    return Hit(
        rule=rule_of(others[0]).id,
        at=look.at,
        key=f"{look.resource} many {kind}",
        summary=f"{look.resource}: {len(others)} more of kind {kind} than are raised one by one",
        severity=max((each.severity for each in others), key=_ORDER.index),
        cases=tuple(dict.fromkeys(each.grant for each in others if each.grant)),
        subjects=tuple(dict.fromkeys(person for each in others for person in each.persons)),
        resource=look.resource,
        evidence=(f"{case}/0",),
    )


_ORDER: Final[list[Severity]] = ["info", "low", "medium", "high", "critical"]


def _report(look: Look, case: str, standing: Sequence[Difference]) -> Hit:
    powerful = sum(each.kind == "privileged-account" for each in standing)
    accounts = "1 account" if len(standing) == 1 else f"{len(standing)} accounts"
    return Hit(
        rule=STANDING.id,
        at=look.at,
        key=_report_key(look),
        summary=f"{look.resource}: {accounts} without a grant stood at the target "
        f"when it was first looked at, {powerful} of them powerful",
        severity="info",
        resource=look.resource,
        evidence=(f"{case}/0",),
        detail="\n".join(each.account for each in standing),
    )


def _report_key(look: Look) -> str:
    return report_key(look.resource, look.seen.target)


def _has_report(service: Service, look: Look) -> bool:
    return findings.newest_of(service, STANDING.id, _report_key(look)) is not None
