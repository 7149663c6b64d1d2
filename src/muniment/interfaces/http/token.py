"""`/v1/token`: token exchange (RFC 8693), by which a person's agent comes to act for him."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from muniment.errors import Malformed, NotFound, NotPermitted, Unauthenticated
from muniment.evidence import moment
from muniment.identity.tokens import MAX_TOKEN
from muniment.interfaces.http.authzen.profile import base_url
from muniment.interfaces.http.cases import Body, named
from muniment.interfaces.http.context import CallerDep, ServiceDep, caller_of
from muniment.operations import delegate
from muniment.operations.delegate import Handed, Origin
from muniment.operations.service import Service

router = APIRouter(tags=["delegation"])

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 (a name)
JWT = "urn:ietf:params:oauth:token-type:jwt"
FORM = "application/x-www-form-urlencoded"
_MAX_FIELDS = 30
#: RFC 8693 section 2.1: only these may be there more than once
_SEVERAL = ("resource", "audience")
_ORIGIN = ("task", "ticket", "alert", "prompt_hash", "agent_model", "agent_version")
_NUMBER = re.compile(r"[0-9]{1,9}")
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}  # RFC 6749 section 5.1


class OAuthError(Exception):
    """What RFC 6749 section 5.2 has a code for."""

    def __init__(self, code: str, description: str) -> None:
        self.code, self.description = code, description
        super().__init__(description)


_PARAMETERS: dict[str, dict[str, Any]] = {
    "grant_type": {"type": "string", "const": EXCHANGE},
    "subject_token": {"type": "string", "description": "the sponsor's, or a delegate's"},
    "subject_token_type": {"type": "string", "const": ACCESS_TOKEN},
    "actor_token": {"type": "string", "description": "the agent's own, or its platform's"},
    "actor_token_type": {"type": "string", "enum": [ACCESS_TOKEN, JWT]},
    "requested_token_type": {"type": "string", "const": ACCESS_TOKEN},
    "scope": {"type": "string", "description": "`resource/role`, several with blanks between"},
    "roles": {"type": "string", "description": "instead of `scope`: with commas between"},
    "max_seconds": {"type": "string", "description": "longest window that may be asked for"},
    "expires_in": {"type": "string", "description": "seconds; 900 without it, at most 3600"},
    "agent": {"type": "string", "description": "login of the agent that is meant"},
    **{name: {"type": "string"} for name in _ORIGIN},
}
_REQUEST = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": _PARAMETERS,
                    "required": ["grant_type", "subject_token", "subject_token_type",
                                 "actor_token", "actor_token_type"],
                }
            }
        },
    }
}  # fmt: skip
_REFUSED = {
    "description": "refused, with a code of RFC 6749 section 5.2 or RFC 8693 section 2.2.2",
    "content": {"application/json": {"schema": {"type": "object", "required": ["error"]}}},
}


@router.post("/v1/token", openapi_extra=_REQUEST, responses={400: _REFUSED})
async def exchange(service: ServiceDep, request: Request) -> Response:
    """A short token with which an agent acts for its sponsor, and may do less (RFC 8693)."""
    try:
        form = _parameters(request, await request.body())
        answer = await _exchange(service, form)
    except OAuthError as error:
        said = {"error": error.code, "error_description": error.description}
        return JSONResponse(said, status_code=400, headers=_NO_STORE)
    return JSONResponse(answer, headers=_NO_STORE)


async def _exchange(service: Service, form: Mapping[str, str]) -> dict[str, Any]:
    handed = _handed(form)
    given, shown = form["subject_token"], form["actor_token"]
    try:
        giver, agent = await caller_of(service, given), await caller_of(service, shown)
        signed_in = await delegate.delegate(service, giver, given, agent, shown, handed)
    except Unauthenticated as error:
        # RFC 8693 section 2.2.2: for a token that is invalid, or not acceptable, for any reason
        service.count("unauthenticated")
        raise OAuthError("invalid_request", str(error)) from error
    except (NotPermitted, NotFound) as error:
        raise OAuthError("invalid_scope", str(error)) from error
    opened = signed_in.session.opened
    answer = {
        "access_token": signed_in.token,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": int((opened.expires - service.now()).total_seconds()),
        "expires_at": moment.text(opened.expires),
        "session": signed_in.session.case,
        "principal": opened.principal,
    }
    if opened.delegation is None:
        return answer
    answer |= {
        "chain": list(opened.delegation.chain),
        "max_seconds": opened.delegation.max_seconds,
    }
    if opened.delegation.roles:
        answer["scope"] = " ".join(opened.delegation.roles)
    return named(service, answer)


def _parameters(request: Request, body: bytes) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        raise OAuthError("invalid_request", f"the body has to be `{FORM}`")
    try:
        pairs = parse_qsl(
            body.decode("ascii"), strict_parsing=True, max_num_fields=_MAX_FIELDS, errors="strict"
        )
    except ValueError:
        raise OAuthError("invalid_request", "the body is no form") from None
    found: dict[str, str] = {}
    here = base_url(request)
    for name, value in pairs:
        if name in _SEVERAL:
            if value.rstrip("/") != here:
                raise OAuthError("invalid_target", f"tokens are given for `{here}` only")
        elif name in found:
            raise OAuthError("invalid_request", "a parameter is there more than once")
        found[name] = value
    _check(found)
    return found


def _check(form: Mapping[str, str]) -> None:
    if form.get("grant_type") != EXCHANGE:
        code = "unsupported_grant_type" if form.get("grant_type") else "invalid_request"
        raise OAuthError(code, f"the grant type is `{EXCHANGE}`")
    for name in ("subject_token", "actor_token"):
        if not 0 < len(form.get(name, "")) <= MAX_TOKEN:
            raise OAuthError("invalid_request", f"`{name}` is missing, or too long")
    if form.get("subject_token_type") != ACCESS_TOKEN:
        raise OAuthError("invalid_request", f"`subject_token_type` is `{ACCESS_TOKEN}`")
    if form.get("actor_token_type") not in (ACCESS_TOKEN, JWT):
        raise OAuthError("invalid_request", f"`actor_token_type` is `{ACCESS_TOKEN}` or `{JWT}`")
    if form.get("requested_token_type", ACCESS_TOKEN) != ACCESS_TOKEN:
        raise OAuthError("invalid_request", f"only an `{ACCESS_TOKEN}` is given")
    if "scope" in form and "roles" in form:
        raise OAuthError("invalid_request", "`scope` and `roles` are two names of one thing")


def _handed(form: Mapping[str, str]) -> Handed:
    roles = form.get("scope", "").split() or form.get("roles", "").replace(",", " ").split()
    try:
        return Handed(
            roles=tuple(roles),
            max_seconds=_number(form, "max_seconds", 0),
            length=timedelta(
                seconds=_number(form, "expires_in", int(delegate.USUAL.total_seconds()))
            ),
            agent=form.get("agent", ""),
            origin=Origin(**{name: form[name] for name in _ORIGIN if name in form}),
        )
    except Malformed as error:
        raise OAuthError("invalid_request", str(error)) from error


def _number(form: Mapping[str, str], name: str, otherwise: int) -> int:
    text = form.get(name, str(otherwise))
    if not _NUMBER.fullmatch(text):
        raise Malformed(f"`{name}` is a number of seconds")
    return int(text)


# --- the end of a task ------------------------------------------------------------------------


class Task(Body):
    """Nothing: which task it is stands in the path."""


@router.post("/v1/tasks/{task}/end")
async def end_task(
    service: ServiceDep, caller: CallerDep, task: str, _body: Task | None = None
) -> dict[str, Any]:
    """Close every delegation for this task; access that was asked for under them ends, too."""
    closed = await delegate.end_task(service, caller, task)
    return named(
        service,
        {
            "task": task,
            "closed": [
                {"session": each.case, "principal": each.opened.principal} for each in closed
            ],
        },
    )
