"""How events come in: one transport a file, and what all of them hand their records to."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias

from muniment.errors import Unavailable
from muniment.oversight.event import MAX_RECORD, Reader

#: bytes that are read at a time: a record of the greatest length, and what shows that it ends
MAX_READ: Final = MAX_RECORD + (64 << 10)
#: records that are handed on at a time
MAX_RECORDS: Final = 5000
#: seconds between two attempts to hand something on: doubled each time, at most the second
FIRST_WAIT, LONGEST_WAIT = 0.25, 30.0
_log = logging.getLogger(__name__)

#: waits for so many seconds, or until it is to stop
Pause: TypeAlias = Callable[[asyncio.Event, float], Awaitable[None]]


class Taken(Protocol):
    """What became of the records that a source sent."""

    @property
    def kept(self) -> int: ...

    @property
    def rejected(self) -> int: ...


class Intake(Protocol):
    """Where records go."""

    async def take(
        self,
        source: str,
        records: Sequence[bytes],
        cursor: str | None = None,
        *,
        after: str | None = None,
    ) -> Taken:
        """
        Read, link and keep them; durable with the cursor when it returns. None is a sign of life.

        Raises `Unavailable`; then nothing was kept, and the same may be sent again. Raises
        `Conflict` where the cursor is not `after`, empty for none: another node has read on, or it
        was kept although the answer was lost.
        """
        ...

    def cursor(self, source: str) -> str | None:
        """Where to go on reading. Any thread may ask."""
        ...

    async def missed(self, source: str, why: str, *, count: int | None = None) -> None:
        """
        Record that something of a source was lost.

        `why` is `cursor`, it goes on elsewhere than it was left, or `count`, more was sent.
        """
        ...

    def reader(self, source: str) -> Reader:
        """A new one each time: what cuts one file remembers where it is in it."""
        ...


class Transport(Protocol):
    """Brings the records of one source."""

    async def run(self, intake: Intake, stop: asyncio.Event) -> None:
        """
        Until it is to stop, or cancelled.

        May raise anything: it is begun anew after a pause, where its cursor says.
        """
        ...


async def pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


async def hand_on(
    intake: Intake,
    source: str,
    records: Sequence[bytes],
    cursor: str | None,
    stop: asyncio.Event,
    pause: Pause = pause,
) -> bool:
    """
    Until it was taken: what is in our hands may be nowhere else any more.

    False if it is to stop before that; then nothing of it was kept. `Conflict` is for whoever runs
    the transport: it begins anew, where the cursor is by then.
    """
    wait, said = FIRST_WAIT, ""
    while True:
        try:
            await intake.take(source, records, cursor)
        except Unavailable as error:
            if str(error) != said:
                said = str(error)
                _log.warning("source `%s`: %d records wait: %s", source, len(records), error)
        else:
            return True
        if stop.is_set():
            return False
        await pause(stop, wait)
        wait = min(2 * wait, LONGEST_WAIT)
