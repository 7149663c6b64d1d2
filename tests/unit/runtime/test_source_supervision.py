"""Transports are kept running: what fails is begun anew, and what leads elsewhere is left."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from muniment.errors import ConfigInvalid, LogUnavailable, NotFound, Unavailable
from muniment.runtime.source_section import SourceSection
from muniment.runtime.sources import Intake, Transport, pause
from muniment.runtime.sources.file import File
from muniment.runtime.sources.supervision import FIRST_WAIT, LONGEST_WAIT, LOOK, Sources
from muniment.runtime.sources.transports import transport_of
from muniment.testing.fake_intake import Counted, FakeIntake

FILE = {"kind": "file", "reader": "lines", "path": "app.log"}
SYSLOG = {"kind": "syslog", "reader": "lines", "listen": "127.0.0.1:0"}
PUSH = {"kind": "push", "reader": "lines"}
HOOK = {"kind": "webhook", "reader": "lines", "signature": "github", "secret": "file:s"}


def sections(**named: dict[str, Any]) -> dict[str, SourceSection]:
    return {name: SourceSection.model_validate(each) for name, each in named.items()}


@dataclass
class Scripted:
    """Runs until it is stopped; or fails as often as it is told."""

    failures: int = 0
    runs: int = 0
    running: int = 0
    #: is stuck when it is to stop
    deaf: bool = False

    async def run(self, intake: Intake, stop: asyncio.Event) -> None:
        self.runs += 1
        if self.failures:
            self.failures -= 1
            raise Unavailable("the target did not answer")
        self.running += 1
        try:
            await intake.take("one", [b"line"])
            await (asyncio.Event() if self.deaf else stop).wait()
        finally:
            self.running -= 1


@dataclass
class Stage:
    """Sources over scripted transports, with time that a test lets pass."""

    scripts: dict[str, Scripted] = field(default_factory=dict)
    intake: FakeIntake = field(default_factory=FakeIntake)
    leading: set[str] = field(default_factory=set)
    waits: list[float] = field(default_factory=list)
    on_lead: Callable[[], None] = lambda: None

    def make(self, name: str, section: SourceSection, folder: Path) -> Transport | None:
        if section.kind == "push":
            return None
        return self.scripts.setdefault(name, Scripted())

    def leads(self, name: str) -> bool:
        self.on_lead()
        return name in self.leading

    async def pause(self, stop: asyncio.Event, seconds: float) -> None:
        if seconds != LOOK:
            self.waits.append(seconds)
        await asyncio.sleep(0)

    def sources(self, **named: dict[str, Any]) -> Sources:
        return Sources(
            sections(**named), self.intake, self.leads, Path(), make=self.make, pause=self.pause,
            elapsed=lambda: 0.0,
        )  # fmt: skip

    async def until(self, holds: Callable[[], bool]) -> None:
        for _ in range(100_000):
            if holds():
                return
            await asyncio.sleep(0)
        raise AssertionError("it never came to that")


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_a_source_is_fetched_by_the_node_that_leads_and_left_when_it_does_not(
    stage: Stage,
) -> None:
    sources = stage.sources(one=FILE)
    await sources.start()
    one = stage.scripts["one"]
    for _ in range(20):
        await asyncio.sleep(0)
    assert one.runs == 0
    stage.leading.add("one")
    await stage.until(lambda: one.running == 1)
    stage.leading.clear()
    await stage.until(lambda: one.running == 0)
    stage.leading.add("one")
    await stage.until(lambda: one.running == 1)
    await sources.stop()
    assert (one.runs, one.running) == (2, 0)


async def test_what_listens_does_so_on_every_node(stage: Stage) -> None:
    sources = stage.sources(one=SYSLOG)
    await sources.start()
    await stage.until(lambda: stage.scripts["one"].running == 1)
    await sources.stop()


async def test_a_node_that_cannot_ask_whether_it_leads_fetches_nothing(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    def cannot() -> None:
        raise LogUnavailable("the database is away")

    stage.leading.add("one")
    stage.on_lead = cannot
    sources = stage.sources(one=FILE)
    await sources.start()
    for _ in range(20):
        await asyncio.sleep(0)
    assert stage.scripts["one"].runs == 0
    stage.on_lead = lambda: None
    await stage.until(lambda: stage.scripts["one"].running == 1)
    await sources.stop()
    assert caplog.text.count("the database is away") == 1


async def test_what_fails_is_begun_anew_after_growing_pauses_and_said_once(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.scripts["one"] = Scripted(failures=10)
    stage.leading.add("one")
    sources = stage.sources(one=FILE, other=SYSLOG)
    await sources.start()
    await stage.until(lambda: stage.scripts["one"].running == 1)
    await stage.until(lambda: not sources.failing)
    assert stage.waits[:4] == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT, 8 * FIRST_WAIT]
    assert stage.waits[-1] == LONGEST_WAIT
    assert stage.scripts["other"].runs == 1
    assert caplog.text.count("did not answer") == 1
    assert 'muniment_source_restarts_total{source="one"} 10' in list(sources.metrics())
    await sources.stop()


async def test_a_bug_in_one_transport_is_shown_and_stops_no_other(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    @dataclass
    class Broken(Scripted):
        async def run(self, intake: Intake, stop: asyncio.Event) -> None:
            raise ZeroDivisionError("a bug")

    stage.scripts["one"] = Broken()
    stage.leading |= {"one", "other"}
    sources = stage.sources(one=FILE, other=FILE)
    await sources.start()
    await stage.until(lambda: stage.scripts["other"].running == 1)
    await stage.until(lambda: sources.failing == {"one": "a bug"})
    await sources.stop()
    assert "ZeroDivisionError" in caplog.text


async def test_a_transport_that_does_not_stop_is_ended(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniment.runtime.sources.supervision.LAST_WORDS", 0.01)
    stage.scripts["one"] = Scripted(deaf=True)
    stage.leading.add("one")
    sources = stage.sources(one=FILE)
    await sources.start()
    await stage.until(lambda: stage.scripts["one"].running == 1)
    await sources.stop()
    assert stage.scripts["one"].running == 0


async def test_sources_that_stay_as_they_are_go_on_through_a_reload(stage: Stage) -> None:
    stage.leading |= {"one", "two", "three"}
    sources = stage.sources(one=FILE, two=FILE)
    await sources.start()
    await stage.until(lambda: all(each.running for each in stage.scripts.values()))
    sources.change(sections(one=FILE, two={**FILE, "path": "other.log"}, three=FILE))
    await stage.until(lambda: "three" in stage.scripts and stage.scripts["two"].runs == 2)
    await stage.until(lambda: all(each.running for each in stage.scripts.values()))
    assert [stage.scripts[name].runs for name in ("one", "two", "three")] == [1, 2, 1]
    sources.change({})
    await stage.until(lambda: not any(each.running for each in stage.scripts.values()))
    await sources.stop()
    assert list(sources.metrics()) == []


async def test_a_change_that_does_not_hold_leaves_everything_as_it_was(tmp_path: Path) -> None:
    sources = Sources(sections(one=PUSH), FakeIntake(), lambda _: True, tmp_path)
    with pytest.raises(ConfigInvalid, match=r"sources\.two\.secret"):
        sources.change(sections(two=HOOK))
    assert sources.door("one", "push").source == "one"


async def test_only_what_is_posted_has_a_door_and_of_its_own_kind(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("a secret of ours")
    named = sections(one=PUSH, two=HOOK, three=FILE)
    sources = Sources(named, FakeIntake(), lambda _: True, tmp_path)
    assert sources.door("one", "push").signature is None
    assert sources.door("two", "webhook").signature is not None
    for name, kind in (("one", "webhook"), ("two", "push"), ("three", "push"), ("x", "push")):
        with pytest.raises(NotFound):
            sources.door(name, kind)


async def test_metrics_tell_of_each_source_and_of_nobody(stage: Stage) -> None:
    stage.leading.add("one")
    sources = stage.sources(one=FILE, two=PUSH)
    await sources.start()
    await stage.until(lambda: 'muniment_source_kept_total{source="one"} 1' in sources.metrics())
    lines = list(sources.metrics())
    assert 'muniment_source_running{source="one"} 1' in lines
    assert 'muniment_source_failing{source="one"} 0' in lines
    assert lines.count("# TYPE muniment_source_kept_total counter") == 1
    await sources.door("two", "push").push(b"1\n2\n\0", "prn_a", 3)
    assert 'muniment_source_rejected_total{source="two"} 1' in list(sources.metrics())
    await sources.stop()


async def test_while_nothing_can_be_kept_the_source_says_so(stage: Stage) -> None:
    sources = stage.sources(two=PUSH)
    stage.intake.unavailable = 1
    with pytest.raises(Unavailable):
        await sources.door("two", "push").push(b"1", "prn_a")
    assert sources.failing == {"two": "not now"}
    await sources.door("two", "push").push(b"1", "prn_a")
    assert sources.failing == {}


async def test_a_file_is_read_by_what_the_settings_say(tmp_path: Path) -> None:
    logging.getLogger().setLevel(logging.INFO)
    (tmp_path / "app.log").write_text("one\ntwo\n")
    intake = FakeIntake()
    named = sections(app={**FILE, "begin": "start"})
    sources = Sources(named, intake, lambda _: True, tmp_path)
    await sources.start()
    assert await intake.until("app", 2) == [b"one", b"two"]
    await sources.stop()


@pytest.mark.parametrize(
    "section",
    [
        FILE,
        SYSLOG,
        {"kind": "journald", "reader": "lines", "units": ["ssh.service"], "journal": "j"},
        {"kind": "directory", "reader": "lines", "path": "trail/*.gz"},
        {"kind": "s3", "reader": "lines", "bucket": "trail", "region": "eu-west-1"},
    ],
)
def test_every_kind_that_is_not_posted_has_a_transport(
    section: dict[str, Any], tmp_path: Path
) -> None:
    (made,) = sections(one=section).values()
    assert transport_of("one", made, tmp_path) is not None


def test_an_endpoint_that_is_no_address_is_refused(tmp_path: Path) -> None:
    section = {"kind": "s3", "reader": "x", "bucket": "trail", "endpoint": "s3.example.com"}
    (made,) = sections(one=section).values()
    with pytest.raises(ConfigInvalid, match=r"sources\.one\.endpoint"):
        transport_of("one", made, tmp_path)


# --- several nodes -------------------------------------------------------------------------------


@dataclass
class Lost(FakeIntake):
    """Keeps what it is given; of every third piece that it says so, nobody hears."""

    async def take(
        self,
        source: str,
        records: Sequence[bytes],
        cursor: str | None = None,
        *,
        after: str | None = None,
    ) -> Counted:
        found = await super().take(source, records, cursor, after=after)
        if self.takes % 3 == 0:
            raise Unavailable("the connection is lost")
        return found


@pytest.mark.parametrize("intake", [FakeIntake, Lost])
async def test_two_nodes_that_both_believe_to_lead_read_every_line_once(
    tmp_path: Path, intake: type[FakeIntake]
) -> None:
    """As after a pause of one of them: the store knows better who is where."""
    shared, path = intake(), tmp_path / "app.log"
    path.write_text("")

    async def soon(stop: asyncio.Event, seconds: float) -> None:
        await pause(stop, min(seconds, 0.002))

    def make(name: str, section: SourceSection, folder: Path) -> Transport:
        return File(name, str(section.path), folder, from_start=True, pause=soon)

    nodes = [
        Sources(
            sections(app={**FILE, "begin": "start"}), shared, lambda _: True, tmp_path, make=make,
            pause=soon,
        )
        for _ in range(2)
    ]  # fmt: skip
    for node in nodes:
        await node.start()
    lines = [b"line %d" % n for n in range(300)]
    with path.open("ab", buffering=0) as log:
        for start in range(0, len(lines), 10):
            log.write(b"".join(each + b"\n" for each in lines[start : start + 10]))
            await shared.until("app", start + 5)
    found = await shared.until("app", len(lines))
    for node in nodes:
        await node.stop()
    assert found == lines == shared.kept("app")
    assert shared.misses == []
    restarts = [line for node in nodes for line in node.metrics() if "restarts_total{" in line]
    assert not all(line.endswith(" 0") for line in restarts)  # they did meet
