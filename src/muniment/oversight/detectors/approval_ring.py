"""Two people approve each other's requests, and nobody else does (rule 18)."""

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from muniment.oversight.detector import Example, Hit, Rule, Silence, Surroundings, Threshold
from muniment.oversight.detectors.examples import Flat, approval, on
from muniment.oversight.detectors.plain import MOST_SILENCES, Plain, month
from muniment.oversight.detectors.recent import Recent, Seen
from muniment.oversight.fact import Fact

_SPAN: Final = timedelta(days=90)
_Given = deque[Seen[tuple[str, str, str]]]


def _each_other(count: int, *others: Flat) -> tuple[Flat, ...]:
    """Bo approves what Ana asks, and Ana what Bo asks."""
    return others + tuple(
        each
        for n in range(count)
        for each in (
            approval(on(3 + n), by="bo", who="ana", case=f"mun_a{n}"),
            approval(on(3 + n, "11:00"), by="ana", who="bo", case=f"mun_b{n}"),
        )
    )


class ApprovalRing(Plain):
    """
    Pairs that often approve each other are ordinary in a small team. This asks that almost nobody
    else ever does, both ways. Said once a month of a pair.
    """

    rule = Rule(
        id="approval-ring",
        title="Two people approve each other, and nobody else does",
        advice="Two who agree can do whatever they like. Add a third approver to the group.",
        severity="low",
        kind="baseline",
        needs=("approval.given",),
        thresholds={
            "share": Threshold(
                default=95, unit="percent", meaning="of what each asked for the other approved",
                least=50,
            ),
            "cases": Threshold(default=20, unit="count", meaning="each way, in 90 days", least=2),
        },
        samples=20,
        horizon=_SPAN,
        expected=10,
        references=("NIST SP 800-53 AC-5",),
        examples=(
            Example(says="20 each way", facts=_each_other(20), hits=1),
            Example(says="19 each way", facts=_each_other(19), hits=0),
            Example(
                says="a third who approved one of 21 leaves 95 percent",
                facts=_each_other(20, approval(on(2), by="cy", who="ana", case="mun_c")),
                hits=1,
            ),
            Example(
                says="who approved two of 22 leaves less",
                facts=_each_other(
                    20,
                    approval(on(2), by="cy", who="ana", case="mun_c"),
                    approval(on(2), by="cy", who="ana", case="mun_d"),
                ),
                hits=0,
            ),
            Example(
                says="one way only",
                facts=tuple(approval(on(2 + n), case=f"mun_{n}") for n in range(30)),
                hits=0,
            ),
        ),
    )  # fmt: skip

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        #: by the person who asked: who approved which case
        self._given: Recent[tuple[str, str, str]] = Recent(_SPAN, most=500)
        self._told: dict[tuple[str, str], str] = {}

    def see(self, fact: Fact) -> Iterable[Hit]:
        asked, gave = fact.text("person"), fact.text("approver_person")
        mine = self._given.add(asked, fact.at, (gave, fact.case, fact.ref))
        if len(mine) < self.threshold["cases"] or asked == gave:
            return
        pair, this_month = (min(asked, gave), max(asked, gave)), month(fact.at)
        if self._told.get(pair) == this_month:
            return
        theirs = self._given.of(gave, fact.at)
        if self._is_all_by(mine, gave) and self._is_all_by(theirs, asked):
            self._told[pair] = this_month
            seen = [each.value for kept in (theirs, mine) for each in list(kept)[-10:]]
            yield self.hit(
                fact,
                f"{pair[0]}:{pair[1]}:{this_month}",
                f"{pair[0]} and {pair[1]} approve each other, and hardly anybody else does",
                cases=[case for _, case, _ in seen],
                subjects=pair,
                evidence=[ref for _, _, ref in seen],
            )

    def _is_all_by(self, kept: _Given, approver: str) -> bool:
        cases = {each.value[1] for each in kept}
        by = {each.value[1] for each in kept if each.value[0] == approver}
        enough = self.threshold["cases"]
        return len(by) >= enough and len(by) * 100 >= len(cases) * self.threshold["share"]

    def tick(self, now: datetime) -> Iterable[Hit]:
        self._given.forget(now)
        if self.is_new_day(now):
            self._told = {k: told for k, told in self._told.items() if told == month(now)}
        return ()

    def silences(self) -> Iterable[Silence]:
        needed = self.threshold["cases"]
        few = [(str(who), len(kept)) for who, kept in self._given]
        for who, seen in [each for each in few if each[1] < needed][:MOST_SILENCES]:
            yield Silence(rule=self.rule.id, about=f"approvals for {who}", seen=seen, needed=needed)
