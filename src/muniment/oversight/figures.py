"""The figures of a report: how long things took, how long access lasted, and what was found."""

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from muniment.oversight.controls.control_test import Examined
from muniment.oversight.population import Line

_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
#: upper ends of the bars, in milliseconds, with their words; one more bar is for what is longer
LEAD: Final = (
    (_MINUTE, "under 1 min"), (5 * _MINUTE, "1 to 5 min"), (15 * _MINUTE, "5 to 15 min"),
    (_HOUR, "15 min to 1 h"), (4 * _HOUR, "1 to 4 h"), (_DAY, "4 to 24 h"),
)  # fmt: skip
LASTED: Final = (
    (15 * _MINUTE, "under 15 min"), (30 * _MINUTE, "15 to 30 min"), (_HOUR, "30 min to 1 h"),
    (2 * _HOUR, "1 to 2 h"), (4 * _HOUR, "2 to 4 h"), (8 * _HOUR, "4 to 8 h"),
    (_DAY, "8 to 24 h"),
)  # fmt: skip
REMOVED: Final = (
    (1_000, "under 1 s"), (5_000, "1 to 5 s"), (_MINUTE, "5 s to 1 min"),
    (15 * _MINUTE, "1 to 15 min"), (_HOUR, "15 min to 1 h"),
)  # fmt: skip
_MONTHLY: Final = ("requests", "grants", "findings")
SEVERITIES: Final = ("critical", "high", "medium", "low", "info")


@dataclass(slots=True)
class Figures:
    """Counts and milliseconds: whole numbers alone, so that they can be compared."""

    lead: "array[int]" = field(default_factory=lambda: array("q"))
    lasted: "array[int]" = field(default_factory=lambda: array("q"))
    removed: "array[int]" = field(default_factory=lambda: array("q"))
    months: dict[str, Counter[str]] = field(default_factory=dict)
    unseen: int = 0

    def see(self, line: Line) -> None:
        """The next case that began in the period."""
        month = self.months.setdefault(f"{line.requested:%Y-%m}", Counter())
        month["requests"] += 1
        if line.issued is None:
            return
        month["grants"] += 1
        self.lead.append(_between(line.requested, line.issued))
        if line.end is None:
            return
        self.lasted.append(_between(line.issued, line.end.at))
        if line.lag_ms is None:
            self.unseen += 1
        else:
            self.removed.append(line.lag_ms)

    def value(self, examined: Examined) -> dict[str, Any]:
        """Once all cases were seen."""
        raised: Counter[str] = Counter()
        closed: Counter[str] = Counter()
        before: Counter[str] = Counter()
        nothing: Counter[str] = Counter()
        for found in examined.findings():
            closed[found.severity] += found.closed is not None
            if not examined.is_inside(found.raised):
                before[found.severity] += 1
                continue
            raised[found.severity] += 1
            self.months.setdefault(f"{found.raised:%Y-%m}", Counter())["findings"] += 1
        return {
            "lead": _spread(self.lead, LEAD),
            "lasted": _spread(self.lasted, LASTED),
            "removed": {**_spread(self.removed, REMOVED), "unseen": self.unseen},
            "findings": [
                {
                    "severity": each,
                    "before": before[each],
                    "raised": raised[each],
                    "closed": closed[each],
                }
                for each in SEVERITIES
            ],
            "months": [
                {
                    "month": name,
                    **{what: self.months.get(name, nothing)[what] for what in _MONTHLY},
                }
                for name in _without_gaps(sorted(self.months))
            ],
        }


def _without_gaps(months: Sequence[str]) -> Iterator[str]:
    """Also those between the first and the last of which there is nothing to say."""
    if months:
        for number in range(_number(months[0]), _number(months[-1]) + 1):
            yield f"{number // 12:04}-{number % 12 + 1:02}"


def _number(month: str) -> int:
    """Counted from the beginning of the calendar."""
    year, _, of_year = month.partition("-")
    return 12 * int(year) + int(of_year) - 1


def _between(first: Any, second: Any) -> int:
    return int((second - first).total_seconds() * 1000)


def _spread(values: "array[int]", bars: Sequence[tuple[int, str]]) -> dict[str, Any]:
    ends = [end for end, _ in bars]
    counts = [0] * (len(bars) + 1)
    for value in values:
        counts[bisect_right(ends, value)] += 1
    words = [*(word for _, word in bars), f"over {bars[-1][1].rpartition(' to ')[2]}"]
    ordered = sorted(values)
    return {
        "count": len(ordered),
        "median_ms": _share(ordered, 50),
        "p95_ms": _share(ordered, 95),
        "bars": [
            {"words": word, "count": count} for word, count in zip(words, counts, strict=True)
        ],
    }


def _share(ordered: Sequence[int], percent: int) -> int:
    """The smallest value that so many percent do not exceed; 0 of none."""
    return ordered[-(-len(ordered) * percent // 100) - 1] if ordered else 0
