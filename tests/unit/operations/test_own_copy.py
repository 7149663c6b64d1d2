"""A person's copy has what sources and reviews said of him, too, or says how it is had."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from test_holding_reviews import GRANTS
from test_observing import line, observe_with
from test_observing import used as used_by

from muniment.operations import campaigns, observe, subject
from muniment.operations.decide_review import Verdict, decide
from muniment.operations.observe_sessions import record_sessions
from muniment.operations.open_campaign import open_by_itself, open_campaign
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario

REASON = "I do not know what she did there"


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    made = Scenario(tmp_path, campaigns=[GRANTS], checking=False)
    made.principals["sec"] = human("sec", "security", "auditors")
    async with made:
        observe_with(made)
        yield made


async def copy(scenario: Scenario, who: str, by: str) -> tuple[dict[str, Any], str]:
    taken = await subject.export(scenario.service, scenario.caller(by), who)
    return json.loads(taken.data), taken.data.decode()


async def used(scenario: Scenario) -> str:
    """A grant of ana's with three events in one session, among those of somebody else."""
    picked = await scenario.granted("ana")
    await used_by(scenario, picked)
    await observe.take(scenario.service, "orders-log", [line(scenario, "other", detail="x")] * 2)
    await observe.seal(scenario.service)
    await scenario.end("ana", picked)
    scenario.clock.advance(timedelta(minutes=10))
    store = scenario.service.observing.store
    assert store is not None
    assert await record_sessions(scenario.service, store, picked.case.id)
    return picked.case.id


@pytest.mark.parametrize("by", ["ana", "aud"])
async def test_it_has_what_was_observed_and_counts_the_events_behind_it(
    scenario: Scenario, by: str
) -> None:
    case = await used(scenario)
    found, text = await copy(scenario, "ana", by)
    (observed,) = [each for each in found["records"] if each["kind"] == "session:observed"]
    assert observed["record"]["about"] == case
    assert "192.0.2.7" in json.dumps(observed["sections"]["session"]["content"])
    (kept,) = found["events"]
    assert (kept["case"], kept["source"], kept["events"]) == (case, "orders-log", 3)
    assert kept["first"] < kept["last"]
    assert case in kept["had_by"]
    assert found["summary"]["events"] == 3
    assert "SELECT 1" not in text  # what a statement says may be about others
    others, _ = await copy(scenario, "cy", "aud")
    assert (others["events"], others["summary"]["events"]) == ([], 0)


async def test_it_has_his_lines_in_reviews_of_many_without_the_reasons(scenario: Scenario) -> None:
    for who in ("ana", "bo"):
        await scenario.end(who, await scenario.granted(who))
    service = scenario.service
    review = await open_campaign(service, scenario.caller("sec"), "grants")
    items = campaigns.glance(service, review).items.items
    (his,) = [item for item in items if item.told()["principal"] == scenario.ids["ana"]]
    found, _ = await copy(scenario, "ana", "aud")
    assert [each["outcome"] for each in found["reviewed"]] == ["not-reviewed"]
    said = Verdict(item=his.number, verdict="abstain", reason=REASON)
    await decide(service, scenario.caller("bo"), review, [said])
    found, text = await copy(scenario, "ana", "ana")
    (line_of_her,) = found["reviewed"]
    assert (line_of_her["review"], line_of_her["outcome"]) == (review, "abstain")
    assert line_of_her["line"]["item"] == his.number
    assert "withheld" in line_of_her["reason"]
    assert found["summary"]["withheld"] > 0
    assert found["summary"]["reviewed"] == 1
    assert REASON not in text


async def test_that_a_finding_is_looked_into_is_in_no_line_that_he_gets(scenario: Scenario) -> None:
    await scenario.end("ana", await scenario.granted("ana"))
    await open_campaign(scenario.service, scenario.caller("sec"), "grants")
    own, _ = await copy(scenario, "ana", "ana")
    others, _ = await copy(scenario, "ana", "aud")
    said = {"findings", "advice", "why"}
    assert said.isdisjoint(own["reviewed"][0]["line"])
    assert said <= others["reviewed"][0]["line"].keys()


async def test_he_is_told_of_no_review_that_a_finding_started(scenario: Scenario) -> None:
    await scenario.end("ana", await scenario.granted("ana"))
    rule = campaigns.rule(scenario.service, "grants")
    review = await open_by_itself(scenario.service, rule, "finding", "fnd_aaaaaaaaaaaaaaaa")
    own, text = await copy(scenario, "ana", "ana")
    assert own["reviewed"] == []
    assert str(review) not in text
    others, _ = await copy(scenario, "ana", "aud")
    assert [each["review"] for each in others["reviewed"]] == [review]
