"""The journal, as a stand-in for `journalctl` tells it that reads its entries from a file."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.errors import TargetUnavailable
from muniment.oversight.event import MAX_RECORD
from muniment.runtime.sources.journald import Entries, Journald
from muniment.testing.fake_intake import FakeIntake

#: follows `journal` beside itself; says in `asked` how it was called
STAND_IN = f"""#!{sys.executable}
import json, pathlib, sys, time
here = pathlib.Path(__file__).parent
options = dict(arg.lstrip("-").partition("=")[::2] for arg in sys.argv[1:])
with (here / "asked").open("a") as asked:
    asked.write(json.dumps(sys.argv[1:]) + "\\n")
if (here / "broken").exists():
    sys.exit("Failed to open the journal:\\x1b[31m no\\nlog: forged")
lines = (here / "journal").read_bytes().splitlines(keepends=True)
cursors = [json.loads(line)["__CURSOR"] for line in lines if line.startswith(b"{{")]
if "lines" in options:
    begin = len(lines) - int(options["lines"])
elif "cursor" in options:  # at it, or at the nearest behind it
    begin = next((i for i, c in enumerate(cursors) if c >= options["cursor"]), len(lines))
else:
    begin = 0
done = begin
while True:
    lines = (here / "journal").read_bytes().splitlines(keepends=True)
    for line in lines[done:]:
        sys.stdout.buffer.write(line)
        done += 1
    sys.stdout.flush()
    if "follow" not in options:
        break
    time.sleep(0.005)
"""


class Journal:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "journalctl"
        self.program.write_text(STAND_IN)
        self.program.chmod(0o700)
        self.path = folder / "journal"
        self.path.touch()
        self.count = 0

    def write(self, *messages: str) -> None:
        with self.path.open("ab") as file:
            for message in messages:
                self.count += 1
                file.write(entry(self.count, message))

    def forget(self, count: int) -> None:
        lines = self.path.read_bytes().splitlines(keepends=True)
        self.path.write_bytes(b"".join(lines[count:]))

    @property
    def asked(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "asked").read_text().splitlines()]

    def source(self, **options: Any) -> Journald:
        given = {"from_start": True, "quiet": 0.05, **options}
        return Journald("ssh", program=str(self.program), **given)


def entry(number: int, message: str) -> bytes:
    return json.dumps({"__CURSOR": f"s={number:04}", "MESSAGE": message}).encode() + b"\n"


def messages(intake: FakeIntake) -> list[str]:
    return [json.loads(each)["MESSAGE"] for each in intake.kept("ssh")]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


@contextlib.asynccontextmanager
async def running(source: Journald, intake: FakeIntake) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(source.run(intake, stop))
    yield
    stop.set()
    await task


async def test_entries_come_once_and_go_on_at_the_cursor(journal: Journal) -> None:
    intake = FakeIntake()
    journal.write("one", "two")
    async with running(journal.source(), intake):
        await intake.until("ssh", 2)
        journal.write("three")
        await intake.until("ssh", 3)
    journal.write("four")
    async with running(journal.source(), intake):
        await intake.until("ssh", 4)
    assert messages(intake) == ["one", "two", "three", "four"]
    assert intake.misses == []
    assert intake.cursor("ssh") == "s=0004"


async def test_by_default_it_begins_behind_the_newest_entry(journal: Journal) -> None:
    intake = FakeIntake()
    journal.write("before our time")
    async with running(journal.source(from_start=False), intake):
        while intake.cursor("ssh") is None:
            intake.taken.clear()
            await intake.taken.wait()
    journal.write("while nobody read")
    async with running(journal.source(from_start=False), intake):
        await intake.until("ssh", 1)
    assert messages(intake) == ["while nobody read"]


async def test_a_journal_that_has_forgotten_where_it_was_left_is_a_loss(journal: Journal) -> None:
    intake = FakeIntake()
    journal.write("one", "two")
    async with running(journal.source(), intake):
        await intake.until("ssh", 2)
    journal.write("three", "four")
    journal.forget(3)
    async with running(journal.source(), intake):
        await intake.until("ssh", 3)
    assert messages(intake) == ["one", "two", "four"]
    assert intake.misses == [("ssh", "cursor", None)]


async def test_units_and_folder_are_options_of_their_own(journal: Journal) -> None:
    intake = FakeIntake()
    journal.write("one")
    source = journal.source(units=["ssh.service", "sudo"], journal=Path("/host/journal"))
    async with running(source, intake):
        await intake.until("ssh", 1)
    (asked,) = journal.asked
    assert {"--unit=ssh.service", "--unit=sudo", "--directory=/host/journal"} < set(asked)
    assert {"--output=json", "--all", "--follow", "--no-tail"} < set(asked)


async def test_a_silence_is_a_sign_of_life(journal: Journal) -> None:
    intake = FakeIntake()
    async with running(journal.source(), intake), asyncio.timeout(10):
        while intake.takes < 3:
            intake.taken.clear()
            await intake.taken.wait()
    assert intake.kept("ssh") == []


async def test_what_it_says_of_its_troubles_is_told_in_one_line(journal: Journal) -> None:
    (journal.folder / "broken").touch()
    with pytest.raises(TargetUnavailable, match="Failed to open the journal") as failed:
        await journal.source().run(FakeIntake(), asyncio.Event())
    assert str(failed.value).isprintable()


async def test_a_program_that_is_not_there_is_said(journal: Journal) -> None:
    source = Journald("ssh", from_start=True, program=str(journal.folder / "nothing"))
    with pytest.raises(TargetUnavailable, match="cannot be run"):
        await source.run(FakeIntake(), asyncio.Event())


async def test_it_ends_with_its_program(journal: Journal) -> None:
    """A program that was ended by somebody is begun anew by whoever supervises it."""
    intake = FakeIntake()
    journal.write("one")
    journal.program.write_text(f'#!{sys.executable}\nprint(\'{{"__CURSOR": "s=0001"}}\')\n')
    with pytest.raises(TargetUnavailable, match="ended"):
        await journal.source().run(intake, asyncio.Event())
    assert len(intake.kept("ssh")) == 1


@given(
    lines=st.lists(st.binary(min_size=1).map(lambda line: line.replace(b"\n", b"."))),
    size=st.integers(1, 30),
)
def test_lines_come_whole_however_they_are_cut(lines: list[bytes], size: int) -> None:
    stream, entries, found = b"\n".join([*lines, b""]), Entries(), list[bytes]()
    for at in range(0, len(stream), size):
        found += entries.feed(stream[at : at + size])
    assert found == lines


def test_an_entry_that_is_too_long_is_cut_and_the_next_one_is_whole() -> None:
    entries, found = Entries(), list[bytes]()
    stream = b"x" * (10 << 20) + b"\n" + entry(2, "two")
    for at in range(0, len(stream), 65_536):
        found += entries.feed(stream[at : at + 65_536])
    assert [len(each) for each in found] == [MAX_RECORD + 1, len(entry(2, "two")) - 1]
