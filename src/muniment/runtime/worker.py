"""
The clock-driven work: expire, finish ends, undo interrupted orders, lapse, sweep, heartbeat.

There is no recovery apart from this: what a crash left behind is due work like any other. Several
nodes share it: each claims what it has room for, and what one could not do another may try.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from muniment.access import records
from muniment.access.case import ENDS, LIVE, AccessCase
from muniment.errors import MunimentError, NotFound
from muniment.evidence import moment
from muniment.evidence.store import Entry
from muniment.operations import (
    callback,
    cascade,
    end,
    extend,
    issue,
    notify,
    signals,
    sweep,
    withdraw,
)
from muniment.operations.cascade import CASCADE
from muniment.operations.owed import NOTICE
from muniment.operations.projection import CALLBACK, order_over
from muniment.operations.service import Service, record_of
from muniment.runtime.bookkeeping import Bookkeeping
from muniment.runtime.duties import Duties

#: how many cases are worked on at once
CONCURRENCY = 32
#: how many of them may wait for others' servers to take a notice, and for one of these: ends come
#: first, and a server that does not answer holds up no other
TELLING, TELLING_ONE = 12, 4
#: seconds between attempts on one case: doubled each time, for ever, at most the second
FIRST_WAIT, LONGEST_WAIT = 0.25, 300.0
#: what one thing that lost its ground does not let end keeps no other waiting longer than this
LONGEST_CASCADE_WAIT = 5.0
MOST_DUE = 10_000
#: how long an end that somebody asked another node for is left to that node
LEFT_TO_OTHERS = timedelta(seconds=2)
SWEEP_EVERY = timedelta(minutes=1)
#: seconds between two looks for notices that rest here and were settled elsewhere
FORGETTING_EVERY = 1.0
POLL_EVERY = timedelta(seconds=30)
#: begins the names of work that asks a provider for signals
POLL = "poll/"
#: records of the rotating share, and the most of the tail, that are looked at each time
SWEEP_SHARE, SWEEP_TAIL = 500, 2000
#: the duty to look at them, which one node has
SWEEP = "sweep"
_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Worker:
    """Runs until cancelled. One per service."""

    service: Service
    heartbeat_every: timedelta = timedelta(hours=1)
    #: called with the cases whose projection was wrong and has been rebuilt
    on_wrong: Callable[[list[str]], None] = lambda _: None
    #: so long after its end a grant is taken away by memory alone: where the database cannot be
    #: read other nodes may have extended it, and do what is due
    unread_grace: timedelta = timedelta(0)
    #: seconds between two looks at least: where they are questions to a database that many ask
    apart: float = 0.0
    #: the longest that it sleeps without anything being due, in seconds: what other nodes leave
    #: undone is seen at the next look
    rest: float = 1.0
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    #: how many pieces of work were begun, ever
    _begun: int = 0
    _attempts: dict[str, int] = field(default_factory=dict)
    #: cases that are due and wait for their next attempt, in elapsed seconds
    _not_before: dict[str, float] = field(default_factory=dict)
    #: ended while the database could not be read
    _ended_unread: set[str] = field(default_factory=set)
    #: the moment up to which due work was looked at: what comes due after it wakes the worker; and
    #: in elapsed seconds, what has rested enough by then wakes it no more
    _looked: str = ""
    _looked_at: float = 0.0
    #: when notices that rest are next held against what is due, in elapsed seconds
    _next_forgetting: float = 0.0
    #: why the worker could not look the last time
    _trouble: str = ""
    #: log sizes: up to where the tail was swept, and where the rotating share begins
    _swept: int = 0
    _turn: int = 0
    _draining: bool = False
    _next_sweep: float = 0.0
    #: when each provider is asked for signals again, in elapsed seconds
    _next_poll: dict[str, float] = field(default_factory=dict)
    _duties: Duties = field(init=False)
    bookkeeping: Bookkeeping = field(init=False)

    def __post_init__(self) -> None:
        self._duties = Duties(service=self.service)
        self.bookkeeping = Bookkeeping(
            service=self.service, duties=self._duties, heartbeat_every=self.heartbeat_every
        )

    async def run(self) -> None:
        try:
            while True:
                self.service.wake.clear()
                await self.tick()
                await self._rest()
                await asyncio.sleep(self.apart)
        finally:
            left = list(self._running)
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)
            self._leave_to_others(left)

    async def tick(self) -> None:
        """Start work on everything that is due, up to the limit; never raises for a case."""
        try:
            await self._tick()
        except MunimentError as error:
            if str(error) != self._trouble:
                _log.warning("the worker could not look: %s", error)
            self._trouble = str(error)
            await self._end_unread()
        else:
            self._trouble = ""

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
        waits = [at - clock.elapsed() for at in self._not_before.values() if at > self._looked_at]
        due = self.service.projections.next_due(self._looked)
        if due is not None:
            waits.append((moment.parse(due) - clock.due()).total_seconds())
        return min(waits, default=None)

    async def _tick(self) -> None:
        await self.bookkeeping.unspool()
        ready = self._ready()
        if ready:  # the lists say what is due before we know what other nodes recorded
            await self.service.catch_up()
        for case in ready:
            self._start(case)
        self._poll()
        await self._housekeeping()
        await self.bookkeeping.beat()

    def _poll(self) -> None:
        """Beside the limit: an end that somebody tells us of comes as soon as any other."""
        elapsed = self.service.log.clock.elapsed()
        if self._draining or self.service.outdated is not None:
            return
        for work in (f"{POLL}{name}" for name in signals.polled(self.service)):
            waits = elapsed < self._next_poll.get(work, 0.0)
            if waits and work in self._attempts:
                continue  # it failed here, and is not kept from others
            if not self._duties.has(work) or waits or work in self._running:
                continue
            self._next_poll[work] = elapsed + POLL_EVERY.total_seconds()
            self._start(work)

    async def _end_unread(self) -> None:
        """The database cannot be read: ends go on by what the log said before."""
        now = self.service.log.clock.due()
        for grant in list(self.service.registry.grants.values()):
            over = grant.until + self.unread_grace <= now
            if grant.ended or not over or grant.case in self._ended_unread:
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
        except NotFound as error:
            # the lists know of another node's records before we do; if they are wrong, a sweep says
            _log.info("work on case %s waits: %s", case, error)
            settled = False
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

    def _ready(self) -> list[str]:
        """
        What is to be begun now: ends first, then who is told of what.

        No more is claimed than there is room for: other nodes have room, too.
        """
        clock = self.service.log.clock
        self._looked, self._looked_at = moment.text(clock.due()), clock.elapsed()
        self._forget_settled()
        room = 0 if self._draining else max(0, CONCURRENCY - len(self._running))
        found = self._claim(room, working=self.service.ending)
        if len(found) < room and self._is_free(CASCADE) and cascade.is_due(self.service):
            found.append(CASCADE)
        return found + self._tellings(room - len(found))

    def _claim(
        self,
        limit: int,
        *,
        callbacks: bool = False,
        working: Iterable[str] = (),
        passed_over: Iterable[str] = (),
    ) -> list[str]:
        """So much of what is due, neither being worked on nor waiting for its next attempt."""
        running = [each for each in self._running if bool(_lane(each)) == callbacks]
        resting = [
            each
            for each in self._resting(callbacks=callbacks)
            if self._not_before[each] > self._looked_at and each not in self._running
        ]
        return self.service.projections.claim(
            self._looked,
            limit,
            working=[*running, *working],
            resting=[*resting, *passed_over],
            callbacks=callbacks,
        )

    def _is_free(self, work: str) -> bool:
        rested = self._not_before.get(work, 0.0) <= self._looked_at
        return rested and work not in self._running

    def _tellings(self, room: int) -> list[str]:
        """Notices and callbacks whose lanes have room: one that is full holds up no other."""
        lanes = Counter(lane for each in self._running if (lane := _lane(each)))
        room = max(0, min(room, TELLING - lanes.total()))
        if self.service.outdated is not None:
            return []  # whom to tell, and where, is for the files in force to say
        claimed = self._claim(room, callbacks=True)
        found = _fitting(claimed, lanes, room)
        if len(claimed) < room or len(found) == room:
            return found
        due = self.service.projections.due(self._looked, limit=MOST_DUE, callbacks=True)
        busy = {*found, *self._running}
        full = [each for each in due if lanes[_lane(each)] >= TELLING_ONE and each not in busy]
        rest = self._claim(room - len(found), callbacks=True, working=found, passed_over=full)
        return found + _fitting(rest, lanes, room - len(found))

    def _resting(self, *, callbacks: bool) -> list[str]:
        """What waits for its next attempt here, or has waited long enough."""
        return [each for each in self._not_before if bool(_lane(each)) == callbacks]

    def _forget_settled(self) -> None:
        """What has nothing due any more, whoever settled it: it comes due again without a wait."""
        self._forget_unless_due(callbacks=False)
        if self._looked_at >= self._next_forgetting:  # none of them comes due a second time
            self._next_forgetting = self._looked_at + FORGETTING_EVERY
            self._forget_unless_due(callbacks=True)

    def _forget_unless_due(self, *, callbacks: bool) -> None:
        resting = self._resting(callbacks=callbacks)
        if not resting:
            return
        due = self.service.projections.due(self._looked, limit=MOST_DUE, callbacks=callbacks)
        if len(due) < MOST_DUE:
            known = {*due, *([CASCADE] if cascade.is_due(self.service) else [])}
            self._forget(r for r in resting if r not in known and not r.startswith(POLL))

    def _leave_to_others(self, cases: Collection[str]) -> None:
        """What a stop cut short is claimed no longer: other nodes need not wait for it to lapse."""
        if cases:
            now = moment.text(self.service.log.clock.due())
            with contextlib.suppress(MunimentError):
                for callbacks in (False, True):
                    self.service.projections.claim(now, 0, resting=cases, callbacks=callbacks)

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
            return self.rest
        try:
            wait = self.next_look()
        except MunimentError:  # the database cannot be read; `tick` says so
            wait = None
        return self.rest if wait is None else max(min(self.rest, wait), 0.001)

    async def _housekeeping(self) -> None:
        # a log in trouble may have persisted more than we know: then the lists are ahead of us
        if self.service.log.trouble is not None:
            return
        elapsed, self._swept = (
            self.service.log.clock.elapsed(),
            self._swept or self.service.log.size,
        )
        if self._duties.has(SWEEP) and elapsed >= self._next_sweep:
            self._next_sweep = elapsed + SWEEP_EVERY.total_seconds()
            await asyncio.to_thread(self._sweep)

    def _sweep(self) -> None:
        """
        What was appended since the last sweep, and a rotating share, is held against the log.

        The log says which cases there are, not the lists: a line may also be missing.
        """
        size = self.service.log.size
        tail, share = max(self._swept, size - SWEEP_TAIL), self._turn
        self._swept, self._turn = size, share + SWEEP_SHARE if share + SWEEP_SHARE < size else 0
        cases = sweep.cases_between(self.service, tail, size)
        cases += sweep.cases_between(self.service, share, share + SWEEP_SHARE)
        wrong = sweep.check_some(self.service, dict.fromkeys(cases))
        # a log that stopped meanwhile may have persisted more than we know: the lists have it, and
        # the sweep after its recovery looks at the same records again
        if self.service.log.trouble is not None:
            self._swept, self._turn = tail, share
        elif wrong:
            _log.critical("projections contradicted the log and were put right: %s", wrong)
            sweep.put_right(self.service, wrong)
            self.on_wrong(wrong)


def _lane(work: str) -> str:
    """Which server has to take a notice; all callbacks count as one. Empty for other work."""
    if work.startswith(NOTICE):
        return NOTICE + work.removeprefix(NOTICE).partition("/")[0]
    return CALLBACK if work.startswith(CALLBACK) else ""


def _fitting(works: Iterable[str], lanes: Counter[str], room: int) -> list[str]:
    """As many of these as their lanes, and all of them together, have room for; the lanes fill."""
    found: list[str] = []
    for work in works:
        if len(found) < room and lanes[_lane(work)] < TELLING_ONE:
            lanes[_lane(work)] += 1
            found.append(work)
    return found


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
    case, entries = service.read(case_id)
    now = service.log.clock.due()
    if case.closed:
        return True  # its row is wrong; the sweep will say so
    if case.state in ENDS:
        if service.shared and _was_asked_for(entries[-1], now):
            return False
        finished = await end.finish(service, case_id)
        return finished.closed or finished.state not in ENDS
    if case.state in LIVE and case.until is not None and now >= case.until:
        return (await end.expire(service, case_id)).closed
    if _is_left_over(service, case, now):
        await issue.undo(service, case_id)
        return True
    if case.state == "issued" and case.extension is not None and case.extension.ready:
        if service.outdated is not None:
            return False  # that gives access, by files that are not in force
        await extend.carry_out(service, case_id)
        return True
    if case.state in withdraw.WITHDRAWABLE:
        await withdraw.lapse(service, case_id)
        return True
    over = order_over(case)
    return over is not None and over > now


def _is_left_over(service: Service, case: AccessCase, now: datetime) -> bool:
    """Whether an order is open that nobody carries out any more: another node may, until then."""
    over = order_over(case) if case.order_open else None
    live = case.state in LIVE and case.id not in service.ordering
    return live and over is not None and over <= now


def _was_asked_for(last: Entry, now: datetime) -> bool:
    """Whether somebody's request declared this end a moment ago: then it also takes away."""
    record = record_of(last)
    by_request = isinstance(record, records.GrantRevoked | records.GrantEnded)
    return (
        by_request
        and record.actor.principal != records.SERVICE.principal
        and now - last.header.at < LEFT_TO_OTHERS
    )
