"""What a route is handed: the open service, and who is calling."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from muniment.identity import tokens
from muniment.operations import delegation, sign_in
from muniment.operations.service import CATCHING_UP, Caller, Service
from muniment.runtime.wiring import Opened

#: what is asked, or asked for, on its own: nothing that came before it is acted upon
_ON_ITS_OWN = frozenset(f"/access/v1/{name}" for name in ("evaluation", "evaluations", "requests"))

#: taking away waits for nobody any longer than that others are asked once
_TAKES_AWAY = ("/end", "/revocation")

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
    await see_what_went_before(request)
    try:
        return await caller_of(service, tokens.bearer(request.headers.get("authorization")))
    except Exception:
        service.count("unauthenticated")
        raise


async def see_what_went_before(request: Request) -> None:
    """
    Whoever acts on what another node has answered finds it here, or is told that it may be missing.

    See `is_uncertain`. A node that stopped may keep the log from us for as long as its lease.
    """
    if request.method in ("GET", "HEAD") or request.url.path in _ON_ITS_OWN:
        return
    opened = get_opened(request)
    store = opened.settings.store
    lease = store.lease.total_seconds() if store is not None else 0.0
    if request.url.path.endswith(_TAKES_AWAY):
        lease = 0.0
    request.state.uncertain = not await opened.service.catch_up(lease + CATCHING_UP)


def is_uncertain(request: Request) -> bool:
    """Whether other nodes may have recorded what this one does not know, for a time."""
    service = get_opened(request).service
    troubled = service.shared and (service.log.trouble is not None or service.log.is_late)
    return troubled or getattr(request.state, "uncertain", False)


async def look_for(service: Service, token: str) -> None:
    """Another node may have given this token out just now."""
    hash_, registry = tokens.token_hash(token), service.registry
    if hash_ not in registry.sessions and hash_ not in registry.tokens:
        await service.catch_up()


async def caller_of(service: Service, token: str) -> Caller:
    """Who bears this token. Raises `Unauthenticated`, and `Unavailable` without known keys."""
    await look_for(service, token)
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
