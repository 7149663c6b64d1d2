"""
What is done so that others remember this log: publish, have stamped, copy, and index its cases.

It goes on beside the worker and holds up nothing there: ends, notices and appends wait for none of
these. Each piece of work is tried again by itself, for ever; what fails says so in the metrics.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from muniment.errors import MunimentError
from muniment.operations import index_cases, publish
from muniment.operations.service import Service

#: how often it is looked at what is due, in seconds
LOOK = 1.0
#: seconds between attempts at one piece of work: doubled each time, at most the second
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0
Work = Callable[[], Awaitable[object]]
_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Upkeep:
    """Runs until cancelled. One per service."""

    service: Service
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _attempts: dict[str, int] = field(default_factory=dict)
    #: in elapsed seconds
    _not_before: dict[str, float] = field(default_factory=dict)

    async def run(self) -> None:
        try:
            while True:
                self.start_due()
                await asyncio.sleep(LOOK)
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    def start_due(self) -> None:
        """Begin all that is due and not being worked on."""
        elapsed = self.service.log.clock.elapsed()
        try:
            due = list(self._due()) if self.service.log.trouble is None else []
        except MunimentError as error:  # the database cannot be read; the worker says so
            _log.warning("upkeep waits: %s", error)
            return
        for name, work in due:
            if name not in self._running and self._not_before.get(name, 0.0) <= elapsed:
                self._running[name] = asyncio.create_task(self._work(name, work), name=name)

    async def settle(self) -> None:
        """Wait until everything that was begun is done: for tests."""
        while self._running:
            await asyncio.wait(self._running.values())
            await asyncio.sleep(0)

    def _due(self) -> Iterator[tuple[str, Work]]:
        service, publishing = self.service, self.service.publishing
        if publish.is_due(service):
            yield "publish", partial(publish.publish, service)
        if index_cases.is_due(service, service.now()):
            yield "index", partial(index_cases.index, service)
        for name in publishing.authorities:
            if publish.is_stamp_due(service, name):
                yield f"stamp/{name}", partial(publish.stamp, service, name)
        for name in publishing.mirrors:
            if publish.is_mirror_due(service, name):
                yield f"mirror/{name}", partial(publish.copy, service, name)

    async def _work(self, name: str, work: Work) -> None:
        try:
            await self._attempt(name, work)
        finally:
            self._running.pop(name, None)

    async def _attempt(self, name: str, work: Work) -> None:
        failing = self.service.publishing.failing
        try:
            await work()
        except Exception as error:  # noqa: BLE001 (a bug in one must not stop the others)
            known = isinstance(error, MunimentError)
            if failing.get(name) != str(error):
                _log.error("upkeep, %s: %s", name, error, exc_info=not known)
            failing[name] = str(error)
            attempts = self._attempts[name] = self._attempts.get(name, 0) + 1
            wait = min(FIRST_WAIT * 2 ** min(attempts - 1, 16), LONGEST_WAIT)
            self._not_before[name] = self.service.log.clock.elapsed() + wait
            return
        failing.pop(name, None)
        self._attempts.pop(name, None)
        self._not_before.pop(name, None)
