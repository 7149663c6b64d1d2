"""More grants have weak evidence than a while ago: the alarm about the evidence itself."""

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from statistics import median_low
from typing import Final

from muniment.oversight.detector import Example, Hit, Rule, Silence, Surroundings, Threshold
from muniment.oversight.detectors.examples import Flat, on
from muniment.oversight.detectors.plain import Plain, week
from muniment.oversight.fact import Fact
from muniment.oversight.weakness import KINDS

#: measurements that the newest is held against
_SAMPLES: Final = 7
_HORIZON: Final = timedelta(days=30)


def _measured(*counts: int, weakness: str = "weak-link", grants: int = 100) -> tuple[Flat, ...]:
    """One measurement a day."""
    return tuple(_one(day, count, weakness, grants) for day, count in enumerate(counts, 2))


def _one(
    day: int, count: int, weakness: str = "weak-link", grants: int = 100, among: str = "recent"
) -> Flat:
    return {
        "type": "evidence.measured", "time": on(day), "weakness": weakness, "among": among,
        "count": count, "grants": grants,
    }  # fmt: skip


def _among(among: str, weakness: str, grants: int, *counts: int) -> tuple[Flat, ...]:
    return tuple(_one(day, each, weakness, grants, among) for day, each in enumerate(counts, 2))


class EvidenceWeaker(Plain):
    """
    Of grants that were asked for lately: more than the median of the last week of measurements.

    Of all grants, too, where it is nothing that age brings, and of the log itself.
    That there are more grants makes nothing weaker: their share has to have grown, too. Where there
    were none, nothing was usual.
    """

    rule = Rule(
        id="evidence-weaker",
        title="More evidence is weak than a week ago",
        advice="`muniment evidence health` names the grants, and says of each weakness what to do "
        "about it. Begin with the newest: something has changed in these days.",
        severity="medium",
        kind="deterministic",
        needs=("evidence.measured",),
        thresholds={
            "more": Threshold(
                default=1, unit="count", meaning="grants more than the median", least=1
            ),
            "percent": Threshold(
                default=10, unit="percent", meaning="and so many percent more than it"
            ),
        },
        samples=_SAMPLES,
        horizon=_HORIZON,
        expected=200,  # something gets worse now and then, and stays so for a week
        references=("NIST SP 800-53 CA-7",),
        examples=(
            Example(says="one where there was none", facts=_measured(*[0] * 7, 1), hits=1),
            Example(says="a tenth more", facts=_measured(*[20] * 7, 22), hits=1),
            Example(says="less than a tenth more", facts=_measured(*[20] * 7, 21), hits=0),
            Example(says="after six it is too early", facts=_measured(*[0] * 6, 5), hits=0),
            Example(says="as ever", facts=_measured(3, 4, 3, 5, 4, 3, 4, 4), hits=0),
            Example(
                says="one day of seven was as bad, and does not count for usual",
                facts=_measured(0, 0, 0, 9, 0, 0, 0, 9),
                hits=1,
            ),
            Example(
                says="the first grant of all",
                facts=(*_measured(*[0] * 7, grants=0), _one(9, 1, grants=1)),
                hits=0,
            ),
            Example(
                says="twice as many grants",
                facts=(*_measured(*[10] * 7), _one(9, 20, grants=200)),
                hits=0,
            ),
            Example(
                says="old grants lost what was sealed, and the recent ones did not",
                facts=(
                    *_measured(*[0] * 8, weakness="section-lost"),
                    *_among("all", "section-lost", 5000, *[0] * 7, 5),
                ),
                hits=1,
            ),
            Example(
                says="the log has no witnesses any more",
                facts=_among("log", "no-witnesses", 1, *[0] * 7, 1),
                hits=1,
            ),
            Example(
                says="the log never had witnesses",
                facts=_among("log", "no-witnesses", 1, *[1] * 8),
                hits=0,
            ),
            Example(
                says="each kind by itself",
                facts=(
                    *_measured(*[0] * 7),
                    *_measured(*[5] * 7, weakness="unstamped"),
                    _one(9, 5, weakness="unstamped"),
                ),
                hits=0,
            ),
        ),
    )

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        super().__init__(thresholds, surroundings)
        #: by kind of weakness, and among what: when, how many, and of how many grants
        self._of: dict[tuple[str, str], deque[tuple[datetime, int, int]]] = {}

    def see(self, fact: Fact) -> Iterable[Hit]:
        kind, count, grants = fact.text("weakness"), fact.number("count"), fact.number("grants")
        among = fact.text("among")
        before = self._of.setdefault((kind, among), deque(maxlen=_SAMPLES))
        if len(before) == _SAMPLES:
            usual = median_low(each for _, each, _ in before)
            usual_grants = median_low(each for _, _, each in before)
            if self._has_grown(among, count, usual) and count * usual_grants > usual * grants:
                yield self._weaker(fact, kind, _says(among, count, usual))
        before.append((fact.at, count, grants))

    def _has_grown(self, among: str, count: int, usual: int) -> bool:
        if among == "log":  # it is there or not: no threshold fits
            return count > usual
        more, percent = self.threshold["more"], self.threshold["percent"]
        return count - usual >= more and 100 * (count - usual) >= percent * usual

    def _weaker(self, fact: Fact, kind: str, says: str) -> Hit:
        known = KINDS.get(kind)
        what = known.title if known is not None else kind
        return self.hit(
            fact,
            f"{kind}:{week(fact.at)}",
            f"{says}: {what} ({kind})",
            severity=known.severity if known is not None else None,
            cases=(),
            subjects=(),
        )

    def tick(self, now: datetime) -> Iterable[Hit]:
        if self.is_new_day(now):
            for each in [each for each, of in self._of.items() if of[-1][0] < now - _HORIZON]:
                del self._of[each]
        return ()

    def silences(self) -> Iterable[Silence]:
        seen = max(map(len, self._of.values()), default=0)
        if 0 < seen < _SAMPLES:
            yield Silence(
                rule=self.rule.id, about="weak evidence, by kind", seen=seen, needed=_SAMPLES
            )


def _says(among: str, count: int, usual: int) -> str:
    if among == "log":
        return "the log itself is weaker than it was"
    grants = "grants of any age" if among == "all" else "recent grants"
    return f"{count} {grants} have weak evidence where {usual} were usual"
