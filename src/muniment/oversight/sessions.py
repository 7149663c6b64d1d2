"""From the events of grants to the sessions that they belong to: the same in any order."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from muniment.oversight.event import Event
from muniment.oversight.event_store import Kept
from muniment.oversight.link import Link

#: types of events that say that something was done
DOING: Final = frozenset(
    {"statement", "elevated", "access.changed", "call", "error", "credential.issued",
     "logging.changed"}
)  # fmt: skip
#: and that a session is over
OVER: Final = frozenset({"session.closed", "session.killed"})
#: every standing, the worst last
WORSE: Final = ("known", "undeclared", "within", "early", "elsewhere", "late", "unknown", "nobody")


@dataclass(frozen=True, kw_only=True)
class SessionSeen:
    """One session of one grant, as far as one source speaks of it."""

    grant: str
    source: str
    resource: str
    #: the target's own name for it; empty: all events without one are taken together
    session: str
    account: str
    #: every address that it came from
    clients: tuple[str, ...]
    #: None where its beginning, or its end, was not seen
    opened: datetime | None
    closed: datetime | None
    #: of its events
    first: datetime
    last: datetime
    killed: bool
    strength: str
    reason: str
    #: the worst of its events: see `oversight.link.STANDINGS`
    standing: str
    actions: int
    failed: int
    #: numbers of its events in the source
    numbers: tuple[int, ...]
    #: its grant has more events than were looked at, of which some may be its own
    cut: bool = False

    @property
    def is_over(self) -> bool:
        return self.closed is not None


def assemble(events: Iterable[Kept]) -> list[SessionSeen]:
    """
    The sessions of these events, by their first moment; erased events are left out.

    Of an event no more is kept than its number and what it adds to its session.
    """
    found: dict[tuple[str, str, str], _Making] = {}
    for kept in events:
        if kept.event is not None and kept.link.grant:
            key = (kept.link.grant, kept.source, kept.event.session)
            if key not in found:
                found[key] = _Making(kept, kept.event)
            found[key].add(kept, kept.event)
    seen = [making.seen(*key) for key, making in found.items()]
    return sorted(seen, key=lambda session: (session.first, session.source, session.session))


#: moment and number of an event: who comes first does not hang on the order of arrival
_Order: TypeAlias = tuple[datetime, int]


class _Making:
    """A session, as far as its events were looked at."""

    def __init__(self, kept: Kept, event: Event) -> None:
        at = (event.at, kept.number)
        self._first = self._last = at
        self._resource = kept.resource
        self._link, self._linked = kept.link, at
        self._account, self._named = "", at
        self._opened: datetime | None = None
        self._closed: datetime | None = None
        self._killed = False
        self._worst = 0
        self._actions = self._failed = 0
        self._clients: dict[str, _Order] = {}
        self._numbers: list[int] = []

    def add(self, kept: Kept, event: Event) -> None:
        at = (event.at, kept.number)
        self._numbers.append(kept.number)
        self._actions += event.type in DOING
        self._failed += event.failed
        self._worst = max(self._worst, WORSE.index(kept.link.standing))
        self._last = max(self._last, at)
        if at < self._first:
            self._first, self._resource = at, kept.resource
        if _is_better((kept.link, at), (self._link, self._linked)):
            self._link, self._linked = kept.link, at
        if event.account and (not self._account or at < self._named):
            self._account, self._named = event.account, at
        if event.client:
            known = self._clients.setdefault(event.client, at)
            if at < known:
                self._clients[event.client] = at
        if event.type == "session.opened":
            self._opened = event.at if self._opened is None else min(self._opened, event.at)
        elif event.type in OVER:
            self._closed = event.at if self._closed is None else max(self._closed, event.at)
            self._killed = self._killed or event.type == "session.killed"

    def seen(self, grant: str, source: str, name: str) -> SessionSeen:
        return SessionSeen(
            grant=grant,
            source=source,
            resource=self._resource,
            session=name,
            account=self._account,
            clients=tuple(sorted(self._clients, key=self._clients.__getitem__)),
            opened=self._opened,
            closed=self._closed,
            first=self._first[0],
            last=self._last[0],
            killed=self._killed,
            strength=self._link.strength,
            reason=self._link.reason,
            standing=WORSE[self._worst],
            actions=self._actions,
            failed=self._failed,
            numbers=tuple(sorted(self._numbers)),
        )


def _is_better(one: tuple[Link, _Order], other: tuple[Link, _Order]) -> bool:
    """A strong link before a weak one, and then the earlier."""
    strong = [link.strength == "strong" for link, _ in (one, other)]
    return strong[0] if strong[0] != strong[1] else one[1] < other[1]


def used(sessions: Iterable[SessionSeen], start: datetime, end: datetime) -> int:
    """Seconds of a window in which at least one session was there: each moment counts once."""
    spans = sorted(
        (max(each.opened or each.first, start), min(each.closed or each.last, end))
        for each in sessions
    )
    total, reached = 0.0, start
    for begin, stop in spans:
        if stop > reached:
            total += (stop - max(begin, reached)).total_seconds()
            reached = stop
    return int(total)
