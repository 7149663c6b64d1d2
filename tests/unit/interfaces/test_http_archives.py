"""`/v1/archives` and what belongs to it, as its clients meet it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from scenario_api import ScenarioApi

from muniment.access import check
from muniment.evidence.excerpt_proof import verify_excerpt
from muniment.testing.scenario import Scenario

PERIOD = {"since": "2026-11-01T00:00:00Z", "until": "2026-12-01T01:00:00+01:00"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ScenarioApi]:
    async with Scenario(tmp_path) as scenario:
        made = ScenarioApi(scenario, tmp_path)
        await made.enrol("ana", "aud", "pia")
        yield made


async def test_an_archive_is_opened_carried_and_shown_with_its_log(api: ScenarioApi) -> None:
    case = (await api.scenario.granted()).case.id
    opened = await api.post("aud", "/v1/archives", PERIOD)
    assert opened.status_code == 201
    said = opened.json()
    assert (said["cases"], said["beyond"], said["observed"]) == (1, 0, [])
    key = api.scenario.key.verifier
    path = f"/v1/archives/{said['archive']}"
    carried = await api.post("aud", f"{path}/evidence", {"heads": []})
    assert check.verify(carried.content, key).proved.case_id == said["archive"]
    excerpt = await api.get("aud", f"{path}/log")
    assert excerpt.headers["content-type"] == "application/gzip"
    assert verify_excerpt([excerpt.content], key).shown > said["size"]
    bundles = await api.post("aud", "/v1/evidence/bundles", {"cases": [case]})
    assert bundles.headers["content-type"] == "application/x-ndjson"
    (line,) = bundles.content.splitlines()
    assert check.verify(line, key).proved.case_id == case
    assert json.loads(line)["format"].startswith("muniment-bundle/")


async def test_who_may_take_nothing_is_told_so_and_nothing_is_recorded(api: ScenarioApi) -> None:
    case = (await api.scenario.granted()).case.id
    size = api.scenario.service.log.size
    assert (await api.post("pia", "/v1/archives", PERIOD)).status_code == 404
    taken = await api.post("pia", "/v1/evidence/bundles", {"cases": [case]})
    assert taken.status_code == 403  # who may read all, and export nothing
    assert api.scenario.service.log.size == size
    other = (await api.post("ana", "/v1/archives", PERIOD)).json()["archive"]
    for path in (f"/v1/archives/{other}/evidence", "/v1/archives/arc_x/evidence"):
        assert (await api.post("aud", path, {"heads": []})).status_code == 404
    assert (await api.get("aud", f"/v1/archives/{other}/log")).status_code == 404
    assert (await api.get("ana", f"/v1/archives/{other}/log")).status_code == 403


@pytest.mark.parametrize(
    "wrong",
    [
        {"since": "2026-11-01T00:00:00"},
        {"since": "2026-12-02T00:00:00Z"},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"until": "9999-12-31T23:59:59-12:00"},
        {"since": "yesterday"},
        {"resources": ["x" * 65]},
        {"resources": ["x"] * 101},
        {"more": 1},
    ],
)
async def test_a_period_that_cannot_be_is_refused(api: ScenarioApi, wrong: dict[str, Any]) -> None:
    await api.scenario.ask("ana")
    answer = await api.post("aud", "/v1/archives", {**PERIOD, **wrong})
    assert answer.status_code in (400, 422), answer.text


async def test_bundles_are_asked_for_by_whole_ids_and_not_too_many(api: ScenarioApi) -> None:
    for cases in ([], ["mun_x"] * 101, ["x" * 41], [""]):
        answer = await api.post("aud", "/v1/evidence/bundles", {"cases": cases})
        assert answer.status_code in (400, 422)
    answer = await api.post("aud", "/v1/evidence/bundles", {"cases": ["mun_" + "a" * 26]})
    assert answer.status_code == 404
