"""Hold the projections against the log: compare, say what differs, rebuild."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from muniment.access import records
from muniment.errors import LogUnavailable
from muniment.evidence.append import Outcome
from muniment.evidence.record import Header
from muniment.evidence.store import Entry, entry_of
from muniment.operations import campaigns, findings, notify, observe_sessions, reading, report
from muniment.operations.callback import unsettled
from muniment.operations.projection import project
from muniment.operations.review import review_rows
from muniment.operations.service import Service, record_of
from muniment.ports import CaseRow, Due

#: how often a line is looked at before it is called wrong, and the seconds between two looks
LOOKS, PAUSE = 3, 0.02
#: seconds that a look waits for what other nodes wrote
PATIENCE = 5.0
#: lines that are put right at once: for no longer than that others wait
PIECE = 200
#: of what nothing is ever due
_LINES: Final[Mapping[str, Callable[[list[Entry]], CaseRow]]] = {
    records.SessionObserved.KIND: observe_sessions.row,
    records.EvidenceRead.KIND: reading.row,
    records.ReportIssued.KIND: report.row,
}
_OPENERS = (
    records.AccessRequested.KIND,
    records.ReviewOpened.KIND,
    records.FindingRaised.KIND,
    records.CampaignOpened.KIND,
    *_LINES,
)


def wrong_rows(service: Service) -> list[str]:
    """Cases whose line in the lists is not what the log says, or that have none."""
    wrong = [case for case, row, due in _true_rows(service) if not _holds(service, row, *due)]
    extra = [case for case in _listed(service) if not service.log.head(case)]
    if not service.shared:
        return wrong + extra
    # others write while we look
    if extra:
        _know_all(service)
    return check_some(service, wrong) + [case for case in extra if not service.log.head(case)]


def _listed(service: Service) -> list[str]:
    return service.projections.case_ids("", 1 << 30)


def rebuild(service: Service) -> int:
    """Write every line anew; returns how many there are. What has no line in the log goes."""
    cases = cases_between(service, 0, service.log.size)
    put_right(service, dict.fromkeys([*cases, *_listed(service)]))
    return len(cases)


def put_right(service: Service, cases: Iterable[str]) -> None:
    """
    Write the lines of these cases as the log has them; those of no case of the log go.

    Others may append to them meanwhile: then a line is left as they wrote it.
    """
    wanted = iter(cases)
    while piece := list(islice(wanted, PIECE)):
        known = [case for case in piece if service.log.head(case)]
        service.projections.put_right(
            [_true_row(service, case) for case in known if _has_line(service, case)],
            [case for case in piece if case not in known],
        )


def cases_between(service: Service, start: int, stop: int) -> list[str]:
    """Cases with a line in the lists that have a record in this part of the log."""
    headers = (Header.parse(data) for _, data in service.log.store.entries(start, stop))
    found = dict.fromkeys(header.case for header in headers)
    return [case for case in found if _has_line(service, case)]


def check_some(service: Service, cases: Iterable[str]) -> list[str]:
    """Those of these cases whose line is wrong, and stays so while nothing is appended to them."""
    return [case for case in cases if _is_wrong(service, case)]


def _is_wrong(service: Service, case: str) -> bool:
    """A line and its records change together, but are read one after the other: look again."""
    for _ in range(LOOKS):
        row, dues = _true_row(service, case)
        if _holds(service, row, *dues):
            return False
        _know_more(service)
    return True


def _know_more(service: Service) -> None:
    """What was appended a moment ago stands in the lists, and is known to the log in a moment."""
    time.sleep(PAUSE)
    if service.shared:
        _know_all(service)


def _know_all(service: Service) -> None:
    """
    Take in all that is in the database, also what a node that died left without a head.

    For what is under a head alone, following the others would do.
    """
    nothing = Outcome(case=service.registry.log_case, build=lambda _: ((), lambda _: ()))
    with contextlib.suppress(LogUnavailable, TimeoutError):
        service.log.append(nothing).result(PATIENCE)


def _has_line(service: Service, case: str) -> bool:
    return any(
        Header.parse(data).kind in _OPENERS
        for _, data in service.log.store.case(case, service.log.size)[:1]
    )


def _true_rows(service: Service) -> Iterator[tuple[str, CaseRow, tuple[Due, ...]]]:
    """One walk over entries that the log has just checked: nothing is proved a second time."""
    open_cases: dict[str, list[Entry]] = {}
    for index, data in service.log.store.entries(0, service.log.size):
        entry = entry_of(index, data)
        case = entry.header.case
        if entry.header.kind in _OPENERS or case in open_cases:
            open_cases.setdefault(case, []).append(entry)
        if entry.header.kind == records.CaseClosed.KIND and case in open_cases:
            yield case, *_row_of(service, open_cases.pop(case))
    for case, entries in open_cases.items():
        yield case, *_row_of(service, entries)


def _true_row(service: Service, case: str) -> tuple[CaseRow, tuple[Due, ...]]:
    return _row_of(service, service.log.read_case(case))


def _row_of(service: Service, entries: list[Entry]) -> tuple[CaseRow, tuple[Due, ...]]:
    """The line of a case, and what is due about it: what it lacks first."""
    if entries[0].header.kind == records.AccessRequested.KIND:
        case = service.fold(entries)
        row, due = project(case)
        return row, (due, *unsettled(service, case), *notify.unsettled(service, entries))
    if entries[0].header.kind == records.FindingRaised.KIND:
        row, due = findings.project(findings.fold(entries))
        return row, (due, *notify.unsettled(service, entries))
    if (line_of := _LINES.get(entries[0].header.kind)) is not None:
        return line_of(entries), ()
    if entries[0].header.kind == records.CampaignOpened.KIND:
        row, due = campaigns.project(campaigns.fold(entries))
        return row, (due, *notify.unsettled(service, entries))
    row, due = _review_row(entries)
    return row, (due,)


def _review_row(entries: list[Entry]) -> tuple[CaseRow, Due]:
    opened = record_of(entries[0])
    if not isinstance(opened, records.ReviewOpened):
        raise TypeError("not a review")
    closed = len(entries) > 1
    row, due = review_rows(entries, opened, closed=closed, at=entries[-1].header.at)
    return row, due


def _holds(service: Service, row: CaseRow, *dues: Due) -> bool:
    """Its line in the lists, and when the worker looks at it next."""
    held = service.projections
    return held.case_row(row.case) == row and all(held.due_at(due.case) == due.at for due in dues)
