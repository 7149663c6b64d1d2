"""`/v1/reports`: who made which report is told to whoever may audit, and that he looked is known."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from scenario_api import ScenarioApi

from muniment.access import records
from muniment.operations import reading
from muniment.testing.scenario import Scenario

MADE: dict[str, Any] = {
    "framework": "soc2",
    "since": "2026-01-01T00:00:00.000Z",
    "until": "2027-01-01T00:00:00.000Z",
    "resources": [],
    "size": 3,
    "report": "ab" * 32,
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ScenarioApi]:
    async with Scenario(tmp_path) as scenario:
        made = ScenarioApi(scenario, tmp_path)
        await made.enrol("ana", "aud")
        yield made


async def test_a_report_that_was_recorded_is_listed_and_looking_is_recorded(
    api: ScenarioApi,
) -> None:
    case = (await api.post("aud", "/v1/reports", MADE)).json()["case"]
    answer = (await api.get("aud", "/v1/reports")).json()
    (told,) = answer["reports"]
    assert answer["next"] is None
    assert (told["report"], told["framework"]) == (case, "soc2")
    assert (told["since"], told["until"]) == (MADE["since"], MADE["until"])
    assert (told["size"], told["digest"]) == (3, MADE["report"])
    assert len(told["root"]) == 64
    assert answer["names"][told["by"]] == "aud"
    service = api.scenario.service
    (row,) = service.projections.cases(kind=reading.KIND)
    read = records.parse(service.log.read_case(row.case)[0].header)
    assert isinstance(read, records.EvidenceRead)
    assert (read.what, read.count) == ("reports", 1)


async def test_who_may_not_audit_gets_no_list_and_none_is_given_that_cannot_be_recorded(
    api: ScenarioApi,
) -> None:
    assert (await api.get("ana", "/v1/reports")).status_code == 403
    api.scenario.break_log()
    assert (await api.get("aud", "/v1/reports")).status_code == 503
    api.scenario.mend_log()
