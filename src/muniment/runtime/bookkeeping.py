"""
What every node sees to, whatever else it does: its own spool, and what it answered unrecorded.

Both lie with the process that has them; no other node can do it in its place.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import timedelta

from muniment.errors import MunimentError
from muniment.operations import end, heartbeat
from muniment.operations.service import Service
from muniment.runtime.duties import Duties

#: the duty to beat though there is nothing to say
HEARTBEAT = "heartbeat"
#: seconds between two looks, and that a stopping node takes for its last words
LOOK, LAST_WORDS = 1.0, 2.0
_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Bookkeeping:
    """One per service: part of its worker, or alone on a node that does no due work."""

    service: Service
    duties: Duties
    heartbeat_every: timedelta = timedelta(hours=1)
    _next_beat: float = 0.0
    _trouble: str = field(default="", init=False)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK)

    async def look(self) -> None:
        """Both of it; never raises for what is to be tried again."""
        try:
            await self.unspool()
            await self.beat()
        except MunimentError as error:
            if str(error) != self._trouble:
                _log.warning("nothing can be recorded: %s", error)
            self._trouble = str(error)
        else:
            self._trouble = ""

    async def unspool(self) -> None:
        """What was ended while the log was down comes first; but it holds up no other end."""
        try:
            await end.unspool(self.service)
        except MunimentError as error:
            _log.warning("the spool waits: %s", error)

    async def beat(self) -> None:
        """
        Every hour: whoever has counted something says it, and one of all nodes that it is there.

        What was answered unrecorded only the process knows that answered. That the log is silent
        because nobody lives any more has to show once, and not for each node: nodes come and go.
        """
        service, elapsed = self.service, self.service.log.clock.elapsed()
        troubled = service.log.trouble is not None
        due = elapsed >= self._next_beat
        leads = not troubled and self.duties.has(HEARTBEAT)
        if self._next_beat and (troubled or (due and (leads or service.unrecorded))):
            await heartbeat.beat(service)  # a log in trouble is tried again by it
        elif self._next_beat:
            return
        self._next_beat = elapsed + self.heartbeat_every.total_seconds()

    async def last_words(self) -> None:
        """Before a node stops: what it has counted, if that can be written."""
        if self.service.unrecorded and self.service.log.trouble is None:
            try:
                async with asyncio.timeout(LAST_WORDS):
                    await heartbeat.beat(self.service)
            except (TimeoutError, MunimentError) as error:
                _log.warning("what was answered unrecorded is not told: %s", error)
