"""How long a target may take to answer, and what does not count against it."""

import asyncio
import socket
import threading
import time
from datetime import timedelta

import pytest

from muniment.errors import TargetUnavailable
from muniment.operations.target_time import answered_within

SHORT = timedelta(milliseconds=20)


async def test_a_target_that_stays_silent_is_waited_for_so_long_and_then_left() -> None:
    left = asyncio.Event()

    async def silent() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    with pytest.raises(TimeoutError):
        await answered_within(SHORT, silent())
    assert left.is_set()


@pytest.mark.parametrize(
    ("may_take", "held_up"),
    [(timedelta(seconds=0.1), 0.2), (timedelta(seconds=0.6), 0.8)],
    ids=["at its end", "long before its end"],
)
async def test_an_answer_that_came_while_we_could_not_listen_is_read(
    may_take: timedelta, held_up: float
) -> None:
    loop = asyncio.get_running_loop()
    here, there = await asyncio.open_connection(*await answering())
    there.write(b"?")
    loop.call_later(0.005, time.sleep, held_up)
    assert await answered_within(may_take, here.readexactly(1)) == b"!"
    there.close()


async def answering() -> tuple[str, int]:
    """A target that takes a moment, on a thread of its own."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server, server.accept()[0] as link:
            link.recv(1)
            time.sleep(0.05)
            link.sendall(b"!")

    threading.Thread(target=serve, daemon=True).start()
    host, port = server.getsockname()
    return host, port


async def test_a_trouble_of_the_target_is_told_as_it_is() -> None:
    async def broken() -> None:
        raise TargetUnavailable("it is down")

    with pytest.raises(TargetUnavailable, match="it is down"):
        await answered_within(SHORT, broken())


async def test_whoever_stops_waiting_stops_the_call_too() -> None:
    begun, left = asyncio.Event(), asyncio.Event()

    async def silent() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    waiting = asyncio.create_task(answered_within(timedelta(hours=1), silent()))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert left.is_set()
