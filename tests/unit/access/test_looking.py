"""A case is looked at while a review, a finding or a removal that is about it is open."""

from datetime import UTC, datetime

import pytest

from muniment.access.looking import Looking, moves
from muniment.evidence.record import Header


def header(kind: str, case: str, position: int = 0, **body: object) -> Header:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    return Header(kind=kind, fold=1, case=case, position=position, at=at, body=body, prev=None)


def test_it_is_looked_at_until_all_that_look_are_closed() -> None:
    looking = Looking()
    looking.take(header("review:opened", "rev_a", about="mun_x"))
    looking.take(header("finding:raised", "fnd_a", about=["mun_x", "mun_y/3"]))
    assert [looking.at(each) for each in ("mun_x", "mun_y", "mun_z")] == [True, True, False]
    assert looking.who("mun_x") == {"rev_a", "fnd_a"}
    assert looking.who("mun_z") == set()
    looking.take(header("case:closed", "rev_a", 1))
    assert looking.at("mun_x")
    looking.take(header("case:closed", "fnd_a", 1))
    assert not looking.at("mun_x")
    assert not looking.at("mun_y")


def test_what_was_seen_again_elsewhere_is_looked_at_as_well() -> None:
    looking = Looking()
    looking.take(header("finding:raised", "fnd_a", about=["mun_x"]))
    looking.take(header("finding:seen", "fnd_a", 1, about=["mun_y"]))
    assert looking.at("mun_y")


@pytest.mark.parametrize(
    ("kind", "about", "expected"),
    [
        ("review:opened", "mun_x", True),
        ("removal:ordered", "fnd_a", True),
        ("finding:seen", ["mun_y"], True),
        ("finding:seen", [], False),
        ("evidence:exported", "mun_x", False),
    ],
)
def test_what_makes_an_erasure_look_again(kind: str, about: object, expected: bool) -> None:
    assert moves(header(kind, "any_a", about=about)) == expected


def test_a_case_that_is_no_look_keeps_nothing() -> None:
    looking = Looking()
    looking.take(header("evidence:exported", "exp_a", about="mun_x"))
    looking.take(header("case:closed", "exp_a", 1))
    assert not looking.at("mun_x")
