"""Telling sinks of every record: in order, each at least once, whatever goes down on the way."""

import asyncio
import json
import logging
import ssl
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from muniment.errors import LogInvalid, LogUnavailable, Unavailable
from muniment.operations import forward
from muniment.operations.forwarding import Forwarding, Stream
from muniment.operations.service import Service
from muniment.oversight.siem import Progress, SiemEvent
from muniment.ports import Secret
from muniment.runtime.outbound import CheckedOutbound
from muniment.runtime.upkeep import Upkeep
from muniment.sinks.siem.cloud_events import EventWebhook
from muniment.sinks.siem.ocsf import OcsfDescriber
from muniment.sinks.siem.syslog import Syslog
from muniment.testing.scenario import ORIGIN, Scenario
from muniment.testing.siem_receivers import EventReceiver, SyslogReceiver, self_made

SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="


class Listener:
    """A sink in memory that can refuse, hang, or take a batch and not say so."""

    def __init__(self) -> None:
        self.got: list[SiemEvent] = []
        self.batches: list[int] = []
        self.refuses = False
        #: so many batches it takes and then says that it did not
        self.lies = 0
        self.waits: asyncio.Event | None = None

    async def send(self, events: Sequence[SiemEvent]) -> None:
        if self.waits is not None:
            await self.waits.wait()
        if self.refuses:
            raise Unavailable("`siem` answered 503")
        self.got += events
        self.batches.append(len(events))
        if self.lies:
            self.lies -= 1
            raise Unavailable("`siem` did not answer in 20 s")

    async def look(self) -> str:
        return "listens"

    @property
    def indexes(self) -> list[int]:
        return [event.index for event in self.got]


@pytest.fixture
async def told(scenario: Scenario) -> Scenario:
    """A log with something in it: a grant from its request to its end, and a denial."""
    case = await scenario.ask("ana", text="the index of Mrs Smith is broken")
    await scenario.approve("cy", case, note="go ahead, Ana")
    await scenario.pick_up("ana", case)
    await scenario.end("ana", case)
    await scenario.ask("dan", seconds=86_400 * 30)
    return scenario


def listen(
    service: Service, sink: Any, *, kinds: tuple[str, ...] = ("*",), from_start: bool = True
) -> Stream:
    """As a process that has just started."""
    describer = OcsfDescriber(ORIGIN)
    stream = Stream(sink=sink, describer=describer, kinds=kinds, from_start=from_start)
    cursors: Any = service.log.store
    service.publishing.forwarding = Forwarding(cursors=cursors, streams={"siem": stream})
    return stream


async def until_told(service: Service, tries: int = 40) -> None:
    """As the upkeep does, without its waits."""
    for _ in range(tries):
        try:
            await forward.forward(service, "siem")
        except Unavailable:
            continue
        if not forward.is_due(service, "siem"):
            return
    raise AssertionError("the sink was not told of everything")


def check_unbroken(indexes: list[int], size: int) -> None:
    """Every index at least once; in order but for what is told again from further back."""
    assert set(indexes) == set(range(size))
    assert all(after <= before + 1 for before, after in pairwise(indexes))
    assert indexes[0] == 0


# --- what arrives -----------------------------------------------------------------------------


async def test_every_record_arrives_once_and_in_order(told: Scenario) -> None:
    sink = Listener()
    listen(told.service, sink)
    await forward.forward(told.service, "siem")
    assert sink.indexes == list(range(told.service.log.size))
    assert [event.previous for event in sink.got] == [None, *sink.indexes[:-1]]
    entries = [told.service.log.read_entry(index) for index in sink.indexes]
    assert [event.id for event in sink.got] == [entry.header.id for entry in entries]
    assert [event.leaf for event in sink.got] == [entry.leaf for entry in entries]


async def test_nothing_that_is_sealed_is_told(told: Scenario) -> None:
    sink = Listener()
    listen(told.service, sink)
    await forward.forward(told.service, "siem")
    everything = b"\n".join(event.body for event in sink.got)
    for word in (b"Smith", b"broken", b"ahead", b"@example.com", b'"Ana"', b'"ana"', b"OPS-1"):
        assert word not in everything
    assert told.ids["ana"].encode() in everything


async def test_what_is_new_follows_what_was_told(told: Scenario) -> None:
    sink = Listener()
    stream = listen(told.service, sink)
    await forward.forward(told.service, "siem")
    assert not forward.is_due(told.service, "siem")
    await told.ask("bo")
    assert forward.is_due(told.service, "siem")
    await forward.forward(told.service, "siem")
    assert sink.indexes == list(range(told.service.log.size))
    assert stream.failures == 0


async def test_a_sink_that_begins_now_is_told_nothing_old(told: Scenario) -> None:
    sink = Listener()
    size = told.service.log.size
    listen(told.service, sink, from_start=False)
    await forward.forward(told.service, "siem")
    assert sink.got == []
    # it was begun: what is recorded while nobody forwards is told to it later
    await told.ask("bo")
    listen(told.service, sink, from_start=False)
    await forward.forward(told.service, "siem")
    assert sink.indexes == list(range(size, told.service.log.size))


async def test_of_chosen_kinds_each_names_the_one_before_it(told: Scenario) -> None:
    sink = Listener()
    listen(told.service, sink, kinds=("grant:*", "case:closed"))
    await forward.forward(told.service, "siem")
    assert {event.kind for event in sink.got} == {"grant:authorized", "grant:ended", "case:closed"}
    assert [event.previous for event in sink.got] == [None, *sink.indexes[:-1]]
    assert (
        json.loads(sink.got[1].body)["unmapped"]["muniment"]["log"]["previous"] == sink.indexes[0]
    )
    before = len(sink.got)
    listen(told.service, sink, kinds=("grant:*", "case:closed"))
    await told.ask("dan", seconds=86_400 * 30)
    await forward.forward(told.service, "siem")
    assert sink.got[before].previous == sink.indexes[before - 1]


async def test_pieces_are_bounded_in_records_and_in_bytes(
    told: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "PIECE", 7)
    sink = Listener()
    listen(told.service, sink)
    await forward.forward(told.service, "siem")
    assert max(sink.batches) == 7
    check_unbroken(sink.indexes, told.service.log.size)
    again = Listener()
    monkeypatch.setattr(forward, "MOST_BYTES", 1)
    told.store.put_progress("siem", Progress(0))
    listen(told.service, again)
    await forward.forward(told.service, "siem")
    assert set(again.batches) == {1}
    assert [event.body for event in again.got] == [event.body for event in sink.got]


# --- what goes down ---------------------------------------------------------------------------


async def test_what_was_refused_comes_again_and_nothing_is_passed_over(told: Scenario) -> None:
    sink = Listener()
    stream = listen(told.service, sink)
    sink.refuses = True
    for failures in (1, 2, 3):
        with pytest.raises(Unavailable):
            await forward.forward(told.service, "siem")
        assert stream.failures == failures
    sink.refuses = False
    await forward.forward(told.service, "siem")
    assert sink.indexes == list(range(told.service.log.size))


async def test_what_was_taken_without_a_word_comes_again(
    told: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "PIECE", 5)
    sink = Listener()
    listen(told.service, sink)
    sink.lies = 2
    await until_told(told.service)
    assert sink.indexes[:10] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    check_unbroken(sink.indexes, told.service.log.size)


async def test_another_process_goes_on_where_it_was_last_kept(
    told: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "PIECE", 5)
    sink = Listener()
    listen(told.service, sink)
    puts: list[Progress] = []
    keep = told.store.put_progress

    def failing(name: str, progress: Progress) -> None:
        puts.append(progress)
        if progress.next == 15:
            raise LogUnavailable("the disk is full")
        keep(name, progress)

    monkeypatch.setattr(told.store, "put_progress", failing)
    monkeypatch.setattr(forward, "KEEP_EVERY", 0.0)
    with pytest.raises(LogUnavailable):
        await forward.forward(told.service, "siem")
    monkeypatch.undo()
    listen(told.service, sink)
    await forward.forward(told.service, "siem")
    assert sink.indexes[:20] == [*range(15), *range(10, 15)]
    check_unbroken(sink.indexes, told.service.log.size)


@pytest.mark.parametrize("down", [0, 1, 3])
async def test_a_web_server_that_goes_down_in_the_middle_misses_nothing(
    told: Scenario, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch, down: int
) -> None:
    monkeypatch.setattr(forward, "PIECE", 4)
    receiver = EventReceiver(unused_tcp_port)
    receiver.answers = lambda n: None if n == down else 503 if n == down + 2 else 202
    sink = EventWebhook(
        "siem", Secret(receiver.origin), Secret(SECRET), CheckedOutbound(),
        origin=ORIGIN, now=told.service.now, allow=(receiver.origin,),
    )  # fmt: skip
    stream = listen(told.service, sink)
    await receiver.start()
    with pytest.raises(Unavailable):
        await forward.forward(told.service, "siem")
    await receiver.stop()
    with pytest.raises(Unavailable):
        await forward.forward(told.service, "siem")
    assert stream.failures == 2
    async with receiver:
        listen(told.service, sink)  # a restart of ours, besides
        await until_told(told.service)
    indexes = [int(event["sequence"]) for event in receiver.events]
    check_unbroken(indexes, told.service.log.size)
    assert [each["data"]["metadata"]["sequence"] for each in receiver.events] == indexes


@pytest.mark.parametrize("taken", [0, 1, 6, 11])
async def test_a_syslog_server_that_is_killed_in_the_middle_misses_nothing(
    told: Scenario,
    tmp_path: Path,
    unused_tcp_port: int,
    monkeypatch: pytest.MonkeyPatch,
    taken: int,
) -> None:
    monkeypatch.setattr(forward, "PIECE", 4)
    certificate, key = self_made(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    receiver = SyslogReceiver(unused_tcp_port, server)
    client = ssl.create_default_context(cafile=certificate)
    sink = Syslog("siem", "127.0.0.1", unused_tcp_port, origin=ORIGIN, context=client)
    listen(told.service, sink)
    await receiver.start()
    receiver.dies_after = taken
    with pytest.raises(Unavailable):
        await forward.forward(told.service, "siem")
    await receiver.stop()
    with pytest.raises(Unavailable):
        await forward.forward(told.service, "siem")
    async with receiver:
        await until_told(told.service)
        size = told.service.log.size
    bodies = [json.loads(message.split(b"] ", 1)[1]) for message in receiver.got]
    check_unbroken([each["metadata"]["sequence"] for each in bodies], size)


async def test_access_is_given_and_taken_while_a_sink_hangs(told: Scenario) -> None:
    sink = Listener()
    sink.waits = asyncio.Event()
    listen(told.service, sink)
    telling = asyncio.create_task(forward.forward(told.service, "siem"))
    case = await told.ask("bo")
    await told.approve("cy", case)
    await told.pick_up("bo", case)
    await told.end("bo", case)
    assert told.read(case).closed
    assert not telling.done()
    sink.waits.set()
    await telling
    assert sink.indexes == list(range(told.service.log.size))


async def test_a_record_that_was_never_signed_is_told_to_nobody(told: Scenario) -> None:
    sink = Listener()
    listen(told.service, sink)
    entries = told.store.entries

    def forged(start: int, stop: int) -> Any:
        for index, data in entries(start, stop):
            yield index, data.replace(b"grant:authorized", b"grant:undone")

    told.store.entries = forged  # type: ignore[method-assign]  # somebody edits the database
    with pytest.raises(LogInvalid, match="is not the one that was signed"):
        await forward.forward(told.service, "siem")
    del told.store.entries  # and puts it back
    assert "grant:undone" not in {event.kind for event in sink.got}


# --- who does it, and what is said of it ------------------------------------------------------


async def test_the_upkeep_tells_and_tries_again_after_a_pause(told: Scenario) -> None:
    sink = Listener()
    stream = listen(told.service, sink)
    upkeep = Upkeep(service=told.service)
    sink.refuses = True
    upkeep.start_due()
    await upkeep.settle()
    assert told.service.publishing.failing["forward/siem"] == "`siem` answered 503"
    sink.refuses = False
    upkeep.start_due()
    await upkeep.settle()
    assert (sink.got, stream.failures) == ([], 1)
    await told.advance(timedelta(seconds=2))
    upkeep.start_due()
    await upkeep.settle()
    check_unbroken(sink.indexes, told.service.log.size)
    assert "forward/siem" not in told.service.publishing.failing


async def test_who_gives_way_to_another_node_asks_where_that_one_stopped(told: Scenario) -> None:
    sink = Listener()
    stream = listen(told.service, sink)
    await forward.forward(told.service, "siem")
    forward.stand_by(told.service, "siem")
    assert stream.progress is None
    await told.ask("bo")
    size = told.service.log.size
    told.store.put_progress("siem", Progress(size - 1, size - 2))  # the other one was faster
    await forward.forward(told.service, "siem")
    assert sink.indexes[-1] == size - 1
    assert len(sink.indexes) == len(set(sink.indexes))


async def test_a_node_that_lags_waits_for_what_another_has_told_already(told: Scenario) -> None:
    sink = Listener()
    listen(told.service, sink)
    size = told.service.log.size
    told.store.put_progress("siem", Progress(size + 5, size + 4))
    await forward.forward(told.service, "siem")
    assert sink.got == []
    assert told.store.progress("siem") == Progress(size + 5, size + 4)


def gauges(service: Service) -> dict[str, float]:
    lines = [line for line in forward.metrics(service) if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


async def test_metrics_say_how_far_a_sink_is_behind_and_how_often_it_failed(
    told: Scenario,
) -> None:
    sink = Listener()
    listen(told.service, sink)
    assert gauges(told.service) == {'muniment_siem_failures_total{sink="siem"}': 0}
    sink.refuses = True
    with pytest.raises(Unavailable):
        await forward.forward(told.service, "siem")
    await told.advance(timedelta(seconds=90))
    size = told.service.log.size
    found = gauges(told.service)
    assert found['muniment_siem_failures_total{sink="siem"}'] == 1
    assert found['muniment_siem_forwarded{sink="siem"}'] == 0
    assert found['muniment_siem_behind_records{sink="siem"}'] == size
    assert found['muniment_siem_behind_seconds{sink="siem"}'] >= 90
    sink.refuses = False
    await forward.forward(told.service, "siem")
    found = gauges(told.service)
    assert found['muniment_siem_forwarded{sink="siem"}'] == told.service.log.size
    assert found['muniment_siem_behind_records{sink="siem"}'] == 0
    assert found['muniment_siem_behind_seconds{sink="siem"}'] == 0


async def test_a_sink_far_behind_is_said_once_and_so_is_that_it_caught_up(
    told: Scenario, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "muniment.operations.forward")
    sink = Listener()
    listen(told.service, sink)
    sink.refuses = True
    for minutes in (1, 20, 1):
        await told.advance(timedelta(minutes=minutes))
        with pytest.raises(Unavailable):
            await forward.forward(told.service, "siem")
    assert [r.getMessage() for r in caplog.records if "behind the log" in r.getMessage()] != []
    assert len(caplog.records) == 1
    sink.refuses = False
    await forward.forward(told.service, "siem")
    assert "has caught up" in caplog.records[-1].getMessage()
    assert len(caplog.records) == 2


async def test_a_record_that_is_gone_from_the_database_is_not_passed_over(told: Scenario) -> None:
    sink = Listener()
    listen(told.service, sink)
    entries = told.store.entries

    def cut(start: int, stop: int) -> Any:
        return ((index, data) for index, data in entries(start, stop) if index != 9)

    told.store.entries = cut  # type: ignore[method-assign]  # somebody edits the database
    with pytest.raises(LogInvalid, match="entry 9 is missing"):
        await forward.forward(told.service, "siem")
    del told.store.entries  # and puts it back
    assert sink.indexes == []
