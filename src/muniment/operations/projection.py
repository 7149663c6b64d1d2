"""From the fold of a case to its line in the lists, and to when the worker has to look at it."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from muniment.access import records
from muniment.access.case import ENDS, LIVE, OVER, AccessCase
from muniment.evidence import moment
from muniment.evidence.log import Log
from muniment.evidence.store import Entry
from muniment.ports import CaseRow, Due

#: begins the names of due work that tells somebody of a decision
CALLBACK = "callback/"


def project(case: AccessCase) -> tuple[Any, ...]:
    """The companion writes that bring the projections up to this state of an access case."""
    at = next_look(case)
    return row(case), Due(case=case.id, at=None if at is None else moment.text(at))


def known(log: Log, rows: Iterable[CaseRow]) -> Iterator[CaseRow]:
    """Those whose records can be read: a list has a case a moment before the log answers for it."""
    return (row for row in rows if log.head(row.case) is not None)


def call_back(case: AccessCase) -> tuple[Due, ...]:
    """The work of telling whoever asked, in the batch of records that decided the case."""
    at = decided_at(case)
    if not case.requested.callback or at is None or at != case.changed_at:
        return ()
    return (Due(case=callback_work(case), at=moment.text(at)),)


def callback_work(case: AccessCase) -> str:
    """Name of that work among what is due: no case has such an id."""
    return f"{CALLBACK}{case.requested.batch or case.id}"


def decided_at(case: AccessCase) -> datetime | None:
    """When it was settled whether access is to be had: that a grant ends later changes nothing."""
    return case.approved_at or (case.changed_at if case.state in OVER else None)


def row(case: AccessCase) -> CaseRow:
    request, until = case.requested, case.until
    return CaseRow(
        case=case.id,
        kind="access",
        state=case.state,
        requester=request.requester,
        resource=request.resource,
        role=request.role,
        groups=tuple(case.waits_for),
        marked=case.break_glass,
        opened_at=_text(case.opened_at),
        changed_at=_text(case.changed_at),
        until=None if until is None else moment.text(until),
        about=request.batch,
        records=case.length,
        closed=case.closed,
    )


def next_look(case: AccessCase) -> datetime | None:
    """When something about this case comes due; None when nothing ever will."""
    if case.closed:
        return None
    if case.state in ("pending", "approved"):
        return case.ask.deadline if case.ask is not None else None
    if case.state in LIVE:
        return min(moments(case), default=None)
    if case.state in ENDS:
        return case.changed_at
    return None


def moments(case: AccessCase) -> list[datetime]:
    """Everything that a live grant has to be looked at for."""
    found = [case.until] if case.until is not None else []
    if case.order_open and (over := order_over(case)) is not None:
        found.append(over)
    if case.extension is not None and case.extension.deadline is not None:
        found.append(case.extension.deadline)
    if case.extension is not None and case.extension.ready and case.changed_at is not None:
        found.append(case.changed_at)
    return found


def order_over(case: AccessCase) -> datetime | None:
    """When, by our clock, an order that is still open can no longer be carried out."""
    if case.deadline is None or not (case.order_open or case.failed):
        return None
    return case.deadline - timedelta(milliseconds=case.offset_ms)


def newest_order(entries: Sequence[Entry]) -> bytes | None:
    """Leaf hash of the record that authorised the newest order to a target."""
    orders = (e.leaf for e in reversed(entries) if e.header.kind == records.GrantAuthorized.KIND)
    return next(orders, None)


def _text(at: datetime | None) -> str:
    return "" if at is None else moment.text(at)
