"""An index of cases proves where each case ended, and that others are not there; nothing else."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.errors import ProofInvalid
from muniment.evidence import canonical, merkle
from muniment.evidence.case_index import CaseIndex, Place, encode, look_up
from muniment.evidence.index import Last

AT = datetime(2026, 11, 21, tzinfo=UTC)


def case_id(number: int) -> str:
    """In the order of the numbers."""
    return "mun_" + f"{number:040}".translate(str.maketrans("0123456789", "abcdefghij"))


def last(number: int) -> Last:
    return Last(number % 9, hashlib.sha256(b"%d" % number).digest(), AT, closed=True)


def indexed(numbers: Sequence[int]) -> CaseIndex:
    return CaseIndex({case_id(number): last(number) for number in numbers})


def naive_root(numbers: Sequence[int]) -> bytes:
    """RFC 6962 section 2.1, word by word, over canonical JSON made by the general encoder."""

    def tree(leaves: Sequence[bytes]) -> bytes:
        if len(leaves) <= 1:
            return leaves[0] if leaves else hashlib.sha256(b"").digest()
        k = 1
        while k * 2 < len(leaves):
            k *= 2
        return hashlib.sha256(b"\x01" + tree(leaves[:k]) + tree(leaves[k:])).digest()

    entries = sorted((case_id(n), last(n).position, last(n).leaf.hex()) for n in numbers)
    return tree(
        [hashlib.sha256(b"\x00" + canonical.encode(list(each))).digest() for each in entries]
    )


#: ids that are close to each other, and far apart
NUMBERS = st.integers(0, 40) | st.integers(0, 2**128 - 1)


@given(st.sets(NUMBERS, max_size=70), NUMBERS)
def test_what_is_there_and_what_is_not_is_as_in_a_plain_dictionary(
    numbers: set[int], asked: int
) -> None:
    index = indexed(list(numbers))
    assert (index.count, index.root) == (len(numbers), naive_root(list(numbers)))
    for number in {asked, *list(numbers)[:3]}:
        case = case_id(number)
        found = look_up(case, index.places(case), index.count, index.root)
        if number in numbers:
            assert found is not None
            assert (found.position, found.leaf) == (last(number).position, last(number).leaf)
        else:
            assert found is None


@given(st.sets(NUMBERS, min_size=1, max_size=40), NUMBERS, st.data())
def test_no_proof_of_one_case_says_anything_about_another(
    numbers: set[int], asked: int, data: st.DataObject
) -> None:
    index, case = indexed(list(numbers)), case_id(asked)
    shown = data.draw(st.lists(st.sampled_from(sorted(numbers)), max_size=3))
    places = [place for number in shown for place in index.places(case_id(number))]
    try:
        found = look_up(case, places, index.count, index.root)
    except ProofInvalid:
        return
    assert (found is not None) == (asked in numbers)


def test_many_cases_are_sorted_run_by_run() -> None:
    numbers = [(n * 7919) % 40_009 for n in range(40_009)]
    index = indexed(numbers)
    ordered = sorted(case_id(n) for n in numbers)
    assert [index.places(ordered[i])[0].index for i in (0, 16_383, 16_384, 40_008)] == [
        0, 16_383, 16_384, 40_008,
    ]  # fmt: skip


def test_a_leaf_is_the_canonical_form_of_its_values() -> None:
    case, leaf = case_id(5), bytes(range(32))
    assert encode(case, 7, leaf) == canonical.encode([case, 7, leaf.hex()])


def test_nothing_is_in_an_index_of_nothing() -> None:
    index = indexed([])
    assert index.places(case_id(1)) == ()
    assert look_up(case_id(1), (), 0, merkle.EMPTY_ROOT) is None
    for count, root in ((1, merkle.EMPTY_ROOT), (0, bytes(32))):
        with pytest.raises(ProofInvalid):
            look_up(case_id(1), (), count, root)


def test_before_the_first_and_behind_the_last_one_neighbour_is_enough() -> None:
    index = indexed([10, 20, 30])
    assert [place.index for place in index.places(case_id(9))] == [0]
    assert [place.index for place in index.places(case_id(31))] == [2]
    for number in (9, 31):
        assert look_up(case_id(number), index.places(case_id(number)), 3, index.root) is None


def test_an_id_that_begins_another_is_another() -> None:
    """Prefixes of installations may have different lengths: `mun_…` stands before `munx_…`."""
    tail = case_id(1).removeprefix("mun_")
    cases = [f"mun_{tail}", f"munx_{tail}"]
    index = CaseIndex({case: last(n) for n, case in enumerate(cases)})
    for asked in (f"mun_{tail}", f"muna_{tail}", f"munx_{tail}", f"mu_{tail}", f"munxy_{tail}"):
        found = look_up(asked, index.places(asked), index.count, index.root)
        assert (found is not None) == (asked in cases)


# --- attacks --------------------------------------------------------------------------------------

INDEX = indexed([10, 20, 30, 40, 50])


def refused(case: str, places: Sequence[Place], count: int = 5, root: bytes = INDEX.root) -> None:
    with pytest.raises(ProofInvalid):
        look_up(case, places, count, root)


def test_hide_a_case_behind_neighbours_that_are_not_adjacent() -> None:
    (before,), (after,) = INDEX.places(case_id(20)), INDEX.places(case_id(40))
    refused(case_id(30), [before, after])


def test_hide_a_case_behind_a_single_neighbour_in_the_middle() -> None:
    refused(case_id(30), INDEX.places(case_id(20)))
    refused(case_id(35), INDEX.places(case_id(40)))
    refused(case_id(35), INDEX.places(case_id(30)))


def test_hide_the_first_case_behind_the_last_and_the_last_behind_the_first() -> None:
    refused(case_id(10), INDEX.places(case_id(50)))
    refused(case_id(50), INDEX.places(case_id(10)))


def test_show_neighbours_in_the_wrong_order_or_twice() -> None:
    left, right = INDEX.places(case_id(35))
    refused(case_id(35), [right, left])
    refused(case_id(35), [left, left])
    refused(case_id(35), [left, right, right])
    refused(case_id(30), [left, left])


def test_hide_a_case_by_showing_nothing() -> None:
    refused(case_id(30), [])


def test_claim_a_case_that_was_asked_for_under_another_name() -> None:
    refused(case_id(30), [replace(INDEX.places(case_id(40))[0], case=case_id(30))])


@pytest.mark.parametrize(
    "change",
    [
        {"position": 4},
        {"leaf": bytes(32)},
        {"index": 3},
        {"proof": ()},
        {"proof": INDEX.places(case_id(40))[0].proof},
        {"proof": (*INDEX.places(case_id(30))[0].proof, bytes(32))},
    ],
    ids="-".join,
)
def test_change_one_value_of_a_place(change: dict[str, Any]) -> None:
    place = INDEX.places(case_id(30))[0]
    assert look_up(case_id(30), [place], 5, INDEX.root) == place
    refused(case_id(30), [replace(place, **change)])


def test_claim_another_count_to_make_the_last_one_look_like_the_last() -> None:
    (fourth,) = INDEX.places(case_id(40))
    refused(case_id(45), [fourth], count=4)
    refused(case_id(45), [fourth], count=4, root=indexed([10, 20, 30, 41]).root)
