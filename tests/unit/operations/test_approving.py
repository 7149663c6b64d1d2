"""Approving, refusing, withdrawing and lapsing: who may, what is recorded, and what races win."""

import asyncio
from datetime import timedelta

import pytest

from muniment.access import records
from muniment.errors import Conflict, NotFound
from muniment.operations import explain
from muniment.testing.cast import human, policy_with
from muniment.testing.scenario import Scenario

TWO_GROUPS = policy_with(
    '@id("t.two")\n@title("owners, too")\n@approvals("owners:1")\n@max_duration("PT1H")\n'
    'permit (principal, action == Muniment::Action::"require", resource)\n'
    'when { resource.tier == Muniment::Tier::"prod" };'
)
TWO_LEADS = policy_with(
    '@id("t.twice")\n@title("two leads")\n@approvals("sre-leads:2")\n'
    'permit (principal, action == Muniment::Action::"require", resource)\n'
    'when { resource.tier == Muniment::Tier::"prod" };'
)


async def test_one_of_the_leads_approves_and_it_waits_for_its_pick_up(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    voted = await scenario.approve("cy", asked, note="go")
    assert voted.given
    assert voted.case.state == "approved"
    assert scenario.kinds(asked)[2:] == ["decision:evaluated", "approval:given"]
    given = scenario.entries(asked)[-1]
    assert scenario.service.section(given, "note") == {"text": "go"}


async def test_ones_own_approval_is_denied_and_the_denial_recorded(scenario: Scenario) -> None:
    asked = await scenario.ask("bo")  # bo is one of the leads
    voted = await scenario.approve("bo", asked)
    assert not voted.given
    assert voted.case.state == "pending"
    decision = scenario.last(asked, records.DecisionEvaluated)
    assert (decision.question, decision.outcome) == ("approve", "deny")
    assert "muniment:actor-chain" in decision.rules


async def test_whoever_may_not_see_a_case_does_not_learn_that_it_is_there(
    scenario: Scenario,
) -> None:
    asked = await scenario.ask("ana")
    size = scenario.service.log.size
    for verb in (scenario.approve, scenario.refuse, scenario.withdraw, scenario.pick_up):
        with pytest.raises(NotFound):
            await verb("dan", asked)
    with pytest.raises(NotFound):
        explain.show(scenario.service, scenario.caller("dan"), asked.case.id)
    assert scenario.service.log.size == size
    assert scenario.service.unrecorded["not-permitted"] == 5


async def test_two_groups_take_two_people(scenario: Scenario) -> None:
    scenario.principals["bo"] = human("bo", "sre-leads", "owners")
    scenario.principals["oz"] = human("oz", "owners")
    scenario.policy = TWO_GROUPS
    await scenario.take_in()
    asked = await scenario.ask("ana")
    assert asked.case.waits_for == {"owners": 1, "sre-leads": 1}
    once = await scenario.approve("bo", asked)
    assert once.case.state == "pending"
    assert not (await scenario.approve("bo", asked)).given  # the same person again
    assert (await scenario.approve("oz", asked)).case.state == "approved"
    picked = await scenario.pick_up("ana", asked)
    assert picked.issued is not None
    grant = scenario.last(asked, records.GrantAuthorized)
    assert grant.satisfied == {"owners": 1, "sre-leads": 1}


async def test_a_refusal_ends_it(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    voted = await scenario.refuse("cy", asked, note="not today")
    assert voted.given
    assert (voted.case.state, voted.case.closed) == ("refused", True)
    with pytest.raises(Conflict, match="nothing waits"):
        await scenario.approve("bo", asked)


async def test_a_refusal_of_ones_own_request_is_denied(scenario: Scenario) -> None:
    asked = await scenario.ask("bo")
    voted = await scenario.refuse("bo", asked)
    assert not voted.given
    assert scenario.read(asked).state == "pending"


async def test_an_approved_case_is_approved_no_further(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    with pytest.raises(Conflict, match="nothing waits"):
        await scenario.approve("bo", asked)


# --- withdrawing ------------------------------------------------------------------------------


@pytest.mark.parametrize("approved", [False, True])
async def test_what_waits_can_be_taken_back(scenario: Scenario, approved: bool) -> None:
    asked = await scenario.ask("ana")
    if approved:
        await scenario.approve("cy", asked)
    withdrawn = await scenario.withdraw("ana", asked)
    assert (withdrawn.state, withdrawn.closed) == ("withdrawn", True)
    with pytest.raises(Conflict):
        await scenario.pick_up("ana", asked)


async def test_a_grant_is_ended_and_not_withdrawn(scenario: Scenario) -> None:
    picked = await scenario.granted()
    with pytest.raises(Conflict, match="only what waits"):
        await scenario.withdraw("ana", picked)


async def test_a_sponsor_takes_back_what_his_agent_asked_for(scenario: Scenario) -> None:
    asked = await scenario.ask("robo", seconds=600)
    assert asked.case.state == "pending"
    assert (await scenario.withdraw("ana", asked)).state == "withdrawn"


async def test_an_administrator_refuses_or_revokes_and_does_not_withdraw(
    scenario: Scenario,
) -> None:
    """The starter policy lets him; the fold knows no withdrawal by somebody else."""
    asked = await scenario.ask("ana")
    with pytest.raises(Conflict, match="only who asked"):
        await scenario.withdraw("admin", asked)
    await scenario.approve("cy", asked)
    assert (await scenario.revoke("admin", asked)).closed


async def test_of_withdrawal_and_approval_at_once_one_comes_first(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    withdrawn, voted = await asyncio.gather(
        scenario.withdraw("ana", asked), scenario.approve("cy", asked), return_exceptions=True
    )
    assert not isinstance(withdrawn, BaseException)
    assert scenario.read(asked).state == "withdrawn"
    # the approval stood before it, or was evaluated again and found nothing to approve
    assert isinstance(voted, Conflict) or "approval:given" in scenario.kinds(asked)


async def test_of_two_approvals_at_once_each_is_evaluated_on_the_other(scenario: Scenario) -> None:
    await scenario.activate(TWO_LEADS)
    asked = await scenario.ask("ana")
    await asyncio.gather(scenario.approve("bo", asked), scenario.approve("cy", asked))
    assert scenario.read(asked).state == "approved"
    assert scenario.kinds(asked).count("approval:given") == 2


async def test_of_two_approvals_by_one_person_at_once_one_counts(scenario: Scenario) -> None:
    await scenario.activate(TWO_LEADS)
    asked = await scenario.ask("ana")
    votes = await asyncio.gather(scenario.approve("bo", asked), scenario.approve("bo", asked))
    assert sorted(vote.given for vote in votes) == [False, True]
    assert scenario.read(asked).waits_for == {"sre-leads": 1}


# --- lapsing ----------------------------------------------------------------------------------


async def test_what_nobody_decides_in_time_lapses(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    await scenario.advance(timedelta(hours=8) - timedelta(seconds=1))
    assert scenario.read(asked).state == "pending"
    await scenario.advance(timedelta(seconds=1))
    assert (scenario.read(asked).state, scenario.read(asked).closed) == ("lapsed", True)


async def test_what_nobody_picks_up_in_time_lapses(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    await scenario.advance(timedelta(hours=1))
    await scenario.approve("cy", asked)
    await scenario.advance(timedelta(minutes=59))
    assert scenario.read(asked).state == "approved"
    await scenario.advance(timedelta(minutes=1))
    assert scenario.read(asked).state == "lapsed"
    with pytest.raises(Conflict):
        await scenario.pick_up("ana", asked)


async def test_what_was_auto_approved_and_not_picked_up_lapses(scenario: Scenario) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    await scenario.advance(timedelta(hours=1))
    assert scenario.read(asked).state == "lapsed"


# --- looking ----------------------------------------------------------------------------------


async def test_those_who_could_approve_are_told_and_the_requester_is_not_among_them(
    scenario: Scenario,
) -> None:
    asked = await scenario.ask("bo")
    service = scenario.service
    assert explain.who_could_approve(service, asked.case) == [scenario.ids["cy"]]
    waiting = {
        login: explain.waiting_for(service, scenario.caller(login)) for login in ("bo", "cy")
    }
    assert [case.id for case in waiting["cy"]] == [asked.case.id]
    assert waiting["bo"] == []


async def test_lists_show_ones_own_and_everybodys_to_those_who_may(scenario: Scenario) -> None:
    from muniment.errors import NotPermitted

    asked = await scenario.ask("ana")
    service = scenario.service
    own = explain.mine(service, scenario.caller("ana"), everyone=False, states=(), before=None)
    assert [row.case for row in own] == [asked.case.id]
    everybodys = explain.mine(
        service, scenario.caller("aud"), everyone=True, states=("pending",), before=None
    )
    assert [row.case for row in everybodys] == [asked.case.id]
    with pytest.raises(NotPermitted):
        explain.mine(service, scenario.caller("dan"), everyone=True, states=(), before=None)


async def test_a_rule_on_a_role_decides_who_operates_its_cases(scenario: Scenario) -> None:
    """What the schema offers to rules is there: the role of the case that is operated."""
    await scenario.activate(
        policy_with(
            '@id("t.dan")\n@title("dan sees production")\n'
            'permit (principal, action == Muniment::Action::"operate", '
            "resource is Muniment::Case)\n"
            f'when {{ principal.id == "{scenario.ids["dan"]}" && resource has role && '
            'resource.role.tier == Muniment::Tier::"prod" };'
        )
    )
    asked = await scenario.ask("ana")
    below = await scenario.ask("ana", "orders-staging/readwrite")
    assert explain.show(scenario.service, scenario.caller("dan"), asked.case.id)["case"]
    with pytest.raises(NotFound):
        explain.show(scenario.service, scenario.caller("dan"), below.case.id)
