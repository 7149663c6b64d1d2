"""A test of controls: one question that is asked of every case of a period, and its answer."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final, Literal, TypeAlias

from muniment.oversight.controls.history import History
from muniment.oversight.population import Found, Line, Population, Reviewed

#: how a test can come out: nothing here is a certificate
SATISFIED: Final = "satisfied"
EXCEPTIONS: Final = "exceptions"
NOT_TESTED: Final = "not-tested"
#: of a control: none of its tests had an exception, and some had nothing to test
PARTLY: Final = "partly"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """All that a test may look at: the log as far as it is shown, and which part is asked for."""

    population: Population
    history: History
    #: what was asked for in this time is counted
    start: datetime
    stop: datetime
    #: on these resources alone; empty: on all
    resources: frozenset[str] = frozenset()

    @property
    def as_of(self) -> datetime:
        """The moment of the newest record: what is not over by then is not over."""
        return self.history.newest

    @property
    def until(self) -> datetime:
        """The end of the period, as far as it has come."""
        return min(self.stop, self.as_of)

    def asked(self) -> Iterator[Line]:
        """Every access case that began in the period."""
        return (line for line in self.population.lines.values() if self.is_asked(line))

    def granted(self) -> Iterator[Line]:
        """Those of them for which a credential was handed out."""
        return (line for line in self.asked() if line.granted)

    def findings(self) -> Iterator[Found]:
        """Whatever was open at some time of the period."""
        for found in self.population.findings.values():
            if self.overlaps(found.raised, found.closed) and self.is_on(found.resource):
                yield found

    def reviews(self) -> Iterator[Reviewed]:
        """Reviews of cases that began in the period, and whatever was open at some time of it."""
        for review in self.population.reviews.values():
            line = self.population.lines.get(review.about)
            # of a case that was over before the period it need not be shown which target it was on
            if line is not None and not self.is_on(line.resource):
                continue
            if (line is not None and self.is_inside(line.requested)) or self.overlaps(
                review.opened, review.answered
            ):
                yield review

    def scans(self) -> dict[str, list[tuple[datetime, int]]]:
        """Looks at each target in the period, that were recorded."""
        inside = {
            resource: [each for each in looks if self.is_inside(each[0])]
            for resource, looks in self.history.scans.items()
            if self.is_on(resource)
        }
        return {resource: looks for resource, looks in inside.items() if looks}

    def counted(self, by_day: Mapping[date, int]) -> int:
        """How often it was in the period, which begins and ends with a day."""
        first, last = self.start.date(), self.stop.date()
        return sum(count for day, count in by_day.items() if first <= day < last)

    def is_inside(self, at: datetime) -> bool:
        return self.start <= at < self.stop

    def is_asked(self, line: Line) -> bool:
        return self.is_inside(line.requested) and self.is_on(line.resource)

    def overlaps(self, since: datetime, until: datetime | None) -> bool:
        """Whether it began before the end of the period, and was not over when that began."""
        return since < self.stop and (until is None or until >= self.start)

    def is_on(self, resource: str) -> bool:
        return not self.resources or resource in self.resources


@dataclass(frozen=True, slots=True)
class Fault:
    """One that did not pass."""

    #: a case id; or a resource, a principal, a moment, where it is about no case
    about: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a test came to over the whole population."""

    tested: int = 0
    faults: tuple[Fault, ...] = ()
    #: those of the population to which the question does not apply
    not_applicable: int = 0
    #: why nothing could be tested; empty where something was
    because: str = ""

    @property
    def passed(self) -> int:
        return self.tested - len(self.faults)

    @property
    def state(self) -> str:
        if self.faults:
            return EXCEPTIONS
        return SATISFIED if self.tested else NOT_TESTED


@dataclass(frozen=True, slots=True, kw_only=True)
class ByLine:
    """An answer that comes of seeing access cases one by one: many of these share one pass."""

    #: which cases: all that there are, those that began in the period, or of these the grants
    of: Literal["all", "asked", "granted"]
    see: Callable[[Line], None]
    answer: Callable[[], Result]


Ask: TypeAlias = Callable[[Examined], "Result | ByLine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlTest:
    """A question with a name."""

    id: str
    #: what holds where it is satisfied
    title: str
    #: what is counted, one by one
    counts: str
    ask: Ask = field(repr=False)

    def run(self, examined: Examined) -> Result:
        """By itself."""
        return run_all([self], examined)[self.id]


def control_test(id_: str, title: str, counts: str) -> Callable[[Ask], ControlTest]:
    """Make a function a test with this name."""
    return lambda ask: ControlTest(id=id_, title=title, counts=counts, ask=ask)


def run_all(
    tests: Iterable[ControlTest], examined: Examined, beside: Iterable[ByLine] = ()
) -> dict[str, Result]:
    """By id, in one pass over the cases: to unfold a line takes longer than to ask about it."""
    asked = {test.id: test.ask(examined) for test in tests}
    see_all(examined, [*(each for each in asked.values() if isinstance(each, ByLine)), *beside])
    return {id_: each.answer() if isinstance(each, ByLine) else each for id_, each in asked.items()}


def see_all(examined: Examined, seeing: Sequence[ByLine]) -> None:
    """Show every case to whoever asks about cases of its kind."""
    of = {name: [each.see for each in seeing if each.of == name] for name in _KINDS_OF_CASES}
    if not any(of.values()):
        return
    for line in examined.population.lines.values():
        for see in of["all"]:
            see(line)
        if not examined.is_asked(line):
            continue
        for see in of["asked"]:
            see(line)
        if line.granted:
            for see in of["granted"]:
                see(line)


_KINDS_OF_CASES: Final = ("all", "asked", "granted")


def over(
    of: Literal["asked", "granted"], judge: Callable[[Line], str | None], nothing: str
) -> ByLine:
    """
    Ask about each case: None where it passes, else why not; `SKIP` where it does not apply.

    `nothing` is said where there was nothing to test.
    """
    tested = skipped = 0
    faults: list[Fault] = []

    def see(line: Line) -> None:
        nonlocal tested, skipped
        why = judge(line)
        if why is SKIP:
            skipped += 1
            return
        tested += 1
        if why is not None:
            faults.append(Fault(line.case, why))

    def answer() -> Result:
        because = "" if tested else nothing
        return Result(tested=tested, faults=tuple(faults), not_applicable=skipped, because=because)

    return ByLine(of=of, see=see, answer=answer)


#: the question does not apply to this case
SKIP: Final = "not applicable"


def length(seconds: float) -> str:
    """In the largest unit that says enough."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
