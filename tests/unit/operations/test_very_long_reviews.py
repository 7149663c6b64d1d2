"""A review of very many items stays fast, and does not outgrow the bundle that is to hold it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from muniment.access.check import verify
from muniment.errors import Conflict
from muniment.evidence.bundle import MAX_RECORDS
from muniment.evidence.store import Entry
from muniment.operations import apply_reviews, campaigns, export, review_room, sign_review
from muniment.operations.decide_review import Verdict, decide, reassign
from muniment.operations.open_campaign import open_campaign
from muniment.operations.service import Service
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario

RULE: dict[str, Any] = {
    "name": "grants",
    "what": "grants",
    "reviewers": "looking",
    "fallback": "looking",
    "sign_off": "managers",
    "days": 10,
    "silence": "none",
}
GRANTS = 6


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    made = Scenario(tmp_path, campaigns=[RULE], checking=False, shared=True)
    for login in ("eva", "fay"):
        made.principals[login] = human(login, "looking", "compliance", "security")
    made.principals["boss"] = human("boss", "managers")
    async with made:
        for _ in range(GRANTS):
            await made.granted("ana")
        yield made


async def opened(scenario: Scenario) -> str:
    """All of it with one of them."""
    case = await open_campaign(scenario.service, scenario.caller("eva"), "grants")
    found = campaigns.glance(scenario.service, case)
    eva = scenario.ids["eva"]
    others = [item.number for item in found.items.items if item.reviewer != eva]
    await reassign(scenario.service, scenario.caller("fay"), case, others, "eva", "away")
    return case


async def keep(scenario: Scenario, case: str, *numbers: int, verdict: str = "keep") -> None:
    said = [Verdict(item=n, verdict=verdict, reason="seen") for n in numbers]
    await decide(scenario.service, scenario.caller("eva"), case, said)


async def hand_on(scenario: Scenario, case: str, *numbers: int) -> None:
    await reassign(scenario.service, scenario.caller("fay"), case, numbers, "fay", "away")


async def test_no_verdict_reads_the_review_anew(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = await opened(scenario)
    log, read = scenario.service.log, list[str]()
    reading = log.read_case

    def noted(name: str) -> list[Entry]:
        read.append(name)
        return reading(name)

    monkeypatch.setattr(log, "read_case", noted)
    for number in range(GRANTS):
        await keep(scenario, case, number)
        assert campaigns.glance(scenario.service, case).items.tallies()["keep"] == number + 1
    assert case not in read


def stands(service: Service, case: str) -> list[object]:
    found, entries = campaigns.read(service, case)
    told = [(item.number, item.outcome, item.reviewer) for item in found.items.items]
    return [found.campaign, told, [entry.leaf for entry in entries]]


async def test_what_another_node_wrote_is_followed_likewise(scenario: Scenario) -> None:
    case = await opened(scenario)
    with scenario.another_node() as other:
        for number in range(0, GRANTS, 2):
            await keep(scenario, case, number)
            said = [Verdict(item=number + 1, verdict="abstain", reason="unknown to me")]
            await decide(other, scenario.caller("eva"), case, said)
            assert scenario.service.log.head(case) != other.log.head(case), "it was not told yet"
        scenario.service.log.look_again()
        followed = [stands(service, case) for service in (scenario.service, other)]
        assert followed[0] == followed[1]
        for service in (scenario.service, other):
            service.registry.campaigns.read.clear()
            assert stands(service, case) == followed[0], "as it is read from the beginning"


async def test_what_cannot_be_followed_is_read_anew(scenario: Scenario) -> None:
    case = await opened(scenario)
    await keep(scenario, case, 0)
    campaigns.read(scenario.service, case)
    await keep(scenario, case, 1)
    scenario.service.registry.campaigns.heard[case].clear()
    found, entries = campaigns.read(scenario.service, case)
    assert found.items.tallies()["keep"] == 2
    assert entries[-1].leaf == scenario.service.log.head(case)


async def test_a_long_review_takes_more_at_once_or_all_that_is_left(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = await opened(scenario)
    await keep(scenario, case, 0)
    length = campaigns.glance(scenario.service, case).campaign.length
    monkeypatch.setattr(review_room, "LONG", length)
    monkeypatch.setattr(review_room, "FEWEST", 3)
    with pytest.raises(Conflict, match=r"3 records already.*at least 3 items at once"):
        await keep(scenario, case, 1, 2)
    with pytest.raises(Conflict, match="at least 3 items at once"):
        await hand_on(scenario, case, 1, 2)
    await keep(scenario, case, 1, 2, 3)
    await hand_on(scenario, case, 4, 5)  # all that is left


async def test_in_a_very_long_review_what_was_decided_stands(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or somebody who changes his mind again and again would leave it without a bundle."""
    case = await opened(scenario)
    await keep(scenario, case, 0)
    length = campaigns.glance(scenario.service, case).campaign.length
    for bound in ("LONG", "LONGEST"):
        monkeypatch.setattr(review_room, bound, length)
    monkeypatch.setattr(review_room, "FEWEST", 3)
    with pytest.raises(Conflict, match="what was decided stands"):
        await keep(scenario, case, 0, 1, 2, 3, 4, 5)
    with pytest.raises(Conflict, match="no item is handed on"):
        await hand_on(scenario, case, 1, 2, 3, 4, 5)
    await keep(scenario, case, 1, 2, 3)
    await keep(scenario, case, 4, 5)  # all that is left


def test_the_longest_review_there_can_be_fits_into_its_bundle() -> None:
    decided = review_room.LONGEST + 100_000 // review_room.FEWEST
    shown = review_room.MOST_TAKEN + review_room.MOST_TAKEN // apply_reviews.NAMED
    assert decided + shown + 1_000 < MAX_RECORDS, "with reviewers, keys and who enrolled them"


async def test_a_review_takes_away_no_more_than_its_bundle_can_show(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = await opened(scenario)
    monkeypatch.setattr(review_room, "MOST_TAKEN", 2)
    await keep(scenario, case, 0, verdict="revoke")
    await keep(scenario, case, 1, verdict="revoke")
    with pytest.raises(Conflict, match="revoke the rest in another one"):
        await keep(scenario, case, 2, verdict="revoke")
    await keep(scenario, case, 2)


async def test_a_review_whose_silence_takes_more_than_a_bundle_shows_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_room, "MOST_TAKEN", 1)
    made = Scenario(tmp_path, campaigns=[{**RULE, "silence": "revoke"}], checking=False)
    made.principals["eva"] = human("eva", "looking", "compliance", "security")
    async with made:
        await made.granted("ana")
        await open_campaign(made.service, made.caller("eva"), "grants")
        await made.granted("ana")
        with pytest.raises(Conflict, match="name fewer `resources`"):
            await open_campaign(made.service, made.caller("eva"), "grants")


async def test_its_bundle_has_no_head_for_each_of_its_records(scenario: Scenario) -> None:
    case = await opened(scenario)
    for number in range(GRANTS):
        await keep(scenario, case, number)
    await sign_review.sign(scenario.service, scenario.caller("boss"), case)
    checked = verify(await scenario.export("boss", case), scenario.key.verifier)
    assert len(checked.proved.case) > GRANTS
    assert len(checked.proved.heads) <= 3


@pytest.mark.parametrize(
    ("bound", "why"),
    [("MAX_RECORDS", "records"), ("MAX_HEADS", "heads"), ("MAX_BUNDLE", "MiB")],
)
async def test_what_no_bundle_holds_is_refused_before_it_is_recorded_as_carried_away(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, bound: str, why: str
) -> None:
    case, size = await opened(scenario), scenario.service.log.size
    monkeypatch.setattr(export, bound, 1)
    with pytest.raises(Conflict, match=rf"more than the .* {why} that a bundle holds"):
        await scenario.export("boss", case)
    assert scenario.service.log.size == size
