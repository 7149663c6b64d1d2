"""Who made a report says so, and whoever may audit gets the documents that it carries."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from muniment.access import records
from muniment.errors import Malformed, NotFound, NotPermitted
from muniment.operations import report
from muniment.operations.report import Issued
from muniment.testing.scenario import Scenario

SINCE = datetime(2026, 1, 1, tzinfo=timezone.utc)
ISSUED = Issued(
    framework="soc2",
    since=SINCE,
    until=SINCE + timedelta(days=365),
    resources=("orders-prod",),
    size=1,
    report=b"\1" * 32,
)


async def test_a_report_is_a_closed_case_that_names_it(scenario: Scenario) -> None:
    case = await report.issue(scenario.service, scenario.caller("aud"), ISSUED)
    entries = scenario.service.log.read_case(case)
    assert [entry.header.kind for entry in entries] == ["report:issued", "case:closed"]
    record = records.parse(entries[0].header)
    assert isinstance(record, records.ReportIssued)
    assert (record.framework, record.report) == ("soc2", ISSUED.report)
    assert record.actor.principal == scenario.caller("aud").principal.id
    assert not entries[0].header.sections, "nothing personal stands in it"


async def test_who_may_not_audit_issues_none_and_gets_no_document(scenario: Scenario) -> None:
    policy = scenario.service.registry.policy
    assert policy is not None
    with pytest.raises(NotPermitted):
        await report.issue(scenario.service, scenario.caller("ana"), ISSUED)
    with pytest.raises(NotPermitted):
        report.document(scenario.service, scenario.caller("ana"), policy.digest.hex())


@pytest.mark.parametrize(
    "change",
    [
        {"framework": "soc3"},
        {"until": SINCE},
        {"until": SINCE + timedelta(days=30_000)},
        {"size": 0},
        {"size": 10**9},
    ],
)
async def test_what_cannot_be_is_not_recorded(scenario: Scenario, change: dict[str, Any]) -> None:
    before = scenario.service.log.size
    with pytest.raises(Malformed):
        await report.issue(scenario.service, scenario.caller("aud"), replace(ISSUED, **change))
    assert scenario.service.log.size == before


async def test_a_document_is_had_by_its_name_alone(scenario: Scenario) -> None:
    policy = scenario.service.registry.policy
    assert policy is not None
    name = policy.digest.hex()
    assert report.document(scenario.service, scenario.caller("aud"), name)
    for wrong in ("0" * 64, name.upper(), name[:-1], f"{name}\n", "../checkpoint", ""):
        with pytest.raises(NotFound):
            report.document(scenario.service, scenario.caller("aud"), wrong)
