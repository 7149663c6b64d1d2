"""A scan of a target, and a removal that was ordered, leave the house as bundles that verify."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from muniment.access import check, drift_check, records
from muniment.errors import FoldInvalid, NotFound, NotPermitted
from muniment.evidence.store import Entry
from muniment.operations import carry_away, drift
from muniment.operations.answer_finding import acknowledge
from muniment.operations.order_removal import order_removal
from muniment.testing.scenario import Scenario

RESOURCE = "orders-prod"
HOUR = timedelta(hours=1)


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    """Looked at once; then somebody makes an account, which is found."""
    async with Scenario(tmp_path, checking=False) as opened:
        await drift.scan(opened.service, RESOURCE)
        opened.clock.advance(HOUR)
        opened.target().make_foreign_account("backdoor")
        yield opened


async def export(scenario: Scenario, case: str, who: str = "aud") -> check.Checked:
    data = await carry_away.export(scenario.service, scenario.caller(who), case)
    checked = check.verify(data, scenario.key.verifier)
    # whoever carries it away sees what it is about; what a finding says may be about others
    assert all(record.startswith("fnd_") for record, _, _ in checked.unseen)
    return checked


async def order(scenario: Scenario) -> str:
    found = await drift.scan(scenario.service, RESOURCE)
    (finding,) = found.findings.values()
    await acknowledge(scenario.service, scenario.caller("aud"), finding)
    wanted = {"resource": RESOURCE, "account": "backdoor", "reason": "nobody knows it"}
    done = await order_removal(
        scenario.service, scenario.caller("admin"), finding=finding, **wanted
    )
    return done.case


async def test_a_scan_is_carried_away_and_says_what_it_saw(scenario: Scenario) -> None:
    found = await drift.scan(scenario.service, RESOURCE)
    checked = await export(scenario, found.case)
    assert checked.completeness.startswith("COMPLETE")
    assert checked.state == "drift scan of `orders-prod`: 1 differences, 1 accounts"
    assert not any("no table of transitions" in each for each in checked.not_proved)


async def test_a_removal_is_carried_away_open_and_with_the_scan_that_saw_it_done(
    scenario: Scenario,
) -> None:
    case = await order(scenario)
    checked = await export(scenario, case)
    assert checked.completeness.startswith("OPEN")
    words = "removal of an account on `orders-prod` ordered by two"
    assert checked.state == f"{words}, not seen gone yet"
    scenario.clock.advance(HOUR)
    del scenario.target().accounts["backdoor"]
    await drift.scan(scenario.service, RESOURCE)
    checked = await export(scenario, case)
    assert checked.completeness.startswith("COMPLETE")
    assert checked.state == f"{words}, seen gone"
    kinds = [entry.header.kind for entry in checked.proved.entries]
    assert "drift:scanned" in kinds
    assert "finding:acknowledged" in kinds


async def test_who_may_not_export_carries_no_scan_away(scenario: Scenario) -> None:
    found = await drift.scan(scenario.service, RESOURCE)
    for who in ("ana", "cy"):
        with pytest.raises(NotPermitted):
            await export(scenario, found.case, who)
    with pytest.raises(NotFound):
        await export(scenario, "drf_" + "a" * 26)


# --- what would not be true -------------------------------------------------------------------


async def case_of(scenario: Scenario) -> tuple[list[Entry], dict[bytes, Entry]]:
    """A removal that was seen done, and all that its records follow."""
    case = await order(scenario)
    del scenario.target().accounts["backdoor"]
    await drift.scan(scenario.service, RESOURCE)
    data = await carry_away.export(scenario.service, scenario.caller("aud"), case)
    proved = check.verify(data, scenario.key.verifier).proved
    return list(proved.case), {entry.leaf: entry for entry in proved.entries}


def with_body(entry: Entry, **changes: Any) -> Entry:
    header = entry.header
    return replace(entry, header=replace(header, body={**header.body, **changes}))


async def test_an_order_is_held_to_what_it_claims(scenario: Scenario) -> None:
    (ordered, closed), shown = await case_of(scenario)
    assert drift_check.state([ordered, closed], shown).endswith("seen gone")
    person = ordered.header.body["person"]
    for changes, why in (
        ({"person": "per_other"}, "not ordered by the human"),
        ({"seconded": person}, "by one alone"),
        ({"seconded": ""}, "by one alone"),
        ({"seconded": "per_other"}, "follows no look of whom it names"),
        ({"about": "fnd_" + "a" * 26}, "does not follow the open finding"),
        ({"target": "another"}, "no later scan of the target"),
        ({"resource": "orders-staging"}, "no later scan of the target"),
    ):
        with pytest.raises(FoldInvalid, match=why):
            drift_check.state([with_body(ordered, **changes), closed], shown)
    with pytest.raises(FoldInvalid, match="no later scan"):
        drift_check.state([replace(ordered, index=10_000), closed], shown)
    with pytest.raises(FoldInvalid, match="more than its closing"):
        drift_check.state([ordered, closed, closed], shown)


async def test_who_looked_first_is_shown_though_the_same_was_seen_again_since(
    scenario: Scenario,
) -> None:
    found = await drift.scan(scenario.service, RESOURCE)
    (finding,) = found.findings.values()
    await acknowledge(scenario.service, scenario.caller("aud"), finding)
    scenario.clock.advance(2 * HOUR)
    await drift.scan(scenario.service, RESOURCE)
    newest = scenario.entries(finding)[-1].header.kind
    assert newest == records.FindingSeen.KIND
    wanted = {"resource": RESOURCE, "account": "backdoor", "reason": "nobody knows it"}
    done = await order_removal(
        scenario.service, scenario.caller("admin"), finding=finding, **wanted
    )
    checked = await export(scenario, done.case)
    assert checked.state.endswith("ordered by two, not seen gone yet")
    kinds = [entry.header.kind for entry in checked.proved.entries]
    assert records.FindingAcknowledged.KIND in kinds


async def test_a_scan_is_closed_and_counts_no_less_than_nothing(scenario: Scenario) -> None:
    case = scenario.entries((await drift.scan(scenario.service, RESOURCE)).case)
    with pytest.raises(FoldInvalid, match="was not closed"):
        drift_check.state(case[:1], {})
    with pytest.raises(FoldInvalid, match="less than nothing"):
        drift_check.state([with_body(case[0], differences={"x": -1}), case[1]], {})
    assert {each.KIND for each in (records.DriftScanned, records.RemovalOrdered)} == {
        *drift_check.KINDS
    }
