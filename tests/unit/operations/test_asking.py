"""Asking: whatever the policy says of it is recorded, and what is refused is counted."""

import asyncio
from datetime import timedelta

import pytest

from muniment.access import records
from muniment.errors import Conflict, Malformed, NotFound, TooMany
from muniment.operations import preview
from muniment.operations.facts import Reason
from muniment.operations.heartbeat import beat
from muniment.operations.request import AccessAsk, IdempotencyKey
from muniment.testing.cast import human, policy_with
from muniment.testing.scenario import Scenario

KEY = IdempotencyKey(key="once", body=b'{"role":"readwrite"}')


async def test_a_denial_is_recorded_and_closed_at_once(scenario: Scenario) -> None:
    denied = await scenario.ask("ana", ticket="")
    assert scenario.kinds(denied) == ["access:requested", "decision:evaluated", "case:closed"]
    assert (denied.case.state, denied.case.closed) == ("denied", True)
    assert scenario.read(denied) == denied.case


async def test_what_waits_says_for_whom(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    assert asked.case.state == "pending"
    assert asked.case.waits_for == {"sre-leads": 1}


async def test_what_needs_nobody_is_approved_at_once(scenario: Scenario) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    assert asked.case.state == "approved"
    assert (await scenario.pick_up("ana", asked)).issued is not None


async def test_nobody_may_ask_without_a_rule(scenario: Scenario) -> None:
    assert (await scenario.ask("aud")).case.state == "denied"


async def test_a_role_that_is_not_there_is_answered_with_those_that_are(scenario: Scenario) -> None:
    with pytest.raises(NotFound, match="orders-prod readwrite"):
        await scenario.ask("ana", "orders-prod/root")


@pytest.mark.parametrize("seconds", [0, -1, 400 * 86_400])
async def test_a_window_of_no_possible_length_is_not_even_asked(
    scenario: Scenario, seconds: int
) -> None:
    with pytest.raises(Malformed):
        await scenario.ask("ana", seconds=seconds)


@pytest.mark.parametrize("text", ["x" * 4001, "a\x00b", "\x1b[31m"])
async def test_a_reason_is_text_for_people(scenario: Scenario, text: str) -> None:
    with pytest.raises(Malformed):
        await scenario.ask("ana", text=text)


async def test_longer_than_the_rules_allow_is_denied(scenario: Scenario) -> None:
    denied = await scenario.ask("ana", seconds=3601)
    assert denied.case.state == "denied"
    assert "allowed by require.prod" in str(denied.decision and denied.decision.why)


async def test_what_somebody_typed_is_a_claim_and_sealed(scenario: Scenario) -> None:
    asked = await scenario.ask("ana", text="orders are stuck")
    entry = scenario.entries(asked)[0]
    assert scenario.service.section(entry, "reason") == {
        "incident": "",
        "text": "orders are stuck",
        "ticket": "OPS-1",
    }
    assert b"stuck" not in entry.data
    decision = scenario.service.section(scenario.entries(asked)[1], "decision") or {}
    assert decision["input"]["facts"]["ticket"]["source"] == "claimed"
    assert "stuck" not in str(decision)


# --- idempotency ------------------------------------------------------------------------------


async def test_the_same_key_and_body_give_the_same_case(scenario: Scenario) -> None:
    first = await scenario.ask("ana", key=KEY)
    again = await scenario.ask("ana", key=KEY)
    assert again.case == first.case
    assert again.decision is None


async def test_the_same_key_with_another_body_is_a_conflict(scenario: Scenario) -> None:
    await scenario.ask("ana", key=KEY)
    with pytest.raises(Conflict, match="another request"):
        await scenario.ask("ana", key=IdempotencyKey(key="once", body=b"{}"))


async def test_a_key_is_its_owners(scenario: Scenario) -> None:
    first = await scenario.ask("ana", key=KEY)
    other = await scenario.ask("dan", key=KEY)
    assert first.case.id != other.case.id


async def test_a_key_outlives_a_restart(scenario: Scenario) -> None:
    first = await scenario.ask("ana", key=KEY)
    await scenario.restart()
    assert (await scenario.ask("ana", key=KEY)).case.id == first.case.id


async def test_two_at_once_under_one_key_make_one_case(scenario: Scenario) -> None:
    answers = await asyncio.gather(
        *(scenario.ask("ana", key=KEY) for _ in range(3)), return_exceptions=True
    )
    [row] = scenario.store.cases()
    refused = [answer for answer in answers if isinstance(answer, Conflict)]
    # who comes after the first was answered is given the same answer
    told = {answer.case.id for answer in answers if not isinstance(answer, BaseException)}
    assert len(refused) < 3
    assert told == {row.case}


async def test_a_key_of_an_approval_is_answered_once(scenario: Scenario) -> None:
    from muniment.operations import approve, issue

    case = (await scenario.ask("ana")).case.id
    caller = scenario.caller("cy")
    await approve.approve(scenario.service, caller, case, key=KEY)
    with pytest.raises(Conflict, match="answered already"):
        await approve.approve(scenario.service, caller, case, key=KEY)
    await issue.pick_up(scenario.service, scenario.caller("ana"), case, KEY)
    with pytest.raises(Conflict, match="pick up anew"):
        await issue.pick_up(scenario.service, scenario.caller("ana"), case, KEY)


# --- quota ------------------------------------------------------------------------------------


async def test_above_the_quota_nothing_is_recorded_but_counted(scenario: Scenario) -> None:
    scenario.service.limits = scenario.limits = type(scenario.limits)(asks_per_minute=2)
    await scenario.ask("ana")
    case = await scenario.ask("ana")
    with pytest.raises(TooMany, match="at most 2"):
        await scenario.ask("ana")
    await scenario.ask("dan")  # others are not concerned
    await scenario.withdraw("ana", case)  # and asking is all that is bound
    assert len(scenario.store.cases()) == 3
    await scenario.advance(timedelta(minutes=1))
    await scenario.ask("ana")
    await beat(scenario.service)
    beats = scenario.last(scenario.service.registry.log_case, records.LogHeartbeat)
    assert beats.unrecorded == {"too-many": 1}


async def test_an_emergency_is_never_too_many(scenario: Scenario) -> None:
    scenario.service.limits = scenario.limits = type(scenario.limits)(asks_per_minute=1)
    await scenario.ask("bo")
    with pytest.raises(TooMany):
        await scenario.ask("bo")
    await scenario.ask("bo", incident="INC-1", emergency=True)


async def test_pick_ups_are_bound_by_the_quota_too_and_broken_glass_is_not(
    scenario: Scenario,
) -> None:
    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    await scenario.change("ana", groups=())
    scenario.service.limits = scenario.limits = type(scenario.limits)(asks_per_minute=3)
    for _ in range(2):
        assert (await scenario.pick_up("ana", asked)).decision.outcome == "deny"
    size = scenario.service.log.size
    with pytest.raises(TooMany):
        await scenario.pick_up("ana", asked)
    assert scenario.service.log.size == size, "a denial above the quota is not recorded"
    await scenario.advance(timedelta(minutes=1))
    assert (await scenario.pick_up("ana", asked)).decision.outcome == "deny"
    glass = await scenario.ask("bo", incident="INC-1", emergency=True)
    for _ in range(4):
        assert (await scenario.pick_up("bo", glass)).issued is not None


async def test_what_was_counted_is_not_lost_with_a_heartbeat_that_failed(
    scenario: Scenario,
) -> None:
    scenario.service.count("too-many")
    scenario.break_log()
    from muniment.errors import LogUnavailable

    with pytest.raises(LogUnavailable):
        await beat(scenario.service)
    scenario.mend_log()
    await beat(scenario.service)
    beats = scenario.last(scenario.service.registry.log_case, records.LogHeartbeat)
    assert beats.unrecorded == {"too-many": 1}


# --- agents and workloads ---------------------------------------------------------------------


async def test_an_agent_asks_on_behalf_of_a_sponsor_who_is_allowed_the_same(
    scenario: Scenario,
) -> None:
    asked = await scenario.ask("robo", "orders-staging/readwrite", seconds=600)
    assert asked.case.state == "approved"
    person = scenario.caller("ana").principal.person
    assert asked.case.requested.actor.persons == (person,)
    await scenario.change("ana", groups=())
    denied = await scenario.ask("robo", "orders-staging/readwrite", seconds=600)
    assert denied.case.state == "denied"


async def test_an_agent_whose_sponsor_is_disabled_gets_nothing_and_picks_up_nothing(
    scenario: Scenario,
) -> None:
    asked = await scenario.ask("robo", "orders-staging/readwrite", seconds=600)
    await scenario.change("ana", active=False)
    assert (await scenario.ask("robo", "orders-staging/readwrite")).case.state == "denied"
    with pytest.raises(NotFound):
        await scenario.pick_up("robo", asked)
    assert scenario.target("orders-staging").accounts == {}


async def test_the_owner_of_a_workload_cannot_approve_what_it_asks_for(scenario: Scenario) -> None:
    asked = await scenario.ask("ci")
    assert asked.case.state == "pending"
    vote = await scenario.approve("cy", asked)  # cy owns it, and is one of the leads
    assert not vote.given
    assert (await scenario.approve("bo", asked)).case.state == "approved"


async def test_two_accounts_of_one_human_are_one_person(scenario: Scenario) -> None:
    scenario.principals["ana-root"] = human("ana-root", "sre-leads", person_of="ana")
    await scenario.take_in()
    asked = await scenario.ask("ana")
    assert not (await scenario.approve("ana-root", asked)).given


# --- looking ahead ----------------------------------------------------------------------------


async def test_a_preview_records_nothing(scenario: Scenario) -> None:
    size = scenario.service.log.size
    ask = AccessAsk(
        resource="orders-prod", role="readwrite", seconds=600, reason=Reason(ticket="OPS-1")
    )
    seen = preview.preview(scenario.service, scenario.caller("bo"), ask)
    assert seen.decision.outcome == "needs_approvals"
    assert seen.could_approve == (scenario.ids["cy"],)  # bo is a lead, and asks himself
    assert scenario.service.log.size == size


async def test_a_rule_that_errs_denies_and_says_so(scenario: Scenario) -> None:
    await scenario.activate(
        policy_with(
            '@id("t.sum")\n@title("overflow")\npermit (principal, action == '
            'Muniment::Action::"request", resource) when { 9223372036854775807 + '
            "context.breakGlassLast30d + 1 > 0 };"
        )
    )
    denied = await scenario.ask("ana")
    assert denied.case.state == "denied"
    assert "not evaluated" in str(denied.decision and denied.decision.why)


async def test_a_request_that_loses_against_a_reload_is_decided_again(scenario: Scenario) -> None:
    """Between evaluation and append the policy changes: the decision stands on the new one."""
    asked, _ = await asyncio.gather(
        scenario.ask("ana"),
        scenario.activate(
            policy_with(
                '@id("t.no")\n@title("nobody")\nforbid (principal, action == '
                'Muniment::Action::"request", resource);'
            )
        ),
    )
    decision = scenario.last(asked, records.DecisionEvaluated)
    entry = scenario.entries(asked)[1]
    policy = scenario.service.registry.policy
    assert policy is not None
    followed = policy.head in entry.header.follows
    assert followed == (decision.outcome == "deny")
