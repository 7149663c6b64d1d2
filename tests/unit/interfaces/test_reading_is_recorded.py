"""Whoever reads what is others', by right of audit, is recorded before he is answered."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from little_history import cast_with_security
from scenario_api import ScenarioApi

from muniment.access import records
from muniment.operations import index_cases, reading, sweep
from muniment.operations.open_campaign import open_campaign
from muniment.testing.scenario import Scenario

REVIEW: dict[str, Any] = {
    "name": "grants",
    "what": "grants",
    "reviewers": "sre-leads",
    "fallback": "security",
    "sign_off": "managers",
    "days": 10,
    "silence": "none",
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ScenarioApi]:
    async with cast_with_security(Scenario(tmp_path)) as scenario:
        made = ScenarioApi(scenario, tmp_path)
        await made.enrol("ana", "aud", "admin", "cy", "dan", "sec")
        yield made


def read(api: ScenarioApi) -> list[tuple[str, str, int]]:
    """What was recorded as read: what, which case, and how many."""
    service = api.scenario.service
    found: list[tuple[str, str, int]] = []
    cases = [
        service.log.read_case(row.case) for row in service.projections.cases(kind=reading.KIND)
    ]
    for entry, closing in sorted(cases, key=lambda case: case[0].index):
        record = records.parse(entry.header)
        assert isinstance(record, records.EvidenceRead)
        assert closing.header.kind == "case:closed"
        found.append((record.what, record.about, record.count))
    return found


async def test_an_auditor_who_reads_a_case_is_recorded_once_an_hour(api: ScenarioApi) -> None:
    case = (await api.scenario.granted()).case.id
    for _ in range(3):
        assert (await api.get("aud", f"/v1/cases/{case}")).status_code == 200
    assert read(api) == [("case", case, 1)]
    await api.scenario.advance(timedelta(hours=1))
    await api.get("aud", f"/v1/cases/{case}")
    await api.get("admin", f"/v1/cases/{case}")
    assert read(api) == [("case", case, 1)] * 3


async def test_own_cases_and_those_to_approve_are_read_without_a_record(api: ScenarioApi) -> None:
    case = (await api.scenario.ask("ana")).case.id
    for who in ("ana", "cy"):
        assert (await api.get(who, f"/v1/cases/{case}")).status_code == 200
    assert (await api.get("ana", "/v1/cases")).status_code == 200
    assert (await api.get("ana", "/v1/stories", who="ana")).status_code == 200
    assert (await api.get("dan", f"/v1/cases/{case}")).status_code == 404
    assert read(api) == []


async def test_lists_and_everything_else_that_an_auditor_looks_at_is_recorded(
    api: ScenarioApi,
) -> None:
    picked = await api.scenario.granted()
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/v1/cases", {"everyone": True}),
        ("/v1/stories", {}),
        ("/v1/overdue", {}),
        ("/v1/reviews", {}),
        ("/v1/findings", {}),
        ("/v1/log/proof/0", {}),
        ("/v1/whois", {"text": picked.case.id}),
    ]
    for path, query in asked:
        assert (await api.get("aud", path, **query)).status_code == 200, path
    whats = [what for what, _, _ in read(api)]
    assert whats == ["cases", "stories", "overdue", "reviews", "findings", "log", "case"]


async def test_what_is_kept_who_is_reviewed_and_where_cases_end_is_recorded_as_read(
    api: ScenarioApi,
) -> None:
    scenario = api.scenario
    scenario.campaigns = [REVIEW]
    await scenario.take_in()
    picked = await scenario.granted()
    review = await open_campaign(scenario.service, scenario.caller("sec"), "grants")
    await index_cases.index(scenario.service)
    in_force = scenario.service.registry.policy
    assert in_force is not None
    paths = [
        f"/v1/campaigns/{review}",
        f"/v1/campaigns/{review}/items",
        "/v1/holds",
        "/v1/retention",
        f"/v1/evidence/index/{picked.case.id}",
        f"/v1/documents/{in_force.digest.hex()}",
    ]
    for path in paths:
        assert (await api.get("aud", path)).status_code == 200, path
    found = [(what, about) for what, about, _ in read(api)]
    assert found == [
        ("review", review),  # once an hour
        ("holds", ""),
        ("retention", ""),
        ("index", picked.case.id),
        ("documents", ""),
    ]


async def test_a_reviewer_looks_at_his_items_without_a_record(api: ScenarioApi) -> None:
    scenario = api.scenario
    scenario.campaigns = [REVIEW]
    await scenario.take_in()
    await scenario.granted()
    review = await open_campaign(scenario.service, scenario.caller("sec"), "grants")
    await api.enrol("bo")
    assert (await api.get("bo", f"/v1/campaigns/{review}")).status_code == 200
    assert (await api.get("bo", f"/v1/campaigns/{review}/items", mine=True)).json()["items"]
    assert read(api) == []


async def test_what_was_asked_for_is_sealed_and_told_to_whoever_may_audit(
    api: ScenarioApi,
) -> None:
    await api.scenario.granted()
    await api.get("aud", "/v1/stories", who="ana", resource="orders-prod")
    await api.get("aud", "/v1/stories", who="dan")
    answer = (await api.get("admin", "/v1/evidence/reads", by="aud")).json()
    told = sorted(answer["reads"], key=lambda each: each["index"])
    assert [each["query"] for each in told] == [
        {"who": "ana", "resource": "orders-prod"},
        {"who": "dan"},
    ]
    assert answer["names"][answer["reads"][0]["by"]] == "aud"
    for row in api.scenario.service.projections.cases(kind=reading.KIND):
        entry = api.scenario.service.log.read_case(row.case)[0]
        assert b'"ana"' not in entry.data
    assert (await api.get("ana", "/v1/evidence/reads")).status_code == 403
    assert (await api.get("admin", "/v1/evidence/reads", by="nobody")).status_code == 404


async def test_reading_who_read_is_recorded_as_well(api: ScenarioApi) -> None:
    case = (await api.scenario.granted()).case.id
    await api.get("aud", f"/v1/cases/{case}")
    answer = (await api.get("admin", "/v1/evidence/reads", case=case)).json()
    assert [(each["what"], each["case"]) for each in answer["reads"]] == [("case", case)]
    assert read(api)[-1] == ("reads", "", 1)


async def test_nothing_is_answered_by_that_right_if_it_cannot_be_recorded(
    api: ScenarioApi,
) -> None:
    case = (await api.scenario.granted()).case.id
    api.scenario.break_log()
    assert (await api.get("aud", f"/v1/cases/{case}")).status_code == 503
    assert (await api.get("ana", f"/v1/cases/{case}")).status_code == 200
    api.scenario.mend_log()


async def test_the_lines_of_reading_are_made_again_from_the_log(api: ScenarioApi) -> None:
    await api.scenario.granted()
    await api.get("aud", "/v1/stories")
    service: Any = api.scenario.service
    (row,) = service.projections.cases(kind=reading.KIND)
    assert sweep.wrong_rows(service) == []
    sweep.rebuild(service)
    assert service.projections.cases(kind=reading.KIND) == [row]
