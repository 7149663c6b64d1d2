"""Somebody approves everything, at once, and never refuses (rule 17)."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from muniment.oversight.detector import Example, Hit, Rule, Silence, Surroundings, Threshold
from muniment.oversight.detectors.examples import Flat, approval, on, refusal
from muniment.oversight.detectors.plain import MOST_SILENCES, Plain, month
from muniment.oversight.detectors.recent import Recent
from muniment.oversight.fact import Fact

_SPAN: Final = timedelta(days=90)


def _given(count: int, latency: int) -> tuple[Flat, ...]:
    return tuple(
        approval(on(2 + n), case=f"mun_{n}", latency=latency, tier="staging") for n in range(count)
    )


class RubberStamp(Plain):
    """
    It takes all three. More than half of all approvers never refuse: that alone says nothing.

    Said once a month of an approver.
    """

    rule = Rule(
        id="rubber-stamp",
        title="Somebody approves everything at once",
        advice="An approval that nobody thinks about protects nothing. Let somebody else approve, "
        "or let policy allow it without, which is at least honest.",
        severity="low",
        kind="baseline",
        needs=("approval.given", "approval.refused"),
        thresholds={
            "approvals": Threshold(default=30, unit="count", meaning="in 90 days", least=1),
            "latency": Threshold(
                default=60, unit="seconds", meaning="half of them are faster than this"
            ),
        },
        samples=30,
        horizon=_SPAN,
        expected=10,
        references=("NIST SP 800-53 AC-5",),
        examples=(
            Example(says="30 within a minute, and no refusal", facts=_given(30, 59), hits=1),
            Example(says="29", facts=_given(29, 59), hits=0),
            Example(says="half of them take a minute", facts=_given(30, 60), hits=0),
            Example(says="one refusal", facts=(refusal(on(2)), *_given(30, 5)), hits=0),
        ),
    )

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        #: of each answer, how long it took; None: it was a refusal
        self._answers: Recent[tuple[int | None, str, str]] = Recent(_SPAN)
        self._told: dict[str, str] = {}

    def see(self, fact: Fact) -> Iterable[Hit]:
        who = fact.text("approver")
        given = fact.type == "approval.given"
        latency = fact.number("latency") if given else None
        kept = self._answers.add(who, fact.at, (latency, fact.case, fact.ref))
        this_month = month(fact.at)
        if not given or len(kept) < self.threshold["approvals"]:
            return
        if self._told.get(who) == this_month or any(each.value[0] is None for each in kept):
            return
        seen = [each.value for each in kept]
        taken = [took for took, _, _ in seen if took is not None]
        if median(taken) >= self.threshold["latency"]:
            return
        self._told[who] = this_month
        yield self.hit(
            fact,
            f"{who}:{this_month}",
            f"{who} gave {len(taken)} approvals in 90 days, refused nothing, and took less than "
            f"{self.threshold['latency']} seconds for half of them",
            cases=[case for _, case, _ in seen[-20:]],
            subjects=(fact.text("approver_person"),),
            evidence=[ref for _, _, ref in seen],
        )

    def tick(self, now: datetime) -> Iterable[Hit]:
        self._answers.forget(now)
        if self.is_new_day(now):
            self._told = {k: told for k, told in self._told.items() if told == month(now)}
        return ()

    def silences(self) -> Iterable[Silence]:
        needed = self.threshold["approvals"]
        few = [(str(who), len(kept)) for who, kept in self._answers]
        for who, seen in [each for each in few if each[1] < needed][:MOST_SILENCES]:
            yield Silence(rule=self.rule.id, about=f"approvals by {who}", seen=seen, needed=needed)
