"""A report is a function of the excerpt: complete, in whole numbers, and certifying nothing."""

from datetime import timedelta
from functools import cache
from typing import Any

import pytest

from muniment.errors import LogInvalid
from muniment.evidence import canonical, excerpt, merkle
from muniment.evidence.checkpoint import Checkpoint, sign
from muniment.evidence.excerpt import Heading
from muniment.evidence.excerpt_proof import ProvedExcerpt, verify_excerpt
from muniment.evidence.record import Header
from muniment.oversight import control_map, report
from muniment.oversight.controls import TESTS
from muniment.oversight.report import Counting
from muniment.testing.written_year import WrittenYear

YEAR = WrittenYear(grants=60, days=40, faults=frozenset(("not-ended", "silent-log")))
MAP = control_map.parse(control_map.shipped(), TESTS)


@cache
def entries() -> tuple[bytes, ...]:
    return tuple(YEAR.entries())


def read(shown: list[int]) -> tuple[Counting, ProvedExcerpt]:
    leaves = [merkle.leaf_hash(each) for each in entries()]
    note = sign(Checkpoint(YEAR.key.verifier.name, len(leaves), merkle.root(leaves)), YEAR.key)
    data = excerpt.write(
        Heading(checkpoint=note),
        len(leaves),
        ((index, entries()[index]) for index in shown),
        lambda level, index: merkle.root(leaves[index << level : index + 1 << level]),
    )
    counting = Counting()
    return counting, verify_excerpt(data, YEAR.key.verifier, see=counting.take)


def since(days: int) -> int:
    start = YEAR.start + timedelta(days=days)
    return next(i for i, data in enumerate(entries()) if Header.parse(data).at >= start)


def before(first: int) -> list[int]:
    kinds = [f'"kind":"{kind}"'.encode() for kind in report.BEFORE]
    return [i for i in range(first) if any(kind in entries()[i] for kind in kinds)]


def built(framework: str, days: int = 0, shown: list[int] | None = None) -> dict[str, Any]:
    counting, proved = read(list(range(len(entries()))) if shown is None else shown)
    return report.build(
        counting, proved, MAP, MAP.frameworks[framework],
        start=YEAR.start + timedelta(days=days), stop=YEAR.stop,
    )  # fmt: skip


@pytest.mark.parametrize("framework", MAP.frameworks)
def test_each_framework_gives_a_report_of_whole_numbers_and_text(framework: str) -> None:
    value = built(framework)
    assert canonical.decode(canonical.encode(value), max_bytes=1 << 24) == value
    assert [each["id"] for each in value["controls"]] == [
        each.id for each in MAP.frameworks[framework].controls
    ]
    assert value["statement"] == report.STATEMENT
    assert {each["state"] for each in value["controls"]} <= {
        "satisfied", "exceptions", "not-tested"
    }  # fmt: skip


def test_a_control_has_the_exceptions_of_its_tests() -> None:
    value = built("soc2")
    states = {each["id"]: each["state"] for each in value["controls"]}
    assert states["CC6.2"] == "exceptions", "a grant has not ended"
    assert states["CC7.2"] == "exceptions", "the log was silent"
    assert states["CC8.1"] == "satisfied"


def test_a_control_to_which_no_test_speaks_is_not_tested() -> None:
    states = {each["id"]: each["state"] for each in built("iso27001")["controls"]}
    assert states["A.8.17"] == "not-tested"


def test_the_figures_count_every_grant() -> None:
    value = built("soc2")
    grants = value["population"]["grants"]
    figures = value["figures"]
    assert figures["lead"]["count"] == grants
    assert sum(bar["count"] for bar in figures["lead"]["bars"]) == grants
    assert figures["lasted"]["count"] == grants - 1, "one has not ended"
    assert sum(each["requests"] for each in figures["months"]) == value["population"]["requests"]
    assert figures["lead"]["median_ms"] <= figures["lead"]["p95_ms"]


def test_what_came_before_the_period_need_not_be_shown() -> None:
    first = since(20) - 5
    whole = built("soc2", 20)
    part = built("soc2", 20, [*before(first), *range(first, len(entries()))])
    assert part["log"]["hidden"] > 0
    same = ("population", "controls", "tests", "figures")
    assert {name: part[name] for name in same} == {name: whole[name] for name in same}


def test_an_excerpt_that_begins_within_the_period_is_refused() -> None:
    first = since(20) + 1
    with pytest.raises(LogInvalid, match="within the period"):
        built("soc2", 20, [*before(first), *range(first, len(entries()))])


def test_an_excerpt_with_a_hole_in_the_period_is_refused() -> None:
    hole = since(30)
    shown = [i for i in range(len(entries())) if i != hole]
    with pytest.raises(LogInvalid, match="within the period"):
        built("soc2", 20, shown)


def test_an_excerpt_that_lacks_the_end_is_refused() -> None:
    with pytest.raises(LogInvalid, match="does not show the end"):
        built("soc2", 20, list(range(len(entries()) - 1)))


def test_a_period_that_is_not_over_is_said_not_to_be() -> None:
    counting, proved = read(list(range(len(entries()))))
    value = report.build(
        counting, proved, MAP, MAP.frameworks["soc2"],
        start=YEAR.start, stop=YEAR.stop + timedelta(days=365),
    )  # fmt: skip
    assert not value["over"]
    assert built("soc2")["over"]


def test_of_many_exceptions_the_first_are_listed_and_all_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report, "MOST_FAULTS", 0)
    test = next(each for each in built("soc2")["tests"] if each["id"] == "ended-in-time")
    assert (test["exceptions"], test["faults"]) == (1, [])
