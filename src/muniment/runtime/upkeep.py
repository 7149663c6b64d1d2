"""
What is done so that others know this log: publish, have stamped, copy, tell, and index its cases.

It goes on beside the worker and holds up nothing there: ends, notices and appends wait for none of
these. Each piece of work is done by one of several nodes, and is tried again by itself, for ever;
what fails says so in the metrics. Targets are held against the log in the same way, what sources
say is recorded, detectors see it, and it is measured how well the evidence would stand up.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from muniment.errors import MunimentError
from muniment.operations import erase_run, forward, index_cases, publish
from muniment.operations.service import Service
from muniment.runtime.duties import Duties
from muniment.runtime.measuring import MEASURE, Measuring
from muniment.runtime.overseeing import DETECT, Overseeing
from muniment.runtime.reviewing import REVIEWS, Reviewing
from muniment.runtime.scanning import DRIFT, Scanning

#: how often it is looked at what is due, in seconds
LOOK = 1.0
#: seconds between attempts at one piece of work: doubled each time, at most the second
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0
#: begins the names of what tells a sink of events
FORWARD = "forward/"
Work = Callable[[], Awaitable[object]]
_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Upkeep:
    """Runs until cancelled. One per service."""

    service: Service
    #: None: nobody looks at targets
    scanning: Scanning | None = None
    #: None: nobody takes in what sources say, and nothing is watched for
    overseeing: Overseeing | None = None
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _attempts: dict[str, int] = field(default_factory=dict)
    #: in elapsed seconds
    _not_before: dict[str, float] = field(default_factory=dict)
    #: why nothing could be begun the last time
    _trouble: str = ""
    _duties: Duties = field(init=False)
    _measuring: Measuring = field(init=False)
    _reviewing: Reviewing = field(init=False)

    def __post_init__(self) -> None:
        self._duties = Duties(service=self.service)
        self._measuring = Measuring(service=self.service)
        self._reviewing = Reviewing(service=self.service)

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
        """Begin all that is due, is this node's to do, and is not being worked on."""
        service = self.service
        if service.log.trouble is not None or service.outdated is not None:
            return  # who is a witness, and where copies are, is for the files in force to say
        try:
            due = [
                (name, work) for name, is_due, work in self._pieces() if self._is_ours(name, is_due)
            ]
        except MunimentError as error:
            if str(error) != self._trouble:
                _log.warning("upkeep waits: %s", error)
            self._trouble = str(error)
            return
        self._trouble = ""
        for name, work in due:
            self._running[name] = asyncio.create_task(self._work(name, work), name=name)

    def _is_ours(self, name: str, is_due: Callable[[], bool]) -> bool:
        """
        Whether this node begins it now.

        One that leads asks for that duty again also while it works on it or nothing is due; but not
        while it rests after a failure: another node may have better luck.
        """
        if self._not_before.get(name, 0.0) > self.service.log.clock.elapsed():
            return False
        if not self._duties.has(name):
            self._stand_by(name)
            return False
        return name not in self._running and is_due()

    def _stand_by(self, name: str) -> None:
        if name in self._running:
            return  # until it has come to its end it rests on what this would forget
        publish.stand_by(self.service.publishing, name)
        if name.startswith(FORWARD):
            forward.stand_by(self.service, name.removeprefix(FORWARD))
        if name == DETECT and self.overseeing is not None:
            self.overseeing.stand_by()
        self._attempts.pop(name, None)
        self._not_before.pop(name, None)

    async def settle(self) -> None:
        """Wait until everything that was begun is done: for tests."""
        while self._running:
            await asyncio.wait(self._running.values())
            await asyncio.sleep(0)

    def _pieces(self) -> Iterator[tuple[str, Callable[[], bool], Work]]:
        """Each piece of upkeep: its name, whether there is something to do, and doing it."""
        service, publishing = self.service, self.service.publishing
        yield "publish", partial(publish.is_due, service), partial(publish.publish, service)
        yield (
            "index",
            lambda: index_cases.is_due(service, service.now()),
            partial(index_cases.index, service),
        )
        yield MEASURE, self._measuring.is_due, self._measuring.measure
        yield REVIEWS, self._reviewing.is_due, self._reviewing.look
        yield (
            "retention",
            partial(erase_run.is_due, service),
            partial(erase_run.keep_up, service),
        )
        if self.scanning is not None:
            yield DRIFT, self.scanning.is_due, self.scanning.look
        for name in publishing.forwarding.streams:
            due = partial(forward.is_due, service, name)
            yield f"{FORWARD}{name}", due, partial(forward.forward, service, name)
        if self.overseeing is not None:
            yield from self.overseeing.pieces()
        for name in publishing.authorities:
            due = partial(publish.is_stamp_due, service, name)
            yield f"stamp/{name}", due, partial(publish.stamp, service, name)
        for name in publishing.mirrors:
            due = partial(publish.is_mirror_due, service, name)
            yield f"mirror/{name}", due, partial(publish.copy, service, name)

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
