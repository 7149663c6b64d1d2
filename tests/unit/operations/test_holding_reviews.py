"""What reviewers wrote in a review of many is held with whom and what its items are about."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from muniment.errors import Conflict, LogInvalid
from muniment.operations import campaigns, carry_away, erase_run, hold
from muniment.operations.decide_review import Verdict, decide
from muniment.operations.hold import Scope
from muniment.operations.open_campaign import open_campaign
from muniment.operations.retain import look
from muniment.operations.sign_review import close_campaign, sign
from muniment.oversight.retention import Class, Rules
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario

DAY = timedelta(days=1)
GRANTS: dict[str, Any] = {
    "name": "grants",
    "what": "grants",
    "reviewers": "sre-leads",
    "fallback": "security",
    "sign_off": "managers",
    "days": 10,
    "silence": "none",
}
RULES = Rules(classes=(Class(name="why", sections=frozenset({"reasons"}), ceiling=100 * DAY),))


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    made = Scenario(tmp_path, campaigns=[GRANTS], checking=False)
    made.principals["sec"] = human("sec", "security", "auditors")
    made.principals["boss"] = human("boss", "managers")
    async with made:
        yield made


async def reviewed(scenario: Scenario) -> str:
    """What ana had was kept by bo, who said why; and a year went by."""
    await scenario.end("ana", await scenario.granted("ana"))
    service = scenario.service
    case = await open_campaign(service, scenario.caller("sec"), "grants")
    said = Verdict(item=0, verdict="abstain", reason="I do not know what she did there")
    await decide(service, scenario.caller("bo"), case, [said])
    await sign(service, scenario.caller("boss"), case, "seen")
    await close_campaign(service, scenario.caller("boss"), case)
    service.erasures.rules = RULES
    scenario.clock.advance(365 * DAY)
    return case


@pytest.mark.parametrize(
    "scope",
    [
        Scope(people=("ana",)),
        Scope(people=("bo",)),
        Scope(people=("cy",)),
        Scope(resources=("orders-prod",)),
    ],
    ids=["about her", "he decided", "he approved", "its resource"],
)
async def test_a_hold_that_is_placed_after_the_review_keeps_its_reasons(
    scenario: Scenario, scope: Scope
) -> None:
    case, service = await reviewed(scenario), scenario.service
    assert {each.kept.case for each in look(service, service.now()).sections} == {case}
    placed = await hold.place(service, scenario.caller("admin"), scope, "matter", "")
    found = look(service, service.now())
    assert (found.sections, found.held) == ((), {placed.id: 1})
    assert (await erase_run.propose(service, scenario.caller("pia"))).run is None
    with pytest.raises(Conflict, match=placed.id):
        await carry_away.erase(service, scenario.caller("pia"), f"{case}/1", "reasons", "gdpr-17")


async def test_a_hold_on_somebody_else_lets_them_go(scenario: Scenario) -> None:
    case, service = await reviewed(scenario), scenario.service
    await hold.place(service, scenario.caller("admin"), Scope(people=("pia",)), "matter", "")
    proposed = await erase_run.propose(service, scenario.caller("pia"))
    assert proposed.run is not None
    assert (await erase_run.carry_out(service, proposed.run.id)).sections == 1
    (entry,) = [each for each in scenario.entries(case) if "reasons" in each.header.sections]
    assert scenario.store.erased(entry.index) == {"reasons": "retention:why"}


async def test_items_that_the_database_changed_let_nothing_go(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By other items a hold would not reach what it holds."""
    case, service = await reviewed(scenario), scenario.service
    found, _ = campaigns.read(service, case)
    whole = service.document
    changed = found.campaign.opened.sheets[0]
    monkeypatch.setattr(service, "document", lambda name: b"" if name == changed else whole(name))
    with pytest.raises(LogInvalid, match="other documents than were recorded"):
        look(service, service.now())
