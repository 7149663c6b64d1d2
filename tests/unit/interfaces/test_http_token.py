"""Token exchange as RFC 8693 has it: what is asked, what is answered, and what is refused."""

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from muniment.identity.tokens import new_token, token_hash
from muniment.interfaces.http.app import make_app
from muniment.interfaces.http.token import ACCESS_TOKEN, EXCHANGE
from muniment.operations.take_in import ProposedToken
from muniment.runtime.settings import Settings
from muniment.testing.scenario import Scenario


class Exchange:
    """A client of the token endpoint, and the tokens of everybody who has one."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario = scenario
        settings = Settings.model_validate(
            {"installation": {"origin": "muniment.example/scenario"}}
        )
        opened: Any = SimpleNamespace(service=scenario.service, settings=settings, sign_ins={})
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(make_app(opened, folder, work=False)),
            base_url="http://service",
        )
        self.tokens: dict[str, str] = {}

    async def enrol(self, *logins: str) -> None:
        for login in logins:
            token = self.tokens[login] = new_token()
            digest = token_hash(token)
            self.scenario.tokens[digest] = ProposedToken(
                hash=digest, login=login, expires=None, label=""
            )
        await self.scenario.take_in()

    def form(self, giver: str = "ana", agent: str = "robo", **changed: str) -> dict[str, str]:
        return {
            "grant_type": EXCHANGE,
            "subject_token": self.tokens[giver],
            "subject_token_type": ACCESS_TOKEN,
            "actor_token": self.tokens[agent],
            "actor_token_type": ACCESS_TOKEN,
            **changed,
        }

    async def post(self, form: dict[str, str] | str, **headers: str) -> httpx.Response:
        if isinstance(form, dict):
            return await self.http.post("/v1/token", data=form, headers=headers)
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self.http.post("/v1/token", content=form, headers={**kind, **headers})

    async def as_bearer(self, token: str, method: str, path: str, **rest: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return await self.http.request(method, path, headers=headers, **rest)


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[Exchange]:
    async with Scenario(tmp_path) as scenario:
        made = Exchange(scenario, tmp_path)
        await made.enrol("ana", "dan", "robo")
        yield made
        await made.http.aclose()


def refused(response: httpx.Response, code: str) -> str:
    assert response.status_code == 400, response.text
    assert response.headers["cache-control"] == "no-store"
    assert response.json()["error"] == code, response.text
    return str(response.json()["error_description"])


async def test_rfc8693_2_2_1_the_answer_names_token_type_and_length(exchange: Exchange) -> None:
    response = await exchange.post(exchange.form(scope="orders-staging/readwrite"))
    answer = response.json()
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    assert answer["issued_token_type"] == ACCESS_TOKEN
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == 900
    assert answer["scope"] == "orders-staging/readwrite"


async def test_the_agent_asks_with_the_token_that_it_was_given(exchange: Exchange) -> None:
    answer = (await exchange.post(exchange.form())).json()
    me = (await exchange.as_bearer(answer["access_token"], "GET", "/v1/whoami")).json()
    assert me["names"][me["principal"]] == "robo"


async def test_what_started_it_comes_with_the_exchange(exchange: Exchange) -> None:
    said = {
        "task": "INC-7",
        "prompt_hash": hashlib.sha256(b"prompt").hexdigest(),
        "agent_model": "model-1",
    }
    answer = (await exchange.post(exchange.form(**said))).json()
    service = exchange.scenario.service
    [entry] = service.log.read_case(answer["session"])
    assert service.section(entry, "task") == said


async def test_rfc8693_2_2_2_tokens_that_do_not_hold_are_an_invalid_request(
    exchange: Exchange,
) -> None:
    forged = "muniment-" + "x" * 43
    refused(await exchange.post(exchange.form(subject_token=forged)), "invalid_request")
    refused(await exchange.post(exchange.form(actor_token=forged)), "invalid_request")
    description = refused(await exchange.post(exchange.form(giver="dan")), "invalid_request")
    assert "sponsor" in description


async def test_another_target_than_us_is_refused(exchange: Exchange) -> None:
    form = exchange.form(resource="https://elsewhere.example")
    refused(await exchange.post(form), "invalid_target")
    here = await exchange.post(exchange.form(resource="http://service"))
    assert here.status_code == 200


async def test_more_than_the_giver_has_is_an_invalid_scope(exchange: Exchange) -> None:
    narrow = await exchange.post(exchange.form(scope="orders-staging/readwrite"))
    exchange.tokens["narrow"] = narrow.json()["access_token"]
    wide = exchange.form(giver="narrow", scope="orders-prod/readwrite")
    refused(await exchange.post(wide), "invalid_scope")
    refused(await exchange.post(exchange.form(scope="nothing/there")), "invalid_scope")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"grant_type": "authorization_code"}, "unsupported_grant_type"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:jwt"}, "invalid_request"),
        ({"max_seconds": "-1"}, "invalid_request"),
        ({"expires_in": "soon"}, "invalid_request"),
        ({"expires_in": "0"}, "invalid_request"),
        ({"prompt_hash": "not one"}, "invalid_request"),
        ({"scope": "a/b", "roles": "a/b"}, "invalid_request"),
        ({"subject_token": "x" * 20_000}, "invalid_request"),
    ],
)
async def test_a_form_that_does_not_hold_is_refused(
    exchange: Exchange, changed: dict[str, str], code: str
) -> None:
    refused(await exchange.post(exchange.form(**changed)), code)


async def test_rfc6749_3_2_a_parameter_that_is_there_twice_is_refused(exchange: Exchange) -> None:
    form = "&".join(f"{k}={v}" for k, v in exchange.form(task="a").items()) + "&task=b"
    refused(await exchange.post(form), "invalid_request")


@pytest.mark.parametrize("body", ["", "a", "%ff=1", "=&=", "a=1&" * 40, "\u00e9=1"])
async def test_what_is_no_form_is_refused(exchange: Exchange, body: str) -> None:
    refused(await exchange.post(body), "invalid_request")


async def test_another_content_type_is_refused(exchange: Exchange) -> None:
    response = await exchange.http.post("/v1/token", json=exchange.form())
    refused(response, "invalid_request")


async def test_a_closed_task_ends_its_delegation(exchange: Exchange) -> None:
    answer = (await exchange.post(exchange.form(task="INC-7"))).json()
    ended = await exchange.as_bearer(exchange.tokens["ana"], "POST", "/v1/tasks/INC-7/end")
    assert ended.status_code == 200, ended.text
    assert [each["session"] for each in ended.json()["closed"]] == [answer["session"]]
    after = await exchange.as_bearer(answer["access_token"], "GET", "/v1/whoami")
    assert after.status_code == 401


async def test_a_delegation_is_worth_nothing_the_moment_its_sponsor_is_disabled(
    exchange: Exchange,
) -> None:
    answer = (await exchange.post(exchange.form())).json()
    await exchange.scenario.change("ana", active=False)
    after = await exchange.as_bearer(answer["access_token"], "GET", "/v1/whoami")
    assert after.status_code == 401


async def test_the_claimed_chain_is_held_against_the_delegation(exchange: Exchange) -> None:
    token = (await exchange.post(exchange.form())).json()["access_token"]
    body = {
        "subject": {"type": "agent", "id": "robo"},
        "resource": {"type": "resource", "id": "orders-staging"},
        "action": {"name": "readwrite"},
        "context": {"seconds": 600},
    }
    seen = await exchange.as_bearer(token, "POST", "/access/v1/evaluation", json=body)
    context = seen.json()["context"]
    denial = {
        "evaluation_id": context["evaluation_id"],
        "expires_at": context["access_request"]["expires_at"],
    }
    for sponsor, status in (("dan", 403), ("ana", 201)):
        actor = {"id": "robo", "act": {"sub": sponsor}}
        asked = {**body, "denial": denial, "client": {"actor": actor}}
        response = await exchange.as_bearer(token, "POST", "/access/v1/requests", json=asked)
        assert response.status_code == status, response.text


async def test_many_exchanges_meet_the_quota(exchange: Exchange) -> None:
    exchange.scenario.service.limits = type(exchange.scenario.service.limits)(
        asks_per_minute=2, approval_window=timedelta(hours=1)
    )
    answers = [(await exchange.post(exchange.form())).status_code for _ in range(3)]
    assert answers == [200, 200, 429]
