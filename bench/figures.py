"""A figure, what was run beside it, and whether it reaches its goal."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A bound on the ratio to the yardstick, or on the value where the goal is absolute."""

    of: Literal["ratio", "value"]
    sense: Literal["at least", "at most"]
    bound: float

    def holds(self, figure: "Figure") -> bool:
        measured = figure.ratio if self.of == "ratio" else figure.value
        if measured is None:
            return False
        return measured >= self.bound if self.sense == "at least" else measured <= self.bound


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table."""

    what: str
    value: float
    unit: str
    #: the yardstick in words, and its value in the same unit
    beside: str = ""
    yardstick: float | None = None
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        return self.value / self.yardstick if self.yardstick else None

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        return "holds" if self.goal.holds(self) else "misses"

    def json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "verdict": self.verdict}

    @classmethod
    def read(cls, value: dict[str, Any]) -> "Figure":
        kept = {k: v for k, v in value.items() if k not in ("ratio", "verdict", "goal")}
        goal = Goal(**value["goal"]) if value["goal"] is not None else None
        return cls(**kept, goal=goal)


def at_least(bound: float, of: Literal["ratio", "value"] = "ratio") -> Goal:
    return Goal(of=of, sense="at least", bound=bound)


def at_most(bound: float, of: Literal["ratio", "value"] = "ratio") -> Goal:
    return Goal(of=of, sense="at most", bound=bound)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Sequence[float]) -> float:
    return percentile(values, 0.5)
