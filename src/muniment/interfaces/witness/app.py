"""
The HTTP interface of a witness, as C2SP tlog-witness has it, with health and metrics beside it.

One thread does all the work, in the order in which requests come: SQLite has one writer anyway, and
so no two requests about one log are ever judged at once. The event loop only reads and writes.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from typing import Final, ParamSpec, TypeVar

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from muniment import __version__
from muniment.errors import LogInvalid, Unavailable
from muniment.evidence.witness import MAX_REQUEST_BYTES, TEXT_TYPE, Cosigned, Outcome, Witness
from muniment.stores.witness_store import SQLiteWitnessStore

#: how long a client may take to send a request
PATIENCE_SECONDS: Final = 10.0

_ORIGIN_HASH: Final = re.compile(r"[0-9a-f]{64}")
_P = ParamSpec("_P")
_T = TypeVar("_T")


def make_app(
    witness: Witness,
    store: SQLiteWitnessStore,
    worker: Executor,
    patience: float = PATIENCE_SECONDS,
) -> Starlette:
    """`worker` has one thread; `patience` is in seconds."""
    http = _Http(witness, store, worker, patience)
    return Starlette(
        routes=[
            Route("/add-checkpoint", http.add_checkpoint, methods=["POST"]),
            Route("/{origin}/checkpoint", http.checkpoint, methods=["GET"]),
            Route("/healthz", http.healthz, methods=["GET"]),
            Route("/metrics", http.metrics, methods=["GET"]),
        ]
    )


class _Http:
    def __init__(
        self, witness: Witness, store: SQLiteWitnessStore, worker: Executor, patience: float
    ) -> None:
        self._witness = witness
        self._store = store
        self._worker = worker
        self._patience = patience

    async def add_checkpoint(self, request: Request) -> Response:
        """Cosign this checkpoint, or say why not."""
        try:
            async with asyncio.timeout(self._patience):
                body = await _body(request)
        except TimeoutError:
            return _left("the request took too long", 408)
        except ClientDisconnect:
            return _left("nobody is there any more", 400)
        if body is None:
            return _left(f"a request has at most {MAX_REQUEST_BYTES} bytes", 413)
        answer = await self._run(self._witness.add_checkpoint, body)
        return _plain(answer.body, answer.status, answer.content_type)

    async def checkpoint(self, request: Request) -> Response:
        """What was cosigned last for the log whose origin has this SHA-256."""
        origin = request.path_params["origin"]
        if _ORIGIN_HASH.fullmatch(origin) is None:
            return _plain("name the log by the SHA-256 of its origin in lower-case hex\n", 404)
        try:
            note = await self._run(self._store.named, bytes.fromhex(origin))
        except (Unavailable, LogInvalid):
            return _plain("the store of this witness does not answer\n", 503)
        if note is None:
            return _plain("this witness never cosigned a checkpoint of that log\n", 404)
        return _plain(note.decode(), 200)

    async def healthz(self, _request: Request) -> Response:
        """The process answers, and so does its store."""
        try:
            await self._run(self._store.latest, "")
        except (Unavailable, LogInvalid) as error:
            return JSONResponse({"status": str(error), "version": __version__}, 503)
        return JSONResponse({"status": "ok", "version": __version__})

    async def metrics(self, _request: Request) -> Response:
        """Prometheus text."""
        try:
            lines = await self._run(self._metrics)
        except (Unavailable, LogInvalid):
            return _plain("the store of this witness does not answer\n", 503)
        return _plain("\n".join(lines) + "\n", 200, "text/plain; version=0.0.4")

    def _metrics(self) -> list[str]:
        key = self._witness.verifier
        heads = {
            origin: Cosigned.open(note, origin, key) for origin, note in self._store.heads().items()
        }
        return [
            *_samples("cosigned_total", "counter", "origin", self._witness.cosigned.items()),
            *_samples("refused_total", "counter", "reason", self._witness.refused.items()),
            *_samples(
                "size", "gauge", "origin", ((o, head.checkpoint.size) for o, head in heads.items())
            ),
            *_samples(
                "cosigned_timestamp_seconds", "gauge", "origin",
                ((o, head.at) for o, head in heads.items()),
            ),
            *_samples("forks_kept", "gauge", "origin", self._kept(Outcome.FORKED)),
            *_samples("unproven_kept", "gauge", "origin", self._kept(Outcome.UNPROVEN)),
        ]  # fmt: skip

    def _kept(self, outcome: Outcome) -> Iterator[tuple[str, int]]:
        for (origin, kind), count in self._store.kept().items():
            if kind is outcome:
                yield origin, count

    async def _run(self, work: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, lambda: work(*arguments, **named))


async def _body(request: Request) -> bytes | None:
    """None once there is more of it than a request can have; the rest is not read."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_REQUEST_BYTES:
            return None
    return bytes(body)


def _plain(body: str, status: int, content_type: str = TEXT_TYPE) -> Response:
    # NOTE: as `media_type` it would be given a charset, which tlog-witness does not
    return Response(body, status, headers={"content-type": content_type})


def _left(why: str, status: int) -> Response:
    """An answer to a request that was not read to its end: the connection cannot go on."""
    headers = {"content-type": TEXT_TYPE, "connection": "close"}
    return Response(f"{why}\n", status, headers=headers)


def _samples(name: str, kind: str, label: str, values: Iterable[tuple[str, int]]) -> Iterator[str]:
    yield f"# TYPE muniment_witness_{name} {kind}"
    for labelled, value in sorted(values):
        # the text format of Prometheus escapes these three
        escaped = labelled.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        yield f'muniment_witness_{name}{{{label}="{escaped}"}} {value}'
