"""Nobody has looked at broken glass for two working days (rule 7)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from muniment.oversight.detector import Example, Hit, Rule, Surroundings, Threshold
from muniment.oversight.detectors.examples import Flat, about, issue, on
from muniment.oversight.detectors.plain import Plain
from muniment.oversight.fact import Fact


def _review(type: str, time: str) -> Flat:
    return {**about(emergency=True), "type": type, "time": time, "case": "rev_1", "about": "mun_1"}


@dataclass(slots=True)
class _Waiting:
    opened: Fact
    due: datetime
    told: bool = False


class BreakGlassUnreviewed(Plain):
    """Seen by absence. Where no review was opened at all, the grant itself starts the days."""

    rule = Rule(
        id="break-glass-unreviewed",
        title="Nobody has looked at broken glass",
        advice="Answer the review. Whoever broke the glass may not, and time makes it harder.",
        severity="high",
        kind="deterministic",
        needs=("review.opened", "review.answered"),
        also=("grant.issued",),
        thresholds={
            "days": Threshold(
                default=2, unit="days", meaning="working days, by the calendar", least=1
            )
        },
        references=("NIST SP 800-53 AC-6(7)",),
        examples=(
            Example(
                says="from Monday to Wednesday nobody answers",
                facts=(_review("review.opened", on(2)),),
                until=on(4, "11:00"),
                hits=1,
            ),
            Example(
                says="two working days are not over on Wednesday morning, nor at the weekend",
                facts=(_review("review.opened", on(5)),),
                until=on(9, "09:00"),
                hits=0,
            ),
            Example(
                says="an answer in time",
                facts=(_review("review.opened", on(2)), _review("review.answered", on(3))),
                until=on(6),
                hits=0,
            ),
            Example(
                says="an answer that comes too late has been missed",
                facts=(_review("review.opened", on(2)), _review("review.answered", on(9))),
                hits=1,
            ),
            Example(
                says="glass was broken and no review was opened",
                facts=(issue(on(2), emergency=True),),
                until=on(6),
                hits=1,
            ),
        ),
    )

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        self._waiting: dict[str, _Waiting] = {}

    def see(self, fact: Fact) -> Iterable[Hit]:
        if fact.type == "review.answered":
            waiting = self._waiting.pop(fact.text("about"), None)
            return self._missed(waiting, fact.at) if waiting is not None else ()
        if fact.type == "review.opened" or fact.flag("emergency"):
            self._wait(fact.text("about") or fact.case, fact)
        return ()

    def _wait(self, case: str, fact: Fact) -> None:
        if case in self._waiting:
            known = self._waiting[case].opened
            if not known.persons:  # a review may know less of its case than the grant
                self._waiting[case].opened = replace(known, values={**fact.values, "about": case})
            return
        due = self.surroundings.working_days_after(fact.at, self.threshold["days"])
        self._waiting[case] = _Waiting(fact, due)

    def tick(self, now: datetime) -> Iterable[Hit]:
        for case, waiting in list(self._waiting.items()):
            yield from self._missed(waiting, now)
            if waiting.opened.at < now - self.rule.horizon:
                del self._waiting[case]

    def _missed(self, waiting: _Waiting, now: datetime) -> Iterable[Hit]:
        if waiting.told or now <= waiting.due:
            return
        waiting.told = True
        fact = waiting.opened
        case = fact.text("about") or fact.case
        hit = self.hit(
            fact,
            case,
            f"nobody has reviewed broken glass for {self.threshold['days']} working days",
            cases=(case,),
        )
        yield replace(hit, at=now)
