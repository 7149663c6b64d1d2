"""
The clock-driven work: expire, finish ends, undo interrupted orders, lapse, sweep, heartbeat.

There is no recovery apart from this: what a crash left behind is due work like any other.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from muniment.access.lifecycle import ENDS, LIVE
from muniment.errors import MunimentError
from muniment.evidence import moment
from muniment.operations import end, extend, heartbeat, issue, sweep, withdraw
from muniment.operations.projection import order_over
from muniment.operations.service import Service

#: how many cases are worked on at once
CONCURRENCY = 32
#: the longest that the worker sleeps without anything being due
REST = 1.0
#: between attempts on one case: doubled each time, at most this
LONGEST_WAIT = timedelta(minutes=5)
SWEEP_EVERY = timedelta(minutes=1)
SWEEP_SHARE = 200
_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Worker:
    """Runs until cancelled. One per service."""

    service: Service
    heartbeat_every: timedelta = timedelta(hours=1)
    #: called with the cases whose projection was wrong and has been rebuilt
    on_wrong: Callable[[list[str]], None] = lambda _: None
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _attempts: dict[str, int] = field(default_factory=dict)
    _swept: str | None = None
    _draining: bool = False
    _next_sweep: float = 0.0
    _next_beat: float = 0.0

    async def run(self) -> None:
        try:
            while True:
                self.service.wake.clear()
                await self.tick()
                await self._rest()
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def tick(self) -> None:
        """Start work on everything that is due, up to the limit; never raises for a case."""
        try:
            await self._tick()
        except MunimentError as error:
            _log.warning("the worker could not look: %s", error)

    async def drain(self, seconds: float = 10.0) -> None:
        """Take on nothing new; give what runs a moment to finish."""
        self._draining = True
        if self._running:
            await asyncio.wait(self._running.values(), timeout=seconds)

    async def settle(self) -> None:
        """Wait until everything that was started is done: for a drain, and for tests."""
        while self._running:
            await asyncio.wait(self._running.values())
            await asyncio.sleep(0)

    async def _tick(self) -> None:
        now = self.service.log.clock.due()
        if self.service.spool.waiting():
            with contextlib.suppress(MunimentError):
                await end.unspool(self.service)
        for case in self.service.projections.due(moment.text(now), limit=CONCURRENCY * 4):
            if self._draining or len(self._running) >= CONCURRENCY:
                break
            if case not in self._running:
                self._start(case)
        await self._housekeeping()

    def _start(self, case: str) -> None:
        task = asyncio.create_task(self._work(case), name=f"work on {case}")
        self._running[case] = task
        task.add_done_callback(lambda _: self._done(case))

    def _done(self, case: str) -> None:
        self._running.pop(case, None)
        self.service.wake.set()

    async def _work(self, case: str) -> None:
        try:
            settled = await attend(self.service, case)
        except MunimentError as error:
            _log.warning("work on case %s failed: %s", case, error)
            settled = False
        except Exception:
            _log.exception("work on case %s failed", case)
            settled = False
        if settled:
            self._attempts.pop(case, None)
        else:
            self._put_off(case)

    def _put_off(self, case: str) -> None:
        attempts = self._attempts[case] = self._attempts.get(case, 0) + 1
        wait = min(timedelta(milliseconds=250) * 2 ** min(attempts - 1, 12), LONGEST_WAIT)
        with contextlib.suppress(MunimentError):
            self.service.projections.put_off(case, moment.text(self.service.log.clock.due() + wait))

    async def _rest(self) -> None:
        """Until something comes due, or somebody appends, or the rest is over."""
        wait = REST
        due = self.service.projections.next_due()
        if due is not None and len(self._running) < CONCURRENCY:
            now = self.service.log.clock.due()
            wait = min(wait, (moment.parse(due) - now).total_seconds())
            if wait <= 0 and self._all_running(now):
                wait = REST
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.service.wake.wait(), max(wait, 0.001))

    def _all_running(self, now: datetime) -> bool:
        due = self.service.projections.due(moment.text(now), limit=CONCURRENCY * 4)
        return all(case in self._running for case in due)

    async def _housekeeping(self) -> None:
        elapsed = self.service.log.clock.elapsed()
        if elapsed >= self._next_sweep:
            self._next_sweep = elapsed + SWEEP_EVERY.total_seconds()
            self._sweep()
        if elapsed >= self._next_beat:
            if self._next_beat:
                await heartbeat.beat(self.service)
            self._next_beat = elapsed + self.heartbeat_every.total_seconds()

    def _sweep(self) -> None:
        """A rotating share of the projections is held against the log."""
        rows = self.service.projections.cases(before=self._swept, limit=SWEEP_SHARE)
        self._swept = rows[-1].case if len(rows) == SWEEP_SHARE else None
        wrong = sweep.check_some(self.service, [row.case for row in rows])
        if wrong:
            _log.critical("projections contradicted the log and were rebuilt: %s", wrong)
            sweep.rebuild(self.service)
            self.on_wrong(wrong)


async def attend(service: Service, case_id: str) -> bool:
    """
    Do what a case needs now. True if it needs nothing more until its next moment.

    What to do is read from the fold of the case, never from the row that said it is due.
    """
    case, _ = service.read(case_id)
    now = service.log.clock.due()
    if case.closed:
        service.projections.put_off(case_id, None)
        return True
    if case.state in ENDS:
        return (await end.finish(service, case_id)).closed
    if case.state in LIVE and case.until is not None and now >= case.until:
        return (await end.expire(service, case_id)).closed
    if case.state in LIVE and case.order_open and case_id not in service.ordering:
        await issue.undo(service, case_id)
        return True
    if case.state == "issued" and case.extension is not None and not case.extension.missing:
        await extend.carry_out(service, case_id)
        return True
    if case.state in withdraw.WITHDRAWABLE:
        await withdraw.lapse(service, case_id)
        return True
    over = order_over(case)
    return over is not None and over > now
