"""Somebody holds grants for hours and uses them for minutes, again and again (rule 10)."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from muniment.oversight.detector import Example, Hit, Rule, Surroundings, Threshold
from muniment.oversight.detectors.examples import Flat, on, over
from muniment.oversight.detectors.plain import Plain, month
from muniment.oversight.detectors.recent import Recent
from muniment.oversight.fact import Fact

_SPAN: Final = timedelta(days=30)


def _grants(count: int, used: int, days: int = 1) -> tuple[Flat, ...]:
    return tuple(
        over(on(2 + n * days), case=f"mun_{n}", seconds=28800, used=used) for n in range(count)
    )


class LongerThanUsed(Plain):
    rule = Rule(
        id="longer-than-used",
        title="Grants are far longer than their use",
        advice="Ask for less: access that is open and not used is open for others. A shorter "
        "default for this role may be all it takes.",
        severity="info",
        kind="baseline",
        needs=("grant.over",),
        thresholds={
            "percent": Threshold(default=5, unit="percent", meaning="of its time is a grant used"),
            "grants": Threshold(
                default=5, unit="count", meaning="such grants of one requester in 30 days", least=1
            ),
        },
        horizon=_SPAN,
        # said once a month of whoever has the habit
        expected=200,
        references=("NIST SP 800-53 AC-6(7)",),
        examples=(
            Example(says="20 minutes of 8 hours, five times", facts=_grants(5, 1200), hits=1),
            Example(says="24 minutes are 5 percent", facts=_grants(5, 1440), hits=0),
            Example(says="four times", facts=_grants(4, 1200), hits=0),
            Example(says="five times in 32 days", facts=_grants(5, 1200, days=8), hits=0),
            Example(
                says="what was not used at all is for another rule",
                facts=tuple(over(on(2 + n), case=f"mun_{n}", sessions=0, used=0) for n in range(5)),
                hits=0,
            ),
        ),
    )

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        self._little: Recent[tuple[str, str]] = Recent(_SPAN, most=200)

    def see(self, fact: Fact) -> Iterable[Hit]:
        used, seconds = fact.number("used"), fact.number("seconds")
        if not used or used * 100 >= seconds * self.threshold["percent"]:
            return
        who = fact.text("requester")
        kept = [each.value for each in self._little.add(who, fact.at, (fact.case, fact.ref))]
        if len(kept) == self.threshold["grants"]:
            yield self.hit(
                fact,
                f"{who}:{month(fact.at)}",
                f"{who} used {len(kept)} grants for less than {self.threshold['percent']} percent "
                "of their time",
                cases=[case for case, _ in kept],
                evidence=[ref for _, ref in kept],
            )

    def tick(self, now: datetime) -> Iterable[Hit]:
        self._little.forget(now)
        return ()
