"""Connections to a witness: who says nothing, or says it slowly, does not keep his place."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from muniment.interfaces.witness.connections import ImpatientProtocol

PATIENCE = 0.15
GET = b"GET / HTTP/1.1\r\nHost: witness\r\n\r\n"
SLOW = GET.replace(b"/ ", b"/slow ")


class Impatient(ImpatientProtocol):
    patience = PATIENCE


async def quick(_: Request) -> PlainTextResponse:
    return PlainTextResponse("quick")


async def slow(_: Request) -> PlainTextResponse:
    await asyncio.sleep(3 * PATIENCE)
    return PlainTextResponse("slow")


class Server(uvicorn.Server):
    """Signals are for the test's own process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes, answer: bytes) -> None:
        self.writer.write(request)
        async with asyncio.timeout(5):
            head = await self.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert await self.reader.readexactly(len(answer)) == answer

    async def is_closed(self) -> bytes:
        """What comes until the other side closes."""
        async with asyncio.timeout(5):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app = Starlette(routes=[Route("/", quick), Route("/slow", slow)])
    config = uvicorn.Config(
        app, http=Impatient, ws="none", lifespan="off", log_config=None, timeout_keep_alive=60
    )
    server = Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve([listener]))
    yield listener.getsockname()[1]
    server.should_exit = True
    await serving


@pytest.fixture
async def connection(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield Connection(reader, writer)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_connection_without_a_request_is_closed(connection: Connection) -> None:
    assert await connection.is_closed() == b""


async def test_a_request_that_comes_byte_by_byte_is_cut_off(connection: Connection) -> None:
    async def drip() -> None:
        for byte in GET * 100:
            connection.writer.write(bytes([byte]))
            await asyncio.sleep(PATIENCE / 5)

    dripping = asyncio.create_task(drip())
    assert await connection.is_closed() == b""
    dripping.cancel()


async def test_a_connection_that_falls_silent_after_an_answer_is_closed(
    connection: Connection,
) -> None:
    await connection.ask(GET, b"quick")
    connection.writer.write(GET[:10])
    assert await connection.is_closed() == b""


async def test_an_answer_that_takes_its_time_is_waited_for(connection: Connection) -> None:
    await connection.ask(SLOW, b"slow")
    await connection.ask(GET, b"quick")
    await connection.ask(SLOW, b"slow")


async def test_requests_that_come_before_their_turn_are_answered(connection: Connection) -> None:
    connection.writer.write(SLOW)
    await connection.ask(GET, b"slow")
    await connection.ask(b"", b"quick")
    await connection.ask(GET, b"quick")


async def test_a_head_without_end_is_refused(connection: Connection) -> None:
    connection.writer.write(b"GET / HTTP/1.1\r\nHost: witness\r\nX: " + b"x" * 20_000)
    assert (await connection.is_closed()).startswith(b"HTTP/1.1 400 ")
