"""From the log's writer to the event loop: one call for all that a batch answers."""

import asyncio
from collections import deque
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
_Reply = tuple["asyncio.Future[Any]", "Future[Any]"]


class Replies:
    """
    Lets many operations of one event loop wait for futures that another thread settles.

    `asyncio.wrap_future` wakes the loop anew for each future; a batch settles dozens at once.
    """

    def __init__(self) -> None:
        self._settled: deque[_Reply] = deque()
        #: the loop that was called and has not come yet
        self._called: asyncio.AbstractEventLoop | None = None

    async def of(self, future: "Future[T]") -> T:
        """What the future gives, or its error. Who is cancelled meanwhile leaves it as it is."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[T] = loop.create_future()
        future.add_done_callback(lambda settled: self._give(loop, waiter, settled))
        return await waiter

    def _give(
        self, loop: asyncio.AbstractEventLoop, waiter: "asyncio.Future[T]", settled: "Future[T]"
    ) -> None:
        """Called by the thread that settled it."""
        self._settled.append((waiter, settled))
        if self._called is not loop and not loop.is_closed():
            self._called = loop
            loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        # first, so that what is settled from here on calls again
        self._called = None
        while self._settled:
            waiter, settled = self._settled.popleft()
            if waiter.done():
                continue
            error = settled.exception()
            if error is not None:
                waiter.set_exception(error)
            else:
                waiter.set_result(settled.result())
