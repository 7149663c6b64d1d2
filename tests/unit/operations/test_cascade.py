"""Access ends when what it rested on ends: people, groups, sponsors, sessions, tasks."""

import asyncio
from datetime import timedelta

import pytest
from delegations import STAGING, Acting

from muniment.access import records
from muniment.access.check import verify
from muniment.errors import NotFound, Unauthenticated
from muniment.operations import cascade, delegate, delegation, sign_in
from muniment.runtime import worker
from muniment.testing.cast import policy_with
from muniment.testing.scenario import CaseLike, Scenario
from muniment.testing.stand_ins import Crash

MINUTE = timedelta(minutes=1)
PROD = "orders-prod/readwrite"
#: one more group, as whose members alone somebody may ask for the role
ONLY_ON_CALL = policy_with(
    """
@id("forbid.staging-unless-on-call")
@title("Staging is for those on call")
forbid (principal is Muniment::Human, action == Muniment::Action::"request", resource)
when { resource.tier == Muniment::Tier::"staging" }
unless { principal in Muniment::Group::"sre-oncall" };
"""
)


@pytest.fixture
async def acting(scenario: Scenario) -> Acting:
    made = Acting(scenario)
    await made.enrol("ana", "bo", "robo", "ci", "admin")
    return made


def ended(scenario: Scenario, case: CaseLike) -> records.GrantRevoked:
    """How the service revoked this; and nothing is left of it at its target."""
    read = scenario.read(case)
    assert (read.state, read.closed) == ("revoked", True), read.state
    revoked: records.GrantRevoked = scenario.last(case, records.GrantRevoked)
    assert revoked.actor == records.SERVICE
    assert not scenario.target(read.requested.resource).accounts
    return revoked


def followed(scenario: Scenario, case: CaseLike, kind: str) -> list[str]:
    """The kinds of records that the newest record of this kind follows."""
    [*_, entry] = [e for e in scenario.entries(case) if e.header.kind == kind]
    indexes = scenario.service.registry.indexes
    return [
        scenario.service.log.read_entry(indexes[leaf]).header.kind for leaf in entry.header.follows
    ]


# --- people and groups --------------------------------------------------------------------------


async def test_disabling_a_person_ends_his_live_grant_in_one_turn(scenario: Scenario) -> None:
    picked = await scenario.granted("ana")
    session = scenario.login(picked)
    await scenario.change("ana", active=False)
    await scenario.work()
    assert ended(scenario, picked).reason == "principal-disabled"
    assert not session.alive
    assert followed(scenario, picked, "grant:revoked") == ["principal:enrolled"]


async def test_an_end_by_the_service_is_told_apart_from_one_by_a_person(scenario: Scenario) -> None:
    by_service, by_person = await scenario.granted("ana"), await scenario.granted("dan")
    await scenario.revoke("cy", by_person, "seen enough")
    await scenario.change("ana", active=False)
    await scenario.work()
    person = scenario.last(by_person, records.GrantRevoked)
    assert (person.actor.type, person.reason) == ("human", "")
    assert ended(scenario, by_service).actor.type == "service"


async def test_a_request_of_somebody_disabled_lapses_for_that_reason(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    await scenario.change("ana", active=False)
    await scenario.work()
    read = scenario.read(asked)
    assert (read.state, read.closed) == ("lapsed", True)
    assert scenario.last(asked, records.AccessLapsed).reason == "principal-disabled"


async def test_what_was_approved_and_not_picked_up_is_revoked(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    await scenario.change("ana", active=False)
    await scenario.work()
    assert scenario.read(asked).closed
    assert scenario.last(asked, records.GrantRevoked).reason == "principal-disabled"


async def test_losing_a_group_that_access_did_not_need_ends_nothing(scenario: Scenario) -> None:
    picked = await scenario.granted("bo", STAGING)
    await scenario.change("bo", groups=("engineering",))
    await scenario.work()
    assert scenario.read(picked).state == "issued"


async def test_losing_the_group_that_access_needed_ends_it(scenario: Scenario) -> None:
    await scenario.activate(ONLY_ON_CALL)
    picked = await scenario.granted("bo", STAGING)
    await scenario.change("bo", groups=("engineering", "sre-leads"))
    await scenario.work()
    assert ended(scenario, picked).reason == "no-longer-allowed"
    asked_again = scenario.last(picked, records.DecisionEvaluated)
    assert (asked_again.question, asked_again.outcome) == ("stand", "deny")
    assert "forbid.staging-unless-on-call" in asked_again.rules


async def test_losing_a_group_ends_a_request_that_may_not_be_made_any_more(
    scenario: Scenario,
) -> None:
    asked = await scenario.ask("ana")
    await scenario.change("ana", groups=("marketing",))
    await scenario.work()
    assert scenario.last(asked, records.AccessLapsed).reason == "no-longer-allowed"
    assert scenario.last(asked, records.DecisionEvaluated).question == "stand"


async def test_a_policy_that_changed_alone_ends_nothing_also_after_a_restart(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted("ana", STAGING)
    await scenario.activate(ONLY_ON_CALL)
    await scenario.work()
    await scenario.restart()
    await scenario.work()
    assert scenario.read(picked).state == "issued"


async def test_the_evidence_of_such_an_end_verifies(scenario: Scenario) -> None:
    await scenario.activate(ONLY_ON_CALL)
    picked = await scenario.granted("bo", STAGING)
    await scenario.change("bo", groups=("engineering",))
    await scenario.work()
    data = await scenario.export("aud", picked)
    checked = verify(data, scenario.key.verifier)
    assert checked.case is not None
    assert checked.case.state == "revoked"


async def test_the_end_of_one_persons_access_touches_nobody_elses(scenario: Scenario) -> None:
    hers, his = await scenario.granted("ana"), await scenario.granted("dan")
    await scenario.change("ana", active=False)
    await scenario.work()
    assert scenario.read(hers).closed
    assert scenario.read(his).state == "issued"


async def test_a_target_that_is_down_holds_up_no_other_end(scenario: Scenario) -> None:
    stuck, other = await scenario.granted("ana", PROD), await scenario.granted("ana", STAGING)
    scenario.target("orders-prod").down = True
    await scenario.change("ana", active=False)
    await scenario.work()
    assert scenario.read(other).closed
    assert scenario.read(stuck).state == "revoked"
    scenario.target("orders-prod").down = False
    await scenario.advance(10 * MINUTE)
    assert scenario.read(stuck).closed


# --- agents and their sponsors ------------------------------------------------------------------


async def test_disabling_the_sponsor_ends_the_agents_grant(
    scenario: Scenario, acting: Acting
) -> None:
    picked = await acting.granted("robo")
    await scenario.change("ana", active=False)
    await scenario.work()
    assert ended(scenario, picked).reason == "sponsor-disabled"


async def test_disabling_the_agent_ends_its_grant_and_its_delegation(
    scenario: Scenario, acting: Acting
) -> None:
    session = await acting.hand_on("ana", "robo")
    picked = await acting.granted("acting")
    await scenario.change("robo", active=False)
    await scenario.work()
    assert ended(scenario, picked).reason == "principal-disabled"
    assert closing(scenario, session.case) == "principal-disabled"


async def test_another_sponsor_ends_what_the_agent_held_for_the_first(
    scenario: Scenario, acting: Acting
) -> None:
    session = await acting.hand_on("ana", "robo")
    picked = await acting.granted("acting")
    await scenario.change("robo", sponsor="dan")
    await scenario.work()
    assert ended(scenario, picked).reason == "sponsor-changed"
    assert closing(scenario, session.case) == "parent-closed"


async def test_disabling_its_owner_ends_a_workloads_grant(
    scenario: Scenario, acting: Acting
) -> None:
    picked = await acting.granted("ci")
    await scenario.change("cy", active=False)
    await scenario.work()
    assert ended(scenario, picked).reason == "sponsor-disabled"


# --- sessions and tasks -------------------------------------------------------------------------


def closing(scenario: Scenario, session: str) -> str:
    """Why a session was closed; empty while it was not."""
    found = [records.parse(entry.header) for entry in scenario.service.log.read_case(session)]
    return next((each.reason for each in found if isinstance(each, records.SessionClosed)), "")


async def test_when_the_sponsor_signs_out_what_he_handed_on_ends(
    scenario: Scenario, acting: Acting
) -> None:
    await acting.sign_in("ana")
    session = await acting.hand_on("ana", "robo")
    picked = await acting.granted("acting")
    await sign_in.sign_out(scenario.service, acting.caller("ana"))
    await scenario.work()
    assert closing(scenario, session.case) == "parent-closed"
    assert ended(scenario, picked).reason == "session-closed"
    assert followed(scenario, picked, "grant:revoked") == ["session:closed"]


async def test_signing_out_leaves_a_persons_own_access(scenario: Scenario, acting: Acting) -> None:
    await acting.sign_in("ana")
    picked = await acting.granted("ana")
    await sign_in.sign_out(scenario.service, acting.caller("ana"))
    await scenario.work()
    assert scenario.read(picked).state == "issued"


async def test_when_its_giver_signs_out_a_delegation_holds_no_moment_longer(
    scenario: Scenario, acting: Acting
) -> None:
    await acting.sign_in("ana")
    await acting.hand_on("ana", "robo")
    await sign_in.sign_out(scenario.service, acting.caller("ana"))
    with pytest.raises(Unauthenticated):
        delegation.check_stands(scenario.service, acting.caller("acting"))


async def test_a_revoked_static_token_takes_along_what_was_handed_on_with_it(
    scenario: Scenario, acting: Acting
) -> None:
    session = await acting.hand_on("ana", "robo")
    picked = await acting.granted("acting")
    await acting.revoke_token("ana")
    await scenario.work()
    assert closing(scenario, session.case) == "parent-closed"
    assert ended(scenario, picked).reason == "session-closed"


@pytest.mark.parametrize("shown", ["ana", "robo"])
async def test_a_revoked_token_takes_along_access_also_after_its_delegation_expired(
    scenario: Scenario, acting: Acting, shown: str
) -> None:
    await acting.hand_on("ana", "robo", length=MINUTE)
    picked = await acting.granted("acting")
    await scenario.advance(2 * MINUTE)
    assert scenario.read(picked).state == "issued"
    await acting.revoke_token(shown)
    await scenario.work()
    assert ended(scenario, picked).reason == "session-closed"
    assert followed(scenario, picked, "grant:revoked") == ["token:revoked"]
    verify(await scenario.export("aud", picked), scenario.key.verifier)


async def test_a_revoked_static_token_takes_along_who_signed_in_with_it(
    scenario: Scenario, acting: Acting
) -> None:
    static = acting.tokens["ana"]
    session = await acting.sign_in("ana")
    signed_in = acting.caller("ana")
    acting.tokens["ana"] = static
    await acting.revoke_token("ana")
    with pytest.raises(Unauthenticated):
        delegation.check_stands(scenario.service, signed_in)
    await scenario.work()
    assert closing(scenario, session.case) == "revoked"


async def test_a_chain_ends_at_whichever_link_breaks(scenario: Scenario, acting: Acting) -> None:
    await acting.enrol_agent("helper", "ana")
    first = await acting.hand_on("ana", "robo")
    second = await acting.hand_on("acting", "helper", "helping")
    picked = await acting.granted("helping")
    await sign_in.close_sessions(scenario.service, [first], "revoked", records.SERVICE)
    await scenario.work()
    assert closing(scenario, second.case) == "parent-closed"
    assert ended(scenario, picked).reason == "session-closed"


async def test_closing_a_task_ends_what_its_delegations_brought(
    scenario: Scenario, acting: Acting
) -> None:
    session = await acting.hand_on("ana", "robo", task="INC-7")
    picked = await acting.granted("acting")
    closed = await delegate.end_task(scenario.service, acting.caller("ana"), "INC-7")
    await scenario.work()
    assert [each.case for each in closed] == [session.case]
    assert closing(scenario, session.case) == "task-closed"
    assert ended(scenario, picked).reason == "task-closed"


async def test_closing_a_task_also_finds_a_delegation_that_expired(
    scenario: Scenario, acting: Acting
) -> None:
    session = await acting.hand_on("ana", "robo", task="INC-7", length=MINUTE)
    picked = await acting.granted("acting")
    await scenario.advance(2 * MINUTE)
    assert scenario.read(picked).state == "issued"
    await delegate.end_task(scenario.service, acting.caller("ana"), "INC-7")
    await scenario.work()
    assert closing(scenario, session.case) == "task-closed"
    assert ended(scenario, picked).reason == "task-closed"


async def test_a_task_of_others_is_not_there_to_be_ended(
    scenario: Scenario, acting: Acting
) -> None:
    session = await acting.hand_on("ana", "robo", task="INC-7")
    with pytest.raises(NotFound):
        await delegate.end_task(scenario.service, acting.caller("bo"), "INC-7")
    await delegate.end_task(scenario.service, acting.caller("admin"), "INC-7")
    assert closing(scenario, session.case) == "task-closed"


# --- crashes and a log that is away -------------------------------------------------------------


async def test_what_a_crash_left_undone_is_done_after_the_restart(scenario: Scenario) -> None:
    picked = await scenario.granted("ana")
    session = scenario.login(picked)
    await scenario.change("ana", active=False)
    await scenario.restart()
    assert session.alive, "nothing has taken it away yet"
    await scenario.work()
    assert ended(scenario, picked).reason == "principal-disabled"
    assert not session.alive


async def test_a_case_that_cannot_be_read_yet_is_looked_at_again(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    picked = await scenario.granted("ana")
    await scenario.change("ana", active=False)
    with monkeypatch.context() as patched:
        patched.setattr(scenario.service.log, "read_case", lambda _: [])
        with pytest.raises(NotFound):
            await cascade.settle(scenario.service)
    assert cascade.is_due(scenario.service)
    await scenario.work()
    assert ended(scenario, picked).reason == "principal-disabled"
    assert not cascade.is_due(scenario.service)


async def test_a_crash_between_session_and_grant_leaves_nothing_behind(
    scenario: Scenario, acting: Acting
) -> None:
    await acting.sign_in("ana")
    await acting.hand_on("ana", "robo")
    picked = await acting.granted("acting")
    await sign_in.sign_out(scenario.service, acting.caller("ana"))
    commits = 0

    def strike(point: str) -> None:
        nonlocal commits
        commits += point == "log:commit"
        if commits == 2:  # the delegation is closed, the grant not yet revoked
            raise Crash(point)

    scenario.hook = strike
    with pytest.raises(Crash):
        await cascade.settle(scenario.service)
    scenario.hook = lambda _: None
    await scenario.restart()
    await scenario.work()
    assert ended(scenario, picked).reason == "session-closed"


async def test_with_the_log_down_access_is_taken_away_all_the_same(scenario: Scenario) -> None:
    picked = await scenario.granted("ana")
    session = scenario.login(picked)
    await scenario.change("ana", active=False)
    scenario.break_log()
    await scenario.work()
    assert not session.alive
    scenario.mend_log()
    await scenario.advance(10 * MINUTE)
    assert scenario.last(picked, records.GrantRevoked).reason == "principal-disabled"
    assert scenario.read(picked).closed


async def test_what_cannot_be_ended_holds_up_no_other_end(
    scenario: Scenario, acting: Acting, monkeypatch: pytest.MonkeyPatch
) -> None:
    await acting.sign_in("ana")
    await acting.sign_in("bo")
    picked = await scenario.granted("ana")
    close = sign_in.close_sessions

    async def refuse(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(sign_in, "close_sessions", refuse)
    await scenario.change("ana", active=False)
    await scenario.change("bo", active=False)
    with pytest.raises(KeyError):
        await cascade.settle(scenario.service)
    left = {scenario.ids["ana"], scenario.ids["bo"]}
    assert left == {*scenario.service.registry.moved}, "only theirs is tried again"
    monkeypatch.setattr(sign_in, "close_sessions", close)
    await scenario.work()
    assert ended(scenario, picked).reason == "principal-disabled"
    assert not scenario.service.registry.sessions


async def test_an_end_that_fails_does_not_put_off_others_for_long(scenario: Scenario) -> None:
    for _ in range(20):
        scenario.worker._put_off(cascade.CASCADE)
    waits = scenario.worker._not_before[cascade.CASCADE] - scenario.service.log.clock.elapsed()
    assert waits <= worker.LONGEST_CASCADE_WAIT


async def test_the_worker_is_woken_and_does_not_wait_for_its_next_look(
    scenario: Scenario,
) -> None:
    scenario.worker.rest = 3600.0
    await scenario.granted("ana")
    scenario.checking = False  # of what stands only while nothing else is under way
    taken = asyncio.Event()
    scenario.hook = lambda point: taken.set() if point == "target:revoke" else None
    running = asyncio.create_task(scenario.worker.run())
    try:
        await scenario.change("ana", active=False)
        await asyncio.wait_for(taken.wait(), 30)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_nothing_is_due_once_everything_was_looked_at(scenario: Scenario) -> None:
    await scenario.granted("ana")
    await scenario.work()
    assert not cascade.is_due(scenario.service)
    await scenario.change("dan", groups=("engineering", "sre-leads"))
    assert cascade.is_due(scenario.service)
