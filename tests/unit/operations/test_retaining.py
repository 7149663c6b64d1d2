"""What has come to its end goes, wanted by as many as it takes; what is held or young stays."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from muniment.access import records
from muniment.access.counters import HOLDS
from muniment.errors import Conflict, LogUnavailable, Malformed, NotFound, NotPermitted
from muniment.operations import carry_away, erase_run, hold, retain, subject
from muniment.operations.hold import Scope
from muniment.operations.reach import reach
from muniment.operations.retain import look
from muniment.operations.service import Caller
from muniment.operations.take_in import ProposedPrincipal
from muniment.oversight.retained import holding
from muniment.oversight.retention import Class, Rules
from muniment.runtime.upkeep import Upkeep
from muniment.testing.cast import cast
from muniment.testing.scenario import Scenario

DAY = timedelta(days=1)
WORDS = "Bestellung 4711 hängt seit gestern"


def people() -> dict[str, ProposedPrincipal]:
    """The cast, in which two may erase."""
    found = cast()
    return {**found, "dan": replace(found["dan"], groups=("privacy-officers",))}


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    async with Scenario(tmp_path, principals=people(), checking=False) as found:
        yield found


def rules(*classes: Class, above: int = 100, **more: object) -> Rules:
    return Rules(classes=classes, two_people_above=above, **more)  # type: ignore[arg-type]  # a bool or a length


YEAR = Class(name="a-year", kinds=frozenset(["access:requested"]), ceiling=365 * DAY)


async def old_case(scenario: Scenario, who: str = "ana", text: str = WORDS) -> str:
    """Asked, used, ended, and then years pass."""
    picked = await scenario.granted(who)
    await scenario.end(who, picked)
    asked = await scenario.ask(who, text=text)
    await scenario.withdraw(who, asked)
    return asked.case.id


def files_with(scenario: Scenario, text: str) -> list[str]:
    needle = text.encode()
    return [f.name for f in scenario.folder.iterdir() if f.is_file() and needle in f.read_bytes()]


async def run(scenario: Scenario, who: str = "pia") -> erase_run.Proposed:
    return await erase_run.propose(scenario.service, scenario.caller(who))


async def test_what_has_come_to_its_end_goes_and_its_proofs_stay(scenario: Scenario) -> None:
    case = await old_case(scenario)
    scenario.service.erasures.rules = rules(YEAR)
    scenario.clock.advance(366 * DAY)
    assert files_with(scenario, WORDS)
    proposed = await run(scenario)
    assert proposed.run is not None
    assert proposed.run.state == "begun"  # below the threshold one is enough
    done = await erase_run.carry_out(scenario.service, proposed.run.id)
    assert (done.state, done.sections) == ("closed", len(proposed.plan.sections))
    assert files_with(scenario, WORDS) == []
    index = scenario.entries(case)[0].index
    assert scenario.store.erased(index) == {"reason": "retention:a-year"}
    scenario.check()
    kinds = [entry.header.kind for entry in scenario.service.log.read_case(done.id)]
    assert kinds[0] == "erasure:proposed"
    assert kinds[-1] == "case:closed"
    assert set(kinds[1:-1]) == {"record:erased"}


async def test_nothing_goes_that_no_class_has_a_ceiling_for(scenario: Scenario) -> None:
    await old_case(scenario)
    scenario.service.erasures.rules = rules(Class(name="floor", floor=DAY))
    scenario.clock.advance(10_000 * DAY)
    proposed = await run(scenario)
    assert (len(proposed.plan), proposed.run) == (0, None)


async def test_what_is_young_or_open_stays(scenario: Scenario) -> None:
    case = await old_case(scenario)
    scenario.service.erasures.rules = rules(YEAR)
    scenario.clock.advance(364 * DAY)
    assert len(look(scenario.service, scenario.service.now())) == 0
    await scenario.ask("bo", text="still waiting")
    scenario.clock.advance(2 * DAY)
    going = look(scenario.service, scenario.service.now())
    assert case in {each.kept.case for each in going.sections}
    assert not any(each.kept.since is None for each in going.sections)


async def test_a_longer_floor_beats_a_ceiling_and_is_told(scenario: Scenario) -> None:
    await old_case(scenario)
    long = Class(name="seven-years", floor=2557 * DAY)
    scenario.service.erasures.rules = rules(YEAR, long)
    scenario.clock.advance(400 * DAY)
    found = look(scenario.service, scenario.service.now())
    assert len(found) == 0
    assert list(found.conflicts) == [("seven-years", "a-year")]
    scenario.clock.advance(2200 * DAY)
    assert len(look(scenario.service, scenario.service.now())) > 0


async def test_above_the_threshold_it_takes_two(scenario: Scenario) -> None:
    await old_case(scenario)
    scenario.service.erasures.rules = rules(YEAR, above=1)
    scenario.clock.advance(366 * DAY)
    proposed = await run(scenario)
    assert proposed.run is not None
    case = proposed.run.id
    assert (proposed.run.state, proposed.run.missing) == ("proposed", 1)
    with pytest.raises(Conflict, match="takes 1 more"):
        await erase_run.carry_out(scenario.service, case)
    with pytest.raises(NotPermitted, match="somebody else"):
        await erase_run.approve(scenario.service, scenario.caller("pia"), case)
    with pytest.raises(NotPermitted):
        await erase_run.approve(scenario.service, scenario.caller("bo"), case)
    assert files_with(scenario, WORDS)
    begun = await erase_run.approve(scenario.service, scenario.caller("dan"), case)
    assert begun.state == "begun"
    await erase_run.keep_up(scenario.service)
    assert erase_run.find(scenario.service, case).closed
    assert files_with(scenario, WORDS) == []
    with pytest.raises(Conflict, match="closed already"):
        await erase_run.approve(scenario.service, scenario.caller("dan"), case)


async def test_who_approves_has_found_the_same_list(scenario: Scenario) -> None:
    await old_case(scenario)
    scenario.service.erasures.rules = rules(YEAR, above=0)
    scenario.clock.advance(366 * DAY)
    proposed = await run(scenario)
    assert proposed.run is not None
    scenario.service.erasures.rules = rules(replace(YEAR, sections=frozenset(["x"])), above=0)
    with pytest.raises(Conflict, match="something else would go"):
        await erase_run.approve(scenario.service, scenario.caller("dan"), proposed.run.id)
    # what happens afterwards changes nothing about the list as of then
    scenario.service.erasures.rules = rules(YEAR, above=0)
    await old_case(scenario, text="another")
    await erase_run.approve(scenario.service, scenario.caller("dan"), proposed.run.id)


async def test_a_newer_proposal_takes_the_place_of_one_that_nobody_else_wants(
    scenario: Scenario,
) -> None:
    await old_case(scenario)
    scenario.service.erasures.rules = rules(YEAR, above=0)
    scenario.clock.advance(366 * DAY)
    first, second = await run(scenario), await run(scenario, "dan")
    assert first.run is not None
    assert second.run is not None
    assert erase_run.find(scenario.service, first.run.id).closed
    assert [each.id for each in scenario.service.erasures.holding.open_runs()] == [second.run.id]


async def test_the_schedule_proposes_and_erases_only_where_it_may(scenario: Scenario) -> None:
    await old_case(scenario)
    scenario.clock.advance(366 * DAY)
    scenario.service.erasures.rules = rules(YEAR, every=DAY)
    assert erase_run.is_due(scenario.service)
    await erase_run.keep_up(scenario.service)
    (waiting,) = scenario.service.erasures.holding.open_runs()
    assert (waiting.state, waiting.missing, waiting.persons) == ("proposed", 1, ())
    assert not erase_run.is_due(scenario.service)
    scenario.clock.advance(2 * DAY)
    scenario.service.erasures.rules = rules(YEAR, every=DAY, automatic=True)
    assert erase_run.is_due(scenario.service)
    await erase_run.keep_up(scenario.service)
    assert scenario.service.erasures.holding.open_runs() == []
    assert files_with(scenario, WORDS) == []


async def test_a_run_that_the_configuration_has_overtaken_does_not_stop_the_schedule(
    scenario: Scenario,
) -> None:
    await old_case(scenario)
    scenario.clock.advance(366 * DAY)
    scenario.service.erasures.rules = rules(YEAR, every=DAY, above=0)
    wanted = (await run(scenario)).run
    assert wanted is not None
    scenario.roles.pop(("orders-staging", "readwrite"))
    await scenario.take_in()
    scenario.clock.advance(2 * DAY)
    await erase_run.keep_up(scenario.service)
    (waiting,) = scenario.service.erasures.holding.open_runs()
    assert waiting.id != wanted.id
    assert waiting.persons == ()


async def test_a_schedule_never_erases_more_than_one_person_might(scenario: Scenario) -> None:
    await old_case(scenario)
    scenario.clock.advance(366 * DAY)
    scenario.service.erasures.rules = rules(YEAR, every=DAY, automatic=True, above=0)
    await erase_run.keep_up(scenario.service)
    (waiting,) = scenario.service.erasures.holding.open_runs()
    assert (waiting.state, waiting.missing) == ("proposed", 2)
    for who in ("pia", "dan"):
        await erase_run.approve(scenario.service, scenario.caller(who), waiting.id)
    await erase_run.keep_up(scenario.service)
    assert files_with(scenario, WORDS) == []


async def test_the_upkeep_carries_out_what_was_begun(scenario: Scenario) -> None:
    await old_case(scenario)
    scenario.service.erasures.rules = rules(YEAR)
    scenario.clock.advance(366 * DAY)
    proposed = await run(scenario)
    assert proposed.run is not None
    upkeep = Upkeep(service=scenario.service)
    upkeep.start_due()
    await upkeep.settle()
    assert erase_run.find(scenario.service, proposed.run.id).closed
    assert "retention" not in scenario.service.publishing.failing
    assert files_with(scenario, WORDS) == []


# --- holds ---------------------------------------------------------------------------------------


async def place(scenario: Scenario, scope: Scope, who: str = "admin") -> str:
    found = await hold.place(scenario.service, scenario.caller(who), scope, "matter 7", "")
    return found.id


async def test_a_hold_keeps_what_it_names(scenario: Scenario) -> None:
    mine, other = await old_case(scenario), await old_case(scenario, "bo", "other words")
    scenario.service.erasures.rules = rules(YEAR)
    scenario.clock.advance(366 * DAY)
    placed = await place(scenario, Scope(people=("ana",)))
    found = look(scenario.service, scenario.service.now())
    assert found.held[placed] >= 1
    cases = {each.kept.case for each in found.sections}
    assert mine not in cases
    assert other in cases


@pytest.mark.parametrize(
    ("scope", "holds"),
    [
        (Scope(resources=("orders-prod",)), True),
        (Scope(resources=("ledger-staging",)), False),
        (Scope(people=("bo",)), False),
        (Scope(until="then"), True),  # type: ignore[arg-type]  # replaced below
        (Scope(since="then"), False),  # type: ignore[arg-type]  # likewise
    ],
    ids=["its resource", "another", "somebody else", "before", "since"],
)
async def test_what_a_hold_covers(scenario: Scenario, scope: Scope, holds: bool) -> None:
    asked = await scenario.ask("ana", text=WORDS)
    await scenario.withdraw("ana", asked)
    scenario.service.erasures.rules = rules(YEAR)
    scenario.clock.advance(200 * DAY)
    now = scenario.service.now()
    scope = replace(scope, since=now if scope.since else None, until=now if scope.until else None)
    scenario.clock.advance(200 * DAY)
    resources = {resource for resource, _ in scenario.service.registry.roles}
    if not {*scope.resources} <= resources:
        with pytest.raises(NotFound):
            await place(scenario, scope)
        return
    await place(scenario, scope)
    found = look(scenario.service, scenario.service.now())
    assert (asked.case.id not in {each.kept.case for each in found.sections}) == holds


async def test_a_hold_amid_a_run_is_passed_by_no_erasure_after_it(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [await old_case(scenario, text=f"words {n}") for n in range(4)]
    scenario.service.erasures.rules = rules(YEAR)
    scenario.clock.advance(366 * DAY)
    monkeypatch.setattr(erase_run, "RECORDED", 1)
    proposed = await run(scenario)
    assert proposed.run is not None
    recorded, plain = 0, erase_run._record

    async def record(*given: object) -> object:
        nonlocal recorded
        recorded += 1
        if recorded == 2:
            await place(scenario, Scope(cases=tuple(cases)))
        return await plain(*given)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(erase_run, "_record", record)
    done = await erase_run.carry_out(scenario.service, proposed.run.id)
    gone = [case for case in cases if scenario.store.erased(scenario.entries(case)[0].index)]
    left = [case for case in cases if case not in gone]
    assert len(left) >= 3
    assert done.sections < len(proposed.plan.sections)
    placed = max(each.index for each in scenario.service.erasures.holding.standing())
    for entry in scenario.service.log.read_case(done.id):
        if entry.header.kind == records.RecordErased.KIND and entry.index > placed:
            assert entry.header.body["record"].partition("/")[0] not in cases


async def test_a_hold_that_comes_between_look_and_append_wins(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The append names the head of all holds: it is decided again."""
    case = await old_case(scenario)
    scenario.service.erasures.rules = rules(YEAR)
    scenario.clock.advance(366 * DAY)
    proposed = await run(scenario)
    assert proposed.run is not None
    placed: list[bool] = []

    def slow(holds: object, concern: object) -> object:
        found = holding(holds, concern)  # type: ignore[arg-type]  # as it was called
        if not placed:
            placed.append(True)
            pending.append(asyncio.ensure_future(place(scenario, Scope(cases=(case,)))))
        return found

    pending: list[asyncio.Future[str]] = []
    monkeypatch.setattr(retain, "holding", slow)
    append = scenario.service.append

    async def after_the_hold(item: object) -> object:
        if pending and not pending[0].done() and getattr(item, "reads", {}).get("holds", 0) is None:
            await pending[0]
        return await append(item)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(scenario.service, "append", after_the_hold)
    await erase_run.carry_out(scenario.service, proposed.run.id)
    await pending[0]
    assert scenario.store.erased(scenario.entries(case)[0].index) == {}
    assert files_with(scenario, WORDS)


async def test_letting_go_takes_two(scenario: Scenario) -> None:
    case = await old_case(scenario)
    scenario.service.erasures.rules = rules(YEAR)
    placed = await place(scenario, Scope(cases=(case,)))
    admin, aud = scenario.caller("admin"), scenario.caller("aud")
    with pytest.raises(Conflict, match="nobody has asked"):
        await hold.release(scenario.service, aud, placed)
    await hold.ask_release(scenario.service, admin, placed, "the matter is over")
    with pytest.raises(NotPermitted, match="somebody else"):
        await hold.release(scenario.service, admin, placed)
    with pytest.raises(NotPermitted):
        await hold.release(scenario.service, scenario.caller("bo"), placed)
    with pytest.raises(Conflict, match="asked for already"):
        await hold.ask_release(scenario.service, aud, placed, "again")
    scenario.clock.advance(366 * DAY)
    assert look(scenario.service, scenario.service.now()).held == {placed: 1}
    released = await hold.release(scenario.service, aud, placed[:12], "agreed")
    assert (released.state, released.closed) == ("released", True)
    assert look(scenario.service, scenario.service.now()).held == {}
    assert hold.listed(scenario.service, admin) == []
    (line,) = hold.listed(scenario.service, admin, everything=True)
    assert line["matter"] == {"matter": "matter 7", "reason": ""}
    assert [each["text"] for each in line["release"]] == ["the matter is over", "agreed"]


@pytest.mark.parametrize("what", ["the person", "his case"])
async def test_nobody_lets_go_of_what_is_held_about_himself(scenario: Scenario, what: str) -> None:
    await scenario.change("ana", groups=("engineering", "compliance"))
    case = await old_case(scenario)
    scope = Scope(people=("ana",)) if what == "the person" else Scope(cases=(case,))
    placed = await place(scenario, scope)
    ana, aud = scenario.caller("ana"), scenario.caller("aud")
    with pytest.raises(NotPermitted, match="about you"):
        await hold.ask_release(scenario.service, ana, placed, "it is over")
    await hold.ask_release(scenario.service, aud, placed, "it is over")
    with pytest.raises(NotPermitted, match="about you"):
        await hold.release(scenario.service, ana, placed)
    assert (await hold.release(scenario.service, scenario.caller("admin"), placed)).closed


async def test_a_hold_of_nothing_or_of_nobody_is_refused(scenario: Scenario) -> None:
    for scope, error in (
        (Scope(), Malformed),
        (Scope(people=("nobody",)), NotFound),
        (Scope(cases=("mun_" + "a" * 26,)), NotFound),
        (Scope(people=tuple("ana" for _ in range(101))), Malformed),
    ):
        with pytest.raises(error):
            await place(scenario, scope)
    with pytest.raises(NotPermitted):
        await place(scenario, Scope(people=("ana",)), "ana")
    with pytest.raises(Malformed, match="matter"):
        await hold.place(
            scenario.service, scenario.caller("admin"), Scope(people=("ana",)), " ", ""
        )


async def test_nobody_erases_by_his_own_word_what_is_held_or_young(scenario: Scenario) -> None:
    case = await old_case(scenario)
    pia, record = scenario.caller("pia"), f"{case}/0"
    placed = await place(scenario, Scope(cases=(case,)))
    with pytest.raises(Conflict, match=placed):
        await carry_away.erase(scenario.service, pia, record, "reason", "gdpr-17")
    await hold.ask_release(scenario.service, scenario.caller("admin"), placed, "over")
    await hold.release(scenario.service, scenario.caller("aud"), placed)
    scenario.service.erasures.rules = rules(Class(name="floor", floor=30 * DAY))
    with pytest.raises(Conflict, match="class `floor` keeps this: until"):
        await carry_away.erase(scenario.service, pia, record, "reason", "gdpr-17")
    scenario.clock.advance(31 * DAY)
    await carry_away.erase(scenario.service, pia, record, "reason", "gdpr-17")
    assert files_with(scenario, WORDS) == []


# --- crashes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["ledger", "bytes", "record"])
async def test_a_run_that_was_cut_short_goes_on(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    for n in range(3):
        await old_case(scenario, text=f"{WORDS} {n}")
    scenario.service.erasures.rules = kept = rules(YEAR)
    scenario.clock.advance(366 * DAY)
    proposed = await run(scenario)
    assert proposed.run is not None

    def crash(*_: object) -> None:
        raise LogUnavailable("the lights went out")

    with monkeypatch.context() as patch:
        if point == "ledger":
            patch.setattr(scenario.service.ledger, "add_many", crash)
        elif point == "bytes":
            patch.setattr(scenario.store, "erase_many", crash)
        else:
            patch.setattr(erase_run, "RECORDED", 1)
            patch.setattr(erase_run, "erase_sections", crash)
        with pytest.raises(LogUnavailable):
            await erase_run.carry_out(scenario.service, proposed.run.id)
    assert files_with(scenario, WORDS)
    await scenario.restart()
    assert files_with(scenario, WORDS) == []  # before anybody reads
    scenario.service.erasures.rules = kept
    await erase_run.keep_up(scenario.service)
    assert erase_run.find(scenario.service, proposed.run.id).closed
    scenario.check()


async def test_what_could_not_be_erased_is_erased_by_the_next_attempt(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a restart in between."""
    await old_case(scenario)
    scenario.service.erasures.rules = rules(YEAR)
    scenario.clock.advance(366 * DAY)
    proposed = await run(scenario)
    assert proposed.run is not None

    def busy(*_: object) -> None:
        raise LogUnavailable("a reader")

    with monkeypatch.context() as patch:
        patch.setattr(scenario.store, "erase_many", busy)
        with pytest.raises(LogUnavailable):
            await erase_run.carry_out(scenario.service, proposed.run.id)
    done = await erase_run.carry_out(scenario.service, proposed.run.id)
    assert done.closed
    assert files_with(scenario, WORDS) == []


# --- identities, reach, own copy -----------------------------------------------------------------


async def test_an_identity_goes_once_it_was_replaced_or_disabled(scenario: Scenario) -> None:
    identities = Class(name="identities", sections=frozenset(["identity"]), ceiling=30 * DAY)
    scenario.service.erasures.rules = rules(identities)
    scenario.clock.advance(400 * DAY)
    assert len(look(scenario.service, scenario.service.now())) == 0
    await scenario.change("bo", active=False)
    ids = scenario.ids["bo"]
    scenario.clock.advance(31 * DAY)
    found = look(scenario.service, scenario.service.now())
    assert {each.kept.case for each in found.sections} == {ids}
    assert len(found.sections) == 2  # as he was before, and as he is now


async def test_a_configuration_that_changes_amid_a_run_ends_it(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        await old_case(scenario, text=f"{WORDS} {n}")
    scenario.service.erasures.rules = rules(YEAR)
    scenario.clock.advance(366 * DAY)
    monkeypatch.setattr(erase_run, "RECORDED", 1)
    proposed = await run(scenario)
    assert proposed.run is not None
    plain, changed = erase_run._record, list[bool]()

    async def record(*given: Any) -> Any:
        recorded = await plain(*given)
        if not changed:
            changed.append(True)
            scenario.roles.pop(("orders-staging", "readwrite"))
            await scenario.take_in()
        return recorded

    monkeypatch.setattr(erase_run, "_record", record)
    done = await erase_run.carry_out(scenario.service, proposed.run.id)
    assert (done.closed, done.sections) == (True, 1)
    assert len(proposed.plan.sections) > 1
    scenario.check()


async def test_that_somebody_looks_into_it_is_not_in_ones_own_copy(scenario: Scenario) -> None:
    await scenario.ask("ana", text=WORDS)
    placed = await place(scenario, Scope(people=("ana",)))
    own = await subject.export(scenario.service, scenario.caller("ana"), "ana")
    others = await subject.export(scenario.service, scenario.caller("aud"), "ana")
    assert placed not in own.data.decode()
    assert placed in others.data.decode()
    assert (
        "person:exported"
        in (await subject.export(scenario.service, scenario.caller("ana"), "ana")).data.decode()
    )
    assert (
        scenario.ids["aud"]
        not in (await subject.export(scenario.service, scenario.caller("ana"), "ana")).data.decode()
    )
    assert "matter 7" not in others.data.decode()


async def test_what_was_given_away_is_listed(scenario: Scenario) -> None:
    case = await old_case(scenario)
    await scenario.export("ana", case)
    scenario.service.erasures.rules = rules(YEAR)
    scenario.clock.advance(366 * DAY)
    proposed = await run(scenario)
    assert proposed.run is not None
    await erase_run.carry_out(scenario.service, proposed.run.id)
    found = await reach(scenario.service, scenario.caller("admin"), case)
    assert [each["rule"] for each in found["erased"]] == ["retention:a-year"]
    assert [each["kind"] for each in found["given"]] == ["evidence:exported"]
    assert found["given"][0]["by"] == scenario.ids["ana"]


async def test_a_person_takes_what_is_recorded_about_him(scenario: Scenario) -> None:
    asked = await scenario.ask("ana", text=WORDS)
    await scenario.approve("cy", asked, note="only because it is you")
    taken = await subject.export(scenario.service, scenario.caller("ana"), "ana")
    text = taken.data.decode()
    assert WORDS in text
    assert "only because it is you" not in text
    assert taken.withheld >= 1
    with pytest.raises(NotPermitted):
        await subject.export(scenario.service, scenario.caller("ana"), "cy")
    with pytest.raises(NotFound):
        await subject.export(scenario.service, scenario.caller("admin"), "nobody")
    again = await subject.export(scenario.service, scenario.caller("admin"), "ana")
    exported = scenario.last(again.record.partition("/")[0], records.PersonExported)
    assert exported.records == again.records
    scenario.check()


# --- several nodes -------------------------------------------------------------------------------


async def test_a_hold_on_another_node_stops_a_run_on_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This node has not heard of it when it looks; the append says so."""
    async with Scenario(tmp_path, principals=people(), checking=False, shared=True) as scenario:
        cases = [await old_case(scenario, text=f"{WORDS} {n}") for n in range(2)]
        scenario.service.erasures.rules = rules(YEAR)
        scenario.clock.advance(366 * DAY)
        proposed = await run(scenario)
        assert proposed.run is not None
        append, placed = scenario.service.append, list[str]()
        with scenario.another_node() as other:

            async def late(item: Any) -> Any:
                if not placed and HOLDS in getattr(item, "reads", {}):
                    admin = other.registry.principals[scenario.ids["admin"]]
                    caller = Caller(principal=admin, assurance="token")
                    scope = Scope(cases=tuple(cases))
                    placed.append((await hold.place(other, caller, scope, "matter", "")).id)
                return await append(item)

            monkeypatch.setattr(scenario.service, "append", late)
            await erase_run.carry_out(scenario.service, proposed.run.id)
        assert placed
        for case in cases:
            assert scenario.store.erased(scenario.entries(case)[0].index) == {}
