"""Glass was broken: access without an approval, in an emergency (rule 5)."""

from collections.abc import Iterable
from datetime import timedelta

from muniment.oversight.detector import Example, Hit, Rule
from muniment.oversight.detectors.examples import issue, on
from muniment.oversight.detectors.plain import Plain
from muniment.oversight.fact import Fact


class BreakGlassUsed(Plain):
    """Fires each time, so ordinary life has hits: as many as there are emergencies."""

    rule = Rule(
        id="break-glass-used",
        title="Glass was broken",
        advice="Look at what was done with it while it is fresh, and answer the review that this "
        "opened. Somebody else than the holder has to.",
        severity="medium",
        kind="deterministic",
        needs=("grant.issued",),
        horizon=timedelta(0),
        expected=100,
        references=("NIST SP 800-53 AC-6(9)",),
        examples=(
            Example(says="an emergency fires", facts=(issue(on(2), emergency=True),), hits=1),
            Example(says="an ordinary grant does not", facts=(issue(on(2)),), hits=0),
        ),
        sigma="""
title: Glass was broken
name: break_glass_used
status: stable
logsource: {product: muniment, service: evidence}
detection:
  grant:
    type: grant.issued
    emergency: true
  condition: grant
level: medium
""",
    )

    def see(self, fact: Fact) -> Iterable[Hit]:
        if fact.flag("emergency"):
            where = fact.text("resource")
            yield self.hit(fact, fact.case, f"{fact.text('requester')} broke glass for `{where}`")
