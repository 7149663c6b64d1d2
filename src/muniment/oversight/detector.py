"""
What a detector is: declarative metadata, examples that run as tests, and a fold over facts.

A detector is one file in `detectors/`, or a class that entry point `muniment.detectors` names. It
holds no more state than its windows need, so that the same code watches a live log and replays ten
years of it in little memory.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Literal, Protocol

from muniment.errors import ConfigInvalid
from muniment.oversight.fact import Fact

Severity = Literal["info", "low", "medium", "high", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "low", "medium", "high", "critical")


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A number that an operator may set, under `[detect.RULE]`."""

    default: int
    #: `seconds`, `count`, `percent`, `days` …
    unit: str
    meaning: str
    least: int = 0


@dataclass(frozen=True, kw_only=True)
class Example:
    """Facts in their flat form, and which of them the rule has to fire on."""

    says: str
    facts: Sequence[Mapping[str, Any]]
    #: until when it is watched after the last fact: for what is seen by its absence
    until: str = ""
    #: how many hits there have to be; 0: this is ordinary life
    hits: int


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Everything that there is to know about a detector without reading it."""

    #: short, stable, in kebab case: findings and settings name it
    id: str
    title: str
    #: what it means when it fires, and what to do then
    advice: str
    severity: Severity
    #: of a `deterministic` rule each hit counts; a `baseline` compares with what was usual, goes
    #: into a digest, and says so where it has seen too little
    kind: Literal["deterministic", "baseline"]
    #: types of facts without which it sees nothing
    needs: tuple[str, ...]
    #: types that it takes in too, where there are any; with no type anywhere it is shown every fact
    also: tuple[str, ...] = ()
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    #: how many earlier facts of its kind it waits for; until then it is silent, and says so
    samples: int = 0
    #: the longest that anything it remembers may lie back
    horizon: timedelta = timedelta(days=90)
    #: the share of ordinary facts of its kind that it may fire on, in hundredths of a percent
    expected: int = 0
    references: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    #: the same as a Sigma document, where Sigma can say it
    sigma: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A detector says that something should worry somebody."""

    rule: str
    at: datetime
    #: hits of one rule with one key are one finding
    key: str
    #: one sentence with pseudonyms and names of resources, nothing personal, no hostile text
    summary: str
    severity: Severity
    #: access cases that it is about
    cases: tuple[str, ...] = ()
    #: person ids of those whom it is about: none of them may close it
    subjects: tuple[str, ...] = ()
    resource: str = ""
    #: refs of the facts that show it, the newest last
    evidence: tuple[str, ...] = ()
    #: text of a target, which may be personal or hostile: sealed, and shown with care
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A baseline that could not be judged yet, said aloud: for whom, and what is missing."""

    rule: str
    about: str
    seen: int
    needed: int


class Surroundings(Protocol):
    """What a detector may ask about the world beside the facts. Recorded, never live."""

    def working_days_after(self, at: datetime, days: int) -> datetime:
        """The moment so many working days later, by the installation's calendar."""
        ...


class Detector(Protocol):
    """Sees every fact once, in order; a fact of a source may come a little late."""

    rule: ClassVar[Rule]

    def __init__(self, thresholds: Mapping[str, int], surroundings: Surroundings) -> None:
        """`thresholds` has every name of `rule.thresholds`."""
        ...

    def see(self, fact: Fact) -> Iterable[Hit]: ...

    def tick(self, now: datetime) -> Iterable[Hit]:
        """Time has passed, and nothing else: for what is seen by its absence."""
        ...

    def silences(self) -> Iterable[Silence]:
        """Where it has seen too little to say anything."""
        ...


def thresholds(rule: Rule, given: Mapping[str, int]) -> dict[str, int]:
    """The defaults and what was set. Raises `ConfigInvalid`, saying which there are."""
    for name, value in given.items():
        known = rule.thresholds.get(name)
        if known is None:
            names = ", ".join(f"`{each}`" for each in rule.thresholds) or "none"
            raise ConfigInvalid(
                f"`detect.rules.{rule.id}.{name}` is no threshold; there are: {names}"
            )
        if value < known.least:
            raise ConfigInvalid(f"`detect.rules.{rule.id}.{name}` is at least {known.least}")
    return {name: given.get(name, each.default) for name, each in rule.thresholds.items()}
