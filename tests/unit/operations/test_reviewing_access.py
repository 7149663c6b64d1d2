"""A campaign of review: opened over all that the log gives, decided, applied, signed and closed."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from muniment.access import records
from muniment.access.check import verify
from muniment.errors import (
    BundleInvalid,
    Conflict,
    LogInvalid,
    Malformed,
    NotFound,
    NotPermitted,
    Unavailable,
)
from muniment.evidence.bundle import Bundle
from muniment.evidence.store import entry_of
from muniment.operations import apply_reviews, campaigns, decide_review, review_time, sign_review
from muniment.operations.campaign_population import make
from muniment.operations.decide_review import Verdict, decide
from muniment.operations.open_campaign import open_by_itself, open_campaign, recompute
from muniment.operations.service import Caller
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
    "silence": "revoke",
}
ELIGIBLE: dict[str, Any] = {**GRANTS, "name": "eligible", "what": "eligibility"}


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    made = Scenario(tmp_path, campaigns=[GRANTS, ELIGIBLE])
    made.principals["sec"] = human("sec", "security", "auditors")
    made.principals["boss"] = human("boss", "managers")
    async with made:
        yield made


async def opened(scenario: Scenario, name: str = "grants") -> str:
    return await open_campaign(scenario.service, scenario.caller("sec"), name)


def items(scenario: Scenario, case: str) -> list[dict[str, Any]]:
    found = campaigns.items_of(scenario.service, scenario.caller("sec"), case)
    return list(found["items"])


def reviewer(scenario: Scenario, item: dict[str, Any]) -> str:
    by_id = {id_: login for login, id_ in scenario.ids.items()}
    return by_id[item["reviewer"]]


async def say(
    scenario: Scenario, case: str, item: dict[str, Any], verdict: str, **more: str
) -> None:
    said = Verdict(item=item["item"], verdict=verdict, reason=more.pop("reason", "seen"), **more)
    who = scenario.caller(more.get("who", "") or reviewer(scenario, item))
    await decide(scenario.service, who, case, [said])


async def keep_all(scenario: Scenario, case: str) -> None:
    for item in items(scenario, case):
        if item["reviewer"] and item["outcome"] == "not-reviewed":
            await say(scenario, case, item, "keep")


async def test_whoever_was_granted_and_whoever_approved_do_not_review_it(
    scenario: Scenario,
) -> None:
    await scenario.granted("ana")
    case = await opened(scenario)
    (item,) = items(scenario, case)
    persons = {login: scenario.caller(login).principal.person for login in ("ana", "bo", "cy")}
    assert {persons["ana"], persons["cy"]} <= set(item["barred"])
    assert reviewer(scenario, item) == "bo"
    with pytest.raises(Conflict, match="not for this reviewer"):
        await decide(
            scenario.service, scenario.caller("cy"), case, [Verdict(item=0, verdict="keep")]
        )


async def test_a_revoked_grant_ends_at_its_target_and_only_then_counts_as_applied(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted("ana")
    session = scenario.login(picked)
    case = await opened(scenario)
    (item,) = items(scenario, case)
    await say(scenario, case, item, "revoke", reason="not needed")
    found, _ = campaigns.read(scenario.service, case)
    assert [each.number for each in found.items.owed] == [0]
    await apply_reviews.settle(scenario.service)
    await scenario.work()
    assert not session.alive
    assert scenario.last(picked, records.GrantRevoked).reason == "review"
    assert await apply_reviews.settle(scenario.service) == 1
    applied = scenario.last(case, records.ReviewApplied)
    assert (applied.items, applied.how, applied.about) == ((0,), "ended", (picked.case.id,))
    with pytest.raises(Conflict, match="applied already"):
        await say(scenario, case, item, "keep")


async def test_what_nobody_looked_at_is_taken_away_and_never_counted_as_kept(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted("ana", seconds=3600)
    case = await opened(scenario)
    scenario.clock.advance(timedelta(days=0, minutes=1))
    await apply_reviews.settle(scenario.service)
    assert scenario.kinds(case) == ["campaign:opened"]
    scenario.clock.advance(11 * DAY)
    await apply_reviews.settle(scenario.service)
    await scenario.work()
    await apply_reviews.settle(scenario.service)
    found, _ = campaigns.read(scenario.service, case)
    assert found.items.tallies()["not-reviewed"] == 1
    assert found.items.tallies()["keep"] == 0
    assert found.items.applied == 1
    assert scenario.read(picked).closed
    with pytest.raises(Conflict, match="item 0 was applied already"):
        await say(scenario, case, items(scenario, case)[0], "keep")


async def test_who_may_ask_and_who_approves_and_every_rule_are_items(scenario: Scenario) -> None:
    await scenario.granted("ana")
    case = await opened(scenario, "eligible")
    found = items(scenario, case)
    assert {item["what"] for item in found} == {"access", "approver", "policy"}
    mine = [
        (item["resource"], item["role"])
        for item in found
        if item["what"] == "access" and item["principal"] == scenario.ids["ana"]
    ]
    assert mine == [
        ("orders-prod", "personal"),
        ("orders-prod", "readwrite"),
        ("orders-staging", "readwrite"),
    ]
    again = await recompute(scenario.service, scenario.caller("sec"), case)
    assert again["same"]


async def test_whose_eligibility_a_review_took_is_denied_until_somebody_else_restores_it(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted("ana")
    case = await opened(scenario, "eligible")
    (item,) = [
        each
        for each in items(scenario, case)
        if each.get("principal") == scenario.ids["ana"]
        and (each.get("resource"), each.get("role")) == ("orders-prod", "readwrite")
    ]
    who = reviewer(scenario, item)
    await say(scenario, case, item, "revoke", reason="changed teams")
    await apply_reviews.settle(scenario.service)
    await scenario.work()
    assert scenario.read(picked).closed
    assert await apply_reviews.settle(scenario.service) == 1
    denied = (await scenario.ask("ana")).case
    assert denied.state == "denied"
    decided = scenario.last(denied, records.DecisionEvaluated)
    assert "muniment:review" in decided.rules
    assert (await scenario.ask("dan")).case.state == "pending"

    async def restored(login: str) -> str:
        return await decide_review.restore(
            scenario.service, scenario.caller(login), "ana", "orders-prod", "readwrite", "back"
        )

    with pytest.raises(NotPermitted):
        await restored(who)
    await restored("sec")
    assert await apply_reviews.settle(scenario.service) == 0
    assert (await scenario.ask("ana")).case.state == "pending"
    with pytest.raises(NotFound):
        await restored("sec")


async def test_what_a_review_takes_from_somebody_on_leave_is_taken_for_good(
    scenario: Scenario,
) -> None:
    case = await opened(scenario, "eligible")
    item = next(
        each
        for each in items(scenario, case)
        if each.get("principal") == scenario.ids["ana"]
        and (each.get("resource"), each.get("role")) == ("orders-prod", "readwrite")
    )
    await scenario.change("ana", active=False)
    await say(scenario, case, item, "revoke", reason="changed teams")
    await apply_reviews.settle(scenario.service)
    assert await apply_reviews.settle(scenario.service) == 1
    assert scenario.last(case, records.ReviewApplied).how == "withdrawn"
    await scenario.change("ana", active=True)
    assert (await scenario.ask("ana")).case.state == "denied"


async def test_management_signs_and_the_bundle_proves_that_nothing_was_left_out(
    scenario: Scenario,
) -> None:
    for login in ("ana", "dan"):
        await scenario.granted(login)
    await scenario.advance(timedelta(hours=2))
    case = await opened(scenario)
    service = scenario.service
    with pytest.raises(Conflict, match="wait for their reviewers"):
        await sign_review.sign(service, scenario.caller("boss"), case)
    await keep_all(scenario, case)
    with pytest.raises(NotPermitted, match="managers"):
        await sign_review.sign(service, scenario.caller("sec"), case)
    with pytest.raises(Conflict, match="signed before"):
        await sign_review.close_campaign(service, scenario.caller("boss"), case)
    await sign_review.sign(service, scenario.caller("boss"), case, "seen")
    await sign_review.close_campaign(service, scenario.caller("boss"), case)
    scenario.check()

    data = await scenario.export("boss", case)
    checked = verify(data, scenario.key.verifier)
    assert checked.campaign is not None
    assert checked.campaign.state == "closed"
    assert [step.number for step in checked.steps][-5:] == [13, 14, 15, 16, 17]
    assert checked.completeness.startswith("COMPLETE")
    broken = dict(Bundle.parse(data).documents)
    for name, document in broken.items():
        with pytest.raises(BundleInvalid):
            verify(data.replace(_b64(document), _b64(_changed(document))), scenario.key.verifier)
        assert name


def _b64(document: bytes) -> bytes:
    return base64.b64encode(document)


def _changed(document: bytes) -> bytes:
    return document[:-1] + bytes([document[-1] ^ 1])


async def test_a_reason_is_needed_for_whatever_is_not_kept(scenario: Scenario) -> None:
    await scenario.granted("ana")
    case = await opened(scenario)
    (item,) = items(scenario, case)
    for verdict in ("revoke", "abstain"):
        with pytest.raises(Malformed, match="reason"):
            await say(scenario, case, item, verdict, reason=" ")
    with pytest.raises(Malformed, match="reduced"):
        await say(scenario, case, item, "reduce")
    with pytest.raises(Conflict, match="reduced"):
        await say(scenario, case, item, "reduce", to="readonly")


async def test_items_change_hands_only_to_somebody_whom_they_are_not_about(
    scenario: Scenario,
) -> None:
    await scenario.granted("ana")
    case = await opened(scenario)
    service, sec = scenario.service, scenario.caller("sec")
    with pytest.raises(NotPermitted):
        await decide_review.reassign(service, sec, case, [0], "dan", "away")
    with pytest.raises(Conflict, match="about its new reviewer"):
        await decide_review.reassign(service, sec, case, [0], "cy", "away")
    await scenario.change("cy", groups=("sre-leads", "security"))
    with pytest.raises(Conflict, match="is about you"):  # he had approved it
        await decide_review.reassign(service, scenario.caller("cy"), case, [0], "sec", "a friend")
    await decide_review.reassign(service, sec, case, [0], "sec", "bo is away")
    (item,) = items(scenario, case)
    assert reviewer(scenario, item) == "sec"
    await say(scenario, case, item, "keep")


async def test_how_long_somebody_looked_is_measured_by_the_service(scenario: Scenario) -> None:
    for _ in range(3):
        await scenario.granted("ana")
    case = await opened(scenario)
    bo = scenario.caller("bo")
    page = campaigns.items_of(scenario.service, bo, case, mine=True)
    scenario.clock.advance(timedelta(seconds=31))
    said = [Verdict(item=each["item"], verdict="keep", reason="fine") for each in page["items"]]
    await decide(scenario.service, bo, case, said, page["shown"])
    record = scenario.last(case, records.ReviewDecided)
    assert (record.seconds, record.bulk, record.items) == (31, True, 3)
    assert [each["seconds"] for each in items(scenario, case)] == [11, 10, 10]
    scenario.clock.advance(timedelta(seconds=7))
    await decide(scenario.service, bo, case, said[:1], page["shown"])
    assert items(scenario, case)[0]["seconds"] == 7  # what was counted before is not counted again
    scenario.clock.advance(timedelta(seconds=7))
    for forged in (
        page["shown"].replace("0-2", "0-3"),
        page["shown"].replace("1", "2"),
        "1.0.",
        ".",
    ):
        await decide(scenario.service, bo, case, said[:1], forged)
        assert items(scenario, case)[0]["seconds"] == 0


async def test_time_spent_on_some_items_is_not_counted_for_others(scenario: Scenario) -> None:
    for _ in range(4):
        await scenario.granted("ana")
    case, bo = await opened(scenario), scenario.caller("bo")
    service = scenario.service

    def seconds() -> list[int | None]:
        return [each["seconds"] for each in items(scenario, case)]

    def pages(caller: Caller = bo, of: str = case) -> list[str]:
        return [review_time.shown(service, caller, of, shown) for shown in ([0, 1], [2])]

    early, other = pages(), [*pages(scenario.caller("sec")), *pages(of="rev_" + "z" * 26)]
    scenario.clock.advance(timedelta(seconds=60))
    late = pages()
    scenario.clock.advance(timedelta(seconds=4))
    keep = [Verdict(item=number, verdict="keep") for number in range(4)]
    # the third was shown late, and the fourth never; of others' pages nothing counts
    await decide(service, bo, case, keep, " ".join([early[0], late[1], *other]))
    assert seconds() == [22, 21, 4, 0]
    scenario.clock.advance(timedelta(seconds=30))
    await decide(service, bo, case, keep[3:], " ".join(early))
    assert seconds() == [22, 21, 4, 0]
    await decide(service, bo, case, keep[2:3], " ".join(late))
    assert seconds() == [22, 21, 0, 0]


async def test_a_database_that_hides_a_grant_gives_no_population(scenario: Scenario) -> None:
    await scenario.granted("ana")
    rule = campaigns.rule(scenario.service, "grants")
    with pytest.raises(LogInvalid, match="not those of the log"):
        make(scenario.service, rule, scenario.service.log.size, bytes(32))
    with pytest.raises(Unavailable, match="to its end"):
        make(scenario.service, rule, scenario.service.log.size + 1, bytes(32))


async def test_who_is_gone_from_the_reviewers_decides_nothing(scenario: Scenario) -> None:
    await scenario.granted("ana")
    case = await opened(scenario)
    (item,) = items(scenario, case)
    await scenario.change(reviewer(scenario, item), groups=("engineering",))
    with pytest.raises(NotPermitted, match="review this"):
        await say(scenario, case, item, "keep")


async def test_a_rule_that_a_review_wants_gone_is_outstanding_until_it_is(
    scenario: Scenario,
) -> None:
    case = await opened(scenario, "eligible")
    (item,) = [each for each in items(scenario, case) if each.get("rule") == "request.ci"]
    await say(scenario, case, item, "revoke", reason="no CI any more")
    assert await apply_reviews.settle(scenario.service) == 0
    found, _ = campaigns.read(scenario.service, case)
    assert [each.number for each in found.items.owed] == [item["item"]]
    text = scenario.policy["policies/10-request.cedar"].decode()
    before, _, rest = text.partition('@id("request.ci")')
    without = before + rest[rest.index("};") + 2 :]
    await scenario.activate({**scenario.policy, "policies/10-request.cedar": without.encode()})
    assert await apply_reviews.settle(scenario.service) == 1
    assert scenario.last(case, records.ReviewApplied).how == "not-allowed"


async def test_the_evidence_of_a_grant_that_a_review_ended_says_so_and_not_what_it_said_of_others(
    scenario: Scenario,
) -> None:
    first, second = [await scenario.granted(login) for login in ("ana", "dan")]
    case = await opened(scenario)
    told = {item["case"]: item for item in items(scenario, case)}
    both = [told[first.case.id], told[second.case.id]]
    (who,) = {reviewer(scenario, item) for item in both}
    said = [
        Verdict(item=item["item"], verdict="revoke", reason=f"because of {number}")
        for number, item in enumerate(both)
    ]
    await decide(scenario.service, scenario.caller(who), case, said)
    for _ in range(3):
        await apply_reviews.settle(scenario.service)
        await scenario.work()
    checked = verify(await scenario.export("aud", first), scenario.key.verifier)
    assert checked.completeness.startswith("COMPLETE")
    withheld = [(record, name) for record, name, answer in checked.unseen if answer == "WITHHELD"]
    assert withheld == [(f"{case}/1", "reasons")]
    assert "reasons" in {name for _, name in withheld}


async def test_the_evidence_of_a_grant_whose_holder_may_not_ask_any_more_verifies(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted("ana")
    case = await opened(scenario, "eligible")
    for item in items(scenario, case):
        if item.get("principal") == scenario.ids["ana"] and item["what"] == "access":
            await say(scenario, case, item, "revoke", reason="gone")
    for _ in range(3):
        await apply_reviews.settle(scenario.service)
        await scenario.work()
    checked = verify(await scenario.export("aud", picked), scenario.key.verifier)
    assert checked.completeness.startswith("COMPLETE")
    kinds = {entry.header.kind for entry in checked.proved.entries}
    assert {"eligibility:withdrawn", "review:decided"} <= kinds
    whole = verify(await scenario.export("boss", case), scenario.key.verifier)
    assert whole.campaign is not None


async def test_what_was_decided_before_a_crash_is_done_after_it(scenario: Scenario) -> None:
    picked = await scenario.granted("ana")
    case = await opened(scenario)
    (item,) = items(scenario, case)
    await say(scenario, case, item, "revoke", reason="over")
    await scenario.restart()
    await apply_reviews.settle(scenario.service)
    await scenario.work()
    await scenario.restart()
    assert await apply_reviews.settle(scenario.service) == 1
    assert await apply_reviews.settle(scenario.service) == 0
    assert scenario.read(picked).closed
    assert scenario.kinds(case).count("review:applied") == 1


async def test_a_population_is_made_again_though_policy_and_people_have_changed(
    scenario: Scenario,
) -> None:
    await scenario.granted("ana")
    case = await opened(scenario, "eligible")
    text = scenario.policy["policies/10-request.cedar"].decode()
    await scenario.activate(
        {
            **scenario.policy,
            "policies/10-request.cedar": text.replace('"engineering"', '"others"').encode(),
        }
    )
    await scenario.change("ana", active=False)
    await scenario.restart()
    assert (await recompute(scenario.service, scenario.caller("sec"), case))["same"]
    other = await opened(scenario, "eligible")
    assert len(items(scenario, other)) < len(items(scenario, case))


async def test_one_occasion_opens_one_review_on_however_many_nodes(tmp_path: Path) -> None:
    scenario = Scenario(tmp_path, campaigns=[GRANTS], shared=True, checking=False)
    async with scenario:
        rule = campaigns.rule(scenario.service, "grants")
        with scenario.another_node() as other:
            first = await open_by_itself(scenario.service, rule, "schedule", "today")
            second = await open_by_itself(other, rule, "schedule", "today")
            assert first is not None
            assert second is None


async def test_what_two_nodes_withdraw_at_once_is_withdrawn_once(tmp_path: Path) -> None:
    made = Scenario(tmp_path, campaigns=[ELIGIBLE], shared=True, checking=False)
    made.principals["sec"] = human("sec", "security", "auditors")
    async with made as scenario:
        case = await opened(scenario, "eligible")
        await say(scenario, case, of_ana(scenario, case), "revoke", reason="changed teams")
        with scenario.another_node() as other:
            await asyncio.gather(*map(apply_reviews.settle, (scenario.service, other)))
            await scenario.service.catch_up()
        rows = scenario.service.log.store.entries(0, scenario.service.log.size)
        kinds = [entry_of(*row).header.kind for row in rows]
        assert kinds.count("eligibility:withdrawn") == 1


async def carried_out(scenario: Scenario) -> None:
    for _ in range(3):
        await apply_reviews.settle(scenario.service)
        await scenario.work()


def of_ana(scenario: Scenario, case: str) -> dict[str, Any]:
    return next(
        each
        for each in items(scenario, case)
        if each.get("principal") == scenario.ids["ana"]
        and (each.get("resource"), each.get("role")) == ("orders-prod", "readwrite")
    )


async def signed_and_exported(scenario: Scenario, case: str) -> bytes:
    await keep_all(scenario, case)
    await sign_review.sign(scenario.service, scenario.caller("boss"), case)
    await sign_review.close_campaign(scenario.service, scenario.caller("boss"), case)
    return await scenario.export("boss", case)


async def test_the_bundle_of_a_review_carries_what_shows_that_a_grant_was_ended(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted("ana")
    await scenario.granted("dan")
    case = await opened(scenario)
    item = next(each for each in items(scenario, case) if each["case"] == picked.case.id)
    await say(scenario, case, item, "revoke", reason="not needed")
    await carried_out(scenario)
    checked = verify(await signed_and_exported(scenario, case), scenario.key.verifier)
    assert (checked.steps[-1].number, checked.steps[-1].detail) == (17, "1 ended")
    removals = [e for e in checked.proved.entries if e.header.kind == "removal:verified"]
    assert [each.header.case for each in removals] == [picked.case.id]
    assert not any("the service alone" in each for each in checked.not_proved)


async def test_the_bundle_shows_that_nothing_is_left_of_what_a_review_took(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted("ana")
    case = await opened(scenario, "eligible")
    assert of_ana(scenario, case)["held"] == [picked.case.id]
    await say(scenario, case, of_ana(scenario, case), "revoke", reason="changed teams")
    await carried_out(scenario)
    applied = scenario.last(case, records.ReviewApplied)
    assert (applied.how, applied.gone) == ("withdrawn", (picked.case.id,))
    checked = verify(await signed_and_exported(scenario, case), scenario.key.verifier)
    assert checked.steps[-1].detail == "1 withdrawn"
    kinds = [entry.header.kind for entry in checked.proved.entries]
    assert (kinds.count("eligibility:withdrawn"), kinds.count("removal:verified")) == (1, 1)


async def test_what_only_the_service_saw_is_counted_by_whoever_verifies(
    scenario: Scenario,
) -> None:
    case = await opened(scenario, "eligible")
    item = next(each for each in items(scenario, case) if each["what"] == "approver")
    await say(scenario, case, item, "revoke", reason="not a lead any more")
    login = {id_: login for login, id_ in scenario.ids.items()}[item["principal"]]
    groups = set(scenario.service.registry.principals[item["principal"]].groups) - {item["group"]}
    await scenario.change(login, groups=tuple(sorted(groups)))
    assert await apply_reviews.settle(scenario.service) == 1
    checked = verify(await scenario.export("boss", case), scenario.key.verifier)
    assert checked.steps[-1].detail == "1 not allowed any more, seen by the service alone"
    assert any("1 items that people carried out" in each for each in checked.not_proved)


async def test_a_revocation_stands_from_when_it_is_recorded_and_says_what_to_do(
    scenario: Scenario,
) -> None:
    await scenario.granted("ana")
    case = await opened(scenario, "eligible")
    item = of_ana(scenario, case)
    await say(scenario, case, item, "revoke", reason="changed teams")
    with pytest.raises(Conflict, match="muniment reviews restore"):
        await say(scenario, case, item, "keep")
    await apply_reviews.settle(scenario.service)  # withdrawn, and what he holds is not gone yet
    assert scenario.kinds(case)[-1] == "review:decided"
    with pytest.raises(Conflict, match="muniment reviews restore"):
        await say(scenario, case, item, "keep")
    grants = await opened(scenario)
    await say(scenario, grants, items(scenario, grants)[0], "revoke", reason="over")
    with pytest.raises(Conflict, match="asks for access anew"):
        await say(scenario, grants, items(scenario, grants)[0], "keep")


async def test_of_two_verdicts_at_once_one_stands_and_is_the_one_carried_out(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted("ana")
    case = await opened(scenario)
    (item,) = items(scenario, case)
    settle = apply_reviews.settle(scenario.service)
    said = (say(scenario, case, item, verdict) for verdict in ("revoke", "keep"))
    first, second, _ = await asyncio.gather(*said, settle, return_exceptions=True)
    refused = [each for each in (first, second) if each is not None]
    await carried_out(scenario)
    (now,) = items(scenario, case)
    assert all(isinstance(each, Conflict) for each in refused)
    # whichever came first: revoked last, or revoked and not kept any more
    assert (now["outcome"], now["applied"]) == ("revoke", True)
    assert scenario.read(picked).closed


async def test_what_is_still_being_taken_is_not_given_back_meanwhile(scenario: Scenario) -> None:
    await scenario.granted("ana")
    case = await opened(scenario, "eligible")
    await say(scenario, case, of_ana(scenario, case), "revoke", reason="changed teams")
    await apply_reviews.settle(scenario.service)
    given = scenario.service, scenario.caller("sec"), "ana", "orders-prod", "readwrite", "back"
    with pytest.raises(Conflict, match="still being taken"):
        await decide_review.restore(*given)
    await carried_out(scenario)
    await decide_review.restore(*given)
    await carried_out(scenario)
    assert (await scenario.ask("ana")).case.state == "pending"
