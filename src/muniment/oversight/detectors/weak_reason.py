"""A reason is copied, or says nothing, or its ticket does not hold (rule 19)."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from muniment.oversight.detector import Example, Hit, Rule, Surroundings, Threshold
from muniment.oversight.detectors.examples import on, request
from muniment.oversight.detectors.plain import Plain, day, month
from muniment.oversight.detectors.recent import Recent
from muniment.oversight.fact import Fact

_SPAN: Final = timedelta(days=30)
_INVALID: Final = frozenset({"closed", "missing"})


class WeakReason(Plain):
    """
    Of people, not of programs: a pipeline has the same reason each time, and that is as it should
    be. A ticket counts for both.
    """

    rule = Rule(
        id="weak-reason",
        title="The reason for access does not hold",
        advice="Ask for the real one. An approver who accepted it should know that it is not one.",
        severity="low",
        kind="deterministic",
        needs=("request.made",),
        thresholds={
            "times": Threshold(
                default=3, unit="count", meaning="the same text by one person in 30 days", least=2
            ),
            "letters": Threshold(default=10, unit="count", meaning="letters that a reason has"),
        },
        horizon=_SPAN,
        # people are in a hurry: one in a hundred copies, or writes `hotfix`
        expected=150,
        references=("NIST SP 800-53 AC-6(7)",),
        examples=(
            Example(
                says="the same text for the third time",
                facts=tuple(request(on(2 + n), case=f"mun_{n}", reason="d1") for n in range(3)),
                hits=1,
            ),
            Example(
                says="three texts",
                facts=tuple(request(on(2 + n), case=f"mun_{n}", reason=f"d{n}") for n in range(3)),
                hits=0,
            ),
            Example(
                says="the third time after 30 days",
                facts=tuple(
                    request(on(2 + 16 * n), case=f"mun_{n}", reason="d1") for n in range(3)
                ),
                hits=0,
            ),
            Example(
                says="three people",
                facts=tuple(
                    request(on(2 + n), who, f"mun_{n}", reason="d1")
                    for n, who in enumerate(("ana", "bo", "cy"))
                ),
                hits=0,
            ),
            Example(says="nine letters", facts=(request(on(2), reason="d1", letters=9),), hits=1),
            Example(says="ten letters", facts=(request(on(2), reason="d1", letters=10),), hits=0),
            Example(
                says="a ticket that is closed",
                facts=(request(on(2), ticket="OPS-1", ticket_state="closed"),),
                hits=1,
            ),
            Example(
                says="a ticket that nobody was asked about",
                facts=(request(on(2), ticket="OPS-1", ticket_state=""),),
                hits=0,
            ),
            Example(
                says="a pipeline",
                facts=tuple(
                    request(on(2 + n), "ci", f"mun_{n}", kind="workload", reason="d1", letters=6)
                    for n in range(3)
                ),
                hits=0,
            ),
        ),
        sigma="""
title: A reason says nothing, or its ticket does not hold
name: empty_reason
status: stable
logsource: {product: muniment, service: evidence}
detection:
  request:
    type: request.made
  person:
    kind: human
  short:
    letters|lt: 10
  invalid:
    ticket_state: [closed, missing]
  condition: request and (invalid or (person and short))
level: low
---
title: A reason was given
name: reason_given
status: stable
logsource: {product: muniment, service: evidence}
detection:
  request:
    type: request.made
    kind: human
    reason|re: '.+'
  condition: request
level: informational
---
title: The same reason again and again
name: reason_reused
status: stable
correlation:
  type: value_count
  rules: [reason_given]
  group-by: [person, reason]
  timespan: 30d
  condition: {field: case, gte: 3}
level: low
""",
    )

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        self._given: Recent[tuple[str, str]] = Recent(_SPAN, most=100)

    def see(self, fact: Fact) -> Iterable[Hit]:
        who, today = fact.text("requester"), day(fact.at)
        if fact.text("ticket_state") in _INVALID:
            state = fact.text("ticket_state")
            words = f"the ticket that {who} gave is {state}"
            yield self.hit(fact, f"ticket:{who}:{today}", words)
        if fact.text("kind") != "human":
            return
        if "letters" in fact.values and fact.number("letters") < self.threshold["letters"]:
            letters = fact.number("letters")
            has = {0: "no letter", 1: "1 letter"}.get(letters, f"{letters} letters")
            words = f"the reason of {who} has {has}"
            yield self.hit(fact, f"short:{who}:{today}", words)
        if fact.text("reason"):
            yield from self._reused(fact)

    def _reused(self, fact: Fact) -> Iterable[Hit]:
        key = (fact.text("person"), fact.text("reason"))
        seen = [each.value for each in self._given.add(key, fact.at, (fact.case, fact.ref))]
        times = len({case for case, _ in seen})
        if times >= self.threshold["times"]:
            yield self.hit(
                fact,
                f"reused:{fact.text('person')}:{month(fact.at)}",
                f"{fact.text('requester')} gave the same reason {times} times in 30 days",
                cases=[case for case, _ in seen],
                evidence=[ref for _, ref in seen],
            )

    def tick(self, now: datetime) -> Iterable[Hit]:
        self._given.forget(now)
        return ()
