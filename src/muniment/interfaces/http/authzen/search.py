"""`/access/v1/search/…`: who has what access now; an evaluation permits each of the results."""

from typing import Any

from fastapi import APIRouter, Request

from muniment.errors import Malformed
from muniment.interfaces.http.authzen import structure
from muniment.interfaces.http.authzen.messages import (
    ActionSearch,
    Page,
    ResourceSearch,
    SubjectSearch,
)
from muniment.interfaces.http.authzen.profile import binding
from muniment.interfaces.http.context import CallerDep, ServiceDep
from muniment.operations import search
from muniment.operations.evaluate import subject
from muniment.operations.service import Caller

router = APIRouter(prefix="/access/v1/search")
#: the one type of resource that there is
RESOURCE = "resource"


@router.post("/subject")
async def search_subjects(
    service: ServiceDep, caller: CallerDep, http: Request, body: SubjectSearch
) -> dict[str, Any]:
    """Who has this role on this resource now; needs the right to ask about others."""
    found = search.subjects(service, caller, body.subject.type, body.resource.id, body.action.name)
    logins = [(service.identity(id_) or {}).get("login", id_) for id_ in found]
    results = [{"type": body.subject.type, "id": login} for login in logins]
    return _paged(http, caller, body, body.page, results)


@router.post("/resource")
async def search_resources(
    service: ServiceDep, caller: CallerDep, http: Request, body: ResourceSearch
) -> dict[str, Any]:
    """On which resources a subject has this role now."""
    who = subject(service, caller, body.subject.id)
    found = [] if who is None else search.resources(service, who, body.action.name)
    if body.resource.type != RESOURCE:
        found = []
    results = [{"type": RESOURCE, "id": each} for each in found]
    return _paged(http, caller, body, body.page, results)


@router.post("/action")
async def search_actions(
    service: ServiceDep, caller: CallerDep, http: Request, body: ActionSearch
) -> dict[str, Any]:
    """Which roles a subject has on a resource now."""
    who = subject(service, caller, body.subject.id)
    found = [] if who is None else search.roles(service, who, body.resource.id)
    return _paged(http, caller, body, body.page, [{"name": each} for each in found])


def _paged(
    http: Request,
    caller: Caller,
    body: SubjectSearch | ResourceSearch | ActionSearch,
    page: Page,
    results: list[dict[str, Any]],
) -> dict[str, Any]:
    """AuthZEN section 8.2.1: a token is bound to the caller and to all else of the query."""
    query = {k: v for k, v in body.sent().items() if k != "page"}
    about = structure.digest([http.url.path, caller.principal.id, query, page.limit])
    start = binding(http).after(about, page.token) if page.token else 0
    if start is None:
        raise Malformed("this page token belongs to another search; begin anew without one")
    end = start + page.limit
    token = binding(http).page(about, end) if end < len(results) else ""
    shown = results[start:end]
    return {"page": {"next_token": token, "count": len(shown)}, "results": shown}
