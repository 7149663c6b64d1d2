"""Whoever acts for somebody in a `Scenario`: static tokens, sessions handed on, what they ask."""

from datetime import timedelta

from muniment.access.registry import Session
from muniment.identity.tokens import authenticate, new_token, token_hash
from muniment.interfaces.http.context import held_by
from muniment.operations import delegate, issue, request, sign_in
from muniment.operations.delegate import Handed, Origin
from muniment.operations.facts import Reason
from muniment.operations.issue import PickedUp
from muniment.operations.request import AccessAsk, Asked
from muniment.operations.service import Caller
from muniment.operations.take_in import ProposedPrincipal, ProposedToken
from muniment.testing.scenario import Scenario

STAGING = "orders-staging/readwrite"


class Acting:
    """Callers of a scenario by the tokens that they bear."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.tokens: dict[str, str] = {}

    async def enrol(self, *logins: str) -> None:
        """A static token for each."""
        for login in logins:
            token = self.tokens[login] = new_token()
            self.scenario.tokens[token_hash(token)] = ProposedToken(
                hash=token_hash(token), login=login, expires=None, label=""
            )
        await self.scenario.take_in()

    async def enrol_agent(self, login: str, sponsor: str) -> None:
        self.scenario.principals[login] = ProposedPrincipal(
            login=login, type="agent", groups=(), sponsor=sponsor
        )
        await self.enrol(login)

    async def revoke_token(self, login: str) -> None:
        del self.scenario.tokens[token_hash(self.tokens[login])]
        await self.scenario.take_in()

    def bearer(self, token: str) -> Caller:
        """Who bears this token. Raises `Unauthenticated`."""
        service = self.scenario.service
        found = authenticate(service.registry, token, service.now())
        assert found is not None
        return held_by(found, token)

    def caller(self, name: str) -> Caller:
        return self.bearer(self.tokens[name])

    async def sign_in(self, login: str, hours: int = 8) -> Session:
        """A session in the place of the static token."""
        service = self.scenario.service
        opened = await sign_in.by_token(service, self.caller(login), timedelta(hours=hours))
        self.tokens[login] = opened.token
        return opened.session

    async def hand_on(self, giver: str, to: str, name: str = "acting", **handed: object) -> Session:
        """A session in which the agent acts; `name` is how it is called from then on."""
        task = handed.pop("task", "")
        what = Handed(origin=Origin(task=str(task)), **handed)  # type: ignore[arg-type]  # of tests
        given, shown = self.tokens[giver], self.tokens[to]
        signed_in = await delegate.delegate(
            self.scenario.service, self.bearer(given), given, self.bearer(shown), shown, what
        )
        self.tokens[name] = signed_in.token
        return signed_in.session

    async def ask(self, name: str, role: str = STAGING, seconds: int = 600) -> Asked:
        resource, _, wanted = role.partition("/")
        ask = AccessAsk(
            resource=resource, role=wanted, seconds=seconds, reason=Reason(ticket="T-1")
        )
        return await request.request(self.scenario.service, self.caller(name), ask)

    async def pick_up(self, name: str, asked: Asked) -> PickedUp:
        return await issue.pick_up(self.scenario.service, self.caller(name), asked.case.id)

    async def granted(self, name: str, role: str = STAGING, seconds: int = 600) -> PickedUp:
        return await self.pick_up(name, await self.ask(name, role, seconds))
