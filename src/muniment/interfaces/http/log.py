"""
`/log/…`: the log as C2SP tlog-tiles, under the checkpoint that was published last.

Entries hold no names and no secrets, but they say who did what by pseudonyms: without
`[log] public = true` the policy's `operate` question has to permit `follow`. Tiles are asked for
by the thousand; what is read here is counted by a proxy, and not recorded.
"""

import asyncio
import gzip
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.security.http import HTTPAuthorizationCredentials

from muniment.errors import Malformed, NotFound
from muniment.evidence.publishing import tile_bytes
from muniment.evidence.store import LogStore
from muniment.evidence.tiles import ENTRIES, Tile
from muniment.interfaces.http.context import BEARER, ServiceDep, get_caller, get_opened
from muniment.operations import permit, reading

#: seconds in which a follower may be shown an older checkpoint
CHECKPOINT_AGE: Final = 3
#: C2SP tlog-tiles: what is under a checkpoint never changes
YEAR: Final = 365 * 24 * 60 * 60
_BYTES: Final = "application/octet-stream"
_TILE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {_BYTES: {"schema": {"type": "string", "format": "binary"}}}}
}

#: of their own, and few: whoever reads the whole log takes no thread from other work
_READERS: Final = ThreadPoolExecutor(2, thread_name_prefix="log-reader")
_T = TypeVar("_T")

router = APIRouter(prefix="/log", tags=["log"])


async def get_cache(
    request: Request,
    service: ServiceDep,
    _token: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
) -> str:
    """Who may keep the answer. Raises `Unauthenticated` or `NotPermitted` for who may not read."""
    if get_opened(request).settings.log.public:
        return "public"
    permit.require(service, await get_caller(request), "follow")
    return "private"


CacheDep = Annotated[str, Depends(get_cache)]


@router.get("/checkpoint", response_class=PlainTextResponse)
async def checkpoint(service: ServiceDep, cache: CacheDep) -> Response:
    """The newest published checkpoint, with its cosignatures: C2SP tlog-checkpoint."""
    published = await _reading(service.log.store.published)
    if published is None:
        raise NotFound("no checkpoint has been published yet")
    return Response(
        published.note,
        media_type="text/plain; charset=utf-8",
        headers={"Cache-Control": f"{cache}, max-age={CHECKPOINT_AGE}"},
    )


@router.get("/tile/{tile:path}", response_class=Response, responses=_TILE)
async def tile(service: ServiceDep, cache: CacheDep, request: Request, tile: str) -> Response:
    """A tile or entry bundle under the newest published checkpoint, as C2SP tlog-tiles names it."""
    # the router matches a path that ends in a newline, and leaves the newline out
    rest = "" if request.scope["path"].endswith(tile) else "\n"
    try:
        wanted = Tile.parse(f"tile/{tile}{rest}")
    except Malformed as error:
        raise NotFound(str(error)) from error
    # C2SP tlog-tiles: entry bundles should be compressed; hashes cannot be
    zipped = wanted.level == ENTRIES and _takes_gzip(request)
    headers = {"Cache-Control": f"{cache}, max-age={YEAR}, immutable"}
    if wanted.level == ENTRIES:
        headers["Vary"] = "Accept-Encoding"
    if zipped:
        headers["Content-Encoding"] = "gzip"
    data = await _reading(partial(_read, service.log.store, wanted, zipped=zipped))
    if cache == "private":
        await reading.note(service, await get_caller(request), "log")
    return Response(data, media_type=_BYTES, headers=headers)


async def _reading(read: Callable[[], _T]) -> _T:
    return await asyncio.get_running_loop().run_in_executor(_READERS, read)


def _read(store: LogStore, wanted: Tile, *, zipped: bool) -> bytes:
    published = store.published()
    if published is None or not wanted.is_of(published.size):
        raise NotFound("no published checkpoint is over this tile")
    data = tile_bytes(store, wanted)
    return gzip.compress(data, 1, mtime=0) if zipped else data


def _takes_gzip(request: Request) -> bool:
    offered = request.headers.get("accept-encoding", "").split(",")
    return any(each.replace(" ", "") in ("gzip", "gzip;q=1", "gzip;q=1.0") for each in offered)
