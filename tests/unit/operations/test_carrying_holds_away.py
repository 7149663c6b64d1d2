"""A hold, and a run that erased, leave the house as bundles that say who wanted it, and verify."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from muniment.access import check, holding_check, records
from muniment.errors import Conflict, FoldInvalid, NotFound, NotPermitted
from muniment.evidence.bundle import Withheld
from muniment.evidence.store import Entry
from muniment.operations import carry_away, erase_run, export, hold
from muniment.operations.hold import Scope
from muniment.oversight.retention import Class, Rules
from muniment.testing.cast import cast
from muniment.testing.scenario import Scenario

DAY = timedelta(days=1)
WANTED = "run that erases, wanted by"


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    people = cast()
    people["dan"] = replace(people["dan"], groups=("privacy-officers",))
    async with Scenario(tmp_path, principals=people, checking=False) as found:
        yield found


async def carried(scenario: Scenario, case: str, who: str = "aud") -> check.Checked:
    data = await carry_away.export(scenario.service, scenario.caller(who), case)
    return check.verify(data, scenario.key.verifier)


async def placed(scenario: Scenario) -> str:
    scope = Scope(people=("ana",), resources=("orders-prod",))
    found = await hold.place(scenario.service, scenario.caller("admin"), scope, "matter 7", "why")
    return found.id


async def ran(scenario: Scenario, *, cases: int = 1) -> str:
    """Two wanted it: what ana and bo had said of requests that they took back is erased."""
    for _ in range(cases):
        for who in ("ana", "bo"):
            asked = await scenario.ask(who, text=f"words of {who}")
            await scenario.withdraw(who, asked)
    ceiling = Class(name="c", sections=frozenset({"reason"}), ceiling=DAY)
    scenario.service.erasures.rules = Rules(classes=(ceiling,), two_people_above=0)
    scenario.clock.advance(10 * DAY)
    run = (await erase_run.propose(scenario.service, scenario.caller("pia"))).run
    assert run is not None
    await erase_run.approve(scenario.service, scenario.caller("dan"), run.id)
    await erase_run.carry_out(scenario.service, run.id)
    return run.id


async def test_a_hold_says_what_it_holds_and_that_two_let_go_of_it(scenario: Scenario) -> None:
    case = await placed(scenario)
    checked = await carried(scenario, case)
    assert checked.state == "hold of 1 person, 1 resource, stands"
    assert checked.completeness.startswith("OPEN")
    assert not any("no table of transitions" in each for each in checked.not_proved)
    await hold.ask_release(scenario.service, scenario.caller("admin"), case, "over")
    assert (await carried(scenario, case)).state.endswith("stands, its release asked for by one")
    await hold.release(scenario.service, scenario.caller("aud"), case)
    checked = await carried(scenario, case)
    assert checked.state.endswith("released by two")
    assert checked.completeness.startswith("COMPLETE")
    assert not list(checked.unseen)


async def test_a_hold_is_carried_away_by_whoever_may_see_it(scenario: Scenario) -> None:
    case = await placed(scenario)
    for who in ("ana", "bo"):
        for named in (case, f"hld_{'a' * 26}"):
            with pytest.raises(NotPermitted):
                await carry_away.export(scenario.service, scenario.caller(who), named)
    with pytest.raises(NotFound):
        await carry_away.export(scenario.service, scenario.caller("aud"), f"hld_{'a' * 26}")


async def test_a_run_says_who_wanted_it_and_that_its_list_went(scenario: Scenario) -> None:
    case = await ran(scenario)
    checked = await carried(scenario, case)
    assert checked.state == (
        f"{WANTED} 2 of the 2 persons that it takes, closed: all that was listed is erased"
    )
    erased = [each for each in checked.unseen if each[2].startswith("ERASED")]
    assert {each[2] for each in erased} == {"ERASED under rule `retention:c`"}
    assert len(erased) == 2
    said = [
        record
        for (record, _), section in checked.proved.sections.items()
        if not isinstance(section, Withheld)
    ]
    wanted = {scenario.ids[each] for each in ("pia", "dan")}
    # whose words they were is nobody's who carries the run away
    assert {each.partition("/")[0] for each in said if each.startswith("prn_")} == wanted
    with pytest.raises(NotPermitted):
        await carry_away.export(scenario.service, scenario.caller("ana"), case)


async def test_a_run_that_a_hold_left_something_of_says_how_much(scenario: Scenario) -> None:
    asked = await scenario.ask("ana", text="words")
    await scenario.withdraw("ana", asked)
    ceiling = Class(name="c", sections=frozenset({"reason"}), ceiling=DAY)
    scenario.service.erasures.rules = Rules(classes=(ceiling,), two_people_above=0)
    scenario.clock.advance(10 * DAY)
    run = (await erase_run.propose(scenario.service, scenario.caller("pia"))).run
    assert run is not None
    waiting = (await carried(scenario, run.id)).state
    assert waiting == (
        f"{WANTED} 1 of the 2 persons that it takes, proposed: "
        "0 of 1 sections and 0 events are erased"
    )
    await placed(scenario)
    await erase_run.approve(scenario.service, scenario.caller("dan"), run.id)
    await erase_run.carry_out(scenario.service, run.id)
    assert "0 of 1 sections" in (await carried(scenario, run.id)).state


async def test_what_one_person_erased_by_his_own_word_is_carried_away(scenario: Scenario) -> None:
    asked = await scenario.ask("ana", text="words")
    await scenario.withdraw("ana", asked)
    pia = scenario.caller("pia")
    await carry_away.erase(scenario.service, pia, f"{asked.case.id}/0", "reason", "gdpr-17")
    (run,) = scenario.service.erasures.holding.runs
    assert (await carried(scenario, run)).state == (
        f"{WANTED} 1 of the 1 persons that it takes, closed: all that was listed is erased"
    )


async def test_more_than_a_bundle_holds_is_refused_before_anything_is_recorded(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = await ran(scenario)
    size = scenario.service.log.size
    monkeypatch.setattr(export, "MAX_RECORDS", 8)
    with pytest.raises(Conflict, match="more than the 8 records"):
        await carry_away.export(scenario.service, scenario.caller("aud"), case)
    assert scenario.service.log.size == size


# --- what does not verify ------------------------------------------------------------------------


def shown(scenario: Scenario) -> dict[bytes, Entry]:
    log = scenario.service.log
    entries = (log.read_entry(index) for index in range(log.size))
    return {entry.leaf: entry for entry in entries}


def with_body(entry: Entry, **changes: object) -> Entry:
    header = replace(entry.header, body={**entry.header.body, **changes})
    return replace(entry, header=header)


def without_grounds(entry: Entry) -> Entry:
    return replace(entry, header=replace(entry.header, follows=()))


async def test_a_hold_that_one_lets_go_of_alone_is_refused(scenario: Scenario) -> None:
    case = await placed(scenario)
    await hold.ask_release(scenario.service, scenario.caller("admin"), case, "over")
    await hold.release(scenario.service, scenario.caller("aud"), case)
    first, asked, released, closed = scenario.entries(case)
    assert holding_check.state([first, asked, released, closed], shown(scenario))
    both = asked.header.body
    alone = with_body(released, actor=both["actor"], person=both["person"])
    alone = replace(alone, header=replace(alone.header, follows=asked.header.follows))
    with pytest.raises(FoldInvalid, match="released by two"):
        holding_check.state([first, asked, alone, closed], shown(scenario))
    for broken in (without_grounds(released), with_body(released, actor=both["actor"])):
        with pytest.raises(FoldInvalid, match="does not follow the enrolment"):
            holding_check.state([first, asked, broken, closed], shown(scenario))
    other = with_body(released, person="per_x")
    with pytest.raises(FoldInvalid, match="enrolled as an active human"):
        holding_check.state([first, asked, other, closed], shown(scenario))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda _: {"section": "note"}, "does not follow what it erases"),
        (lambda body: {"record": body["record"].replace("/0", "/1")}, "does not follow what"),
    ],
    ids=["another section", "another record"],
)
async def test_an_erasure_of_something_else_than_it_follows_is_refused(
    scenario: Scenario, change: Callable[[Mapping[str, Any]], dict[str, Any]], why: str
) -> None:
    entries = scenario.entries(await ran(scenario))
    place = next(n for n, e in enumerate(entries) if e.header.kind == records.RecordErased.KIND)
    entries[place] = with_body(entries[place], **change(entries[place].header.body))
    with pytest.raises(FoldInvalid, match=why):
        holding_check.state(entries, shown(scenario))


async def test_more_or_other_than_was_listed_is_not_what_was_listed(scenario: Scenario) -> None:
    entries = scenario.entries(await ran(scenario))
    other = with_body(entries[0], listed=(b"x" * 32).hex())
    assert "2 of 2 sections" in holding_check.state([other, *entries[1:]], shown(scenario))
    fewer = with_body(entries[0], sections=1)
    with pytest.raises(FoldInvalid, match="more was erased than was proposed"):
        holding_check.state([fewer, *entries[1:]], shown(scenario))
