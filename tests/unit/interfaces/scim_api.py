"""A directory that writes by SCIM, over a `Scenario`, with a second one beside it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx

from muniment.access import records
from muniment.identity.tokens import new_token, token_hash
from muniment.interfaces.http.app import make_app
from muniment.operations.providers import ProviderRules
from muniment.operations.take_in import ProposedPrincipal, ProposedToken
from muniment.runtime.settings import Settings
from muniment.testing.scenario import Scenario

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
MEDIA_TYPE = "application/scim+json"
ISSUERS = {"okta": "https://okta.example.org", "entra": "https://entra.example.org"}


class ScimApi:
    """The HTTP interface, and a token for each provider's workload."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario, self.folder, self.tokens = scenario, folder, dict[str, str]()
        for name in ISSUERS:
            self._workload(f"{name}-scim", "muniment-directory")
        self._workload("stranger", "muniment-directory")
        self._workload("powerless")
        for login in ("ana", "admin"):
            self._token(login)

    async def start(self) -> "ScimApi":
        await self.scenario.take_in()
        self.serve()
        return self

    def serve(self, **rules: Any) -> None:
        """Put the providers in force, and the application over the service that is open now."""
        service = self.scenario.service
        service.providers.rules = {
            name: ProviderRules(
                name=name, kind="people", issuer=issuer, groups="scim", scim=f"{name}-scim", **rules
            )
            for name, issuer in ISSUERS.items()
        }
        settings = Settings.model_validate({"installation": {"origin": "muniment.example/s"}})
        opened: Any = SimpleNamespace(service=service, settings=settings)
        self.app = make_app(opened, self.folder, work=False)

    def depend_on(self, login: str) -> None:
        """Let another workload write the people of `okta`."""
        known = dict(self.scenario.service.providers.rules)
        self.scenario.service.providers.rules = {
            **known,
            "okta": replace(known["okta"], scim=login),
        }

    def _workload(self, login: str, *groups: str) -> None:
        self.scenario.principals[login] = ProposedPrincipal(
            login=login, type="workload", groups=groups, sponsor="cy"
        )
        self._token(login)

    def _token(self, login: str) -> None:
        token = self.tokens[login] = new_token()
        digest = token_hash(token)
        self.scenario.tokens[digest] = ProposedToken(
            hash=digest, login=login, expires=None, label=""
        )

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        who: str | None = "okta-scim",
        **query: str,
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} if who is not None else {}
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(
                method,
                f"/scim/v2{path}",
                content=content,
                params=query,
                headers={**headers, "Content-Type": MEDIA_TYPE},
            )

    async def person(self, user_name: str, *, who: str = "okta-scim", **more: Any) -> Any:
        """Create a person; `externalId` is made of the name."""
        body = {"externalId": f"id-of-{user_name}", **user(user_name), **more}
        return created(await self.ask("POST", "/Users", body, who=who))

    async def group(self, name: str, *members: str, who: str = "okta-scim", **more: Any) -> Any:
        body = {**group(name, *members), **more}
        return created(await self.ask("POST", "/Groups", body, who=who))

    async def patch(
        self, path: str, *operations: Mapping[str, Any], who: str = "okta-scim"
    ) -> httpx.Response:
        return await self.ask(
            "PATCH", path, {"schemas": [PATCH], "Operations": list(operations)}, who=who
        )

    def principal(self, id_: str) -> Any:
        return self.scenario.service.registry.principals[id_]

    def groups(self, id_: str) -> set[str]:
        """The groups that a decision sees."""
        return set(self.principal(id_).groups)

    def written(self) -> list[records.Record]:
        """Every record by a directory, oldest first."""
        log, found = self.scenario.service.log, []
        for index in range(log.size):
            record = records.parse(log.read_entry(index).header)
            source = getattr(record, "source", "")
            if isinstance(source, str) and source.startswith("scim:"):
                found.append(record)
        return found


def user(user_name: str) -> dict[str, Any]:
    return {"schemas": [USER], "userName": user_name, "active": True}


def group(name: str, *members: str) -> dict[str, Any]:
    return {"schemas": [GROUP], "displayName": name, "members": [{"value": id_} for id_ in members]}


def created(answer: httpx.Response) -> Any:
    assert answer.status_code == 201, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    body = answer.json()
    assert answer.headers["location"] == body["meta"]["location"]
    return body


def done(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def refused(answer: httpx.Response, status: int, word: str = "") -> str:
    """The detail of an error as RFC 7644 section 3.12 has it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    body = answer.json()
    assert body["schemas"] == [ERROR]
    assert body["status"] == str(status)
    assert body.get("scimType", "") == word, body
    detail: str = body["detail"]
    return detail
