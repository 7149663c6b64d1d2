"""A report is a function of the excerpt: complete, in whole numbers, and certifying nothing."""

import dataclasses
from collections.abc import Container
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
from muniment.oversight import carried, control_map, report
from muniment.oversight.carried import CarriedOver, OpenCases, stated_size
from muniment.oversight.controls import TESTS
from muniment.oversight.report import Counting
from muniment.testing.written_year import WrittenYear

#: what goes wrong in the first days, and stays open
OPEN = ("not-ended", "finding-open", "glass-unreviewed")
YEAR = WrittenYear(grants=60, days=40, faults=frozenset((*OPEN, "silent-log", "source-silent")))
MAP = control_map.parse(control_map.shipped(), TESTS)


@cache
def entries() -> tuple[bytes, ...]:
    return tuple(YEAR.entries())


@cache
def headers() -> tuple[Header, ...]:
    return tuple(map(Header.parse, entries()))


@cache
def leaves_and_note() -> tuple[list[bytes], bytes]:
    leaves = [merkle.leaf_hash(each) for each in entries()]
    root = merkle.root(leaves)
    return leaves, sign(Checkpoint(YEAR.key.verifier.name, len(leaves), root), YEAR.key)


def read(shown: list[int]) -> tuple[Counting, ProvedExcerpt]:
    leaves, note = leaves_and_note()
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
    return next(i for i, header in enumerate(headers()) if header.at >= start)


def stated_before(first: int) -> int:
    """The newest size at which the log says which cases were open."""
    sizes = [stated_size(header) for header in headers()[:first]]
    return max(size for size in sizes if size is not None)


def cut(days: int) -> list[int]:
    """What an excerpt for a period from then on shows."""
    first, picked = stated_before(since(days) - 5), CarriedOver(always=report.BEFORE)
    for index in range(first):
        picked.take(index, entries()[index])
    return [*(index for index, _ in picked.picked()), *range(first, len(entries()))]


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
        "satisfied", "exceptions", "partly", "not-tested"
    }  # fmt: skip
    tests = {each["id"]: each["state"] for each in value["tests"]}
    for control in value["controls"]:
        of = {id_: tests[id_] for id_ in control["tests"]}
        assert control["untested"] == [id_ for id_, state in of.items() if state == "not-tested"]
        assert (control["state"] == "satisfied") == (set(of.values()) == {"satisfied"})
        assert (control["state"] == "exceptions") == ("exceptions" in of.values())
        assert (control["state"] == "not-tested") == (set(of.values()) <= {"not-tested"})


def test_a_control_has_the_exceptions_of_its_tests() -> None:
    value = built("soc2")
    states = {each["id"]: each["state"] for each in value["controls"]}
    assert states["CC6.2"] == "exceptions", "a grant has not ended"
    assert states["CC7.2"] == "exceptions", "the log was silent"
    assert states["CC6.1"] == states["CC6.3"] == "satisfied"


def test_a_control_of_which_a_test_had_nothing_to_test_is_not_like_one_that_was_tested() -> None:
    """No review of many was held after the first days: a control that asks for one shows it."""
    first, later = (
        {each["id"]: each for each in built("pci", days)["controls"]} for days in (0, 20)
    )
    assert (first["7.2.5.1"]["state"], first["7.2.5.1"]["untested"]) == ("satisfied", [])
    assert later["7.2.5.1"]["state"] == "partly"
    assert later["7.2.5.1"]["untested"] == ["reviews-held", "reviews-complete", "reviews-applied"]


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
    whole = built("soc2", 20)
    part = built("soc2", 20, cut(20))
    assert part["log"]["hidden"] > 0
    same = ("population", "controls", "tests", "figures")
    assert {name: part[name] for name in same} == {name: whole[name] for name in same}


def test_an_excerpt_that_begins_within_the_period_is_refused() -> None:
    first = since(20) + 1
    before = stated_before(first)
    shown = [index for index in cut(20) if index < before or index >= first]
    with pytest.raises(LogInvalid, match="within the period"):
        built("soc2", 20, shown)


#: what is open when the period begins, by the kind of its first record
CARRIED = ("access:requested", "finding:raised", "review:opened")


@pytest.mark.parametrize("kind", CARRIED)
def test_what_was_open_when_the_period_began_is_shown_from_its_first_record_on(kind: str) -> None:
    counting, proved = read(cut(20))
    first = next(
        Header.parse(entries()[i])
        for i in cut(20)
        if i < proved.whole_from and Header.parse(entries()[i]).kind == kind
    )
    known: dict[str, Container[str]] = {
        "access:requested": counting.population.lines,
        "finding:raised": counting.population.findings,
        "review:opened": counting.population.reviews,
    }
    assert first.case in known[kind]
    assert proved.hidden > 300


@pytest.mark.parametrize("kind", CARRIED)
def test_an_excerpt_that_leaves_out_what_was_open_is_refused(kind: str) -> None:
    shown, first = cut(20), stated_before(since(20) - 5)
    left = next(
        header.case
        for header in (Header.parse(entries()[i]) for i in shown if i < first)
        if header.kind == kind
    )
    fewer = [i for i in shown if i >= first or Header.parse(entries()[i]).case != left]
    with pytest.raises(LogInvalid, match="says that other cases were open"):
        built("soc2", 20, fewer)
    # nor may it show the first and the last of it alone
    of_case = [i for i in shown if i < first and Header.parse(entries()[i]).case == left]
    for one in of_case[1:-1]:
        with pytest.raises(LogInvalid, match="says that other cases were open"):
            built("soc2", 20, [i for i in shown if i != one])


@pytest.mark.parametrize("kind", ["log:witnessed", "log:indexed", "events:missed"])
def test_an_excerpt_that_leaves_out_how_things_stood_is_refused(kind: str) -> None:
    """That the quorum was gone, when cases were indexed, that a source was silent."""
    shown, stated = cut(20), stated_before(since(20) - 5)
    of_kind = [i for i in shown if i < stated and Header.parse(entries()[i]).kind == kind]
    gone = of_kind[-1]
    with pytest.raises(LogInvalid, match="says that other cases were open"):
        built("soc2", 20, [i for i in shown if i != gone])


def test_an_excerpt_that_begins_where_the_log_says_nothing_of_open_cases_is_refused() -> None:
    """As with one that is cut a little before its period, though all of that is shown."""
    after = max(i for i, each in enumerate(entries()) if b'"evidence:measured"' in each) + 1
    days = (Header.parse(entries()[after]).at - YEAR.start).days + 1
    first = since(days) - 3
    assert first > after
    with pytest.raises(LogInvalid, match="does not show what was open"):
        built("soc2", days, [0, *range(first, len(entries()))])


def test_an_excerpt_that_hides_open_cases_in_a_gap_after_a_true_statement_is_refused() -> None:
    """What the log said before the gap is true, and says nothing of what the gap hides."""
    said = [i for i in range(len(entries())) if stated_size(Header.parse(entries()[i])) is not None]
    early, first = said[0], said[-1] + 1
    days = (Header.parse(entries()[first]).at - YEAR.start).days + 1
    counting, proved = read([*range(early + 1), *range(first, len(entries()))])
    assert counting.open.untrue == []
    with pytest.raises(LogInvalid, match="does not show what was open"):
        counting.check_carried(proved, YEAR.start + timedelta(days=days))


def test_a_statement_too_far_from_what_it_is_about_is_untrue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or a log could make it where no report would ever hold it against its records."""
    headers = [Header.parse(each) for each in entries()]
    place = next(i for i, each in enumerate(headers) if stated_size(each) is not None)
    record, said = headers[place], headers[place].body["size"]
    assert isinstance(said, int)
    monkeypatch.setattr(carried, "MOST_BETWEEN", 40)
    for back, untrue in ((30, []), (41, [record.id])):
        cases = OpenCases()
        for index in range(place - 20, place):
            cases.take(index, headers[index])
        body = {**record.body, "size": said - back}
        cases.take(place, dataclasses.replace(record, body=body))
        assert cases.untrue == untrue


def test_a_log_that_says_of_too_few_cases_that_they_are_open_is_refused() -> None:
    """Nobody needs to hide the beginning for that: each report checks it for the next one."""
    counting, proved = read(list(range(len(entries()))))
    counting.open.untrue.append("hlt_x/3")
    with pytest.raises(LogInvalid, match="hlt_x/3"):
        counting.check_carried(proved, YEAR.start)


def test_an_excerpt_with_a_hole_in_the_period_is_refused() -> None:
    hole = since(30)
    shown = [i for i in range(len(entries())) if i != hole]
    with pytest.raises(LogInvalid, match="within the period"):
        built("soc2", 20, shown)


def test_an_excerpt_that_lacks_the_end_is_refused() -> None:
    with pytest.raises(LogInvalid, match="does not show the end"):
        built("soc2", 20, list(range(len(entries()) - 1)))


def test_what_was_open_before_the_period_counts_in_it() -> None:
    value = built("soc2", 20, cut(20))
    tests = {each["id"]: each for each in value["tests"]}
    assert tests["findings-answered"]["exceptions"] == 1
    assert tests["break-glass-reviewed"]["exceptions"] == 1
    severity = next(each for each in value["figures"]["findings"] if each["severity"] == "low")
    assert severity["before"] >= 1
    assert {each["month"] for each in value["figures"]["months"]} <= {"2026-01", "2026-02"}


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
