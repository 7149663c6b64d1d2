"""What a review says that it is over is held to the log: in its bundle, and by making it again."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from muniment.access.check import verify
from muniment.errors import BundleInvalid
from muniment.evidence import merkle
from muniment.evidence.bundle import Bundle
from muniment.operations import campaigns
from muniment.operations.campaign_population import Made
from muniment.operations.open_campaign import open_campaign, population, recompute, record
from muniment.operations.service import Grounds
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario

RULE: dict[str, Any] = {
    "name": "drawn",
    "what": "grants",
    "reviewers": "sre-leads",
    "fallback": "security",
    "sign_off": "managers",
    "days": 10,
    "silence": "none",
    "sample": 1,
}


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    made = Scenario(tmp_path, campaigns=[RULE], checking=False)
    made.principals["sec"] = human("sec", "security", "auditors", "compliance")
    made.principals["boss"] = human("boss", "managers")
    async with made:
        await made.granted("ana")
        await made.granted("dan")
        yield made


async def opened_as(scenario: Scenario, **lies: Any) -> str:
    """A review by a service that says of its population what it likes."""
    rule = campaigns.rule(scenario.service, "drawn")
    made: Made = await population(scenario.service, rule, lambda _done, _total: None)
    return await record(
        scenario.service, replace(rule, sample=lies.pop("sample", 1)), replace(made, **lies),
        Grounds(), started="schedule", occasion="today",
    )  # fmt: skip


async def test_its_bundle_proves_the_log_that_it_is_over(scenario: Scenario) -> None:
    case = await open_campaign(scenario.service, scenario.caller("sec"), "drawn")
    data = await scenario.export("boss", case)
    opened = campaigns.read(scenario.service, case)[0].campaign.opened
    log = scenario.service.log
    assert {head.size: head.root for head in Bundle.parse(data).heads}[opened.size] == opened.root
    assert merkle.Frontier.at(opened.size, log.nodes(log.size)).root() == opened.root
    assert verify(data, scenario.key.verifier).campaign is not None


@pytest.mark.parametrize(
    ("lies", "why"),
    [
        ({"root": bytes(32)}, "another root"),
        ({"size": 7}, "another root"),
        ({"seed": bytes(32)}, "its sample was drawn"),
        ({"seed": None}, "its sample was drawn"),
        ({"sample": 0}, "its sample was drawn"),
        ({"targets": 5}, "miscounts its targets"),
        ({"unseen": 0}, "miscounts its targets"),
    ],
)
async def test_a_service_that_lies_about_its_population_is_found_out(
    scenario: Scenario, lies: dict[str, Any], why: str
) -> None:
    case = await opened_as(scenario, **lies)
    data = await scenario.export("boss", case)
    with pytest.raises(BundleInvalid, match=why) as failed:
        verify(data, scenario.key.verifier)
    assert failed.value.step == 13


@pytest.mark.parametrize(
    "lies",
    [
        {},
        {"completeness": b"[]"},
        {"targets": 5},
        {"unseen": 0},
        {"seed": bytes(32)},
        {"seed": None},
    ],
)
async def test_whoever_makes_it_again_sees_what_is_not_the_same(
    scenario: Scenario, lies: dict[str, Any]
) -> None:
    case = await opened_as(scenario, **lies)
    again = await recompute(scenario.service, scenario.caller("sec"), case)
    assert again["same"] is (not lies)
