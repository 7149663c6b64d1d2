"""The stories of many grants: whose, where and when they were, and what was done under them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from muniment.errors import NotFound
from muniment.evidence import moment
from muniment.operations import delegation, explain, permit, story
from muniment.operations.service import Caller, Service
from muniment.ports import CaseRow

#: cases that are looked through for one answer, and stories in it at most
MOST_LOOKED_AT, MOST_STORIES = 20_000, 100
_PAGE: Final = 500


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which cases: all that are named have to fit."""

    #: asked for at or after, and before
    since: datetime | None = None
    until: datetime | None = None
    #: login, or principal id, of who asked
    who: str = ""
    resource: str = ""


def stories(
    service: Service, caller: Caller, wanted: Wanted, *, before: str | None, limit: int
) -> dict[str, Any]:
    """
    The newest first; `next` is the `before` of the next answer, None where there are no more.

    One's own, or everybody's where policy lets the caller read all cases. Raises `NotFound` for a
    login that nobody has, and `NotPermitted`.
    """
    requester = _requester(service, caller, wanted.who)
    if requester != caller.principal.id:
        permit.require(service, caller, "read")
    found, last = list[dict[str, Any]](), before
    for looked, row in enumerate(_rows(service, requester, before)):
        if wanted.since is not None and row.opened_at < moment.text(wanted.since):
            return {"stories": found, "next": None}
        if len(found) >= min(limit, MOST_STORIES) or looked >= MOST_LOOKED_AT:
            return {"stories": found, "next": last}
        last = row.case
        if _fits(row, wanted) and delegation.covers(caller, row.resource, row.role):
            shown = explain.show(service, caller, row.case)
            observed = story.observed(service, service.read(row.case)[0])
            found.append({**shown, "observed": observed})
    return {"stories": found, "next": None}


def _requester(service: Service, caller: Caller, who: str) -> str | None:
    """Whose cases; None: everybody's."""
    if not who:
        may_read_all = permit.ask(service, caller, "read", None).outcome == "permit"
        return None if may_read_all else caller.principal.id
    if who in service.registry.principals:
        return who
    if who not in service.names:
        raise NotFound(f"nobody here has the login `{who}`")
    return service.names[who]


def _rows(service: Service, requester: str | None, before: str | None) -> Iterator[CaseRow]:
    while True:
        rows = service.projections.cases(requester=requester, before=before, limit=_PAGE)
        yield from rows
        if len(rows) < _PAGE:
            return
        before = rows[-1].case


def _fits(row: CaseRow, wanted: Wanted) -> bool:
    late = wanted.until is not None and row.opened_at >= moment.text(wanted.until)
    return not late and wanted.resource in ("", row.resource)
