"""Findings are read, dealt with and closed by people whom they are not about."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from muniment.access.check import verify
from muniment.access.finding import Finding
from muniment.errors import Conflict, Malformed, NotFound, NotPermitted
from muniment.operations import findings, sweep, take_in
from muniment.operations.answer_finding import acknowledge, assign, close_finding
from muniment.operations.raise_finding import raise_finding
from muniment.oversight.detector import Hit, Rule
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
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
    made = Scenario(tmp_path)
    made.principals["sec"] = human("sec", "security")
    made.principals["watch"] = take_in.ProposedPrincipal(
        login="watch", type="workload", groups=("security", "auditors"), sponsor="sec"
    )
    async with made:
        yield made


async def found(scenario: Scenario, *about: str, key: str = "k", **given: Any) -> str:
    hit = Hit(
        rule=RULE.id,
        at=scenario.service.now(),
        key=key,
        summary="it was done",
        severity=given.pop("severity", "high"),
        subjects=tuple(scenario.caller(login).principal.person for login in about),
        **given,
    )
    return await raise_finding(scenario.service, RULE, {}, hit)


async def closed(scenario: Scenario, who: str, case: str, *how: str, **more: Any) -> Finding:
    resolution, reason = how or ("explained", "planned work")
    try:
        return await close_finding(
            scenario.service, scenario.caller(who), case, resolution, reason, **more
        )
    finally:
        scenario.check()


async def test_a_finding_is_read_assigned_and_closed_with_a_sealed_reason(
    scenario: Scenario,
) -> None:
    case = await found(scenario, "ana")
    service, sec = scenario.service, scenario.caller("sec")
    assert (await acknowledge(service, sec, case)).state == "acknowledged"
    assigned = await assign(service, sec, case, "aud")
    assert (assigned.state, assigned.assigned) == ("assigned", scenario.ids["aud"])
    over = await closed(scenario, "aud", case, "remedied", "ana has no such role any more")
    assert (over.state, over.closed) == ("closed", True)
    assert scenario.kinds(case) == [
        "finding:raised",
        "finding:acknowledged",
        "finding:assigned",
        "finding:closed",
        "case:closed",
    ]
    note = service.section(scenario.entries(case)[3], "note")
    assert note == {"text": "ana has no such role any more"}


@pytest.mark.parametrize("who", ["sec", "aud", "admin"])
async def test_nobody_answers_a_finding_about_himself(scenario: Scenario, who: str) -> None:
    case = await found(scenario, who, "ana")
    for answer in (
        acknowledge(scenario.service, scenario.caller(who), case),
        assign(scenario.service, scenario.caller(who), case, "bo"),
        closed(scenario, who, case),
    ):
        with pytest.raises(NotPermitted):
            await answer
    assert scenario.kinds(case) == ["finding:raised"]


async def test_whoever_owns_a_workload_answers_no_finding_about_it(scenario: Scenario) -> None:
    case = await found(scenario, "watch")
    with pytest.raises(NotPermitted):
        await closed(scenario, "sec", case)


@pytest.mark.parametrize("who", ["ana", "cy", "ci", "robo", "watch"])
async def test_engineers_workloads_and_agents_answer_nothing(scenario: Scenario, who: str) -> None:
    case = await found(scenario)
    with pytest.raises(NotPermitted):
        await closed(scenario, who, case)


async def test_a_workload_answers_nothing_even_where_the_policy_would_let_it(
    scenario: Scenario,
) -> None:
    rule = b"""
@id("test.everybody") @title("Everybody may do everything")
permit (principal, action == Muniment::Action::"operate", resource);
"""
    await scenario.activate({**scenario.policy, "policies/90-test.cedar": rule})
    case = await found(scenario)
    for who in ("watch", "robo"):
        with pytest.raises(NotPermitted, match="somebody whom it is not about"):
            await closed(scenario, who, case)
    assert (await closed(scenario, "dan", case)).closed


async def test_whoever_was_only_counted_so_far_does_not_close_it(scenario: Scenario) -> None:
    case = await found(scenario, "ana")
    await found(scenario, "aud")
    assert scenario.kinds(case) == ["finding:raised"]
    with pytest.raises(NotPermitted):
        await closed(scenario, "aud", case)
    over = await closed(scenario, "sec", case)
    assert (over.count, len(over.subjects)) == (2, 2)
    assert scenario.kinds(case)[1] == "finding:seen"


async def test_whoever_was_only_counted_so_far_does_not_deal_with_it(scenario: Scenario) -> None:
    case = await found(scenario, "ana")
    await found(scenario, "aud")
    with pytest.raises(NotPermitted):
        await assign(scenario.service, scenario.caller("sec"), case, "aud")
    assert scenario.kinds(case) == ["finding:raised"]


async def test_what_recurs_after_it_was_closed_is_another_finding(scenario: Scenario) -> None:
    first = await found(scenario)
    await closed(scenario, "sec", first)
    second = await found(scenario)
    assert second != first
    assert await found(scenario) == second
    await closed(scenario, "sec", second)
    assert await found(scenario) not in (first, second)


async def test_a_finding_that_was_muted_is_silent_until_then(scenario: Scenario) -> None:
    case = await found(scenario)
    until = scenario.service.now() + DAY
    over = await closed(scenario, "sec", case, "adopted", "ours", owner="cy", until=until)
    assert over.answer is not None
    assert over.answer.owner == scenario.ids["cy"]
    assert await found(scenario) == case
    assert scenario.service.unrecorded["finding-muted"] == 1
    await scenario.advance(DAY)
    assert await found(scenario) != case


@pytest.mark.parametrize(
    ("resolution", "more"),
    [
        ("forgotten", {}),
        ("adopted", {}),
        ("explained", {"owner": "cy"}),
        ("adopted", {"owner": "ci"}),
        ("adopted", {"owner": "nobody"}),
        ("remedied", {"until": DAY}),
        ("explained", {"until": -DAY}),
        ("explained", {"until": 400 * DAY}),
    ],
)
async def test_a_finding_is_closed_in_no_other_way(
    scenario: Scenario, resolution: str, more: dict[str, Any]
) -> None:
    case = await found(scenario)
    if "until" in more:
        more = {"until": scenario.service.now() + more["until"]}
    with pytest.raises(Malformed):
        await closed(scenario, "sec", case, resolution, "because", **more)


async def test_closing_takes_a_reason_and_is_done_once(scenario: Scenario) -> None:
    case = await found(scenario)
    with pytest.raises(Malformed, match="takes a reason"):
        await closed(scenario, "sec", case, "explained", "  ")
    await closed(scenario, "sec", case)
    for answer in (
        closed(scenario, "sec", case),
        acknowledge(scenario.service, scenario.caller("sec"), case),
        assign(scenario.service, scenario.caller("sec"), case, "aud"),
    ):
        with pytest.raises(Conflict):
            await answer


async def test_an_access_case_is_no_finding(scenario: Scenario) -> None:
    asked = await scenario.ask("ana")
    with pytest.raises(NotFound):
        await closed(scenario, "sec", asked.case.id)


async def test_findings_are_listed_by_what_somebody_wants_of_them(scenario: Scenario) -> None:
    picked = await scenario.granted("ana")
    other = await scenario.granted("bo")
    one = await found(
        scenario, key="1", resource="orders-prod", cases=(other.case.id, picked.case.id)
    )
    two = await found(scenario, key="2", resource="billing", severity="low")
    await acknowledge(scenario.service, scenario.caller("sec"), two)

    def ids(**wanted: Any) -> list[str]:
        rows, _ = findings.listed(
            scenario.service, scenario.caller("sec"), findings.Wanted(**wanted)
        )
        return [row["finding"] for row in rows]

    assert set(ids()) == {one, two}
    assert ids(states=["open"]) == [one]
    assert ids(resource="billing") == [two]
    assert ids(severities=["high"]) == [one]
    assert ids(about=picked.case.id) == [one]
    assert ids(rule="another") == []
    with pytest.raises(NotPermitted):
        findings.listed(scenario.service, scenario.caller("ana"), findings.Wanted())


async def test_a_page_ends_where_the_next_begins(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "PAGE", 2)
    cases = [await found(scenario, key=str(number)) for number in range(3)]
    sec = scenario.caller("sec")
    first, before = findings.listed(scenario.service, sec, findings.Wanted())
    rest, end = findings.listed(scenario.service, sec, findings.Wanted(), before)
    assert {row["finding"] for row in (*first, *rest)} == set(cases)
    assert (len(first), end) == (2, None)


async def test_lists_are_right_again_after_they_were_rebuilt(scenario: Scenario) -> None:
    case = await found(scenario)
    await acknowledge(scenario.service, scenario.caller("sec"), case)
    before = scenario.service.projections.case_row(case)
    with closing(sqlite3.connect(scenario.folder / "muniment.db")) as database, database:
        database.execute("UPDATE cases SET state = 'closed' WHERE case_id = ?", (case,))
    assert sweep.wrong_rows(scenario.service) == [case]
    sweep.rebuild(scenario.service)
    assert scenario.service.projections.case_row(case) == before


async def test_the_evidence_of_a_finding_says_offline_how_it_stands(scenario: Scenario) -> None:
    case = await found(scenario, "ana")
    keys = scenario.service.log.keys.known
    opened = verify(await scenario.export("aud", case), keys)
    assert opened.state == "finding of `too-much` (high), open"
    await closed(scenario, "sec", case)
    over = verify(await scenario.export("aud", case), keys)
    assert over.state == "finding of `too-much` (high), closed, explained"
    assert over.completeness.startswith("COMPLETE")
    assert not list(over.unseen)
    assert not any("no table" in phrase for phrase in over.not_proved)
    assert over.finding is not None
    assert over.finding.subjects == (scenario.caller("ana").principal.person,)
    for who in ("sec", "ana"):
        with pytest.raises(NotPermitted):
            await scenario.export(who, case)
