"""Raw events go by whole batches; those of a grant whose evidence is kept stay, and are proved."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from muniment.access import records
from muniment.errors import NotFound, Unavailable
from muniment.evidence import event_batch
from muniment.operations import erase_events, erase_run, hold, observe, prove_events, story
from muniment.operations.hold import Scope
from muniment.operations.intake import Intake
from muniment.operations.observing import Observing, Source, case_of
from muniment.operations.remaining_events import RemainingEvents
from muniment.operations.service import Caller, Service
from muniment.operations.take_in import ProposedPrincipal
from muniment.oversight.event import Event, ReaderSettings
from muniment.oversight.event_store import EventStore
from muniment.oversight.retention import Class, Rules
from muniment.stores.events import SQLiteEventStore
from muniment.testing.cast import cast
from muniment.testing.plain_reader import PlainReader, plain
from muniment.testing.scenario import Scenario

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
SOURCE = "orders-log"
LOGS = Class(name="logs", sources=frozenset(["*"]), ceiling=90 * DAY)
TEXT = Class(name="text", ceiling=400 * DAY)


def people() -> dict[str, ProposedPrincipal]:
    return {**cast(), "dan": replace(cast()["dan"], groups=("privacy-officers",))}


def observe_with(scenario: Scenario, node: Service | None = None) -> RemainingEvents:
    node = node or scenario.service
    under = SQLiteEventStore(scenario.folder / "events.db")
    store = RemainingEvents(under, node.erasures, node.document)
    settings = ReaderSettings(prefix="mun")
    source = Source(
        name=SOURCE,
        resource="orders-prod",
        reader=PlainReader(settings),
        make_reader=partial(PlainReader, settings),
    )
    node.observing = Observing(
        store=store,
        sources={SOURCE: source},
        intake=Intake(service=node, store=store),
    )
    return store


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Scenario]:
    async with Scenario(tmp_path, principals=people(), checking=False) as found:
        observe_with(found)
        yield found
        found.service.observing.close()


def store_of(scenario: Scenario) -> EventStore:
    """As it is, with what nobody is shown."""
    found = scenario.service.observing.store
    assert isinstance(found, RemainingEvents)
    return found.under


def event(scenario: Scenario, type_: str, account: str = "", **said: str) -> bytes:
    return plain(Event(type=type_, at=scenario.service.now(), account=account, **said))  # type: ignore[arg-type]  # texts


async def used(scenario: Scenario) -> str:
    """A grant, its three events, and two of nobody's around them: numbers 1 to 3 of five."""
    picked = await scenario.granted()
    account = picked.issued.account if picked.issued is not None else ""
    sent = [event(scenario, "statement", "stranger", detail="SELECT from before")]
    sent.append(event(scenario, "session.opened", account, session="s1"))
    await scenario.advance(MINUTE)
    sent.append(event(scenario, "statement", account, session="s1", detail="SELECT of the grant"))
    sent.append(event(scenario, "session.closed", account, session="s1"))
    sent.append(event(scenario, "statement", "stranger", detail="SELECT from after"))
    await observe.take(scenario.service, SOURCE, sent)
    await scenario.end("ana", picked)
    scenario.clock.advance(10 * MINUTE)
    await observe.keep_up(scenario.service)
    return picked.case.id


def there(scenario: Scenario) -> list[int]:
    store = store_of(scenario)
    return [n for n in range(store.state(SOURCE).next) if store.raw(SOURCE, n) is not None]


def files_with(scenario: Scenario, text: str) -> list[str]:
    return [
        f.name
        for f in scenario.folder.iterdir()
        if f.name.startswith("events.db") and text.encode() in f.read_bytes()
    ]


async def run(scenario: Scenario, *classes: Class) -> erase_run.Proposed:
    scenario.service.erasures.rules = Rules(classes=classes)
    found = await erase_run.propose(scenario.service, scenario.caller("pia"))
    if found.run is not None:
        await erase_run.carry_out(scenario.service, found.run.id)
    return found


async def test_events_go_but_for_those_of_a_grant_whose_evidence_is_kept(
    watched: Scenario,
) -> None:
    grant = await used(watched)
    assert there(watched) == [0, 1, 2, 3, 4]
    watched.clock.advance(91 * DAY)
    proposed = await run(watched, LOGS, TEXT)
    (going,) = proposed.plan.batches
    assert going.grants == (grant,)
    assert there(watched) == [1, 2, 3]
    # all of it has gone that can: nothing more is proposed
    assert (await run(watched, LOGS, TEXT)).run is None
    # when the evidence of the grant goes, so does the rest
    watched.clock.advance(320 * DAY)
    assert len((await run(watched, LOGS, TEXT)).plan.batches) == 1
    assert there(watched) == []
    assert (await run(watched, LOGS, TEXT)).plan.batches == ()
    watched.check()


@pytest.mark.parametrize(("above", "state"), [(5, "begun"), (4, "proposed")])
async def test_many_events_in_one_batch_take_two_people(
    watched: Scenario, above: int, state: str
) -> None:
    await used(watched)
    watched.clock.advance(91 * DAY)
    rules = Rules(classes=(LOGS,), two_people_above_events=above)
    watched.service.erasures.rules = rules
    found = await erase_run.propose(watched.service, watched.caller("pia"))
    assert found.run is not None
    assert len(found.plan) == 1
    assert (found.run.state, found.run.missing) == (state, int(state != "begun"))


async def test_the_root_in_the_log_still_stands_over_all_commitments(watched: Scenario) -> None:
    await used(watched)
    watched.clock.advance(91 * DAY)
    await run(watched, LOGS)
    case = case_of(watched.service.log.log_id, SOURCE)
    (received,) = [
        record for record in watched.records(case) if isinstance(record, records.EventsReceived)
    ]
    commitments = store_of(watched).commitments(SOURCE, 0, received.count)
    assert event_batch.root(commitments) == received.root
    kept = store_of(watched).raw(SOURCE, 2)
    assert kept is not None
    opened = event_batch.commitment(watched.service.log.log_id, kept.salt, SOURCE, 2, kept.raw)
    assert opened == commitments[2]


async def test_what_went_is_in_no_file_and_what_stays_is_on_record(watched: Scenario) -> None:
    await used(watched)
    watched.clock.advance(91 * DAY)
    proposed = await run(watched, LOGS)
    assert proposed.run is not None
    (erased,) = [
        record
        for record in watched.records(proposed.run.id)
        if isinstance(record, records.EventsErased)
    ]
    assert (erased.start, erased.count, erased.kept, erased.rule) == (0, 5, 3, "retention:logs")
    assert json.loads(watched.service.document(erased.numbers)) == {"kept": [[1, 3]]}
    assert erase_run.find(watched.service, proposed.run.id).events == 2
    # what is written there is packed: a store that is copied out shows what can be read at all
    assert [store_of(watched).raw(SOURCE, n) for n in (0, 4)] == [None, None]


@pytest.mark.parametrize(
    ("scope", "stays"),
    [
        (Scope(resources=("orders-prod",)), [0, 1, 2, 3, 4]),
        (Scope(people=("ana",)), [1, 2, 3]),
        (Scope(people=("cy",)), [1, 2, 3]),
    ],
    ids=["the resource", "who had it", "who approved it"],
)
async def test_a_hold_keeps_events_too(watched: Scenario, scope: Scope, stays: list[int]) -> None:
    await used(watched)
    watched.clock.advance(500 * DAY)
    await hold.place(watched.service, watched.caller("aud"), scope, "matter", "")
    await run(watched, LOGS, TEXT)
    assert there(watched) == stays


@pytest.mark.parametrize("of_case", [True, False])
async def test_a_hold_that_is_placed_after_the_text_has_gone_keeps_the_events(
    watched: Scenario, of_case: bool
) -> None:
    grant, soon = await used(watched), Class(name="text", ceiling=30 * DAY)
    watched.clock.advance(40 * DAY)
    await run(watched, LOGS, soon)
    scope = Scope(cases=(grant,)) if of_case else Scope(people=("ana",))
    await hold.place(watched.service, watched.caller("aud"), scope, "matter", "")
    watched.clock.advance(60 * DAY)
    await run(watched, LOGS, soon)
    assert there(watched) == [1, 2, 3]


@pytest.mark.parametrize("moment", ["_record", "_erase_batch"])
async def test_a_hold_that_is_placed_amid_a_run_keeps_events_from_then_on(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Before anything is recorded as gone, or just before the events are."""
    await used(watched)
    watched.clock.advance(500 * DAY)
    watched.service.erasures.rules = Rules(classes=(LOGS, TEXT))
    found = await erase_run.propose(watched.service, watched.caller("pia"))
    assert found.run is not None
    step, placed = getattr(erase_run, moment), False

    async def held(*asked: Any) -> Any:
        nonlocal placed
        if not placed:
            placed, auditor = True, watched.caller("aud")
            await hold.place(watched.service, auditor, Scope(people=("ana",)), "matter", "")
        return await step(*asked)

    monkeypatch.setattr(erase_run, moment, held)
    await erase_run.carry_out(watched.service, found.run.id)
    assert placed
    assert there(watched) == [1, 2, 3]


async def test_young_events_and_those_of_a_day_that_is_not_over_stay(watched: Scenario) -> None:
    await used(watched)
    watched.clock.advance(89 * DAY)
    assert (await run(watched, LOGS)).run is None
    assert len(there(watched)) == 5


async def test_what_an_older_copy_of_the_store_brings_back_is_erased_at_the_start(
    watched: Scenario,
) -> None:
    await used(watched)
    older = (watched.folder / "events.db").read_bytes()
    store_of(watched).close()  # all of it is in the file then
    older = (watched.folder / "events.db").read_bytes()
    observe_with(watched)
    watched.clock.advance(91 * DAY)
    await run(watched, LOGS)
    store_of(watched).close()
    (watched.folder / "events.db").write_bytes(older)
    observe_with(watched)
    assert len(there(watched)) == 5
    assert erase_events.finish_events(watched.service) == 2
    assert there(watched) == [1, 2, 3]
    assert erase_events.finish_events(watched.service) == 0


async def test_events_that_were_recorded_as_erased_and_no_more_go_at_the_next_attempt(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    await used(watched)
    watched.clock.advance(91 * DAY)
    watched.service.erasures.rules = Rules(classes=(LOGS,))
    found = await erase_run.propose(watched.service, watched.caller("pia"))
    assert found.run is not None

    def crash(*_: object) -> int:
        raise Unavailable("the lights went out")

    with monkeypatch.context() as patch:
        patch.setattr(store_of(watched), "erase", crash)
        with pytest.raises(Unavailable):
            await erase_run.carry_out(watched.service, found.run.id)
    assert len(there(watched)) == 5
    done = await erase_run.carry_out(watched.service, found.run.id)
    assert done.closed
    assert there(watched) == [1, 2, 3]
    kinds = watched.kinds(done.id)
    assert kinds.count("events:erased") == 1


async def test_what_is_recorded_as_gone_is_shown_to_nobody_while_its_bytes_are_there(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant, service = await used(watched), watched.service
    auditor, shown = watched.caller("aud"), service.observing.store
    assert shown is not None
    assert (await prove_events.prove(service, auditor, SOURCE, [0])).events == 1
    before = story.observed(service, service.read(grant)[0])
    assert "SELECT of the grant" in json.dumps(before)
    watched.clock.advance(500 * DAY)

    def crash(*_: object) -> int:
        raise Unavailable("a reader")

    monkeypatch.setattr(store_of(watched), "erase", crash)
    with pytest.raises(Unavailable):
        await run(watched, LOGS, TEXT)
    assert there(watched) == [0, 1, 2, 3, 4]
    with pytest.raises(NotFound, match="was erased"):
        await prove_events.prove(service, auditor, SOURCE, [0])
    with pytest.raises(NotFound):
        await prove_events.prove_of_case(service, auditor, grant)
    assert "SELECT" not in json.dumps(story.observed(service, service.read(grant)[0]))
    assert [each.event for each in shown.after(0)] == [None] * 5
    assert [each.event for each in shown.walk()] == [None] * 5
    assert shown.of_grant(grant, limit=1) == []
    assert shown.of_session(SOURCE, "s1") == []
    whole = (service.now() - 600 * DAY, service.now())
    assert shown.between(*whole) == []
    assert len(store_of(watched).between(*whole)) == 5
    # the run goes on for as long as they are there
    (begun,) = service.erasures.holding.open_runs()
    assert begun.state == "begun"


async def test_those_that_are_left_are_shown_while_their_neighbours_are_not(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant, shown = await used(watched), watched.service.observing.store
    assert shown is not None
    watched.clock.advance(91 * DAY)

    def crash(*_: object) -> int:
        raise Unavailable("a reader")

    monkeypatch.setattr(store_of(watched), "erase", crash)
    with pytest.raises(Unavailable):
        await run(watched, LOGS, TEXT)
    assert [n for n in range(5) if shown.raw(SOURCE, n) is not None] == [1, 2, 3]
    assert [each.number for each in shown.of_grant(grant, limit=1)] == [1]
    proved = await prove_events.prove_of_case(watched.service, watched.caller("aud"), grant)
    assert (proved.events, proved.erased) == (3, 0)


async def test_bytes_that_stayed_in_a_file_are_removed_by_the_next_attempt_and_the_next_start(
    watched: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events are deleted, and a reader kept their bytes in the write-ahead log."""
    await used(watched)
    erase, asked = store_of(watched).erase, list[int]()

    def deleted_only(source: str, numbers: Any) -> int:
        asked.append(erase(source, numbers))
        raise Unavailable("a reader")

    watched.clock.advance(91 * DAY)
    with monkeypatch.context() as patch:
        patch.setattr(store_of(watched), "erase", deleted_only)
        with pytest.raises(Unavailable):
            await run(watched, LOGS, TEXT)
        (begun,) = watched.service.erasures.holding.open_runs()
        with pytest.raises(Unavailable):
            await erase_run.carry_out(watched.service, begun.id)
        assert not erase_run.find(watched.service, begun.id).closed
        assert asked == [2, 0]
        # a start does not wait for it, and does not forget it
        watched.service.erasures.unfinished = False
        assert erase_events.finish_events(watched.service) == 0
        assert erase_run.is_due(watched.service)
    assert (await erase_run.carry_out(watched.service, begun.id)).closed
    assert not erase_run.is_due(watched.service)


@pytest.mark.parametrize("moment", ["record:erased", "events:erased"])
async def test_two_nodes_that_carry_out_one_run_record_each_thing_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    async with Scenario(tmp_path, principals=people(), checking=False, shared=True) as here:
        observe_with(here)
        await used(here)
        here.clock.advance(91 * DAY)
        with here.another_node() as there_:
            observe_with(here, there_)
            for node in (here.service, there_):
                node.erasures.rules = Rules(classes=(LOGS, Class(name="text", ceiling=DAY)))
            pia = Caller(principal=here.caller("pia").principal, assurance="token")
            found = await erase_run.propose(here.service, pia)
            assert found.run is not None
            append, raced = here.service.append, list[str]()

            async def late(item: Any) -> Any:
                """The other one does all of it, just before this one records something."""
                if not raced and item.drafts[0].kind == moment:
                    raced.append("there")
                    await there_.catch_up()
                    assert found.run is not None
                    await erase_run.carry_out(there_, found.run.id)
                return await append(item)

            monkeypatch.setattr(here.service, "append", late)
            assert (await erase_run.carry_out(here.service, found.run.id)).closed
            there_.observing.close()
        kinds = here.kinds(found.run.id)
        assert raced
        assert kinds.count("events:erased") == 1
        assert kinds.count("record:erased") == len(found.plan.sections)
        assert there(here) == []
        here.service.observing.close()
        here.check()
