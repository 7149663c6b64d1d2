"""The strictest wins, whatever the order, and each value keeps the rule that set it."""

from itertools import permutations

import policy_bundles as given

from muniment.policy import decide, obligations
from muniment.policy.obligations import Demand, Demands

RULES = [
    ("a", Demands(approvals={}, max_seconds=3600, require=("x",))),
    ("b", Demands(approvals={"leads": 1, "owners": 2}, max_seconds=1800, notify=("duty",))),
    ("c", Demands(approvals={"leads": 3}, max_seconds=1800, require=("y", "x"))),
    ("d", Demands(notify=("ciso", "duty"))),
]


def test_the_strictest_wins_in_every_order() -> None:
    merged = {repr(obligations.merge(order)) for order in permutations(RULES)}
    assert len(merged) == 1
    result = obligations.merge(RULES)
    assert result.approvals == {"leads": Demand(3, "c"), "owners": Demand(2, "b")}
    assert result.max_seconds == Demand(1800, "b")
    assert result.require == {"x": "a", "y": "c"}
    assert result.notify == {"duty": "b", "ciso": "d"}
    assert result.no_approval == "a"


def test_annotations_are_read_as_written() -> None:
    assert obligations.parse(
        {
            "id": "x",
            "approvals": "sre-leads:1, security:2",
            "max_duration": "PT1H30M",
            "require": "post-review:PT24H, session-recording",
            "notify": "security-duty",
        }
    ) == Demands(
        approvals={"sre-leads": 1, "security": 2},
        max_seconds=5400,
        require=("post-review:PT24H", "session-recording"),
        notify=("security-duty",),
    )
    assert obligations.parse({"approvals": "none"}) == Demands(approvals={})


ASK = '@id("request") permit (principal, action == Muniment::Action::"request", resource);\n'
TAKE = 'permit (principal, action == Muniment::Action::"require", resource);\n'


def outcome(*annotations: str) -> tuple[str, tuple[str, ...]]:
    rules = "".join(
        f'@id("require.{number}") {annotation} {TAKE}'
        for number, annotation in enumerate(annotations)
    )
    loaded = given.load_rules(ASK + rules)
    decision = decide.ask(loaded, given.an_access(given.a_human("ana")))
    return decision.outcome, decision.why


def test_no_rule_about_requirements_denies() -> None:
    assert outcome() == ("deny", ("no rule of `require` says what prn_ana needs",))


def test_no_maximum_duration_denies() -> None:
    assert outcome('@approvals("none")') == ("deny", ("no rule says how long access may last",))


def test_silence_about_approvals_denies() -> None:
    why = "no rule says who approves, nor that nobody has to"
    assert outcome('@max_duration("PT1H")') == ("deny", (why,))


def test_an_explicit_none_approves() -> None:
    assert outcome('@approvals("none") @max_duration("PT1H")')[0] == "auto_approve"


def test_none_beside_a_group_is_not_none() -> None:
    both = outcome('@approvals("none") @max_duration("PT1H")', '@approvals("sre-leads:1")')
    assert both[0] == "needs_approvals"


def test_longer_than_allowed_is_denied_and_exactly_as_long_is_not() -> None:
    assert outcome('@approvals("none") @max_duration("PT30M")')[0] == "auto_approve"
    assert outcome('@approvals("none") @max_duration("PT29M")') == (
        "deny",
        ("1800 s asked, 1740 s allowed by require.0",),
    )
