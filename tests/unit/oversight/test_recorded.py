"""Facts from the records of a log: each tells what its case is about, in one reading of the log."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from muniment.evidence.store import Entry, entry_of
from muniment.oversight.fact import FACTS, Fact
from muniment.oversight.recorded import SETTLED, Reason, Recorded, Usage
from muniment.policy import starter
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario

MINUTE = timedelta(minutes=1)


@dataclass
class Around:
    """What the log does not say, as a test has it."""

    used: Usage | None = None
    zones: dict[str, str] = field(default_factory=dict)

    def zone(self, principal: str) -> str:
        return self.zones.get(principal, "")

    def on_call(self, principal: str, at: datetime) -> bool:
        return False

    def incident(self, resource: str, at: datetime) -> bool:
        return resource == "orders-prod"

    def reason(self, request: Entry) -> Reason | None:
        return Reason(digest="d", letters=12, ticket="OPS-1")

    def usage(self, case: str, start: datetime, end: datetime) -> Usage | None:
        return self.used


def told(
    scenario: Scenario, around: Around | None = None, *, later: timedelta = SETTLED
) -> list[Fact]:
    """All facts of the log, and what has settled so much later."""
    recorded = Recorded(world=around or Around())
    log = scenario.service.log

    def walk() -> Iterator[Fact]:
        for index, data in log.store.entries(0, log.size):
            yield from recorded.see(entry_of(index, data))
        yield from recorded.tick(scenario.service.now() + later)

    facts = list(walk())
    for each in facts:
        assert set(each.values) <= set(FACTS[each.type][1]), each
    return facts


def of_type(facts: list[Fact], type: str) -> list[Fact]:
    return [each for each in facts if each.type == type]


async def test_a_grant_is_told_from_its_request_to_its_end(tmp_path: Path) -> None:
    async with Scenario(tmp_path) as scenario:
        picked = await scenario.granted()
        await scenario.advance(10 * MINUTE)
        await scenario.end("ana", picked)
        facts = [f for f in told(scenario, Around(Usage(sessions=2, seconds=90))) if f.case]
        ana = scenario.ids["ana"]
    assert [fact.type for fact in facts] == [
        "request.made",
        "request.decided",
        "approval.given",
        "grant.issued",
        "removal.verified",
        "grant.over",
    ]
    made, decided, approved, issued, _, over = facts
    assert all(fact.text("requester") == ana for fact in facts)
    assert (made.number("seconds"), made.text("ticket"), made.number("letters")) == (
        1800,
        "OPS-1",
        12,
    )
    assert (made.text("tier"), made.flag("incident"), made.flag("emergency")) == (
        "prod",
        True,
        False,
    )
    assert decided.text("outcome") == "needs_approvals"
    assert approved.text("approver_person") not in made.persons
    assert issued.number("seconds") == 1800
    assert (over.text("how"), over.number("seconds")) == ("ended", 600)
    assert (over.number("sessions"), over.number("used")) == (2, 90)


async def test_whether_a_grant_was_used_is_told_once_sources_had_their_time(tmp_path: Path) -> None:
    async with Scenario(tmp_path) as scenario:
        await scenario.end("ana", await scenario.granted())
        assert of_type(told(scenario, later=SETTLED - MINUTE), "grant.over") == []
        (over,) = of_type(told(scenario, later=SETTLED), "grant.over")
    assert "sessions" not in over.values  # nobody covers the target: that is not the same as none


async def test_a_denial_and_a_refusal_are_told(tmp_path: Path) -> None:
    async with Scenario(tmp_path) as scenario:
        await scenario.ask("ana", ticket="")
        await scenario.refuse("cy", await scenario.ask("ana"))
        facts = told(scenario)
    assert [f.text("outcome") for f in of_type(facts, "request.decided")] == [
        "deny",
        "needs_approvals",
    ]
    (refused,) = of_type(facts, "approval.refused")
    assert refused.text("approver") == scenario.ids["cy"]


async def test_broken_glass_and_its_review_are_told_of_the_case(tmp_path: Path) -> None:
    async with Scenario(tmp_path) as scenario:
        case = await scenario.ask("bo", emergency=True, incident="INC-1", text="orders are stuck")
        await scenario.answer_review("admin", case)
        facts = told(scenario)
    (made,) = of_type(facts, "request.made")
    assert made.flag("emergency")
    for type in ("review.opened", "review.answered"):
        (review,) = of_type(facts, type)
        assert (review.case, review.text("about")) == (case.case.id, case.case.id)
        assert review.persons == made.persons


async def test_a_change_of_who_decides_is_told_and_a_new_face_is_not(tmp_path: Path) -> None:
    async with Scenario(tmp_path) as scenario:
        assert of_type(told(scenario), "control.changed") == []  # the first policy changes nothing
        scenario.clock.advance(MINUTE)
        await scenario.activate({**starter.files(), "policies/90-new.cedar": b"// nothing more"})
        before = len(of_type(told(scenario), "control.changed"))
        assert before == 1
        scenario.principals["eve"] = human("eve", "engineering")
        await scenario.take_in()
        assert len(of_type(told(scenario), "control.changed")) == before
        await scenario.change("eve", groups=("engineering", "sre-leads"))
        change = of_type(told(scenario), "control.changed")[-1]
    assert (change.text("what"), change.flag("weakens")) == ("principal:enrolled", True)
    assert change.text("about") == scenario.ids["eve"]


async def test_a_log_that_was_silent_is_told_when_it_speaks_again(tmp_path: Path) -> None:
    async with Scenario(tmp_path) as scenario:
        await scenario.ask("ana")
        assert of_type(told(scenario), "log.gap") == []
        scenario.clock.advance(timedelta(hours=3))
        await scenario.ask("ana")
        (gap,) = of_type(told(scenario), "log.gap")
    assert gap.number("since") == 3 * 3600
