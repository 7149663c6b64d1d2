"""An auditor of some resources and some months sees those, and is told how many others there are."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from scenario_api import ScenarioApi

from muniment.access import check
from muniment.errors import NotPermitted
from muniment.operations import archive, carry_away, findings, scope
from muniment.operations.archive import Wanted
from muniment.operations.raise_finding import raise_finding
from muniment.oversight.detector import Hit, Rule
from muniment.policy import starter
from muniment.policy.bundle import SCHEMA, load
from muniment.testing.cast import human
from muniment.testing.scenario import Scenario

OPERATE = "policies/60-operate.cedar"
BEGIN, END = '// @id("operate.auditors-of-orders")', '@id("operate.security")'


def with_example(since: str, until: str) -> Mapping[str, bytes]:
    """The starter policy with its own example in force, for another period."""
    files = dict(starter.files())
    text = files[OPERATE].decode()
    before, example, after = text.partition(BEGIN)[0], text.partition(BEGIN)[2], ""
    example, end, after = example.partition(END)
    lines = (BEGIN + example).splitlines()
    rule = "\n".join(line.removeprefix("//").removeprefix(" ") for line in lines)
    rule = rule.replace("2026-01-01", since).replace("2026-07-01", until)
    files[OPERATE] = (before + rule + "\n" + end + after).encode()
    return files


@dataclass(frozen=True)
class Cases:
    api: ScenarioApi
    inside: str
    other_resource: str
    later: str


@pytest.fixture
async def cases(tmp_path: Path) -> AsyncIterator[Cases]:
    scenario = Scenario(tmp_path)
    scenario.principals["ext"] = human("ext", "auditors-of-orders")
    async with scenario:
        api = ScenarioApi(scenario, tmp_path)
        await api.enrol("ext", "dan", "aud", "cy")
        today = scenario.service.now().date()
        tomorrow = today + timedelta(days=1)
        await scenario.activate(with_example(str(today), str(tomorrow)))
        inside = await scenario.granted()
        other = await scenario.ask("ana", "orders-staging/readwrite")
        await scenario.advance(timedelta(days=2))
        later = await scenario.ask("ana")
        yield Cases(api, inside.case.id, other.case.id, later.case.id)


async def test_a_case_of_the_order_is_shown_and_no_other(cases: Cases) -> None:
    assert (await cases.api.get("ext", f"/v1/cases/{cases.inside}")).status_code == 200
    for other in (cases.other_resource, cases.later):
        assert (await cases.api.get("ext", f"/v1/cases/{other}")).status_code == 404
    assert (await cases.api.get("ext", "/v1/findings")).status_code == 403


async def test_lists_leave_out_what_is_beyond_and_say_how_many(cases: Cases) -> None:
    answer = (await cases.api.get("ext", "/v1/cases", everyone=True)).json()
    assert [each["case"] for each in answer["cases"]] == [cases.inside]
    assert (answer["beyond"], answer["next"]) == (2, None)
    whole = (await cases.api.get("aud", "/v1/cases", everyone=True)).json()
    assert (len(whole["cases"]), whole["beyond"]) == (3, 0)


async def test_stories_of_a_resource_or_a_person_are_those_of_the_order(cases: Cases) -> None:
    for query in ({"resource": "orders-prod"}, {"who": "ana"}):
        answer = (await cases.api.get("ext", "/v1/stories", **query)).json()
        assert [each["case"] for each in answer["stories"]] == [cases.inside]
        assert answer["beyond"] == (1 if "resource" in query else 2)
    assert (await cases.api.get("ext", "/v1/stories", who="dan")).status_code == 403


# --- findings ---------------------------------------------------------------------------------

RULE = Rule(
    id="used-at-night", title="Used at night", advice="Ask why.", severity="low",
    kind="deterministic", needs=("activity",),
)  # fmt: skip


async def found(cases: Cases, *about: str, subject: str = "ana") -> str:
    scenario = cases.api.scenario
    hit = Hit(
        rule=RULE.id, at=scenario.service.now(), key=" ".join(about) + subject,
        summary="it was done", severity="low", cases=about,
        subjects=(scenario.caller(subject).principal.person,),
    )  # fmt: skip
    return await raise_finding(scenario.service, RULE, {}, hit)


async def test_findings_about_cases_of_the_order_are_shown_and_no_others(cases: Cases) -> None:
    of_it = await found(cases, cases.inside)
    others = [
        await found(cases, cases.other_resource),
        await found(cases, cases.inside, cases.later),
        await found(cases),
        await found(cases, cases.inside, subject="ext"),
    ]
    answer = (await cases.api.get("ext", "/v1/findings")).json()
    assert [each["finding"] for each in answer["findings"]] == [of_it]
    shown = await cases.api.get("ext", f"/v1/findings/{of_it}")
    assert shown.status_code == 200
    assert "it was done" in shown.text
    for other in others:
        assert (await cases.api.get("ext", f"/v1/findings/{other}")).status_code == 403
    whole = (await cases.api.get("aud", "/v1/findings")).json()
    assert len(whole["findings"]) == 5


async def test_whoever_asked_or_approves_gets_no_findings_about_that_by_it(cases: Cases) -> None:
    of_it = await found(cases, cases.inside, subject="dan")
    for who in ("ana", "cy"):
        await cases.api.enrol(who)
        assert (await cases.api.get(who, "/v1/findings")).status_code == 403
        assert (await cases.api.get(who, f"/v1/findings/{of_it}")).status_code == 403


async def test_findings_of_the_order_may_be_carried_away_and_no_others(cases: Cases) -> None:
    scenario = cases.api.scenario
    of_it, other = await found(cases, cases.inside), await found(cases, cases.other_resource)
    data = await carry_away.export(scenario.service, scenario.caller("ext"), of_it)
    assert check.verify(data, scenario.key.verifier).proved.case_id == of_it
    with pytest.raises(NotPermitted):
        await carry_away.export(scenario.service, scenario.caller("ext"), other)
    now = scenario.service.now()
    wanted = Wanted(since=now - timedelta(days=9), until=now + timedelta(days=1))
    opened = await archive.open_archive(scenario.service, scenario.caller("ext"), wanted)
    assert (opened.record.cases, opened.record.beyond) == (2, 3)


async def test_an_excerpt_is_all_or_nothing_and_says_so(cases: Cases) -> None:
    scenario = cases.api.scenario
    now = scenario.service.now()
    wanted = Wanted(since=now - timedelta(days=9), until=now + timedelta(days=1))
    opened = await archive.open_archive(scenario.service, scenario.caller("ext"), wanted)
    with pytest.raises(NotPermitted, match="shows every case"):
        archive.log_of(scenario.service, scenario.caller("ext"), opened.case)


async def test_of_many_findings_that_are_not_his_a_part_is_looked_at(
    cases: Cases, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_it = await found(cases, cases.inside)
    cases.api.scenario.clock.advance(timedelta(minutes=1))
    for subject in ("ana", "dan", "cy"):
        await found(cases, cases.later, subject=subject)
    monkeypatch.setattr(scope, "MOST_LOOKED_AT", 3)
    scenario = cases.api.scenario
    caller = scenario.caller("ext")
    rest, more = findings.listed(scenario.service, caller, findings.Wanted())
    assert (rest, more is not None) == ([], True)
    rest, end = findings.listed(scenario.service, caller, findings.Wanted(), more)
    assert ([each["finding"] for each in rest], end) == ([of_it], None)


async def test_who_has_no_order_lists_nobody_elses_cases(cases: Cases) -> None:
    assert (await cases.api.get("dan", "/v1/cases", everyone=True)).status_code == 403
    assert (await cases.api.get("dan", "/v1/stories", resource="orders-prod")).status_code == 403
    # who approves sees what he approves, one by one, and no list of everybody's
    assert (await cases.api.get("cy", f"/v1/cases/{cases.later}")).status_code == 200
    assert (await cases.api.get("cy", "/v1/cases", everyone=True)).status_code == 403


async def test_an_archive_has_what_the_order_covers_and_counts_the_rest(cases: Cases) -> None:
    scenario = cases.api.scenario
    now = scenario.service.now()
    wanted = Wanted(since=now - timedelta(days=9), until=now + timedelta(days=1))
    opened = await archive.open_archive(scenario.service, scenario.caller("ext"), wanted)
    assert (opened.record.cases, opened.record.beyond) == (1, 2)
    taken = await archive.bundles(scenario.service, scenario.caller("ext"), [cases.inside])
    assert len(list(taken.lines())) == 1


async def test_a_schema_from_before_is_as_good_as_ever(tmp_path: Path) -> None:
    """It knows no moments of a case: they are not stated to it, and its rules hold as they did."""
    files = dict(starter.files())
    lines = files[SCHEMA].decode().splitlines(keepends=True)
    old = [line for line in lines if '"opened"?' not in line and '"closed"?' not in line]
    assert len(lines) - len(old) == 2
    files[SCHEMA] = "".join(old).encode()
    assert load(starter.files()).dates_cases
    assert not load(files).dates_cases
    async with Scenario(tmp_path, policy=files) as scenario:
        picked = await scenario.granted()
        await scenario.revoke("admin", picked)
        assert (await scenario.export("aud", picked)).startswith(b'{"checkpoint"')
