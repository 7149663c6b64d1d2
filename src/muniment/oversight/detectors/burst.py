"""Somebody asks for many resources at once (rule 15)."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from muniment.oversight.detector import Example, Hit, Rule, Surroundings, Threshold
from muniment.oversight.detectors.examples import Flat, on, request
from muniment.oversight.detectors.plain import Plain, day
from muniment.oversight.detectors.recent import Recent
from muniment.oversight.fact import Fact

_HOUR: Final = timedelta(hours=1)


def _asked(count: int, minutes: int = 10) -> tuple[Flat, ...]:
    return tuple(
        request(on(2, f"10:{n * minutes:02}"), case=f"mun_{n}", resource=f"orders-{n}")
        for n in range(count)
    )


class Burst(Plain):
    rule = Rule(
        id="burst",
        title="Somebody asks for many resources at once",
        advice="A stolen session collects what it can get. Ask them by another way; if it was not "
        "they, revoke their sessions and everything that they were given since.",
        severity="medium",
        kind="deterministic",
        needs=("request.made",),
        thresholds={
            "resources": Threshold(
                default=5,
                unit="count",
                meaning="different ones, of one requester in an hour",
                least=2,
            )
        },
        horizon=_HOUR,
        expected=60,  # an upgrade of all databases on one afternoon
        references=("ATT&CK T1078",),
        examples=(
            Example(says="the fifth in 40 minutes fires", facts=_asked(5), hits=1),
            Example(
                says="the fifth an hour after the first",
                facts=(
                    *_asked(4),
                    request(on(2, "11:00:01"), case="mun_9", resource="orders-9"),
                ),
                hits=0,
            ),
            Example(says="four", facts=_asked(4), hits=0),
            Example(
                says="five times the same",
                facts=tuple(request(on(2, f"10:0{n}"), case=f"mun_{n}") for n in range(5)),
                hits=0,
            ),
        ),
        sigma="""
title: Access was asked for
name: access_asked_for
status: stable
logsource: {product: muniment, service: evidence}
detection:
  request:
    type: request.made
  condition: request
level: informational
---
title: Somebody asks for many resources at once
name: burst
status: stable
correlation:
  type: value_count
  rules: [access_asked_for]
  group-by: [requester]
  timespan: 1h
  condition: {field: resource, gte: 5}
level: medium
""",
    )

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        self._asked: Recent[tuple[str, str, str]] = Recent(_HOUR)

    def see(self, fact: Fact) -> Iterable[Hit]:
        who = fact.text("requester")
        value = (fact.text("resource"), fact.case, fact.ref)
        kept = self._asked.add(who, fact.at, value)
        if len(kept) < self.threshold["resources"]:
            return
        seen = [each.value for each in kept]
        count = len({resource for resource, _, _ in seen})
        if count >= self.threshold["resources"]:
            yield self.hit(
                fact,
                f"{who}:{day(fact.at)}",
                f"{who} asked for {count} resources within an hour",
                cases=[case for _, case, _ in seen],
                evidence=[ref for _, _, ref in seen],
            )

    def tick(self, now: datetime) -> Iterable[Hit]:
        self._asked.forget(now)
        return ()
