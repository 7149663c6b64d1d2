"""From the events of grants to the sessions that they belong to: the same in any order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from muniment.oversight.event_store import Kept

#: types of events that say that something was done
DOING: Final = frozenset(
    {"statement", "elevated", "access.changed", "call", "error", "credential.issued",
     "logging.changed"}
)  # fmt: skip
_OVER: Final = frozenset({"session.closed", "session.killed"})
#: every standing, the worst last
WORSE: Final = ("known", "within", "early", "elsewhere", "late", "unknown", "nobody")


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

    @property
    def is_over(self) -> bool:
        return self.closed is not None


def assemble(events: Iterable[Kept]) -> list[SessionSeen]:
    """The sessions of these events, by their first moment; erased events are left out."""
    found: dict[tuple[str, str, str], list[Kept]] = {}
    for kept in events:
        if kept.event is not None and kept.link.grant:
            key = (kept.link.grant, kept.source, kept.event.session)
            found.setdefault(key, []).append(kept)
    seen = [_session(key, sorted(kept, key=_order)) for key, kept in found.items()]
    return sorted(seen, key=lambda session: (session.first, session.source, session.session))


def _order(kept: Kept) -> tuple[datetime, int]:
    if kept.event is None:
        raise TypeError("an erased event is part of no session")
    return kept.event.at, kept.number


def _session(key: tuple[str, str, str], kept: Sequence[Kept]) -> SessionSeen:
    grant, source, name = key
    events = [each.event for each in kept if each.event is not None]
    opened = next((each.at for each in events if each.type == "session.opened"), None)
    over = [each for each in events if each.type in _OVER]
    strong = [each.link for each in kept if each.link.strength == "strong"]
    best = strong[0] if strong else kept[0].link
    return SessionSeen(
        grant=grant,
        source=source,
        resource=kept[0].resource,
        session=name,
        account=next((each.account for each in events if each.account), ""),
        clients=tuple(dict.fromkeys(each.client for each in events if each.client)),
        opened=opened,
        closed=over[-1].at if over else None,
        first=events[0].at,
        last=events[-1].at,
        killed=any(each.type == "session.killed" for each in over),
        strength=best.strength,
        reason=best.reason,
        standing=max((each.link.standing for each in kept), key=WORSE.index),
        actions=sum(each.type in DOING for each in events),
        failed=sum(each.failed for each in events),
        numbers=tuple(sorted(each.number for each in kept)),
    )


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
