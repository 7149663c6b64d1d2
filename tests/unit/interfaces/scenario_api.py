"""Somebody's requests to the application over a `Scenario`."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx

from muniment.identity.tokens import new_token, token_hash
from muniment.interfaces.http.app import make_app
from muniment.operations.take_in import ProposedToken
from muniment.runtime.settings import Settings
from muniment.testing.scenario import Scenario


class ScenarioApi:
    """A client for each login of a scenario."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario = scenario
        settings = Settings.model_validate(
            {"installation": {"origin": "muniment.example/scenario"}}
        )
        opened: Any = SimpleNamespace(service=scenario.service, settings=settings, overseeing=None)
        self.app = make_app(opened, folder, work=False)
        self._tokens: dict[str, str] = {}

    async def enrol(self, *logins: str) -> None:
        for login in logins:
            token = self._tokens[login] = new_token()
            digest = token_hash(token)
            self.scenario.tokens[digest] = ProposedToken(
                hash=digest, login=login, expires=None, label=""
            )
        await self.scenario.take_in()

    def client(self, login: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False),
            base_url="http://service",
            headers={"Authorization": f"Bearer {self._tokens[login]}"},
        )

    async def get(self, login: str, path: str, **query: Any) -> httpx.Response:
        async with self.client(login) as client:
            return await client.get(path, params=query)

    async def post(self, login: str, path: str, body: Any = None) -> httpx.Response:
        async with self.client(login) as client:
            return await client.post(path, json={} if body is None else body)
