"""Somebody asks at an hour at which they never have before (rule 12)."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from muniment.oversight.calendars import local
from muniment.oversight.detector import Example, Hit, Rule, Silence, Surroundings
from muniment.oversight.detectors.examples import Flat, on, request
from muniment.oversight.detectors.habit import Habit
from muniment.oversight.detectors.plain import MOST_SILENCES, Plain, day
from muniment.oversight.fact import Fact

_SPAN: Final = timedelta(days=180)
#: so many of the latest requests of somebody are remembered
_MOST: Final = 500


def _asked(count: int, clock: str, **last: Any) -> tuple[Flat, ...]:
    """In the morning, so often, and then once more."""
    usual = [request(on(2 + n, "09:30"), case=f"mun_{n}") for n in range(count)]
    return (*usual, request(on(2 + count, clock), case="mun_last", **last))


class UnusualHour(Plain):
    """
    By the actor's own clock, an hour before and after included. Fixed hours would fire ten times
    as often, and in UTC thirty times.

    Who is on call, or has an incident, is awake: that is neither unusual nor learned from. A
    workload has no day of its own.
    """

    rule = Rule(
        id="unusual-hour",
        title="Somebody works at an hour that is not theirs",
        advice="Ask them by another way whether it was they. If it was, there is nothing to do: "
        "the hour is known from then on.",
        severity="medium",
        kind="baseline",
        needs=("request.made",),
        samples=50,
        horizon=_SPAN,
        expected=150,
        references=("ATT&CK T1078", "NIST SP 800-53 AC-2(12)"),
        examples=(
            Example(says="at 3 at night, after 50 mornings", facts=_asked(50, "02:00"), hits=1),
            Example(says="after 49 it is too early to say", facts=_asked(49, "02:00"), hits=0),
            Example(says="two hours before the earliest", facts=_asked(50, "06:30"), hits=1),
            Example(
                says="an hour before it, as summer time has begun",
                facts=_asked(50, "07:30"),
                hits=0,
            ),
            Example(says="on call", facts=_asked(50, "02:00", on_call=True), hits=0),
            Example(says="whose zone nobody knows", facts=_asked(50, "02:00", zone=""), hits=0),
        ),
    )

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        self._habits: dict[str, Habit] = {}
        self._nowhere: dict[str, datetime] = {}

    def see(self, fact: Fact) -> Iterable[Hit]:
        if fact.flag("on_call") or fact.flag("incident") or fact.text("kind") == "workload":
            return
        who, here = fact.text("requester"), local(fact.at, fact.text("zone"))
        if here is None:
            self._nowhere[who] = fact.at
            return
        self._nowhere.pop(who, None)
        habit = self._habits.setdefault(who, Habit(_SPAN, _MOST))
        if len(habit) >= self.rule.samples and not habit.knows(here.hour):
            yield self.hit(
                fact,
                f"{who}:{day(fact.at)}",
                f"{who} asked for `{fact.text('resource')}` after {here.hour}:00 of their own day",
            )
        habit.add(fact.at, here.hour)

    def tick(self, now: datetime) -> Iterable[Hit]:
        if not self.is_new_day(now):
            return ()
        for who in [who for who, habit in self._habits.items() if habit.last < now - _SPAN]:
            del self._habits[who]
        for who in [who for who, last in self._nowhere.items() if last < now - _SPAN]:
            del self._nowhere[who]
        return ()

    def silences(self) -> Iterable[Silence]:
        for who in list(self._nowhere)[:MOST_SILENCES]:
            yield Silence(rule=self.rule.id, about=f"time zone of {who}", seen=0, needed=1)
        few = [(who, len(habit)) for who, habit in self._habits.items()]
        for who, seen in [each for each in few if each[1] < self.rule.samples][:MOST_SILENCES]:
            yield Silence(
                rule=self.rule.id,
                about=f"requests of {who}",
                seen=seen,
                needed=self.rule.samples,
            )
