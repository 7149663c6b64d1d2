"""A year of grants: nothing is weak that should not be, and each planted fault is found."""

from collections import Counter
from itertools import chain
from time import process_time

import pytest

from muniment.access import records
from muniment.evidence.record import Header
from muniment.oversight.health import Known, Survey, of_the_log, weaknesses
from muniment.testing.written_year import WrittenYear

#: what each of these faults has to show as; nothing else may become more for it
FAULTS = {
    "not-seen-gone": "removal-unverified",
    "seen-gone-late": "removal-late",
    "glass-unreviewed": "overdue-review",
    "token-approval": "token-approval",
    "weak-sessions": "weak-link",
}


def surveyed(year: WrittenYear) -> Survey:
    survey = Survey()
    for index, data in enumerate(year.entries()):
        survey.take(index, Header.parse(data))
    return survey


def counted(year: WrittenYear) -> Counter[str]:
    survey = surveyed(year)
    known, lines = Known(now=year.stop), survey.population.lines
    found = [weaknesses(line, survey, known) for line in lines.values()]
    assert {each.case for each in chain(*found)} <= lines.keys()
    return Counter(each.kind for each in chain(*found))


def test_in_an_ordinary_year_approvals_are_unsigned_and_nothing_else_is_weak() -> None:
    assert counted(WrittenYear(grants=300)).keys() == {"unsigned-approval"}
    assert len(of_the_log(Known(now=WrittenYear().stop))) == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_shows_as_its_own_weakness(fault: str) -> None:
    found = counted(WrittenYear(grants=300, faults=frozenset([fault])))
    assert found[FAULTS[fault]] > 0
    assert found.keys() <= {"unsigned-approval", FAULTS[fault]}


@pytest.mark.deep
def test_surveying_a_log_takes_little_more_than_reading_its_records() -> None:
    """Judging all its grants takes a small share of that."""
    year = WrittenYear(grants=3000)
    entries = list(year.entries())
    begun = process_time()
    for data in entries:
        records.parse(Header.parse(data))
    reading = process_time() - begun
    begun, survey = process_time(), Survey()
    for index, data in enumerate(entries):
        survey.take(index, Header.parse(data))
    surveying = process_time() - begun
    begun, known = process_time(), Known(now=year.stop)
    for line in survey.population.lines.values():
        weaknesses(line, survey, known)
    judging = process_time() - begun
    assert surveying < 2 * reading
    assert judging < reading / 5
