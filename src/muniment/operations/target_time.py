"""What a target's own clock says, and how long a target may take to answer."""

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from muniment.errors import TargetUnavailable
from muniment.ports import Connector

#: how long a target may take to tell its time: less than the log lets a decision grow old
CLOCK_READING = timedelta(seconds=3)
#: seconds: of a time in which we could not listen, no more counts against a target
_HELD_UP: Final = 0.25
#: seconds that are listened in the end to what came meanwhile
_HEARING: Final = 0.05
_Answer = TypeVar("_Answer")


async def target_clock(connector: Connector) -> datetime:
    """A target's clock, read at once or not at all: a decision must not grow old over it."""
    try:
        return await answered_within(CLOCK_READING, connector.now())
    except TimeoutError:
        raise TargetUnavailable("the target does not tell its time") from None


async def answered_within(limit: timedelta, call: Coroutine[Any, Any, _Answer]) -> _Answer:
    """
    What a target answers to this call. Raises `TimeoutError`, and whatever the call does.

    Only the time for which we listen counts: a process that was held up, by a log that does not
    answer or by its machine, does not take an answer that waits to be read for a silent target.
    """
    answer, clock = asyncio.ensure_future(call), asyncio.get_running_loop().time
    left = limit.total_seconds()
    try:
        while left > 0 and not answer.done():
            began = clock()
            await asyncio.wait({answer}, timeout=min(left, _HELD_UP))
            left -= min(clock() - began, _HELD_UP)
        await asyncio.wait({answer}, timeout=_HEARING)
    finally:
        if not answer.done():
            answer.cancel()
            await asyncio.wait({answer})
    if answer.cancelled():
        raise TimeoutError
    return answer.result()
