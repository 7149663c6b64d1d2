"""
Raise a finding: what a detector saw becomes a case of its own, one for each key.

The same seen again, before somebody closed it, is counted, and recorded at most once an hour. What
is counted in between is memory, and lost when the process ends: how often is then too low, and
nothing else. A rule that finds too much at once has one finding for the rest.

If policy lets the detector revoke, access ends for what it saw: the record says so first, and the
cascade ends whatever it names, also after a crash.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Final

from muniment.access import records
from muniment.access.case import LIVE
from muniment.access.finding import Finding
from muniment.errors import NotFound
from muniment.evidence.append import Proposal
from muniment.evidence.record import Draft
from muniment.operations import findings, permit
from muniment.operations.attempts import until_it_stands
from muniment.operations.pace import REMEMBERED, Tally
from muniment.operations.service import Caller, Grounds, Service, content
from muniment.oversight.detector import Hit, Rule
from muniment.oversight.event import clipped

#: what is seen again is recorded once in so long
EVERY: Final = timedelta(hours=1)
#: one record names so many cases and persons; the next one has the others
NAMED: Final = 100
#: key of the one finding that a rule has for whatever it finds on top of what it may raise an hour
CROWD: Final = "\0crowd"
_CROWDED: Final = "more was found within an hour than are findings of their own: counted here"
#: characters of a hit's sentence, of its key, and of what a target says; and how many facts show it
_SUMMARY, _KEY, _DETAIL, _EVIDENCE = 500, 500, 4096, 100
_CASE = re.compile(r"[a-z0-9]{1,16}_[a-z2-7]{26}", re.ASCII)
_PERSON = re.compile(r"per_[A-Za-z0-9_-]{1,64}", re.ASCII)
_RESOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)


async def raise_finding(
    service: Service,
    rule: Rule,
    thresholds: Mapping[str, int],
    hit: Hit,
    *,
    detector: Caller | None = None,
    ends: bool = False,
) -> str:
    """
    The case id of the finding in which this was recorded, or counted.

    With `ends`, access under the cases of the hit ends for it, as far as policy lets `detector`, an
    enrolled workload, `revoke` it. Raises `LogUnavailable`: then nothing is known to be recorded,
    and it has to be tried again.
    """
    seen = _Seen(service, rule, thresholds, hit, detector, ends)
    case: str = await until_it_stands(seen.record)
    return case


def _of_the_crowd(hit: Hit) -> Hit:
    """Whoever makes a rule fire on ever new keys fills neither the log nor the lists."""
    words = f"{_CROWDED}; the newest: {hit.summary}"
    return replace(hit, key=CROWD, summary=words)


async def record_counted(service: Service) -> int:
    """Record what was only counted so far, where the hour is over; returns in how many findings."""
    recorded = 0
    for case in list(service.pace.findings):
        finding, _ = findings.read(service, case)
        if finding.state == "closed":
            service.pace.findings.pop(case, None)
        elif _hour_is_over(finding, service.now()):
            await until_it_stands(partial(_record_counted, service, case))
            recorded += 1
    return recorded


async def _record_counted(service: Service, case: str) -> None:
    finding, _ = findings.read(service, case)
    tally = service.pace.findings.pop(case, Tally())
    try:
        drafts = counted(finding, tally, service.now())
        if drafts and finding.state != "closed":
            await _append(service, finding, drafts, {case: finding.head})
    except BaseException:
        service.pace.count(case, tally)
        raise


def counted(finding: Finding, tally: Tally, at: datetime) -> list[Draft]:
    """The records of what was only counted so far."""
    parts = _parts(finding.about, _new(tally, finding), ())
    return _seen_again(finding.id, parts, tally, at, why="not-asked")


@dataclass(frozen=True)
class _Seen:
    """One hit on its way into the log."""

    service: Service
    rule: Rule
    thresholds: Mapping[str, int]
    hit: Hit
    detector: Caller | None
    ends: bool

    async def record(self) -> str:
        service = self.service
        number = findings.newest_of(service, self.rule.id, self.hit.key)
        if number is None:
            return await self._first(0, {})
        last, _ = findings.read(service, self._case(number))
        if last.state != "closed":
            return await self._again(last)
        if last.mutes(service.now()):
            service.count("finding-muted")
            return last.id
        return await self._first(number + 1, {last.id: last.head})

    def _case(self, number: int) -> str:
        return findings.case_of(self.service, self.rule.id, self.hit.key, number)

    async def _first(self, number: int, reads: Mapping[str, bytes | None]) -> str:
        pace, elapsed = self.service.pace, self.service.log.clock.elapsed()
        if self.hit.key != CROWD and not pace.may_raise(self.rule.id, elapsed):
            return await replace(self, hit=_of_the_crowd(self.hit)).record()
        case, now, tally = self._case(number), self.service.now(), self._tally()
        grounds, (ending, why) = self._grounds(), self._ending(())
        document = definition(self.rule, self.thresholds, ends=self.ends)
        first, *others = _parts((), tally, ending)
        raised = records.FindingRaised(
            actor=self._actor(),
            rule=self.rule.id,
            definition=sha256(document).digest(),
            severity=self.hit.severity,
            nature=self.rule.kind,
            resource=self.hit.resource if _RESOURCE.fullmatch(self.hit.resource) else "",
            about=first.about,
            subjects=first.subjects,
            seen=self.hit.at,
            ends=first.ends,
            why="" if first.ends else why or "no-access",
        ).draft(
            case,
            now,
            follows=tuple(grounds.follows),
            sections={"detail": tally.detail},
            documents=(document,),
        )
        more = _seen_again(case, others, replace(tally, count=0), now, why=why, actor=self._actor())
        reads = {**grounds.reads, **reads, case: None}
        await _append(self.service, Finding(), [raised, *more], reads, urgent=bool(ending))
        pace.has_raised(self.rule.id, elapsed)
        return case

    async def _again(self, finding: Finding) -> str:
        pace, now = self.service.pace, self.service.now()
        ending, why = self._ending(finding.ends)
        if not ending and not _hour_is_over(finding, now):
            pace.count(finding.id, self._tally())
            return finding.id
        before = pace.findings.pop(finding.id, Tally())
        try:
            tally, grounds = before.plus(self._tally()), self._grounds()
            parts = _parts(finding.about, _new(tally, finding), ending)
            drafts = _seen_again(
                finding.id, parts, tally, now, why=why, actor=self._actor(), follows=grounds.follows
            )
            reads = {**grounds.reads, finding.id: finding.head}
            await _append(self.service, finding, drafts, reads, urgent=bool(ending))
        except BaseException:
            pace.count(finding.id, before)
            raise
        return finding.id

    def _tally(self) -> Tally:
        """Cases and persons in the form of ours; whatever else a hit names stands in its detail."""
        return Tally(
            count=1,
            seen=self.hit.at,
            about=_of_form(_CASE, self.hit.cases),
            subjects=_of_form(_PERSON, self.hit.subjects),
            detail=detail(self.hit),
        )

    # --- what ends for it --------------------------------------------------------------------

    def _actor(self) -> records.Actor:
        return records.SERVICE if self.detector is None else self.service.actor(self.detector)

    def _grounds(self) -> Grounds:
        if self.detector is None or not self.ends:
            return Grounds()
        return self.service.rests_on(self.detector.principal)

    def _ending(self, already: Iterable[str]) -> tuple[tuple[str, ...], str]:
        """Whose access ends now, and why nobody's does."""
        if not self.ends:
            return (), "not-asked"
        about = [case for case in self._tally().about if case not in already and self._lives(case)]
        if not about:
            return (), "no-access"
        detector = self.detector
        if detector is None or not self._actor_is_active(detector):
            return (), "no-detector"
        ending = tuple(case for case in about if self._may_revoke(detector, case))
        return ending, "" if ending else "not-permitted"

    def _lives(self, case: str) -> bool:
        try:
            state, _ = self.service.read(case)
        except NotFound:
            return False
        return state.state in (*LIVE, "approved")

    def _actor_is_active(self, detector: Caller) -> bool:
        """A workload, and not one of somebody who is gone."""
        registry = self.service.registry
        principal = registry.principals[detector.principal.id]
        return principal.type == "workload" and all(
            link.active for link in registry.chain(principal)
        )

    def _may_revoke(self, detector: Caller, case: str) -> bool:
        state, _ = self.service.read(case)
        return permit.ask(self.service, detector, "revoke", state).outcome == "permit"


# --- what is recorded -------------------------------------------------------------------------


def definition(rule: Rule, thresholds: Mapping[str, int], *, ends: bool) -> bytes:
    """The document that a finding rests on: what the rule says of itself, and what was set."""
    return content(
        {
            "id": rule.id,
            "title": rule.title,
            "advice": rule.advice,
            "severity": rule.severity,
            "kind": rule.kind,
            "needs": list(rule.needs),
            "thresholds": {
                name: {
                    "value": thresholds.get(name, each.default),
                    "default": each.default,
                    "unit": each.unit,
                    "meaning": each.meaning,
                }
                for name, each in rule.thresholds.items()
            },
            "samples": rule.samples,
            "horizon_seconds": int(rule.horizon.total_seconds()),
            "expected": rule.expected,
            "references": list(rule.references),
            "sigma": rule.sigma,
            "ends_access": ends,
        }
    )


def detail(hit: Hit) -> bytes:
    """What is sealed: words, which facts show it, and what a target says."""
    return content(
        {
            "summary": _text(hit.summary, _SUMMARY),
            "key": _text(hit.key, _KEY),
            "evidence": [_text(ref, _KEY) for ref in hit.evidence[-_EVIDENCE:]],
            "detail": _text(hit.detail, _DETAIL),
        }
    )


def _of_form(form: re.Pattern[str], named: Iterable[str]) -> tuple[str, ...]:
    return tuple(each for each in dict.fromkeys(named) if form.fullmatch(each))[:REMEMBERED]


def _text(text: str, most: int) -> str:
    """Bounded, and without halves of characters, which no reader of JSON has to take."""
    return clipped(text, most).encode("utf-8", "replace").decode()


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What one record names."""

    about: tuple[str, ...]
    subjects: tuple[str, ...]
    ends: tuple[str, ...]


def _new(tally: Tally, finding: Finding) -> Tally:
    """Without whatever the finding names already."""
    return tally.without({*finding.about, *finding.subjects})


def _parts(known: Iterable[str], tally: Tally, ending: Sequence[str]) -> list[_Part]:
    """At least one. A record ends only what it, or one before it, names."""
    named, parts = {*known}, list[_Part]()
    # of what was counted not all may be remembered; whose access ends is named in any case
    about = tuple(dict.fromkeys((*(each for each in ending if each not in named), *tally.about)))
    subjects, left = tally.subjects, list(ending)
    while not parts or about or subjects or left:
        named.update(about[:NAMED])
        ends = [case for case in left if case in named][:NAMED]
        left = [case for case in left if case not in ends]
        parts.append(_Part(about=about[:NAMED], subjects=subjects[:NAMED], ends=tuple(ends)))
        about, subjects = about[NAMED:], subjects[NAMED:]
    return parts


def _seen_again(
    case: str,
    parts: Iterable[_Part],
    tally: Tally,
    at: datetime,
    *,
    why: str,
    actor: records.Actor = records.SERVICE,
    follows: Sequence[bytes] = (),
) -> list[Draft]:
    """The first of them has the count, and says what was seen last."""
    if tally.seen is None:
        return []
    return [
        records.FindingSeen(
            actor=actor,
            count=tally.count if number == 0 else 0,
            seen=tally.seen,
            about=part.about,
            subjects=part.subjects,
            ends=part.ends,
            why="" if part.ends else why or "no-access",
        ).draft(
            case,
            at,
            follows=tuple(follows),
            sections={"detail": tally.detail} if tally.count and number == 0 else {},
        )
        for number, part in enumerate(parts)
    ]


def _hour_is_over(finding: Finding, now: datetime) -> bool:
    return finding.noted_at is None or now - finding.noted_at >= EVERY


async def _append(
    service: Service,
    before: Finding,
    drafts: Sequence[Draft],
    reads: Mapping[str, bytes | None],
    *,
    urgent: bool = False,
) -> None:
    await service.append(
        Proposal(
            drafts=tuple(drafts),
            reads=reads,
            gives=False,
            urgent=urgent,
            companions=lambda placed: findings.companions(service, before, placed),
        )
    )
