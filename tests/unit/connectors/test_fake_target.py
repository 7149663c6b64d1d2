"""The switches of the fake target, by which the faults of the outside are played."""

import asyncio
from datetime import datetime, timedelta, timezone

import pytest

from muniment.errors import ConfigInvalid, TargetUnavailable
from muniment.ports import GrantOrder, TargetSettings
from muniment.testing.fake_target import FakeConnector, FakeTarget

_NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
_GRANT = "mt_" + "a" * 26
_ORDER = GrantOrder(
    grant=_GRANT,
    authorization="00" * 32,
    role={"grants": ["app_rw"]},
    until=_NOW + timedelta(minutes=5),
    deadline=_NOW + timedelta(seconds=30),
)


@pytest.fixture
def target() -> FakeTarget:
    return FakeTarget(lambda: _NOW, endpoints=("a", "b"))


@pytest.fixture
def connector(target: FakeTarget) -> FakeConnector:
    return target.connector_type(TargetSettings(resource="orders", prefix="mt", options={}))


async def test_a_call_that_failed_before_its_effect_had_none(
    target: FakeTarget, connector: FakeConnector
) -> None:
    target.fail("issue")
    with pytest.raises(TargetUnavailable):
        await connector.issue(_ORDER)
    assert not target.accounts


async def test_a_call_that_failed_after_its_effect_had_one(
    target: FakeTarget, connector: FakeConnector
) -> None:
    target.fail("issued")
    with pytest.raises(TargetUnavailable):
        await connector.issue(_ORDER)
    assert _GRANT in target.accounts


async def test_a_held_call_can_be_awaited_and_released(
    target: FakeTarget, connector: FakeConnector
) -> None:
    hold = target.hold("revoke")
    await connector.issue(_ORDER)
    revoking = asyncio.ensure_future(connector.revoke(_GRANT))
    await hold.reached.wait()
    assert _GRANT in target.accounts
    hold.release()
    assert (await revoking).accounts == 1
    assert not target.accounts


async def test_a_lost_revocation_is_seen_by_the_probe(
    target: FakeTarget, connector: FakeConnector
) -> None:
    await connector.issue(_ORDER)
    target.lose_revokes = 1
    assert (await connector.revoke(_GRANT)).accounts == 1
    assert not (await connector.probe(_GRANT)).shows_nothing_left
    await connector.revoke(_GRANT)
    assert (await connector.probe(_GRANT)).shows_nothing_left


async def test_another_target_behind_the_same_name_has_another_identity(
    target: FakeTarget, connector: FakeConnector
) -> None:
    issued = await connector.issue(_ORDER)
    target.identity = "fake:2"
    assert {view.target for view in (await connector.probe(_GRANT)).endpoints} != {issued.target}


async def test_one_unreachable_endpoint_spoils_a_probe(
    target: FakeTarget, connector: FakeConnector
) -> None:
    target.unreachable.add("b")
    assert not (await connector.probe(_GRANT)).shows_nothing_left


def test_unknown_options_are_refused(target: FakeTarget) -> None:
    with pytest.raises(ConfigInvalid, match="`host`"):
        target.connector_type(TargetSettings(resource="orders", prefix="mt", options={"host": "x"}))
