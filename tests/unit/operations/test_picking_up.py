"""Handing out a credential: asked again, recorded first, and undone where it went wrong."""

import asyncio
from datetime import timedelta

import pytest

from muniment.access import records
from muniment.errors import Conflict, LogUnavailable, NotFound, OrderLate, TargetUnavailable
from muniment.evidence.checkpoint import open_checkpoint
from muniment.evidence.merkle import leaf_hash, verify_inclusion
from muniment.operations import end
from muniment.operations.service import Limits
from muniment.testing.cast import policy_with, role
from muniment.testing.fake_target import FakeLoginRefused
from muniment.testing.scenario import Scenario

STRICTER = policy_with(
    '@id("t.more")\n@title("two leads")\n@approvals("sre-leads:2")\n'
    'permit (principal, action == Muniment::Action::"require", resource)\n'
    'when { resource.tier == Muniment::Tier::"prod" };'
)
MINUTE = timedelta(minutes=1)


async def test_the_window_starts_at_the_pick_up_and_not_at_the_request(scenario: Scenario) -> None:
    asked = await scenario.ask("ana", seconds=600)
    await scenario.advance(5 * MINUTE)
    await scenario.approve("cy", asked)
    await scenario.advance(5 * MINUTE)
    picked = await scenario.pick_up("ana", asked)
    assert picked.case.starts == scenario.clock.wall
    assert picked.case.until == scenario.clock.wall + timedelta(seconds=600)
    assert scenario.target().accounts[picked.case.id].expires == picked.case.until


async def test_the_credential_comes_with_a_proof_that_it_stands(scenario: Scenario) -> None:
    picked = await scenario.granted()
    assert picked.receipt is not None
    log = scenario.service.log
    signed = open_checkpoint(picked.receipt.checkpoint, log.origin, [log.verifier])
    entry = log.read_entry(picked.receipt.index)
    assert entry.header.kind == "credential:issued"
    verify_inclusion(
        leaf_hash(entry.data), picked.receipt.index, signed.size, picked.receipt.hashes, signed.root
    )


async def test_the_account_names_the_grant_and_its_authorisation(scenario: Scenario) -> None:
    picked = await scenario.granted()
    account = scenario.target().accounts[picked.case.id]
    authorized = next(e for e in scenario.entries(picked) if e.header.kind == "grant:authorized")
    assert account.authorization == authorized.leaf.hex()
    assert account.member_of == ("app_rw",)


async def test_only_who_asked_can_pick_up(scenario: Scenario) -> None:
    from muniment.errors import NotPermitted

    asked = await scenario.ask("robo", "orders-staging/readwrite", seconds=600)
    for who in ("admin", "ana"):  # may see it, and answers for it
        with pytest.raises(NotPermitted):
            await scenario.pick_up(who, asked)
    with pytest.raises(NotFound):
        await scenario.pick_up("dan", asked)


async def test_a_second_pick_up_rotates_the_secret_under_the_same_window(
    scenario: Scenario,
) -> None:
    first = await scenario.granted()
    await scenario.advance(MINUTE)
    second = await scenario.pick_up("ana", first)
    assert second.case.until == first.case.until
    with pytest.raises(FakeLoginRefused):
        scenario.login(first)
    assert scenario.login(second).alive
    assert scenario.kinds(first).count("credential:issued") == 2
    issued = [r for r in scenario.records(first) if isinstance(r, records.CredentialIssued)]
    assert issued[0].fingerprint != issued[1].fingerprint


async def test_nothing_is_picked_up_once_the_window_is_over(scenario: Scenario) -> None:
    picked = await scenario.granted()
    scenario.clock.advance(30 * MINUTE)  # the worker has not come yet
    with pytest.raises(Conflict, match="window of this grant is over"):
        await scenario.pick_up("ana", picked)


async def test_a_credential_whose_window_ended_while_it_was_made_is_not_handed_out(
    scenario: Scenario,
) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite", seconds=600)
    made = scenario.target("orders-staging").hold("issued")
    task = asyncio.create_task(scenario.pick_up("ana", asked))
    await made.reached.wait()
    scenario.clock.advance(timedelta(seconds=600))  # the worker has not come yet
    made.release()
    with pytest.raises(Conflict, match="window of this grant is over"):
        await task
    await scenario.advance(MINUTE)
    assert scenario.read(asked).closed
    assert scenario.kinds(asked)[-4:] == [
        "credential:issued",
        "grant:expired",
        "removal:verified",
        "case:closed",
    ]


async def test_of_two_pick_ups_at_once_one_is_answered(scenario: Scenario) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    answers = await asyncio.gather(
        scenario.pick_up("ana", asked), scenario.pick_up("ana", asked), return_exceptions=True
    )
    assert sum(isinstance(answer, Conflict) for answer in answers) == 1
    assert scenario.kinds(asked).count("grant:authorized") == 1


async def test_a_pick_up_goes_on_when_whoever_asked_has_gone_away(scenario: Scenario) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    hold = scenario.target("orders-staging").hold("issue")
    task = asyncio.create_task(scenario.pick_up("ana", asked))
    await hold.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    hold.release()
    await asyncio.gather(*(t for t in asyncio.all_tasks() if t.get_name() == "pick-up"))
    assert scenario.read(asked).state == "issued"
    scenario.check()


# --- asked again ------------------------------------------------------------------------------


async def test_a_requester_who_was_disabled_meanwhile_gets_nothing(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    await scenario.change("ana", active=False)
    with pytest.raises(NotFound):
        await scenario.pick_up("ana", asked)
    assert scenario.target().accounts == {}


async def test_a_requester_who_may_no_longer_ask_is_denied_on_record(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    await scenario.change("ana", groups=())
    picked = await scenario.pick_up("ana", asked)
    assert picked.issued is None
    assert picked.decision.outcome == "deny"
    decision = scenario.last(asked, records.DecisionEvaluated)
    assert (decision.question, decision.outcome) == ("issue", "deny")
    assert scenario.read(asked).state == "approved"
    await scenario.advance(timedelta(hours=1))
    assert scenario.read(asked).state == "lapsed"


async def test_an_approver_who_left_the_group_no_longer_counts(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    await scenario.change("cy", groups=("engineering",))
    picked = await scenario.pick_up("ana", asked)
    assert picked.issued is None
    assert picked.case.state == "pending"
    assert scenario.target().accounts == {}
    decision = scenario.last(asked, records.DecisionEvaluated)
    assert (decision.question, decision.standing) == ("issue", ())
    await scenario.approve("bo", asked)
    assert (await scenario.pick_up("ana", asked)).issued is not None


async def test_an_approver_who_was_disabled_no_longer_counts(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    await scenario.change("cy", active=False)
    assert (await scenario.pick_up("ana", asked)).case.state == "pending"


async def test_an_approver_who_is_as_before_still_counts(scenario: Scenario) -> None:
    """His own earlier approval is left out of `already approved` when he is asked about again."""
    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    await scenario.pick_up("ana", asked)
    decision = scenario.last(asked, records.DecisionEvaluated)
    assert decision.standing == (scenario.caller("cy").principal.person,)


async def test_a_stricter_policy_sends_an_approved_case_back(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    await scenario.activate(STRICTER)
    picked = await scenario.pick_up("ana", asked)
    assert (picked.issued, picked.case.state) == (None, "pending")
    assert picked.case.waits_for == {"sre-leads": 1}
    await scenario.approve("bo", asked)
    assert (await scenario.pick_up("ana", asked)).issued is not None


async def test_a_redefined_role_is_to_be_asked_for_anew(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    scenario.roles["orders-prod", "readwrite"] = role("orders-prod", "readwrite", grants="all")
    assert await scenario.take_in() == ["~ role orders-prod/readwrite"]
    with pytest.raises(Conflict, match="redefined"):
        await scenario.pick_up("ana", asked)


async def test_a_rotation_that_is_no_longer_met_leaves_the_grant_to_its_end(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted()
    await scenario.activate(STRICTER)
    again = await scenario.pick_up("ana", picked)
    assert (again.issued, again.case.state) == (None, "issued")
    assert scenario.login(picked).alive


# --- targets that do not do it ----------------------------------------------------------------


async def test_a_target_that_does_not_tell_its_time_gets_no_order(scenario: Scenario) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    scenario.target("orders-staging").down = True
    with pytest.raises(TargetUnavailable):
        await scenario.pick_up("ana", asked)
    assert scenario.read(asked).state == "approved"
    scenario.target("orders-staging").down = False
    assert (await scenario.pick_up("ana", asked)).issued is not None


@pytest.mark.parametrize("point", ["issue", "issued"])
async def test_an_order_that_failed_is_undone_and_approved_again_after_its_deadline(
    scenario: Scenario, point: str
) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    target = scenario.target("orders-staging")
    target.fail(point)
    with pytest.raises(TargetUnavailable, match="nothing was handed out"):
        await scenario.pick_up("ana", asked)
    assert scenario.kinds(asked)[-2:] == ["credential:failed", "grant:undone"]
    limits = scenario.service.limits
    await scenario.work()
    assert target.accounts == {}  # taken away at once
    assert scenario.read(asked).state == "undone"  # but the order may still come
    await scenario.advance(limits.order_timeout)
    assert scenario.read(asked).state == "undone"
    with pytest.raises(Conflict, match="being taken back"):
        await scenario.pick_up("ana", asked)
    await scenario.advance(MINUTE)
    assert scenario.kinds(asked)[-1] == "removal:verified"
    case = scenario.read(asked)
    assert (case.state, case.until, case.removal, case.closed) == ("approved", None, "", False)


async def test_after_a_failed_order_its_approvals_still_count_and_a_new_window_begins(
    scenario: Scenario,
) -> None:
    asked = await scenario.ask("ana", seconds=600)
    await scenario.approve("cy", asked)
    deadline = scenario.read(asked).current.deadline
    scenario.target().fail("issued")
    with pytest.raises(TargetUnavailable, match="no approval used up"):
        await scenario.pick_up("ana", asked)
    await scenario.advance(MINUTE)
    assert scenario.read(asked).current.deadline == deadline, "the pick-up window does not grow"
    picked = await scenario.pick_up("ana", asked)
    assert scenario.login(picked).alive
    assert (picked.case.starts, picked.case.until) == (
        scenario.clock.wall,
        scenario.clock.wall + timedelta(seconds=600),
    )
    kinds = scenario.kinds(asked)
    assert kinds.count("approval:given") == 1
    assert kinds.count("grant:authorized") == 2, "each order has an intent of its own"
    await scenario.advance(timedelta(seconds=600))
    assert (picked.case.id in scenario.target().accounts, scenario.read(asked).state) == (
        False,
        "expired",
    )
    assert scenario.read(asked).closed


async def test_after_a_failed_order_everything_is_asked_again(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    scenario.target().fail("issue")
    with pytest.raises(TargetUnavailable):
        await scenario.pick_up("ana", asked)
    await scenario.advance(MINUTE)
    await scenario.change("cy", active=False)
    assert (await scenario.pick_up("ana", asked)).case.state == "pending"
    assert scenario.target().accounts == {}


async def test_what_was_approved_again_lapses_with_the_first_pick_up_window(
    scenario: Scenario,
) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    scenario.target("orders-staging").fail("issue")
    with pytest.raises(TargetUnavailable):
        await scenario.pick_up("ana", asked)
    await scenario.advance(MINUTE)
    assert scenario.read(asked).state == "approved"
    await scenario.advance(scenario.service.limits.pickup_window - MINUTE)
    assert scenario.kinds(asked)[-2:] == ["access:lapsed", "case:closed"]


@pytest.mark.parametrize(
    ("verb", "last"), [("withdraw", "access:withdrawn"), ("revoke", "grant:revoked")]
)
async def test_what_was_approved_again_can_be_taken_back_like_any_approval(
    scenario: Scenario, verb: str, last: str
) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    scenario.target("orders-staging").fail("issue")
    with pytest.raises(TargetUnavailable):
        await scenario.pick_up("ana", asked)
    await scenario.advance(MINUTE)
    await (
        scenario.withdraw("ana", asked) if verb == "withdraw" else scenario.revoke("admin", asked)
    )
    assert scenario.kinds(asked)[-2:] == [last, "case:closed"]


async def test_an_order_that_failed_is_closed_where_its_pick_up_window_is_over(
    scenario: Scenario,
) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    target = scenario.target("orders-staging")
    await scenario.advance(scenario.service.limits.pickup_window - timedelta(seconds=5))
    target.fail("issued")
    with pytest.raises(TargetUnavailable):
        await scenario.pick_up("ana", asked)
    await scenario.advance(MINUTE)
    case = scenario.read(asked)
    assert (case.state, case.removal, case.closed) == ("undone", "verified", True)


async def test_a_target_that_stays_away_keeps_a_failed_order_open(scenario: Scenario) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    target = scenario.target("orders-staging")
    scenario.hook = lambda point: (
        setattr(target, "down", True) if point == "target:issued" else None
    )
    with pytest.raises(TargetUnavailable):
        await scenario.pick_up("ana", asked)
    scenario.hook = lambda _: None
    await scenario.advance(2 * MINUTE)
    assert scenario.read(asked).state == "undone", "what was not seen gone is not approved again"
    target.down = False
    await scenario.advance(10 * MINUTE)
    assert scenario.read(asked).state == "approved"


async def test_an_order_that_takes_too_long_is_undone_and_approved_again(
    scenario: Scenario,
) -> None:
    scenario.service.limits = Limits(order_timeout=timedelta(milliseconds=20))
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    hold = scenario.target("orders-staging").hold("issue")
    with pytest.raises(TargetUnavailable, match="too long"):
        await scenario.pick_up("ana", asked)
    assert hold.reached.is_set()
    assert scenario.last(asked, records.CredentialFailed).reason == "timeout"
    await scenario.advance(MINUTE)
    assert scenario.read(asked).state == "approved"


async def test_a_failed_rotation_leaves_the_grant_live(scenario: Scenario) -> None:
    picked = await scenario.granted()
    scenario.target().fail("issue")
    with pytest.raises(TargetUnavailable):
        await scenario.pick_up("ana", picked)
    assert scenario.read(picked).state == "issued"
    assert scenario.login(picked).alive
    assert (await scenario.pick_up("ana", picked)).issued is not None


async def test_a_late_order_is_refused_by_the_target_itself(scenario: Scenario) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    target = scenario.target("orders-staging")
    hold = target.hold("issue")
    task = asyncio.create_task(scenario.pick_up("ana", asked))
    await hold.reached.wait()
    scenario.clock.advance(scenario.service.limits.order_timeout + timedelta(milliseconds=1))
    hold.release()
    with pytest.raises(OrderLate, match="after its deadline"):
        await task
    assert target.accounts == {}
    assert scenario.last(asked, records.CredentialFailed).reason == "late"
    await scenario.advance(MINUTE)
    assert scenario.read(asked).state == "approved"


async def test_the_deadline_is_in_the_targets_own_clock(scenario: Scenario) -> None:
    scenario.clock.skew = timedelta(hours=3)
    picked = await scenario.granted()
    grant = scenario.last(picked, records.GrantAuthorized)
    assert grant.deadline == scenario.clock.at_target() + scenario.service.limits.order_timeout
    assert grant.offset_ms == 3 * 3_600_000
    assert grant.until == picked.case.until  # and the window is in ours


async def test_access_revoked_while_an_order_is_stalled_does_not_come_late(
    scenario: Scenario,
) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    target = scenario.target("orders-staging")
    hold = target.hold("issue")
    task = asyncio.create_task(scenario.pick_up("ana", asked))
    await hold.reached.wait()
    revoked = await end.revoke(scenario.service, scenario.caller("admin"), asked.case.id)
    assert revoked.state == "revoked"
    assert not revoked.closed  # a stalled order could still create what was not there
    hold.release()  # and it does
    with pytest.raises(Conflict, match="ended while"):
        await task
    assert target.accounts == {}
    await scenario.advance(MINUTE)
    case = scenario.read(asked)
    assert (case.removal, case.closed) == ("verified", True)


async def test_a_late_account_that_cannot_be_taken_back_at_once_is_taken_away_later(
    scenario: Scenario,
) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    target = scenario.target("orders-staging")
    hold = target.hold("issue")
    task = asyncio.create_task(scenario.pick_up("ana", asked))
    await hold.reached.wait()
    await end.revoke(scenario.service, scenario.caller("admin"), asked.case.id)
    target.fail("revoke")
    hold.release()
    with pytest.raises(Conflict):
        await task
    assert asked.case.id in target.accounts
    await scenario.advance(MINUTE)
    assert target.accounts == {}
    assert scenario.read(asked).closed


async def test_an_order_opened_while_its_window_ends_is_not_closed_over(scenario: Scenario) -> None:
    """The worker looked before the second order went out: its look does not count."""
    picked = await scenario.granted(seconds=600)
    target = scenario.target()
    scenario.clock.advance(timedelta(seconds=599))
    order = target.hold("issue")
    task = asyncio.create_task(scenario.pick_up("ana", picked))
    await order.reached.wait()
    scenario.clock.advance(timedelta(seconds=1))
    await scenario.worker.catch_up()
    assert scenario.read(picked).state == "expired"
    assert not scenario.read(picked).closed
    order.release()
    with pytest.raises(Conflict, match="ended while"):
        await task
    await scenario.advance(MINUTE)
    assert scenario.read(picked).closed
    assert target.accounts == {}


# --- logs that cannot be written --------------------------------------------------------------


@pytest.mark.parametrize("fault", ["log:commit", "log:committed", "head:write", "head:written"])
async def test_without_a_log_nothing_is_granted(scenario: Scenario, fault: str) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    scenario.break_log(fault)
    with pytest.raises(LogUnavailable):
        await scenario.pick_up("ana", asked)
    assert scenario.target("orders-staging").accounts == {}
    scenario.mend_log()
    await scenario.advance(2 * MINUTE)
    assert scenario.target("orders-staging").accounts == {}
    # an intent that was persisted all the same is undone
    assert scenario.read(asked).state == "approved"
    assert (await scenario.pick_up("ana", asked)).issued is not None


@pytest.mark.parametrize("fault", ["log:commit", "log:committed", "head:write", "head:written"])
async def test_a_credential_that_cannot_be_recorded_is_taken_back(
    scenario: Scenario, fault: str
) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    target = scenario.target("orders-staging")
    scenario.hook = lambda point: scenario.break_log(fault) if point == "target:issued" else None
    with pytest.raises(LogUnavailable, match="taken back"):
        await scenario.pick_up("ana", asked)
    assert target.accounts == {}
    scenario.hook = lambda _: None
    scenario.mend_log()
    await scenario.advance(2 * MINUTE)
    assert target.accounts == {}
    # where it was persisted all the same the grant is live; else it is approved again
    assert scenario.read(asked).state in ("issued", "approved")
    assert (await scenario.pick_up("ana", asked)).issued is not None


async def test_an_interrupted_order_is_undone_by_the_worker(scenario: Scenario) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    target = scenario.target("orders-staging")
    hold = target.hold("issued")
    task = asyncio.create_task(scenario.pick_up("ana", asked))
    await hold.reached.wait()
    assert asked.case.id in target.accounts
    await scenario.restart()
    assert task.cancelled()
    assert scenario.read(asked).order_open
    await scenario.advance(MINUTE)
    assert target.accounts == {}
    assert scenario.kinds(asked)[-3:] == ["credential:failed", "grant:undone", "removal:verified"]
    assert (await scenario.pick_up("ana", asked)).issued is not None


async def test_the_reason_of_a_request_is_needed_until_it_is_picked_up(scenario: Scenario) -> None:
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    await scenario.erase("pia", f"{asked.case.id}/0", "reason")
    with pytest.raises(Conflict, match="erased"):
        await scenario.pick_up("ana", asked)


async def test_below_the_reserve_of_disk_nothing_is_granted(scenario: Scenario) -> None:
    from muniment.errors import DiskFull

    picked = await scenario.granted()
    asked = await scenario.ask("ana", "orders-staging/readwrite")
    scenario.space = scenario.reserve - 1
    with pytest.raises(DiskFull):
        await scenario.ask("ana")
    with pytest.raises(DiskFull):
        await scenario.pick_up("ana", asked)
    await scenario.withdraw("ana", asked)
    assert (await scenario.end("ana", picked)).closed  # ends go on
    glass = await scenario.ask("bo", incident="INC-1", emergency=True)
    assert (await scenario.pick_up("bo", glass)).issued is not None  # and emergencies
