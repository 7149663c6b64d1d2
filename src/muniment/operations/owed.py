"""
Of which records somebody has to be told, and in which ways: due work in the records' own batch.

The ways are those of the configuration that the log has in force, so that what is owed can be seen
from the log alone, by a sweep too.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, TypeAlias

from muniment.access import records
from muniment.access.campaign import Campaign
from muniment.access.case import LIVE, AccessCase
from muniment.access.finding import Finding
from muniment.access.lifecycle import advance
from muniment.access.registry import InForce
from muniment.evidence import moment
from muniment.evidence.log import Log
from muniment.evidence.store import Entry
from muniment.ports import Due

#: begins the names of due work that tells of a record: `notice/<way>/<record id>`
NOTICE: Final = "notice/"
#: what is told of findings: at once, and of those that wake nobody once a day
FINDING, DIGEST = "finding", "digest"
#: what is told of reviews of access
REVIEW: Final = "review"
#: the hour of the day, in UTC, at which that is
DIGEST_HOUR: Final = 6
#: how long before its end the holder of a grant is told
BEFORE_END: Final = timedelta(minutes=5)
#: a finding of less waits for the next morning, unless access ends for it
ALARMING: Final = ("medium", "high", "critical")
_ACCESS = ("request", "extend", "issue")
_log = logging.getLogger(__name__)


#: what somebody may have to be told of
Told: TypeAlias = AccessCase | Finding | Campaign


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of telling, as the log has it: `[notices.NAME]` in the configuration."""

    name: str
    events: frozenset[str]
    #: `approvers`, `requester`, and names of groups
    to: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that somebody has to be told of."""

    name: str
    #: record id
    about: str
    #: from when on it is told
    at: datetime


class Ways:
    """What the configuration in force says of telling. Read by the log's writer, too."""

    def __init__(self) -> None:
        self._read: tuple[bytes, tuple[Way, ...], int] = (b"", (), 0)

    def of(self, log: Log, configuration: InForce | None) -> tuple[Way, ...]:
        return self._of(log, configuration)[0]

    def since(self, log: Log, configuration: InForce | None) -> int:
        """The first record for which they hold: the first after the batch that brought them."""
        return self._of(log, configuration)[1]

    def _of(self, log: Log, configuration: InForce | None) -> tuple[tuple[Way, ...], int]:
        if configuration is None:
            return (), 0
        head, ways, since = self._read
        if head != configuration.head:
            ways = _ways(log.store.document(configuration.digest), configuration.digest)
            covering = log.store.checkpoint_at_or_after(configuration.index + 1)
            since = configuration.index + 1 if covering is None else covering[0]
            self._read = (configuration.head, ways, since)
        return ways, since


def _ways(document: bytes | None, digest: bytes) -> tuple[Way, ...]:
    if document is None or sha256(document).digest() != digest:
        # NOTE: no exception: this runs where it would refuse records, and an end must stand
        _log.critical("the configuration in force is gone from the database: nobody is told")
        return ()
    return tuple(
        Way(name=name, events=frozenset(section.get("events", ())), to=tuple(section.get("to", ())))
        for name, section in json.loads(document).get("notices", {}).items()
    )


def owed(ways: Sequence[Way], before: Told, placed: Iterable[Entry]) -> tuple[Due, ...]:
    """What is due once these records, which follow on `before`, are in the log."""
    if not ways:
        return ()
    return tuple(
        Due(case=work(way.name, event.about), at=moment.text(event.at))
        for _, event in events(before, placed)
        for way in ways
        if event.name in way.events
    )


def events(before: Told, entries: Iterable[Entry]) -> Iterator[tuple[Entry, Event]]:
    """What these records of one case give to tell."""
    if isinstance(before, Finding):
        yield from _alarms(entries)
        return
    if isinstance(before, Campaign):
        yield from _calls(entries)
        return
    for entry in entries:
        after = advance(before, entry.header, entry.leaf)
        found = _event(before, entry, after)
        if found is not None:
            name, at = found
            yield entry, Event(name=name, about=entry.header.id, at=at)
        before = after


def _alarms(entries: Iterable[Entry]) -> Iterator[tuple[Entry, Event]]:
    """Of a finding: that there is one, and whenever access ends for it."""
    for entry in entries:
        match records.parse(entry.header):
            case records.FindingRaised(ends=()) as raised if not _alarming(raised):
                at = morning_after(entry.header.at)
                yield entry, Event(name=DIGEST, about=entry.header.id, at=at)
            case records.FindingRaised() | records.FindingSeen(ends=(_, *_)):
                yield entry, Event(name=FINDING, about=entry.header.id, at=entry.header.at)
            case _:
                pass


def _calls(entries: Iterable[Entry]) -> Iterator[tuple[Entry, Event]]:
    """Of a review of access: that there is one, and how much of its time is over."""
    for entry in entries:
        kind = entry.header.kind
        if kind in (records.CampaignOpened.KIND, records.ReviewEscalated.KIND):
            yield entry, Event(name=REVIEW, about=entry.header.id, at=entry.header.at)


def _alarming(raised: records.FindingRaised) -> bool:
    """A baseline may well be wrong about what is usual: nobody is woken by one."""
    return raised.nature == "deterministic" and raised.severity in ALARMING


def morning_after(at: datetime) -> datetime:
    """The next moment at which what is not urgent is told."""
    same = at.replace(hour=DIGEST_HOUR, minute=0, second=0, microsecond=0)
    return same if at < same else same + timedelta(days=1)


def _event(before: AccessCase, entry: Entry, after: AccessCase) -> tuple[str, datetime] | None:
    at = entry.header.at
    match records.parse(entry.header):
        case records.DecisionEvaluated() as decision if decision.question in _ACCESS:
            name = _announcement(before, decision, after)
            return (name, at) if name else None
        case records.ApprovalGiven() if before.waits_for and not after.waits_for:
            return "decided", at
        case records.ApprovalRefused() | records.AccessLapsed():
            return "decided", at
        case records.GrantRevoked():
            return "ended", at
        case records.GrantAuthorized(until=until) | records.GrantExtended(until=until):
            soon = until - BEFORE_END
            return ("ending", soon) if soon > at and after.state in LIVE else None
        case _:
            return None


def _announcement(
    before: AccessCase, decision: records.DecisionEvaluated, after: AccessCase
) -> str:
    if after.waits_for:
        return "" if before.waits_for else "waiting"
    if decision.question == "issue":
        return ""  # nothing new: the same was said when it was asked for
    if decision.outcome == "break_glass":
        return "break-glass"
    return "announced" if decision.outcome == "auto_approve" and decision.notifies else ""


def work(way: str, about: str) -> str:
    """Name of the work among what is due: no case has such an id."""
    return f"{NOTICE}{way}/{about}"


def parts(named: str) -> tuple[str, str, int]:
    """Way, case and position of the record. Raises `ValueError` for what is no such work."""
    way, case, position = named.removeprefix(NOTICE).split("/")
    return way, case, int(position)
