"""The table of transitions: what may follow in which state, written out once more by hand."""

import pytest
from lives import START, TAKEN, Life, every_life, sample

from muniment.access import lifecycle, records
from muniment.access.case import AccessCase
from muniment.errors import FoldInvalid

_DECIDED, _CLOSED = "decision:evaluated", "case:closed"
_WAITING = {_DECIDED, "access:withdrawn", "access:lapsed"}
_ENDING = {"grant:expired", "grant:revoked", "grant:ended"}
_GONE = {"removal:unverified", "removal:verified", _CLOSED}
TABLE: dict[str, set[str]] = {
    "": {"access:requested"},
    "requested": {_DECIDED},
    "denied": {_CLOSED},
    "refused": {_CLOSED},
    "withdrawn": {_CLOSED},
    "lapsed": {_CLOSED},
    "pending": {*_WAITING, "approval:given", "approval:refused"},
    "approved": {*_WAITING, "grant:authorized", "grant:revoked"},
    "authorized": {*_ENDING, "credential:issued", "credential:failed", "grant:undone"},
    "issued": {
        *_ENDING,
        _DECIDED,
        "grant:authorized",
        "credential:issued",
        "credential:failed",
        "extension:requested",
        "approval:given",
        "approval:refused",
        "grant:extended",
    },
    "expired": _GONE,
    "revoked": _GONE,
    "ended": _GONE,
    "undone": _GONE,
}
PAIRS = [(state, kind) for state in TABLE for kind in sorted(records.KINDS)]
ALLOWED = {(state, kind) for state, kinds in TABLE.items() for kind in kinds}


def refusal(case: AccessCase, kind: str) -> str:
    """What the fold says against a record of this kind; empty where it takes it."""
    life = Life(case, START)
    try:
        life.then(sample(records.KINDS[kind]))
    except FoldInvalid as error:
        return str(error)
    return ""


def test_the_states_are_those_of_the_table() -> None:
    assert {state for state, _ in lifecycle.TRANSITIONS} == TABLE.keys()
    assert set(lifecycle.TRANSITIONS) == ALLOWED


@pytest.mark.parametrize(("state", "kind"), [pair for pair in PAIRS if pair not in ALLOWED])
def test_what_is_not_in_the_table_cannot_follow(state: str, kind: str) -> None:
    case = AccessCase(log_id=b"", state=state, id="mun_" + "a" * 26, length=3)
    assert refusal(case, kind) == f"`{kind}` cannot follow in state `{state or 'none'}`"
    assert not lifecycle.possible(case, records.KINDS[kind])


@pytest.mark.parametrize("kind", sorted(records.KINDS))
@pytest.mark.parametrize("state", sorted(TABLE))
def test_nothing_follows_the_closing_of_a_case(state: str, kind: str) -> None:
    case = AccessCase(log_id=b"", state=state, id="mun_" + "a" * 26, length=3, closed=True)
    assert "case:closed" in refusal(case, kind)
    assert not lifecycle.possible(case, records.KINDS[kind])


def test_every_transition_of_the_table_is_taken_by_some_life() -> None:
    assert every_life()
    assert not ALLOWED - TAKEN


def test_what_is_possible_is_what_the_table_says() -> None:
    for state, kind in ALLOWED:
        assert lifecycle.possible(AccessCase(log_id=b"", state=state), records.KINDS[kind])
