"""A review is of what somebody may ever ask for: also at night, after leave, or next month."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from muniment.errors import Malformed
from muniment.operations import apply_reviews, campaigns
from muniment.operations.decide_review import Verdict, decide
from muniment.operations.open_campaign import open_campaign
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario

RULE: dict[str, Any] = {
    "name": "eligible",
    "what": "eligibility",
    "reviewers": "sre-leads",
    "fallback": "security",
    "sign_off": "managers",
    "days": 10,
    "silence": "none",
}
AT_NIGHT = b"""
@id("test.night")
@title("The night shift asks outside of business hours")
permit (
  principal is Muniment::Human in Muniment::Group::"night-shift",
  action == Muniment::Action::"request",
  resource
)
when { !context.businessHours };

@id("test.night-leads")
@title("And their leads approve it")
@approvals("night-leads:1")
permit (
  principal is Muniment::Human in Muniment::Group::"night-shift",
  action == Muniment::Action::"require",
  resource
)
when { !context.businessHours };
"""


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    made = Scenario(tmp_path, campaigns=[RULE])
    made.principals["sec"] = human("sec", "security")
    made.principals["oc"] = human("oc", "sre-oncall")
    made.principals["nora"] = human("nora", "night-shift")
    made.principals["nia"] = human("nia", "night-leads")
    async with made:
        yield made


async def opened(scenario: Scenario) -> tuple[str, list[dict[str, Any]]]:
    case = await open_campaign(scenario.service, scenario.caller("sec"), "eligible")
    return case, campaigns.items_of(scenario.service, scenario.caller("sec"), case)["items"]


def about(scenario: Scenario, found: list[dict[str, Any]], login: str) -> list[dict[str, Any]]:
    return [each for each in found if each.get("principal") == scenario.ids[login]]


async def say(
    scenario: Scenario, case: str, item: dict[str, Any], verdict: str, to: str = ""
) -> None:
    by_id = {id_: login for login, id_ in scenario.ids.items()}
    said = Verdict(item=item["item"], verdict=verdict, reason="too much", to=to)
    await decide(scenario.service, scenario.caller(by_id[item["reviewer"]]), case, [said])


async def outstanding(scenario: Scenario, case: str) -> list[int]:
    await apply_reviews.settle(scenario.service)
    found, _ = campaigns.read(scenario.service, case)
    return [item.number for item in found.items.owed]


async def test_who_broke_glass_as_often_as_he_may_is_reviewed_all_the_same(
    scenario: Scenario,
) -> None:
    for number in range(3):
        incident = f"INC-{number}"
        await scenario.ask("oc", incident=incident, emergency=True, seconds=900)
    _, found = await opened(scenario)
    assert about(scenario, found, "oc")


async def test_who_may_ask_at_night_alone_is_reviewed_and_so_is_who_approves_it(
    scenario: Scenario,
) -> None:
    _, before = await opened(scenario)
    assert not about(scenario, before, "nora")
    await scenario.activate({**scenario.policy, "policies/70-night.cedar": AT_NIGHT})
    _, found = await opened(scenario)
    assert {each["what"] for each in about(scenario, found, "nora")} == {"access"}
    assert {each["what"] for each in about(scenario, found, "nia")} == {"approver"}


async def test_what_was_reduced_is_not_done_because_somebody_is_on_leave(
    scenario: Scenario,
) -> None:
    case, found = await opened(scenario)
    item = next(each for each in about(scenario, found, "ana") if each["what"] == "access")
    await say(scenario, case, item, "reduce", to="60")
    await scenario.change("ana", active=False)
    assert await outstanding(scenario, case) == [item["item"]]


async def test_an_approver_on_leave_approves_when_he_comes_back(scenario: Scenario) -> None:
    case, found = await opened(scenario)
    item = next(each for each in about(scenario, found, "cy") if each["what"] == "approver")
    await say(scenario, case, item, "revoke")
    await scenario.change("cy", active=False)
    assert await outstanding(scenario, case) == [item["item"]]
    await scenario.change("cy", groups=("engineering",))
    assert await outstanding(scenario, case) == []


@pytest.mark.parametrize("to", ["nothing-like-it", "readwrite", "0", "8h", "99999999"])
async def test_an_item_is_reduced_to_less_than_there_is_of_what_there_is(
    scenario: Scenario, to: str
) -> None:
    case, found = await opened(scenario)
    item = prod(about(scenario, found, "ana"))
    with pytest.raises(Malformed, match=rf"item {item['item']}: "):
        await say(scenario, case, item, "reduce", to=to)


@pytest.mark.parametrize(("to", "kept"), [("personal", "personal"), ("15m", "900"), ("60", "60")])
async def test_an_item_is_reduced_to_another_role_or_to_a_shorter_time(
    scenario: Scenario, to: str, kept: str
) -> None:
    case, found = await opened(scenario)
    item = prod(about(scenario, found, "ana"))
    await say(scenario, case, item, "reduce", to=to)
    assert campaigns.read(scenario.service, case)[0].items.items[item["item"]].said.to == kept


def prod(found: list[dict[str, Any]]) -> dict[str, Any]:
    where = ("orders-prod", "readwrite")
    return next(each for each in found if (each.get("resource"), each.get("role")) == where)
