"""Evidence health over HTTP: of one grant for whoever sees it, of all for whoever reads all."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from scenario_api import ScenarioApi

from muniment.operations import health
from muniment.operations.surveying import surveyed
from muniment.oversight.weakness import KINDS
from muniment.testing.scenario import Scenario

PATH = "/v1/evidence/health"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ScenarioApi]:
    async with Scenario(tmp_path) as scenario:
        found = ScenarioApi(scenario, tmp_path)
        await found.enrol("ana", "dan", "aud")
        yield found


async def test_a_grant_is_shown_with_what_is_weak_and_what_to_do(api: ScenarioApi) -> None:
    case = (await api.scenario.granted()).case.id
    answer = (await api.get("ana", f"{PATH}/{case[:12]}")).json()
    assert (answer["case"], answer["granted"]) == (case, True)
    kinds = {each["kind"]: each for each in answer["weaknesses"]}
    assert "uncovered-source" in kinds
    assert kinds["uncovered-source"]["advice"] == KINDS["uncovered-source"].advice
    ana = api.scenario.ids["ana"]
    assert kinds["static-token-request"]["says"] == f"by {ana}"
    assert answer["names"][ana] == "ana"
    assert {each["kind"] for each in answer["log"]} == {"no-witnesses", "no-time-stamps"}


async def test_others_see_neither_his_grant_nor_all_of_them(api: ScenarioApi) -> None:
    case = (await api.scenario.granted()).case.id
    assert (await api.get("dan", f"{PATH}/{case}")).status_code == 404
    assert (await api.get("dan", PATH)).status_code == 403
    assert (await api.get("aud", PATH)).status_code == 200
    assert (await api.get("aud", f"{PATH}/mun_nothing")).status_code == 404


async def test_all_of_them_are_counted_with_the_trend(api: ScenarioApi) -> None:
    await api.scenario.granted()
    await health.measure(api.scenario.service)
    size = api.scenario.service.log.size
    answer = (await api.get("aud", PATH)).json()
    assert (answer["grants"], answer["weak"], len(answer["trend"])) == (1, 1, 1)
    assert size <= answer["size"] <= api.scenario.service.log.size


async def test_a_case_says_in_short_whether_its_evidence_stands_up(api: ScenarioApi) -> None:
    granted = (await api.scenario.granted()).case.id
    denied = (await api.scenario.ask("ana", ticket="")).case.id
    shown = (await api.get("ana", f"/v1/cases/{granted}")).json()["health"]
    assert shown["granted"]
    assert shown["weaknesses"] == ["token-approval", "uncovered-source"]
    assert shown["slight"] == ["static-token-request"]
    shown = (await api.get("ana", f"/v1/cases/{denied}")).json()["health"]
    assert shown == {"granted": False, "weaknesses": [], "slight": []}


async def test_while_the_log_is_read_a_case_is_shown_without_it_and_the_list_has_to_wait(
    api: ScenarioApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = (await api.scenario.granted()).case.id
    monkeypatch.setattr(health, "MOST_GLANCED", 1)
    assert (await api.get("ana", f"/v1/cases/{case}")).json()["health"] is None
    survey = api.scenario.service.observing.surveyed.survey
    assert survey.size == 1
    monkeypatch.setattr(health, "surveyed", partial(surveyed, most=5))
    answer = await api.get("aud", PATH)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert f"6 of {api.scenario.service.log.size:,} entries" in answer.text
