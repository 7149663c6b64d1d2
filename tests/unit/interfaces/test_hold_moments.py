"""A period at the edge of all calendars is refused, and costs no internal error."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from scenario_api import ScenarioApi

from muniment.testing.scenario import Scenario


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ScenarioApi]:
    async with Scenario(tmp_path, checking=False) as scenario:
        found = ScenarioApi(scenario, tmp_path)
        await found.enrol("aud")
        yield found


@pytest.mark.parametrize("field", ["since", "until"])
@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
async def test_a_hold_over_a_moment_beyond_all_calendars_is_refused(
    api: ScenarioApi, field: str, at: str
) -> None:
    async with api.client("aud") as client:
        answer = await client.post("/v1/holds", json={"matter": "a matter", field: at})
    assert answer.status_code in (400, 422), answer.text


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
async def test_a_report_over_a_moment_beyond_all_calendars_is_refused(
    api: ScenarioApi, at: str
) -> None:
    other = at.replace("00:00:00", "00:00:01") if at[0] == "0" else at.replace("59-", "58-")
    since, until = sorted((at, other))
    body = {"framework": "soc2", "since": since, "until": until, "size": 1, "report": "0" * 64}
    async with api.client("aud") as client:
        answer = await client.post("/v1/reports", json=body)
    assert answer.status_code in (400, 422), answer.text
