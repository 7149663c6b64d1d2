"""Connections to the service: endless heads and slow clients do not use it up."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from muniment.interfaces.http.connections import MAX_HEAD, BoundedProtocol

PATIENCE = 0.2
GET = b"GET / HTTP/1.1\r\nHost: muniment\r\n\r\n"


class Impatient(BoundedProtocol):
    patience = PATIENCE


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def slow(_: Request) -> PlainTextResponse:
    await asyncio.sleep(3 * PATIENCE)
    return PlainTextResponse("slow")


class Server(uvicorn.Server):
    """Signals are for the test's own process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@pytest.fixture
async def port() -> AsyncIterator[int]:
    routes = [Route("/", echo, methods=["GET", "POST"]), Route("/slow", slow)]
    config = uvicorn.Config(
        Starlette(routes=routes), http=Impatient, lifespan="off", log_config=None,
        timeout_keep_alive=60,
    )  # fmt: skip
    server, listener = Server(config), socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve([listener]))
    yield listener.getsockname()[1]
    server.should_exit = True
    await serving


async def ask(port: int, *sent: bytes) -> bytes:
    """What comes back until the other side closes, or one answer is whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            for part in sent:
                writer.write(part)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
            return await reader.read(64)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_request_is_answered(port: int) -> None:
    assert (await ask(port, GET)).startswith(b"HTTP/1.1 200")


async def test_several_requests_on_one_connection_are_answered(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for size in (0, 10, 60_000, 5):
        body = b"x" * size
        writer.write(b"POST / HTTP/1.1\r\nHost: m\r\nContent-Length: %d\r\n\r\n" % size + body)
        async with asyncio.timeout(10):
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(str(size))) == str(size).encode()
    writer.close()


async def test_a_head_without_end_is_refused(port: int) -> None:
    headers = [b"x-%d: %s\r\n" % (n, b"y" * 1000) for n in range(MAX_HEAD // 1000 + 20)]
    answer = await ask(port, b"GET / HTTP/1.1\r\n", *headers)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


async def test_an_address_without_end_is_refused(port: int) -> None:
    answer = await ask(port, b"GET /", *([b"a" * 8000] * 20))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


async def test_who_says_nothing_is_sent_away(port: int) -> None:
    assert await ask(port) == b""


async def test_who_does_not_finish_a_head_is_sent_away(port: int) -> None:
    assert await ask(port, GET[:-2]) == b""


async def test_who_does_not_finish_a_body_is_sent_away(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: m\r\nContent-Length: 10\r\n\r\n"
    assert await ask(port, head, b"12345") == b""


async def test_an_answer_may_take_longer_than_a_question(port: int) -> None:
    assert (await ask(port, GET.replace(b"/ ", b"/slow "))).startswith(b"HTTP/1.1 200")


#: a body of three bytes, and then the headers that may follow one
TRAILED = b"POST / HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"


@pytest.mark.parametrize("line", [b"x: y\r\n" * 700, b"y" * 4096], ids=["many", "one"])
async def test_headers_after_a_body_are_bounded_like_those_before_it(
    port: int, line: bytes
) -> None:
    answer = await ask(port, TRAILED + b"x: ", *[line] * 500, b"\r\n\r\n")
    assert not answer.startswith(b"HTTP/1.1 200")


async def test_a_few_headers_after_a_body_do_no_harm(port: int) -> None:
    answer = await ask(port, TRAILED + b"x-checksum: abc\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
