"""`/v1/campaigns` over a `Scenario`: who opens, sees, decides, signs, and what is refused."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from scenario_api import ScenarioApi

from muniment.testing.cast import human
from muniment.testing.scenario import Scenario

RULE: dict[str, Any] = {
    "name": "grants",
    "what": "grants",
    "reviewers": "sre-leads",
    "fallback": "security",
    "sign_off": "managers",
    "days": 10,
    "silence": "none",
}


class Api(ScenarioApi):
    """Below `/v1/campaigns`, with bodies as they are named."""

    async def get(self, login: str, path: str = "", **query: Any) -> httpx.Response:
        return await super().get(login, f"/v1/campaigns{path}", **query)

    async def post(
        self, login: str, path: str = "", body: Any = None, **more: Any
    ) -> httpx.Response:
        return await super().post(login, f"/v1/campaigns{path}", {**(body or {}), **more})


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    scenario = Scenario(tmp_path, campaigns=[RULE])
    scenario.principals["sec"] = human("sec", "security")
    scenario.principals["boss"] = human("boss", "managers")
    async with scenario:
        made = Api(scenario, tmp_path)
        await made.enrol("ana", "bo", "cy", "sec", "boss")
        yield made


async def opened(api: Api) -> str:
    await api.scenario.granted("ana")
    answer = await api.post("sec", name="grants")
    assert answer.status_code == 200, answer.text
    case: str = answer.json()["campaign"]
    return case


async def test_whoever_may_review_opens_and_nobody_else(api: Api) -> None:
    assert (await api.post("ana", name="grants")).status_code == 403
    unknown = await api.post("sec", name="nothing")
    assert unknown.status_code == 404
    assert "`grants`" in unknown.json()["detail"]
    await opened(api)
    listed = (await api.get("sec")).json()
    assert [row["rule"] for row in listed["campaigns"]] == ["grants"]
    assert listed["rules"] == ["grants"]
    assert listed["opening"] == {}


async def test_a_reviewer_sees_his_items_and_others_see_nothing(api: Api) -> None:
    case = await opened(api)
    mine = (await api.get("bo", f"/{case}/items", mine=True)).json()
    assert [item["item"] for item in mine["items"]] == [0]
    assert (await api.get("bo")).json()["campaigns"][0]["waiting"] == 1
    assert (await api.get("ana")).json()["campaigns"] == []
    assert (await api.get("ana", f"/{case}")).status_code == 403
    assert (await api.get("ana", f"/{case}/items")).status_code == 403
    assert (await api.get("ana", f"/{case}/items", mine=True)).json()["items"] == []


async def test_why_others_decided_is_for_those_who_sign_or_may_read_all(api: Api) -> None:
    api.scenario.campaigns = [{**RULE, "name": "eligible", "what": "eligibility"}]
    await api.scenario.take_in()
    case = (await api.post("sec", name="eligible")).json()["campaign"]
    for who in ("bo", "cy"):
        item = (await api.get(who, f"/{case}/items", mine=True)).json()["items"][0]["item"]
        said = {"items": [item], "verdict": "abstain", "reason": f"as {who} has it"}
        assert (await api.post(who, f"/{case}/decisions", verdicts=[said])).status_code == 200
    seen = {who: (await api.get(who, f"/{case}")).text for who in ("bo", "cy", "boss")}
    assert "as bo has it" in seen["bo"]
    assert "as cy has it" not in seen["bo"]
    assert "as bo has it" not in seen["cy"]
    assert all(f"as {who} has it" in seen["boss"] for who in ("bo", "cy"))


async def test_a_review_from_verdict_to_closing(api: Api) -> None:
    case = await opened(api)
    said = {"items": [0], "verdict": "keep"}
    assert (await api.post("cy", f"/{case}/decisions", verdicts=[said])).status_code == 409
    done = await api.post("bo", f"/{case}/decisions", verdicts=[said])
    assert done.json()["decided"] == {"keep": 1}
    assert (await api.post("sec", f"/{case}/signature")).status_code == 403
    assert (await api.post("boss", f"/{case}/closing")).status_code == 409
    assert (await api.post("boss", f"/{case}/signature", note="seen")).status_code == 200
    closed = await api.post("boss", f"/{case}/closing")
    assert closed.json()["closed"]
    shown = (await api.get("boss", f"/{case}")).json()
    assert shown["tallies"]["keep"] == 1
    assert (await api.get("sec", f"/{case}/recomputation")).json()["same"]
    api.scenario.check()


@pytest.mark.parametrize(
    "said",
    [
        {"items": [0], "verdict": "perhaps"},
        {"items": [], "verdict": "keep"},
        {"items": [-1], "verdict": "keep"},
        {"items": [True], "verdict": "keep"},
        {"items": [0], "verdict": "revoke"},
        {"items": [0], "verdict": "reduce", "reason": "less"},
        {"items": [0], "verdict": "reduce", "reason": "less", "to": "a\nb"},
        {"items": [0], "verdict": "revoke", "reason": "x" * 4001},
        {"items": [0], "verdict": "keep", "more": 1},
    ],
)
async def test_what_is_no_verdict_is_refused(api: Api, said: dict[str, Any]) -> None:
    case = await opened(api)
    answer = await api.post("bo", f"/{case}/decisions", verdicts=[said])
    assert answer.status_code in (400, 422), answer.text
    assert (await api.get("sec", f"/{case}")).json()["tallies"]["not-reviewed"] == 1


async def test_what_is_given_back_has_to_have_been_taken(api: Api) -> None:
    body = {"principal": "ana", "resource": "orders-prod", "role": "readwrite", "reason": "x"}
    async with api.client("sec") as client:
        answer = await client.post("/v1/eligibility/restoration", json=body)
    assert answer.status_code == 404
