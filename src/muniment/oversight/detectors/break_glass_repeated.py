"""Glass is broken again and again, by one person or for one resource (rule 6)."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from muniment.oversight.detector import Example, Hit, Rule, Surroundings, Threshold
from muniment.oversight.detectors.examples import issue, on
from muniment.oversight.detectors.plain import Plain, week
from muniment.oversight.detectors.recent import Recent
from muniment.oversight.fact import Fact

_WEEK: Final = timedelta(days=7)
_DAY: Final = timedelta(days=1)


class BreakGlassRepeated(Plain):
    rule = Rule(
        id="break-glass-repeated",
        title="Glass is broken again and again",
        advice="Either the ordinary way is too slow for what these people do, or somebody has "
        "learned that nobody looks. Answer the reviews together, and mend what made it necessary.",
        severity="high",
        kind="deterministic",
        needs=("grant.issued",),
        thresholds={
            "person": Threshold(
                default=3, unit="count", meaning="by one person, in 7 days", least=2
            ),
            "resource": Threshold(
                default=2, unit="count", meaning="for one resource, in 24 hours", least=2
            ),
        },
        horizon=_WEEK,
        # two incidents of one resource in a day, and two people who answer one, do happen
        expected=10,
        references=("NIST SP 800-53 AC-6(9)",),
        examples=(
            Example(
                says="the third time in seven days fires",
                facts=(
                    issue(on(2), case="mun_1", emergency=True, resource="orders-prod"),
                    issue(on(4), case="mun_2", emergency=True, resource="stock-prod"),
                    issue(on(9, "09:59"), case="mun_3", emergency=True, resource="mail-prod"),
                ),
                hits=1,
            ),
            Example(
                says="the third time after seven days does not",
                facts=(
                    issue(on(2), case="mun_1", emergency=True, resource="orders-prod"),
                    issue(on(4), case="mun_2", emergency=True, resource="stock-prod"),
                    issue(on(9, "10:01"), case="mun_3", emergency=True, resource="mail-prod"),
                ),
                hits=0,
            ),
            Example(
                says="two people for one resource in a day fire",
                facts=(
                    issue(on(2), "ana", "mun_1", emergency=True),
                    issue(on(3, "09:59"), "bo", "mun_2", emergency=True),
                ),
                hits=1,
            ),
            Example(
                says="picking up again is the same grant, and no emergency is none",
                facts=(
                    issue(on(2), "ana", "mun_1", emergency=True),
                    issue(on(2, "11:00"), "ana", "mun_1", emergency=True),
                    issue(on(2, "12:00"), "bo", "mun_2"),
                ),
                hits=0,
            ),
        ),
        sigma="""
title: Glass was broken (counted)
name: break_glass_counted
status: stable
logsource: {product: muniment, service: evidence}
detection:
  grant:
    type: grant.issued
    emergency: true
  condition: grant
level: informational
---
title: Glass is broken again and again by one person
name: break_glass_repeated_by_person
status: stable
correlation:
  type: value_count
  rules: [break_glass_counted]
  group-by: [person]
  timespan: 7d
  condition: {field: case, gte: 3}
level: high
---
title: Glass is broken again and again for one resource
name: break_glass_repeated_for_resource
status: stable
correlation:
  type: value_count
  rules: [break_glass_counted]
  group-by: [resource]
  timespan: 1d
  condition: {field: case, gte: 2}
level: high
""",
    )

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        self._by: dict[str, Recent[Fact]] = {
            "person": Recent(_WEEK, most=100),
            "resource": Recent(_DAY, most=100),
        }

    def see(self, fact: Fact) -> Iterable[Hit]:
        if not fact.flag("emergency"):
            return
        for name, recent in self._by.items():
            kept = [each.value for each in recent.add(fact.text(name), fact.at, fact)]
            cases = {each.case for each in kept}
            if len(cases) < self.threshold[name] or fact.case in {e.case for e in kept[:-1]}:
                continue
            yield self.hit(
                fact,
                f"{name}:{fact.text(name)}:{week(fact.at)}",
                f"glass was broken {len(cases)} times: {name} {fact.text(name)}",
                cases=[each.case for each in kept],
                subjects=[person for each in kept for person in sorted(each.persons)],
                evidence=[each.ref for each in kept],
            )

    def tick(self, now: datetime) -> Iterable[Hit]:
        for recent in self._by.values():
            recent.forget(now)
        return ()
