"""The application object: routes, request ids, and what runs beside it."""

import asyncio
import contextlib
import gc
import logging
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from muniment import __version__
from muniment.interfaces.console import approvals, pages
from muniment.interfaces.console import campaigns as campaign_pages
from muniment.interfaces.console import findings as finding_pages
from muniment.interfaces.console import health as health_pages
from muniment.interfaces.console import holds as hold_pages
from muniment.interfaces.console import sign_in as sign_in_pages
from muniment.interfaces.http import (
    archives,
    authzen,
    campaigns,
    case_index,
    cases,
    drift,
    event_evidence,
    events,
    evidence,
    evidence_health,
    findings,
    holds,
    log,
    problems,
    reports,
    retention,
    scim,
    sign_in,
    signals,
    stories,
    system,
    token,
)
from muniment.interfaces.http.one_time import UnderWay
from muniment.interfaces.http.openapi import DescribedAPI
from muniment.runtime.bookkeeping import Bookkeeping
from muniment.runtime.duties import Duties
from muniment.runtime.scanning import Scanning
from muniment.runtime.upkeep import Upkeep
from muniment.runtime.wiring import Opened
from muniment.runtime.worker import Worker

#: what one of several nodes does: all of it, answer, or what is due
Role: TypeAlias = Literal["all", "api", "worker"]
#: seconds between two looks for due work where other nodes append to the log as well
APART: Final = 0.02
_WORKER: Final = (
    "this node is a worker: it does what is due, and tells of itself at /healthz, /readyz and "
    "/metrics; ask a node that was started with `--role api` or `all`"
)
MAX_BODY = 64 * 1024
#: how much of a client's own request id goes into our log
MAX_LOGGED_ID = 200
_log = logging.getLogger("muniment.http")
#: what answers: the API, then the pages of people
ROUTED: Final = (
    authzen,
    cases,
    stories,
    campaigns,
    findings,
    drift,
    events,
    holds,
    retention,
    reports,
    archives,
    evidence,
    evidence_health,
    case_index,
    event_evidence,
    log,
    sign_in,
    token,
    signals,
    system,
    approvals,
    pages,
    campaign_pages,
    finding_pages,
    health_pages,
    hold_pages,
    sign_in_pages,
)


def make_app(opened: Opened, folder: Path, *, work: bool = True, role: Role = "all") -> FastAPI:
    """
    The HTTP interface over an open service: the whole of it, or a worker's.

    `work` runs beside it what a node of this role has to do.
    """
    app = DescribedAPI(
        title="Muniment",
        version=__version__,
        summary="Just-in-time privileged access whose evidence outlives the access",
        lifespan=_lifespan(opened, work, role),
        redirect_slashes=False,
        telemetry={"tracing": False},
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
    )
    app.state.opened, app.state.folder = opened, folder
    app.router.routes.extend(system.health.routes)
    if role == "worker":
        app.router.routes.append(Mount("", _elsewhere))
    else:
        _answer_everything(app)
    problems.install(app)
    if role != "worker":
        pages.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(RequestFrame)
    return app


async def _elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
    """RFC 9110 section 15.5.20: it may well be answered, by another node."""
    if scope["type"] == "http":
        await problems.problem("about:blank", 421, _WORKER, Request(scope))(scope, receive, send)


def _answer_everything(app: FastAPI) -> None:
    app.state.under_way = UnderWay()
    app.router.routes.append(
        Route("/access/v1/evaluation", authzen.evaluate_directly, methods=["POST"])
    )
    app.router.routes.append(
        Route("/access/v1/requests", authzen.submit_directly, methods=["POST"])
    )
    for module in ROUTED:
        # as they are: routes of an included router are made anew, while the first who asks waits
        app.router.routes.extend(module.router.routes)
    app.router.routes.append(Mount(scim.PATH, scim.application))


def _worker(opened: Opened) -> Worker:
    worker = Worker(service=opened.service, heartbeat_every=opened.settings.log.heartbeat)
    if opened.shared and opened.settings.store is not None:
        worker.apart = APART
        worker.rest = min(worker.rest, opened.settings.store.lease.total_seconds() / 8)
        # by then whoever is not cut off has taken over what this node had claimed, and done it
        worker.unread_grace = 2 * opened.settings.store.lease
    return worker


def _bookkeeping(opened: Opened) -> Bookkeeping:
    service = opened.service
    return Bookkeeping(
        service=service,
        duties=Duties(service=service),
        heartbeat_every=opened.settings.log.heartbeat,
    )


def _upkeep(opened: Opened) -> Upkeep:
    # the settings are those in force: a reload changes them
    scanning = Scanning(service=opened.service, settings=lambda: opened.settings.drift)
    return Upkeep(service=opened.service, scanning=scanning, overseeing=opened.overseeing)


def _lifespan(opened: Opened, work: bool, role: Role) -> Any:
    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        worker = _worker(opened) if work and role != "api" else None
        books = worker.bookkeeping if worker is not None else _bookkeeping(opened)
        beside = (worker, _upkeep(opened)) if worker is not None else (books,)
        tasks = [asyncio.create_task(each.run()) for each in beside if work]
        if worker is not None and opened.overseeing is not None:
            await opened.overseeing.sources.start()
        # what stands now stays: without this each full collection walks all of it
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 50, 100)
        yield
        if worker is not None:
            await worker.drain()
        if work:
            await books.last_words()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    return lifespan


class BodyLimit:
    """
    No body is larger than its path allows, whether its length was declared or not.

    The framework's own limit answers in plain text, and from outside `RequestFrame`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = events.MOST if scope["path"].startswith(events.PATHS) else MAX_BODY
        too_large = f"a body has at most {most:,} bytes"
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared[:12]) > most:
            await problems.problem("about:blank", 413, too_large, Request(scope))(
                scope, receive, send
            )
            return
        size = 0

        async def receive_bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > most:
                raise HTTPException(413, too_large)
            return message

        await self._app(scope, receive_bounded, send)


class RequestFrame:
    """Around every request: an id, and one line in the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        # AuthZEN 1.0 section 10.1.3: an arbitrary string, and given back as it came
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        id_ = given or secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = id_
        started, status = time.perf_counter(), 0

        async def send_framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((b"x-request-id", id_.encode("latin-1")))
            await send(message)

        try:
            await self._app(scope, receive, send_framed)
        finally:
            took = round((time.perf_counter() - started) * 1000, 1)
            _log.info(
                "%s %s %d",
                scope["method"],
                scope["path"],
                status,
                extra={"request": id_[:MAX_LOGGED_ID], "ms": took},
            )
