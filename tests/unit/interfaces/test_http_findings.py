"""`/v1/findings` over a `Scenario`: what it lists, shows and takes, and from whom."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from scenario_api import ScenarioApi

from muniment.operations.raise_finding import raise_finding
from muniment.oversight.detector import Hit, Rule
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario

RULE = Rule(
    id="too-much",
    title="More than usual",
    advice="Ask who did it.",
    severity="high",
    kind="deterministic",
    needs=("activity",),
)


class Api(ScenarioApi):
    """Below `/v1/findings`, with bodies as they are named."""

    async def get(self, login: str, path: str = "", **query: Any) -> httpx.Response:
        return await super().get(login, f"/v1/findings{path}", **query)

    async def post(self, login: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return await super().post(login, f"/v1/findings{path}", {**(body or {}), **more})

    async def found(self, *about: str, key: str = "k", **given: Any) -> str:
        scenario = self.scenario
        hit = Hit(
            rule=RULE.id,
            at=scenario.service.now(),
            key=key,
            summary="it was done",
            severity=given.pop("severity", "high"),
            subjects=tuple(scenario.caller(login).principal.person for login in about),
            **given,
        )
        return await raise_finding(scenario.service, RULE, {}, hit)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    made = Scenario(tmp_path)
    made.principals["sec"] = human("sec", "security")
    async with made as scenario:
        api = Api(scenario, tmp_path)
        await api.enrol("ana", "aud", "sec", "ci")
        yield api


async def test_findings_are_listed_with_filters_and_the_logins_behind_ids(api: Api) -> None:
    one, two = await api.found(key="1"), await api.found(key="2", severity="low", resource="pay")
    await api.post("sec", f"/{one}/assignment", to="aud")
    answer = (await api.get("sec")).json()
    assert {row["finding"] for row in answer["findings"]} == {one, two}
    assert answer["next"] is None
    assert answer["names"] == {api.scenario.ids["aud"]: "aud"}
    for wanted in ({"severity": "low"}, {"resource": "pay"}, {"state": ["open", "closed"]}):
        rows = (await api.get("sec", **wanted)).json()["findings"]
        assert [row["finding"] for row in rows] == [two]
    assert (await api.get("sec", rule="x" * 200)).status_code == 422


async def test_findings_about_a_case_are_found_by_a_beginning_of_its_id(api: Api) -> None:
    case = (await api.scenario.ask("ana")).case.id
    one = await api.found(cases=(case,))
    await api.found(key="other")
    for about in (case, case[:12]):
        rows = (await api.get("sec", about=about)).json()["findings"]
        assert [row["finding"] for row in rows] == [one]


@pytest.mark.parametrize("wanted", [{"about": "mun_zzzz"}, {"resource": "nope"}])
async def test_a_case_or_a_resource_that_never_was_is_not_said_to_be_without_findings(
    api: Api, wanted: dict[str, str]
) -> None:
    answer = await api.get("sec", **wanted)
    assert answer.status_code == 404
    assert next(iter(wanted.values())) in answer.json()["detail"]
    assert (await api.get("ana", **wanted)).status_code == 403
    known = api.scenario.service.registry.roles
    assert (await api.get("sec", resource=next(iter(known))[0])).json()["findings"] == []


async def test_a_finding_tells_its_rule_and_its_history(api: Api) -> None:
    case = await api.found("ana", detail="DROP TABLE orders")
    answer = (await api.get("sec", f"/{case[:9]}")).json()
    assert (answer["finding"], answer["count"]) == (case, 1)
    assert answer["definition"]["advice"] == "Ask who did it."
    assert answer["names"][answer["subjects"][0]] == "ana"
    [line] = answer["timeline"]
    assert line["sections"]["detail"]["detail"] == "DROP TABLE orders"


async def test_a_finding_is_acknowledged_assigned_and_closed(api: Api) -> None:
    case = await api.found("ana")
    assert (await api.post("sec", f"/{case}/acknowledgement")).json()["state"] == "acknowledged"
    assigned = (await api.post("sec", f"/{case}/assignment", to="aud")).json()
    assert assigned["names"][assigned["assigned"]] == "aud"
    until = api.scenario.service.now() + timedelta(days=9, microseconds=7)
    body = {"resolution": "adopted", "reason": "ours", "owner": "sec", "until": until.isoformat()}
    closed = await api.post("aud", f"/{case}/closing", **body)
    assert closed.status_code == 200, closed.text
    answer = closed.json()
    assert (answer["state"], answer["resolution"], answer["closed"]) == ("closed", "adopted", True)
    assert answer["muted_until"].endswith("Z")
    api.scenario.check()
    again = await api.post("aud", f"/{case}/closing", **body)
    assert (again.status_code, again.headers["content-type"]) == (409, "application/problem+json")


async def test_whoever_it_is_about_and_whoever_may_not_is_refused(api: Api) -> None:
    case = await api.found("sec")
    body = {"resolution": "explained", "reason": "it was me"}
    for login in ("sec", "ana", "ci"):
        assert (await api.post(login, f"/{case}/closing", **body)).status_code == 403
    for login in ("ana", "ci"):
        assert (await api.get(login)).status_code == 403
        assert (await api.get(login, f"/{case}")).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {"resolution": "explained", "reason": ""},
        {"resolution": "explained", "reason": "\u202e"},
        {"resolution": "explained", "reason": "x" * 5000},
        {"resolution": "forgotten", "reason": "x"},
        {"resolution": "explained", "reason": "x", "until": "2026-12-01T00:00:00"},
        {"resolution": "explained", "reason": "x", "until": "9999-12-31T23:59:59+14:00"},
        {"resolution": "explained", "reason": "x", "until": "0001-01-01T00:00:00+14:00"},
        {"resolution": "explained", "reason": "x", "wrong": 1},
    ],
)
async def test_a_closing_that_is_malformed_is_refused(api: Api, body: dict[str, Any]) -> None:
    case = await api.found()
    assert (await api.post("sec", f"/{case}/closing", **body)).status_code == 422


async def test_what_is_no_finding_is_not_found(api: Api) -> None:
    asked = await api.scenario.ask("ana")
    for case in (asked.case.id, "fnd_" + "a" * 26, "nothing"):
        assert (await api.get("sec", f"/{case}")).status_code == 404
