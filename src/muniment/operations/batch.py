"""What was asked for together: the cases that share a batch, in the order of the items."""

from muniment.access.case import AccessCase
from muniment.errors import NotFound
from muniment.operations.projection import decided_at
from muniment.operations.service import Service

#: how many items may be asked for together
MAX_ITEMS = 20

#: how people's decisions end the wait of whoever asked
_ENDED = {
    "denied": "denied",
    "refused": "denied",
    "withdrawn": "cancelled",
    "lapsed": "expired",
}


def members(service: Service, batch: str) -> list[AccessCase]:
    """The cases of a batch, each folded from its records; empty where there is no such batch."""
    rows = service.projections.cases(about=batch, limit=MAX_ITEMS)
    found = [service.read(row.case) for row in rows]
    # the log has them in the order in which they were asked for
    return [case for case, entries in sorted(found, key=lambda each: each[1][0].index)]


def cases_of(service: Service, task: str) -> list[AccessCase]:
    """
    The case that a task is, or the cases of the batch that it is.

    Raises `NotFound` where it is neither.
    """
    if service.projections.case_row(task) is not None:
        return [service.read(task)[0]]
    found = members(service, task)
    if not found:
        raise NotFound(f"there is no request `{task}`")
    return found


def status(case: AccessCase) -> str:
    """
    `pending`, or how it was decided: `approved`, `denied`, `cancelled`, `expired`.

    Once it was decided it stays so: what becomes of an approval afterwards, an evaluation tells.
    """
    if decided_at(case) is None:
        return "pending"
    return "approved" if case.approved_at is not None else _ENDED[case.state]


def together(statuses: list[str]) -> str:
    """The status of a batch: that of all its items, `pending` before it is known, or `partial`."""
    if "pending" in statuses:
        return "pending"
    return statuses[0] if len(set(statuses)) == 1 else "partial"
