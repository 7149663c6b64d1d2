"""One person may erase section by section, a day's worth of it; and what is gone is shown to nobody."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from muniment.access import records
from muniment.errors import Conflict, LogUnavailable, Malformed, Stale
from muniment.evidence.bundle import Bundle, Erased
from muniment.operations import carry_away, erase_run, hold, retain, subject
from muniment.operations.hold import Scope
from muniment.operations.raise_finding import raise_finding
from muniment.operations.service import Caller, Service
from muniment.operations.take_in import ProposedPrincipal
from muniment.oversight.detector import Hit, Rule
from muniment.oversight.retention import Class, Rules
from muniment.testing.cast import cast
from muniment.testing.scenario import Scenario

DAY = timedelta(days=1)
WORDS = "Bestellung 4711 hängt seit gestern"
FLOOR = Class(name="floor", floor=DAY)
RULE = Rule(
    id="too-much",
    title="More than usual",
    advice="Ask who did it.",
    severity="high",
    kind="deterministic",
    needs=("activity",),
)


def people() -> dict[str, ProposedPrincipal]:
    return {**cast(), "dan": replace(cast()["dan"], groups=("privacy-officers",))}


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    async with Scenario(tmp_path, principals=people(), checking=False) as found:
        yield found


@pytest.fixture
async def shared(tmp_path: Path) -> AsyncIterator[Scenario]:
    async with Scenario(tmp_path, principals=people(), checking=False, shared=True) as found:
        yield found


async def over(scenario: Scenario, text: str = WORDS) -> str:
    """A case that is closed."""
    asked = await scenario.ask("ana", text=text)
    await scenario.withdraw("ana", asked)
    return asked.case.id


async def some_over(scenario: Scenario, count: int) -> list[str]:
    return [await over(scenario, f"{WORDS} {n}") for n in range(count)]


def at(node: Service, scenario: Scenario, login: str) -> Caller:
    return Caller(principal=node.registry.principals[scenario.ids[login]], assurance="token")


async def erase(node: Service, caller: Caller, case: str, rule: str = "gdpr-17") -> None:
    await carry_away.erase(node, caller, f"{case}/0", "reason", rule)


def erased(node: Service) -> list[records.RecordErased]:
    found = (records.parse(node.log.read_entry(n).header) for n in range(node.log.size))
    return [each for each in found if isinstance(each, records.RecordErased)]


def of_findings(case: str, at_: Any) -> Hit:
    return Hit(
        rule=RULE.id, at=at_, key=case, summary="7 times", severity="high",
        resource="orders-prod", evidence=("mun_a/1",), detail="DROP", cases=(case,),
    )  # fmt: skip


# --- how much one person may -----------------------------------------------------------------------


async def test_what_one_person_erases_in_a_day_counts_against_the_threshold(
    scenario: Scenario,
) -> None:
    cases = await some_over(scenario, 4)
    scenario.service.erasures.rules = Rules(two_people_above=2)
    for case in cases[:2]:
        await erase(scenario.service, scenario.caller("pia"), case)
    with pytest.raises(Conflict, match="`muniment retention run`"):
        await erase(scenario.service, scenario.caller("pia"), cases[2])
    # what is gone may be asked for again, and somebody else has not said anything yet
    await erase(scenario.service, scenario.caller("pia"), cases[0])
    await erase(scenario.service, scenario.caller("dan"), cases[2])
    # it is no table in memory
    await scenario.restart()
    scenario.service.erasures.rules = Rules(two_people_above=2)
    with pytest.raises(Conflict, match="within a day"):
        await erase(scenario.service, scenario.caller("pia"), cases[3])
    scenario.clock.advance(DAY)
    await erase(scenario.service, scenario.caller("pia"), cases[3])
    assert len(erased(scenario.service)) == 4
    scenario.check()


async def test_what_was_erased_on_another_node_counts_as_well(shared: Scenario) -> None:
    cases = await some_over(shared, 2)
    with shared.another_node() as other:
        for node in (shared.service, other):
            node.erasures.rules = Rules(two_people_above=1)
        await erase(other, at(other, shared, "pia"), cases[0])
        # this node has not heard of it: the append says so
        with pytest.raises(Conflict, match="within a day"):
            await erase(shared.service, shared.caller("pia"), cases[1])
    assert len(erased(shared.service)) == 1


async def test_what_two_nodes_are_asked_to_erase_is_recorded_once(shared: Scenario) -> None:
    case = await over(shared)
    with shared.another_node() as other:
        await erase(other, at(other, shared, "pia"), case, "gdpr-17")
        await erase(shared.service, shared.caller("dan"), case, "somebody-else")
    assert [each.rule for each in erased(shared.service)] == ["gdpr-17"]
    assert shared.store.erased(shared.entries(case)[0].index) == {"reason": "gdpr-17"}
    shared.check()


async def test_a_rule_of_a_class_is_nobodys_own_word(scenario: Scenario) -> None:
    case = await over(scenario)
    with pytest.raises(Malformed, match="is that of a class"):
        await erase(scenario.service, scenario.caller("pia"), case, "retention:a-year")
    assert erased(scenario.service) == []


# --- under what it went ----------------------------------------------------------------------------


async def test_an_erasure_by_hand_is_a_run_of_one_under_what_was_in_force(
    scenario: Scenario,
) -> None:
    case = await over(scenario)
    await erase(scenario.service, scenario.caller("pia"), case)
    (run,) = scenario.service.erasures.holding.runs.values()
    in_force = scenario.service.registry.configuration
    assert in_force is not None
    assert scenario.kinds(run.id) == ["erasure:proposed", "record:erased", "case:closed"]
    assert (run.closed, run.sections, run.proposed.rules) == (True, 1, {"gdpr-17": 1})
    assert run.proposed.configuration == in_force.digest
    assert run.persons == (scenario.caller("pia").principal.person,)
    # the schedule is not put off by it
    scenario.service.erasures.rules = Rules(every=DAY)
    assert erase_run.is_due(scenario.service)


async def test_an_erasure_by_hand_rests_on_the_files_in_force(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, append = await over(scenario), scenario.service.append
    changed = list[bool]()

    async def late(item: Any) -> Any:
        if not changed and item.drafts[0].kind == "erasure:proposed":
            changed.append(True)
            scenario.roles.pop(("orders-staging", "readwrite"))
            await scenario.take_in()
            scenario.service.erasures.rules = Rules(classes=(FLOOR,))
        return await append(item)

    monkeypatch.setattr(scenario.service, "append", late)
    with pytest.raises(Conflict, match="class `floor` keeps this"):
        await erase(scenario.service, scenario.caller("pia"), case)
    assert changed
    assert erased(scenario.service) == []


# --- what keeps ------------------------------------------------------------------------------------


async def test_no_floor_runs_out_while_somebody_is_looking_into_it(scenario: Scenario) -> None:
    case = await over(scenario)
    scenario.service.erasures.rules = Rules(classes=(FLOOR,))
    scenario.clock.advance(2 * DAY)
    hit = of_findings(case, scenario.service.now())
    finding = await raise_finding(scenario.service, RULE, {}, hit)
    looking = f"somebody is looking into it, until `{finding}` is closed"
    with pytest.raises(Conflict, match=looking):
        await erase(scenario.service, scenario.caller("pia"), case)
    # what no class keeps is for his own word to erase
    scenario.service.erasures.rules = Rules()
    await erase(scenario.service, scenario.caller("pia"), case)
    assert len(erased(scenario.service)) == 1


@pytest.mark.parametrize("by", ["hold", "finding"])
async def test_what_is_recorded_between_look_and_append_keeps_it(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    case, append = await over(scenario), scenario.service.append
    scenario.service.erasures.rules = Rules(classes=(FLOOR,))
    scenario.clock.advance(2 * DAY)
    placed = list[str]()

    async def late(item: Any) -> Any:
        if not placed and item.drafts[0].kind == "erasure:proposed":
            placed.append(by)
            if by == "hold":
                admin = scenario.caller("admin")
                await hold.place(scenario.service, admin, Scope(cases=(case,)), "matter", "")
            else:
                hit = of_findings(case, scenario.service.now())
                await raise_finding(scenario.service, RULE, {}, hit)
        return await append(item)

    monkeypatch.setattr(scenario.service, "append", late)
    with pytest.raises(Conflict):
        await erase(scenario.service, scenario.caller("pia"), case)
    assert placed
    assert erased(scenario.service) == []


async def test_a_finding_amid_a_run_keeps_what_it_is_about(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = await some_over(scenario, 3)
    scenario.service.erasures.rules = Rules(classes=(Class(name="text", ceiling=DAY),))
    scenario.clock.advance(2 * DAY)
    proposed = await erase_run.propose(scenario.service, scenario.caller("pia"))
    assert proposed.run is not None
    step, raised = erase_run._record, list[bool]()

    async def looked_at(*given: Any) -> Any:
        if not raised:
            raised.append(True)
            hit = of_findings(cases[1], scenario.service.now())
            await raise_finding(scenario.service, RULE, {}, hit)
        return await step(*given)

    monkeypatch.setattr(erase_run, "_record", looked_at)
    await erase_run.carry_out(scenario.service, proposed.run.id)
    gone = {each.record.partition("/")[0] for each in erased(scenario.service)}
    assert raised
    assert gone == {cases[0], cases[2]}


async def test_of_two_runs_that_are_proposed_at_once_one_waits(shared: Scenario) -> None:
    await some_over(shared, 2)
    shared.clock.advance(2 * DAY)
    with shared.another_node() as other:
        nodes = (shared.service, other)
        for node in nodes:
            node.erasures.rules = Rules(
                classes=(Class(name="text", ceiling=DAY),), two_people_above=1
            )
        await asyncio.gather(*(erase_run.propose(node, at(node, shared, "pia")) for node in nodes))
        await shared.service.catch_up()
        assert len(shared.service.erasures.holding.open_runs()) == 1


async def test_a_finding_on_another_node_stops_a_run_on_this_one(
    shared: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This node has not heard of it when it looks; the append says so."""
    case, append = await over(shared), shared.service.append
    shared.service.erasures.rules = Rules(classes=(Class(name="text", ceiling=DAY),))
    shared.clock.advance(2 * DAY)
    proposed = await erase_run.propose(shared.service, shared.caller("pia"))
    assert proposed.run is not None
    raised, refused = list[bool](), list[bool]()
    with shared.another_node() as other:

        async def late(item: Any) -> Any:
            if not raised and item.drafts[0].kind == "record:erased":
                raised.append(True)
                await raise_finding(other, RULE, {}, of_findings(case, other.now()))
            try:
                return await append(item)
            except Stale:
                refused.append(True)
                raise

        monkeypatch.setattr(shared.service, "append", late)
        await erase_run.carry_out(shared.service, proposed.run.id)
    assert (raised, refused) == ([True], [True])
    assert erased(shared.service) == []


# --- nobody is shown what is gone ------------------------------------------------------------------


async def test_what_is_recorded_as_gone_is_shown_to_nobody_while_its_bytes_are_there(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, service = await over(scenario), scenario.service
    (entry, *_) = scenario.entries(case)

    def crash(*_: object) -> None:
        raise LogUnavailable("a reader")

    with monkeypatch.context() as patch:
        patch.setattr(scenario.store, "erase", crash)
        patch.setattr(scenario.store, "erase_many", crash)
        with pytest.raises(LogUnavailable):
            await erase(service, scenario.caller("pia"), case)
        assert "reason" in scenario.store.sections(entry.index)
        assert service.section(entry, "reason") is None
        own = await subject.export(service, scenario.caller("ana"), "ana")
        assert WORDS not in own.data.decode()
        bundle = Bundle.parse(await scenario.export("ana", case))
        (shown,) = (each for each in bundle.records if each.index == entry.index)
        assert shown.sections == {"reason": Erased("gdpr-17")}
        # the upkeep tries again, and says so for as long as it fails
        assert erase_run.is_due(service)
        with pytest.raises(LogUnavailable):
            await erase_run.keep_up(service)
    await erase_run.keep_up(service)
    assert scenario.store.sections(entry.index) == {}
    assert not erase_run.is_due(service)
    scenario.check()


async def test_a_walk_that_goes_on_finds_what_a_new_one_finds(scenario: Scenario) -> None:
    await some_over(scenario, 2)
    scenario.service.erasures.rules = Rules(classes=(Class(name="text", ceiling=DAY),))
    walked, size = retain.Walked(), scenario.service.log.size
    now = scenario.service.now() + 2 * DAY
    then = walked.look(scenario.service, now, size)
    await some_over(scenario, 2)
    assert walked.look(scenario.service, now) == retain.look(scenario.service, now)
    assert retain.look(scenario.service, now, size) == then
