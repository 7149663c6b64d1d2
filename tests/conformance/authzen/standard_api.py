"""A client for each login of a `Scenario`, speaking the two standard texts to its HTTP interface."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import httpx
from fastapi import FastAPI

from muniment.identity.tokens import new_token, token_hash
from muniment.interfaces.http.app import make_app
from muniment.operations.take_in import ProposedPrincipal, ProposedToken
from muniment.runtime.outbound import CheckedOutbound
from muniment.runtime.settings import Settings
from muniment.testing.scenario import Scenario

BASE: Final = "https://muniment.example"
PROFILE: Final = "urn:openid:authzen:access-request:error:"
EVALUATION, EVALUATIONS = "/access/v1/evaluation", "/access/v1/evaluations"
REQUESTS: Final = "/access/v1/requests"
WELL_KNOWN: Final = "/.well-known/authzen-configuration"
LOGINS: Final = ("ana", "bo", "cy", "dan", "admin", "robo", "gate")


def gate() -> ProposedPrincipal:
    """An enrolled enforcement point: it may ask about others."""
    return ProposedPrincipal(
        login="gate", type="workload", groups=("enforcement-points",), sponsor="cy"
    )


class Names:
    """A resolver: the given addresses for every name, and what it was asked for."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: Sequence[str] = addresses

    async def __call__(self, _host: str, _port: int) -> Sequence[str]:
        return self.addresses


class Api:
    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario, self.folder = scenario, folder
        self.names = Names("1.1.1.1")
        scenario.service.outbound = CheckedOutbound(self.names)
        self.app = self.another_process()
        self.tokens: dict[str, str] = {}

    def another_process(self) -> FastAPI:
        """The same interface anew, with nothing of what this one keeps in memory."""
        settings = {"installation": {"origin": "muniment.example/log"}}
        opened: Any = SimpleNamespace(
            service=self.scenario.service, settings=Settings.model_validate(settings)
        )
        return make_app(opened, self.folder, work=False)

    async def enrol(self) -> None:
        for login in LOGINS:
            token = self.tokens[login] = new_token()
            digest = token_hash(token)
            self.scenario.tokens[digest] = ProposedToken(
                hash=digest, login=login, expires=None, label=""
            )
        await self.scenario.take_in()

    def client(self, login: str | None, app: FastAPI | None = None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.tokens[login]}"} if login else {}
        transport = httpx.ASGITransport(app or self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers)

    async def get(self, login: str | None, path: str) -> httpx.Response:
        async with self.client(login) as client:
            return await client.get(path)

    async def post(self, login: str | None, path: str, body: Any, **headers: str) -> httpx.Response:
        async with self.client(login) as client:
            return await client.post(path, json=body, headers=headers)

    async def evaluate(self, login: str, body: Any) -> Any:
        """The decision; anything but a 200 fails the test."""
        return ok(await self.post(login, EVALUATION, body))

    async def denied(self, login: str = "ana", body: Any = None) -> tuple[Any, Any]:
        """A question, and the denial that it got."""
        asked = body if body is not None else question(login)
        return asked, await self.evaluate(login, asked)

    async def submission(self, login: str = "ana", *, token: bool = False, **more: Any) -> Any:
        """The body of a request, bound to a denial of just now."""
        asked, denied = await self.denied(login, question(login, **more.pop("context", {})))
        return {**asked, "denial": denial(denied, token=token), **more}

    async def submit(self, login: str = "ana", **more: Any) -> Any:
        """A request that was accepted; the answer."""
        response = await self.post(login, REQUESTS, await self.submission(login, **more))
        assert response.status_code in (201, 202), response.text
        return response.json()

    async def approved(self, login: str = "ana") -> Any:
        """A task that was approved, as its status endpoint has it."""
        task = (await self.submit(login))["task"]
        await self.scenario.approve("bo", task["id"])
        return await self.poll(login, task["id"])

    async def poll(self, login: str, task: str) -> Any:
        return ok(await self.get(login, f"{REQUESTS}/{task}"))

    async def granted(self, login: str = "ana") -> Any:
        """An approved task whose credential was picked up: access is there."""
        answer = await self.approved(login)
        await self.scenario.pick_up(login, answer["task"]["id"])
        return answer


def question(login: str, **context: Any) -> Any:
    """The evaluation that most tests ask."""
    return {
        "subject": {"type": "human", "id": login},
        "resource": {"type": "resource", "id": "orders-prod"},
        "action": {"name": "readwrite"},
        "context": {"seconds": 1800, "ticket": "OPS-1", **context},
    }


def denial(answer: Any, *, token: bool = False) -> Any:
    """What a client sends back of a requestable denial: by its id, or by its binding token."""
    context = answer["context"]
    access = context["access_request"]
    if token:
        return {"binding_token": access["binding_token"], "expires_at": access["expires_at"]}
    return {"evaluation_id": context["evaluation_id"], "expires_at": access["expires_at"]}


def ok(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def problem(response: httpx.Response, status: int, name: str = "") -> Any:
    """A problem document, of one of the profile's types where it is named."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found = response.json()
    if name:
        assert found["type"] == PROFILE + name
    return found


def parts(jws: str) -> tuple[Any, Any, bytes]:
    """Header, claims and signature of a compact JWS, unchecked."""
    head, payload, signature = jws.split(".")
    return json.loads(decoded(head)), json.loads(decoded(payload)), decoded(signature)


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
