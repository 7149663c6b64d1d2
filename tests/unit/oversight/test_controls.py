"""Every test of controls finds what is planted, and nothing in a year in which nothing is wrong."""

from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache

import pytest

from muniment.evidence.record import Header
from muniment.oversight.controls import TESTS
from muniment.oversight.controls.control_test import (
    EXCEPTIONS,
    NOT_TESTED,
    SATISFIED,
    Examined,
    Result,
    length,
)
from muniment.oversight.controls.history import Gap
from muniment.oversight.population import Population
from muniment.oversight.report import Counting
from muniment.testing.written_lives import FAULTS, RESOURCES
from muniment.testing.written_year import WrittenYear

DAYS = 45
#: what no year of this kind can show
SILENT = {"reads-recorded"}


@cache
def counted(*faults: str) -> tuple[WrittenYear, Counting]:
    year = WrittenYear(grants=80, days=DAYS, faults=frozenset(faults))
    counting = Counting()
    for index, data in enumerate(year.entries()):
        counting.take(index, Header.parse(data))
    return year, counting


def examined(*faults: str, **options: frozenset[str]) -> Examined:
    year, counting = counted(*faults)
    return Examined(
        population=counting.population,
        history=counting.history,
        start=year.start,
        stop=year.stop,
        **options,
    )


def results(seen: Examined) -> dict[str, Result]:
    return {id_: test.run(seen) for id_, test in TESTS.items()}


def test_a_year_in_which_nothing_is_wrong_has_no_exception() -> None:
    found = results(examined())
    assert {id_: each.faults for id_, each in found.items() if each.faults} == {}
    assert {id_ for id_, each in found.items() if each.state == NOT_TESTED} == SILENT
    assert all(each.tested or each.because for each in found.values())


@pytest.mark.parametrize(("fault", "test"), FAULTS.items())
def test_what_is_planted_is_found_by_its_test_and_by_no_other(fault: str, test: str) -> None:
    found = results(examined(fault))
    assert [id_ for id_, each in found.items() if each.state == EXCEPTIONS] == [test]
    assert all(each.why and each.about for each in found[test].faults)


def test_every_test_has_a_fault_that_it_finds() -> None:
    assert TESTS.keys() - SILENT == set(FAULTS.values())


def shown(year: WrittenYear, *, until: str = "", without: str = "") -> Examined:
    """But for records of one kind; and of a case nothing after its first record of another."""
    counting, over = Counting(), set[str]()
    for index, data in enumerate(year.entries()):
        header = Header.parse(data)
        if header.case not in over and header.kind != without:
            counting.take(index, header)
        if header.kind == until:
            over.add(header.case)
    return Examined(
        population=counting.population,
        history=counting.history,
        start=year.start,
        stop=year.stop,
    )


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("given-though-refused", "approval:refused"),
        ("given-though-withdrawn", "access:withdrawn"),
        ("given-though-lapsed", "access:lapsed"),
    ],
)
def test_what_came_to_nothing_and_stayed_so_is_tested_and_passes(fault: str, kind: str) -> None:
    year, test = WrittenYear(grants=40, days=DAYS, faults=frozenset((fault,))), "denied-got-nothing"
    issued, not_issued = (TESTS[test].run(shown(year, until=until)) for until in ("", kind))
    assert (len(issued.faults), len(not_issued.faults)) == (1, 0)
    assert not_issued.tested == issued.tested


def test_a_target_is_to_be_looked_at_for_as_long_as_somebody_has_access_there() -> None:
    seen = examined()
    line = next(iter(seen.granted()))
    looks = [look for look in seen.scans()[line.resource] if look[0] < line.requested][-1:]
    history = replace(seen.history, scans={line.resource: looks})
    test = TESTS["targets-scanned"]
    for end, state in ((line.end, SATISFIED), (None, EXCEPTIONS)):
        lines = {line.case: replace(line, end=end)}
        population = Population(lines=lines)
        assert test.run(replace(seen, population=population, history=history)).state == state


def test_a_test_counts_each_case_once_as_tested_or_as_not_applicable() -> None:
    seen = examined()
    requests = sum(1 for _ in seen.asked())
    for id_ in ("decided-by-policy", "denied-got-nothing", "requests-say-why"):
        found = TESTS[id_].run(seen)
        assert found.tested + found.not_applicable == requests, id_
    grants = sum(1 for _ in seen.granted())
    for id_ in ("approved-by-others", "ended-in-time", "removal-seen", "break-glass-reviewed"):
        found = TESTS[id_].run(seen)
        assert found.tested + found.not_applicable == grants, id_


def test_what_lies_outside_of_the_period_is_not_counted() -> None:
    seen = examined("token-approval")
    year, counting = counted("token-approval")
    later = Examined(
        population=counting.population,
        history=counting.history,
        start=year.start + timedelta(days=20),
        stop=year.stop,
    )
    assert TESTS["approvals-strong"].run(seen).faults
    assert not TESTS["approvals-strong"].run(later).faults
    assert 0 < sum(1 for _ in later.asked()) < sum(1 for _ in seen.asked())


def test_other_resources_are_left_out_where_one_is_asked_for() -> None:
    one = examined(resources=frozenset(RESOURCES[:1]))
    assert {line.resource for line in one.asked()} == set(RESOURCES[:1])
    assert TESTS["targets-without-difference"].run(one).tested == 1


def test_a_grant_that_is_live_is_not_yet_tested_for_its_end() -> None:
    year, _ = counted()
    counting = Counting()
    for index, data in enumerate(year.entries()):
        header = Header.parse(data)
        counting.take(index, header)
        if header.kind == "credential:issued":
            break
    seen = Examined(
        population=counting.population,
        history=counting.history,
        start=year.start,
        stop=year.stop,
    )
    found = TESTS["ended-in-time"].run(seen)
    assert (found.tested, found.not_applicable, found.state) == (0, 1, NOT_TESTED)


def test_an_empty_period_is_not_tested_and_says_why() -> None:
    year, counting = counted()
    seen = Examined(
        population=counting.population,
        history=counting.history,
        start=year.stop + timedelta(days=100),
        stop=year.stop + timedelta(days=200),
    )
    for id_, found in results(seen).items():
        assert found.state == NOT_TESTED, id_
        assert found.because, id_


# --- what began before the period -------------------------------------------------------------


def later(seen: Examined, days: int) -> Examined:
    return replace(seen, start=seen.start + timedelta(days=days))


def test_of_witnesses_only_the_period_counts_and_how_it_began() -> None:
    seen = later(examined(), 20)
    day = timedelta(days=1)
    told = [(seen.start - 9 * day, False), (seen.start - 8 * day, True), (seen.start + day, True)]
    history = replace(seen.history, witnessed=told)
    test = TESTS["log-witnessed"]
    found = test.run(replace(seen, history=history))
    assert (found.tested, found.faults) == (2, ())
    gone = replace(seen.history, witnessed=told[:1])
    (fault,) = test.run(replace(seen, history=gone)).faults
    assert fault.about.startswith(f"{told[0][0]:%Y-%m-%d}")


def test_where_no_witness_was_asked_for_long_there_was_no_quorum() -> None:
    seen = later(examined("unwitnessed-at-first"), 2)
    (fault,) = TESTS["log-witnessed"].run(seen).faults
    assert (fault.about, fault.why) == (f"{seen.start:%Y-%m-%d %H:%M}", "no quorum for 10 d")


@pytest.mark.parametrize(("fault", "since"), [("unindexed-at-first", 2), ("never-indexed", 20)])
def test_the_time_before_the_first_index_of_a_period_counts(fault: str, since: int) -> None:
    seen = later(examined(fault), since)
    (fault_,) = TESTS["cases-indexed"].run(seen).faults
    oldest = examined(fault).start
    # what is shown of before the period holds no index: it counts from its beginning
    assert fault_.about == f"{max(seen.start, oldest):%Y-%m-%d %H:%M}"


def test_an_index_shortly_before_the_period_counts_for_its_first_days() -> None:
    seen = later(examined(), 20)
    hours, test = timedelta(hours=1), TESTS["cases-indexed"]
    told = [seen.start - 30 * hours, seen.start + 17 * hours]
    while told[-1] < seen.stop:
        told.append(told[-1] + 40 * hours)
    assert not test.run(replace(seen, history=replace(seen.history, indexed=told))).faults
    told[1] += 2 * hours
    (fault,) = test.run(replace(seen, history=replace(seen.history, indexed=told))).faults
    assert (fault.about, fault.why) == (f"{told[0]:%Y-%m-%d %H:%M}", "no index for 2 d")


def test_a_log_of_less_than_two_days_needs_no_index() -> None:
    seen = examined()
    short = replace(seen, stop=seen.start + timedelta(hours=40))
    history = replace(seen.history, indexed=[])
    found = TESTS["cases-indexed"].run(replace(short, history=history))
    assert (found.state, found.because) == (NOT_TESTED, "the log did not run for 2 d in it")


@pytest.mark.parametrize(
    ("since", "until", "counts"),
    [(5, None, True), (5, 25, True), (5, 15, False), (22, 23, True), (46, None, False)],
)
def test_a_source_that_is_silent_in_the_period_is_an_exception_whenever_it_fell_silent(
    since: int, until: int | None, *, counts: bool
) -> None:
    seen = later(examined(), 20)
    begun, day = examined().start, timedelta(days=1)
    gap = Gap("orders-log", RESOURCES[0], "silence", begun + since * day, None)
    gap.until = None if until is None else begun + until * day
    found = TESTS["sources-heard"].run(replace(seen, history=replace(seen.history, gaps=[gap])))
    assert [each.about[:10] for each in found.faults] == (["orders-log"] if counts else [])


@pytest.mark.parametrize("why", ["resumed", "cursor"])
def test_a_source_that_was_silent_is_heard_again_with_what_is_next_said_of_it(why: str) -> None:
    year = WrittenYear(grants=1, days=10, faults=frozenset(("source-silent",)))
    headers = [Header.parse(data) for data in year.entries()]
    silent = next(each for each in headers if each.kind == "events:missed")
    counting = Counting()
    for index, header in enumerate(headers):
        counting.take(index, header)
    (gap,) = counting.history.gaps
    assert gap.until is None
    body = {**silent.body, "why": why}
    counting.take(len(headers), replace(silent, body=body, position=silent.position + 1))
    assert gap.until == silent.at
    assert [each.why for each in counting.history.gaps[1:]] == [
        each for each in [why] if each != "resumed"
    ]


def test_sources_of_other_resources_are_left_out_where_one_is_asked_for() -> None:
    test = TESTS["sources-heard"]
    assert test.run(examined("source-silent")).faults
    one = test.run(examined("source-silent", resources=frozenset(RESOURCES[:1])))
    assert (one.tested, one.faults) == (DAYS - 1, ())


@pytest.mark.parametrize("over", [True, False])
def test_who_leaves_must_lose_what_he_was_granted_before_the_period(*, over: bool) -> None:
    seen = later(examined(), 20)
    line = next(each for each in seen.population.lines.values() if each.granted)
    assert line.requested < seen.start
    lines = {line.case: line if over else replace(line, end=None)}
    since = seen.start + timedelta(days=2)
    found = TESTS["leavers-lose-access"].run(
        replace(
            seen,
            population=Population(lines=lines),
            history=replace(seen.history, left=[(line.requester, since, None)]),
        )
    )
    assert [each.about for each in found.faults] == ([] if over else [line.case])


def test_of_those_who_leave_each_counts_once_however_much_he_held() -> None:
    seen = examined()
    lines = [each for each in seen.population.lines.values() if each.granted]
    mine = {each.case: replace(each, requester="prn_ana", end=None) for each in lines[:15]}
    left: list[tuple[str, datetime, datetime | None]] = [
        (f"prn_{n}", seen.start, None) for n in range(9)
    ]
    # twice, and each time he held something
    left += [("prn_ana", seen.start + days * timedelta(days=1), None) for days in (0, 3)]
    found = TESTS["leavers-lose-access"].run(
        replace(
            seen,
            population=Population(lines=mine),
            history=replace(seen.history, left=left),
        )
    )
    assert (found.tested, found.passed, len(found.faults)) == (10, 9, 1)
    assert found.faults[0].about == lines[0].case
    assert found.faults[0].why.endswith(", with 14 more")


def test_what_is_held_elsewhere_by_who_leaves_is_left_out_where_one_resource_is_asked_for() -> None:
    seen = examined("leaver")
    line = next(each for each in seen.granted() if each.resource == RESOURCES[1])
    alone = replace(
        seen,
        population=Population(lines={line.case: replace(line, end=None)}),
        history=replace(seen.history, left=[(line.requester, line.requested, None)]),
    )
    test = TESTS["leavers-lose-access"]
    assert test.run(alone).faults
    for resource, faults in ((RESOURCES[0], 0), (RESOURCES[1], 1)):
        found = test.run(replace(alone, resources=frozenset((resource,))))
        assert (found.tested, len(found.faults)) == (1, faults)


@pytest.mark.parametrize(
    ("fault", "test"),
    [
        ("finding-open", "findings-answered"),
        ("glass-unreviewed", "break-glass-reviewed"),
        ("review-late", "reviews-held"),
    ],
)
def test_what_was_open_before_the_period_counts_in_it(fault: str, test: str) -> None:
    begun = later(examined(fault), 5)
    assert TESTS[test].run(begun).faults
    assert not TESTS[test].run(later(examined(), 5)).faults


def test_what_is_still_open_is_not_said_to_be_nothing() -> None:
    seen = examined()
    population, history, newest = seen.population, seen.history, seen.as_of
    soon, lately = newest + timedelta(days=1), seen.stop - timedelta(days=1)
    findings, reviews = population.findings, population.reviews
    assert findings
    assert reviews
    assert history.campaigns
    still = replace(
        seen,
        population=replace(
            population,
            findings={
                id_: replace(each, raised=lately, closed=None) for id_, each in findings.items()
            },
            reviews={id_: replace(each, due=soon, answered=None) for id_, each in reviews.items()},
        ),
        history=replace(
            history,
            campaigns={
                id_: replace(each, due=soon, closed=None) for id_, each in history.campaigns.items()
            },
        ),
    )
    said = {
        "findings-answered": "nothing that was found is closed yet, or older than 30 days",
        "findings-closed-by-others": "nothing that was found is closed yet",
        "break-glass-reviewed": "no review of emergency access was answered, or is overdue",
        "reviews-held": "no review of many was due in this period",
        "reviews-complete": "no review of many is closed yet",
        "reviews-applied": "no review of many is closed yet",
    }
    found = {id_: TESTS[id_].run(still) for id_ in said}
    assert {id_: each.because for id_, each in found.items()} == said
    assert all(each.not_applicable for each in found.values())
    none = replace(still, population=Population(), history=replace(history, campaigns={}))
    assert {TESTS[id_].run(none).because for id_ in said} == {
        "nothing was found in this period",
        "no emergency access was used in this period",
        "no review of many was due in this period",
    }


REVIEWS = ("reviews-held", "reviews-complete", "reviews-applied")


def test_a_review_of_nothing_counts_as_none() -> None:
    seen = examined()
    ((case, held),) = seen.history.campaigns.items()
    empty = replace(held, items=0, due=held.opened, unreviewed=2, outstanding=1)
    for test in REVIEWS:
        history = replace(seen.history, campaigns={case: empty})
        found = TESTS[test].run(replace(seen, history=history))
        assert (found.state, found.not_applicable) == (NOT_TESTED, 1)
        assert found.because.startswith("there was nothing to review")
        history = replace(seen.history, campaigns={case: held, "rev_b": empty})
        found = TESTS[test].run(replace(seen, history=history))
        assert (found.tested, found.not_applicable, found.state) == (1, 1, SATISFIED)


def test_a_review_of_nothing_is_over_as_soon_as_it_is_opened() -> None:
    year, counting = WrittenYear(grants=1, days=5), Counting()
    for index, data in enumerate(year.entries()):
        header = Header.parse(data)
        if header.kind == "campaign:opened":
            header = replace(header, body={**header.body, "items": 0})
        counting.history.take(index, header)
        if header.kind == "campaign:opened":
            break
    (campaign,) = counting.history.campaigns.values()
    assert campaign.closed == campaign.opened


@pytest.mark.parametrize(
    ("on", "asked", "counts"),
    [
        ((), RESOURCES[:1], True),
        (RESOURCES[:2], RESOURCES[:1], True),
        (RESOURCES[1:], RESOURCES[:1], False),
        (RESOURCES[1:], (), True),
    ],
)
def test_a_review_of_other_resources_is_left_out_where_one_is_asked_for(
    on: tuple[str, ...], asked: tuple[str, ...], *, counts: bool
) -> None:
    seen = examined("review-late", resources=frozenset(asked))
    ((case, held),) = seen.history.campaigns.items()
    history = replace(seen.history, campaigns={case: replace(held, resources=on)})
    found = TESTS["reviews-held"].run(replace(seen, history=history))
    assert (found.tested, len(found.faults)) == ((1, 1) if counts else (0, 0))


@pytest.mark.parametrize(
    ("fault", "test"),
    [("finding-own", "findings-closed-by-others"), ("glass-own-review", "break-glass-reviewed")],
)
def test_what_was_over_before_the_period_does_not_count_in_it(fault: str, test: str) -> None:
    assert TESTS[test].run(examined(fault)).faults
    assert not TESTS[test].run(later(examined(fault), 20)).faults


def test_of_a_review_that_is_left_the_case_need_not_be_shown() -> None:
    seen = later(examined("glass-unreviewed"), 20)
    (fault,) = TESTS["break-glass-reviewed"].run(seen).faults
    lines = {case: each for case, each in seen.population.lines.items() if case != fault.about}
    alone = replace(seen, population=replace(seen.population, lines=lines))
    assert TESTS["break-glass-reviewed"].run(alone).faults == (fault,)


def test_passed_and_exceptions_are_all_that_was_tested() -> None:
    for fault in ("not-ended", "silent-log", "leaver"):
        for found in results(examined(fault)).values():
            assert found.passed + len(found.faults) == found.tested
            assert found.passed >= 0
            assert (found.state == SATISFIED) == (found.tested > 0 and not found.faults)


@pytest.mark.parametrize(
    ("seconds", "words"), [(59, "59 s"), (120, "2 min"), (7200, "2 h"), (86_400 * 3, "3 d")]
)
def test_lengths_are_said_in_the_largest_unit_that_says_enough(seconds: int, words: str) -> None:
    assert length(seconds) == words
