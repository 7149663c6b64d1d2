"""The application object: routes, request ids, and what runs beside it."""

import asyncio
import contextlib
import gc
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from muniment import __version__
from muniment.interfaces.http import authzen, cases, evidence, problems, system
from muniment.interfaces.http.binding import Binding
from muniment.runtime.wiring import Opened
from muniment.runtime.worker import Worker

MAX_BODY = 64 * 1024
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_log = logging.getLogger("muniment.http")


def make_app(opened: Opened, folder: Path, *, work: bool = True) -> FastAPI:
    """The whole HTTP interface over an open service; `work` runs the worker beside it."""
    app = FastAPI(
        title="Muniment",
        version=__version__,
        summary="Just-in-time privileged access whose evidence outlives the access",
        lifespan=_lifespan(opened, work),
        redirect_slashes=False,
        max_body_size=MAX_BODY,
        telemetry={"tracing": False},
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
    )
    app.state.opened, app.state.folder, app.state.binding = opened, folder, Binding()
    app.router.routes.append(
        Route("/access/v1/requests", authzen.submit_directly, methods=["POST"])
    )
    for module in (authzen, cases, evidence, system):
        app.include_router(module.router)
    problems.install(app)
    app.add_middleware(RequestFrame)
    return app


def _lifespan(opened: Opened, work: bool) -> Any:
    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        worker = Worker(service=opened.service, heartbeat_every=opened.settings.log.heartbeat)
        task = asyncio.create_task(worker.run()) if work else None
        # what stands now stays: without this each full collection walks all of it
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 50, 100)
        yield
        if task is not None:
            await worker.drain()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    return lifespan


class RequestFrame:
    """Around every request: an id, and one line in the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        id_ = given if _REQUEST_ID.match(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = id_
        started, status = time.perf_counter(), 0

        async def send_framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((b"x-request-id", id_.encode()))
            await send(message)

        try:
            await self._app(scope, receive, send_framed)
        finally:
            _log.info(
                "%s %s %d",
                scope["method"],
                scope["path"],
                status,
                extra={"request": id_, "ms": round((time.perf_counter() - started) * 1000, 1)},
            )
