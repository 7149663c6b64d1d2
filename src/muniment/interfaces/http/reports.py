"""`/v1/reports` and what they carry: who asks for a report makes it himself, and says so here."""

import asyncio
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import Field

from muniment.errors import Malformed
from muniment.interfaces.http.cases import Body, named
from muniment.interfaces.http.context import CallerDep, ServiceDep
from muniment.operations import reading, report
from muniment.operations.report import Issued

router = APIRouter(prefix="/v1", tags=["evidence"])

_BYTES: Final = "application/octet-stream"
_DOCUMENT: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {_BYTES: {"schema": {"type": "string", "format": "binary"}}}}
}
_Name = Annotated[str, Field(min_length=1, max_length=64)]


class ReportMade(Body):
    framework: str = Field(min_length=1, max_length=40, pattern=r"^[a-z][a-z0-9-]*$")
    #: cases that were asked for at or after, and before
    since: datetime
    until: datetime
    #: on these resources alone; empty: on all
    resources: list[_Name] = Field(default=[], max_length=100)
    #: entries of the log that it is about
    size: int = Field(ge=1, le=2**53 - 1)
    #: SHA-256 of its `report.json`
    report: str = Field(pattern=r"^[0-9a-f]{64}$")


@router.post("/reports", status_code=201)
async def issue(service: ServiceDep, caller: CallerDep, body: ReportMade) -> dict[str, Any]:
    """Record a report that the caller has made, by its digest: `muniment report` does."""
    if body.since.tzinfo is None or body.until.tzinfo is None:
        raise Malformed("`since` and `until` have a zone: end them with `Z`")
    issued = Issued(
        framework=body.framework,
        since=body.since,
        until=body.until,
        resources=tuple(sorted(set(body.resources))),
        size=body.size,
        report=bytes.fromhex(body.report),
    )
    return {"case": await report.issue(service, caller, issued)}


@router.get("/reports")
async def issued(
    service: ServiceDep,
    caller: CallerDep,
    before: Annotated[str | None, Query(max_length=40)] = None,
) -> dict[str, Any]:
    """
    The reports that were made, newest first, for whoever may audit; `next` is the next `before`.

    Of each the size of the log that it is about, its root then, and the digest of `report.json`.
    """
    found, more = await asyncio.to_thread(report.issued, service, caller, before)
    await reading.note(service, caller, "reports", count=len(found))
    return named(service, {"reports": found, "next": more})


@router.get("/documents/{digest}", response_class=Response, responses=_DOCUMENT)
async def document(service: ServiceDep, caller: CallerDep, digest: str) -> Response:
    """A policy file, role definition or configuration, by the SHA-256 that records name it with."""
    content = await asyncio.to_thread(report.document, service, caller, digest)
    await reading.note(service, caller, "documents")
    return Response(content, media_type=_BYTES)
