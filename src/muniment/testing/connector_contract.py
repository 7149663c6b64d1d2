"""
The contract that every connector must keep, as tests.

Subclass `ConnectorContract` in a test module, and give pytest a fixture `under_test` that is a
`ConnectorUnderTest`: the connector together with a target that the tests may misuse.
"""

# ruff: noqa: S101 - a contract is made of asserts

import asyncio
import base64
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

import pytest

from muniment.errors import ConfigInvalid, Malformed, OrderLate, TargetUnavailable
from muniment.ports import Connector, GrantOrder, Issued

_WINDOW = timedelta(minutes=5)
_IN_TIME = timedelta(seconds=30)
#: shares of a call's usual time at which it is cancelled
_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class LoginRefused(Exception):
    """the target did not let the holder in"""


class HeldSession(Protocol):
    """One session that a holder has open at the target."""

    async def run(self) -> None:
        """Do something that the target's own log mentions."""
        ...

    async def alive(self) -> bool: ...

    async def close(self) -> None: ...


class ConnectorUnderTest(Protocol):
    """A connector with a target of its own."""

    prefix: str
    #: the role definition that orders carry
    role: Mapping[str, Any]

    def connector(self) -> Connector:
        """A new connector with the rights that it needs."""
        ...

    def blind_connector(self) -> Connector:
        """A new connector that reaches the target and lacks the right to see sessions."""
        ...

    async def open_session(self, issued: Issued) -> HeldSession:
        """What a holder does; raises `LoginRefused`."""
        ...

    async def accounts(self, grant: str) -> int:
        """How many accounts of the grant exist, by other means than the connector's."""
        ...

    async def make_foreign_account(self) -> str:
        """Make an account behind the connector's back; returns its name."""
        ...

    async def log_lines(self) -> list[str]:
        """The target's own log, with the lines of everything that has happened so far."""
        ...

    async def pass_time(self, seconds: float) -> None:
        """Let the target's clock go on."""
        ...

    async def stall(self) -> None:
        """Freeze the target: it takes what is sent, and does nothing."""
        ...

    async def resume(self) -> None: ...

    async def take_down(self) -> None:
        """Nothing can be reached any more."""
        ...

    async def bring_back(self) -> None: ...


def new_grant(prefix: str) -> str:
    """A grant id nobody has used."""
    return f"{prefix}_{base64.b32encode(secrets.token_bytes(16)).decode().lower().rstrip('=')}"


def new_order(
    under_test: ConnectorUnderTest, now: datetime, *, deadline: timedelta = _IN_TIME
) -> GrantOrder:
    return GrantOrder(
        grant=new_grant(under_test.prefix),
        authorization=secrets.token_hex(32),
        role=under_test.role,
        until=now + _WINDOW,
        deadline=now + deadline,
    )


class ConnectorContract:
    """One instance per test; `under_test` comes from whoever subclasses."""

    @pytest.fixture
    async def connector(self, under_test: ConnectorUnderTest) -> AsyncIterator[Connector]:
        connector = under_test.connector()
        yield connector
        await connector.close()

    @pytest.fixture
    async def order(self, under_test: ConnectorUnderTest, connector: Connector) -> GrantOrder:
        return new_order(under_test, await connector.now())

    # --- issue ---

    async def test_what_is_issued_lets_its_holder_in(
        self, under_test: ConnectorUnderTest, connector: Connector, order: GrantOrder
    ) -> None:
        issued = await connector.issue(order)
        session = await under_test.open_session(issued)
        await session.run()
        assert await session.alive()
        await session.close()
        assert issued.target
        assert len(bytes.fromhex(issued.fingerprint)) == 32  # noqa: PLR2004 - SHA-256
        await connector.revoke(order.grant)

    async def test_the_native_expiry_is_the_end_of_the_window_if_there_is_one(
        self, connector: Connector, order: GrantOrder
    ) -> None:
        issued = await connector.issue(order)
        known = connector.capabilities.expires_new_logins
        assert issued.native_expiry == (order.until if known else None)
        await connector.revoke(order.grant)

    async def test_issuing_again_replaces_the_secret_of_the_one_account(
        self, under_test: ConnectorUnderTest, connector: Connector, order: GrantOrder
    ) -> None:
        first, second = await connector.issue(order), await connector.issue(order)
        assert first.fingerprint != second.fingerprint
        assert first.target == second.target
        with pytest.raises(LoginRefused):
            await under_test.open_session(first)
        await (await under_test.open_session(second)).close()
        assert await under_test.accounts(order.grant) == 1
        await connector.revoke(order.grant)

    async def test_an_order_past_its_deadline_creates_nothing(
        self, under_test: ConnectorUnderTest, connector: Connector
    ) -> None:
        late = new_order(under_test, await connector.now(), deadline=timedelta(seconds=-1))
        with pytest.raises(OrderLate):
            await connector.issue(late)
        assert await under_test.accounts(late.grant) == 0

    async def test_an_order_held_up_until_after_its_deadline_creates_nothing(
        self, under_test: ConnectorUnderTest, connector: Connector
    ) -> None:
        order = new_order(under_test, await connector.now(), deadline=timedelta(seconds=0.5))
        await under_test.stall()
        issuing = asyncio.ensure_future(connector.issue(order))
        await under_test.pass_time(0.7)
        assert not issuing.done()
        await under_test.resume()
        with pytest.raises(OrderLate):
            await issuing
        assert await under_test.accounts(order.grant) == 0

    # --- extend ---

    async def test_extending_moves_the_expiry_and_keeps_the_secret(
        self, under_test: ConnectorUnderTest, connector: Connector, order: GrantOrder
    ) -> None:
        issued = await connector.issue(order)
        until = order.until + _WINDOW
        extended = await connector.extend(order.grant, until, order.deadline)
        assert extended == (until if connector.capabilities.extends_live else None)
        if extended is not None:
            assert await self._expiry(connector, order.grant) == until
        await (await under_test.open_session(issued)).close()
        await connector.revoke(order.grant)

    async def test_extending_past_the_deadline_moves_nothing(
        self, connector: Connector, order: GrantOrder
    ) -> None:
        await connector.issue(order)
        late = await connector.now() - timedelta(seconds=1)
        with contextlib.suppress(OrderLate):
            assert await connector.extend(order.grant, order.until + _WINDOW, late) is None
        assert await self._expiry(connector, order.grant) in {order.until, None}
        await connector.revoke(order.grant)

    async def test_extending_what_was_revoked_brings_nothing_back(
        self, under_test: ConnectorUnderTest, connector: Connector, order: GrantOrder
    ) -> None:
        await connector.issue(order)
        await connector.revoke(order.grant)
        with contextlib.suppress(TargetUnavailable):
            assert await connector.extend(order.grant, order.until, order.deadline) is None
        assert await under_test.accounts(order.grant) == 0

    # --- revoke ---

    async def test_revoking_ends_every_session_and_the_account(
        self, under_test: ConnectorUnderTest, connector: Connector, order: GrantOrder
    ) -> None:
        issued = await connector.issue(order)
        sessions = [await under_test.open_session(issued) for _ in range(3)]
        revoked = await connector.revoke(order.grant)
        assert (revoked.accounts, revoked.sessions) == (1, 3)
        assert not any([await session.alive() for session in sessions])
        assert await under_test.accounts(order.grant) == 0
        with pytest.raises(LoginRefused):
            await under_test.open_session(issued)

    async def test_revoking_again_finds_nothing_and_is_no_error(
        self, under_test: ConnectorUnderTest, connector: Connector, order: GrantOrder
    ) -> None:
        issued = await connector.issue(order)
        await under_test.open_session(issued)
        await connector.revoke(order.grant)
        again = await connector.revoke(order.grant)
        assert (again.accounts, again.sessions) == (0, 0)

    async def test_revoking_what_never_was_is_no_error(
        self, under_test: ConnectorUnderTest, connector: Connector
    ) -> None:
        nothing = await connector.revoke(new_grant(under_test.prefix))
        assert (nothing.accounts, nothing.sessions) == (0, 0)

    async def test_revoking_one_grant_leaves_another_alone(
        self, under_test: ConnectorUnderTest, connector: Connector, order: GrantOrder
    ) -> None:
        other = new_order(under_test, await connector.now())
        issued = await connector.issue(other)
        session = await under_test.open_session(issued)
        await connector.issue(order)
        await connector.revoke(order.grant)
        assert await session.alive()
        await connector.revoke(other.grant)

    async def test_a_holder_who_reconnects_in_a_loop_loses(
        self, under_test: ConnectorUnderTest, connector: Connector, order: GrantOrder
    ) -> None:
        issued = await connector.issue(order)
        sessions: list[HeldSession] = []
        first = asyncio.Event()

        async def reconnect() -> None:
            with contextlib.suppress(LoginRefused):
                while True:
                    sessions.append(await under_test.open_session(issued))
                    first.set()

        loops = [asyncio.ensure_future(reconnect()) for _ in range(3)]
        await first.wait()
        await connector.revoke(order.grant)
        # Each loop ends by itself: the target refuses.
        await asyncio.gather(*loops)
        assert not any([await session.alive() for session in sessions])
        assert (await connector.probe(order.grant)).shows_nothing_left

    async def test_many_grants_can_be_issued_and_revoked_at_once(
        self, under_test: ConnectorUnderTest, connector: Connector
    ) -> None:
        now = await connector.now()
        orders = [new_order(under_test, now) for _ in range(20)]
        issued = await asyncio.gather(*map(connector.issue, orders))
        assert len({each.secret.reveal() for each in issued}) == len(orders)
        grants = [order.grant for order in orders]
        revoked = await asyncio.gather(*map(connector.revoke, grants))
        assert [each.accounts for each in revoked] == [1] * len(orders)
        probes = await asyncio.gather(*map(connector.probe, grants))
        assert all(probe.shows_nothing_left for probe in probes)

    # --- being interrupted ---

    async def test_an_issue_cancelled_anywhere_can_be_undone(
        self, under_test: ConnectorUnderTest, connector: Connector
    ) -> None:
        now = await connector.now()
        usual = await self._seconds(connector.issue, new_order(under_test, now))
        for share in _SHARES:
            order = new_order(under_test, now)
            await self._cancelled(connector.issue(order), usual * share)
            await connector.revoke(order.grant)
            assert (await connector.probe(order.grant)).shows_nothing_left, share
            assert await under_test.accounts(order.grant) == 0

    async def test_a_revocation_cancelled_anywhere_can_be_finished(
        self, under_test: ConnectorUnderTest, connector: Connector
    ) -> None:
        now = await connector.now()
        first = new_order(under_test, now)
        await connector.issue(first)
        usual = await self._seconds(connector.revoke, first.grant)
        for share in _SHARES:
            order = new_order(under_test, now)
            session = await under_test.open_session(await connector.issue(order))
            await self._cancelled(connector.revoke(order.grant), usual * share)
            await connector.revoke(order.grant)
            assert not await session.alive()
            assert (await connector.probe(order.grant)).shows_nothing_left, share

    # --- probe ---

    async def test_a_probe_sees_the_account_and_its_sessions_until_they_are_gone(
        self, under_test: ConnectorUnderTest, connector: Connector, order: GrantOrder
    ) -> None:
        issued = await connector.issue(order)
        await under_test.open_session(issued)
        before = await connector.probe(order.grant)
        assert not before.shows_nothing_left
        assert tuple(view.endpoint for view in before.endpoints) == connector.capabilities.endpoints
        first = before.endpoints[0]
        assert (first.accounts, first.sessions, first.target) == (1, 1, issued.target)
        assert first.saw_itself
        await connector.revoke(order.grant)
        after = await connector.probe(order.grant)
        assert after.shows_nothing_left, after
        assert after.endpoints[0].target == issued.target

    async def test_a_blind_probe_shows_nothing_gone(
        self, under_test: ConnectorUnderTest, order: GrantOrder
    ) -> None:
        blind = under_test.blind_connector()
        probe = await blind.probe(order.grant)
        assert not probe.shows_nothing_left
        assert any(view.trouble and not view.saw_itself for view in probe.endpoints)
        assert await blind.missing_rights()
        await blind.close()

    async def test_an_unreachable_target_is_trouble_to_a_probe_and_an_error_to_all_else(
        self, under_test: ConnectorUnderTest, connector: Connector, order: GrantOrder
    ) -> None:
        await connector.issue(order)
        await under_test.take_down()
        try:
            probe = await connector.probe(order.grant)
            assert not probe.shows_nothing_left
            assert all(view.trouble and not view.target for view in probe.endpoints)
            for call in (connector.issue(order), connector.revoke(order.grant), connector.now()):
                with pytest.raises(TargetUnavailable):
                    await call
        finally:
            await under_test.bring_back()
        await connector.revoke(order.grant)
        assert (await connector.probe(order.grant)).shows_nothing_left

    # --- looking ---

    async def test_an_inventory_has_our_accounts_and_those_of_others(
        self, under_test: ConnectorUnderTest, connector: Connector, order: GrantOrder
    ) -> None:
        foreign = await under_test.make_foreign_account()
        issued = await connector.issue(order)
        session = await under_test.open_session(issued)
        seen = await connector.inventory()
        assert seen.target == issued.target
        grants = {account.name: account.grant for account in seen.accounts}
        assert grants[issued.account] == order.grant
        assert not grants[foreign]
        assert [each.account for each in seen.sessions if each.grant == order.grant] == [
            issued.account
        ]
        await session.close()
        await connector.revoke(order.grant)

    async def test_the_log_leads_from_a_login_and_a_statement_back_to_the_grant(
        self, under_test: ConnectorUnderTest, connector: Connector, order: GrantOrder
    ) -> None:
        if not connector.capabilities.log_names_grant:
            pytest.skip("this target's log does not name grants, and its connector says so")
        session = await under_test.open_session(await connector.issue(order))
        await session.run()
        started = {each.id for each in (await connector.inventory()).sessions if each.grant}
        await connector.revoke(order.grant)
        activities = list(connector.read_log(await under_test.log_lines()))
        ours = [each for each in activities if each.grant == order.grant]
        assert {"login", "statement", "killed"} <= {each.action for each in ours}
        assert {each.session for each in ours if each.action == "login"} <= started

    async def test_no_secret_shows_in_a_repr_an_error_or_the_targets_log(
        self, under_test: ConnectorUnderTest, connector: Connector, order: GrantOrder
    ) -> None:
        issued = await connector.issue(order)
        secret = issued.secret.reveal()
        shown = [repr(issued), str(issued), repr(issued.secret), repr(connector)]
        await connector.issue(order)
        with pytest.raises(LoginRefused) as refused:
            await under_test.open_session(issued)
        shown.append(repr(refused.value))
        await connector.revoke(order.grant)
        shown += await under_test.log_lines()
        assert not any(secret in text for text in shown)

    # --- what is refused ---

    def test_a_role_definition_with_an_unknown_part_is_refused(
        self, under_test: ConnectorUnderTest
    ) -> None:
        connector = under_test.connector()
        connector.check_role(under_test.role)
        with pytest.raises(ConfigInvalid, match="surely_no_option"):
            connector.check_role({**under_test.role, "surely_no_option": 1})

    async def test_only_grants_of_this_installation_are_touched(
        self, under_test: ConnectorUnderTest, connector: Connector
    ) -> None:
        foreign = await under_test.make_foreign_account()
        for name in (foreign, new_grant("other"), f"{under_test.prefix}_", ""):
            for call in (connector.revoke, connector.probe):
                with pytest.raises(Malformed):
                    await call(name)
        assert await under_test.accounts(foreign) == 1

    async def test_closing_twice_is_harmless(self, connector: Connector) -> None:
        await connector.now()
        await connector.close()
        await connector.close()

    # --- helpers ---

    async def _expiry(self, connector: Connector, grant: str) -> datetime | None:
        accounts = (await connector.inventory()).accounts
        return next(account.expires for account in accounts if account.grant == grant)

    async def _seconds(self, call: Callable[[Any], Awaitable[object]], argument: object) -> float:
        clock = asyncio.get_running_loop().time
        begun = clock()
        await call(argument)
        return clock() - begun

    async def _cancelled(self, call: Awaitable[object], after: float) -> None:
        task = asyncio.ensure_future(call)
        await asyncio.wait({task}, timeout=after)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
