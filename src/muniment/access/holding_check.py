"""
What the records of a hold, or of a run that erases, say in a proved bundle: in step 11.

Both are folded. Whoever placed a hold, let go of it or wanted something erased was an enrolled,
active human; letting go takes two different people, and a run as many as its first record says.
What a run erased it names, and no more of it than was on its list.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Final

from muniment.access import holding, records
from muniment.access.folding import require
from muniment.access.holding import Hold, Run
from muniment.errors import FoldInvalid
from muniment.evidence.store import Entry

#: kinds that begin such a case
KINDS: Final = holding.OPENERS
_BY_PEOPLE: Final = (
    records.HoldPlaced,
    records.HoldReleaseRequested,
    records.HoldReleased,
    records.ErasureApproved,
)


def state(case: Sequence[Entry], shown: Mapping[bytes, Entry]) -> str:
    """How the case stands, in one line; `shown` has what its records follow. `FoldInvalid`."""
    for entry in case:
        _check_by_whom(entry, shown)
    if case[0].header.kind == records.HoldPlaced.KIND:
        return _state_of_hold(holding.fold_holds(case))
    run = holding.fold_runs(case)
    _check_erased(case, run, shown)
    return _state_of_run(run, _digest(case) == run.proposed.listed)


def _check_by_whom(entry: Entry, shown: Mapping[bytes, Entry]) -> None:
    record = records.parse(entry.header)
    by_a_person = isinstance(record, _BY_PEOPLE)
    if not by_a_person and record.actor.type != "human":
        return  # the service proposes by its schedule, and carries out what people wanted
    for each in _followed(entry, shown):
        known = records.parse(each.header)
        if isinstance(known, records.PrincipalEnrolled) and each.header.case == (
            record.actor.principal
        ):
            person = record.person if isinstance(record, _BY_PEOPLE) else known.person
            require(
                known.type == "human" and known.active and known.person == person,
                f"`{entry.header.id}` was said by nobody who was enrolled as an active human",
            )
            require(
                known.person in record.actor.persons,
                f"`{entry.header.id}` hides who said it",
            )
            return
    raise FoldInvalid(f"`{entry.header.id}` does not follow the enrolment of whoever said it")


def _check_erased(case: Iterable[Entry], run: Run, shown: Mapping[bytes, Entry]) -> None:
    """Each thing that went is named, was there, and went once."""
    gone, batches = set[tuple[str, str]](), set[str]()
    for entry in case:
        match records.parse(entry.header):
            case records.RecordErased(record=record, section=section):
                _check_named(entry, record, section, shown)
                require((record, section) not in gone, f"`{entry.header.id}` erases it again")
                gone.add((record, section))
            case records.EventsErased(batch=batch):
                _check_named(entry, batch, "", shown)
                batches.add(batch)
            case _:
                pass
    proposed = run.proposed
    require(
        len(gone) <= proposed.sections and len(batches) <= proposed.batches,
        "more was erased than was proposed",
    )


def _check_named(entry: Entry, id_: str, section: str, shown: Mapping[bytes, Entry]) -> None:
    found = [each.header for each in _followed(entry, shown) if each.header.id == id_]
    require(
        bool(found) and (not section or section in found[0].sections),
        f"`{entry.header.id}` does not follow what it erases",
    )


def _digest(case: Iterable[Entry]) -> bytes:
    """As `listed` has it, of all that went."""
    lines = set[str]()
    for entry in case:
        match records.parse(entry.header):
            case records.RecordErased() as one:
                lines.add(f"{one.record} {one.section} {one.rule}")
            case records.EventsErased() as some:
                lines.add(f"{some.batch} events {some.rule} {some.grants.hex()}")
            case _:
                pass
    return sha256("\n".join(sorted(lines)).encode()).digest()


def _state_of_hold(hold: Hold) -> str:
    scope = hold.placed
    counted = {"case": scope.cases, "person": scope.persons, "resource": scope.resources}
    named = [f"{len(some)} {what}{'s'[: len(some) != 1]}" for what, some in counted.items() if some]
    words = f"hold of {', '.join(named) or 'all of a period'}"
    return f"{words}, {_STATES[hold.state]}"


def _state_of_run(run: Run, whole: bool) -> str:
    proposed, wanted = run.proposed, len(run.persons)
    words = f"run that erases, wanted by {wanted} of the {proposed.people} persons that it takes"
    if whole:
        return f"{words}, {run.state}: all that was listed is erased"
    went = f"{run.sections} of {proposed.sections} sections and {run.events} events are erased"
    return f"{words}, {run.state}: {went}"


_STATES: Final = {
    "placed": "stands",
    "releasing": "stands, its release asked for by one",
    "released": "released by two",
}


def _followed(entry: Entry, shown: Mapping[bytes, Entry]) -> Iterator[Entry]:
    for leaf in entry.header.follows:
        yield shown[leaf]
