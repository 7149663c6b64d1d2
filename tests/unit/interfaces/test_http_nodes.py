"""A node by its role: what a worker answers, what runs beside an API, what one node sees of another."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from muniment.access import records
from muniment.errors import Conflict, LogUnavailable
from muniment.identity.tokens import new_token, token_hash
from muniment.interfaces.cli.main import run
from muniment.interfaces.http.app import Role, make_app
from muniment.operations import approve, issue, request, sign_in, take_in
from muniment.operations.facts import Reason
from muniment.operations.request import AccessAsk
from muniment.operations.service import Caller, Service
from muniment.operations.take_in import ProposedToken
from muniment.runtime.settings import Settings
from muniment.runtime.worker import Worker
from muniment.testing.scenario import Scenario, case_id

SETTINGS = {"installation": {"origin": "muniment.example/scenario"}}
STORE = {"log": "env:LOG", "heads": "env:HEADS", "lease": "3s"}


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    async with Scenario(tmp_path, shared=True, checking=False) as opened:
        yield opened


@pytest.fixture
def other(scenario: Scenario) -> Iterator[Service]:
    with scenario.another_node() as opened:
        yield opened


def app_of(scenario: Scenario, role: Role = "all", *, work: bool = False) -> FastAPI:
    opened: Any = SimpleNamespace(
        overseeing=None,
        service=scenario.service,
        settings=Settings.model_validate({**SETTINGS, "store": STORE}),
        shared=True,
    )
    return make_app(opened, scenario.folder, work=work, role=role)


def client(app: FastAPI, token: str = "", **options: Any) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(
        transport=transport, base_url="http://service", headers=headers, **options
    )


# --- roles --------------------------------------------------------------------------------------


async def test_a_worker_tells_of_itself_and_of_nothing_else(scenario: Scenario) -> None:
    async with client(app_of(scenario, "worker")) as asked:
        assert (await asked.get("/healthz")).json()["status"] == "ok"
        assert (await asked.get("/readyz")).json() == {"ready": True, "troubles": []}
        assert "muniment_log_size" in (await asked.get("/metrics")).text
        for path in ("/v1/cases", "/", "/log/checkpoint", "/scim/v2/Users", "/sign-in", "/v1"):
            answer = await asked.get(path)
            assert answer.status_code == 421, path
            assert "this node is a worker" in answer.json()["detail"]
            # a client of SCIM is told as it understands
            kind = "scim" if path.startswith("/scim") else "problem"
            assert answer.headers["content-type"] == f"application/{kind}+json"
        for path in ("/access/v1/requests", "/v1/reload", "/v1/token"):
            assert (await asked.post(path, json={})).status_code == 421
        assert (await asked.post("/healthz")).status_code in (405, 421)


async def test_a_node_that_answers_does_nothing_that_is_due(scenario: Scenario) -> None:
    picked = await scenario.granted(seconds=60)
    app = app_of(scenario, "api", work=True)
    scenario.clock.advance(timedelta(minutes=1))
    async with app.router.lifespan_context(app):
        names = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
        assert "Bookkeeping.run" in names
        assert not {"Worker.run", "Upkeep.run"} & names
        scenario.service.wake.set()
        await asyncio.sleep(0)
        scenario.service.count("unauthenticated")
    assert scenario.read(picked).state == "issued"
    beaten = scenario.last(scenario.service.registry.log_case, records.LogHeartbeat)
    assert beaten.unrecorded == {"unauthenticated": 1}, "its last words"
    await scenario.work()


@pytest.mark.parametrize("role", ["worker", "all"])
async def test_a_worker_does_what_is_due(scenario: Scenario, role: Role) -> None:
    picked = await scenario.granted(seconds=60)
    app = app_of(scenario, role, work=True)
    scenario.clock.advance(timedelta(minutes=1))
    async with app.router.lifespan_context(app), asyncio.timeout(20):
        while not scenario.read(picked).closed:
            scenario.service.wake.set()
            await asyncio.sleep(0.005)


async def test_among_others_a_worker_gives_them_time(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    from muniment.interfaces.http import app as module

    made: list[Worker] = []

    def kept(**options: Any) -> Worker:
        made.append(Worker(**options))
        return made[-1]

    monkeypatch.setattr(module, "Worker", kept)
    app = app_of(scenario, work=True)
    async with app.router.lifespan_context(app):
        assert made[0].unread_grace == timedelta(seconds=6)
        assert made[0].apart > 0
        assert made[0].rest == 3 / 8  # it looks eight times in a lease for what others left


@pytest.mark.parametrize("role", ["api", "worker"])
def test_a_log_in_files_has_one_process_that_does_it_all(
    role: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "conf"
    assert run(["init", str(folder), "--json"]) == 0
    assert run(["serve", "--dir", str(folder), "--role", role]) == 2
    said = capsys.readouterr().err
    assert f"`--role {role}` is for one of several nodes" in said
    assert "[store]" in said


# --- what another node has answered -------------------------------------------------------------


def holder(service: Service, login: str) -> Caller:
    principal = service.registry.principals[service.names[login]]
    return Caller(principal=principal, assurance="token")


async def enrolled(scenario: Scenario, service: Service, login: str) -> str:
    """A token that this node has taken in."""
    token = new_token()
    digest = token_hash(token)
    scenario.tokens[digest] = ProposedToken(hash=digest, login=login, expires=None, label="")
    await take_in.take_in(service, scenario.proposed(), records.SERVICE)
    return token


async def test_a_token_that_another_node_took_in_is_known(
    scenario: Scenario, other: Service
) -> None:
    token = await enrolled(scenario, other, "ana")
    async with client(app_of(scenario), token) as ana:
        assert (await ana.get("/v1/whoami")).json()["principal"] == scenario.ids["ana"]


async def test_a_session_that_another_node_opened_shows_on_a_page(
    scenario: Scenario, other: Service
) -> None:
    length = timedelta(hours=1)
    signed_in = await sign_in.by_token(other, holder(other, "ana"), length)
    async with client(app_of(scenario), cookies={"muniment": signed_in.token}) as browser:
        assert (await browser.get("/")).status_code == 200


async def test_whoever_was_answered_by_another_node_goes_on_here(
    scenario: Scenario, other: Service
) -> None:
    token = await enrolled(scenario, scenario.service, "ana")
    async with client(app_of(scenario), token) as ana:
        asked = await ana.post(
            "/v1/cases",
            json={"resource": "orders-prod", "role": "readwrite", "seconds": 600, "ticket": "O-1"},
        )
        case = asked.json()["case"]
        await other.catch_up()
        assert (await approve.approve(other, holder(other, "cy"), case)).given
        answer = await ana.post(f"/v1/cases/{case}/credential", json={})
        assert answer.status_code == 200, answer.text


async def test_a_first_credential_that_another_node_is_making_is_told_of(
    scenario: Scenario, other: Service
) -> None:
    """Whoever was not answered there, and asks here, is not told that there is nothing for him."""
    asked = await scenario.ask("ana")
    await scenario.approve("cy", asked)
    hold = scenario.target().hold("issue")
    picking_up = asyncio.create_task(scenario.pick_up("ana", asked))
    await hold.reached.wait()
    await other.catch_up()
    with pytest.raises(Conflict, match="is being made at this moment"):
        await issue.pick_up(other, holder(other, "ana"), case_id(asked))
    hold.release()
    assert scenario.login(await picking_up).alive


async def test_a_node_that_cannot_see_the_others_denies_nothing_that_they_may_know(
    scenario: Scenario, other: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is there, and what may become of it, is for a node to say that sees it."""
    token = await enrolled(scenario, scenario.service, "ana")
    await other.catch_up()
    wish = AccessAsk(resource="orders-prod", role="readwrite", seconds=600, reason=Reason())
    known = (await request.request(other, holder(other, "ana"), wish)).case.id
    await scenario.service.catch_up()
    unknown = (await request.request(other, holder(other, "ana"), wish)).case.id

    def fail() -> bytes:
        raise LogUnavailable("the head store: no answer in time")

    async with client(app_of(scenario), token) as ana:
        with monkeypatch.context() as cut:
            cut.setattr(scenario.service.log._heads, "read", fail)
            for case in (known, unknown):
                answer = await ana.post(f"/v1/cases/{case}/credential")
                assert answer.status_code == 503, answer.text
                assert "ask another node" in answer.json()["detail"]
            assert (await ana.get(f"/v1/cases/{unknown}")).status_code == 503
        for case in (known, unknown):
            answer = await ana.post(f"/v1/cases/{case}/credential")
            assert answer.status_code == 409
            assert "there is nothing to pick up" in answer.json()["detail"]


async def test_what_another_node_has_opened_is_not_said_to_be_missing(
    scenario: Scenario, other: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await enrolled(scenario, scenario.service, "ana")
    await other.catch_up()
    wish = AccessAsk(resource="orders-prod", role="readwrite", seconds=600, reason=Reason())
    opened = (await request.request(other, holder(other, "ana"), wish)).case.id
    async with client(app_of(scenario), token) as ana:
        with monkeypatch.context() as held:
            held.setattr(scenario.service.log, "follow", Future)  # somebody holds the log
            for _ in range(2):  # who waited, and who did not wait behind him
                answer = await ana.get(f"/v1/cases/{opened}")
                assert answer.status_code == 503, answer.text
                assert "ask another node" in answer.json()["detail"]


async def test_taking_away_waits_for_no_other_node_to_let_go_of_the_log(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that stopped may hold it for its lease, which is three seconds here."""
    token = await enrolled(scenario, scenario.service, "ana")
    picked = await scenario.granted()
    monkeypatch.setattr(scenario.service.log, "follow", Future)  # nobody ever fulfils it
    async with client(app_of(scenario), token) as ana, asyncio.timeout(2.5):
        answer = await ana.post(f"/v1/cases/{case_id(picked)}/end")
    assert answer.status_code == 200, answer.text
    assert scenario.target().accounts == {}


async def test_a_node_whose_files_are_not_in_force_is_not_ready(
    scenario: Scenario, other: Service
) -> None:
    changed = replace(scenario.proposed(), configuration=b"{}")
    await take_in.take_in(other, changed, records.SERVICE)
    await scenario.service.catch_up()
    async with client(app_of(scenario)) as asked:
        ready = await asked.get("/readyz")
        assert ready.status_code == 503
        [trouble] = ready.json()["troubles"]
        assert "not the ones in force" in trouble
        assert "\nmuniment_files_in_force 0\n" in (await asked.get("/metrics")).text
        await take_in.take_in(scenario.service, changed, records.SERVICE)
        assert (await asked.get("/readyz")).json()["ready"]
        assert "\nmuniment_files_in_force 1\n" in (await asked.get("/metrics")).text
