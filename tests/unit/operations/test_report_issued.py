"""Who made a report says so, and whoever may audit gets the documents that it carries."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from delegations import STAGING, Acting

from muniment.access import records
from muniment.errors import Malformed, NotFound, NotPermitted
from muniment.evidence import merkle
from muniment.operations import report, sweep
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
        {"resources": ("orders-prod", "order-prod")},
        {"since": SINCE + timedelta(days=360), "until": SINCE + timedelta(days=365)},
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


# --- which were made --------------------------------------------------------------------------


async def test_reports_are_listed_newest_first_with_the_log_that_they_are_about(
    scenario: Scenario,
) -> None:
    first = await report.issue(scenario.service, scenario.caller("aud"), ISSUED)
    scenario.clock.advance(timedelta(minutes=1))
    size = scenario.service.log.size
    later = replace(ISSUED, framework="pci", size=size, resources=())
    second = await report.issue(scenario.service, scenario.caller("admin"), later)
    found, more = report.issued(scenario.service, scenario.caller("aud"))
    assert [each["report"] for each in found] == [second, first]
    assert more is None
    told = found[0]
    assert (told["framework"], told["size"], told["resources"]) == ("pci", size, [])
    assert told["by"] == scenario.caller("admin").principal.id
    assert told["digest"] == ISSUED.report.hex()
    leaves = [scenario.service.log.read_entry(index).leaf for index in range(size)]
    assert told["root"] == merkle.root(leaves).hex()


async def test_a_long_list_of_reports_comes_in_pages(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for _ in range(3):
        made.append(await report.issue(scenario.service, scenario.caller("aud"), ISSUED))
        scenario.clock.advance(timedelta(minutes=1))
    monkeypatch.setattr(report, "PAGE", 2)
    first, more = report.issued(scenario.service, scenario.caller("aud"))
    assert more is not None
    rest, end = report.issued(scenario.service, scenario.caller("aud"), more)
    assert [each["report"] for each in first + rest] == made[::-1]
    assert end is None


async def test_who_may_not_audit_sees_no_list_of_reports(scenario: Scenario) -> None:
    await report.issue(scenario.service, scenario.caller("aud"), ISSUED)
    with pytest.raises(NotPermitted):
        report.issued(scenario.service, scenario.caller("ana"))


async def test_whoever_acts_for_somebody_in_some_roles_sees_no_list_of_reports(
    scenario: Scenario,
) -> None:
    """A report is about all roles of a resource."""
    acting = Acting(scenario)
    await acting.enrol("aud")
    await acting.enrol_agent("bot", "aud")
    some = await acting.hand_on("aud", "bot", roles=(STAGING,))
    everything = await acting.hand_on("aud", "bot")
    with pytest.raises(NotPermitted, match="delegated to you"):
        report.issued(scenario.service, replace(scenario.caller("aud"), session=some))
    assert report.issued(scenario.service, replace(scenario.caller("aud"), session=everything)) == (
        [],
        None,
    )


async def test_the_lines_of_reports_are_made_again_from_the_log(scenario: Scenario) -> None:
    await report.issue(scenario.service, scenario.caller("aud"), ISSUED)
    service: Any = scenario.service
    (row,) = service.projections.cases(kind=report.KIND)
    assert sweep.wrong_rows(service) == []
    sweep.rebuild(service)
    assert service.projections.cases(kind=report.KIND) == [row]
