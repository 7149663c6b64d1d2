"""Lines that are closed take little room, and say what they said."""

import dataclasses
import gc
import tracemalloc
from datetime import datetime, timedelta, timezone

from muniment.evidence.record import Header
from muniment.oversight.packed_lines import Lines
from muniment.oversight.population import Approved, Ended, Line, Population
from muniment.testing.written_year import WrittenYear

AT = datetime(2026, 2, 3, 4, 5, 6, 789_000, tzinfo=timezone.utc)
#: a field each that is not what it is by default
FULL = Line(
    case="mun_a", first=5, last=90_000_000_000, records=9, requester="prn_a", kind="agent",
    sponsor="prn_b", persons=("per_a", "per_b"), assurance="session", mfa="mfa",
    resource="orders-prod", role="readwrite", environment="prod", definition=b"\1" * 32,
    seconds=1800, emergency=True, requested=AT, state="closed", outcome="permit",
    rules=("a", "b"), bundle=b"\2" * 32, required={"sre": 2}, requires=("mfa",), cap=3600,
    approved=(
        Approved(approver="prn_c", person="per_c", at=AT + timedelta(hours=1), assurance="token",
                 mfa=""),
        Approved(approver="prn_d", person="per_d", at=AT - timedelta(hours=1),
                 assurance="session", mfa="mfa"),
    ),
    refused=("per_e",), satisfied={"sre": 1}, issued_definition=b"\3" * 32,
    connector="postgresql", authorized=AT + timedelta(seconds=1), starts=AT - timedelta(days=400),
    until=AT + timedelta(days=4000), issued=AT, pickups=2, extensions=3,
    end=Ended(how="revoked", at=AT + timedelta(milliseconds=1), by="prn_f", reason="signal"),
    gone=AT + timedelta(seconds=2), lag_ms=17, unseen=AT + timedelta(seconds=3), unseen_count=4,
    unseen_why="unreachable", closed=AT + timedelta(seconds=5), sessions=6, weak_sessions=7,
    odd_sessions=8, actions=9, last_used=AT + timedelta(seconds=6), findings=("fnd_a", "fnd_b"),
    reviews=("rev_a",), exports=10,
)  # fmt: skip


def test_every_field_of_a_line_is_kept() -> None:
    lines = Lines()
    lines["mun_a"] = FULL
    found = lines["mun_a"]
    assert found is not FULL, "it was folded up"
    assert found == FULL
    for field in dataclasses.fields(Line):
        if field.default is not dataclasses.MISSING:
            assert getattr(FULL, field.name) != field.default, field.name


def test_what_is_not_there_is_not_there_later() -> None:
    line = dataclasses.replace(FULL, lag_ms=None, gone=None, end=None, sponsor=None, approved=())
    lines = Lines()
    lines["mun_a"] = line
    assert lines["mun_a"] == line


def test_a_line_that_is_open_is_changed_as_it_is() -> None:
    lines, line = Lines(), dataclasses.replace(FULL, closed=None)
    lines["mun_a"] = line
    assert lines["mun_a"] is line


def test_lines_stand_in_the_order_in_which_they_came() -> None:
    lines = Lines()
    for case in "bca":
        lines[case] = dataclasses.replace(FULL, case=case, closed=None)
    lines["c"] = dataclasses.replace(FULL, case="c")
    assert list(lines) == ["b", "c", "a"]
    assert [line.case for line in lines.values()] == ["b", "c", "a"]
    assert "d" not in lines
    assert lines.get("d") is None


def taken(grants: int) -> int:
    """Bytes that a year of so many takes."""
    entries = list(WrittenYear(grants=grants, days=60).entries())
    population = Population()
    tracemalloc.start()
    try:
        for index, data in enumerate(entries):
            population.take(index, Header.parse(data))
        gc.collect()  # what the interpreter keeps for later is no part of it
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_a_request_takes_less_than_half_a_kilobyte() -> None:
    assert taken(600) - taken(200) < 512 * 400
