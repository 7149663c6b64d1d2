"""Browsers over a `Scenario`: the whole application in memory, and a provider to sign in at."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from fastapi import FastAPI

from muniment.identity.tokens import new_token, token_hash
from muniment.interfaces.http.app import make_app
from muniment.operations.take_in import ProposedToken
from muniment.runtime.outbound import CheckedOutbound
from muniment.runtime.providers import read_providers
from muniment.runtime.settings import Settings
from muniment.testing.scenario import Scenario
from muniment.testing.stand_ins import SteppedClock

with warnings.catch_warnings(record=True):
    # it has not followed its own library's advice yet, which says so whatever the filters are
    warnings.simplefilter("ignore")
    import oidc_provider_mock  # type: ignore[import-untyped]  # it brings no types

#: for tests during which the provider runs, in a thread of theirs
quiet_provider = pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning")

HERE = "https://muniment.example"
SESSION, VISIT = "__Host-muniment", "__Host-muniment-visit"
#: subjects at the provider, with what it says of each
USERS: dict[str, dict[str, object]] = {
    "sub-bo": {"preferred_username": "bo@corp.example", "name": "Bo", "amr": ["pwd", "otp"]},
    "sub-cy": {"preferred_username": "cy@corp.example", "name": "Cy"},
    "sub-new": {"preferred_username": "nora@corp.example", "name": "Nora"},
}


@contextmanager
def provider() -> Iterator[str]:
    """A provider that signs in whoever comes; its issuer."""
    users = tuple(oidc_provider_mock.User(sub=sub, claims=claims) for sub, claims in USERS.items())
    with oidc_provider_mock.run_server_in_thread(user_claims=users) as server:
        yield f"http://localhost:{server.server_port}"


def scenario_at(folder: Path, issuer: str) -> Scenario:
    """By the real time, as the provider's tokens have it; bo and cy are known there."""
    clock = SteppedClock(wall=datetime.now(UTC))  # noqa: TID251 (the provider's clock is this one)
    scenario = Scenario(folder, clock=clock)
    for login in ("bo", "cy"):
        known = scenario.principals[login]
        accounts = [{"issuer": issuer, "subject": f"sub-{login}"}]
        identity = {**known.identity, "accounts": accounts}
        scenario.principals[login] = replace(known, identity=identity)
    return scenario


@dataclass
class Console:
    """The application, and who uses it."""

    scenario: Scenario
    app: FastAPI
    tokens: dict[str, str] = field(default_factory=dict)

    @classmethod
    def over(cls, scenario: Scenario, issuer: str, folder: Path, **server: Any) -> "Console":
        section = {
            "kind": "people",
            "issuer": issuer,
            "audience": "muniment",
            "allow": [issuer],
            "client_secret": "file:client.secret",
            "enrol": True,
        }
        (folder / "client.secret").write_text("the provider takes any")
        settings = Settings.model_validate(
            {
                "installation": {"origin": "muniment.example/scenario"},
                "server": server or {"behind_proxy": True},
                "providers": {"corp": section},
            }
        )
        read = read_providers(settings, folder, CheckedOutbound())
        scenario.service.providers = read.providers
        opened: Any = SimpleNamespace(
            service=scenario.service, settings=settings, sign_ins=read.sign_ins
        )
        return cls(scenario=scenario, app=make_app(opened, folder, work=False))

    async def enrol(self, *logins: str) -> None:
        """A static token for each."""
        for login in logins:
            token = self.tokens[login] = new_token()
            digest = token_hash(token)
            self.scenario.tokens[digest] = ProposedToken(
                hash=digest, login=login, expires=None, label=""
            )
        await self.scenario.take_in()

    def browser(self, here: str = HERE) -> "Browser":
        return Browser(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False), base_url=here
        )

    async def api(
        self, token: str | None, path: str, body: dict[str, Any] | None = None
    ) -> httpx.Response:
        """A POST where there is a body."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=HERE, headers=headers) as http:
            return await (http.get(path) if body is None else http.post(path, json=body))

    async def code_of(self, login: str) -> str:
        made = await self.api(self.tokens[login], "/v1/sign-in/code", {})
        assert made.status_code == 200, made.text
        code: str = made.json()["code"]
        return code

    async def signed_in(self, login: str, here: str = HERE) -> "Browser":
        """A browser in which somebody with a static token is signed in."""
        browser = self.browser(here)
        entered = await browser.type_code(await self.code_of(login))
        assert entered.status_code == 303, entered.text
        return browser

    def sessions(self) -> list[str]:
        """Logins of those who are signed in."""
        service = self.scenario.service
        named = {id_: login for login, id_ in service.names.items()}
        return [named[each.opened.principal] for each in service.registry.sessions.values()]


class Browser(httpx.AsyncClient):
    """Keeps cookies, follows nothing by itself, and says where its forms come from."""

    def look(self, path: str, **query: str) -> Any:
        return self.get(path, params=query)

    async def submit(
        self, path: str, data: dict[str, str], *, origin: str | None = ""
    ) -> httpx.Response:
        """As a form of ours is sent; `origin` is that of another page, None for none."""
        came_from = str(self.base_url).rstrip("/") if origin == "" else origin
        headers = {} if came_from is None else {"Origin": came_from}
        return await self.post(path, data=data, headers=headers)

    async def type_code(self, code: str, to: str = "/") -> httpx.Response:
        form = fields((await self.look("/sign-in", to=to)).text)
        return await self.submit("/sign-in", {**form, "code": code})

    async def depart(self, to: str = "/") -> str:
        """Go to the provider; the address there."""
        sent = await self.look("/sign-in/corp", to=to)
        assert sent.status_code == 303, sent.text
        location: str = sent.headers["location"]
        return location

    async def sign_in(self, subject: str, to: str = "/") -> httpx.Response:
        """By the provider: there and back."""
        return await self.get(await at_provider(await self.depart(to), subject))

    @property
    def session(self) -> str:
        """Its session's token, which no script could read."""
        return self.cookies.get(SESSION) or self.cookies.get("muniment") or ""


async def at_provider(address: str, subject: str) -> str:
    """Somebody says there who he is: the address, at ours, that the provider sends him to."""
    async with httpx.AsyncClient() as http:
        answer = await http.post(address, data={"sub": subject})
    assert answer.status_code == 302, answer.text
    location: str = answer.headers["location"]
    return location


def fields(page: str) -> dict[str, str]:
    """What the hidden fields of a page's forms hold."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
    return {name: unescape(value) for name, value in found}


def words(page: str) -> str:
    """What a reader sees, in one line."""
    body = re.sub(r"<head>.*?</head>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def query_of(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).query))


def cookie_line(response: httpx.Response, name: str) -> str:
    """The whole `Set-Cookie` of this cookie."""
    lines = [x for x in response.headers.get_list("set-cookie") if x.startswith(f"{name}=")]
    assert len(lines) == 1, response.headers
    return lines[0]
