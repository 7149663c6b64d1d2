"""Record that a report was made: which, over which period and log, and by whom."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from muniment.access import records
from muniment.errors import Malformed, NotFound
from muniment.evidence import moment
from muniment.evidence.append import Proposal
from muniment.operations import permit
from muniment.operations.service import Caller, Service, close
from muniment.oversight import control_map
from muniment.oversight.controls import TESTS

REPORTS: Final = "rpt"
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

    Raises `NotPermitted` for who may not audit, and `Malformed` for a framework that there is not,
    for a log size that never was, and for no period.
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
    await service.append(
        Proposal(drafts=tuple(close([draft], case, 0, now)), reads={case: None}, gives=False)
    )
    return case


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
    if not 0 < issued.size <= service.log.size:
        raise Malformed(f"the log has never had {issued.size} entries")
