"""Operations on the event loop hear from the log's writer thread."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from muniment.errors import Stale
from muniment.operations.replies import Replies


def settle_in_another_thread(*futures: "Future[int]") -> None:
    def work() -> None:
        for number, future in enumerate(futures):
            future.set_result(number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_each_caller_gets_what_its_own_future_gives() -> None:
    async def ask() -> list[int]:
        replies, futures = Replies(), [Future[int]() for _ in range(100)]
        waiting = asyncio.gather(*(replies.of(future) for future in futures))
        await asyncio.sleep(0)
        settle_in_another_thread(*futures)
        return await waiting

    assert asyncio.run(ask()) == list(range(100))


def test_the_loop_is_called_once_for_all_that_was_settled_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[Callable[[], None]] = []

    async def ask() -> None:
        loop, replies, futures = asyncio.get_running_loop(), Replies(), [Future[int](), Future()]
        really = loop.call_soon_threadsafe

        def call(callback: Callable[[], None]) -> asyncio.Handle:
            calls.append(callback)
            return really(callback)

        monkeypatch.setattr(loop, "call_soon_threadsafe", call)
        waiting = asyncio.gather(*(replies.of(future) for future in futures))
        await asyncio.sleep(0)
        settle_in_another_thread(*futures)
        await waiting
        again = Future[int]()
        later = asyncio.ensure_future(replies.of(again))
        await asyncio.sleep(0)
        settle_in_another_thread(again)
        await later

    asyncio.run(ask())
    assert len(calls) == 2


def test_an_error_reaches_the_one_who_asked() -> None:
    async def ask() -> None:
        future = Future[int]()
        future.set_exception(Stale("moved"))
        await Replies().of(future)

    with pytest.raises(Stale, match="moved"):
        asyncio.run(ask())


def test_who_went_away_keeps_nobody_else_waiting() -> None:
    async def ask() -> int:
        replies, gone, stays = Replies(), Future[int](), Future[int]()
        leaver = asyncio.ensure_future(replies.of(gone))
        stayer = asyncio.ensure_future(replies.of(stays))
        await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.sleep(0)
        settle_in_another_thread(gone, stays)
        return await stayer

    assert asyncio.run(ask()) == 1
