"""`/v1/holds`, `/v1/retention` and a person's own copy, over a `Scenario`: from whom, and how."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from scenario_api import ScenarioApi

from muniment.operations import erase_run
from muniment.oversight.retention import Class, Rules
from muniment.testing.cast import cast
from muniment.testing.scenario import Scenario

DAY = timedelta(days=1)
TEXT = Class(name="text", sections=frozenset(["reason"]), ceiling=365 * DAY, origin="here")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ScenarioApi]:
    people = {**cast(), "dan": replace(cast()["dan"], groups=("privacy-officers",))}
    async with Scenario(tmp_path, principals=people, checking=False) as scenario:
        found = ScenarioApi(scenario, tmp_path)
        await found.enrol("ana", "bo", "pia", "dan", "aud", "admin")
        scenario.service.erasures.rules = Rules(classes=(TEXT,), two_people_above=0)
        yield found


async def old_case(api: ScenarioApi) -> str:
    asked = await api.scenario.ask("ana", text="because")
    await api.scenario.withdraw("ana", asked)
    api.scenario.clock.advance(366 * DAY)
    return asked.case.id


async def get(api: ScenarioApi, login: str, path: str) -> httpx.Response:
    async with api.client(login) as client:
        return await client.get(path)


async def post(api: ScenarioApi, login: str, path: str, **body: object) -> httpx.Response:
    async with api.client(login) as client:
        return await client.post(path, json=body)


async def test_a_run_is_proposed_by_one_approved_by_another_and_seen_through(
    api: ScenarioApi,
) -> None:
    case = await old_case(api)
    listed = (await get(api, "pia", "/v1/retention")).json()
    assert listed["classes"][0]["covers"] == 1
    assert listed["rules"] == {"retention:text": 1}
    plan = (await get(api, "pia", "/v1/retention/plan")).json()
    assert [line["record"] for line in plan["lines"]] == [f"{case}/0"]
    proposed = (await post(api, "pia", "/v1/retention/runs")).json()
    run = proposed["run"]["run"]
    assert proposed["run"]["missing"] == 1
    assert (await post(api, "pia", f"/v1/retention/runs/{run}/approval")).status_code == 403
    begun = (await post(api, "dan", f"/v1/retention/runs/{run}/approval")).json()
    assert begun["state"] == "begun"
    assert erase_run.is_due(api.scenario.service)
    await erase_run.keep_up(api.scenario.service)
    done = (await get(api, "pia", f"/v1/retention/runs/{run}")).json()
    assert (done["state"], done["erased"], done["closed"]) == ("closed", 1, True)
    runs = (await get(api, "pia", "/v1/retention/runs")).json()["runs"]
    assert [each["run"] for each in runs] == [run]
    reached = (await get(api, "aud", f"/v1/retention/reach/{case}")).json()
    assert reached["erased"][0]["rule"] == "retention:text"
    begins = (await get(api, "aud", f"/v1/retention/reach/{case[:12]}")).json()
    assert (begins["case"], begins["erased"]) == (case, reached["erased"])
    unknown = await get(api, "aud", "/v1/retention/reach/mun_" + "z" * 3000)
    assert (unknown.status_code, len(unknown.text) < 500) == (404, True)


@pytest.mark.parametrize(
    ("login", "method", "path"),
    [
        ("ana", "GET", "/v1/retention"),
        ("ana", "GET", "/v1/retention/plan"),
        ("ana", "GET", "/v1/retention/runs"),
        ("ana", "GET", "/v1/holds"),
        ("ana", "POST", "/v1/retention/runs"),
        ("admin", "POST", "/v1/retention/runs"),
        ("pia", "GET", "/v1/retention/reach/mun_" + "a" * 26),
        ("pia", "GET", "/v1/holds"),
        ("ana", "POST", "/v1/people/bo/evidence"),
    ],
)
async def test_who_may_not_is_told_so(api: ScenarioApi, login: str, method: str, path: str) -> None:
    async with api.client(login) as client:
        answer = await client.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == 403, answer.text


async def test_a_hold_is_placed_by_one_and_released_by_two(api: ScenarioApi) -> None:
    case = await old_case(api)
    asked = {"cases": [case], "matter": "matter 7", "people": ["bo"]}
    placed = await post(api, "aud", "/v1/holds", **asked)
    assert placed.status_code == 200, placed.text
    hold = placed.json()["hold"]
    assert placed.json()["names"][placed.json()["people"][0]] == "bo"
    plan = (await get(api, "pia", "/v1/retention/plan")).json()
    assert (plan["due"], plan["held"]) == (0, {hold: 1})
    path = f"/v1/holds/{hold}"
    assert (await post(api, "aud", f"{path}/confirmation")).status_code == 409
    assert (await post(api, "aud", f"{path}/release", reason="over")).status_code == 200
    assert (await post(api, "aud", f"{path}/confirmation")).status_code == 403
    assert (await post(api, "admin", f"{path}/confirmation")).json()["state"] == "released"
    assert (await get(api, "aud", "/v1/holds")).json()["holds"] == []
    shown = (await get(api, "aud", path)).json()
    assert shown["matter"]["matter"] == "matter 7"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"matter": "m"}, 422),
        ({"matter": "m", "people": ["nobody"]}, 404),
        ({"matter": "m", "cases": ["mun_aaaa"]}, 404),
        ({"matter": "m", "people": ["ana"], "since": "2026-01-01T00:00:00"}, 422),
        ({"people": ["ana"]}, 422),
        ({"matter": "m", "people": ["ana"], "forever": True}, 422),
        ({"matter": "m\u202e", "people": ["ana"]}, 422),
        ({"matter": "m", "people": ["ana"] * 101}, 422),
    ],
)
async def test_a_hold_that_cannot_be_is_refused(
    api: ScenarioApi, body: dict[str, object], status: int
) -> None:
    answer = await post(api, "aud", "/v1/holds", **body)
    assert answer.status_code == status, answer.text


async def test_a_person_is_given_her_own_copy(api: ScenarioApi) -> None:
    await old_case(api)
    answer = await post(api, "ana", "/v1/people/ana/evidence")
    assert answer.status_code == 200, answer.text
    assert "because" in answer.text
    assert answer.headers["X-Muniment-Record"].startswith("exp_")
    assert (await post(api, "aud", "/v1/people/ana/evidence")).status_code == 200
    assert (await post(api, "aud", "/v1/people/nobody/evidence")).status_code == 404


async def test_who_may_not_see_others_learns_from_no_answer_who_is_known_here(
    api: ScenarioApi,
) -> None:
    known, unknown = [
        await post(api, "ana", f"/v1/people/{name}/evidence") for name in ("bo", "nobody")
    ]
    assert (known.status_code, known.json()["detail"]) == (403, unknown.json()["detail"])
    assert known.json().keys() == unknown.json().keys()
    assert unknown.status_code == 403


async def test_so_many_copies_may_be_taken_within_a_minute(api: ScenarioApi) -> None:
    service = api.scenario.service
    service.limits = replace(service.limits, asks_per_minute=2)
    path = "/v1/people/ana/evidence"
    assert [(await post(api, "ana", path)).status_code for _ in range(3)] == [200, 200, 429]
    # they are counted apart from what she asks for
    await api.scenario.ask("ana")
    api.scenario.clock.advance(timedelta(minutes=1))
    assert (await post(api, "ana", path)).status_code == 200
