"""Keeping a live grant longer: asked, decided and approved like a request."""

import asyncio
from datetime import timedelta

import pytest

from muniment.access import records
from muniment.access.records import Capabilities
from muniment.errors import Conflict, Malformed, NotFound
from muniment.testing.fake_target import FakeLoginRefused
from muniment.testing.scenario import Scenario

MINUTE = timedelta(minutes=1)
STAGING = "orders-staging/readwrite"


async def test_what_needs_no_approval_takes_effect_at_once(scenario: Scenario) -> None:
    picked = await scenario.granted(role=STAGING, seconds=600)
    session = scenario.login(picked)
    extended = await scenario.extend("ana", picked, 1200)
    starts = picked.case.starts
    assert starts is not None
    assert extended.case.until == starts + timedelta(seconds=1200)
    account = scenario.target("orders-staging").accounts[picked.case.id]
    assert account.expires == extended.case.until
    await scenario.advance(19 * MINUTE)
    assert session.alive
    await scenario.advance(MINUTE)
    assert scenario.target("orders-staging").live_sessions(picked.case.id) == []
    assert scenario.read(picked).closed


async def test_what_needs_approval_waits_while_the_grant_goes_on(scenario: Scenario) -> None:
    picked = await scenario.granted(seconds=600)
    extended = await scenario.extend("ana", picked, 1200)
    assert extended.case.state == "issued"
    assert extended.case.waits_for == {"sre-leads": 1}
    assert extended.case.until == picked.case.until
    voted = await scenario.approve("bo", picked)
    assert voted.given
    assert voted.case.extension is None
    assert voted.case.until == (picked.case.starts or scenario.clock.wall) + timedelta(seconds=1200)


async def test_an_extension_that_nobody_approves_ends_with_the_grant(scenario: Scenario) -> None:
    picked = await scenario.granted(seconds=600)
    await scenario.extend("ana", picked, 1200)
    await scenario.advance(10 * MINUTE)
    case = scenario.read(picked)
    assert (case.state, case.closed, case.extension) == ("expired", True, None)
    with pytest.raises(Conflict):
        await scenario.approve("bo", picked)


async def test_an_extension_beyond_what_the_rules_allow_is_denied_on_record(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted(seconds=600)
    extended = await scenario.extend("ana", picked, 3601)
    assert extended.decision.outcome == "deny"
    assert scenario.kinds(picked)[-2:] == ["extension:requested", "decision:evaluated"]
    assert extended.case.until == picked.case.until
    assert (await scenario.extend("ana", picked, 1200)).case.extension is not None  # ask again


async def test_a_refused_extension_leaves_the_grant_as_it_was(scenario: Scenario) -> None:
    picked = await scenario.granted(seconds=600)
    await scenario.extend("ana", picked, 1200)
    voted = await scenario.refuse("bo", picked)
    assert (voted.case.state, voted.case.extension) == ("issued", None)
    assert voted.case.until == picked.case.until


async def test_ones_own_extension_is_not_approvable(scenario: Scenario) -> None:
    picked = await scenario.granted("bo", seconds=600)
    await scenario.extend("bo", picked, 1200)
    assert not (await scenario.approve("bo", picked)).given
    assert scenario.read(picked).waits_for == {"sre-leads": 1}


async def test_the_ticket_of_the_request_holds_for_its_extension(scenario: Scenario) -> None:
    picked = await scenario.granted(seconds=600)
    assert (await scenario.extend("ana", picked, 1200)).decision.outcome == "needs_approvals"
    decision = scenario.service.section(scenario.entries(picked)[-1], "decision") or {}
    assert decision["input"]["facts"]["ticket"]["id"] == "OPS-1"


async def test_only_a_live_grant_of_ones_own_is_extended_and_only_for_longer(
    scenario: Scenario,
) -> None:
    from muniment.errors import NotPermitted

    asked = await scenario.ask("ana")
    with pytest.raises(Conflict, match="only a live grant"):
        await scenario.extend("ana", asked, 1200)
    picked = await scenario.granted(seconds=600)
    with pytest.raises(NotPermitted):
        await scenario.extend("admin", picked, 1200)
    with pytest.raises(NotFound):
        await scenario.extend("dan", picked, 1200)
    for seconds in (0, 600, 400 * 86_400):
        with pytest.raises(Malformed):
            await scenario.extend("ana", picked, seconds)
    await scenario.extend("ana", picked, 1200)
    with pytest.raises(Conflict):
        await scenario.extend("ana", picked, 1800)


async def test_what_is_over_is_not_extended_though_nobody_has_ended_it_yet(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted(seconds=600)
    scenario.clock.advance(10 * MINUTE)  # the worker has not come yet
    with pytest.raises(Conflict, match="window of this grant is over"):
        await scenario.extend("ana", picked, 1200)


async def test_an_approval_that_comes_too_late_extends_nothing(scenario: Scenario) -> None:
    picked = await scenario.granted(seconds=600)
    await scenario.extend("ana", picked, 1200)
    scenario.clock.advance(10 * MINUTE)
    voted = await scenario.approve("bo", picked)
    assert voted.given
    assert "grant:extended" not in scenario.kinds(picked)
    await scenario.work()
    assert scenario.read(picked).closed


async def test_a_target_that_cannot_extend_needs_a_new_request(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    picked = await scenario.granted(role=STAGING, seconds=600)
    connector = scenario.service.connectors["orders-staging"]
    can = {**vars(connector.capabilities), "extends_live": False}
    monkeypatch.setattr(type(connector), "capabilities", Capabilities(**can))
    with pytest.raises(Conflict, match="end it and ask anew"):
        await scenario.extend("ana", picked, 1200)


async def test_an_approved_extension_waits_for_a_target_that_is_down(scenario: Scenario) -> None:
    """The approver is not told off for it, and the worker carries it out when it can."""
    picked = await scenario.granted(seconds=600)
    await scenario.extend("ana", picked, 1200)
    scenario.target().down = True
    voted = await scenario.approve("bo", picked)
    assert voted.given
    assert "grant:extended" not in scenario.kinds(picked)
    scenario.target().down = False
    await scenario.advance(MINUTE)
    assert "grant:extended" in scenario.kinds(picked)
    assert scenario.target().accounts[picked.case.id].expires == scenario.read(picked).until


async def test_an_approved_extension_outlives_a_crash(scenario: Scenario) -> None:
    picked = await scenario.granted(seconds=600)
    await scenario.extend("ana", picked, 1200)
    hold = scenario.target().hold("now")
    task = asyncio.create_task(scenario.approve("bo", picked))
    await hold.reached.wait()
    await scenario.restart()
    assert task.cancelled()
    assert "approval:given" in scenario.kinds(picked)
    await scenario.work()
    assert "grant:extended" in scenario.kinds(picked)


async def test_a_target_that_does_not_move_its_own_expiry_is_picked_up_anew(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted(role=STAGING, seconds=600)
    scenario.target("orders-staging").fail("extend")
    with pytest.raises(Conflict, match="pick up again"):
        await scenario.extend("ana", picked, 1200)
    case = scenario.read(picked)
    assert case.until == (case.starts or scenario.clock.wall) + timedelta(seconds=1200)
    await scenario.advance(11 * MINUTE)
    with pytest.raises(FakeLoginRefused):
        scenario.login(picked)  # the second line of defence was not moved
    again = await scenario.pick_up("ana", picked)
    assert scenario.login(again).alive
    assert again.case.until == case.until


async def test_an_extension_carried_out_by_two_at_once_is_one(scenario: Scenario) -> None:
    picked = await scenario.granted(seconds=600)
    await scenario.extend("ana", picked, 1200)
    await asyncio.gather(scenario.approve("bo", picked), scenario.work(), scenario.work())
    await scenario.work()
    assert scenario.kinds(picked).count("grant:extended") == 1


async def test_an_approver_of_an_extension_only_may_see_the_case(scenario: Scenario) -> None:
    """The policy may ask another group for the extension than it did for the request."""
    from muniment.testing.cast import human, policy_with

    picked = await scenario.granted(role=STAGING, seconds=600)
    scenario.principals["oz"] = human("oz", "owners")
    await scenario.activate(
        policy_with(
            '@id("t.owners")\n@title("owners")\n@approvals("owners:1")\n'
            'permit (principal, action == Muniment::Action::"require", resource);'
        )
    )
    extended = await scenario.extend("ana", picked, 1200)
    assert extended.case.waits_for == {"owners": 1}
    assert (await scenario.approve("oz", picked)).given
    assert scenario.last(picked, records.GrantExtended).satisfied == {"owners": 1}
