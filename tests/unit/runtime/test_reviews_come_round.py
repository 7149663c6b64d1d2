"""Reviews of access are opened on their day, or by what happened, and once for each."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from muniment.access import records
from muniment.errors import Malformed
from muniment.operations import apply_reviews, campaigns, sign_review
from muniment.operations.open_campaign import population, record
from muniment.operations.raise_finding import raise_finding
from muniment.operations.service import Grounds
from muniment.oversight.detector import Hit, Rule
from muniment.runtime.campaign_section import CampaignSection
from muniment.runtime.reviewing import Reviewing
from muniment.runtime.schedule import check_schedule, coming, latest
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario

RULE: dict[str, Any] = {
    "name": "quarterly",
    "what": "eligibility",
    "reviewers": "sre-leads",
    "fallback": "security",
    "sign_off": "managers",
    "days": 5,
    "silence": "none",
}


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    made = Scenario(tmp_path)
    made.principals["sec"] = human("sec", "security")
    made.principals["boss"] = human("boss", "managers")
    async with made:
        yield made


async def looking(scenario: Scenario, **changes: Any) -> Reviewing:
    scenario.campaigns = [{**RULE, **changes}]
    await scenario.take_in()
    return Reviewing(service=scenario.service)


def opened(scenario: Scenario) -> list[records.CampaignOpened]:
    found = scenario.service.registry.campaigns.open
    return [each.record for each in found.values()]


def test_a_quarter_begins_on_its_first_day() -> None:
    first, every = date(2026, 1, 1), "FREQ=MONTHLY;INTERVAL=3"
    now = datetime(2026, 8, 15, tzinfo=UTC)
    assert latest(every, first, now) == datetime(2026, 7, 1, tzinfo=UTC)
    assert coming(every, first, now) == datetime(2026, 10, 1, tzinfo=UTC)
    assert latest(every, first, datetime(2025, 12, 31, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "every quarter",
        "FREQ=SECONDLY",
        "FREQ=DAILY;BYHOUR=1",
        "FREQ=DAILY\nRRULE:FREQ=DAILY",
        "FREQ=DAILY;INTERVAL=0x",
        "FREQ=MONTHLY;BYDAY=9XX",
    ],
)
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(Malformed, match="schedule"):
        check_schedule(schedule, date(2026, 1, 1))


def test_a_section_says_what_is_wrong_with_it() -> None:
    with pytest.raises(ValidationError, match="go together"):
        CampaignSection(**RULE, schedule="FREQ=DAILY")
    with pytest.raises(ValidationError, match="no schedule"):
        CampaignSection(**RULE, schedule="FREQ=HOURLY", starts=date(2026, 1, 1))
    assert CampaignSection(**RULE).sample == 0


async def test_a_review_is_opened_once_on_each_of_its_days(scenario: Scenario) -> None:
    today = scenario.service.now().date()
    piece = await looking(scenario, schedule="FREQ=DAILY", starts=today.isoformat())
    await piece.look()
    await piece.look()
    assert [each.started for each in opened(scenario)] == ["schedule"]
    scenario.clock.advance(timedelta(days=1))
    await piece.look()
    assert len({each.occasion for each in opened(scenario)}) == 2


async def test_broken_glass_and_a_bad_finding_each_open_a_review(scenario: Scenario) -> None:
    piece = await looking(scenario, triggers=["break-glass", "finding:high"])
    await piece.look()
    assert not opened(scenario)
    glass = await scenario.ask("bo", emergency=True, incident="INC-1", ticket="")
    await scenario.pick_up("bo", glass)
    await piece.look()
    (first,) = opened(scenario)
    assert (first.started, first.occasion) == ("break-glass", scenario.review_of(glass))
    await piece.look()
    assert len(opened(scenario)) == 1


async def found(scenario: Scenario, key: str = "k") -> str:
    rule = Rule(
        id="too-much",
        title="More than usual",
        advice="Ask.",
        severity="high",
        kind="deterministic",
        needs=("activity",),
    )
    at = scenario.service.now()
    hit = Hit(rule=rule.id, at=at, key=key, summary="it was done", severity="high")
    finding = await raise_finding(scenario.service, rule, {}, hit)
    assert finding is not None
    return finding


async def close(scenario: Scenario) -> None:
    """The open review, once its time is over."""
    (case,) = scenario.service.registry.campaigns.open
    scenario.clock.advance(timedelta(days=6))
    await apply_reviews.settle(scenario.service)
    await sign_review.sign(scenario.service, scenario.caller("boss"), case)
    await sign_review.close_campaign(scenario.service, scenario.caller("boss"), case)


async def test_what_happens_while_a_review_is_open_starts_one_more_when_it_is_closed(
    scenario: Scenario,
) -> None:
    piece = await looking(scenario, triggers=["finding:high"])
    first = await found(scenario)
    await piece.look()
    await found(scenario, "later")
    newest = await found(scenario, "latest")
    await piece.look()
    assert [each.occasion for each in opened(scenario)] == [first]
    await close(scenario)
    await piece.look()
    # it is over all that happened meanwhile, however long ago
    assert [each.occasion for each in opened(scenario)] == [newest]
    await close(scenario)
    await piece.look()
    assert not opened(scenario)


async def test_what_happened_is_remembered_over_a_restart(scenario: Scenario) -> None:
    piece = await looking(scenario, triggers=["finding:too-much"])
    await found(scenario)
    await piece.look()
    newest = await found(scenario, "later")
    await close(scenario)
    await scenario.restart()
    await Reviewing(service=scenario.service).look()
    assert [each.occasion for each in opened(scenario)] == [newest]


async def test_what_happened_while_items_were_made_starts_a_review_of_its_own(
    scenario: Scenario,
) -> None:
    await looking(scenario, triggers=["finding:high"])
    service = scenario.service
    rule = campaigns.rule(service, "quarterly")
    made = await population(service, rule, lambda _done, _total: None)
    finding = await found(scenario)
    await record(service, rule, made, Grounds())
    await close(scenario)
    await Reviewing(service=service).look()
    assert [each.occasion for each in opened(scenario)] == [finding]


async def test_what_could_not_be_opened_for_days_is_opened_when_it_can(scenario: Scenario) -> None:
    piece = await looking(scenario, triggers=["finding:high"], reviewers="later")
    finding = await found(scenario)
    await piece.look()
    assert not opened(scenario)
    scenario.clock.advance(timedelta(days=3))
    await scenario.change("bo", groups=("sre-leads", "later"))
    await piece.look()
    assert [each.occasion for each in opened(scenario)] == [finding]


async def test_what_happened_long_before_there_was_a_rule_starts_nothing(
    scenario: Scenario,
) -> None:
    await found(scenario)
    scenario.clock.advance(timedelta(days=3))
    piece = await looking(scenario, triggers=["finding:high"])
    await piece.look()
    assert not opened(scenario)


async def test_a_finding_of_another_kind_opens_nothing(scenario: Scenario) -> None:
    piece = await looking(scenario, triggers=["finding:critical"])
    finding = await found(scenario)
    await piece.look()
    assert not opened(scenario)
    piece = await looking(scenario, triggers=["finding:too-much"])
    await piece.look()
    assert [each.occasion for each in opened(scenario)] == [finding]


async def test_it_is_said_when_half_and_all_of_the_time_is_over(scenario: Scenario) -> None:
    today = scenario.service.now().date()
    piece = await looking(scenario, schedule="FREQ=YEARLY", starts=today.isoformat())
    await piece.look()
    (case,) = scenario.service.registry.campaigns.open
    for days in (1, 2, 1, 1):
        scenario.clock.advance(timedelta(days=days))
        await piece.look()
    assert scenario.kinds(case)[1:] == ["review:escalated"] * 3
    found, _ = campaigns.read(scenario.service, case)
    assert found.campaign.over


async def test_a_rule_without_reviewers_says_so_and_holds_up_no_other(scenario: Scenario) -> None:
    today = scenario.service.now().date().isoformat()
    scenario.campaigns = [
        {
            **RULE,
            "name": "nobody",
            "reviewers": "nobodies",
            "schedule": "FREQ=DAILY",
            "starts": today,
        },
        {**RULE, "schedule": "FREQ=DAILY", "starts": today},
    ]
    await scenario.take_in()
    await Reviewing(service=scenario.service).look()
    assert [each.rule for each in opened(scenario)] == ["quarterly"]
    assert "nobody active" in scenario.service.publishing.failing["reviews/nobody"]
