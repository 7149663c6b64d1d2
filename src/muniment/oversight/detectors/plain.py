"""What most detectors have in common: thresholds, how a hit is written, and no business by time."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import ClassVar, Final

from muniment.oversight.detector import Hit, Rule, Severity, Silence, Surroundings
from muniment.oversight.fact import Fact

#: how many facts a hit names as its evidence, how many cases, and how many people
MOST_NAMED: Final = 20
MOST_SUBJECTS: Final = 50
#: how many silences one rule tells: who wants to know about everybody asks about somebody
MOST_SILENCES: Final = 100


class Plain:
    """Remembers nothing, and does nothing as time passes: each rule adds what it needs."""

    rule: ClassVar[Rule]

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        self.threshold = thresholds
        self.surroundings = surroundings
        self._day: date | None = None

    def see(self, _fact: Fact) -> Iterable[Hit]:
        return ()

    def tick(self, _now: datetime) -> Iterable[Hit]:
        return ()

    def silences(self) -> Iterable[Silence]:
        return ()

    def is_new_day(self, now: datetime) -> bool:
        """True once a day: often enough to forget what is old."""
        before, self._day = self._day, now.date()
        return before != self._day

    def hit(
        self,
        fact: Fact,
        key: str,
        summary: str,
        *,
        severity: Severity | None = None,
        cases: Iterable[str] | None = None,
        subjects: Iterable[str] | None = None,
        evidence: Sequence[str] | None = None,
        detail: str = "",
    ) -> Hit:
        """About the fact that it was seen by, and whatever else is said."""
        about = (fact.case or fact.text("about"),) if cases is None else cases
        return Hit(
            rule=self.rule.id,
            at=fact.at,
            key=key,
            summary=summary,
            severity=severity or self.rule.severity,
            cases=unique(about)[-MOST_NAMED:],
            subjects=unique(sorted(fact.persons) if subjects is None else subjects)[
                -MOST_SUBJECTS:
            ],
            resource=fact.text("resource"),
            evidence=unique((fact.ref,) if evidence is None else evidence)[-MOST_NAMED:],
            detail=detail,
        )


def unique(values: Iterable[str]) -> tuple[str, ...]:
    """Each once, in their order, without what is empty."""
    return tuple(dict.fromkeys(value for value in values if value))


def day(at: datetime) -> str:
    return at.strftime("%Y-%m-%d")


def week(at: datetime) -> str:
    return at.strftime("%G-W%V")


def month(at: datetime) -> str:
    return at.strftime("%Y-%m")
