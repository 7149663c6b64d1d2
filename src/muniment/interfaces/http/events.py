"""
`/v1/events/{source}`: events that are posted by whoever may; `/hooks/{source}`: signed webhooks.

Whoever posts is known before a body is read, or at least says that it is signed. The body is what
the source's reader takes: CloudEvents, OCSF, JSON or lines of it.
"""

import asyncio
import base64
import json
from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from muniment.errors import Malformed, NotFound, Unauthenticated, Unreadable
from muniment.interfaces.http.context import CallerDep, ServiceDep, get_opened
from muniment.interfaces.http.problems import problem
from muniment.operations import permit
from muniment.runtime.sources.posted import MAX_BODY, Door, Posted
from muniment.runtime.sources.unpacked import unpacked

router = APIRouter(tags=["events"])

#: how the paths begin whose bodies may be larger than others
PATHS: Final = ("/v1/events/", "/hooks/")
#: bytes of such a body, and of what comes out of one that was packed
MOST: Final = MAX_BODY
#: seconds within which a body has to be there
PATIENCE: Final = 30.0
TOTAL: Final = "Muniment-Sent-Total"
_DIGITS: Final = 15
#: CloudEvents HTTP binding 1.0 section 3.1.3.1
_ATTRIBUTE: Final = "ce-"
_JSON: Final[dict[str, Any]] = {"application/json": {"schema": {}}}
_REQUEST: Final = {"requestBody": {"required": True, "content": _JSON}}
_COUNTED: Final = {
    "parameters": [
        {
            "name": TOTAL,
            "in": "header",
            "required": False,
            "description": "how many records this sender has sent so far, with these; a gap shows",
            "schema": {"type": "integer", "minimum": 0},
        }
    ]
}


@router.post("/v1/events/{source}", status_code=202, openapi_extra={**_REQUEST, **_COUNTED})
async def push(
    service: ServiceDep, caller: CallerDep, request: Request, source: str
) -> dict[str, Any]:
    """Keep what a target, or somebody between, tells. Answered once it is durable."""
    permit.require(service, caller, "observe")
    door, total = _door(request, source, "push"), _total(request)
    door.count()
    with door.holding():
        body = _as_one(request, await _body(request))
        return _told(await door.push(body, caller.principal.id, total))


@router.post("/hooks/{source}", status_code=202, openapi_extra=_REQUEST, response_model=None)
async def deliver(
    service: ServiceDep, request: Request, source: str
) -> dict[str, Any] | JSONResponse:
    """Keep what a webhook brings, signed by whom it should be. Each delivery counts once."""
    door, headers = _door(request, source, "webhook"), dict(request.headers)
    try:
        door.look_at(headers)
        with door.holding():
            body = await _raw(request)
            delivery = door.check(headers, body, service.now())
            door.count()
            return _told(await door.deliver(_opened(request, body), delivery))
    except Unauthenticated as error:
        service.count("unauthenticated")
        return problem("urn:muniment:error:unauthenticated", 401, str(error), request)


def _door(request: Request, source: str, kind: Literal["push", "webhook"]) -> Door:
    overseeing = get_opened(request).overseeing
    if overseeing is None:
        raise NotFound("this service observes nothing")
    return overseeing.sources.door(source, kind)


def _total(request: Request) -> int | None:
    said = request.headers.get(TOTAL)
    if said is None:
        return None
    if not (said.isascii() and said.isdecimal() and len(said) <= _DIGITS):
        raise Malformed(f"`{TOTAL}` is a whole number: how many records were sent so far")
    return int(said)


async def _body(request: Request) -> bytes:
    return _opened(request, await _raw(request))


async def _raw(request: Request) -> bytes:
    """`BodyLimit` has bounded it."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await request.body()
    except TimeoutError as error:
        raise Malformed(f"the body did not come within {PATIENCE:g} s") from error


def _opened(request: Request, body: bytes) -> bytes:
    packing = request.headers.get("content-encoding", "").strip().lower()
    if packing in ("", "identity"):
        return body
    if packing != "gzip":
        raise Malformed("the body is packed by what is not known here; take gzip, or nothing")
    return unpacked(body, MOST)


def _as_one(request: Request, body: bytes) -> bytes:
    """An event whose attributes are headers, as if it were in the structured mode."""
    if f"{_ATTRIBUTE}specversion" not in request.headers:
        return body
    event: dict[str, Any] = {
        name.removeprefix(_ATTRIBUTE): value
        for name, value in request.headers.items()
        if name.startswith(_ATTRIBUTE)
    }
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind:
        event["datacontenttype"] = kind
    if kind.endswith(("/json", "+json")):
        try:
            event["data"] = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Unreadable("the data of the event is no JSON") from error
    elif body:
        event["data_base64"] = base64.b64encode(body).decode()
    return json.dumps(event).encode()


def _told(posted: Posted) -> dict[str, Any]:
    return {"kept": posted.kept, "rejected": posted.rejected, "known": posted.known}
