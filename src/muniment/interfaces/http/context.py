"""What a route is handed: the open service, and who is calling."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from muniment.identity import tokens
from muniment.operations import delegation, sign_in
from muniment.operations.service import Caller, Service
from muniment.runtime.wiring import Opened

#: for the OpenAPI document: which operations need a token; what it is worth is for `authenticate`
BEARER = HTTPBearer(auto_error=False, description="A token that `muniment token create` made.")


def get_opened(request: Request) -> Opened:
    opened: Opened = request.app.state.opened
    return opened


async def get_service(request: Request) -> Service:
    return get_opened(request).service


async def get_caller(request: Request) -> Caller:
    """Raises `Unauthenticated`; counted, not recorded."""
    service = get_opened(request).service
    try:
        return await caller_of(service, tokens.bearer(request.headers.get("authorization")))
    except Exception:
        service.count("unauthenticated")
        raise


async def caller_of(service: Service, token: str) -> Caller:
    """Who bears this token. Raises `Unauthenticated`, and `Unavailable` without known keys."""
    caller = await _bearer(service, token)
    delegation.check_stands(service, caller)
    return caller


async def _bearer(service: Service, token: str) -> Caller:
    found = tokens.authenticate(service.registry, token, service.now())
    if found is None:
        opened = await sign_in.by_platform_token(service, token)
        principal = service.registry.principals[opened.opened.principal]
        return Caller(principal=principal, assurance="session", session=opened)
    return held_by(found, token)


def held_by(found: tokens.Authenticated, token: str) -> Caller:
    """Whoever bears a token that we made."""
    if found.session is not None:
        return Caller(principal=found.principal, assurance="session", session=found.session)
    hash_ = tokens.token_hash(token)
    return Caller(principal=found.principal, assurance="token", token=hash_)


async def _described_caller(
    request: Request, _token: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]
) -> Caller:
    return await get_caller(request)


ServiceDep = Annotated[Service, Depends(get_service)]
CallerDep = Annotated[Caller, Depends(_described_caller)]
