"""`/v1/stories`: what happened, over many cases."""

import asyncio
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from muniment.errors import Malformed
from muniment.interfaces.http.cases import named
from muniment.interfaces.http.context import CallerDep, ServiceDep
from muniment.operations import reading, scope
from muniment.operations.stories import MOST_STORIES, Wanted, stories

router = APIRouter(prefix="/v1", tags=["cases"])


@router.get("/stories")
async def list_stories(
    service: ServiceDep,
    caller: CallerDep,
    since: datetime | None = None,
    until: datetime | None = None,
    who: Annotated[str, Query(max_length=200)] = "",
    resource: Annotated[str, Query(max_length=200)] = "",
    before: Annotated[str | None, Query(max_length=40)] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_STORIES)] = 20,
) -> dict[str, Any]:
    """
    Cases with their timelines and what sources say of them, the newest first.

    One's own, or everybody's for whoever may read all of them; `who` is a login. `next` is the
    `before` of the next page.
    """
    for at in (since, until):
        if at is not None and at.tzinfo is None:
            raise Malformed("`since` and `until` have a zone: end them with `Z`")
    wanted = Wanted(since=since, until=until, who=who, resource=resource)
    answer = await asyncio.to_thread(stories, service, caller, wanted, before=before, limit=limit)
    shown = [service.read(each["case"])[0] for each in answer["stories"]]
    others = any(not reading.is_close_to(service, caller, case) for case in shown)
    asked = service.names.get(who, who) != caller.principal.id
    if others or (asked and scope.reads_all(service, caller)):
        query = {"since": since, "until": until, "who": who, "resource": resource}
        await reading.note(service, caller, "stories", query=query, count=len(answer["stories"]))
    return named(service, answer)
