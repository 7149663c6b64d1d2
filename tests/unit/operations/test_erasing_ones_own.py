"""Nobody erases by his own word what was said of him or by him, nor what others still need."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from muniment.access import records
from muniment.errors import Conflict, NotPermitted
from muniment.operations import carry_away, hold, reading
from muniment.operations.hold import Scope
from muniment.operations.open_campaign import open_campaign
from muniment.operations.raise_finding import raise_finding
from muniment.oversight.detector import Hit, Rule
from muniment.testing.cast import cast, human
from muniment.testing.scenario import Scenario

OFFICER = ("privacy-officers", "engineering", "sre-leads", "sre-oncall", "compliance")
GRANTS: dict[str, Any] = {
    "name": "grants",
    "what": "grants",
    "reviewers": "sre-leads",
    "fallback": "security",
    "sign_off": "managers",
    "days": 10,
    "silence": "none",
}
RULE = Rule(
    id="too-much",
    title="More than usual",
    advice="Ask who did it.",
    severity="high",
    kind="deterministic",
    needs=("activity",),
)


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    made = Scenario(tmp_path, campaigns=[GRANTS], checking=False)
    made.principals["pia"] = replace(cast()["pia"], groups=OFFICER)
    made.principals["dan"] = human("dan", "privacy-officers")
    made.principals["sec"] = human("sec", "security")
    async with made:
        yield made


async def erase(scenario: Scenario, who: str, record: str, section: str) -> None:
    await carry_away.erase(scenario.service, scenario.caller(who), record, section, "gdpr-17")


def last(scenario: Scenario, kind: str) -> str:
    log = scenario.service.log
    headers = (log.read_entry(index).header for index in reversed(range(log.size)))
    return next(header.id for header in headers if header.kind == kind)


async def test_the_note_of_ones_own_approval_and_ones_own_searches_stay(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    await scenario.approve("pia", asked, note="as agreed")
    await scenario.withdraw("ana", asked)
    await reading.note(scenario.service, scenario.caller("pia"), "cases", query={"who": "ana"})
    for kind, section in (
        (records.ApprovalGiven.KIND, "note"),
        (records.EvidenceRead.KIND, "query"),
    ):
        record = last(scenario, kind)
        with pytest.raises(NotPermitted, match="said or done himself"):
            await erase(scenario, "pia", record, section)
        await erase(scenario, "dan", record, section)


async def test_the_answer_to_ones_own_broken_glass_stays(scenario: Scenario) -> None:
    glass = await scenario.ask("pia", incident="INC-1", emergency=True, seconds=900)
    await scenario.answer_review("admin", glass, note="she had to")
    record = last(scenario, records.ReviewAnswered.KIND)
    with pytest.raises(NotPermitted, match="his own access"):
        await erase(scenario, "pia", record, "note")
    await erase(scenario, "dan", record, "note")


async def test_what_was_said_in_a_review_of_ones_own_access_stays(scenario: Scenario) -> None:
    await scenario.granted("pia")
    case = await open_campaign(scenario.service, scenario.caller("sec"), "grants")
    entry = scenario.entries(case)[0]
    with pytest.raises(NotPermitted, match="a review of his own access"):
        carry_away._check_not_own(scenario.service, scenario.caller("pia"), entry)
    carry_away._check_not_own(scenario.service, scenario.caller("dan"), entry)


@pytest.mark.parametrize("what", ["case", "resource", "person"])
async def test_what_a_hold_is_for_stays_while_it_stands(scenario: Scenario, what: str) -> None:
    asked = await scenario.ask("ana")
    await scenario.withdraw("ana", asked)
    scope = {
        "case": Scope(cases=(asked.case.id,)),
        "resource": Scope(resources=("orders-prod",)),
        "person": Scope(people=("ana",)),
    }[what]
    placed = await hold.place(scenario.service, scenario.caller("aud"), scope, "matter 7", "")
    with pytest.raises(Conflict):
        await erase(scenario, "dan", f"{placed.id}/0", "matter")
    await hold.ask_release(scenario.service, scenario.caller("aud"), placed.id, "over")
    await hold.release(scenario.service, scenario.caller("admin"), placed.id)
    await erase(scenario, "dan", f"{placed.id}/0", "matter")


async def test_what_a_finding_says_stays_while_it_is_open(scenario: Scenario) -> None:
    hit = Hit(
        rule=RULE.id, at=scenario.service.now(), key="x", summary="7 times", severity="high",
        resource="orders-prod", evidence=("mun_a/1",), detail="DROP", cases=(),
    )  # fmt: skip
    await raise_finding(scenario.service, RULE, {}, hit)
    with pytest.raises(Conflict, match="is open"):
        await erase(scenario, "dan", last(scenario, records.FindingRaised.KIND), "detail")
