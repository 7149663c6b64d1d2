"""The stories of many grants: whose, where and when they were, and what was done under them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from muniment.errors import NotFound
from muniment.evidence import moment
from muniment.operations import delegation, explain, permit, scope, story
from muniment.operations.projection import known
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

    One's own, or everybody's where policy lets the caller read all cases. Of a person or a resource
    those that he may read; `beyond` is how many were left out. Raises `NotFound` for a login that
    nobody has, and `NotPermitted` where there is nothing that he may read.
    """
    reads_all = scope.reads_all(service, caller)
    requester = _requester(service, caller, wanted, reads_all=reads_all)
    own = requester == caller.principal.id
    found, last, beyond, asked = list[dict[str, Any]](), before, 0, 0
    for looked, row in enumerate(_rows(service, requester, before)):
        if wanted.since is not None and row.opened_at < moment.text(wanted.since):
            break
        if (
            len(found) >= min(limit, MOST_STORIES)
            or looked >= MOST_LOOKED_AT
            or asked >= scope.MOST_LOOKED_AT
        ):
            return {"stories": found, "next": last, "beyond": beyond}
        last = row.case
        if not _fits(row, wanted):
            continue
        if not (own or reads_all):
            asked += 1
            if not scope.may_read(service, caller, row):
                beyond += 1
                continue
        if delegation.covers(caller, row.resource, row.role):
            shown = explain.show(service, caller, row.case)
            observed = story.observed(service, service.read(row.case)[0])
            found.append({**shown, "observed": observed})
    if not (own or reads_all or found):
        permit.require(service, caller, "read")  # there is nothing here for him: says why
    return {"stories": found, "next": None, "beyond": beyond}


def _requester(service: Service, caller: Caller, wanted: Wanted, *, reads_all: bool) -> str | None:
    """
    Whose cases; None: everybody's.

    Who may not read all of them, and names neither a person nor a resource, is shown his own.
    """
    who = wanted.who
    if not who:
        return None if reads_all or wanted.resource else caller.principal.id
    if who in service.registry.principals:
        return who
    if who not in service.names:
        if not reads_all:
            permit.require(service, caller, "read")  # who is known here is not for him to learn
        raise NotFound(f"nobody here has the login `{who}`")
    return service.names[who]


def _rows(service: Service, requester: str | None, before: str | None) -> Iterator[CaseRow]:
    while True:
        rows = service.projections.cases(requester=requester, before=before, limit=_PAGE)
        yield from known(service.log, rows)
        if len(rows) < _PAGE:
            return
        before = rows[-1].case


def _fits(row: CaseRow, wanted: Wanted) -> bool:
    late = wanted.until is not None and row.opened_at >= moment.text(wanted.until)
    return not late and wanted.resource in ("", row.resource)
