"""What one approver refused, another approved within the hour (no. 21)."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from muniment.oversight.detector import Example, Hit, Rule, Surroundings, Threshold
from muniment.oversight.detectors.examples import approval, on, refusal
from muniment.oversight.detectors.plain import Plain
from muniment.oversight.detectors.recent import Recent
from muniment.oversight.fact import Fact


class RefusedThenApproved(Plain):
    rule = Rule(
        id="refused-then-approved",
        title="What one approver refused, another approved",
        advice="The first may have had a reason that the second did not know. Let them talk.",
        severity="low",
        kind="deterministic",
        needs=("approval.given", "approval.refused"),
        thresholds={
            "within": Threshold(
                default=3600, unit="seconds", meaning="from the refusal to the approval", least=1
            )
        },
        horizon=timedelta(hours=1),
        # whoever asks again with a better reason meets whoever is there
        expected=100,
        references=("NIST SP 800-53 AC-5",),
        examples=(
            Example(
                says="by another within the hour",
                facts=(refusal(on(2), by="bo"), approval(on(2, "11:00"), by="cy", case="mun_2")),
                hits=1,
            ),
            Example(
                says="by another after it",
                facts=(refusal(on(2)), approval(on(2, "11:00:01"), by="cy", case="mun_2")),
                hits=0,
            ),
            Example(
                says="by the same",
                facts=(refusal(on(2), by="bo"), approval(on(2, "10:30"), by="bo", case="mun_2")),
                hits=0,
            ),
            Example(
                says="of another role",
                facts=(
                    refusal(on(2), by="bo"),
                    approval(on(2, "10:30"), by="cy", case="mun_2", role="readonly"),
                ),
                hits=0,
            ),
        ),
    )

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        self._within = timedelta(seconds=thresholds["within"])
        self._refused: Recent[Fact] = Recent(self._within, most=20)

    def see(self, fact: Fact) -> Iterable[Hit]:
        key = (fact.text("requester"), fact.text("resource"), fact.text("role"))
        if fact.type == "approval.refused":
            self._refused.add(key, fact.at, fact)
            return
        for each in self._refused.of(key, fact.at):
            no = each.value
            is_other = no.text("approver_person") != fact.text("approver_person")
            if is_other and timedelta(0) <= fact.at - no.at <= self._within:
                yield self.hit(
                    fact,
                    fact.case,
                    f"{fact.text('approver')} approved what {no.text('approver')} had refused",
                    cases=(no.case, fact.case),
                    subjects=(*sorted(fact.persons), fact.text("approver_person")),
                    evidence=(no.ref, fact.ref),
                )
                return

    def tick(self, now: datetime) -> Iterable[Hit]:
        self._refused.forget(now)
        return ()
