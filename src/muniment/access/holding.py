"""
The lives of a hold and of a run that erases: folds over their records, and what a hold covers.

It takes one person to hold, and two to let go. A run erases once as many persons want it as its
first record says.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from muniment.access import records
from muniment.access.case import replace
from muniment.access.folding import move, require
from muniment.errors import FoldInvalid
from muniment.evidence.record import Header
from muniment.evidence.store import Entry

#: records of cases that are folded here begin so
OPENERS: Final = (records.HoldPlaced.KIND, records.ErasureProposed.KIND)


@dataclass(frozen=True, kw_only=True)
class Concern:
    """What a thing that is kept has to do with, as far as holds ask for it."""

    cases: frozenset[str] = frozenset()
    #: person ids
    persons: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    #: access cases that people looked at in a review of many
    reviewed: frozenset[str] = frozenset()
    #: the time that it tells of; without an end it goes on
    begins: datetime
    ends: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Hold:
    """What a hold is, at one of its records."""

    id: str = ""
    #: `placed`, `releasing`, `released`
    state: str = ""
    length: int = 0
    head: bytes = b""
    #: log index of its first record, and of the one that released it
    index: int = 0
    released_by: int | None = None
    placed_at: datetime | None = None
    changed_at: datetime | None = None
    record: records.HoldPlaced | None = None
    #: person id of who asked for its release
    asked_by: str = ""
    closed: bool = False

    @property
    def placed(self) -> records.HoldPlaced:
        if self.record is None:
            raise FoldInvalid("a hold that nobody placed")
        return self.record

    def stands(self, size: int | None = None) -> bool:
        """Whether it holds: now, or as of a size of the log."""
        if size is None:
            return self.released_by is None
        return self.index < size and (self.released_by is None or self.released_by >= size)

    def covers(self, what: Concern) -> bool:
        """Whether nothing of this may be erased."""
        scope = self.placed
        if scope.until is not None and what.begins > scope.until:
            return False
        if scope.since is not None and what.ends is not None and what.ends < scope.since:
            return False
        if not (scope.cases or scope.persons or scope.resources):
            return True
        return bool(
            (what.cases | what.reviewed) & {*scope.cases}
            or what.persons & {*scope.persons}
            or what.resources & {*scope.resources}
        )


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run that erases is, at one of its records."""

    id: str = ""
    #: `proposed`, `begun`, `closed`
    state: str = ""
    length: int = 0
    head: bytes = b""
    index: int = 0
    proposed_at: datetime | None = None
    changed_at: datetime | None = None
    record: records.ErasureProposed | None = None
    #: person ids of those who want it
    persons: tuple[str, ...] = ()
    #: so many sections, and raw events, it has erased
    sections: int = 0
    events: int = 0
    closed: bool = False

    @property
    def proposed(self) -> records.ErasureProposed:
        if self.record is None:
            raise FoldInvalid("a run that nobody proposed")
        return self.record

    @property
    def missing(self) -> int:
        """How many more persons have to want it."""
        return max(0, self.proposed.people - len(self.persons))


@dataclass
class Holding:
    """Every hold and every run: advanced by the log's writer, one checked entry after another."""

    holds: dict[str, Hold] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)

    def take(self, entry: Entry) -> None:
        case = entry.header.case
        if case in self.holds or entry.header.kind == records.HoldPlaced.KIND:
            self.holds[case] = advance_hold(self.holds.get(case, Hold()), entry)
        elif case in self.runs or entry.header.kind == records.ErasureProposed.KIND:
            self.runs[case] = advance_run(self.runs.get(case, Run()), entry)

    def standing(self, size: int | None = None) -> list[Hold]:
        """The holds that stand now, or as of a size of the log."""
        return [each for each in list(self.holds.values()) if each.stands(size)]

    def open_runs(self) -> list[Run]:
        return [each for each in list(self.runs.values()) if not each.closed]


def advance_hold(hold: Hold, entry: Entry) -> Hold:
    """One record further. Raises `FoldInvalid` if the table or an invariant forbids it."""
    header = entry.header
    moves = move(_HOLD, hold, header, "hold")
    moved: Hold = moves(hold, header, records.parse(header))
    return replace(
        moved,
        id=header.case,
        length=header.position + 1,
        head=entry.leaf,
        index=hold.index if hold.length else entry.index,
        released_by=entry.index if header.kind == records.HoldReleased.KIND else hold.released_by,
        placed_at=hold.placed_at or header.at,
        changed_at=header.at,
    )


def advance_run(run: Run, entry: Entry) -> Run:
    """One record further. Raises `FoldInvalid` if the table or an invariant forbids it."""
    header = entry.header
    moves = move(_RUN, run, header, "run")
    moved: Run = moves(run, header, records.parse(header))
    return replace(
        moved,
        id=header.case,
        length=header.position + 1,
        head=entry.leaf,
        index=run.index if run.length else entry.index,
        proposed_at=run.proposed_at or header.at,
        changed_at=header.at,
    )


def fold_holds(entries: Iterable[Entry]) -> Hold:
    """The state of a hold from its records, gap-free from position 0."""
    hold = Hold()
    for entry in entries:
        hold = advance_hold(hold, entry)
    return hold


def fold_runs(entries: Iterable[Entry]) -> Run:
    """The state of a run from its records, likewise."""
    run = Run()
    for entry in entries:
        run = advance_run(run, entry)
    return run


# --- holds --------------------------------------------------------------------------------------


def _placed(hold: Hold, _: Header, record: records.HoldPlaced) -> Hold:
    _check_human(record, record.person)
    period = (record.since, record.until)
    scope = (*record.cases, *record.persons, *record.resources)
    require(bool(scope) or period != (None, None), "a hold of nothing")
    if record.since is not None and record.until is not None:
        require(record.since <= record.until, "a period that ends before it begins")
    return replace(hold, state="placed", record=record)


def _asked(hold: Hold, _: Header, record: records.HoldReleaseRequested) -> Hold:
    _check_human(record, record.person)
    _check_of_others(hold, record)
    return replace(hold, state="releasing", asked_by=record.person)


def _released(hold: Hold, _: Header, record: records.HoldReleased) -> Hold:
    _check_human(record, record.person)
    _check_of_others(hold, record)
    require(record.person != hold.asked_by, "a hold is released by two")
    return replace(hold, state="released")


def _hold_closed(hold: Hold, header: Header, record: records.CaseClosed) -> Hold:
    require(record.records == header.position + 1, f"`{header.id}` miscounts its hold")
    return replace(hold, closed=True)


# --- runs ---------------------------------------------------------------------------------------


def _proposed(run: Run, _: Header, record: records.ErasureProposed) -> Run:
    require(record.sections >= 0 and record.batches >= 0, "fewer than nothing to erase")
    require(record.people >= 0, "wanted by fewer than nobody")
    wants = record.actor.persons if record.actor.type == "human" else ()
    begun = len(wants) >= record.people
    return replace(run, state="begun" if begun else "proposed", record=record, persons=wants)


def _approved(run: Run, _: Header, record: records.ErasureApproved) -> Run:
    _check_human(record, record.person)
    require(record.person not in run.persons, "somebody who wants it already")
    persons = (*run.persons, record.person)
    begun = len(persons) >= run.proposed.people
    return replace(run, state="begun" if begun else "proposed", persons=persons)


def _erased(run: Run, _: Header, _record: records.RecordErased) -> Run:
    return replace(run, sections=run.sections + 1)


def _events_erased(run: Run, _: Header, record: records.EventsErased) -> Run:
    require(0 <= record.kept <= record.count, "more events kept than there were")
    return replace(run, events=run.events + record.count - record.kept)


def _run_closed(run: Run, header: Header, record: records.CaseClosed) -> Run:
    require(record.records == header.position + 1, f"`{header.id}` miscounts its run")
    return replace(run, state="closed", closed=True)


def _check_human(record: records.Record, person: str) -> None:
    by = record.actor
    require(by.type == "human" and person in by.persons, "said by nobody who is a person")


def _check_of_others(hold: Hold, record: records.Record) -> None:
    about = set(hold.placed.persons) & set(record.actor.persons)
    require(not about, "released by somebody whom it is about")


_Move = Callable[[Any, Header, Any], Any]
#: the only steps there are: (state, kind of record) to what follows from it
_HOLD: Final[dict[tuple[str, str], _Move]] = {
    ("", records.HoldPlaced.KIND): _placed,
    ("placed", records.HoldReleaseRequested.KIND): _asked,
    ("releasing", records.HoldReleased.KIND): _released,
    ("released", records.CaseClosed.KIND): _hold_closed,
}
_RUN: Final[dict[tuple[str, str], _Move]] = {
    ("", records.ErasureProposed.KIND): _proposed,
    ("proposed", records.ErasureApproved.KIND): _approved,
    ("begun", records.RecordErased.KIND): _erased,
    ("begun", records.EventsErased.KIND): _events_erased,
    # one that nobody wanted in time, or that something newer took the place of
    ("proposed", records.CaseClosed.KIND): _run_closed,
    ("begun", records.CaseClosed.KIND): _run_closed,
}
