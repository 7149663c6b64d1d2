"""Events are shown unchanged, also after their neighbours were erased, to those who may see them."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from test_observing import line, observe_with, used

from muniment.errors import (
    Conflict,
    LogInvalid,
    Malformed,
    NotFound,
    NotPermitted,
    ProofInvalid,
)
from muniment.evidence import event_evidence
from muniment.evidence.event_evidence import Shown
from muniment.operations import observe, prove_events
from muniment.operations.issue import PickedUp
from muniment.operations.observe_sessions import record_sessions
from muniment.operations.prove_events import EventsProved
from muniment.oversight.event_store import EventStore, Raw
from muniment.stores.events import SQLiteEventStore
from muniment.testing.events_in_memory import EventsInMemory
from muniment.testing.scenario import Scenario


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventStore]:
    if request.param == "memory":
        yield EventsInMemory()
        return
    with closing(SQLiteEventStore(tmp_path / "events.db")) as opened:
        yield opened


@pytest.fixture
async def watched(tmp_path: Path, store: Any) -> AsyncIterator[Scenario]:
    """A scenario with one source, `orders-log`, that speaks of `orders-prod`."""
    async with Scenario(tmp_path) as scenario:
        observe_with(scenario, store)
        yield scenario


@pytest.fixture
async def picked(watched: Scenario) -> PickedUp:
    """A grant of ana's, with events 0 to 2 in one batch, between two of nobody's and in a second."""
    picked = await watched.granted()
    await used(watched, picked)
    await observe.take(watched.service, "orders-log", [line(watched, "other", detail="x")] * 2)
    await observe.seal(watched.service)
    account = picked.issued.account if picked.issued is not None else ""
    sent = [line(watched, "other"), line(watched, "statement", account, session="s2")]
    await observe.take(watched.service, "orders-log", sent)
    await observe.seal(watched.service)
    return picked


def shown(scenario: Scenario, proved: EventsProved) -> Shown:
    """What a reader has, with the file and the key alone."""
    return event_evidence.verify(proved.data, scenario.key.verifier)


def numbers(scenario: Scenario, proved: EventsProved) -> dict[int, bool]:
    """Of each event in the file, whether it is there or was erased."""
    return {each.number: each.raw is not None for each in shown(scenario, proved).events}


async def proved(
    scenario: Scenario, who: str, *wanted: int, case: str | None = None
) -> EventsProved:
    caller = scenario.caller(who)
    return await prove_events.prove(scenario.service, caller, "orders-log", wanted, case)


async def proved_of(scenario: Scenario, who: str, picked: PickedUp) -> EventsProved:
    caller = scenario.caller(who)
    return await prove_events.prove_of_case(scenario.service, caller, picked.case.id)


# --- what is shown -------------------------------------------------------------------------------


async def test_an_event_is_shown_as_it_came_after_its_neighbours_were_erased(
    watched: Scenario, picked: PickedUp, store: EventStore
) -> None:
    kept = store.raw("orders-log", 1)
    assert kept is not None
    before = await proved(watched, "aud", 1)
    assert store.erase("orders-log", [0, 2, 3, 4, 5]) == 5
    after = await proved(watched, "aud", 1)
    assert after.data == before.data
    (event,) = shown(watched, after).events
    assert (event.source, event.number, event.raw) == ("orders-log", 1, kept.raw)
    assert b"SELECT 1" in kept.raw
    batch = watched.service.registry.sources["orders-log"].case
    record = watched.entries(batch)[0]
    assert (event.index, event.record, event.at) == (
        record.index, record.header.id, record.header.at
    )  # fmt: skip


async def test_an_erased_event_is_refused_in_words(
    watched: Scenario, picked: PickedUp, store: EventStore
) -> None:
    store.erase("orders-log", [1])
    with pytest.raises(NotFound, match="event 1 of `orders-log` was erased"):
        await proved(watched, "aud", 1)


async def test_an_erased_event_among_others_is_named(
    watched: Scenario, picked: PickedUp, store: EventStore
) -> None:
    store.erase("orders-log", [1])
    found = await proved(watched, "aud", 0, 1, 6)
    assert numbers(watched, found) == {0: True, 1: False, 6: True}
    assert (found.events, found.erased, found.waiting) == (2, 1, 0)


async def test_all_events_of_a_grant_are_shown_over_its_batches_and_no_others(
    watched: Scenario, picked: PickedUp
) -> None:
    found = await proved_of(watched, "ana", picked)
    assert numbers(watched, found) == {0: True, 1: True, 2: True, 6: True}
    assert len({each.index for each in shown(watched, found).events}) == 2


async def test_an_erased_event_of_a_recorded_session_is_named_with_the_others(
    watched: Scenario, picked: PickedUp, store: EventStore
) -> None:
    assert not await record_sessions(watched.service, store, picked.case.id)
    store.erase("orders-log", [1, 3])
    found = await proved_of(watched, "ana", picked)
    assert numbers(watched, found) == {0: True, 1: False, 2: True, 6: True}
    store.erase("orders-log", [0, 2, 6])
    with pytest.raises(NotFound, match="event 0 of `orders-log` was erased"):
        await proved_of(watched, "ana", picked)


async def test_what_was_recorded_of_a_session_and_is_now_linked_to_another_is_not_given(
    watched: Scenario, picked: PickedUp, store: EventStore
) -> None:
    assert not await record_sessions(watched.service, store, picked.case.id)
    kept = store.of_grant(picked.case.id)[0].link
    other = type(kept)(grant="mun_" + "z" * 26, strength="strong", reason="x", standing="within")
    store.relink("orders-log", 1, other)
    assert numbers(watched, await proved_of(watched, "ana", picked)) == {0: True, 2: True, 6: True}
    with pytest.raises(NotFound, match="nothing of it is linked"):
        await proved(watched, "ana", 1, case=picked.case.id)


async def test_with_a_case_those_of_the_numbers_are_shown_that_are_linked_to_it(
    watched: Scenario, picked: PickedUp
) -> None:
    for who in ("ana", "aud"):
        found = await proved(watched, who, *range(7), case=picked.case.id)
        assert numbers(watched, found) == {0: True, 1: True, 2: True, 6: True}


async def test_a_file_goes_on_holding_when_the_log_grows(
    watched: Scenario, picked: PickedUp
) -> None:
    before = await proved_of(watched, "ana", picked)
    for _ in range(3):
        await watched.ask("dan")
    assert (await proved_of(watched, "ana", picked)).data == before.data
    assert shown(watched, before).checkpoint.size < watched.service.log.size


# --- what is not ---------------------------------------------------------------------------------


async def test_what_the_log_has_no_record_of_yet_is_to_be_asked_for_later(
    watched: Scenario, picked: PickedUp
) -> None:
    account = picked.issued.account if picked.issued is not None else ""
    await observe.take(watched.service, "orders-log", [line(watched, "statement", account)] * 2)
    with pytest.raises(Conflict, match=r"event 7 of `orders-log`.*again in a few seconds"):
        await proved(watched, "aud", 6, 7, 8)
    found = await proved_of(watched, "ana", picked)
    assert (found.events, found.waiting) == (4, 2)
    await observe.seal(watched.service)
    found = await proved_of(watched, "ana", picked)
    assert (found.events, found.waiting) == (6, 0)


async def test_of_a_grant_with_nothing_recorded_yet_nothing_is_shown(watched: Scenario) -> None:
    picked = await watched.granted()
    with pytest.raises(NotFound, match="nothing that a source sent is linked"):
        await proved_of(watched, "ana", picked)
    await used(watched, picked)
    with pytest.raises(Conflict, match="again in a few seconds"):
        await proved_of(watched, "ana", picked)


async def test_what_never_came_is_not_found(watched: Scenario, picked: PickedUp) -> None:
    with pytest.raises(NotFound, match="there is no event 7"):
        await proved(watched, "aud", 7)
    with pytest.raises(NotFound, match="there is no event 0 of `other`"):
        await prove_events.prove(watched.service, watched.caller("aud"), "other", [0])
    for wanted in ((), range(1001)):
        with pytest.raises(Malformed, match="1 to 1000 events"):
            await proved(watched, "aud", *wanted)


async def test_without_a_store_of_events_none_is_shown(watched: Scenario) -> None:
    watched.service.observing.store = None
    with pytest.raises(NotFound, match="nothing is observed here"):
        await proved(watched, "aud", 0)


async def test_who_may_not_audit_is_shown_what_is_linked_to_a_case_that_he_may_export(
    watched: Scenario, picked: PickedUp
) -> None:
    with pytest.raises(NotPermitted, match="name the case that the event is linked to"):
        await proved(watched, "ana", 1)
    with pytest.raises(NotFound, match="that you may see"):
        await proved(watched, "dan", 1, case=picked.case.id)
    with pytest.raises(NotFound, match="that you may see"):
        await proved_of(watched, "dan", picked)
    with pytest.raises(NotFound, match="nothing of it is linked"):
        await proved(watched, "ana", 3, 5, case=picked.case.id)
    others = await watched.granted("dan")
    with pytest.raises(NotFound, match="nothing of it is linked"):
        await proved(watched, "dan", 1, case=others.case.id)


async def test_too_many_events_for_one_file_are_to_be_asked_for_in_parts(
    watched: Scenario,
) -> None:
    picked = await watched.granted()
    account = picked.issued.account if picked.issued is not None else ""
    sent = [line(watched, "statement", account, session="s1")] * 1001
    await observe.take(watched.service, "orders-log", sent)
    await observe.seal(watched.service)
    with pytest.raises(Conflict, match="by their numbers, such as those from event 0 of"):
        await proved_of(watched, "ana", picked)
    found = await proved(watched, "ana", *range(1000), case=picked.case.id)
    assert found.events == 1000


async def test_events_of_too_many_bytes_are_to_be_asked_for_in_parts(watched: Scenario) -> None:
    sent = [line(watched, "other", detail="x" * 1_000_000)] * 13
    await observe.take(watched.service, "orders-log", sent)
    await observe.seal(watched.service)
    with pytest.raises(Conflict, match=r"too much for one file: .* from event 12 of"):
        await proved(watched, "aud", *range(13))
    assert (await proved(watched, "aud", *range(12))).events == 12


async def test_what_is_not_kept_as_it_came_is_not_handed_out(
    watched: Scenario, picked: PickedUp, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store.raw("orders-log", 1)
    assert kept is not None
    changed = Raw(raw=kept.raw.replace(b"SELECT 1", b"SELECT 2"), salt=kept.salt)
    with monkeypatch.context() as patched:
        patched.setattr(type(store), "raw", lambda *_: changed)
        with pytest.raises(LogInvalid, match="is not kept as it came"):
            await proved(watched, "aud", 1)
    with monkeypatch.context() as patched:
        patched.setattr(type(store), "commitments", lambda *_: [bytes(32)] * 5)
        with pytest.raises(LogInvalid, match="not what the log has"):
            await proved(watched, "aud", 1)
    with monkeypatch.context() as patched:
        patched.setattr(type(store), "sealed_by", lambda *_: 0)
        with pytest.raises(LogInvalid, match="is no record of events"):
            await proved(watched, "aud", 1)


async def test_events_of_a_store_that_was_lost_are_said_to_be_lost(
    watched: Scenario, picked: PickedUp
) -> None:
    observe_with(watched)  # a new, empty one
    await observe.take(watched.service, "orders-log", [])
    await observe.seal(watched.service)
    with pytest.raises(NotFound, match="the store of events was lost since, or set back"):
        await proved(watched, "aud", 1)


async def test_a_changed_file_does_not_pass_for_the_events(
    watched: Scenario, picked: PickedUp
) -> None:
    found = await proved(watched, "aud", 1)
    value = json.loads(found.data)
    event = value["records"][0]["events"][0]
    event["number"] = 2
    changed = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    with pytest.raises(ProofInvalid):
        event_evidence.verify(changed, watched.key.verifier)


async def test_what_another_node_recorded_just_now_waits_until_this_one_has_it(
    watched: Scenario, picked: PickedUp, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = watched.service.log.size
    monkeypatch.setattr(type(store), "sealed_by", lambda *_: ahead)
    with pytest.raises(Conflict, match="again in a few seconds"):
        await proved(watched, "aud", 1)
