"""Approvals against a requirement, held against every assignment there is."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from muniment.access import quorum

GROUPS = ("a", "b", "c")
requirements = st.dictionaries(st.sampled_from(GROUPS), st.integers(1, 3))
approvers = st.lists(st.lists(st.sampled_from(GROUPS), unique=True).map(tuple), max_size=6)


def most(required: dict[str, int], eligible: list[tuple[str, ...]]) -> int:
    """How many approvals can count at most: by trying every assignment."""
    best = 0
    for assignment in product(*[(*groups, None) for groups in eligible]):
        counted = sum(
            min(count, sum(each == group for each in assignment))
            for group, count in required.items()
        )
        best = max(best, counted)
    return best


@given(required=requirements, eligible=approvers)
def test_as_many_approvals_count_as_any_assignment_could_make(
    required: dict[str, int], eligible: list[tuple[str, ...]]
) -> None:
    met = quorum.filled(required, eligible)
    assert met.keys() == required.keys()
    assert all(met[group] <= required[group] for group in required)
    assert sum(met.values()) == most(required, eligible)


@given(required=requirements, eligible=approvers)
def test_a_requirement_is_met_when_somebody_could_say_who_stands_for_what(
    required: dict[str, int], eligible: list[tuple[str, ...]]
) -> None:
    met = quorum.missing(required, eligible) == {}
    assert met == (most(required, eligible) == sum(required.values()))


@given(required=requirements, eligible=approvers, data=st.data())
def test_one_more_approval_never_makes_less_of_it(
    required: dict[str, int], eligible: list[tuple[str, ...]], data: st.DataObject
) -> None:
    more = [*eligible, data.draw(st.lists(st.sampled_from(GROUPS), unique=True).map(tuple))]
    before, after = quorum.filled(required, eligible), quorum.filled(required, more)
    assert sum(before.values()) <= sum(after.values()) <= sum(before.values()) + 1


@given(one=requirements, other=requirements, eligible=approvers)
def test_the_stricter_requirement_is_met_only_where_both_are(
    one: dict[str, int], other: dict[str, int], eligible: list[tuple[str, ...]]
) -> None:
    both = quorum.stricter(one, other)
    assert both == quorum.stricter(other, one)
    if not quorum.missing(both, eligible):
        assert not quorum.missing(one, eligible)
        assert not quorum.missing(other, eligible)


def test_no_requirement_is_met_by_nobody() -> None:
    assert quorum.missing({}, []) == {}
    assert quorum.filled({}, [("a",)]) == {}


def test_an_approver_of_no_group_counts_for_nothing() -> None:
    assert quorum.missing({"a": 1}, [()]) == {"a": 1}
