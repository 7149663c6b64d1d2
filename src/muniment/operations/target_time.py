"""What a target's own clock says, by which it refuses an order that comes too late."""

import asyncio
from datetime import datetime, timedelta

from muniment.errors import TargetUnavailable
from muniment.ports import Connector

#: how long a target may take to tell its time: less than the log lets a decision grow old
CLOCK_READING = timedelta(seconds=3)


async def target_clock(connector: Connector) -> datetime:
    """A target's clock, read at once or not at all: a decision must not grow old over it."""
    try:
        return await asyncio.wait_for(connector.now(), CLOCK_READING.total_seconds())
    except TimeoutError:
        raise TargetUnavailable("the target does not tell its time") from None
