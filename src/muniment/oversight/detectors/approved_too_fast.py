"""Production was approved faster than anybody reads (rule 14)."""

from collections.abc import Iterable

from muniment.oversight.detector import Example, Hit, Rule, Threshold
from muniment.oversight.detectors.examples import approval, on
from muniment.oversight.detectors.plain import Plain, day
from muniment.oversight.fact import Fact


class ApprovedTooFast(Plain):
    """Some were told before they were asked: two or three of a thousand approvals are ordinary."""

    rule = Rule(
        id="approved-too-fast",
        title="Production was approved faster than anybody reads",
        advice="Ask what they knew. Who approves in seconds, often, signs without reading.",
        severity="low",
        kind="deterministic",
        needs=("approval.given",),
        thresholds={
            "viewed": Threshold(
                default=10, unit="seconds", meaning="from the first sight of it to the approval"
            ),
            "latency": Threshold(
                default=60, unit="seconds", meaning="from the request to the approval"
            ),
        },
        expected=50,
        examples=(
            Example(
                says="59 seconds after it was asked", facts=(approval(on(2), latency=59),), hits=1
            ),
            Example(says="60 seconds after", facts=(approval(on(2), latency=60),), hits=0),
            Example(says="9 seconds after it was seen", facts=(approval(on(2), viewed=9),), hits=1),
            Example(says="10 seconds after", facts=(approval(on(2), viewed=10),), hits=0),
            Example(says="on staging", facts=(approval(on(2), latency=5, tier="staging"),), hits=0),
        ),
        sigma="""
title: Production was approved faster than anybody reads
name: approved_too_fast
status: stable
logsource: {product: muniment, service: evidence}
detection:
  approval:
    type: approval.given
    tier: prod
  just_seen:
    viewed|lt: 10
  just_asked:
    latency|lt: 60
  condition: approval and (just_seen or just_asked)
level: low
""",
    )

    def see(self, fact: Fact) -> Iterable[Hit]:
        if fact.text("tier") != "prod":
            return
        latency = fact.number("latency")
        if not self._is_below("latency", fact) and not self._is_below("viewed", fact):
            return
        approver = fact.text("approver")
        yield self.hit(
            fact,
            f"{approver}:{day(fact.at)}",
            f"{approver} approved `{fact.text('resource')}` {latency} seconds after it was asked",
            subjects=(fact.text("approver_person"),),
        )

    def _is_below(self, name: str, fact: Fact) -> bool:
        return name in fact.values and fact.number(name) < self.threshold[name]
