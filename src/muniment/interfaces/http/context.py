"""What a route is handed: the open service, and who is calling."""

from typing import Annotated

from fastapi import Depends, Request

from muniment.identity.tokens import authenticate
from muniment.operations.service import Caller, Service
from muniment.runtime.wiring import Opened


def get_opened(request: Request) -> Opened:
    opened: Opened = request.app.state.opened
    return opened


async def get_service(request: Request) -> Service:
    return get_opened(request).service


async def get_caller(request: Request) -> Caller:
    """Raises `Unauthenticated`; counted, not recorded."""
    service = get_opened(request).service
    try:
        principal = authenticate(
            service.registry, request.headers.get("authorization"), service.now()
        )
    except Exception:
        service.count("unauthenticated")
        raise
    return Caller(principal=principal, assurance="token")


ServiceDep = Annotated[Service, Depends(get_service)]
CallerDep = Annotated[Caller, Depends(get_caller)]
