"""
A target in memory, with a connector that keeps the same contract as the real ones.

It can be taken down, held up, blinded, exchanged for another, and made to lose a revocation, so
that every fault of the outside has a test. Faults strike at named points, two for each verb: before
its effect (`issue`, `extend`, `revoke`, `probe`, `inventory`, `now`) and after it, when only the
answer is missing (`issued`, `extended`, `revoked`, `probed`).
"""

import asyncio
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, ClassVar

from muniment.access.records import Capabilities, EndpointView
from muniment.errors import ConfigInvalid, Malformed, OrderLate, TargetUnavailable
from muniment.ports import (
    Account,
    Activity,
    Gives,
    GrantOrder,
    Inventory,
    Issued,
    MissingRight,
    Privilege,
    Probe,
    Revoked,
    Secret,
    Session,
    TargetSettings,
)


class FakeLoginRefused(Exception):
    """the fake target refuses this login"""


@dataclass(kw_only=True)
class FakeAccount:
    """An account at the fake target."""

    name: str
    secret: str | None = field(default=None, repr=False)
    expires: datetime | None = None
    member_of: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    is_superuser: bool = False
    authorization: str = ""


@dataclass(kw_only=True, eq=False)
class FakeSession:
    """A session at the fake target."""

    account: str
    id: str
    started: datetime
    alive: bool = True
    _log: Callable[..., None] = field(repr=False)

    def run(self, statement: str = "SELECT 1") -> None:
        if not self.alive:
            raise FakeLoginRefused("the session was ended")
        self._log(self.account, self.id, "statement", statement)

    def close(self) -> None:
        if self.alive:
            self.alive = False
            self._log(self.account, self.id, "logout")


@dataclass(kw_only=True)
class Hold:
    """Keeps one call at a point: await `reached`, then `release` it, or cancel it there."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        self.released.set()


class FakeTarget:
    """The target itself, with its accounts, sessions and log, and the switches of its faults."""

    def __init__(
        self,
        now: Callable[[], datetime],
        *,
        identity: str = "fake:1",
        endpoints: tuple[str, ...] = ("fake",),
    ) -> None:
        #: the target's own clock
        self.now = now
        #: who answers; another value is another target behind the same name
        self.identity = identity
        self.endpoints = endpoints
        #: nothing answers
        self.down = False
        #: probes do not find themselves
        self.blind = False
        #: endpoints that do not answer a probe
        self.unreachable: set[str] = set()
        #: so many revocations report success and do nothing
        self.lose_revokes = 0
        self.accounts: dict[str, FakeAccount] = {}
        self.sessions: list[FakeSession] = []
        self.log: list[str] = []
        self._holds: dict[str, list[Hold]] = {}
        self._failures: dict[str, int] = {}
        self._stalled: asyncio.Event | None = None

    @property
    def connector_type(self) -> type["FakeConnector"]:
        """The class of connectors to this target, as an entry point would give it."""
        return type("FakeConnector", (FakeConnector,), {"target": self})

    def hold(self, point: str) -> Hold:
        """The next call that comes to this point waits there."""
        hold = Hold()
        self._holds.setdefault(point, []).append(hold)
        return hold

    def fail(self, point: str, times: int = 1) -> None:
        """The next calls that come to this point fail there."""
        self._failures[point] = self._failures.get(point, 0) + times

    def stall(self) -> None:
        """Every call waits wherever it is, until `resume`."""
        self._stalled = asyncio.Event()

    def resume(self) -> None:
        if self._stalled is not None:
            self._stalled.set()
            self._stalled = None

    def login(self, account: str, secret: str) -> FakeSession:
        """What a holder does; raises `FakeLoginRefused`."""
        found = self.accounts.get(account)
        expired = found is not None and found.expires is not None and self.now() >= found.expires
        if self.down or expired or found is None or found.secret != secret:
            self.note(account, "", "refused")
            raise FakeLoginRefused
        name = f"s{len(self.sessions)}"
        session = FakeSession(account=account, id=name, started=self.now(), _log=self.note)
        self.sessions.append(session)
        self.note(account, name, "login")
        return session

    def make_foreign_account(self, name: str, *, member_of: tuple[str, ...] = ()) -> FakeAccount:
        """An account that somebody made by hand."""
        self.accounts[name] = FakeAccount(name=name, secret=name, member_of=member_of)
        return self.accounts[name]

    def live_sessions(self, account: str) -> list[FakeSession]:
        return [each for each in self.sessions if each.account == account and each.alive]

    def note(self, user: str, session: str, action: str, detail: str = "") -> None:
        """Write a line of the target's own log."""
        line = {"at": self.now().isoformat(), "user": user, "session": session}
        self.log.append(json.dumps(line | {"action": action, "detail": detail}))

    async def come_to(self, point: str) -> None:
        """What a connector calls at each point, so that faults can strike there."""
        if self._holds.get(point):
            hold = self._holds[point].pop(0)
            hold.reached.set()
            await hold.released.wait()
        # A yield even when nothing is held: real targets are never quicker than the event loop.
        await asyncio.sleep(0)
        if self._stalled is not None:
            await self._stalled.wait()
        if self.down:
            raise TargetUnavailable("`fake`: the target is down")
        if self._failures.get(point):
            self._failures[point] -= 1
            raise TargetUnavailable(f"`fake`: failed at `{point}`")


class FakeConnector:
    """The connector of one `FakeTarget`; get it from `FakeTarget.connector_type`."""

    kind: ClassVar[str] = "fake"
    secret_options: ClassVar[tuple[str, ...]] = ()
    target: ClassVar[FakeTarget]

    def __init__(self, settings: TargetSettings) -> None:
        for name in settings.options:
            raise ConfigInvalid(f"resource `{settings.resource}`: unknown option `{name}`")
        self._grant_form = re.compile(rf"{re.escape(settings.prefix)}_[a-z2-7]{{26}}")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            expires_new_logins=True,
            expires_live_sessions=False,
            kills_live_sessions=True,
            log_names_grant=True,
            enforces_deadline=True,
            extends_live=True,
            endpoints=self.target.endpoints,
        )

    def check_role(self, role: Mapping[str, Any]) -> None:
        for name in role.keys() - {"grants"}:
            raise ConfigInvalid(f"role definition: unknown option `{name}`; there is `grants`")
        grants = role.get("grants")
        if not isinstance(grants, (list, tuple)) or not grants:
            raise ConfigInvalid('role definition: `grants` is missing: write `grants = ["app_rw"]`')

    def gives(self, role: Mapping[str, Any]) -> Gives:
        grants = frozenset(role["grants"])
        return Gives(member_of=grants, privileges=frozenset((grant, "MEMBER") for grant in grants))

    async def now(self) -> datetime:
        await self.target.come_to("now")
        return self.target.now()

    async def issue(self, order: GrantOrder) -> Issued:
        account = self._account(order.grant)
        await self.target.come_to("issue")
        self._in_time(order.deadline)
        secret, salt = secrets.token_urlsafe(32), secrets.token_bytes(16)
        self.target.accounts[account] = FakeAccount(
            name=account,
            secret=secret,
            expires=order.until,
            member_of=tuple(order.role["grants"]),
            authorization=order.authorization,
        )
        identity = self.target.identity
        await self.target.come_to("issued")
        return Issued(
            secret=Secret(secret),
            connection={"host": "fake", "user": account},
            account=account,
            fingerprint=sha256(salt + secret.encode()).hexdigest(),
            native_expiry=order.until,
            target=identity,
        )

    async def extend(self, grant: str, until: datetime, deadline: datetime) -> datetime | None:
        await self.target.come_to("extend")
        self._in_time(deadline)
        account = self.target.accounts.get(self._account(grant))
        if account is None or account.secret is None:
            raise TargetUnavailable("`fake`: the grant has no live account")
        account.expires = until
        await self.target.come_to("extended")
        return until

    async def revoke(self, grant: str) -> Revoked:
        account = self._account(grant)
        await self.target.come_to("revoke")
        sessions = self.target.live_sessions(account)
        revoked = Revoked(accounts=int(account in self.target.accounts), sessions=len(sessions))
        if self.target.lose_revokes:
            self.target.lose_revokes -= 1
            return revoked
        for session in sessions:
            session.alive = False
            self.target.note(account, session.id, "killed")
        self.target.accounts.pop(account, None)
        await self.target.come_to("revoked")
        return revoked

    async def probe(self, grant: str) -> Probe:
        account = self._account(grant)
        try:
            await self.target.come_to("probe")
            views = tuple(self._view(endpoint, account) for endpoint in self.target.endpoints)
            await self.target.come_to("probed")
        except TargetUnavailable as error:
            views = tuple(_unseen(each, str(error)) for each in self.target.endpoints)
        return Probe(endpoints=views)

    def _view(self, endpoint: str, account: str) -> EndpointView:
        if endpoint in self.target.unreachable:
            return _unseen(endpoint, f"`{endpoint}`: no answer in time")
        blind = self.target.blind
        return EndpointView(
            endpoint=endpoint,
            target=self.target.identity,
            saw_itself=not blind,
            accounts=0 if blind else int(account in self.target.accounts),
            sessions=0 if blind else len(self.target.live_sessions(account)),
            trouble=f"`{endpoint}` does not show us our own session" if blind else "",
        )

    async def inventory(self) -> Inventory:
        await self.target.come_to("inventory")
        accounts = self.target.accounts.values()
        return Inventory(
            target=self.target.identity,
            accounts=tuple(self._seen(account) for account in accounts),
            sessions=tuple(
                Session(
                    account=session.account,
                    grant=self._grant_of(session.account),
                    started=session.started,
                    client="fake",
                    id=session.id,
                    endpoint=self.target.endpoints[0],
                )
                for session in self.target.sessions
                if session.alive
            ),
            privileges=tuple(
                Privilege(account=account.name, object=role, privilege="MEMBER")
                for account in accounts
                for role in account.member_of
            ),
        )

    def _seen(self, account: FakeAccount) -> Account:
        return Account(
            name=account.name,
            grant=self._grant_of(account.name),
            can_login=account.secret is not None,
            is_superuser=account.is_superuser,
            member_of=account.member_of,
            expires=account.expires,
            attributes=account.attributes,
        )

    def read_log(self, lines: Iterable[str]) -> Iterator[Activity]:
        for line in map(json.loads, lines):
            if grant := self._grant_of(line["user"]):
                yield Activity(
                    grant=grant,
                    at=datetime.fromisoformat(line["at"]),
                    session=line["session"],
                    action=line["action"],
                    detail=line["detail"],
                )

    async def missing_rights(self) -> tuple[MissingRight, ...]:
        await self.target.come_to("missing_rights")
        if not self.target.blind:
            return ()
        endpoint = self.target.endpoints[0]
        return (MissingRight(endpoint=endpoint, right="see all sessions", remedy="blind = False"),)

    async def close(self) -> None:
        return

    def _in_time(self, deadline: datetime) -> None:
        if self.target.now() > deadline:
            raise OrderLate("`fake`: the order came after its deadline")

    def _account(self, grant: str) -> str:
        if not self._grant_of(grant):
            raise Malformed("this is no grant id of this installation")
        return grant

    def _grant_of(self, account: str) -> str:
        return account if self._grant_form.fullmatch(account) else ""


def _unseen(endpoint: str, trouble: str) -> EndpointView:
    return EndpointView(
        endpoint=endpoint, target="", saw_itself=False, accounts=0, sessions=0, trouble=trouble
    )
