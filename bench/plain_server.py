"""
HTTP alone: the service's kind of server with one authenticated route that decides nothing.

The same framework, event loop, request frame, body model and size of answer as
`POST /access/v1/requests`; a token is looked up by its hash. `/route` is declared as the product
declares its routes, `/bare` is a plain Starlette route on the same application.
"""

import asyncio
import gc
import hmac
import socket
import sys
from hashlib import sha256
from typing import Annotated

import orjson
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response

from muniment.interfaces.http.app import RequestFrame
from muniment.interfaces.http.authzen.messages import AccessRequest

TOKEN = "a-token-that-opens-nothing"  # noqa: S105 (as it says)
_KNOWN = {sha256(TOKEN.encode()).digest(): "ana"}
_ANSWER = {"task": {"id": "x" * 30, "status": "pending", "why": "y" * 1200}}

app = FastAPI()
app.add_middleware(RequestFrame)


async def get_caller(request: Request) -> str:
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    digest = sha256(given.encode()).digest()
    for known, login in _KNOWN.items():
        if hmac.compare_digest(known, digest):
            return login
    raise HTTPException(401)


@app.post("/route")
async def route(caller: Annotated[str, Depends(get_caller)], body: AccessRequest) -> Response:
    return _answer(caller, body)


async def bare(request: Request) -> Response:
    caller = await get_caller(request)
    return _answer(caller, AccessRequest.model_validate_json(await request.body()))


app.add_route("/bare", bare, methods=["POST"])


def _answer(caller: str, body: AccessRequest) -> Response:
    answer = {**_ANSWER, "caller": caller, "subject": body.subject.id}
    return Response(orjson.dumps(answer), status_code=202, media_type="application/json")


async def serve() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    # as the service's: asyncio sets it for sockets that name their protocol, which this does not
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(f"serves on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    config = uvicorn.Config(app, log_config=None, access_log=False)
    await uvicorn.Server(config).serve([listener])


if __name__ == "__main__":
    sys.setswitchinterval(0.0005)
    with asyncio.Runner() as runner:
        runner.run(serve())
