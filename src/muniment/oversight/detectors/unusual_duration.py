"""Access was asked for much longer than is usual for the resource (rule 9)."""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Final

from muniment.oversight.detector import Example, Hit, Rule, Silence, Surroundings, Threshold
from muniment.oversight.detectors.examples import Flat, about, on, request
from muniment.oversight.detectors.plain import MOST_SILENCES, Plain, day
from muniment.oversight.fact import Fact

#: so many durations of a resource are remembered
_MOST: Final = 1000
_SPAN: Final = timedelta(days=90)


def _asked(count: int, *, short: int = 1800, **last: Any) -> tuple[Flat, ...]:
    """A short time or an hour, so often, and then once more."""
    usual = [
        request(on(2 + n), case=f"mun_{n}", seconds=short if n % 2 else 3600) for n in range(count)
    ]
    return (*usual, request(on(2 + count), case="mun_last", **last))


class _Durations:
    """The durations of the last while, in their order and sorted."""

    __slots__ = ("ordered", "recent")

    def __init__(self) -> None:
        self.recent: deque[tuple[datetime, int]] = deque()
        self.ordered: list[int] = []

    def add(self, at: datetime, seconds: int) -> None:
        self.recent.append((at, seconds))
        insort(self.ordered, seconds)
        while len(self.recent) > _MOST or self.recent[0][0] < at - _SPAN:
            _, old = self.recent.popleft()
            del self.ordered[bisect_left(self.ordered, old)]

    def at(self, percent: int) -> int:
        """The smallest that so many percent do not exceed."""
        return self.ordered[max(0, ceil(len(self.ordered) * percent / 100) - 1)]


class UnusualDuration(Plain):
    """
    Quantiles, not deviations from the mean: durations come from a menu and have a heavy tail.

    What is above the cap of the policy was not given, and says something all the same.
    """

    rule = Rule(
        id="unusual-duration",
        title="Access was asked for unusually long",
        advice="See what the reason says. An approval should not be longer than the work is.",
        severity="low",
        kind="baseline",
        needs=("request.made",),
        also=("request.decided",),
        thresholds={
            "percentile": Threshold(
                default=95, unit="percent", meaning="longer than so many of the resource", least=50
            ),
            "times": Threshold(default=2, unit="count", meaning="and times the median", least=1),
        },
        samples=20,
        horizon=_SPAN,
        expected=500,  # one in twenty is above the 95th percentile by construction
        examples=(
            Example(
                says="eight hours where an hour is long", facts=_asked(20, seconds=28800), hits=1
            ),
            Example(says="twice what is usual", facts=_asked(20, short=3600, seconds=7200), hits=1),
            Example(
                says="less than twice what is usual",
                facts=_asked(20, short=3600, seconds=7199),
                hits=0,
            ),
            Example(says="an hour where that is usual", facts=_asked(20, seconds=3600), hits=0),
            Example(
                says="after 19 it is too early to say", facts=_asked(19, seconds=28800), hits=0
            ),
            Example(
                says="above the cap at once",
                facts=(request(on(2), seconds=28801, cap=28800),),
                hits=1,
            ),
            Example(
                says="what policy said later",
                facts=(
                    request(on(2), seconds=7200, cap=0),
                    {"type": "request.decided", "time": on(2), **about(cap=3600)},
                ),
                hits=1,
            ),
            Example(says="at the cap", facts=(request(on(2), seconds=28800),), hits=0),
        ),
    )

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        self._of: dict[str, _Durations] = {}
        #: what was asked for a moment ago, until policy has answered
        self._asked: dict[str, Fact] = {}

    def see(self, fact: Fact) -> Iterable[Hit]:
        if fact.type == "request.decided":
            asked = self._asked.pop(fact.case, None)
            cap = fact.number("cap")
            if asked is not None and 0 < cap < asked.number("seconds"):
                yield self._long(asked, f"policy allows {cap} seconds")
            return
        seconds, cap = fact.number("seconds"), fact.number("cap")
        usual = self._of.setdefault(fact.text("resource"), _Durations())
        if 0 < cap < seconds:
            yield self._long(fact, f"policy allows {cap} seconds")
        elif self._is_unusual(usual, seconds):
            yield self._long(fact, f"{usual.at(50)} seconds are usual")
        elif not cap:
            self._asked[fact.case] = fact
        usual.add(fact.at, seconds)

    def _is_unusual(self, usual: _Durations, seconds: int) -> bool:
        return (
            len(usual.ordered) >= self.rule.samples
            and seconds > usual.at(self.threshold["percentile"])
            and seconds >= self.threshold["times"] * usual.at(50)
        )

    def _long(self, fact: Fact, usual: str) -> Hit:
        where = fact.text("resource")
        return self.hit(
            fact,
            f"{fact.text('requester')}:{where}:{day(fact.at)}",
            f"{fact.text('requester')} asked for `{where}` for {fact.number('seconds')} seconds, "
            f"where {usual}",
        )

    def tick(self, now: datetime) -> Iterable[Hit]:
        if not self.is_new_day(now):
            return ()
        for case in [case for case, fact in self._asked.items() if _is_old(fact.at, now)]:
            del self._asked[case]
        for name in [name for name, of in self._of.items() if of.recent[-1][0] < now - _SPAN]:
            del self._of[name]
        return ()

    def silences(self) -> Iterable[Silence]:
        for name, of in list(self._of.items())[:MOST_SILENCES]:
            if len(of.ordered) < self.rule.samples:
                yield Silence(
                    rule=self.rule.id,
                    about=f"durations of `{name}`",
                    seen=len(of.ordered),
                    needed=self.rule.samples,
                )


def _is_old(at: datetime, now: datetime) -> bool:
    """Policy answers within the same second, or never."""
    return at < now - timedelta(minutes=10)
