"""
A year of ordinary life, made from a seed: what a detector has to be silent about.

People in four time zones ask, approve, work and forget; agents and pipelines do what they do;
somebody is on call and is woken. Nothing in it is wrong, but for what is planted.
"""

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from hashlib import blake2b
from math import exp, log
from typing import Final
from zoneinfo import ZoneInfo

from muniment.oversight.calendars import WorkingDays
from muniment.oversight.fact import Fact, Value
from muniment.testing.planted_faults import Planted, fault

ZONES: Final = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Sydney")
CAP: Final = 8 * 3600
_MENU: Final = ((1800, 25), (3600, 41), (7200, 20), (14400, 10), (28800, 4))
_TEAM: Final = 8
#: how many of a team approve
_LEADS: Final = 3
_HOUR: Final = 3600
#: hours at which somebody who works that day answers
_AWAKE: Final = range(6, 22)
#: requests for each grant: some are denied, refused, withdrawn or never picked up
_ASKED: Final = 1.09
_VERBS: Final = ("look into", "fix", "repair", "check", "migrate", "clean up", "reindex", "export")
_THINGS: Final = ("orders", "invoices", "slow queries", "the queue", "stock", "locks", "backups")
_WHYS: Final = (
    "after the release", "for support", "as asked by finance", "before the audit",
    "since the alarm", "for the report", "with the vendor", "once more, properly",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A person, an agent or a workload, with habits."""

    name: str
    kind: str
    #: whose it is: for a person, itself
    person: str
    team: int
    zone: str
    #: the hour at which its day begins
    start: int
    #: how much of all asking is its own
    weight: float
    #: the median of the seconds in which it approves; 0: it does not
    speed: float
    resources: tuple[str, ...]
    joined: date
    left: date
    vacations: tuple[tuple[date, date], ...] = ()

    @property
    def groups(self) -> str:
        return f" team-{self.team} "

    def is_there(self, day: date) -> bool:
        away = any(first <= day < last for first, last in self.vacations)
        return self.joined <= day < self.left and not away


@dataclass(kw_only=True)
class OrdinaryYear:
    """The same seed gives the same year. `grants` is about how many there are."""

    seed: int = 1
    grants: int = 10_000
    year: int = 2026
    people: tuple[Member, ...] = field(init=False)
    working_days: WorkingDays = field(init=False)
    _planted: list[Planted] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        days = ((1, 1), (4, 6), (5, 1), (12, 25), (12, 26))
        holidays = frozenset(date(self.year, month, day) for month, day in days)
        self.working_days = WorkingDays(holidays=holidays)
        self.people = _people(random.Random(self.seed), self.grants, self.year)  # noqa: S311 (the same each time)

    def plant(self, rule: str, n: int, seed: int) -> tuple[Planted, ...]:
        """So many faults that this rule must find, at random times of the last months."""
        rng = random.Random(f"{rule}:{seed}")  # noqa: S311 (the same each time)
        whole = date(self.year, 1, 1), date(self.year + 1, 1, 1)
        known = [
            each
            for each in self.people
            if each.kind == "human" and not each.speed and (each.joined, each.left) == whole
        ]
        known.sort(key=lambda each: -each.weight)
        start = datetime(self.year, 10, 1, tzinfo=timezone.utc)
        planted = tuple(
            fault(
                rule,
                rng,
                start + timedelta(days=rng.randrange(75)),
                f"{seed}-{number}",
                known[number % min(n, len(known))],
            )
            for number in range(n)
        )
        self._planted += planted
        return planted

    def facts(self) -> Iterator[Fact]:
        """In their order, and never all at once in memory."""
        planted = sorted((f for each in self._planted for f in each.facts), key=_moment)
        return heapq.merge(_Life(self).facts(), planted, key=_moment)


def _moment(fact: Fact) -> datetime:
    return fact.at


def happens(rng: random.Random, chance: float) -> bool:
    return rng.random() < chance


# --- who is there -------------------------------------------------------------------------------


def _people(rng: random.Random, grants: int, year: int) -> tuple[Member, ...]:
    count = max(8, round(60 * grants / 10_000))
    size = min(_TEAM, count // 2)
    humans = [_human(rng, number, number // size, number % size, year) for number in range(count)]
    teams = count // size
    machines = [
        _machine(rng, f"{kind}{number}", kind, humans[number * size % count], share, year)
        for kind, share in (("agent", 0.7), ("workload", 1.6))
        for number in range(max(1, teams * 2 // 3))
    ]
    return (*humans, *machines)


def _human(rng: random.Random, number: int, team: int, place: int, year: int) -> Member:
    first, last = date(year, 1, 1), date(year + 1, 1, 1)
    joined = first + timedelta(days=rng.randrange(30, 300)) if happens(rng, 0.08) else first
    left = last - timedelta(days=rng.randrange(20, 200)) if happens(rng, 0.06) else last
    away = [first + timedelta(days=rng.randrange(350)) for _ in range(2)]
    name = f"p{number:03}"
    return Member(
        name=name,
        kind="human",
        person=f"per_{name}",
        team=team,
        zone=ZONES[team % len(ZONES)],
        start=rng.choice((7, 8, 8, 9, 9, 10)),
        weight=exp(rng.gauss(0, 0.4)),
        speed=exp(rng.uniform(log(400), log(3000))) if place < _LEADS else 0,
        resources=_resources(team),
        joined=first if place < _LEADS else joined,
        left=last if place < _LEADS else left,
        vacations=tuple((day, day + timedelta(days=rng.randrange(5, 15))) for day in away),
    )


def _machine(
    rng: random.Random, name: str, kind: str, owner: Member, share: float, year: int
) -> Member:
    return Member(
        name=name,
        kind=kind,
        person=owner.person,
        team=owner.team,
        zone=owner.zone if kind == "agent" else "",
        start=owner.start if kind == "agent" else 0,
        weight=share * rng.uniform(0.8, 1.2),
        speed=0,
        resources=_resources(owner.team),
        joined=date(year, 1, 1),
        left=date(year + 1, 1, 1),
    )


def _resources(team: int) -> tuple[str, ...]:
    own = (f"t{team}-{kind}" for kind in ("db-prod", "app-prod", "db-staging", "app-dev"))
    return (*own, "shared-prod", "warehouse-prod")


def tier_of(resource: str) -> str:
    return resource.rpartition("-")[2]


# --- what they do -------------------------------------------------------------------------------


class _Life:
    """One run through the year. Cases are lived one by one; a heap puts their facts in order."""

    def __init__(self, year: OrdinaryYear) -> None:
        self.year = year
        self.rng = random.Random(year.seed + 1)  # noqa: S311 (the same each time)
        self._waiting: list[tuple[datetime, int, Fact]] = []
        self._cases = self._number = 0
        self._reasons: dict[str, str] = {}
        self.teams: dict[int, list[Member]] = {}
        for member in year.people:
            if member.kind == "human":
                self.teams.setdefault(member.team, []).append(member)
        days = 261 * sum(member.weight for member in year.people)
        self._rate = year.grants * _ASKED / days

    def facts(self) -> Iterator[Fact]:
        day = date(self.year.year, 1, 1)
        while day.year == self.year.year:
            midnight = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
            yield from self._before(midnight - timedelta(hours=12))
            self._live(day, midnight)
            day += timedelta(days=1)
        yield from self._before(datetime.max.replace(tzinfo=timezone.utc))

    def _before(self, end: datetime) -> Iterator[Fact]:
        while self._waiting and self._waiting[0][0] < end:
            yield heapq.heappop(self._waiting)[2]

    def say(self, at: datetime, type: str, case: str = "", /, **values: Value) -> None:
        self._number += 1
        ref = f"{case or 'log'}/{self._number}"
        fact = Fact(type=type, at=at, case=case, ref=ref, values=values)
        heapq.heappush(self._waiting, (at, self._number, fact))

    def _live(self, day: date, midnight: datetime) -> None:
        for hour in range(24):
            self.say(midnight + timedelta(hours=hour), "log.heartbeat")
        self._change_things(midnight)
        working = self.year.working_days.is_worked(day)
        for member in self.year.people:
            if (working or member.kind == "workload") and member.is_there(day):
                season = 1.7 if day.month in (11, 12) else 0.9
                for _ in range(self._poisson(self._rate * member.weight * season)):
                    _Case(self, member).ask(self._moment(member, day))
        for team, members in self.teams.items():
            if happens(self.rng, 0.06):
                self._incident(team, members, day, midnight)

    def _poisson(self, mean: float) -> int:
        count, left = 0, self.rng.expovariate(1)
        while left < mean:
            count += 1
            left += self.rng.expovariate(1)
        return count

    def _moment(self, member: Member, day: date) -> datetime:
        rng = self.rng
        if member.kind == "workload":
            zone, minutes = ZoneInfo("UTC"), rng.uniform(0, 1439)
        else:
            zone = ZoneInfo(member.zone)
            minutes = member.start * 60 + rng.triangular(0, 570, 150)
            if happens(rng, 0.004):  # once in a while somebody works late
                minutes = rng.uniform(19 * 60, 1439)
        at = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(minutes=minutes)
        return at.astimezone(timezone.utc).replace(microsecond=0)

    def _change_things(self, midnight: datetime) -> None:
        noon = midnight + timedelta(hours=12, minutes=self.rng.randrange(60))
        changes = (
            ("policy:activated", 1 / 14, False), ("config:changed", 1 / 7, False),
            ("role:defined", 1 / 30, False), ("principal:enrolled", 1 / 30, True),
            ("principal:enrolled", 1 / 10, False),
        )  # fmt: skip
        for what, chance, weakens in changes:
            if happens(self.rng, chance):
                self.say(noon, "control.changed", what=what, weakens=weakens,
                          changed_by="service", about="")  # fmt: skip
        if happens(self.rng, 0.4):
            self.say(noon, "deployment", source="ci", resource="shared-prod", object="release")
        if happens(self.rng, 2 / 365):
            for after, how in ((0, "silence"), (3, "resumed")):
                at = noon + timedelta(hours=after)
                self.say(at, "source.gap", source="t0-log", resource="t0-db-prod", how=how,
                          count=0, since=_HOUR * (after + 1))  # fmt: skip

    def _incident(self, team: int, members: list[Member], day: date, midnight: datetime) -> None:
        awake = [each for each in members if each.joined <= day < each.left]
        rng, week = self.rng, day.isocalendar().week
        holder, where = awake[week % len(awake)], f"t{team}-{rng.choice(('db', 'app'))}-prod"
        at = midnight + timedelta(seconds=rng.randrange(86_400))
        self.say(at, "incident.opened", source="pager", resource=where, object=f"inc-{day}")
        case = _Case(self, holder, where=where, on_call=True)
        case.ask(at + timedelta(minutes=rng.randrange(3, 20)), emergency=happens(rng, 0.15))
        end = at + timedelta(minutes=rng.randrange(30, 300))
        self.say(end, "incident.closed", source="pager", resource=where, object=f"inc-{day}")

    # --- what a case draws on

    def next_case(self) -> str:
        self._cases += 1
        return f"mun_{self._cases:08}"

    def approvers(self, member: Member, day: date) -> list[Member]:
        leads = [each for each in self.teams[member.team] if each.speed]
        others = [each for each in leads if each.person != member.person]
        return [each for each in others if each.is_there(day)] or others

    def reason(self, member: Member) -> tuple[str, str]:
        """The text, and its ticket."""
        rng, before = self.rng, self._reasons.get(member.name)
        if member.kind == "workload":
            return f"deploy of {member.name}", ""
        if before is not None and happens(rng, 0.01):
            return before, ""
        if happens(rng, 0.003):
            return "hotfix", ""
        ticket = f"OPS-{rng.randrange(1000, 99_999)}" if happens(rng, 0.65) else ""
        text = f"{rng.choice(_VERBS)} {rng.choice(_THINGS)} {ticket or rng.choice(_WHYS)}"
        if happens(rng, 0.06):  # a letter is lost
            lost = rng.randrange(len(text))
            text = text[:lost] + text[lost + 1 :]
        self._reasons[member.name] = text
        return text, ticket


class _Case:
    """One request, and what becomes of it."""

    def __init__(
        self, life: _Life, member: Member, *, where: str = "", on_call: bool = False
    ) -> None:
        rng = self._rng = life.rng
        self._life, self._member, self._on_call = life, member, on_call
        if not where:
            where = rng.choices(member.resources, (5, 3, 3, 2, 1, 1))[0]
            if member.kind == "human" and happens(rng, 0.003):  # helping out another team
                where = f"t{rng.randrange(len(life.teams))}-db-prod"
        self._where, self._case = where, life.next_case()
        self._base: dict[str, Value] = {
            "requester": f"prn_{member.name}", "person": member.person,
            "persons": f" {member.person} ", "kind": member.kind, "resource": where,
            "role": "readwrite" if happens(rng, 0.8) else "readonly", "tier": tier_of(where),
            "emergency": False,
        }  # fmt: skip

    def _say(self, at: datetime, type: str, /, **values: Value) -> None:
        self._life.say(at, type, self._case, **self._base, **values)

    def ask(self, at: datetime, *, emergency: bool = False, again: bool = False) -> None:
        rng, member = self._rng, self._member
        self._base["emergency"] = emergency
        text, ticket = self._life.reason(member)
        digest = blake2b(text.lower().encode(), digest_size=8).hexdigest()
        seconds = self._duration()
        checked = "open" if happens(rng, 0.999) else "closed"
        self._say(
            at, "request.made", seconds=seconds, cap=CAP, ticket=ticket, reason=digest,
            ticket_state=checked if ticket and happens(rng, 0.4) else "",
            letters=sum(map(str.isalpha, text)), zone=member.zone, on_call=self._on_call,
            incident=self._on_call, terminated=False, groups=member.groups,
        )  # fmt: skip
        denied = seconds > CAP or (happens(rng, 0.02) and not self._on_call)
        auto = member.kind == "workload" or self._base["tier"] != "prod"
        outcome = "break_glass" if emergency else "auto_approve" if auto else "needs_approvals"
        outcome = "deny" if denied else outcome
        self._say(at, "request.decided", outcome=outcome, latency=0)
        if outcome == "needs_approvals":
            self._wait(at, again=again)
        elif outcome != "deny":
            self._issue(at + timedelta(seconds=rng.randrange(2, 300)), seconds)
            if emergency:
                self._review(at)
        self._seconds = seconds

    def _duration(self) -> int:
        rng = self._rng
        if happens(rng, 0.92):
            values, weights = zip(*_MENU, strict=True)
            return int(rng.choices(values, weights)[0])
        typed = int(exp(rng.gauss(log(45), 0.6))) * 60
        return typed if happens(rng, 0.005) else min(typed, 2 * _HOUR)

    def _wait(self, at: datetime, *, again: bool) -> None:
        rng = self._rng
        approver = rng.choice(self._life.approvers(self._member, at.date()))
        latency = 65 + int(exp(rng.gauss(log(approver.speed), 1.0)))
        if self._on_call:
            latency = rng.randrange(70, 900)
        elif happens(rng, 0.002):  # they sit side by side
            latency = rng.randrange(15, 65)
        answered = self._awake(approver, at, at + timedelta(seconds=latency))
        latency = int((answered - at).total_seconds())
        who = {"approver": f"prn_{approver.name}", "approver_person": approver.person}
        if happens(rng, 0.042) and not self._on_call:
            self._say(answered, "approval.refused", **who, latency=latency, zone=approver.zone)
            if not again and happens(rng, 0.3):
                case = _Case(self._life, self._member, where=self._where)
                case.ask(answered + timedelta(minutes=rng.randrange(2, 20)), again=True)
            return
        viewed = {"viewed": max(12, latency // 3)} if happens(rng, 0.7) else {}
        self._say(
            answered, "approval.given", **who, **viewed, latency=latency, zone=approver.zone,
            on_call=self._on_call, incident=self._on_call,
        )  # fmt: skip
        if not happens(rng, 0.02):  # or it is not needed any more
            self._issue(answered + timedelta(seconds=rng.randrange(20, 1200)), self._duration())

    def _awake(self, approver: Member, asked: datetime, at: datetime) -> datetime:
        """Who is not at work answers in the morning, but for a few; on call one always is."""
        here, zone = at.astimezone(ZoneInfo(approver.zone)), ZoneInfo(approver.zone)
        is_worked = self._life.year.working_days.is_worked
        working = is_worked(here.date()) and here.hour in _AWAKE
        if self._on_call or working or happens(self._rng, 0.15):
            return at
        morning = datetime(here.year, here.month, here.day, approver.start, tzinfo=zone)
        morning += timedelta(minutes=self._rng.randrange(5, 90))
        while morning <= asked or not is_worked(morning.date()):
            morning += timedelta(days=1)
        return morning.astimezone(timezone.utc)

    def _issue(self, at: datetime, seconds: int) -> None:
        rng, member = self._rng, self._member
        around = {"on_call": self._on_call, "incident": self._on_call, "terminated": False}
        self._say(at, "grant.issued", seconds=seconds, zone=member.zone, **around)
        if self._where.endswith("db-prod"):
            self._act(at, "access.changed", account="muniment", link="", standing="known",
                      own=True, about=self._case, action="CREATE ROLE")  # fmt: skip
        if happens(rng, 0.05):
            seconds += 1800
            self._say(at + timedelta(seconds=seconds // 2), "grant.extended", seconds=seconds)
        used = 0 if happens(rng, 0.04) else self._use(at, seconds)
        how, lasted = "expired", seconds
        if used and happens(rng, 0.5):
            how = "revoked" if happens(rng, 0.01) else "ended"
            lasted = min(seconds, used * 2 + 60)
        over = at + timedelta(seconds=lasted)
        self._say(over + timedelta(seconds=_HOUR), "grant.over", how=how, seconds=lasted,
                  sessions=1 if used else 0, used=used)  # fmt: skip
        seen = over + timedelta(seconds=2)
        if happens(rng, 0.003):  # the target does not answer
            self._say(seen, "removal.unverified", since=0)
            seen += timedelta(minutes=20)
        self._say(seen, "removal.verified")

    def _use(self, at: datetime, seconds: int) -> int:
        """Seconds of one session with a few statements."""
        rng, number = self._rng, int(self._case[4:])
        used = max(5, min(int(exp(rng.gauss(log(1200), 0.9))), seconds // 2 - 60))
        begun = at + timedelta(seconds=rng.randrange(5, 55))
        client = f"192.0.2.{number % 250}"
        self._act(begun, "session.opened", client=client)
        if happens(rng, 0.003):  # a train leaves
            client = f"198.51.100.{number % 250}"
        if happens(rng, 0.6):
            self._act(begun + timedelta(seconds=used // 2), "statement", client=client)
        self._act(begun + timedelta(seconds=used), "session.closed", client=client)
        return used

    def _act(self, at: datetime, event: str, **values: Value) -> None:
        given: dict[str, Value] = {
            "source": f"{self._where}-log", "event": event, "account": self._case, "client": "",
            "failed": False, "link": "strong", "reason_of_link": "account", "standing": "within",
            "own": False, "zone": self._member.zone, **values,
        }  # fmt: skip
        self._say(at, "activity", **given)

    def _review(self, at: datetime) -> None:
        self._say(at, "review.opened", about=self._case)
        due = self._life.year.working_days.working_days_after(at, 1)
        answered = due - timedelta(minutes=self._rng.randrange(300))
        self._say(answered, "review.answered", about=self._case, verdict="in order")
