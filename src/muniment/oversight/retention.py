"""
How long things are kept: classes with a floor and a ceiling, and what follows from all that apply.

The strictest wins, both ways: of all classes that apply to a thing the longest floor and the
shortest ceiling count. Where that floor lies beyond that ceiling, the floor wins, and it is said.
Nothing goes that no class has a ceiling for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

#: begins the rule under which something went by itself
RULE: Final = "retention:"
#: instead of names of sources: all there are
EVERY: Final = "*"


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One sealed section, or a batch of raw events, as far as classes ask for it."""

    #: kind of its record; empty for raw events
    kind: str = ""
    #: name of the section
    section: str = ""
    #: source of raw events; empty for a section
    source: str = ""
    resources: frozenset[str] = frozenset()
    environments: frozenset[str] = frozenset()
    #: labels of the data of those resources
    data: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Class:
    """
    What is kept for how long. What is left empty asks for nothing.

    One that names sources is about raw events, any other about sealed sections.
    """

    name: str
    kinds: frozenset[str] = frozenset()
    sections: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    environments: frozenset[str] = frozenset()
    data: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    #: kept for at least so long
    floor: timedelta | None = None
    #: gone after so long
    ceiling: timedelta | None = None
    #: where it comes from, for a person to read
    origin: str = ""

    def applies_to(self, thing: Thing) -> bool:
        if bool(self.sources) != bool(thing.source):
            return False
        return (
            (not self.sources or not self.sources.isdisjoint((thing.source, EVERY)))
            and (not self.kinds or thing.kind in self.kinds)
            and (not self.sections or thing.section in self.sections)
            and (not self.resources or bool(self.resources & thing.resources))
            and (not self.environments or bool(self.environments & thing.environments))
            and (not self.data or bool(self.data & thing.data))
        )


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What all classes that apply to one thing come to."""

    #: it is not erased before it is so old
    floor: timedelta = timedelta(0)
    #: it goes once it is so old; None: never by itself
    ceiling: timedelta | None = None
    #: names of the classes that said so
    kept_by: str = ""
    goes_by: str = ""

    @property
    def conflict(self) -> bool:
        """Whether it is kept for longer than it may be: then it is kept."""
        return self.ceiling is not None and self.floor > self.ceiling

    @property
    def rule(self) -> str:
        return f"{RULE}{self.goes_by}"

    def keeps(self, since: datetime | None, at: datetime) -> bool:
        """Whether it is too young to be erased by anybody. Of `since`: see `Kept`."""
        if not self.floor:
            return False
        return since is None or at < since + self.floor

    def has_gone(self, since: datetime | None, at: datetime) -> bool:
        """Whether its time is over."""
        if since is None or self.ceiling is None:
            return False
        return at >= since + max(self.floor, self.ceiling)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The classes of one configuration, and how runs go by them."""

    classes: Sequence[Class] = ()
    #: above so many sections and batches a run takes two persons
    two_people_above: int = 100
    #: likewise above so many raw events, however few their batches are
    two_people_above_events: int = 10_000
    #: below that a scheduled run erases by itself
    automatic: bool = False
    #: how often a run is proposed; None: only when somebody asks for one
    every: timedelta | None = None
    _known: dict[Thing, Ruling] = field(default_factory=dict, compare=False, repr=False)

    def ruling(self, thing: Thing) -> Ruling:
        """The longest floor and the shortest ceiling of those that apply."""
        known = self._known.get(thing)
        if known is None:
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            known = self._known[thing] = _strictest(
                each for each in self.classes if each.applies_to(thing)
            )
        return known


_FOR_EVER: Final = timedelta(days=36_500)
#: while the files that say what may go were refused, nothing does
REFUSED: Final = Rules(
    classes=(
        Class(name="files-refused", floor=_FOR_EVER),
        Class(name="files-refused", floor=_FOR_EVER, sources=frozenset([EVERY])),
    )
)
#: so many different things are remembered with what follows for them
_MOST_KNOWN: Final = 10_000


def _strictest(classes: Iterable[Class]) -> Ruling:
    found = sorted(classes, key=lambda each: each.name)
    floors = [each for each in found if each.floor is not None]
    ceilings = [each for each in found if each.ceiling is not None]
    longest = max(floors, key=lambda each: each.floor or timedelta(0), default=None)
    shortest = min(ceilings, key=lambda each: each.ceiling or timedelta(0), default=None)
    return Ruling(
        floor=timedelta(0) if longest is None or longest.floor is None else longest.floor,
        ceiling=None if shortest is None else shortest.ceiling,
        kept_by="" if longest is None else longest.name,
        goes_by="" if shortest is None else shortest.name,
    )
