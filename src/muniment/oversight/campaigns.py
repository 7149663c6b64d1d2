"""
Campaigns of review: their rule, the items of a population in one order, and who looks at what.

An item is made from the log alone, up to one size: whoever has the log and the rule makes the same
lines. No clock is read: what an item says of time it says as of the newest record that was seen.
"""

import heapq
import hmac
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any, Final, Literal

from muniment.errors import Malformed
from muniment.evidence import canonical, moment
from muniment.oversight.population import Line, Population

#: who may ask, who approves, by which rules; or what was granted
What = Literal["eligibility", "grants"]
WHATS: Final = ("eligibility", "grants")
SILENCES: Final = ("revoke", "none")
#: what may start a campaign: that somebody broke glass, or a finding of this rule or severity
TRIGGER: Final = re.compile(r"break-glass|finding:[a-z0-9][a-z0-9-]{0,63}", re.ASCII)
#: somebody who did not use what he may ask for in so long does not seem to need it
UNUSED: Final = timedelta(days=90)
LONGEST_DAYS: Final = 366
#: what is listed of cases in one item; their digest covers all
NAMED: Final = 8
#: cases of what is held under one item, whose removal a bundle shows where it is taken away
HELD: Final = 64
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}", re.ASCII)
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@/:-]{0,127}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a campaign is, before it is opened: `[[campaigns]]` in the configuration."""

    name: str
    what: What
    #: groups: who looks; who looks where none of those may; who signs
    reviewers: str
    fallback: str
    sign_off: str
    #: how long people have
    days: int
    #: what becomes of items that nobody looked at
    silence: str
    #: empty: on every resource
    resources: tuple[str, ...] = ()
    #: of grants: those that were asked for within so many days
    period_days: int = 90
    #: of grants that nothing speaks against, so many, drawn by lot; 0: all of them
    sample: int = 0
    #: an RRULE of RFC 5545, and the day on which it begins; empty: on no schedule
    schedule: str = ""
    starts: str | None = None
    #: what else starts it: see `TRIGGER`
    triggers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(bool(_NAME.fullmatch(self.name)), "a name of small letters, digits and `-`")
        _check(self.what in WHATS, f"`what` as one of {', '.join(WHATS)}")
        for group in (self.reviewers, self.fallback, self.sign_off):
            _check(bool(_GROUP.fullmatch(group)), f"groups, and `{group!a:.40}` is none")
        _check(0 < self.days <= LONGEST_DAYS, f"1 to {LONGEST_DAYS} days")
        _check(0 < self.period_days <= 10 * LONGEST_DAYS, "a period of some days")
        _check(0 <= self.sample <= 1_000_000, "a sample of some grants")  # noqa: PLR2004 (more than any review)
        _check(self.silence in SILENCES, f"`silence` as one of {', '.join(SILENCES)}")
        _check(bool(self.schedule) == bool(self.starts), "`schedule` and `starts`, or neither")
        for trigger in self.triggers:
            _check(bool(TRIGGER.fullmatch(trigger)), f"no trigger like `{trigger!a:.40}`")

    def document(self) -> bytes:
        """The rule as the campaign names it by digest."""
        return canonical.encode(
            {
                "name": self.name,
                "what": self.what,
                "reviewers": self.reviewers,
                "fallback": self.fallback,
                "sign_off": self.sign_off,
                "days": self.days,
                "silence": self.silence,
                "resources": list(self.resources),
                "period_days": self.period_days,
                "sample": self.sample,
                "schedule": self.schedule,
                "starts": self.starts,
                "triggers": list(self.triggers),
            }
        )

    def covers(self, resource: str) -> bool:
        return not self.resources or resource in self.resources


def rule_of(document: Mapping[str, Any]) -> Rule:
    """Raises `Malformed` for what is no rule."""
    lists = {"resources", "triggers"} & document.keys()
    try:
        return Rule(**{**document, **{name: tuple(document[name]) for name in lists}})
    except TypeError as error:
        raise Malformed("a campaign with other fields than its rule has") from error


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise Malformed(f"a campaign has {what}")


# --- items ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """An item before somebody has it: its line, but for number and reviewer."""

    what: str
    #: whether there is something that would have to be taken away
    live: bool
    #: person ids of the item's own actor chain, and of whoever may not look for another reason
    persons: tuple[str, ...]
    barred: tuple[str, ...]
    #: empty for what is of no resource
    resource: str
    #: what its line says besides: made when it is written, so that not all lie in memory
    told: Callable[[], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Eligible:
    """Somebody who may ask for a role, as the policy answered."""

    principal: str
    kind: str
    persons: tuple[str, ...]
    resource: str
    role: str
    #: what the policy says: `deny` where only breaking glass is allowed
    outcome: str
    glass: bool
    groups: tuple[str, ...]
    rules: tuple[str, ...]
    max_seconds: int
    #: whoever enrolled him, or defined the role
    provisioned: tuple[str, ...] = ()


@dataclass(kw_only=True, slots=True)
class _Made:
    """What somebody made of what he may ask for."""

    cases: list[str] = field(default_factory=list)
    granted: int = 0
    glass: int = 0
    approvals: int = 0
    findings: set[str] = field(default_factory=set)
    last: datetime | None = None
    #: words that speak for looking twice
    spoken: set[str] = field(default_factory=set)
    #: cases of what is held now, by himself and for him
    held: list[str] = field(default_factory=list)

    def take(self, line: Line) -> None:
        self.cases.append(line.case)
        self.granted += line.granted
        self.glass += line.emergency
        self.approvals += len(line.approved)
        self.findings |= {*line.findings}
        self.spoken |= {*_spoken(line)}
        for at in (line.last_used, line.issued):
            if at is not None and (self.last is None or at > self.last):
                self.last = at


def access_drafts(population: Population, eligible: Iterable[Eligible]) -> Iterator[Draft]:
    """Who may ask for what, in the order given, each with what was made of it."""
    made = defaultdict[tuple[str, str, str], _Made](_Made)
    newest = None
    for line in population.lines.values():
        made[line.requester, line.resource, line.role].take(line)
        newest = line.requested if newest is None else max(newest, line.requested)
        if line.granted and line.closed is None:
            for who in {line.requester, line.sponsor or line.requester}:
                made[who, line.resource, line.role].held.append(line.case)
    for each in eligible:
        found = made.get((each.principal, each.resource, each.role)) or _Made()
        yield Draft(
            what="access",
            live=True,
            persons=each.persons,
            barred=each.provisioned,
            resource=each.resource,
            told=partial(_access, each, found, newest),
        )


def _access(each: Eligible, made: _Made, newest: datetime | None) -> Mapping[str, Any]:
    last = made.last
    unused = newest is not None and (last is None or newest - last > UNUSED)
    why = [word for word in _WORDS if word in made.spoken]
    return {
        "principal": each.principal,
        "kind": each.kind,
        "resource": each.resource,
        "role": each.role,
        "answer": each.outcome,
        "glass": each.glass,
        "groups": list(each.groups),
        "rules": list(each.rules),
        "max_seconds": each.max_seconds,
        "cases": _cases(made),
        "held": sorted(made.held)[:HELD],
        "approvals": made.approvals,
        "last": None if last is None else moment.text(last),
        "advice": "look" if why else "revoke" if unused else "keep",
        "why": [*why, *(["unused"] if unused else [])],
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Approves:
    """Somebody whose approval counts for a group."""

    principal: str
    persons: tuple[str, ...]
    group: str
    provisioned: tuple[str, ...] = ()


def approver_drafts(population: Population, approvers: Iterable[Approves]) -> Iterator[Draft]:
    given = Counter(
        approved.approver for line in population.lines.values() for approved in line.approved
    )
    for each in approvers:
        yield Draft(
            what="approver",
            live=True,
            persons=each.persons,
            barred=each.provisioned,
            resource="",
            told=partial(_approver, each, given[each.principal]),
        )


def _approver(each: Approves, given: int) -> Mapping[str, Any]:
    return {
        "principal": each.principal,
        "group": each.group,
        "approvals": given,
        "advice": "keep" if given else "look",
        "why": [] if given else ["unused"],
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """One rule of the policy in force."""

    id: str
    sha256: str
    effect: str
    provisioned: tuple[str, ...] = ()


def policy_drafts(rules: Iterable[Written]) -> Iterator[Draft]:
    for each in rules:
        yield Draft(
            what="policy",
            live=True,
            persons=(),
            barred=each.provisioned,
            resource="",
            told=partial(_rule, each),
        )


def _rule(each: Written) -> Mapping[str, Any]:
    return {
        "rule": each.id,
        "sha256": each.sha256,
        "effect": each.effect,
        "advice": "look",
        "why": [],
    }


def grant_drafts(
    rule: Rule, population: Population, provisioned: Mapping[str, tuple[str, ...]], seed: bytes
) -> Iterator[Draft]:
    """All that broke glass, all with findings, and of the others a sample by `seed`; by case id."""
    # NOTE: of each only its id and its time are kept: lines are made anew for who looks at them
    always, others, newest = _Asked(), _Asked(), float("-inf")
    for line in population.lines.values():
        asked = line.requested.timestamp()
        newest = max(newest, asked)
        if line.granted and rule.covers(line.resource):
            (always if line.emergency or line.findings else others).take(line.case, asked)
    since = newest - timedelta(days=rule.period_days).total_seconds()
    drawn = sampled(others.since(since), rule.sample, seed)
    for case in sorted([*always.since(since), *drawn]):
        line = population.lines[case]
        yield _grant(line, provisioned.get(line.requester, ()))


@dataclass(kw_only=True, slots=True)
class _Asked:
    """Case ids, and the seconds at which they were asked for."""

    cases: list[str] = field(default_factory=list)
    at: "array[float]" = field(default_factory=lambda: array("d"))

    def take(self, case: str, at: float) -> None:
        self.cases.append(case)
        self.at.append(at)

    def since(self, when: float) -> list[str]:
        return [case for case, at in zip(self.cases, self.at, strict=True) if at >= when]


def sampled(cases: Sequence[str], most: int, seed: bytes) -> list[str]:
    """By lot: those whose keyed digests are the smallest, so that anybody draws the same."""
    if not most or len(cases) <= most:
        return list(cases)
    return heapq.nsmallest(most, cases, key=lambda case: hmac.digest(seed, case.encode(), sha256))


def _grant(line: Line, provisioned: tuple[str, ...]) -> Draft:
    return Draft(
        what="grant",
        live=line.closed is None,
        persons=line.persons,
        barred=(*(each.person for each in line.approved), *provisioned),
        resource=line.resource,
        told=partial(_granted, line),
    )


def _granted(line: Line) -> Mapping[str, Any]:
    why = _spoken(line)
    return {
        "case": line.case,
        "principal": line.requester,
        "kind": line.kind,
        "resource": line.resource,
        "role": line.role,
        "state": line.state,
        "glass": line.emergency,
        "rules": list(line.rules),
        "from": None if line.starts is None else moment.text(line.starts),
        "until": None if line.until is None else moment.text(line.until),
        "approved": [each.person for each in line.approved],
        "actions": line.actions,
        "last": None if line.last_used is None else moment.text(line.last_used),
        "findings": list(line.findings[:NAMED]),
        "advice": "look" if why else "keep",
        "why": why,
    }


#: what speaks for looking twice, in words that stand in the line
_WORDS: Final = ("break-glass", "finding", "removal-unverified", "outside-window")


def _spoken(line: Line) -> list[str]:
    unseen = line.unseen is not None and line.gone is None
    holds = (line.emergency, bool(line.findings), unseen, bool(line.odd_sessions))
    return [word for word, said in zip(_WORDS, holds, strict=True) if said]


def _cases(made: _Made) -> dict[str, Any]:
    ids = sorted(made.cases)
    return {
        "count": len(ids),
        "granted": made.granted,
        "glass": made.glass,
        "findings": len(made.findings),
        "digest": sha256("\n".join(ids).encode()).hexdigest() if ids else "",
    }


# --- who looks --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Reviewer:
    """Somebody of the groups that review."""

    principal: str
    persons: tuple[str, ...]


def assigned(
    drafts: Iterable[Draft], reviewers: Sequence[Reviewer], fallback: Sequence[Reviewer]
) -> Iterator[bytes]:
    """
    The lines of these items, in their order, each with who is to look at it; one after the other.

    In turns, so that all have about the same; nobody has what is about himself, what he approved or
    what he provisioned. Where none of the reviewers may, one of the others does; an item that
    nobody may look at says so, and is never reviewed.
    """
    load = Counter[str]()
    for number, draft in enumerate(drafts):
        barred = tuple(dict.fromkeys((*draft.persons, *draft.barred)))
        chosen = _one_of(reviewers, barred, load) or _one_of(fallback, barred, load)
        if chosen is not None:
            load[chosen.principal] += 1
        line = canonical.encode(
            {
                **draft.told(),
                "item": number,
                "what": draft.what,
                "live": draft.live,
                "persons": list(draft.persons),
                "barred": list(barred),
                "reviewer": "" if chosen is None else chosen.principal,
                "person": "" if chosen is None else chosen.persons[0],
            }
        )
        # NOTE: a copy of its own size: as a fast writer makes them, lines lie far apart in memory
        yield bytes(memoryview(line))


def _one_of(
    reviewers: Sequence[Reviewer], barred: Sequence[str], load: Mapping[str, int]
) -> Reviewer | None:
    may = (each for each in reviewers if not set(each.persons) & set(barred))
    return min(may, key=lambda each: (load.get(each.principal, 0), each.principal), default=None)


# --- how well it was looked at ----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Signs:
    """What shows that somebody only stamped: signs, and no proof."""

    reviewer: str
    items: int
    kept: int
    #: of one item; half of them took no longer
    median_seconds: int
    #: how many items were decided in no more than a second each
    at_once: int
    #: the most that one record has of his
    largest: int

    @property
    def stamped(self) -> bool:
        """Many items, hardly a look, and nothing but keeping."""
        return self.items >= 20 and self.kept == self.items and self.median_seconds <= 1  # noqa: PLR2004 (that many shows a habit)


def signs(verdicts: Iterable[tuple[str, str, int, int]]) -> list[Signs]:
    """Of each reviewer. `verdicts`: reviewer, verdict, seconds, and position of the record."""
    by = defaultdict[str, list[tuple[str, int, int]]](list)
    for reviewer, verdict, seconds, position in verdicts:
        by[reviewer].append((verdict, seconds, position))
    return [_signs(reviewer, given) for reviewer, given in sorted(by.items())]


def _signs(reviewer: str, given: Sequence[tuple[str, int, int]]) -> Signs:
    seconds = sorted(each[1] for each in given)
    return Signs(
        reviewer=reviewer,
        items=len(given),
        kept=sum(verdict == "keep" for verdict, _, _ in given),
        median_seconds=seconds[(len(seconds) - 1) // 2],
        at_once=sum(each <= 1 for each in seconds),
        largest=max(Counter(position for _, _, position in given).values()),
    )
