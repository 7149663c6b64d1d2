"""The sequencer's memory of heads, and what a batch would add to it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from muniment.evidence.index import CASE_CLOSED, Index
from muniment.evidence.record import Header
from muniment.evidence.store import Entry, entry_of

START = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
A, B = "mun_" + "a" * 26, "mun_" + "b" * 26
_places = count()


def counters(header: Header) -> Iterator[str]:
    yield from header.body.get("counts", [])


def entry(
    case: str, position: int = 0, *counts: str, kind: str = "test:written", seconds: float = 0
) -> Entry:
    header = Header(
        kind=kind, fold=1, case=case, position=position, at=START + timedelta(seconds=seconds),
        body={"counts": list(counts)}, prev=None,
    )  # fmt: skip
    return entry_of(next(_places), header.encode())


@pytest.fixture
def index() -> Index:
    return Index(counters)


def test_the_head_of_a_case_is_its_newest_record(index: Index) -> None:
    assert index.head(A) is None
    first, second, other = entry(A), entry(A, 1), entry(B)
    for one in (first, second, other):
        index.add(one)
    assert index.head(A) == second.leaf
    assert index.head(B) == other.leaf
    last = index.last_of(A)
    assert last is not None
    assert (last.position, last.leaf, last.at, last.closed) == (1, second.leaf, START, False)


def test_a_case_is_closed_by_its_last_record_only(index: Index) -> None:
    index.add(entry(A))
    index.add(entry(A, 1, kind=CASE_CLOSED))
    last, other = index.last_of(A), index.last_of(B)
    assert last is not None
    assert last.closed
    assert other is None


def test_a_record_moves_every_counter_that_it_names(index: Index) -> None:
    both, one = entry(A, 0, "x", "y"), entry(B, 0, "y")
    index.add(both)
    index.add(one)
    assert (index.head("x"), index.head("y"), index.head("z")) == (both.leaf, one.leaf, None)


def test_the_latest_time_never_goes_back(index: Index) -> None:
    assert index.latest is None
    for seconds in (5, 60, 30):
        index.add(entry(A, seconds=seconds))
    assert index.latest == START + timedelta(seconds=60)


def test_an_overlay_shows_what_lies_under_it_and_leaves_that_alone(index: Index) -> None:
    under = entry(A, 0, "x", seconds=9)
    index.add(under)
    over = index.overlay()
    assert (over.head(A), over.head("x"), over.latest) == (under.leaf, under.leaf, index.latest)
    added = entry(A, 1, "x", seconds=99)
    over.add(added)
    assert (over.head(A), over.head("x")) == (added.leaf, added.leaf)
    assert over.latest == START + timedelta(seconds=99)
    assert over.staged == [added]
    assert (index.head(A), index.head("x")) == (under.leaf, under.leaf)
    assert index.latest == START + timedelta(seconds=9)


def test_an_overlay_that_settles_becomes_part_of_what_lies_under_it(index: Index) -> None:
    index.add(entry(B))
    over = index.overlay()
    added = entry(A, 0, "x", seconds=99)
    over.add(added)
    over.settle()
    assert (index.head(A), index.head("x")) == (added.leaf, added.leaf)
    assert index.latest == START + timedelta(seconds=99)
    assert index.head(B) is not None


def test_an_overlay_that_is_dropped_leaves_no_trace(index: Index) -> None:
    over = index.overlay()
    over.add(entry(A, 0, "x"))
    trial = over.overlay()
    trial.add(entry(B, 0, "y"))
    del trial
    assert (over.head(B), over.head("y")) == (None, None)
    assert over.head(A) is not None
    assert (index.head(A), index.head("x"), index.latest) == (None, None, None)


def test_overlays_lie_over_one_another(index: Index) -> None:
    index.add(entry(A))
    over = index.overlay()
    over.add(entry(A, 1))
    above = over.overlay()
    newest = entry(A, 2)
    above.add(newest)
    above.settle()
    assert over.head(A) == newest.leaf
    assert index.head(A) != newest.leaf


def test_only_an_overlay_settles(index: Index) -> None:
    with pytest.raises(RuntimeError, match="only an overlay settles"):
        index.settle()
