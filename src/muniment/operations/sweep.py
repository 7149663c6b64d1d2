"""Hold the projections against the log: compare, say what differs, rebuild."""

from collections.abc import Iterator

from muniment.access import records
from muniment.evidence.record import Header
from muniment.evidence.store import Entry
from muniment.operations.projection import project
from muniment.operations.review import review_rows
from muniment.operations.service import Service, record_of
from muniment.ports import CaseRow, Due

_OPENERS = (records.AccessRequested.KIND, records.ReviewOpened.KIND)


def wrong_rows(service: Service) -> list[str]:
    """Cases whose line in the lists is not what the log says, or that have none."""
    wrong = [case for case, row, _ in _true_rows(service) if row != _held(service, case)]
    extra = [
        case for case in service.projections.case_ids("", 1 << 30) if not service.log.head(case)
    ]
    return wrong + extra


def rebuild(service: Service) -> int:
    """Drop every projection and build it anew from the log; returns how many cases there are."""
    rows, dues = [], []
    for _, row, due in _true_rows(service):
        rows.append(row)
        dues.append(due)
    service.projections.replace_all(rows, [due for due in dues if due.at is not None])
    return len(rows)


def check_some(service: Service, cases: list[str]) -> list[str]:
    """The rotating share of the sweep: those of these cases whose line is wrong."""
    return [case for case in cases if _true_row(service, case)[0] != _held(service, case)]


def _true_rows(service: Service) -> Iterator[tuple[str, CaseRow, Due]]:
    for _, data in service.log.store.entries(0, service.log.size):
        header = Header.parse(data)
        if header.kind in _OPENERS:
            row, due = _true_row(service, header.case)
            yield header.case, row, due


def _true_row(service: Service, case: str) -> tuple[CaseRow, Due]:
    entries = service.log.read_case(case)
    if entries[0].header.kind == records.AccessRequested.KIND:
        row, due = project(service.fold(entries))
        return row, due
    return _review_row(entries)


def _review_row(entries: list[Entry]) -> tuple[CaseRow, Due]:
    opened = record_of(entries[0])
    if not isinstance(opened, records.ReviewOpened):
        raise TypeError("not a review")
    closed = len(entries) > 1
    row, due = review_rows(entries, opened, closed=closed, at=entries[-1].header.at)
    return row, due


def _held(service: Service, case: str) -> CaseRow | None:
    return service.projections.case_row(case)
