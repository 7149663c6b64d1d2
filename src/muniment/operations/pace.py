"""
How often one recipient is told in one way, and how often it is recorded that a finding was seen.

What comes too soon waits, and is told in one notice, or counted. All of it is memory: a service
that starts anew tells what waits, at the same pace.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, TypeAlias

#: so many notices to one recipient within so many seconds
MOST, WITHIN = 10, 60.0
#: one notice lists so many others
LISTED: Final = 50
#: so many findings of one rule within so many seconds; what comes on top is one finding
MOST_RAISED, RAISED_WITHIN = 100, 3600.0

#: way of telling, and principal id (empty for a channel)
Recipient: TypeAlias = tuple[str, str]

#: so many cases, and so many persons, are remembered of one finding until they are recorded
REMEMBERED: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What was seen of one finding, and is not recorded yet."""

    count: int = 0
    #: the last time; None: never
    seen: datetime | None = None
    #: access cases, and person ids, that it is about
    about: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    #: what is to be sealed about the last time
    detail: bytes = b""

    def plus(self, other: "Tally") -> "Tally":
        """Both; of what happened last, that is said which came to be known last."""
        return Tally(
            count=self.count + other.count,
            seen=max(filter(None, (self.seen, other.seen)), default=None),
            about=tuple(dict.fromkeys((*self.about, *other.about)))[:REMEMBERED],
            subjects=tuple(dict.fromkeys((*self.subjects, *other.subjects)))[:REMEMBERED],
            detail=other.detail or self.detail,
        )

    def without(self, known: Collection[str]) -> "Tally":
        return replace(
            self,
            about=tuple(each for each in self.about if each not in known),
            subjects=tuple(each for each in self.subjects if each not in known),
        )


@dataclass
class Pace:
    """One per service."""

    #: how often each work was tried
    attempts: Counter[str] = field(default_factory=Counter)
    #: by work, to whom it was told: what is told twice is a nuisance
    told: dict[str, set[str]] = field(default_factory=dict)
    #: by finding: what was seen of it since its last record
    findings: dict[str, Tally] = field(default_factory=dict)
    #: by rule: when its newest findings were raised, in elapsed seconds
    raised: dict[str, deque[float]] = field(default_factory=dict)
    #: one after the other, each recipient is told what waits until the morning
    digesting: dict[Recipient, asyncio.Lock] = field(default_factory=dict)
    _sent: dict[Recipient, deque[float]] = field(default_factory=dict)
    _held: dict[Recipient, dict[str, str]] = field(default_factory=dict)

    def is_free(self, recipient: Recipient, now: float) -> bool:
        """Whether one more may be sent, at this elapsed second."""
        sent = self._sent.get(recipient)
        return sent is None or len(sent) < MOST or now - sent[0] >= WITHIN

    def hold(self, recipient: Recipient, work: str, line: str) -> None:
        """It has to wait; the next notice has this line about it."""
        held = self._held.setdefault(recipient, {})
        if len(held) < LISTED:
            held[work] = line

    def held(self, recipient: Recipient, work: str) -> dict[str, str]:
        """By work: what waits besides this one."""
        held = self._held.get(recipient, {})
        return {other: line for other, line in held.items() if other != work}

    def took(self, recipient: Recipient, work: str, others: dict[str, str], now: float) -> None:
        """Sent, with the others in it."""
        self._sent.setdefault(recipient, deque(maxlen=MOST)).append(now)
        held = self._held.get(recipient, {})
        for each in (work, *others):
            held.pop(each, None)
            self.told.setdefault(each, set()).add(recipient[1])
        if not held:
            self._held.pop(recipient, None)

    def forget(self, work: str) -> None:
        """It stands in the log what came of it."""
        self.told.pop(work, None)
        del self.attempts[work]
        for held in self._held.values():
            held.pop(work, None)

    def count(self, finding: str, tally: Tally) -> None:
        """It was seen, and that is recorded later."""
        if tally.count:
            self.findings[finding] = self.findings.get(finding, Tally()).plus(tally)

    def may_raise(self, rule: str, now: float) -> bool:
        """Whether this rule may raise one more finding, and not only count in one for the rest."""
        raised = self.raised.get(rule)
        crowded = raised is not None and len(raised) == MOST_RAISED
        return not crowded or now - self.raised[rule][0] >= RAISED_WITHIN

    def has_raised(self, rule: str, now: float) -> None:
        self.raised.setdefault(rule, deque(maxlen=MOST_RAISED)).append(now)
