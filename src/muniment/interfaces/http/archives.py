"""`/v1/archives…`: the evidence of a whole period, for `muniment evidence archive`."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from muniment.errors import Malformed
from muniment.interfaces.http.cases import Body, find, named
from muniment.interfaces.http.context import CallerDep, ServiceDep
from muniment.interfaces.http.evidence import ExportAsk
from muniment.operations import archive, reading
from muniment.operations.archive import MOST_BUNDLES, Wanted

router = APIRouter(prefix="/v1", tags=["evidence"])

_Name = Annotated[str, Field(min_length=1, max_length=64)]
_Case = Annotated[str, Field(min_length=1, max_length=40)]


class ArchiveAsk(Body):
    #: cases that were opened at or after, and before
    since: datetime
    until: datetime
    #: of these resources alone; empty: of all
    resources: list[_Name] = Field(default=[], max_length=100)


class BundlesAsk(Body):
    cases: list[_Case] = Field(min_length=1, max_length=MOST_BUNDLES)


def _in_utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise Malformed("`since` and `until` have a zone: end them with `Z`")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise Malformed("a moment beyond all calendars") from None


@router.get("/evidence/reads")
async def reads(
    service: ServiceDep,
    caller: CallerDep,
    by: Annotated[str, Query(max_length=200)] = "",
    case: Annotated[str, Query(max_length=40)] = "",
    before: Annotated[str | None, Query(max_length=40)] = None,
) -> dict[str, Any]:
    """Who read what is others', by right of audit; for whoever may audit. `by` is a login."""
    about = find(service, case) if case else ""
    rows = await reading.reads(service, caller, by=by, about=about, before=before)
    found = [reading.told(service, row) for row in rows]
    more = rows[-1].case if len(rows) == reading.MOST else None
    return named(service, {"reads": found, "next": more})


@router.post("/archives", status_code=201)
async def open_archive(service: ServiceDep, caller: CallerDep, body: ArchiveAsk) -> dict[str, Any]:
    """
    Record that the caller takes away what he may of a period. 404 where there is nothing of it.

    `beyond` is how many cases more there are that he may not take. `observed` are the cases of
    which sources sent events.
    """
    since, until = _in_utc(body.since), _in_utc(body.until)
    wanted = Wanted(since=since, until=until, resources=tuple(body.resources))
    opened = await archive.open_archive(service, caller, wanted)
    return {
        "archive": opened.case,
        "cases": opened.record.cases,
        "beyond": opened.record.beyond,
        "size": opened.record.size,
        "listed": opened.record.listed.hex(),
        "observed": list(opened.observed),
    }


@router.post("/archives/{archive_id}/evidence")
async def carry(
    service: ServiceDep, caller: CallerDep, archive_id: str, body: ExportAsk
) -> Response:
    """The bundle of the archive itself: its list of cases, and the policies of the period."""
    heads = [head.encode() for head in body.heads]
    data = await archive.carry(service, caller, archive_id, heads)
    return Response(data, media_type="application/json")


@router.get("/archives/{archive_id}/log")
async def log_of(service: ServiceDep, caller: CallerDep, archive_id: str) -> StreamingResponse:
    """Every entry of the log in that period, with proof that none is left out: an excerpt."""
    pieces = await asyncio.to_thread(archive.log_of, service, caller, archive_id)
    return StreamingResponse(pieces, media_type="application/gzip")


@router.post("/evidence/bundles")
async def bundles(service: ServiceDep, caller: CallerDep, body: BundlesAsk) -> StreamingResponse:
    """
    Bundles of several cases, one a line, in the order of the request.

    That they were taken is recorded before the first of them is sent.
    """
    recorded = await archive.bundles(service, caller, body.cases)
    return StreamingResponse(recorded.lines(), media_type="application/x-ndjson")
