"""Reviewers are told that items wait for them, and again while they do."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from muniment.operations import apply_reviews, campaigns
from muniment.operations.decide_review import Verdict, decide
from muniment.operations.open_campaign import open_campaign
from muniment.ports import Notice
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario

DAY = timedelta(days=1)
RULE: dict[str, Any] = {
    "name": "grants",
    "what": "grants",
    "reviewers": "sre-leads",
    "fallback": "security",
    "sign_off": "managers",
    "days": 10,
    "silence": "none",
}


@dataclass
class Mail:
    """Keeps what it is given."""

    personal: ClassVar[bool] = True
    notices: list[tuple[str, Notice]] = field(default_factory=list)

    async def tell(self, notice: Notice, address: str = "") -> None:
        self.notices.append((address.partition("@")[0], notice))


@pytest.fixture
def mail() -> Mail:
    return Mail()


@pytest.fixture
async def scenario(tmp_path: Path, mail: Mail) -> AsyncIterator[Scenario]:
    made = Scenario(
        tmp_path,
        campaigns=[RULE],
        notices={"mail": {"kind": "mail", "events": ["review"], "to": []}},
        notifiers={"mail": mail},
    )
    made.principals["sec"] = human("sec", "security")
    made.principals["boss"] = human("boss", "managers")
    async with made:
        yield made


async def test_whoever_has_items_is_told_at_once_and_while_they_wait(
    scenario: Scenario, mail: Mail
) -> None:
    for _ in range(2):
        await scenario.granted("ana")
        await scenario.granted("cy")
    service = scenario.service
    case = await open_campaign(service, scenario.caller("sec"), "grants")
    await scenario.work()
    waiting = {
        login for login, id_ in scenario.ids.items() if id_ in campaigns.awaited(service, case)
    }
    assert {address for address, _ in mail.notices} == waiting
    (_, first), *_ = mail.notices
    assert first.title.startswith("review grants: 4 items to look at by")
    assert f"https://muniment.example/reviews/{case}" in first.text

    mail.notices.clear()
    done = min(waiting)
    caller = scenario.caller(done)
    page = campaigns.items_of(service, caller, case, mine=True)
    said = [Verdict(item=item["item"], verdict="keep") for item in page["items"]]
    await decide(service, caller, case, said)
    scenario.clock.advance(5 * DAY)
    await apply_reviews.settle(service)
    await scenario.work()
    assert {address for address, _ in mail.notices} == waiting - {done}
    assert all("50 % of the time is over" in notice.title for _, notice in mail.notices)
    scenario.check()


async def test_while_reviewers_are_silent_others_learn_it_and_in_the_end_who_signs(
    scenario: Scenario, mail: Mail
) -> None:
    await scenario.granted("ana")
    service = scenario.service
    await open_campaign(service, scenario.caller("sec"), "grants")
    await scenario.work()
    (reviewer,) = {address for address, _ in mail.notices}
    told = []
    for days in (5, 3, 2):
        mail.notices.clear()
        scenario.clock.advance(days * DAY)
        await apply_reviews.settle(service)
        await scenario.work()
        told.append({address for address, _ in mail.notices})
    assert told == [{reviewer}, {reviewer, "sec"}, {reviewer, "sec", "boss"}]


async def test_what_nobody_may_look_at_is_told_at_once_to_who_could_change_that(
    scenario: Scenario, mail: Mail
) -> None:
    await scenario.granted("cy")
    for login in ("bo", "sec"):
        await scenario.change(login, active=False)
    service = scenario.service
    case = await open_campaign(service, scenario.caller("admin"), "grants")
    assert campaigns.has_unassigned(service, case)
    await scenario.work()
    assert {address for address, _ in mail.notices} == {"boss"}
