"""A finding could not be told to anybody: the alarm itself is silent (no. 24)."""

from collections.abc import Iterable

from muniment.oversight.detector import Example, Hit, Rule
from muniment.oversight.detectors.examples import on
from muniment.oversight.detectors.plain import Plain, day
from muniment.oversight.fact import Fact


class AlertFailed(Plain):
    rule = Rule(
        id="alert-failed",
        title="A finding could not be told to anybody",
        advice="See that somebody is told by another way, and mend the channel: until then every "
        "other rule is silent, too.",
        severity="high",
        kind="deterministic",
        needs=("alert.failed",),
        expected=10000,  # each, and there should be none
        references=("NIST SP 800-53 AU-5",),
        examples=(
            Example(
                says="a notice that was given up",
                facts=(
                    {"type": "alert.failed", "time": on(2), "about": "fnd_1", "how": "abandoned"},
                ),
                hits=1,
            ),
            Example(
                says="a heartbeat is no alert",
                facts=({"type": "log.heartbeat", "time": on(2)},),
                hits=0,
            ),
        ),
        sigma="""
title: A finding could not be told to anybody
name: alert_failed
status: stable
logsource: {product: muniment, service: evidence}
detection:
  alert:
    type: alert.failed
  condition: alert
level: high
""",
    )

    def see(self, fact: Fact) -> Iterable[Hit]:
        yield self.hit(fact, day(fact.at), "a finding could not be told to anybody")
