"""Record that a report was made: which, over which period and log, and by whom; list them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from muniment.access import records
from muniment.errors import Malformed, NotFound, NotPermitted
from muniment.evidence import moment
from muniment.evidence.append import Proposal
from muniment.evidence.merkle import Frontier
from muniment.evidence.store import Entry
from muniment.operations import delegation, permit
from muniment.operations.projection import known
from muniment.operations.service import Caller, Service, close
from muniment.oversight import control_map
from muniment.oversight.controls import TESTS
from muniment.ports import CaseRow

#: begins the ids of these records' cases, and the kind of their lines in the lists
REPORTS: Final = "rpt"
KIND: Final = "report"
PAGE: Final = 100
_NAME: Final = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_LONGEST: Final = timedelta(days=20 * 366)


@dataclass(frozen=True, kw_only=True, slots=True)
class Issued:
    """What somebody says of the report that he made."""

    framework: str
    since: datetime
    until: datetime
    resources: tuple[str, ...]
    size: int
    #: SHA-256 of `report.json`
    report: bytes


async def issue(service: Service, caller: Caller, issued: Issued) -> str:
    """
    The case in which it stands from now on.

    Raises `NotPermitted` for who may not audit, and `Malformed` for a framework or a resource that
    there is not, for a log size that never was, and for a period that is none or has not begun.
    """
    permit.require(service, caller, "audit")
    _check(service, issued)
    case, now = service.new_case(REPORTS), service.now()
    record = records.ReportIssued(
        actor=service.actor(caller),
        framework=issued.framework,
        since=moment.whole(issued.since),
        until=moment.whole(issued.until),
        resources=issued.resources,
        size=issued.size,
        report=issued.report,
    )
    draft = record.draft(case, now, follows=(caller.principal.leaf,))
    proposal = Proposal(
        drafts=tuple(close([draft], case, 0, now)),
        reads={case: None},
        gives=False,
        companions=lambda entries: [row(entries)],
    )
    await service.append(proposal)
    return case


def row(entries: Sequence[Entry]) -> CaseRow:
    """Its line in the lists: who made it is the requester, and its framework the role."""
    first = entries[0].header
    record = _record(entries[0])
    at = moment.text(first.at)
    return CaseRow(
        case=first.case,
        kind=KIND,
        state="issued",
        requester=record.actor.principal,
        resource="",
        role=record.framework,
        groups=(),
        marked=False,
        opened_at=at,
        changed_at=at,
        until=None,
        about="",
        records=len(entries),
        closed=True,
    )


def issued(
    service: Service, caller: Caller, before: str | None = None
) -> tuple[list[dict[str, Any]], str | None]:
    """
    The reports that were made, newest first, and the `before` of the next page.

    Raises `NotPermitted` for who may not audit, and for whoever acts for somebody in some roles
    alone: a report is about all roles of a resource.
    """
    permit.require(service, caller, "audit")
    if not delegation.covers_all(caller):
        raise NotPermitted("you may not `audit`: reports are about more than was delegated to you")
    rows = service.projections.cases(kind=KIND, before=before, limit=PAGE)
    more = rows[-1].case if len(rows) == PAGE else None
    return [_told(service, each) for each in known(service.log, rows)], more


def _told(service: Service, row: CaseRow) -> dict[str, Any]:
    entry = service.log.read_case(row.case)[0]
    record = _record(entry)
    # the tree as it is stored; whoever wants it proved asks the log for consistency
    root = Frontier.at(record.size, service.log.nodes(record.size)).root()
    return {
        "report": row.case,
        "framework": record.framework,
        "since": moment.text(record.since),
        "until": moment.text(record.until),
        "resources": list(record.resources),
        "by": record.actor.principal,
        "at": row.opened_at,
        "size": record.size,
        "root": root.hex(),
        "digest": record.report.hex(),
    }


def _record(entry: Entry) -> records.ReportIssued:
    record = records.parse(entry.header)
    if not isinstance(record, records.ReportIssued):
        raise TypeError("not a record of a report")
    return record


def document(service: Service, caller: Caller, name: str) -> bytes:
    """
    What lies beside the log under this name: its SHA-256 in hex. Never personal, never secret.

    Raises `NotPermitted` for who may not audit, and `NotFound`.
    """
    permit.require(service, caller, "audit")
    content = service.log.store.document(bytes.fromhex(name)) if _NAME.match(name) else None
    if content is None:
        raise NotFound("no record names a document so")
    return content


def _check(service: Service, issued: Issued) -> None:
    known = control_map.parse(control_map.shipped(), TESTS)
    if issued.framework not in known.frameworks:
        raise Malformed(f"there is no framework `{issued.framework}` here")
    try:
        moment.text(issued.since), moment.text(issued.until)
    except OverflowError:
        raise Malformed("a moment beyond all calendars") from None
    if not timedelta(0) < issued.until - issued.since <= _LONGEST:
        raise Malformed("a period ends after it began, and within twenty years")
    if issued.since > service.now():
        raise Malformed("the period has not begun")
    ever = {resource for resource, _ in list(service.registry.roles)}
    if unheard := sorted(set(issued.resources) - ever):
        raise Malformed(f"there never was a resource `{unheard[0]:.80}`")
    if not 0 < issued.size <= service.log.size:
        raise Malformed(f"the log has never had {issued.size} entries")
