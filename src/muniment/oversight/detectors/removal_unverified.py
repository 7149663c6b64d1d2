"""A grant is over, and nobody has seen that its access is gone (no. 25)."""

from collections.abc import Iterable

from muniment.oversight.detector import Example, Hit, Rule, Threshold
from muniment.oversight.detectors.examples import Flat, about, on
from muniment.oversight.detectors.plain import Plain
from muniment.oversight.fact import Fact


def _unseen(since: int) -> Flat:
    return {**about(), "type": "removal.unverified", "time": on(2), "since": since}


class RemovalUnverified(Plain):
    rule = Rule(
        id="removal-unverified",
        title="Nobody has seen that access is gone",
        advice="Look at the target by hand. As long as it cannot be seen, take it that the access "
        "is still there.",
        severity="high",
        kind="deterministic",
        needs=("removal.unverified",),
        thresholds={
            "since": Threshold(default=3600, unit="seconds", meaning="so long it could not be seen")
        },
        # a target that is down for an evening
        expected=2000,
        references=("NIST SP 800-53 AC-2(3)",),
        examples=(
            Example(says="for an hour", facts=(_unseen(3600),), hits=1),
            Example(says="for a minute less", facts=(_unseen(3540),), hits=0),
        ),
        sigma="""
title: Nobody has seen that access is gone
name: removal_unverified
status: stable
logsource: {product: muniment, service: evidence}
detection:
  removal:
    type: removal.unverified
    since|gte: 3600
  condition: removal
level: high
""",
    )

    def see(self, fact: Fact) -> Iterable[Hit]:
        if fact.number("since") >= self.threshold["since"]:
            where = fact.text("resource")
            yield self.hit(
                fact, fact.case, f"nobody has seen that a grant for `{where}` is gone from it"
            )
