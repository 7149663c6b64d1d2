"""The life of a finding folds by its table, and nothing else does."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from lives import ADA, ANA, BO, START

from muniment.access import finding as life
from muniment.access import records
from muniment.access.finding import OPEN, TRANSITIONS, Finding
from muniment.access.records import SERVICE, Actor, Record
from muniment.errors import FoldInvalid
from muniment.evidence.record import Header

CASE, RULE = "fnd_" + "a" * 26, sha256(b"the rule").digest()
GRANT, OTHER = "mun_" + "b" * 26, "mun_" + "c" * 26
HOUR = timedelta(hours=1)
WORKLOAD = Actor(
    principal="prn_eye", type="workload", sponsor="prn_ada", persons=("per_ada",), assurance="token"
)


@dataclass(frozen=True)
class Life:
    """A finding, and how many hours old it is."""

    finding: Finding = field(default_factory=Finding)

    def then(self, record: Record, **header: Any) -> "Life":
        at = START + self.finding.length * HOUR
        placed = Header(
            **{
                "kind": record.KIND,
                "fold": 1,
                "case": CASE,
                "position": self.finding.length,
                "at": at,
                "body": record.body(),
                "prev": self.finding.head or None,
                "follows": (),
                "documents": (RULE,),
                "sections": {},
                **header,
            }
        )
        return Life(life.advance(self.finding, placed, sha256(placed.encode()).digest()))


def raised(**changes: Any) -> records.FindingRaised:
    record = records.FindingRaised(
        actor=SERVICE,
        rule="too-much",
        definition=RULE,
        severity="high",
        nature="deterministic",
        resource="orders-prod",
        about=(GRANT,),
        subjects=("per_ana",),
        seen=START,
        ends=(),
        why="not-asked",
    )
    return replace(record, **changes)


def seen(**changes: Any) -> records.FindingSeen:
    record = records.FindingSeen(
        actor=SERVICE, count=3, seen=START + HOUR, about=(), subjects=(), ends=(), why="not-asked"
    )
    return replace(record, **changes)


def acknowledged(actor: Actor = BO) -> records.FindingAcknowledged:
    return records.FindingAcknowledged(actor=actor)


def assigned(actor: Actor = BO, to: str = "prn_ada") -> records.FindingAssigned:
    return records.FindingAssigned(actor=actor, to=to)


def answered(actor: Actor = BO, **changes: Any) -> records.FindingClosed:
    record = records.FindingClosed(
        actor=actor, person=actor.persons[0], resolution="explained", owner=None, until=None
    )
    return replace(record, **changes)


def closed(count: int) -> records.CaseClosed:
    return records.CaseClosed(actor=SERVICE, records=count)


def test_a_whole_life_adds_up() -> None:
    whole = (
        Life()
        .then(raised())
        .then(seen(about=(OTHER,), subjects=("per_cy",), ends=(GRANT,), why=""))
        .then(acknowledged())
        .then(seen(count=1, seen=START - HOUR, ends=(OTHER,), why=""))
        .then(assigned())
        .then(answered(ADA))
        .then(closed(7))
    ).finding
    assert (whole.state, whole.closed, whole.length) == ("closed", True, 7)
    assert (whole.count, whole.first, whole.last) == (5, START - HOUR, START + HOUR)
    assert (whole.about, whole.ends) == ((GRANT, OTHER), (GRANT, OTHER))
    assert whole.subjects == ("per_ana", "per_cy")
    assert (whole.assigned, whole.noted_at) == ("prn_ada", START + 3 * HOUR)


def states() -> dict[str, Life]:
    opened = Life().then(raised())
    return {
        "": Life(),
        "open": opened,
        "acknowledged": opened.then(acknowledged()),
        "assigned": opened.then(assigned()),
        "closed": opened.then(answered()),
    }


@pytest.mark.parametrize("state", states())
@pytest.mark.parametrize(
    "record", [raised(), seen(), acknowledged(), assigned(to="prn_cy"), answered(), closed(3)]
)
def test_only_what_the_table_has_follows_in_a_state(state: str, record: Record) -> None:
    before = states()[state]
    if isinstance(record, records.CaseClosed):
        record = closed(before.finding.length + 1)
    if (state, record.KIND) in TRANSITIONS:
        assert before.then(record).finding.length == before.finding.length + 1
    else:
        with pytest.raises(FoldInvalid, match="cannot follow"):
            before.then(record)


@pytest.mark.parametrize(
    "record",
    [
        raised(severity="awful"),
        raised(nature="magic"),
        raised(about=(GRANT, GRANT)),
        raised(ends=(OTHER,), why=""),
        raised(ends=(GRANT,), why="not-asked"),
        raised(why=""),
        raised(definition=sha256(b"another").digest()),
    ],
)
def test_no_finding_is_raised_so(record: Record) -> None:
    with pytest.raises(FoldInvalid):
        Life().then(record)


@pytest.mark.parametrize(
    "record",
    [
        seen(count=-1),
        seen(about=(GRANT,)),
        seen(subjects=("per_ana",)),
        seen(ends=(OTHER,), why=""),
        *(step(actor) for step in (acknowledged, assigned, answered) for actor in (ANA, WORKLOAD)),
        answered(person="per_ada"),
        answered(resolution="forgotten"),
        answered(resolution="adopted"),
        answered(owner="prn_bo"),
        answered(until=START),
        answered(until=START + timedelta(days=400)),
        answered(resolution="remedied", until=START + 9 * HOUR),
        assigned(to=""),
    ],
)
def test_what_an_invariant_forbids_does_not_fold(record: Record) -> None:
    with pytest.raises(FoldInvalid):
        Life().then(raised()).then(record)


def test_whoever_it_came_to_be_about_later_does_not_close_it() -> None:
    before = Life().then(raised())
    assert before.then(answered()).finding.state == "closed"
    with pytest.raises(FoldInvalid, match="whom it is not about"):
        before.then(seen(subjects=("per_bo",))).then(answered())


def test_the_service_itself_answers_nothing() -> None:
    with pytest.raises(FoldInvalid):
        Life().then(raised()).then(acknowledged(SERVICE))


def test_nothing_ends_twice_and_nobody_is_assigned_twice() -> None:
    with pytest.raises(FoldInvalid):
        Life().then(raised(ends=(GRANT,), why="")).then(seen(ends=(GRANT,), why=""))
    with pytest.raises(FoldInvalid):
        Life().then(raised()).then(assigned()).then(assigned())


def test_a_closed_finding_counts_its_records_and_is_over() -> None:
    before = Life().then(raised()).then(answered())
    with pytest.raises(FoldInvalid, match="miscounts"):
        before.then(closed(2))
    with pytest.raises(FoldInvalid, match="follows `case:closed`"):
        before.then(closed(3)).then(seen())


@pytest.mark.parametrize(
    "header", [{"position": 5}, {"case": "fnd_" + "z" * 26}, {"at": START - HOUR}]
)
def test_a_record_out_of_its_place_does_not_fold(header: dict[str, Any]) -> None:
    with pytest.raises(FoldInvalid):
        Life().then(raised()).then(seen(), **header)


def test_it_mutes_until_the_moment_that_its_answer_names() -> None:
    until = START + 9 * HOUR
    muted = Life().then(raised()).then(answered(until=until)).finding
    assert muted.mutes(until - HOUR)
    assert not muted.mutes(until)
    assert not Life().then(raised()).finding.mutes(START)


def test_every_step_is_in_the_table() -> None:
    assert {state for state, _ in TRANSITIONS} == {"", *OPEN, "closed"}
