"""Holds and runs fold as their tables say: letting go, and erasing much, takes two."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from muniment.access import records
from muniment.access.holding import Concern, Hold, Holding
from muniment.access.records import Actor, Record
from muniment.errors import FoldInvalid
from muniment.evidence.merkle import leaf_hash
from muniment.evidence.record import Header
from muniment.evidence.store import Entry

AT = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
DAY = timedelta(days=1)
CASE, RUN = "hld_" + "a" * 26, "ers_" + "a" * 26
GRANT = "mun_" + "b" * 26


def human(person: str) -> Actor:
    return Actor(
        principal=f"prn_{person}", type="human", sponsor=None, persons=(person,), assurance="token"
    )


PLACED = records.HoldPlaced(
    actor=human("per_a"), cases=(GRANT,), persons=(), resources=(), since=None, until=None,
    person="per_a",
)  # fmt: skip
ASKED = records.HoldReleaseRequested(actor=human("per_a"), person="per_a")
RELEASED = records.HoldReleased(actor=human("per_b"), person="per_b")
PROPOSED = records.ErasureProposed(
    actor=human("per_a"), as_of=AT, size=7, configuration=b"c" * 32, sections=200, batches=0,
    rules={"retention:c": 200}, listed=b"l" * 32, people=2,
)  # fmt: skip
APPROVED = records.ErasureApproved(actor=human("per_b"), person="per_b")
ERASED = records.RecordErased(
    actor=records.SERVICE, record=f"{GRANT}/0", section="reason", rule="retention:c"
)


def closed(count: int) -> records.CaseClosed:
    return records.CaseClosed(actor=records.SERVICE, records=count)


def folded(case: str, *told: Record) -> Holding:
    found = Holding()
    for position, record in enumerate(told):
        header = Header(
            kind=record.KIND, fold=1, case=case, position=position, at=AT + position * DAY,
            body=record.body(), prev=None,
        )  # fmt: skip
        data = header.encode()
        found.take(Entry(10 + position, data, leaf_hash(data), header))
    return found


def test_a_hold_stands_until_two_let_go() -> None:
    for told, stands in (
        ((PLACED,), True),
        ((PLACED, ASKED), True),
        ((PLACED, ASKED, RELEASED), False),
        ((PLACED, ASKED, RELEASED, closed(4)), False),
    ):
        (hold,) = folded(CASE, *told).holds.values()
        assert hold.stands() == stands
        assert hold.closed == (len(told) == 4)


def test_a_hold_stands_as_of_a_size_of_the_log() -> None:
    (hold,) = folded(CASE, PLACED, ASKED, RELEASED).holds.values()
    assert [size for size in range(9, 15) if hold.stands(size)] == [11, 12]


@pytest.mark.parametrize(
    "told",
    [
        (PLACED, RELEASED),
        (PLACED, ASKED, replace(RELEASED, actor=human("per_a"), person="per_a")),
        (PLACED, ASKED, replace(RELEASED, actor=human("per_c"))),
        (PLACED, replace(ASKED, actor=replace(human("per_a"), type="workload"))),
        (replace(PLACED, persons=("per_a",)), ASKED),
        (replace(PLACED, persons=("per_b",)), ASKED, RELEASED),
        (PLACED, ASKED, ASKED),
        (PLACED, PLACED),
        (PLACED, ASKED, RELEASED, closed(3)),
        (PLACED, closed(2)),
        (replace(PLACED, cases=()),),
        (replace(PLACED, since=AT, until=AT - DAY),),
    ],
    ids=[
        "not asked for", "by the same", "in another's name", "by a program",
        "asked by whom it is about", "confirmed by whom it is about", "asked twice",
        "placed twice", "miscounted", "closed while it stands", "of nothing", "a period backwards",
    ],
)  # fmt: skip
def test_what_no_hold_can_be(told: tuple[Record, ...]) -> None:
    with pytest.raises(FoldInvalid):
        folded(CASE, *told)


@pytest.mark.parametrize(
    "told",
    [
        (PROPOSED, ERASED),
        (PROPOSED, replace(APPROVED, actor=human("per_a"), person="per_a"), ERASED),
        (replace(PROPOSED, people=0, actor=records.SERVICE), APPROVED),
        (PROPOSED, APPROVED, APPROVED),
        (PROPOSED, APPROVED, closed(3), ERASED),
        (PROPOSED, APPROVED, closed(9)),
    ],
    ids=[
        "wanted by one", "by the same twice", "wanted after it began", "approved twice",
        "after its end", "miscounted",
    ],
)  # fmt: skip
def test_what_no_run_can_be(told: tuple[Record, ...]) -> None:
    with pytest.raises(FoldInvalid):
        folded(RUN, *told)


def test_a_run_begins_once_enough_want_it() -> None:
    (run,) = folded(RUN, PROPOSED).runs.values()
    assert (run.state, run.missing) == ("proposed", 1)
    (run,) = folded(RUN, PROPOSED, APPROVED, ERASED).runs.values()
    assert (run.state, run.sections, run.persons) == ("begun", 1, ("per_a", "per_b"))
    scheduled = replace(PROPOSED, actor=records.SERVICE)
    (run,) = folded(RUN, scheduled, APPROVED).runs.values()
    assert (run.state, run.missing) == ("proposed", 1)


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        ({"cases": (GRANT,)}, True),
        ({"cases": (RUN,)}, False),
        ({"cases": (RUN,), "persons": ("per_x",)}, True),
        ({"cases": (), "resources": ("orders-prod",)}, True),
        ({"cases": (GRANT,), "since": AT + 2 * DAY}, False),
        ({"cases": (GRANT,), "since": AT + DAY}, True),
        ({"cases": (), "until": AT - DAY}, False),
        ({"cases": (), "until": AT}, True),
    ],
)
def test_what_a_hold_covers(scope: dict[str, object], covered: bool) -> None:
    hold = Hold(id=CASE, record=replace(PLACED, **scope))  # type: ignore[arg-type]  # fields of it
    what = Concern(
        cases=frozenset([GRANT]), persons=frozenset(["per_x"]),
        resources=frozenset(["orders-prod"]), begins=AT, ends=AT + DAY,
    )  # fmt: skip
    assert hold.covers(what) == covered
    # what goes on lies in every period that has not ended before it began
    assert hold.covers(replace(what, ends=None)) or not covered
