"""
Let detectors see what happens, as it is recorded and observed, and raise what they find.

Nothing is remembered over a restart: detectors see again what lies within their horizon, and what
they say of it anew is known by the finding that it became then.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from muniment.errors import LogUnavailable, MunimentError, Unavailable
from muniment.evidence.store import entry_of
from muniment.operations import findings
from muniment.operations.around import AccountsOf, Around
from muniment.operations.grant_windows import GrantWindows
from muniment.operations.observe_sessions import record_sessions
from muniment.operations.observing import in_thread
from muniment.operations.raise_finding import CROWD, raise_finding, record_counted
from muniment.operations.service import Caller, Service
from muniment.oversight.detector import Hit, Rule
from muniment.oversight.event_store import EventStore, Kept
from muniment.oversight.fact import Fact
from muniment.oversight.observed import fact_of
from muniment.oversight.recorded import Recorded
from muniment.oversight.sessions import OVER
from muniment.oversight.watch import Watch

#: records and events that are seen in one look
MOST_ENTRIES, MOST_EVENTS = 2_000, 5_000
#: how far back activity at targets is seen again after a restart
ACTIVITY: Final = timedelta(days=7)
#: seconds after which the sessions of a grant are looked at once one of them is over; then twice as
#: long each time while others go on, and at most the second
SETTLES, PATIENCE = 5.0, 300.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RuleSet:
    """A rule as this installation has it."""

    rule: Rule
    thresholds: Mapping[str, int]
    #: what it finds ends access, as far as policy lets the detector revoke
    ends: bool = False


@dataclass(kw_only=True)
class Detection:
    """One per service. Sees every record and every event once, in order."""

    service: Service
    watch: Watch
    #: by rule id; a rule without one is as it says itself
    rules: Mapping[str, RuleSet]
    around: Around
    recorded: Recorded
    #: login of the workload as which access is ended; empty: none is
    workload: str = ""
    #: the first entry of the log, and the last row of the store of events, that were not seen yet
    _next: int = 0
    _row: int = 0
    #: when the last entry that was seen was recorded
    _read_to: datetime | None = None
    _begun: bool = False
    #: what was there before we began was looked at: whatever is found from now on is news
    _caught_up: bool = False
    #: by finding: until when those before us have counted it, and did not record it yet
    _counted: dict[str, datetime] = field(default_factory=dict)
    _windows: GrantWindows | None = None
    _accounts: dict[str, AccountsOf] = field(default_factory=dict)
    #: what was found and is not raised yet
    _hits: deque[Hit] = field(default_factory=deque)
    #: grants whose sessions go on: when they are looked at, in elapsed seconds, and how long the
    #: next wait is
    _touched: dict[str, tuple[float, float]] = field(default_factory=dict)

    async def look(self) -> None:
        """
        See what is new, and raise what was found.

        The first time, that is all that lies within the horizon of the detectors. Raises
        `Unavailable`: nothing is lost by it, and the next look goes on from there.
        """
        looking = self.service.observing.looking
        if not self._begun:
            counted = self.service.pace.findings
            self._counted = {case: each.seen for case, each in counted.items() if each.seen}
            await in_thread(looking, self._begin, self.service.now())
            self._begun = True
        await self._raise_all()  # before there is more of it
        more = True
        while more:
            more = await in_thread(looking, self._see_more)
            await self._raise_all()
        self._caught_up = True
        await record_counted(self.service)
        await self._record_sessions()

    def forget_counted(self) -> None:
        """Another node watches, and counts once more whatever is not recorded."""
        counted, ours = self.service.pace.findings, {each.id for each in self.watch.rules}
        for case in [c for c in counted if findings.read(self.service, c)[0].raised.rule in ours]:
            del counted[case]

    # --- seeing

    def _begin(self, now: datetime) -> None:
        service, store = self.service, self.service.observing.store
        horizon = now - max((each.rule.horizon for each in self.rules.values()), default=ACTIVITY)
        if store is not None:
            self._windows = GrantWindows(service=service, store=store)
            # what happened first may have come last, and before it came what is still to be seen
            self._row = (store.first_row(now - ACTIVITY, now + ACTIVITY) or 1) - 1
        self._next = _first_since(service, horizon)
        if self._next > 0:
            registry = service.registry
            self.recorded.begin(
                {role.resource: role.tier for role in list(registry.roles.values())},
                {each.id: each.groups for each in list(registry.principals.values())},
                [each.id for each in list(registry.principals.values()) if not each.active],
            )

    def _see_more(self) -> bool:
        entries = self._see_entries()
        events = self._see_events()
        # while there is more to read it is still the past: what is missing may come with it
        behind = entries == MOST_ENTRIES
        now = self._read_to if behind and self._read_to is not None else self.service.now()
        self._show(self.recorded.tick(now))
        self._hits.extend(self.watch.tick(now))
        return behind or events == MOST_EVENTS

    def _see_entries(self) -> int:
        log, seen = self.service.log, 0
        stop = min(log.size, self._next + MOST_ENTRIES)
        for index, data in log.store.entries(self._next, stop):
            self._unless_broken(f"entry {index}", self._see_entry, index, data)
            self._next = index + 1
            seen += 1
        return seen

    def _see_entry(self, index: int, data: bytes) -> None:
        entry = entry_of(index, data)
        self._read_to = entry.header.at
        self._show(self.recorded.see(entry))

    def _see_events(self) -> int:
        store = self.service.observing.store
        if store is None:
            return 0
        kept = store.after(self._row, MOST_EVENTS)
        for each in kept:
            self._unless_broken(f"event {each.source}#{each.number}", self._see_event, each)
            self._row = each.row
        self._see_relinked(store)
        return len(kept)

    def _see_relinked(self, store: EventStore) -> None:
        """Once more those that were nobody's when they were seen."""
        rows = self.service.observing.relinked
        while rows:
            for each in store.after(rows[0] - 1, 1):
                if each.row <= self._row:
                    name = f"event {each.source}#{each.number}"
                    self._unless_broken(name, self._see_event, each)
            rows.popleft()

    def _see_event(self, kept: Kept) -> None:
        self.around.learn(kept)
        grant, window = kept.link.grant, None
        if grant:
            self._touch(grant, kept)
            window = self._windows.by_id(grant) if self._windows is not None else None
        accounts = self._accounts.get(kept.source)
        if accounts is None:
            accounts = self._accounts[kept.source] = self.around.of_source(kept.source)
        told = fact_of(kept, window, accounts)
        if told is not None:
            self._hits.extend(self.watch.see(told))

    def _touch(self, grant: str, kept: Kept) -> None:
        """All its events are looked at for it: soon where a session is over, else now and then."""
        is_over = kept.event is not None and kept.event.type in OVER
        if is_over or grant not in self._touched:
            due = self.service.log.clock.elapsed() + SETTLES
            self._touched[grant] = (due, 2 * SETTLES)

    def _show(self, facts: Iterable[Fact]) -> None:
        for told in facts:
            self._hits.extend(self.watch.see(told))

    def _unless_broken(self, what: str, see: Callable[..., None], *given: object) -> None:
        """
        What can never be read must not keep all that follows it from being seen.

        Raises `Unavailable`: it may well be read the next time.
        """
        try:
            see(*given)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is, it is wrong with this one)
            _log.error("detectors do not see %s: %s", what, type(error).__name__)

    # --- raising

    async def _raise_all(self) -> None:
        while self._hits:
            await self._raise(self._hits[0])
            self._hits.popleft()
            await asyncio.sleep(0)  # thousands may come at once, and others wait for answers

    async def _raise(self, hit: Hit) -> None:
        known = self.rules.get(hit.rule)
        if known is None or self._is_known(hit):
            return
        await raise_finding(
            self.service,
            known.rule,
            known.thresholds,
            hit,
            detector=self._detector(),
            ends=known.ends,
        )

    def _is_known(self, hit: Hit) -> bool:
        """
        Whether it was raised before: what is seen again after a restart is no news.

        Only then, or where another node may have seen it: what comes late, or by a clock that is
        behind, happened before the last that was seen, and is none the less new.
        """
        seen_again = not self._caught_up or self.service.shared
        return seen_again and any(self._is_known_as(hit, key) for key in (hit.key, CROWD))

    def _is_known_as(self, hit: Hit, key: str) -> bool:
        number = findings.newest_of(self.service, hit.rule, key)
        if number is None:
            return False
        case = findings.case_of(self.service, hit.rule, key, number)
        finding, _ = findings.read(self.service, case)
        if finding.state == "closed":
            return finding.changed_at is not None and hit.at <= finding.changed_at
        last, counted = finding.last, self._counted.get(case)
        if counted is not None and not self._caught_up:
            last = counted if last is None else max(last, counted)
        return last is not None and hit.at <= last

    def _detector(self) -> Caller | None:
        id_ = self.service.names.get(self.workload) if self.workload else None
        principal = self.service.registry.principals.get(id_) if id_ is not None else None
        return None if principal is None else Caller(principal=principal, assurance="service")

    # --- sessions

    async def _record_sessions(self) -> None:
        store = self.service.observing.store
        if store is None:
            return
        elapsed = self.service.log.clock.elapsed()
        for grant in [each for each, (due, _) in self._touched.items() if due <= elapsed]:
            await self._record(store, grant)

    async def _record(self, store: EventStore, grant: str) -> None:
        try:
            settled = await record_sessions(self.service, store, grant)
        except LogUnavailable:
            raise
        except MunimentError as error:
            _log.warning("the sessions of %s were not recorded: %s", grant, error)
            settled = False
        if settled:
            del self._touched[grant]
        else:
            _, wait = self._touched[grant]
            due = self.service.log.clock.elapsed() + wait
            self._touched[grant] = (due, min(2 * wait, PATIENCE))


def _first_since(service: Service, since: datetime) -> int:
    """Index of the first entry that is not older: times of the log hardly ever go back."""
    low, high = 0, service.log.size
    while low < high:
        middle = (low + high) // 2
        for index, data in service.log.store.entries(middle, middle + 1):
            if entry_of(index, data).header.at < since:
                low = middle + 1
            else:
                high = middle
    return low
