"""
Detectors over a stream of facts: the live one, or the past once more.

A detector that raises stops nobody but itself, for this one fact, and is reported. Time comes from
facts that our own clock stamped: what a target or a source says of the time moves nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from muniment.errors import ConfigInvalid, MunimentError
from muniment.oversight.detector import Detector, Hit, Rule, Silence, Surroundings, thresholds
from muniment.oversight.fact import FACTS, Fact

#: types of facts whose moment is somebody else's word
_CLOCKS_OF_OTHERS: Final = frozenset(
    {"activity", "deployment", "incident.opened", "incident.closed"}
)
#: so many hits may one detector have on one fact
_MOST_HITS: Final = 100
#: how far apart ticks are while the past is replayed, and how many there are in a quiet stretch
STEP: Final = timedelta(hours=1)
_MOST_STEPS: Final = 31 * 24
#: how often progress is told, in facts
_PIECE: Final = 5000

FAILED: Final = Rule(
    id="detector-failed",
    title="A detector has failed",
    advice="Until it is mended, nobody looks for what it looks for. Its author needs the name of "
    "the error, and the fact that it was shown.",
    severity="high",
    kind="deterministic",
    needs=(),
    horizon=timedelta(days=1),
)

NOTHING_SET: Final[Mapping[str, Mapping[str, int]]] = {}


class Watch:
    """Shows facts to detectors, each only what it reads. One thread at a time."""

    def __init__(
        self,
        detectors: Iterable[type[Detector]],
        given: Mapping[str, Mapping[str, int]],
        surroundings: Surroundings,
    ) -> None:
        """
        `given` are thresholds by the id of their rule.

        Raises `ConfigInvalid` for a rule or a threshold that does not exist.
        """
        kinds = tuple(detectors)
        _check_ids(kinds, given)
        self._detectors = [
            kind(thresholds(kind.rule, given.get(kind.rule.id, {})), surroundings) for kind in kinds
        ]
        self._readers = {type: self._reading(type) for type in FACTS}
        self._failed: dict[str, datetime] = {}
        #: the latest moment by our own clock
        self.now: datetime | None = None

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Of its detectors, and the one about detectors themselves."""
        return (*(each.rule for each in self._detectors), FAILED)

    def _reading(self, type: str) -> tuple[Detector, ...]:
        return tuple(each for each in self._detectors if _reads(each.rule, type))

    def see(self, fact: Fact) -> list[Hit]:
        if fact.type not in _CLOCKS_OF_OTHERS and (self.now is None or self.now < fact.at):
            self.now = fact.at
        at = self.now or fact.at
        hits: list[Hit] = []
        for detector in self._readers.get(fact.type, ()):
            try:
                found = detector.see(fact)
                if found:  # most see nothing, and say so with an empty tuple
                    hits += islice(found, _MOST_HITS)
            except Exception as error:  # noqa: BLE001 (it may be anybody's code)
                hits += self._failure(detector.rule, error, at, fact)
        return hits

    def tick(self, now: datetime) -> list[Hit]:
        """Time has passed. An earlier moment than the last changes nothing."""
        if self.now is not None and now < self.now:
            now = self.now
        self.now = now
        hits: list[Hit] = []
        for detector in self._detectors:
            try:
                found = detector.tick(now)
                if found:
                    hits += islice(found, 10 * _MOST_HITS)
            except Exception as error:  # noqa: BLE001 (it may be anybody's code)
                hits += self._failure(detector.rule, error, now, None)
        return hits

    def silences(self) -> list[Silence]:
        """What could not be judged for want of facts. One that fails to say so says nothing."""
        found: list[Silence] = []
        for detector in self._detectors:
            try:
                found += islice(detector.silences(), 2 * _MOST_HITS)
            except Exception as error:  # noqa: BLE001 (it may be anybody's code)
                found += _speechless(detector.rule, error)
        return found

    def _failure(
        self, rule: Rule, error: Exception, at: datetime, fact: Fact | None
    ) -> Iterator[Hit]:
        """Once a day of each detector. The text of the error stays away: it may quote the fact."""
        last = self._failed.get(rule.id)
        if last is not None and at - last < FAILED.horizon:
            return
        self._failed[rule.id] = at
        yield Hit(
            rule=FAILED.id,
            at=at,
            key=f"{rule.id}:{at:%Y-%m-%d}",
            summary=f"the detector `{rule.id}` failed: {type(error).__name__}",
            severity=FAILED.severity,
            evidence=(fact.ref,) if fact is not None and fact.ref else (),
        )


def _reads(rule: Rule, type: str) -> bool:
    return not rule.needs or type in rule.needs or type in rule.also


def _speechless(rule: Rule, error: Exception) -> Iterator[Silence]:
    yield Silence(rule=rule.id, about=f"itself: {type(error).__name__}", seen=0, needed=1)


def _check_ids(kinds: Sequence[type[Detector]], given: Mapping[str, Mapping[str, int]]) -> None:
    count = Counter(kind.rule.id for kind in kinds)
    twice = [id for id, times in count.items() if times > 1]
    if twice:
        raise ConfigInvalid(f"two detectors have the id `{twice[0]}`")
    for id in given:
        if id not in count:
            names = ", ".join(f"`{each}`" for each in sorted(count))
            raise ConfigInvalid(f"`detect.rules.{id}` is no rule; there are: {names}")


# --- the past once more -------------------------------------------------------------------------


@dataclass(kw_only=True)
class Result:
    """What one rule would have done."""

    rule: Rule
    hits: int = 0
    #: how many facts there were of the types that it needs
    of: int = 0
    first: datetime | None = None
    last: datetime | None = None
    #: the first few
    examples: list[Hit] = field(default_factory=list)
    _keys: set[int] = field(default_factory=set, repr=False)

    @property
    def findings(self) -> int:
        """Hits with one key are one finding."""
        return len(self._keys)

    @property
    def rate(self) -> float:
        """Hits per fact of its kind."""
        return self.hits / self.of if self.of else 0.0

    @property
    def is_noisy(self) -> bool:
        """Whether it fires more often than its author expects of ordinary life."""
        return self.rate * 10_000 > self.rule.expected

    def add(self, hit: Hit, examples: int) -> None:
        self.hits += 1
        self.first = hit.at if self.first is None else min(self.first, hit.at)
        self.last = hit.at if self.last is None else max(self.last, hit.at)
        self._keys.add(hash(hit.key))
        if len(self.examples) < examples:
            self.examples.append(hit)


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """What the rules would have said of the past."""

    results: Mapping[str, Result]
    #: how many facts there were of each type
    facts: Mapping[str, int]
    silences: tuple[Silence, ...]
    first: datetime | None
    last: datetime | None


#: is told how many facts were seen, and up to when
Progress = Callable[[int, datetime], object]


def replay(facts: Iterable[Fact], watch: Watch, until: datetime | None = None) -> Iterator[Hit]:
    """
    Every hit on these facts, with a tick at each whole hour between them.

    A quiet stretch is walked by the hour for a month; then time goes to its end at once.
    """
    for fact in facts:
        if fact.type not in _CLOCKS_OF_OTHERS:
            yield from _pass_time(watch, fact.at)
        yield from watch.see(fact)
    if until is not None:
        yield from _pass_time(watch, until)
        yield from watch.tick(until)


def _pass_time(watch: Watch, until: datetime) -> Iterator[Hit]:
    now = watch.now
    if now is None or until <= now:
        return
    step = now.replace(minute=0, second=0, microsecond=0) + STEP
    for _ in range(_MOST_STEPS):
        if step > until:
            return
        yield from watch.tick(step)
        step += STEP
    if step <= until:
        yield from watch.tick(until)


def backtest(
    facts: Iterable[Fact],
    detectors: Iterable[type[Detector]],
    given: Mapping[str, Mapping[str, int]],
    surroundings: Surroundings,
    *,
    until: datetime | None = None,
    progress: Progress | None = None,
    examples: int = 5,
) -> Backtest:
    """
    Replays facts in their order, in memory that does not grow with them.

    Whatever `progress` raises ends it. Raises `ConfigInvalid` as `Watch` does.
    """
    watch = Watch(detectors, given, surroundings)
    results = {rule.id: Result(rule=rule) for rule in watch.rules}
    seen: Counter[str] = Counter()
    span: list[datetime] = []

    def counted() -> Iterator[Fact]:
        for number, fact in enumerate(facts, 1):
            seen[fact.type] += 1
            span[:] = (span[0] if span else fact.at, fact.at)
            if progress is not None and number % _PIECE == 0:
                progress(number, fact.at)
            yield fact

    for hit in replay(counted(), watch, until):
        result = results.get(hit.rule)
        if result is None:
            raise MunimentError(f"a detector told of a rule that is not its own: `{hit.rule}`")
        result.add(hit, examples)
    for result in results.values():
        result.of = sum(seen[type] for type in result.rule.needs or seen)
    if progress is not None and span:
        progress(seen.total(), span[-1])
    return Backtest(
        results=results,
        facts=dict(seen),
        silences=tuple(watch.silences()),
        first=span[0] if span else None,
        last=span[-1] if span else None,
    )
