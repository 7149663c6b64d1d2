"""Faults to plant in an ordinary year: each knows which rule must find it, and by which facts."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from muniment.oversight.fact import Fact, Value

_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


class Somebody(Protocol):
    """Somebody who lives through the year, with habits of their own."""

    @property
    def name(self) -> str: ...
    @property
    def person(self) -> str: ...
    @property
    def zone(self) -> str: ...
    @property
    def groups(self) -> str: ...
    @property
    def resources(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, kw_only=True)
class Planted:
    """One fault."""

    rule: str
    facts: tuple[Fact, ...]

    @property
    def refs(self) -> frozenset[str]:
        return frozenset(fact.ref for fact in self.facts)


def fault(rule: str, rng: random.Random, at: datetime, tag: str, somebody: Somebody) -> Planted:
    """A fault that this rule must find, at about that time. `somebody` is busy all year."""
    scene = _Scene(f"{rule}-{tag}", somebody)
    FAULTS[rule](scene, at + timedelta(seconds=rng.randrange(86_400)), rng)
    return Planted(rule=rule, facts=tuple(sorted(scene.facts, key=lambda fact: fact.at)))


@dataclass
class _Scene:
    """Strangers with names of their own, unless a fault is about somebody who is known."""

    tag: str
    somebody: Somebody
    facts: list[Fact] = field(default_factory=list)

    def say(self, at: datetime, type: str, number: int = 0, /, **values: Value) -> None:
        case, who = f"mun_{self.tag}-{number}", values.pop("who", "x")
        person = f"per_{who}-{self.tag}"
        about: dict[str, Value] = {
            "requester": f"prn_{who}-{self.tag}", "person": person, "persons": f" {person} ",
            "kind": "human", "resource": f"{self.tag}-prod", "role": "readwrite", "tier": "prod",
            "emergency": False, **values,
        }  # fmt: skip
        ref = f"planted/{self.tag}/{len(self.facts)}"
        self.facts.append(Fact(type=type, at=at, case=case, ref=ref, values=about))

    def ask(self, at: datetime, number: int = 0, /, **values: Value) -> None:
        given: dict[str, Value] = {
            "seconds": 3600, "cap": 28_800, "reason": f"{self.tag}-{number}", "letters": 20,
            "groups": f" {self.tag} ", "zone": "Europe/Berlin", **values,
        }  # fmt: skip
        self.say(at, "request.made", number, **given)

    def ask_as_known(
        self, at: datetime, number: int = 0, /, *, hour: int = 11, **values: Value
    ) -> None:
        """As somebody who has a past, at this hour of theirs."""
        known = self.somebody
        at = at.astimezone(ZoneInfo(known.zone)).replace(hour=hour).astimezone(at.tzinfo)
        self.ask(
            at, number,
            **{
                "requester": f"prn_{known.name}", "person": known.person, "zone": known.zone,
                "persons": f" {known.person} ", "groups": known.groups, "tier": "prod",
                "resource": known.resources[0], **values,
            },
        )  # fmt: skip

    def approve(self, at: datetime, number: int = 0, /, by: str = "y", **values: Value) -> None:
        given: dict[str, Value] = {
            "approver": f"prn_{by}-{self.tag}", "approver_person": f"per_{by}-{self.tag}",
            "latency": 600, "zone": "Europe/Berlin", "on_call": False, "incident": False, **values,
        }  # fmt: skip
        self.say(at, "approval.given", number, **given)

    def act(self, at: datetime, number: int = 0, /, **values: Value) -> None:
        given: dict[str, Value] = {
            "source": "log", "event": "statement", "account": "a", "client": "192.0.2.1",
            "failed": False, "link": "strong", "standing": "within", "own": False, **values,
        }  # fmt: skip
        self.say(at, "activity", number, **given)


Plant = Callable[[_Scene, datetime, random.Random], None]


def _drift(scene: _Scene, at: datetime, rng: random.Random) -> None:
    how = rng.choice(("privileged-account/out-of-band", "account-without-grant/left-over"))
    scene.say(at, "drift", how=how, account="helper", privilege="superuser", since=0)


def _outside(scene: _Scene, at: datetime, rng: random.Random) -> None:
    scene.act(at, standing=rng.choice(("early", "late", "elsewhere", "unknown")))


def _role_write(scene: _Scene, at: datetime, _: random.Random) -> None:
    scene.act(at, event="access.changed", account="postgres", link="", standing="nobody")


def _let_in(scene: _Scene, at: datetime, rng: random.Random) -> None:
    account = rng.choice(("backdoor", "old_dba", "root"))
    scene.act(at, event="session.opened", account=account, link="", standing="nobody")


def _own(scene: _Scene, at: datetime, rng: random.Random) -> None:
    chain = f" per_x-{scene.tag} per_y-{scene.tag} "
    if rng.choice((True, False)):
        scene.approve(at, by="x")
    else:
        scene.approve(at, persons=chain)


def _glass(scene: _Scene, at: datetime, _: random.Random) -> None:
    scene.say(at, "grant.issued", emergency=True)
    scene.say(at + _HOUR, "review.answered", about=f"mun_{scene.tag}-0", verdict="in order")


def _glass_again(scene: _Scene, at: datetime, rng: random.Random) -> None:
    by_person = rng.choice((True, False))
    for number in range(3 if by_person else 2):
        who, when = ("x", at + 2 * number * _DAY) if by_person else (f"x{number}", at)
        where = f"{scene.tag}-{number if by_person else 0}-prod"
        scene.say(when, "grant.issued", number, who=who, resource=where, emergency=True)
        case = f"mun_{scene.tag}-{number}"
        scene.say(when + _HOUR, "review.answered", about=case, verdict="in order")


def _glass_unseen(scene: _Scene, at: datetime, rng: random.Random) -> None:
    scene.say(at, "review.opened", about=f"mun_{scene.tag}-0", emergency=True)
    if rng.choice((True, False)):
        late = at + 7 * _DAY
        scene.say(late, "review.answered", about=f"mun_{scene.tag}-0", verdict="in order")


def _again(scene: _Scene, at: datetime, rng: random.Random) -> None:
    for number in range(4):
        scene.say(at + number * rng.randrange(1, 7) * _HOUR, "grant.issued", number)


def _long(scene: _Scene, at: datetime, rng: random.Random) -> None:
    if rng.choice((True, False)):
        scene.ask_as_known(at, seconds=36_000)
        return
    for number in range(25):
        scene.ask(at - number * _DAY, number, who=f"x{number}")
    scene.ask(at + _HOUR, 99, seconds=28_800)


def _idle(scene: _Scene, at: datetime, _: random.Random) -> None:
    for number in range(5):
        when = at + number * 5 * _DAY
        scene.say(when, "grant.over", number, how="expired", seconds=28_800, used=600, sessions=1)


def _unused(scene: _Scene, at: datetime, _: random.Random) -> None:
    scene.say(at, "grant.over", how="expired", seconds=28_800, used=0, sessions=0)


def _night(scene: _Scene, at: datetime, _: random.Random) -> None:
    scene.ask_as_known(at, hour=3)


def _weekend(scene: _Scene, at: datetime, rng: random.Random) -> None:
    to_saturday = (5 - at.weekday()) % 7
    noon = at.replace(hour=10, minute=rng.randrange(60)) + to_saturday * _DAY
    scene.approve(noon)


def _fast(scene: _Scene, at: datetime, rng: random.Random) -> None:
    noon = at.replace(hour=10)
    if rng.choice((True, False)):
        scene.approve(noon, latency=rng.randrange(2, 60))
    else:
        scene.approve(noon, latency=600, viewed=rng.randrange(1, 10))


def _burst(scene: _Scene, at: datetime, rng: random.Random) -> None:
    for number in range(5):
        when = at + number * rng.randrange(1, 14) * _MINUTE
        scene.ask(when, number, resource=f"{scene.tag}-{number}-prod")


def _new(scene: _Scene, at: datetime, _: random.Random) -> None:
    scene.ask_as_known(at, resource=f"{scene.tag}-payroll-prod")


def _stamp(scene: _Scene, at: datetime, rng: random.Random) -> None:
    for number in range(32):
        when = at - number * 2 * _DAY
        latency = rng.randrange(5, 55)
        scene.approve(when, number, who=f"x{number}", latency=latency, tier="staging")


def _ring(scene: _Scene, at: datetime, _: random.Random) -> None:
    for number in range(21):
        when = at.replace(hour=11) - number * 2 * _DAY
        scene.approve(when, 2 * number, who="x", by="y", tier="staging")
        scene.approve(when + _HOUR, 2 * number + 1, who="y", by="x", tier="staging")


def _excuse(scene: _Scene, at: datetime, rng: random.Random) -> None:
    kind = rng.randrange(3)
    if kind == 0:
        for number in range(3):
            scene.ask(at + number * 5 * _DAY, number, reason=scene.tag)
    elif kind == 1:
        scene.ask(at, letters=3)
    else:
        scene.ask(at, ticket="OPS-1", ticket_state=rng.choice(("closed", "missing")))


def _control(scene: _Scene, at: datetime, rng: random.Random) -> None:
    changes: tuple[tuple[str, dict[str, Value]], ...] = (
        ("control.changed", {"what": "policy:activated", "weakens": True, "changed_by": "prn_x"}),
        ("log.gap", {"since": 90_000}),
        ("source.gap", {"source": "log", "how": "count", "count": 12, "since": 60}),
        ("activity", {"event": "logging.changed", "link": "", "standing": "nobody"}),
    )
    type, values = rng.choice(changes)
    scene.say(at, type, **values)


def _second_opinion(scene: _Scene, at: datetime, rng: random.Random) -> None:
    scene.say(at, "approval.refused", 0, approver="prn_z", approver_person="per_z", latency=60)
    scene.approve(at + rng.randrange(1, 59) * _MINUTE, 1)


def _moved(scene: _Scene, at: datetime, _: random.Random) -> None:
    scene.act(at)
    scene.act(at + _MINUTE, client="203.0.113.9")


def _left(scene: _Scene, at: datetime, rng: random.Random) -> None:
    scene.say(at, rng.choice(("request.made", "grant.issued")), terminated=True)


def _silent(scene: _Scene, at: datetime, _: random.Random) -> None:
    scene.say(at, "alert.failed", about="fnd_1", how="abandoned")


def _unseen(scene: _Scene, at: datetime, _: random.Random) -> None:
    scene.say(at, "removal.unverified", since=86_400)


def _weaker(scene: _Scene, at: datetime, _: random.Random) -> None:
    counts = (0, 0, 0, 0, 0, 0, 0, 3)
    for days, count in enumerate(reversed(counts)):
        scene.say(
            at - days * _DAY, "evidence.measured", weakness=scene.tag, count=count, grants=100
        )


#: by the id of the rule that must find it
FAULTS: Final[Mapping[str, Plant]] = {
    "access-without-grant": _drift,
    "use-outside-window": _outside,
    "use-without-grant": _let_in,
    "role-written-by-others": _role_write,
    "own-approval": _own,
    "break-glass-used": _glass,
    "break-glass-repeated": _glass_again,
    "break-glass-unreviewed": _glass_unseen,
    "role-reactivated": _again,
    "unusual-duration": _long,
    "longer-than-used": _idle,
    "never-used": _unused,
    "unusual-hour": _night,
    "off-hours-approval": _weekend,
    "approved-too-fast": _fast,
    "burst": _burst,
    "new-resource": _new,
    "rubber-stamp": _stamp,
    "approval-ring": _ring,
    "weak-reason": _excuse,
    "control-changed": _control,
    "refused-then-approved": _second_opinion,
    "two-addresses": _moved,
    "person-gone": _left,
    "alert-failed": _silent,
    "removal-unverified": _unseen,
    "evidence-weaker": _weaker,
}
