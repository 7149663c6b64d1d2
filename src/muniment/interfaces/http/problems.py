"""
The only place where an error class becomes a status code.

Errors are RFC 9457 problem documents; under `/scim/v2`, what RFC 7644 has for them.
"""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from muniment import errors
from muniment.interfaces.http.context import is_uncertain

MEDIA_TYPE = "application/problem+json"
SCIM_MEDIA_TYPE = "application/scim+json"
SCIM_ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
_log = logging.getLogger(__name__)

#: the first class that an error is an instance of counts
STATUS: tuple[tuple[type[errors.MunimentError], int], ...] = (
    (errors.Unauthenticated, 401),
    (errors.NotPermitted, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.TooMany, 429),
    (errors.Refused, 403),
    (errors.Malformed, 422),
    (errors.NotCanonical, 422),
    (errors.TargetUnavailable, 502),
    (errors.Unavailable, 503),
    (errors.EvidenceError, 500),
)

#: what a record of another node may have changed: no answer for a node that cannot see them
_BY_WHAT_IS_KNOWN = (errors.Unauthenticated, errors.NotFound, errors.Conflict)


class ProfileProblem(errors.MunimentError):
    """an error that a specification gives a type of its own"""

    def __init__(self, type_: str, status: int, detail: str) -> None:
        self.type, self.status = type_, status
        super().__init__(detail)


def problem(
    type_: str, status: int, detail: str, request: Request, **extension: Any
) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {}
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["Retry-After"] = "5"
    if _is_scim(request):
        return _scim_error(type_, status, detail, headers)
    return JSONResponse(
        {
            "type": type_,
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "instance": getattr(request.state, "request_id", None),
            **extension,
        },
        status_code=status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def install(app: FastAPI) -> None:
    app.add_exception_handler(ProfileProblem, _profile)
    app.add_exception_handler(errors.MunimentError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(Exception, _bug)


async def _profile(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, ProfileProblem):
        raise error
    return problem(error.type, error.status, str(error), request)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, _BY_WHAT_IS_KNOWN) and is_uncertain(request):
        error = errors.LogUnavailable(
            f"this node cannot see what others record, and as far as it knows: {error}; ask "
            "another node, or again later"
        )
    status = next(code for cls, code in STATUS if isinstance(error, cls))
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        status = _malformed(request)
    if isinstance(error, errors.EvidenceError) and not isinstance(error, errors.NotCanonical):
        _log.critical("evidence does not hold: %s", error)
        status = HTTPStatus.SERVICE_UNAVAILABLE
    name = type(error).__name__
    kebab = "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")
    return problem(f"urn:muniment:error:{kebab}", status, str(error), request)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    lines = [
        f"`{'.'.join(str(part) for part in trouble['loc'][1:]) or 'body'}`: {trouble['msg']}"
        for trouble in error.errors()[:10]
    ]
    return problem("urn:muniment:error:malformed", _malformed(request), "; ".join(lines), request)


def _malformed(request: Request) -> int:
    """
    What is no request of a standard API is a bad request.

    AuthZEN 1.0 section 10.1.2; RFC 7644 section 3.12.
    """
    standard = request.url.path.startswith("/access/v1") or _is_scim(request)
    return 400 if standard else 422


def _is_scim(request: Request) -> bool:
    return request.url.path.startswith("/scim/v2")


def _scim_error(type_: str, status: int, detail: str, headers: dict[str, str]) -> JSONResponse:
    """RFC 7644 section 3.12. What only our own errors say, it has a word for, or none."""
    ours = {
        "urn:muniment:error:conflict": "uniqueness",
        "urn:muniment:error:malformed": "invalidValue",
    }
    word = ours.get(type_, "" if ":" in type_ else type_)
    body = {"detail": detail, "schemas": [SCIM_ERROR], "status": str(status)}
    return JSONResponse(
        {**body, "scimType": word} if word else body,
        status_code=status,
        media_type=SCIM_MEDIA_TYPE,
        headers=headers,
    )


async def of_http(request: Request, error: Exception) -> JSONResponse:
    """What the framework refuses: no such route, or not by this method."""
    if not isinstance(error, HTTPException):
        raise error
    return problem("about:blank", error.status_code, str(error.detail), request)


async def _bug(request: Request, error: Exception) -> JSONResponse:
    _log.exception("a bug", exc_info=error)
    return problem("about:blank", 500, "something went wrong on our side; it is logged", request)
