"""`/v1/signals/{provider}`: security events that others push to us (RFC 8935)."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from muniment.errors import NotFound, Unauthenticated
from muniment.interfaces.http.context import ServiceDep
from muniment.operations import signals

router = APIRouter(tags=["signals"])

SET = "application/secevent+jwt"
_REQUEST = {
    "requestBody": {"required": True, "content": {SET: {"schema": {"type": "string"}}}},
}
_ERROR = {
    "description": "not taken; RFC 8935 section 2.3 says which codes there are",
    "content": {"application/json": {"schema": {"type": "object", "required": ["err"]}}},
}


@router.post(
    "/v1/signals/{provider}",
    status_code=202,
    response_class=Response,
    openapi_extra=_REQUEST,
    responses={400: _ERROR},
)
async def push(service: ServiceDep, request: Request, provider: str) -> Response:
    """Take one security event token. It is accepted once it stands in the log."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != SET:
        return _refused("invalid_request", f"the body has to be `{SET}`")
    try:
        token = (await request.body()).decode("ascii")
    except UnicodeDecodeError:
        return _refused("invalid_request", "the body is no security event token")
    try:
        signals.check_bearer(service, provider, request.headers.get("authorization"))
    except (NotFound, Unauthenticated) as error:
        service.count("unauthenticated")
        return _refused("authentication_failed", str(error))
    try:
        await signals.receive(service, provider, token)
    except Unauthenticated as error:
        service.count("unauthenticated")
        return _refused(signals.code(service, provider, token), str(error))
    return Response(status_code=202)


def _refused(code: str, description: str) -> JSONResponse:
    # RFC 8935 section 2.3: it has to say in which language the description is
    said: dict[str, Any] = {"err": code, "description": description}
    return JSONResponse(said, status_code=400, headers={"Content-Language": "en"})
