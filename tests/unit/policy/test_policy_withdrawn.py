"""What a review took is denied by an invariant, and what was decided before replays unchanged."""

from dataclasses import replace

import policy_bundles as given
import pytest

from muniment.errors import Malformed
from muniment.evidence import canonical
from muniment.policy import bundle, decide, recorded
from muniment.policy.replay import replay
from muniment.policy.starter import files

ANA = given.a_human("ana", "engineering", "sre-oncall")


@pytest.fixture(scope="module")
def rules() -> bundle.Bundle:
    return bundle.load(files())


def test_what_a_review_took_is_denied_whatever_the_policy_says(rules: bundle.Bundle) -> None:
    asked = given.an_access(ANA)
    assert decide.ask(rules, asked).outcome == "auto_approve"
    decision = decide.ask(rules, replace(asked, withdrawn=True))
    assert decision.outcome == "deny"
    assert "muniment:review" in [rule.id for rule in decision.rules]
    assert any("Nobody asks for what a review took" in why for why in decision.why)


def test_broken_glass_opens_nothing_that_a_review_took(rules: bundle.Bundle) -> None:
    asked = replace(given.an_access(ANA, emergency=True), withdrawn=True)
    assert decide.ask(rules, asked).outcome == "deny"


def test_a_decision_without_it_says_nothing_of_it_and_one_with_it_replays(
    rules: bundle.Bundle,
) -> None:
    plain = decide.ask(rules, given.an_access(ANA)).content()
    assert b"withdrawn" not in plain
    taken = decide.ask(rules, replace(given.an_access(ANA), withdrawn=True)).content()
    for content in (plain, taken):
        assert replay(rules, content).identical
    facts = canonical.decode(taken, max_bytes=1 << 20)["input"]["facts"]  # type: ignore[index, call-overload]  # as it was just written
    assert recorded.read("access", facts) == replace(given.an_access(ANA), withdrawn=True)


def test_what_was_not_taken_is_not_said() -> None:
    with pytest.raises(Malformed, match="nothing else"):
        replace(given.an_access(ANA), withdrawn=False)
