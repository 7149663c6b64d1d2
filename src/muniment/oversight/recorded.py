"""
From the records of the log to facts: what detectors see of asking, deciding, granting and ending.

A record says little about its case. What is needed of the case is remembered while it is open, so
that the log is read once, in its order, in little memory.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Final, Protocol

from muniment.access import records
from muniment.evidence.record import Header
from muniment.evidence.store import Entry
from muniment.oversight.fact import Fact, Value
from muniment.oversight.weakness import KINDS, WORSENS

#: so long after its case was closed a grant is told to be over: sources are late
SETTLED: Final = timedelta(hours=1)
#: kinds whose every record changes what watches over access, or who decides
_CONTROLS: Final = (
    "policy:activated", "config:changed", "group:defined", "role:withdrawn", "key:added",
    "key:retired", "clock:stepped", "record:erased",
)  # fmt: skip
_Tell = Callable[[Entry, Any], Iterator[Fact]]


@dataclass(frozen=True, kw_only=True)
class Reason:
    """What is known of the text that somebody gave, without the text."""

    #: equal for equal texts, however they are spaced or written large; for this process only
    digest: str
    letters: int
    ticket: str = ""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a grant was used for, as far as a source that covers its target says."""

    sessions: int
    seconds: int


class World(Protocol):
    """What the log alone does not say, or says under seal."""

    def zone(self, principal: str) -> str:
        """Time zone of a person; empty where nobody set it."""
        ...

    def on_call(self, principal: str, at: datetime) -> bool: ...

    def incident(self, resource: str, at: datetime) -> bool:
        """Whether an incident on it was open then."""
        ...

    def reason(self, request: Entry) -> Reason | None:
        """Of a request; None where the text was erased."""
        ...

    def usage(self, case: str, start: datetime, end: datetime) -> Usage | None:
        """None where no source covers the target."""
        ...


@dataclass(slots=True, kw_only=True)
class _Open:
    """What is remembered of a case that is open, or closed a moment ago."""

    values: dict[str, Value]
    at: datetime
    #: the request, until the policy has answered it, and what is told of it then
    asked: Header | None
    told: dict[str, Value] = field(default_factory=dict)
    start: datetime | None = None
    until: datetime | None = None
    ended: datetime | None = None
    how: str = ""
    unverified: datetime | None = None


@dataclass(kw_only=True)
class Recorded:
    """Sees each record of the log once, in its order."""

    world: World
    #: a log that is silent for longer than twice this has a gap
    heartbeat: timedelta = timedelta(hours=1)
    _open: dict[str, _Open] = field(default_factory=dict)
    #: tier of each role's resource, and what groups everybody was in
    _tiers: dict[str, str] = field(default_factory=dict)
    _groups: dict[str, frozenset[str]] = field(default_factory=dict)
    #: principals whom the directory has as gone
    _gone_principals: set[str] = field(default_factory=set)
    #: reviews: which case each is about
    _reviews: dict[str, str] = field(default_factory=dict)
    _last: datetime | None = None
    #: when the first policy came into force: what came with it changed nothing
    _founded: datetime | None = None
    #: grants that are over, with the moment from which on that is told, oldest first
    _settling: list[tuple[datetime, str, _Open]] = field(default_factory=list)
    _tell: Mapping[str, _Tell] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._tell = {
            "access:requested": self._requested,
            "decision:evaluated": self._decided,
            "approval:given": self._answered,
            "approval:refused": self._answered,
            "grant:authorized": self._authorized,
            "credential:issued": self._issued,
            "grant:extended": self._extended,
            "grant:expired": self._ended,
            "grant:revoked": self._ended,
            "grant:ended": self._ended,
            "grant:undone": self._ended,
            "removal:verified": self._gone,
            "removal:unverified": self._still_there,
            "case:closed": self._closed,
            "review:opened": self._review,
            "review:answered": self._reviewed,
            "role:defined": self._role,
            "principal:enrolled": self._principal,
            "events:missed": self._missed,
            "log:heartbeat": self._beat,
            "notice:settled": self._told,
            "evidence:measured": self._measured,
            **dict.fromkeys(_CONTROLS, self._control),
        }

    def see(self, entry: Entry) -> Iterator[Fact]:
        header = entry.header
        yield from self.tick(header.at)
        yield from self._gap(header)
        tell = self._tell.get(header.kind)
        if tell is not None:
            yield from tell(entry, records.parse(header))

    def begin(
        self,
        tiers: Mapping[str, str],
        groups: Mapping[str, frozenset[str]],
        gone: Iterable[str] = (),
    ) -> None:
        """What stands in the log, where records before the first that is seen were left out."""
        self._tiers, self._groups = dict(tiers), dict(groups)
        self._gone_principals = set(gone)
        self._founded = datetime.min.replace(tzinfo=timezone.utc)

    def tick(self, now: datetime) -> Iterator[Fact]:
        """Time has passed: what had to settle has."""
        while self._settling and self._settling[0][0] <= now:
            _, case, known = self._settling.pop(0)
            yield from self._over(case, known)

    # --- the log itself

    def _gap(self, header: Header) -> Iterator[Fact]:
        before, self._last = self._last, header.at
        if before is not None and header.at - before > 2 * self.heartbeat:
            since = int((header.at - before).total_seconds())
            yield Fact(type="log.gap", at=header.at, ref=header.id, values={"since": since})

    def _beat(self, entry: Entry, _record: Any) -> Iterator[Fact]:
        yield Fact(type="log.heartbeat", at=entry.header.at, ref=entry.header.id)

    # --- a case

    def _requested(self, entry: Entry, record: Any) -> Iterator[Fact]:
        header = entry.header
        self._open[header.case] = known = _Open(
            values={
                "requester": record.requester,
                "person": record.actor.persons[0] if record.actor.persons else "",
                "persons": " ".join(record.actor.persons),
                "kind": record.actor.type,
                "resource": record.resource,
                "role": record.role,
                "tier": self._tiers.get(record.resource, ""),
                "emergency": record.emergency,
            },
            at=header.at,
            asked=header,
        )
        reason = self.world.reason(entry)
        known.told = {"seconds": record.seconds}
        if reason is not None:
            known.told |= {"reason": reason.digest, "ticket": reason.ticket}
            if reason.letters or not reason.ticket:  # a ticket may be reason enough
                known.told["letters"] = reason.letters
        known.told |= self._around(record.requester, record.resource, header.at)
        known.told["groups"] = " ".join(sorted(self._groups.get(record.requester, ())))
        known.told["terminated"] = record.requester in self._gone_principals
        yield from ()

    def _around(self, principal: str, resource: str, at: datetime) -> dict[str, Value]:
        return {
            "zone": self.world.zone(principal),
            "on_call": self.world.on_call(principal, at),
            "incident": self.world.incident(resource, at),
        }

    def _decided(self, entry: Entry, record: Any) -> Iterator[Fact]:
        header = entry.header
        known = self._open.get(header.case)
        if known is None or record.question != "request" or known.asked is None:
            return
        # told here, as it is policy that knows how long it may be
        asked, known.asked = known.asked, None
        yield self._fact("request.made", asked, known, known.told | {"cap": record.max_seconds})
        known.told = {}
        decided: dict[str, Value] = {"outcome": record.outcome, "latency": _since(known, header)}
        yield self._fact("request.decided", header, known, decided)

    def _answered(self, entry: Entry, record: Any) -> Iterator[Fact]:
        header = entry.header
        known = self._open.get(header.case)
        if known is not None:
            told: dict[str, Value] = {
                "approver": record.approver,
                "approver_person": record.person,
                "latency": _since(known, header),
            }
            around = self._around(record.approver, str(known.values["resource"]), header.at)
            told |= {"zone": around["zone"]} if header.kind == "approval:refused" else around
            yield self._fact(header.kind.replace(":", "."), header, known, told)

    def _authorized(self, entry: Entry, record: Any) -> Iterator[Fact]:
        header = entry.header
        known = self._open.get(header.case)
        if known is not None:
            known.start, known.until = known.start or record.starts, record.until
        yield from ()

    def _issued(self, entry: Entry, _record: Any) -> Iterator[Fact]:
        header = entry.header
        known = self._open.get(header.case)
        if known is not None and known.start is not None and known.until is not None:
            seconds = int((known.until - known.start).total_seconds())
            told: dict[str, Value] = {"seconds": seconds}
            requester, resource = str(known.values["requester"]), str(known.values["resource"])
            told |= self._around(requester, resource, header.at)
            told["terminated"] = requester in self._gone_principals
            yield self._fact("grant.issued", header, known, told)

    def _extended(self, entry: Entry, record: Any) -> Iterator[Fact]:
        header = entry.header
        known = self._open.get(header.case)
        if known is not None and known.start is not None:
            known.until = record.until
            seconds = int((record.until - known.start).total_seconds())
            yield self._fact("grant.extended", header, known, {"seconds": seconds})

    def _ended(self, entry: Entry, _record: Any) -> Iterator[Fact]:
        header = entry.header
        known = self._open.get(header.case)
        if known is not None:
            known.how, known.ended = header.kind.partition(":")[2], header.at
        yield from ()

    def _gone(self, entry: Entry, _record: Any) -> Iterator[Fact]:
        header = entry.header
        known = self._open.get(header.case)
        if known is not None:
            yield self._fact("removal.verified", header, known, {})

    def _still_there(self, entry: Entry, _record: Any) -> Iterator[Fact]:
        header = entry.header
        known = self._open.get(header.case)
        if known is not None:
            known.unverified = known.unverified or header.at
            since = int((header.at - known.unverified).total_seconds())
            yield self._fact("removal.unverified", header, known, {"since": since})

    def _closed(self, entry: Entry, _record: Any) -> Iterator[Fact]:
        header = entry.header
        self._reviews.pop(header.case, None)
        known = self._open.pop(header.case, None)
        if known is not None and known.start is not None and known.ended is not None:
            self._settling.append((header.at + SETTLED, header.case, known))
        yield from ()

    def _over(self, case: str, known: _Open) -> Iterator[Fact]:
        if known.start is None or known.ended is None or known.how == "undone":
            return
        seconds = int((known.ended - known.start).total_seconds())
        told: dict[str, Value] = {"how": known.how, "seconds": seconds}
        usage = self.world.usage(case, known.start, known.ended)
        if usage is not None:
            told |= {"sessions": usage.sessions, "used": usage.seconds}
        at = known.ended + SETTLED
        yield Fact(type="grant.over", at=at, case=case, ref=case, values=known.values | told)

    def _fact(self, type: str, header: Header, known: _Open, told: dict[str, Value]) -> Fact:
        return Fact(
            type=type,
            at=header.at,
            case=header.case,
            ref=header.id,
            values=known.values | told,
        )

    # --- reviews

    def _review(self, entry: Entry, record: Any) -> Iterator[Fact]:
        header = entry.header
        self._reviews[header.case] = record.about
        yield from self._of_review("review.opened", header, record.about, {})

    def _reviewed(self, entry: Entry, record: Any) -> Iterator[Fact]:
        header = entry.header
        about = self._reviews.get(header.case, "")
        yield from self._of_review("review.answered", header, about, {"verdict": record.verdict})

    def _of_review(
        self, type: str, header: Header, about: str, told: dict[str, Value]
    ) -> Iterator[Fact]:
        known = self._open.get(about)
        values = known.values if known is not None else {}
        values = values | told | {"about": about}
        yield Fact(type=type, at=header.at, case=about, ref=header.id, values=values)

    # --- controls

    def _role(self, entry: Entry, record: Any) -> Iterator[Fact]:
        self._tiers[record.resource] = record.tier
        yield from self._control(entry, record)

    def _principal(self, entry: Entry, record: Any) -> Iterator[Fact]:
        """Whoever comes into a group may decide more; that somebody is new changes nothing."""
        header = entry.header
        before = self._groups.get(header.case)
        self._groups[header.case] = groups = frozenset(record.groups)
        (self._gone_principals.discard if record.active else self._gone_principals.add)(header.case)
        if before is not None and groups - before:
            yield from self._control(entry, record, about=header.case, weakens=True)

    def _control(
        self, entry: Entry, record: Any, *, about: str = "", weakens: bool = False
    ) -> Iterator[Fact]:
        header = entry.header
        if header.kind == records.PolicyActivated.KIND and self._founded is None:
            self._founded = header.at
        if self._founded is None or header.at <= self._founded:
            return
        values: dict[str, Value] = {
            "what": header.kind,
            "weakens": weakens,
            "changed_by": record.actor.principal,
            "about": about,
            "zone": self.world.zone(record.actor.principal),
        }
        yield Fact(type="control.changed", at=header.at, ref=header.id, values=values)

    # --- sources and alerts

    def _missed(self, entry: Entry, record: Any) -> Iterator[Fact]:
        header = entry.header
        values: dict[str, Value] = {
            "source": record.source,
            "resource": record.resource,
            "how": record.why,
            "count": record.count or 0,
            "since": max(0, int((header.at - record.since).total_seconds())),
        }
        yield Fact(type="source.gap", at=header.at, ref=header.id, values=values)

    def _measured(self, entry: Entry, record: Any) -> Iterator[Fact]:
        """
        Also of what there was none of: that is what grows from.

        Of all grants the kinds that age does not bring; of the log itself each is there or not.
        """
        of_grants = {each.id for each in KINDS.values() if each.about == "grant"}
        of_log = (KINDS.keys() - of_grants) | set(record.log)
        told = [
            *(
                (kind, "recent", record.recent.get(kind, 0), record.recent_grants)
                for kind in sorted(of_grants | record.recent.keys())
            ),
            *((kind, "all", record.counts.get(kind, 0), record.grants) for kind in sorted(WORSENS)),
            *((kind, "log", int(kind in record.log), 1) for kind in sorted(of_log)),
        ]
        for kind, among, count, grants in told:
            values: dict[str, Value] = {
                "weakness": kind,
                "among": among,
                "count": count,
                "grants": grants,
            }
            header = entry.header
            yield Fact(type="evidence.measured", at=header.at, ref=header.id, values=values)

    def _told(self, entry: Entry, record: Any) -> Iterator[Fact]:
        header = entry.header
        about = record.about.partition("/")[0]
        if record.outcome in ("abandoned", "refused") and about.startswith("fnd_"):
            values: dict[str, Value] = {"about": about, "how": record.outcome}
            yield Fact(type="alert.failed", at=header.at, ref=header.id, values=values)


def _since(known: _Open, header: Header) -> int:
    return max(0, int((header.at - known.at).total_seconds()))
