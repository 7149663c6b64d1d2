"""`/v1/drift` over a scenario: who may look, what is answered, and the ways out end to end."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from muniment.identity.tokens import new_token, token_hash
from muniment.interfaces.http.app import make_app
from muniment.operations.take_in import ProposedToken
from muniment.runtime.settings import Settings
from muniment.testing.scenario import Scenario

RESOURCE = "/v1/drift/orders-prod"


class Api:
    """A client for each login of a scenario."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario = scenario
        settings = Settings.model_validate({"installation": {"origin": "muniment.example/x"}})
        opened: Any = SimpleNamespace(service=scenario.service, settings=settings, overseeing=None)
        self.app = make_app(opened, folder, work=False)
        self.tokens = {login: new_token() for login in ("ana", "admin", "aud")}
        for login, token in self.tokens.items():
            scenario.tokens[token_hash(token)] = ProposedToken(
                hash=token_hash(token), login=login, expires=None, label=""
            )

    async def ask(
        self, login: str, method: str, path: str, body: dict[str, Any] | None = None
    ) -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app),
            base_url="http://service",
            headers={"Authorization": f"Bearer {self.tokens[login]}"},
        ) as client:
            return await client.request(method, path, json=body)

    async def scan(self) -> Any:
        return (await self.ask("admin", "POST", RESOURCE, {})).json()


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with Scenario(tmp_path) as scenario:
        api = Api(scenario, tmp_path)
        await scenario.take_in()
        yield api


async def test_before_the_first_look_it_says_that_there_was_none(api: Api) -> None:
    answer = (await api.ask("aud", "GET", "/v1/drift?resource=orders-prod")).json()
    assert answer["resources"] == [
        {"resource": "orders-prod", "scan": None, "differences": [], "removals": []}
    ]
    all_of_them = (await api.ask("aud", "GET", "/v1/drift")).json()["resources"]
    assert [each["resource"] for each in all_of_them] == ["orders-prod", "orders-staging"]


async def test_whoever_answers_findings_looks_and_nobody_else(api: Api) -> None:
    assert (await api.ask("ana", "POST", RESOURCE)).status_code == 403
    looked = await api.ask("aud", "POST", RESOURCE)
    assert looked.json()["resources"][0]["scan"]["first"] is True
    assert (await api.ask("admin", "POST", RESOURCE)).status_code == 200
    for path in ("/v1/drift", "/v1/drift/unproven"):
        assert (await api.ask("ana", "GET", path)).status_code == 403
        assert (await api.ask("aud", "GET", path)).status_code == 200


async def test_what_is_not_there_or_does_not_answer_is_said(api: Api) -> None:
    assert (await api.ask("admin", "POST", "/v1/drift/nowhere")).status_code == 404
    assert (await api.ask("aud", "GET", "/v1/drift?resource=nowhere")).status_code == 404
    api.scenario.target().down = True
    assert (await api.ask("admin", "POST", RESOURCE)).status_code == 502


async def test_an_account_is_found_acknowledged_and_ordered_to_go(api: Api) -> None:
    await api.scan()
    api.scenario.target().make_foreign_account("backdoor")
    (found,) = (await api.scan())["resources"][0]["differences"]
    assert (found["account"], found["what"], found["state"]) == ("backdoor", "out-of-band", "open")
    wanted = {"account": "backdoor", "finding": found["finding"], "reason": "nobody knows it"}
    refused = await api.ask("admin", "POST", f"{RESOURCE}/removals", wanted)
    assert refused.status_code == 409
    assert "it takes two" in refused.json()["detail"]
    await api.ask("aud", "POST", f"/v1/findings/{found['finding']}/acknowledgement", {})
    ordered = await api.ask("admin", "POST", f"{RESOURCE}/removals", wanted)
    assert ordered.json()["statements"] == []  # this connector cannot say
    (listed,) = (await api.scan())["resources"][0]["removals"]
    assert listed["removal"] == ordered.json()["removal"]
    del api.scenario.target().accounts["backdoor"]
    gone = await api.scan()
    assert gone["removed"] == [ordered.json()["removal"]]
    assert gone["resources"][0]["removals"] == []


async def test_what_stood_there_becomes_a_finding_and_is_adopted(api: Api) -> None:
    api.scenario.target().make_foreign_account("orders_app")
    await api.scan()
    made = await api.ask("aud", "POST", f"{RESOURCE}/finding", {"account": "orders_app"})
    until = (api.scenario.service.now().replace(year=2027)).isoformat()
    closing = {"resolution": "adopted", "owner": "bo", "reason": "the shop", "until": until}
    path = f"/v1/findings/{made.json()['finding']}/closing"
    assert (await api.ask("aud", "POST", path, closing)).status_code == 200
    assert (await api.scan())["resources"][0]["differences"] == []


@pytest.mark.parametrize("account", ["", "x" * 257, 7, None])
async def test_a_hostile_account_costs_its_own_refusal(api: Api, account: object) -> None:
    body = {"account": account}
    assert (await api.ask("admin", "POST", f"{RESOURCE}/finding", body)).status_code == 422


async def test_an_account_that_no_scan_saw_is_nobody(api: Api) -> None:
    await api.scan()
    for account in ("\x00", "\u202e", "'; DROP TABLE x"):
        body = {"account": account}
        assert (await api.ask("aud", "POST", f"{RESOURCE}/finding", body)).status_code == 404
