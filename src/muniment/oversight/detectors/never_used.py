"""A grant ended and was never used (rule 11)."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from muniment.oversight.detector import Example, Hit, Rule, Silence, Surroundings
from muniment.oversight.detectors.examples import on, over
from muniment.oversight.detectors.plain import MOST_SILENCES, Plain, month
from muniment.oversight.fact import Fact

_UNTOLD = {k: v for k, v in over(on(2)).items() if k not in ("sessions", "used")}


class NeverUsed(Plain):
    """
    Of a resource that no source speaks of nothing can be said: it is told as a silence.

    Ordinary life has it: what was asked for in case it is needed, and was not. It is for a digest.
    """

    rule = Rule(
        id="never-used",
        title="A grant was never used",
        advice="One is nothing. Who often asks and does not use asks in advance: make asking quick "
        "enough that nobody has to.",
        severity="info",
        kind="deterministic",
        needs=("grant.over",),
        horizon=timedelta(0),
        expected=600,
        references=("Microsoft Entra PIM: administrators are not using their roles",),
        examples=(
            Example(says="no session", facts=(over(on(2), sessions=0, used=0),), hits=1),
            Example(says="one session", facts=(over(on(2), sessions=1, used=5),), hits=0),
            Example(says="where no source speaks of the target", facts=(_UNTOLD,), hits=0),
        ),
        sigma="""
title: A grant was never used
name: never_used
status: stable
logsource: {product: muniment, service: evidence}
detection:
  grant:
    type: grant.over
    sessions: 0
    used: 0
  condition: grant
level: informational
""",
    )

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        self._unobserved: dict[str, int] = {}

    def see(self, fact: Fact) -> Iterable[Hit]:
        where = fact.text("resource")
        if "sessions" not in fact.values:
            self._unobserved[where] = self._unobserved.get(where, 0) + 1
            return
        self._unobserved.pop(where, None)
        if not fact.number("sessions") and not fact.number("used"):
            who = fact.text("requester")
            yield self.hit(
                fact, f"{who}:{month(fact.at)}", f"{who} never used a grant for `{where}`"
            )

    def silences(self) -> Iterable[Silence]:
        for where in list(self._unobserved)[:MOST_SILENCES]:
            yield Silence(
                rule=self.rule.id, about=f"sources that speak of `{where}`", seen=0, needed=1
            )
