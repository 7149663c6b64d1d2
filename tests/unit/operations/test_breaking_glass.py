"""Breaking glass: recorded first, short, loud, and looked at afterwards by somebody else."""

import asyncio
from datetime import timedelta

import pytest

from muniment.access import records
from muniment.errors import Conflict, Malformed, NotFound, NotPermitted
from muniment.operations import explain
from muniment.operations.request import Asked
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario


async def broken(scenario: Scenario, who: str = "bo", incident: str = "INC-1") -> Asked:
    return await scenario.ask(who, incident=incident, emergency=True, seconds=900)


async def test_broken_glass_is_approved_at_once_and_opens_a_review(scenario: Scenario) -> None:
    glass = await broken(scenario)
    assert (glass.case.state, glass.case.break_glass) == ("approved", True)
    review = scenario.review_of(glass)
    opened = scenario.last(review, records.ReviewOpened)
    assert opened.about == glass.case.id
    assert opened.due == scenario.clock.wall + timedelta(hours=24)
    assert scenario.entries(review)[0].header.follows == (scenario.entries(glass)[0].leaf,)
    assert (await scenario.pick_up("bo", glass)).issued is not None


async def test_whoever_is_not_on_call_is_denied_on_record_and_it_does_not_count(
    scenario: Scenario,
) -> None:
    denied = await broken(scenario, "ana")
    assert denied.case.state == "denied"
    assert denied.case.id not in scenario.service.registry.reviews
    in_vain = [await broken(scenario, incident="") for _ in range(4)]
    assert {each.case.state for each in in_vain} == {"denied"}
    assert (await broken(scenario)).case.state == "approved"


async def test_glass_is_broken_three_times_in_thirty_days(scenario: Scenario) -> None:
    assert [(await broken(scenario)).case.state for _ in range(4)] == [*["approved"] * 3, "denied"]
    await scenario.advance(timedelta(days=30, seconds=1))
    assert (await broken(scenario)).case.state == "approved"


async def test_two_accounts_of_one_human_share_the_count(scenario: Scenario) -> None:
    scenario.principals["bo-2"] = human("bo-2", "sre-oncall", person_of="bo")
    await scenario.take_in()
    for who in ("bo", "bo-2", "bo"):
        await broken(scenario, who)
    assert (await broken(scenario, "bo-2")).case.state == "denied"


async def test_glass_broken_at_the_same_moment_is_counted_one_after_the_other(
    scenario: Scenario,
) -> None:
    asked = await asyncio.gather(*(broken(scenario) for _ in range(5)))
    states = sorted(each.case.state for each in asked)
    assert states == [*["approved"] * 3, *["denied"] * 2]


async def test_ones_own_breaking_does_not_count_against_its_own_pick_up(
    scenario: Scenario,
) -> None:
    cases = [await broken(scenario) for _ in range(3)]
    for case in cases:
        assert (await scenario.pick_up("bo", case)).issued is not None


async def test_it_is_marked_until_somebody_else_has_closed_its_review(scenario: Scenario) -> None:
    glass = await broken(scenario)
    picked = await scenario.pick_up("bo", glass)
    await scenario.end("bo", picked)
    service = scenario.service
    assert explain.summary(service, scenario.read(glass))["marked"]
    with pytest.raises(NotPermitted):
        await scenario.answer_review("bo", glass)
    await scenario.answer_review("aud", glass, note="it was down")
    assert not explain.summary(service, scenario.read(glass))["marked"]
    review = scenario.review_of(glass)
    assert scenario.kinds(review) == ["review:opened", "review:answered", "case:closed"]
    with pytest.raises(Conflict, match="answered already"):
        await scenario.answer_review("admin", glass)


async def test_a_mark_is_not_taken_off_by_whoever_edits_a_table(scenario: Scenario) -> None:
    glass = await broken(scenario)
    review = scenario.review_of(glass)
    scenario.checking = False
    with scenario.store.transaction() as transaction:
        transaction._connection.execute(
            "UPDATE cases SET state = 'closed' WHERE case_id = ?", (review,)
        )
    assert explain.summary(scenario.service, scenario.read(glass))["marked"]
    await scenario.advance(timedelta(minutes=2))
    assert review in scenario.found_wrong
    scenario.check()


async def test_who_may_not_review_does_not(scenario: Scenario) -> None:
    glass = await broken(scenario)
    for who in ("dan", "cy", "pia"):
        with pytest.raises(NotPermitted):
            await scenario.answer_review(who, glass)


async def test_nobody_reviews_through_a_second_account(scenario: Scenario) -> None:
    scenario.principals["bo-2"] = human("bo-2", "compliance", person_of="bo")
    await scenario.take_in()
    glass = await broken(scenario)
    with pytest.raises(NotPermitted):
        await scenario.answer_review("bo-2", glass)


async def test_of_two_answers_at_once_one_stands(scenario: Scenario) -> None:
    glass = await broken(scenario)
    answers = await asyncio.gather(
        scenario.answer_review("aud", glass),
        scenario.answer_review("admin", glass, "not-justified"),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, Conflict) for answer in answers) == 1


async def test_a_verdict_is_one_of_two_and_a_review_is_one(scenario: Scenario) -> None:
    from muniment.operations import review

    glass = await broken(scenario)
    with pytest.raises(Malformed, match="justified"):
        await scenario.answer_review("aud", glass, "fine")
    with pytest.raises(NotFound, match="no review"):
        await review.answer_review(
            scenario.service, scenario.caller("aud"), glass.case.id, "justified", ""
        )


async def test_a_review_survives_a_rebuild_of_the_lists(scenario: Scenario) -> None:
    from muniment.operations import sweep

    glass = await broken(scenario)
    sweep.rebuild(scenario.service)
    assert sweep.wrong_rows(scenario.service) == []
    await scenario.answer_review("aud", glass)
    assert sweep.wrong_rows(scenario.service) == []
