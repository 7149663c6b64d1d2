"""Two nodes watch over one log: what one of them has recorded or found, the other does not again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from muniment.access import records
from muniment.errors import Unavailable
from muniment.operations import answer_finding, findings, observe
from muniment.operations.around import Around
from muniment.operations.detect import Detection, RuleSet
from muniment.operations.grant_windows import GrantWindows
from muniment.operations.intake import Intake
from muniment.operations.observing import Observing, Source, case_of
from muniment.operations.service import Service
from muniment.oversight.calendars import WorkingDays
from muniment.oversight.detector import thresholds
from muniment.oversight.detectors import BUILT_IN, SCANNED
from muniment.oversight.event import Event, Key, ReaderSettings
from muniment.oversight.event_store import Chunk
from muniment.oversight.link import Correlator
from muniment.oversight.recorded import Recorded
from muniment.oversight.watch import Watch
from muniment.testing.events_in_memory import EventsInMemory
from muniment.testing.plain_reader import PlainReader, plain
from muniment.testing.scenario import Scenario

SOURCE = "orders-log"


class Meeting(EventsInMemory):
    """Something is done once, while a batch is being made, or before something is kept."""

    meanwhile: Callable[[], None] | None = None
    before_adding: Callable[[], None] | None = None

    def add(self, chunk: Chunk) -> None:
        if (before := self.before_adding) is not None:
            self.before_adding = None
            before()
        super().add(chunk)

    def commitments(self, source: str, start: int, stop: int) -> list[bytes]:
        found = super().commitments(source, start, stop)
        if (meanwhile := self.meanwhile) is not None:
            self.meanwhile = None
            meanwhile()
        return found


@dataclass(frozen=True, kw_only=True)
class Two:
    """Nodes on one log, with one store of events."""

    scenario: Scenario
    here: Service
    there: Service
    store: Meeting

    async def send(self, node: Service, type: str, account: str, **said: Any) -> None:
        event = Event(type=type, at=node.now(), account=account, session="s1", **said)
        await observe.take(node, SOURCE, [plain(event)])

    async def caught_up(self) -> None:
        """Both know what the other has written."""
        for node in (self.here, self.there):
            await asyncio.wrap_future(node.log.follow())

    def findings(self) -> dict[str, int]:
        """By rule, how often it was raised and seen again."""
        found = [
            findings.read(self.here, row.case)[0]
            for row in self.here.projections.cases(kind="finding")
        ]
        return {each.raised.rule: each.count for each in found}


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    async with Scenario(tmp_path, shared=True) as scenario:
        with scenario.another_node() as there:
            store = Meeting()
            for node in (scenario.service, there):
                reader = partial(PlainReader, ReaderSettings(prefix="mun"))
                source = Source(
                    name=SOURCE, resource="orders-prod", reader=reader(), make_reader=reader
                )
                node.observing = Observing(
                    store=store,
                    sources={SOURCE: source},
                    intake=Intake(service=node, store=store),
                )
            yield Two(scenario=scenario, here=scenario.service, there=there, store=store)


def detection(service: Service) -> Detection:
    """As a node begins it that has come to lead."""
    store = service.observing.store
    assert store is not None
    live = [each for each in BUILT_IN if each.rule.id not in SCANNED]
    windows = GrantWindows(service=service, store=store)
    around = Around(service=service, correlator=Correlator(service.prefix, windows))
    rules = {
        each.rule.id: RuleSet(rule=each.rule, thresholds=thresholds(each.rule, {})) for each in live
    }
    return Detection(
        service=service,
        watch=Watch(live, {}, WorkingDays()),
        rules=rules,
        around=around,
        recorded=Recorded(world=around),
    )


async def test_events_of_a_source_come_in_at_any_node_with_one_row_of_numbers(two: Two) -> None:
    for _ in range(3):
        await two.send(two.here, "other", "")
        await two.send(two.there, "other", "")
    assert [kept.number for kept in two.store.walk()] == list(range(6))
    assert await observe.seal(two.there) == 6
    assert await observe.seal(two.here) == 0


async def test_an_event_is_linked_to_what_another_node_handed_out_just_now(two: Two) -> None:
    picked = await two.scenario.granted()
    account = picked.issued.account if picked.issued is not None else ""
    await two.send(two.there, "session.opened", account)
    ((kept,),) = [[*two.store.walk()]]
    assert (kept.link.grant, kept.link.standing) == (picked.case.id, "within")


async def test_an_event_of_a_grant_that_another_node_has_extended_is_not_late(two: Two) -> None:
    picked = await two.scenario.granted(seconds=600)
    account = picked.issued.account if picked.issued is not None else ""
    await two.caught_up()
    await two.send(two.there, "session.opened", account)
    extended = await two.scenario.extend("ana", picked, 1800)
    await two.scenario.approve("cy", extended)
    await two.scenario.advance(timedelta(minutes=15))
    await two.send(two.there, "statement", account)
    assert [kept.link.standing for kept in two.store.walk()] == ["within", "within"]


async def test_nothing_is_taken_in_where_it_is_not_known_what_others_handed_out(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_in_time(service: Service, seconds: float = 0) -> bool:
        return False

    monkeypatch.setattr(Service, "catch_up", not_in_time)
    with pytest.raises(Unavailable, match="send it again"):
        await two.send(two.there, "other", "")
    assert [*two.store.walk()] == []
    await observe.take(two.there, SOURCE, [])  # a sign of life needs no link
    assert two.store.state(SOURCE).received is not None


async def test_a_key_that_another_node_hears_of_while_its_use_is_kept_leads_to_the_grant(
    two: Two,
) -> None:
    picked = await two.scenario.granted()
    key = Key("access-key", "AKIA7")
    two.store.before_adding = lambda: two.store.join(key, picked.case.id)
    await two.send(two.there, "call", "", keys=(key,))
    (kept,) = two.store.walk()
    assert kept.link.grant == picked.case.id
    assert [*two.there.observing.relinked] == [kept.row]


async def test_a_batch_that_two_nodes_are_about_to_record_is_recorded_once(two: Two) -> None:
    """One that was taken for dead, and was not, while the other leads already."""
    await two.send(two.here, "other", "")
    await two.send(two.here, "other", "")

    def there_seals() -> None:
        async def first() -> None:
            await observe.seal(two.there)

        asyncio.run_coroutine_threadsafe(first(), loop).result()
        two.here.log.follow().result()

    loop, two.store.meanwhile = asyncio.get_running_loop(), there_seals
    assert await observe.seal(two.here) == 0
    case = case_of(two.here.log.log_id, SOURCE)
    batches = [
        (record.start, record.count)
        for record in two.scenario.records(case)
        if isinstance(record, records.EventsReceived)
    ]
    assert batches == [(0, 2)]
    assert two.store.sealed_by(SOURCE, 1) is not None


async def test_a_node_that_comes_to_lead_raises_nothing_twice(two: Two) -> None:
    scenario = two.scenario
    first = detection(two.here)
    case = await scenario.ask("bo", emergency=True, incident="INC-1", text="orders are stuck")
    picked = await scenario.pick_up("bo", case)
    account = picked.issued.account if picked.issued is not None else ""
    await two.send(two.here, "session.opened", account)
    await scenario.advance(timedelta(hours=9))
    await two.send(two.here, "session.opened", account, client="192.0.2.7")
    await first.look()
    await two.caught_up()
    found, size = two.findings(), two.here.log.size
    assert {"break-glass-used", "use-outside-window"} <= set(found)
    second = detection(two.there)
    for leading in (second, first, second):  # there and back, and with what each remembers
        await leading.look()
        await two.caught_up()
    assert (two.findings(), two.here.log.size) == (found, size)


async def test_what_happens_after_the_change_is_found_by_who_leads_now(two: Two) -> None:
    first, second = detection(two.here), detection(two.there)
    await first.look()
    assert "break-glass-used" not in two.findings()
    case = await two.scenario.ask("bo", emergency=True, incident="INC-1", text="it is stuck")
    await two.scenario.pick_up("bo", case)
    await two.caught_up()
    await second.look()
    await two.caught_up()
    found = two.findings()
    assert "break-glass-used" in found
    await first.look()  # it was frozen, and believes to lead for another moment
    await two.caught_up()
    assert two.findings() == found


async def test_what_was_closed_at_one_node_is_not_raised_by_the_other(two: Two) -> None:
    case = await two.scenario.ask("bo", emergency=True, incident="INC-1", text="it is stuck")
    await two.scenario.pick_up("bo", case)
    await detection(two.here).look()
    for row in two.here.projections.cases(kind="finding"):
        await answer_finding.close_finding(
            two.here, two.scenario.caller("aud"), row.case, "explained", "the outage of that day"
        )
    await two.caught_up()
    await detection(two.there).look()
    await two.caught_up()
    states = {
        findings.read(two.here, row.case)[0].state
        for row in two.here.projections.cases(kind="finding")
    }
    assert states == {"closed"}


async def test_what_was_counted_is_forgotten_where_another_node_comes_to_count_it(two: Two) -> None:
    first = detection(two.here)
    await first.look()
    changed = {"action": "GRANT", "object": "backdoor"}
    for _ in range(3):
        await two.send(two.here, "access.changed", "postgres", **changed)
        await first.look()
        two.scenario.clock.advance(timedelta(minutes=1))
    assert [each.count for each in two.here.pace.findings.values()] == [2]
    first.forget_counted()
    assert two.here.pace.findings == {}
    await two.caught_up()
    await detection(two.there).look()
    assert [each.count for each in two.there.pace.findings.values()] == [2]
