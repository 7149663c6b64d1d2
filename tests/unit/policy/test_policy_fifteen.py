"""The fifteen worked cases: same rules, same people, same outcomes as in the reference."""

from dataclasses import replace

import policy_bundles as given
import pytest

from muniment.policy import bundle, cases, decide
from muniment.policy.obligations import Demand
from muniment.policy.questions import PrincipalFacts
from muniment.policy.replay import replay

CASES = given.fifteen_cases()


@pytest.fixture(scope="module")
def rules() -> bundle.Bundle:
    return given.fifteen_bundle()


@pytest.mark.parametrize("number", CASES)
def test_each_of_the_fifteen_cases_comes_out_as_written(rules: bundle.Bundle, number: int) -> None:
    case = CASES[number]
    decision = decide.ask(rules, case.facts)
    assert {name: cases._EXPECTED[name](decision) for name in case.expect} == {
        name: sorted(value) if isinstance(value, list) else value
        for name, value in case.expect.items()
    }


@pytest.mark.parametrize("number", CASES)
def test_each_of_the_fifteen_cases_replays_byte_for_byte(rules: bundle.Bundle, number: int) -> None:
    content = decide.ask(rules, CASES[number].facts).content()
    assert replay(rules, content).identical


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (2, "prn_ana may not request: no rule permits it"),
        (5, "7200 s asked, 3600 s allowed by require.prod"),
        (6, "prn_bo may not request: forbid.stale-mfa"),
        (7, "prn_bo may not request: forbid.stale-mfa"),
        (8, "prn_old may not request: forbid.inactive"),
        (11, "prn_bo may not request: no rule permits it"),
        (12, "prn_fixbot may not request: no rule permits it"),
        (14, "prn_bo may not breakGlass: no rule permits it"),
        (15, "prn_fixbot may not breakGlass: no rule permits it"),
    ],
)
def test_a_denial_says_who_and_which_rule(rules: bundle.Bundle, number: int, sentence: str) -> None:
    assert decide.ask(rules, CASES[number].facts).why[0].startswith(sentence)


def test_each_obligation_names_the_rule_that_set_it(rules: bundle.Bundle) -> None:
    needed = decide.ask(rules, CASES[4].facts).obligations
    assert needed.approvals == {
        "security": Demand(1, "require.off-hours-prod"),
        "sre-leads": Demand(1, "require.prod"),
        "data-owners": Demand(1, "require.restricted-data"),
    }
    assert needed.max_seconds == Demand(1800, "require.restricted-data")
    assert needed.require == {"session-recording": "require.prod"}
    assert needed.notify == {"security-duty": "require.off-hours-prod"}


def test_obligations_of_agent_and_sponsor_are_united(rules: bundle.Bundle) -> None:
    needed = decide.ask(rules, CASES[10].facts).obligations
    assert needed.max_seconds == Demand(900, "require.agent")
    assert needed.require == {
        "command-filter": "require.agent",
        "session-recording": "require.agent",
    }


BO = given.a_human("bo", "engineering", "sre", "sre-oncall")
CY = given.a_human("cy", "sre-leads")
DEE = given.a_human("dee", "data-owners", "agent-sponsors")
ANA = given.a_human("ana", "engineering")


@pytest.mark.parametrize(
    ("approver", "outcome", "ids"),
    [
        (BO, "deny", ["approve.not-own-not-twice", "muniment:actor-chain"]),
        (CY, "permit", ["approve.group-member"]),
        (DEE, "permit", ["approve.group-member"]),
        (ANA, "deny", []),
        (
            replace(BO, groups=BO.groups | {"data-owners"}),
            "deny",
            ["approve.not-own-not-twice", "muniment:actor-chain"],
        ),
    ],
)
def test_who_may_approve_case_4(
    rules: bundle.Bundle, approver: PrincipalFacts, outcome: str, ids: list[str]
) -> None:
    groups = decide.ask(rules, CASES[4].facts).approvals
    decision = decide.ask_approve(rules, given.an_approval(approver, "bo", *groups))
    assert decision.outcome == outcome
    assert [rule.id for rule in decision.rules] == ids


def test_who_could_approve_answers_for_each_candidate(rules: bundle.Bundle) -> None:
    groups = decide.ask(rules, CASES[4].facts).approvals
    answers = decide.who_could_approve(
        rules, given.an_approval(BO, "bo", *groups), [BO, CY, DEE, ANA]
    )
    able = [candidate.id for candidate, decision in answers if decision.outcome == "permit"]
    assert able == ["prn_cy", "prn_dee"]
