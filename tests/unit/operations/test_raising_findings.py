"""Findings are raised once for each key, counted, and end what policy lets their detector end."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from muniment.access import records
from muniment.access.check import verify
from muniment.access.finding import Finding
from muniment.errors import Conflict, NotPermitted
from muniment.operations import findings
from muniment.operations.answer_finding import close_finding
from muniment.operations.pace import REMEMBERED
from muniment.operations.raise_finding import NAMED, raise_finding, record_counted
from muniment.operations.take_in import ProposedPrincipal
from muniment.oversight.detector import Hit, Rule, Threshold
from muniment.testing.scenario import Scenario

#: digits in the letters of a case id
_BASE32 = str.maketrans("0123456789", "abcdefghij")
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
RULE = Rule(
    id="too-much",
    title="More than usual",
    advice="Ask who did it.",
    severity="high",
    kind="deterministic",
    needs=("activity",),
    thresholds={"most": Threshold(default=3, unit="count", meaning="how often is usual")},
)


def detectors() -> ProposedPrincipal:
    return ProposedPrincipal(login="eye", type="workload", groups=("detectors",), sponsor="admin")


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    made = Scenario(tmp_path)
    made.principals["eye"] = detectors()
    async with made:
        yield made


def hit(scenario: Scenario, key: str = "orders-prod", **changes: Any) -> Hit:
    made = Hit(
        rule=RULE.id,
        at=scenario.service.now(),
        key=key,
        summary="prn_x did it 7 times",
        severity="high",
        resource="orders-prod",
        evidence=("mun_a/1",),
        detail="DROP TABLE orders",
    )
    return replace(made, **changes)


async def found(scenario: Scenario, given: Hit | None = None, **how: Any) -> str:
    return await raise_finding(scenario.service, RULE, {"most": 5}, given or hit(scenario), **how)


def read(scenario: Scenario, case: str) -> Finding:
    scenario.check()
    return findings.read(scenario.service, case)[0]


def person(scenario: Scenario, login: str) -> str:
    return scenario.caller(login).principal.person


async def test_a_hit_becomes_a_case_with_its_rule_and_sealed_words(scenario: Scenario) -> None:
    case = await found(scenario, hit(scenario, subjects=(person(scenario, "ana"),)))
    finding = read(scenario, case)
    assert (finding.state, finding.count) == ("open", 1)
    assert finding.subjects == (person(scenario, "ana"),)
    assert finding.raised.why == "not-asked"
    [entry] = scenario.entries(case)
    sealed = scenario.service.section(entry, "detail")
    assert sealed == {
        "summary": "prn_x did it 7 times",
        "key": "orders-prod",
        "evidence": ["mun_a/1"],
        "detail": "DROP TABLE orders",
    }
    document = scenario.service.document(finding.raised.definition)
    assert b'"value":5' in document
    assert b"DROP" not in entry.data


async def test_the_same_seen_again_is_counted_and_recorded_once_an_hour(
    scenario: Scenario,
) -> None:
    case = await found(scenario)
    for _ in range(3):
        await scenario.advance(MINUTE)
        assert await found(scenario) == case
    assert scenario.kinds(case) == ["finding:raised"]
    await scenario.advance(HOUR)
    assert await found(scenario) == case
    assert scenario.kinds(case) == ["finding:raised", "finding:seen"]
    finding = read(scenario, case)
    assert (finding.count, finding.last) == (5, scenario.service.now())


async def test_another_key_is_another_finding(scenario: Scenario) -> None:
    assert await found(scenario) != await found(scenario, hit(scenario, "billing"))


async def test_what_is_only_counted_is_recorded_when_its_hour_is_over(scenario: Scenario) -> None:
    case = await found(scenario)
    await found(scenario, hit(scenario, subjects=(person(scenario, "bo"),)))
    assert await record_counted(scenario.service) == 0
    await scenario.advance(HOUR)
    assert await record_counted(scenario.service) == 1
    finding = read(scenario, case)
    assert (finding.count, finding.subjects) == (2, (person(scenario, "bo"),))
    await scenario.advance(HOUR)
    assert await record_counted(scenario.service) == 0


async def test_more_than_one_record_can_name_goes_into_the_next(scenario: Scenario) -> None:
    subjects = tuple(f"per_{number}" for number in range(NAMED + 1))
    case = await found(scenario, hit(scenario, subjects=subjects))
    assert scenario.kinds(case) == ["finding:raised", "finding:seen"]
    finding = read(scenario, case)
    assert (finding.count, finding.subjects) == (1, subjects)


async def test_access_ends_for_what_a_detector_may_revoke(scenario: Scenario) -> None:
    picked = await scenario.granted("ana")
    session = scenario.login(picked)
    other = await scenario.granted("bo")
    case = await found(
        scenario,
        hit(scenario, cases=(picked.case.id,)),
        detector=scenario.caller("eye"),
        ends=True,
    )
    assert read(scenario, case).ends == (picked.case.id,)
    await scenario.work()
    revoked = scenario.last(picked, records.GrantRevoked)
    assert (revoked.reason, revoked.actor) == ("finding", records.SERVICE)
    assert not session.alive
    assert scenario.read(picked).closed
    assert scenario.read(other).state == "issued"
    [gone] = [e for e in scenario.entries(picked) if e.header.kind == "grant:revoked"]
    assert scenario.entries(case)[0].leaf in gone.header.follows


async def test_an_end_that_a_crash_left_undone_is_done_after_the_start(scenario: Scenario) -> None:
    picked = await scenario.granted("ana")
    given = hit(scenario, cases=(picked.case.id,))
    await found(scenario, given, detector=scenario.caller("eye"), ends=True)
    await scenario.restart()
    await scenario.work()
    assert scenario.last(picked, records.GrantRevoked).reason == "finding"


async def test_a_detector_without_the_right_only_finds(scenario: Scenario) -> None:
    picked = await scenario.granted("ana")
    given = hit(scenario, cases=(picked.case.id,))
    finding = read(
        scenario, await found(scenario, given, detector=scenario.caller("ci"), ends=True)
    )
    assert (finding.ends, finding.raised.why) == ((), "not-permitted")
    await scenario.work()
    assert scenario.read(picked).state == "issued"


async def test_nothing_ends_without_an_enrolled_detector(scenario: Scenario) -> None:
    picked = await scenario.granted("ana")
    given = hit(scenario, cases=(picked.case.id,))
    assert read(scenario, await found(scenario, given, ends=True)).raised.why == "no-detector"
    over = hit(scenario, "else", cases=("mun_" + "a" * 26,))
    finding = read(scenario, await found(scenario, over, ends=True))
    assert finding.raised.why == "no-access"


async def test_a_finding_seen_again_ends_what_it_did_not_name_before_at_once(
    scenario: Scenario,
) -> None:
    first, second = await scenario.granted("ana"), await scenario.granted("bo")
    eye = scenario.caller("eye")
    case = await found(scenario, hit(scenario, cases=(first.case.id,)), detector=eye, ends=True)
    again = hit(scenario, cases=(first.case.id, second.case.id))
    assert await found(scenario, again, detector=eye, ends=True) == case
    assert read(scenario, case).ends == (first.case.id, second.case.id)
    await scenario.work()
    assert scenario.read(second).closed


async def test_whose_access_ends_is_named_however_many_others_were_only_counted(
    scenario: Scenario,
) -> None:
    case = await found(scenario)
    others = tuple(f"mun_{number:026d}".translate(_BASE32) for number in range(REMEMBERED))
    await found(scenario, hit(scenario, cases=others))
    picked = await scenario.granted("ana")
    seen = hit(scenario, cases=(picked.case.id,))
    await found(scenario, seen, detector=scenario.caller("eye"), ends=True)
    finding = read(scenario, case)
    assert finding.ends == (picked.case.id,)
    assert len(finding.about) >= REMEMBERED


async def test_hostile_text_of_a_target_is_sealed_and_cut(scenario: Scenario) -> None:
    given = hit(scenario, "\0\ud800", detail="\0\u202e\ud800" + "x" * 10**6, resource="a\0b")
    case = await found(scenario, given)
    assert read(scenario, case).raised.resource == ""
    sealed = scenario.service.section(scenario.entries(case)[0], "detail")
    assert sealed is not None
    assert len(sealed["detail"]) == 4096
    assert await found(scenario, given) == case


async def test_two_nodes_that_see_the_same_raise_one_finding(tmp_path: Path) -> None:
    async with Scenario(tmp_path, shared=True) as scenario:
        with scenario.another_node() as other:
            case, same = await asyncio.gather(
                found(scenario), raise_finding(other, RULE, {}, hit(scenario))
            )
            assert same == case
            assert await raise_finding(other, RULE, {}, hit(scenario)) == case
            assert scenario.kinds(case) == ["finding:raised"]


async def test_evidence_of_access_that_ended_for_a_finding_withholds_what_was_found(
    scenario: Scenario,
) -> None:
    picked = await scenario.granted("ana")
    given = hit(scenario, cases=(picked.case.id,))
    case = await found(scenario, given, detector=scenario.caller("eye"), ends=True)
    await scenario.work()
    checked = verify(await scenario.export("ana", picked), scenario.service.log.keys.known)
    assert checked.state.startswith("revoked")
    assert (f"{case}/0", "detail", "WITHHELD") in list(checked.unseen)


async def test_a_rule_that_finds_too_much_has_one_finding_for_the_rest(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenario.service.pace, "raised", {RULE.id: deque([0.0], maxlen=1)})
    monkeypatch.setattr("muniment.operations.pace.MOST_RAISED", 1)
    await scenario.advance(HOUR)
    own = await found(scenario, hit(scenario, "1"))
    crowd = await found(scenario, hit(scenario, "2", subjects=(person(scenario, "ana"),)))
    assert await found(scenario, hit(scenario, "3")) == crowd
    assert await found(scenario, hit(scenario, "1")) == own
    assert read(scenario, crowd).subjects == (person(scenario, "ana"),)
    sealed = scenario.service.section(scenario.entries(crowd)[0], "detail")
    assert sealed is not None
    assert sealed["summary"].startswith("more was found within an hour")
    await scenario.advance(HOUR)
    assert await found(scenario, hit(scenario, "4")) not in (own, crowd)


async def test_nobody_erases_what_was_found_about_him(scenario: Scenario) -> None:
    case = await found(scenario, hit(scenario, subjects=(person(scenario, "pia"),)))
    with pytest.raises(NotPermitted, match="found about him"):
        await scenario.erase("pia", f"{case}/0", "detail")
    other = await found(scenario, hit(scenario, "else"))
    with pytest.raises(Conflict, match="is open"):
        await scenario.erase("pia", f"{other}/0", "detail")
    await close_finding(
        scenario.service, scenario.caller("aud"), other, "false-alarm", "a rehearsal"
    )
    await scenario.erase("pia", f"{other}/0", "detail")
    assert findings.show(scenario.service, scenario.caller("aud"), other)["timeline"][0][
        "sections"
    ] == {"detail": {"erased": "retention"}}
