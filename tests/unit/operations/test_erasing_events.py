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
from muniment.errors import Unavailable
from muniment.evidence import event_batch
from muniment.operations import erase_events, erase_run, hold, observe
from muniment.operations.hold import Scope
from muniment.operations.intake import Intake
from muniment.operations.observing import Observing, Source, case_of
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


def observe_with(scenario: Scenario) -> SQLiteEventStore:
    store = SQLiteEventStore(scenario.folder / "events.db")
    settings = ReaderSettings(prefix="mun")
    source = Source(
        name=SOURCE,
        resource="orders-prod",
        reader=PlainReader(settings),
        make_reader=partial(PlainReader, settings),
    )
    scenario.service.observing = Observing(
        store=store,
        sources={SOURCE: source},
        intake=Intake(service=scenario.service, store=store),
    )
    return store


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Scenario]:
    async with Scenario(tmp_path, principals=people(), checking=False) as found:
        observe_with(found)
        yield found
        found.service.observing.close()


def store_of(scenario: Scenario) -> EventStore:
    found = scenario.service.observing.store
    assert found is not None
    return found


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
