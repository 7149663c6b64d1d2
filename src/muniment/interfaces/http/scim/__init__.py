"""
SCIM 2.0 (RFC 7643, RFC 7644): an identity provider writes people and groups into the directory.

Mounted at `/scim/v2`. It is no part of the OpenAPI document: SCIM has its own description of itself
(`/ServiceProviderConfig`, `/ResourceTypes`, `/Schemas`), in a media type of its own.
"""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from muniment.interfaces.http.context import get_caller, get_service
from muniment.interfaces.http.problems import ProfileProblem
from muniment.operations.directory import directory_of

PATH = "/scim/v2"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Who calls is settled first: nothing is read, and no library loaded, for anybody else."""
    request = Request(scope, receive)
    service, caller = await get_service(request), await get_caller(request)
    request.state.directory = directory_of(service, caller)
    await _routes()(scope, receive, send)


def _routes() -> ASGIApp:
    try:
        # an extra, and slow to load
        from muniment.interfaces.http.scim.routes import router  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ProfileProblem(
            "", 501, f"`{error.name}` is not installed: pip install 'muniment[scim]'"
        ) from error
    return router
