"""`/v1/sign-in`: a browser's session for a token, a program's session for a browser's; and out."""

import hmac
from datetime import timedelta
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import Field

from muniment.access.fields import to_json
from muniment.errors import Conflict, NotPermitted, Unauthenticated
from muniment.evidence import moment
from muniment.identity import tokens
from muniment.interfaces.http.authzen.profile import base_url
from muniment.interfaces.http.cases import Body, named
from muniment.interfaces.http.context import CallerDep, ServiceDep, held_by
from muniment.interfaces.http.one_time import CODE_HOLDS, UnderWay
from muniment.interfaces.pkce import challenge
from muniment.operations import delegation, sign_in
from muniment.operations.service import Caller, Service
from muniment.ports import Secret

router = APIRouter(prefix="/v1", tags=["sign-in"])

#: how long a browser is signed in by a code
CODE_SESSION: Final = timedelta(hours=1)


class Exchange(Body):
    #: what the browser brought back
    code: str = Field(min_length=1, max_length=128)
    #: RFC 7636 section 4.1
    verifier: str = Field(pattern=r"^[A-Za-z0-9._~-]{43,128}$")


def under_way(request: Request) -> UnderWay:
    """Sign-ins that have begun in this process."""
    found: UnderWay = request.app.state.under_way
    return found


@router.post("/sign-in/code")
async def make_code(
    request: Request, response: Response, service: ServiceDep, caller: CallerDep
) -> dict[str, Any]:
    """
    A code for the holder of a static token to type into the page `/sign-in`.

    It opens one short session, within two minutes. A new one takes the place of the one before.
    """
    response.headers["Cache-Control"] = "no-store"
    if caller.principal.type != "human":
        raise NotPermitted("the pages are for people")
    if caller.session is not None:
        raise Conflict("only a static token gets a code: sign in on the page at your provider")
    token, now = tokens.bearer(request.headers.get("authorization")), service.now()
    code = under_way(request).codes.add(Secret(token), now, owner=caller.principal.id)
    return {
        "code": f"{code[:4]}-{code[4:]}",
        "expires": moment.text(now + CODE_HOLDS),
        "page": f"{base_url(request)}/sign-in",
    }


@router.post("/sign-in/exchange")
async def exchange(
    request: Request, response: Response, service: ServiceDep, body: Exchange
) -> dict[str, Any]:
    """
    The session that somebody promised a program in his browser, for the code and PKCE's verifier.

    The token is in this answer and nowhere else. A code works once, for whoever can show the
    verifier of its challenge.
    """
    response.headers["Cache-Control"] = "no-store"
    promised = under_way(request).promised.take(body.code, service.now())
    if promised is None or not hmac.compare_digest(promised.challenge, challenge(body.verifier)):
        service.count("unauthenticated")
        raise Unauthenticated("this code is unknown, used or too old; sign in again")
    signed_in = await sign_in.beside(service, holder(service, promised.token.reveal()))
    opened = signed_in.session.opened
    return named(
        service,
        {
            "token": signed_in.token,
            "principal": opened.principal,
            "expires": moment.text(opened.expires),
        },
    )


@router.post("/sign-out")
async def sign_out(service: ServiceDep, caller: CallerDep) -> dict[str, Any]:
    """End the session that this token stands for; recorded."""
    await sign_in.sign_out(service, caller)
    return {"principal": caller.principal.id}


def holder(service: Service, token: str) -> Caller:
    """Who holds a token that we made. Raises `Unauthenticated`."""
    found = tokens.authenticate(service.registry, token, service.now())
    if found is None:
        raise Unauthenticated("this is no token of ours")
    caller = held_by(found, token)
    delegation.check_stands(service, caller)
    return caller


def described(caller: Caller) -> dict[str, Any] | None:
    """How somebody is signed in; None for a static token."""
    if caller.session is None:
        return None
    opened = caller.session.opened
    return {
        "provider": opened.provider,
        "method": opened.method,
        "authenticated_at": moment.text(opened.authenticated_at),
        "second_factor": opened.mfa,
        "expires": moment.text(opened.expires),
        "delegation": to_json(opened.delegation),
    }
