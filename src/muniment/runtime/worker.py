"""
The clock-driven work: expire, finish ends, undo interrupted orders, lapse, sweep, heartbeat.

There is no recovery apart from this: what a crash left behind is due work like any other.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from muniment.access.case import ENDS, LIVE
from muniment.errors import MunimentError
from muniment.evidence import moment
from muniment.operations import (
    callback,
    cascade,
    end,
    extend,
    heartbeat,
    issue,
    notify,
    signals,
    sweep,
    withdraw,
)
from muniment.operations.cascade import CASCADE
from muniment.operations.owed import NOTICE
from muniment.operations.projection import CALLBACK, order_over
from muniment.operations.service import Service

#: how many cases are worked on at once
CONCURRENCY = 32
#: how many of them may wait for others' servers to take a notice, and for one of these: ends come
#: first, and a server that does not answer holds up no other
TELLING, TELLING_ONE = 12, 4
#: the longest that the worker sleeps without anything being due
REST = 1.0
#: seconds between attempts on one case: doubled each time, for ever, at most the second
FIRST_WAIT, LONGEST_WAIT = 0.25, 300.0
#: what one thing that lost its ground does not let end keeps no other waiting longer than this
LONGEST_CASCADE_WAIT = 5.0
MOST_DUE = 10_000
SWEEP_EVERY = timedelta(minutes=1)
POLL_EVERY = timedelta(seconds=30)
#: begins the names of work that asks a provider for signals
POLL = "poll/"
#: records of the rotating share, and the most of the tail, that are looked at each time
SWEEP_SHARE, SWEEP_TAIL = 500, 2000
_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Worker:
    """Runs until cancelled. One per service."""

    service: Service
    heartbeat_every: timedelta = timedelta(hours=1)
    #: called with the cases whose projection was wrong and has been rebuilt
    on_wrong: Callable[[list[str]], None] = lambda _: None
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    #: how many pieces of work were begun, ever
    _begun: int = 0
    _attempts: dict[str, int] = field(default_factory=dict)
    #: cases that are due and wait for their next attempt, in elapsed seconds
    _not_before: dict[str, float] = field(default_factory=dict)
    #: ended while the database could not be read
    _ended_unread: set[str] = field(default_factory=set)
    #: the moment up to which due work was looked at: what comes due after it wakes the worker
    _looked: str = ""
    #: log sizes: up to where the tail was swept, and where the rotating share begins
    _swept: int = 0
    _turn: int = 0
    _draining: bool = False
    _next_sweep: float = 0.0
    _next_beat: float = 0.0
    #: when each provider is asked for signals again, in elapsed seconds
    _next_poll: dict[str, float] = field(default_factory=dict)

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
            await self._end_unread()

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

    async def catch_up(self) -> None:
        """Do all that is due at this moment, to rest: for tests, and before a planned stop."""
        begun = -1
        while begun != self._begun:
            begun = self._begun
            await self.tick()
            await self.settle()

    def next_look(self) -> float | None:
        """Seconds until something has to be looked at; None while nothing is in sight."""
        clock = self.service.log.clock
        waits = [at - clock.elapsed() for at in self._not_before.values()]
        due = self.service.projections.next_due(self._looked)
        if due is not None:
            waits.append((moment.parse(due) - clock.due()).total_seconds())
        return min(waits, default=None)

    async def _tick(self) -> None:
        await self._unspool()
        for case in self._ready():
            if self._draining or len(self._running) >= CONCURRENCY:
                break
            if self._has_room(case):
                self._start(case)
        self._poll()
        await self._housekeeping()

    def _poll(self) -> None:
        """Beside the limit: an end that somebody tells us of comes as soon as any other."""
        elapsed = self.service.log.clock.elapsed()
        for work in (f"{POLL}{name}" for name in signals.polled(self.service)):
            if work in self._running or elapsed < self._next_poll.get(work, 0.0) or self._draining:
                continue
            self._next_poll[work] = elapsed + POLL_EVERY.total_seconds()
            self._start(work)

    async def _unspool(self) -> None:
        """What was ended while the log was down comes first; but it holds up no other end."""
        try:
            await end.unspool(self.service)
        except MunimentError as error:
            _log.warning("the spool waits: %s", error)

    async def _end_unread(self) -> None:
        """The database cannot be read: ends go on by what the log said before."""
        now = self.service.log.clock.due()
        for grant in list(self.service.registry.grants.values()):
            if grant.ended or grant.until > now or grant.case in self._ended_unread:
                continue
            try:
                await end.expire_unread(self.service, grant)
            except (TimeoutError, MunimentError) as error:
                _log.warning("case %s could not be ended: %s", grant.case, error)
            else:
                self._ended_unread.add(grant.case)

    def _start(self, case: str) -> None:
        self._begun += 1
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
        except Exception:  # noqa: BLE001 (a bug in one case must not stop the others' ends)
            _log.exception("work on case %s failed", case)
            settled = False
        if settled:
            self._forget([case])
        else:
            self._put_off(case)

    def _put_off(self, case: str) -> None:
        attempts = self._attempts[case] = self._attempts.get(case, 0) + 1
        longest = LONGEST_CASCADE_WAIT if case == CASCADE else LONGEST_WAIT
        wait = min(FIRST_WAIT * 2 ** min(attempts - 1, 16), longest)
        self._not_before[case] = self.service.log.clock.elapsed() + wait

    def _has_room(self, work: str) -> bool:
        lane = _lane(work)
        lanes = [_lane(each) for each in self._running]
        return not lane or (
            lanes.count(lane) < TELLING_ONE and len(lanes) - lanes.count("") < TELLING
        )

    def _ready(self) -> list[str]:
        """What is due, neither being worked on nor waiting for its next attempt."""
        elapsed = self.service.log.clock.elapsed()
        now = self._looked = moment.text(self.service.log.clock.due())
        ends = self.service.projections.due(now, limit=MOST_DUE)
        told = self.service.projections.due(now, limit=MOST_DUE, callbacks=True)
        due = [*ends, *([CASCADE] if cascade.is_due(self.service) else []), *told]
        if max(len(ends), len(told)) < MOST_DUE:
            self._forget(set(self._not_before).difference(due))
        return [
            case
            for case in due
            if case not in self._running
            and case not in self.service.ending
            and self._not_before.get(case, 0.0) <= elapsed
        ]

    def _forget(self, cases: Iterable[str]) -> None:
        """These have nothing due any more, whoever settled them."""
        for case in cases:
            self._attempts.pop(case, None)
            self._not_before.pop(case, None)

    async def _rest(self) -> None:
        """Until something comes due, or somebody appends, or the rest is over."""
        # NOTE: not `wait_for`, which in Python 3.11 may swallow the cancellation that ends `run`
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._longest_rest()):
                await self.service.wake.wait()

    def _longest_rest(self) -> float:
        if len(self._running) >= CONCURRENCY:
            return REST
        try:
            wait = self.next_look()
        except MunimentError:  # the database cannot be read; `tick` says so
            wait = None
        return REST if wait is None else max(min(REST, wait), 0.001)

    async def _housekeeping(self) -> None:
        elapsed = self.service.log.clock.elapsed()
        # a log in trouble may have persisted more than we know: then the lists are ahead of us
        if elapsed >= self._next_sweep and self.service.log.trouble is None:
            self._next_sweep = elapsed + SWEEP_EVERY.total_seconds()
            await asyncio.to_thread(self._sweep)
        if elapsed >= self._next_beat or self.service.log.trouble is not None:
            if self._next_beat:  # a log in trouble is tried again by it
                await heartbeat.beat(self.service)
            self._next_beat = elapsed + self.heartbeat_every.total_seconds()

    def _sweep(self) -> None:
        """
        What was appended since the last sweep, and a rotating share, is held against the log.

        The log says which cases there are, not the lists: a line may also be missing.
        """
        size = self.service.log.size
        tail, share = max(self._swept or size, size - SWEEP_TAIL), self._turn
        self._swept, self._turn = size, share + SWEEP_SHARE if share + SWEEP_SHARE < size else 0
        cases = sweep.cases_between(self.service, tail, size)
        cases += sweep.cases_between(self.service, share, share + SWEEP_SHARE)
        wrong = sweep.check_some(self.service, dict.fromkeys(cases))
        # a log that stopped meanwhile may have persisted more than we know: the lists have it, and
        # the sweep after its recovery looks at the same records again
        if self.service.log.trouble is not None:
            self._swept, self._turn = tail, share
        elif wrong:
            _log.critical("projections contradicted the log and were rebuilt: %s", wrong)
            sweep.rebuild(self.service)
            self.on_wrong(wrong)


def _lane(work: str) -> str:
    """Which server has to take a notice; all callbacks count as one. Empty for other work."""
    if work.startswith(NOTICE):
        return NOTICE + work.removeprefix(NOTICE).partition("/")[0]
    return CALLBACK if work.startswith(CALLBACK) else ""


async def attend(service: Service, work: str) -> bool:
    """Do what is due under this name. True if it needs nothing more until its next moment."""
    if work.startswith(CALLBACK):
        return await callback.deliver(service, work)
    if work.startswith(NOTICE):
        return await notify.deliver(service, work)
    if work.startswith(POLL):
        await signals.poll(service, work.removeprefix(POLL))
        return True
    if work == CASCADE:
        await cascade.settle(service)
        return True
    return await _attend_case(service, work)


async def _attend_case(service: Service, case_id: str) -> bool:  # noqa: PLR0911 (one for each state)
    """What to do is read from the fold of the case, never from the row that said it is due."""
    case, _ = service.read(case_id)
    now = service.log.clock.due()
    if case.closed:
        return True  # its row is wrong; the sweep will say so
    if case.state in ENDS:
        finished = await end.finish(service, case_id)
        return finished.closed or finished.state not in ENDS
    if case.state in LIVE and case.until is not None and now >= case.until:
        return (await end.expire(service, case_id)).closed
    if case.state in LIVE and case.order_open and case_id not in service.ordering:
        await issue.undo(service, case_id)
        return True
    if case.state == "issued" and case.extension is not None and case.extension.ready:
        await extend.carry_out(service, case_id)
        return True
    if case.state in withdraw.WITHDRAWABLE:
        await withdraw.lapse(service, case_id)
        return True
    over = order_over(case)
    return over is not None and over > now
