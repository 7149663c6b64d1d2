"""Files that grow: every line once, however they are rotated, and what was lost is said."""

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Iterator
from glob import glob
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.errors import Unavailable
from muniment.oversight.event import MAX_RECORD
from muniment.runtime.sources import found
from muniment.runtime.sources.file import LINGER, MAX_OPEN, File, Tail
from muniment.runtime.sources.found import Found, find
from muniment.runtime.sources.places import FileId, Place
from muniment.testing.fake_intake import FakeIntake, Lines


class Clock:
    """Elapsed seconds, as far as a test lets them pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Reading:
    """A tail, what it gave, and how it is begun anew."""

    def __init__(self, pattern: Path, *, from_start: bool = True) -> None:
        self.pattern, self.clock = str(pattern), Clock()
        self.lines: list[bytes] = []
        self.losses = 0
        self.cursor: str | None = None
        self.tail = Tail(self.pattern, Lines, elapsed=self.clock)
        if not from_start:
            self.tail.skip()
            self.cursor = self.tail.cursor

    def look(self) -> list[bytes]:
        """All that is there now."""
        began = len(self.lines)
        while True:
            piece = self.tail.look()
            self.lines += piece.records
            self.losses += piece.lost
            if piece.news:
                self.cursor = piece.cursor
            if not piece.records:
                return self.lines[began:]

    def begin_anew(self) -> None:
        """As after a kill: nothing is known but what was kept."""
        self.tail.close()
        self.tail = Tail(self.pattern, Lines, self.cursor, elapsed=self.clock)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


@pytest.fixture
def reading(log: Path) -> Iterator[Reading]:
    found = Reading(log)
    yield found
    found.tail.close()


def write(file: Path, *lines: str, end: str = "\n") -> None:
    with file.open("a") as opened:
        opened.write("\n".join(lines) + end)
        opened.flush()
    later(file)


_LATER = iter(range(1, 1 << 40))


def later(file: Path) -> None:
    """Whatever was written later was changed later, however coarse the clock of the disk is."""
    stamp = 1_700_000_000_000_000_000 + next(_LATER) * 1_000_000
    os.utime(file, ns=(stamp, stamp))


def test_lines_come_as_they_are_written_and_a_half_one_waits(log: Path, reading: Reading) -> None:
    assert reading.look() == []
    write(log, "one", "two")
    assert reading.look() == [b"one", b"two"]
    write(log, "thr", end="")
    assert reading.look() == []
    write(log, "ee", "four", "fi", end="")
    assert reading.look() == [b"three", b"four"]
    assert reading.losses == 0


def test_by_default_what_was_there_before_is_left_out(log: Path) -> None:
    write(log, "old", "older", "half", end="")
    reading = Reading(log, from_start=False)
    assert reading.look() == []
    write(log, " of it", "new")
    reading.begin_anew()
    assert reading.look() == [b"half of it", b"new"]


def test_a_file_that_was_not_there_at_first_is_read_whole(log: Path) -> None:
    reading = Reading(log, from_start=False)
    write(log, "first")
    reading.begin_anew()
    assert reading.look() == [b"first"]


@pytest.mark.parametrize("anew", [False, True], ids=["running", "begun anew"])
def test_a_renamed_file_is_read_to_its_end_before_the_new_one(
    log: Path, reading: Reading, anew: bool
) -> None:
    write(log, "one")
    reading.look()
    write(log, "two")
    moved = log.rename(log.with_name("app.log.1"))
    write(log, "four")
    write(moved, "three")  # whoever had it open goes on for a moment
    later(log)
    if anew:
        reading.begin_anew()
    assert reading.look() == [b"two", b"three", b"four"]
    assert reading.losses == 0


@pytest.mark.parametrize("anew", [False, True], ids=["running", "begun anew"])
def test_rotations_that_nobody_saw_are_read_in_their_order(
    log: Path, reading: Reading, anew: bool
) -> None:
    write(log, "one")
    reading.look()
    for number in range(2, 5):
        for old in (3, 2, 1):
            if (there := log.with_name(f"app.log.{old}")).exists():
                there.rename(log.with_name(f"app.log.{old + 1}"))
        log.rename(log.with_name("app.log.1"))
        write(log, f"line {number}")
    if anew:
        reading.begin_anew()
    assert reading.look() == [b"line 2", b"line 3", b"line 4"]
    assert reading.losses == 0


def test_lines_that_are_all_the_same_are_read_through_every_renaming(
    log: Path, reading: Reading
) -> None:
    reading.look()
    for number in (3, 2, 4, 1):
        write(log, *["the same"] * number)
        reading.look()
        shift(log)
        log.rename(log.with_name("app.log.1"))
        if number == 4:
            reading.begin_anew()
    reading.look()
    assert reading.lines == [b"the same"] * 10


def test_files_of_one_moment_are_read_as_their_rotation_names_them(
    log: Path, reading: Reading
) -> None:
    reading.look()
    for name in ("app.log", "app.log.1", "app.log.10", "app.log.2"):
        write(log.with_name(name), f"in {name}")
        os.utime(log.with_name(name), (1_700_000_000,) * 2)
    assert reading.look() == [b"in app.log.10", b"in app.log.2", b"in app.log.1", b"in app.log"]


@pytest.mark.parametrize("anew", [False, True], ids=["running", "begun anew"])
def test_a_file_that_was_copied_and_cut_off_is_read_on_in_its_copy(
    log: Path, reading: Reading, anew: bool
) -> None:
    write(log, "one", "two")
    reading.look()
    write(log, "three")
    shutil.copy(log, copy := log.with_name("app.log.1"))
    later(copy)
    os.truncate(log, 0)
    write(log, "four")
    if anew:
        reading.begin_anew()
    assert reading.look() == [b"three", b"four"]
    write(log, "five")
    reading.begin_anew()
    assert reading.look() == [b"five"]
    assert reading.losses == 0


def test_a_copy_of_a_file_that_is_still_there_is_not_read_twice(
    log: Path, reading: Reading
) -> None:
    write(log, "one", "two")
    reading.look()
    write(log, "three")
    copy = log.with_name("app.log.1")
    copy.write_bytes(log.read_bytes()[:6])  # in the making
    later(copy)
    assert reading.look() == [b"three"]
    copy.write_bytes(log.read_bytes())
    later(copy)
    assert reading.look() == []
    os.truncate(log, 0)
    write(log, "four")
    assert reading.look() == [b"four"]
    assert (reading.lines, reading.losses) == ([b"one", b"two", b"three", b"four"], 0)


def test_a_copy_that_somebody_made_is_not_read_when_its_original_goes(
    log: Path, reading: Reading
) -> None:
    write(log, "one", "two")
    reading.look()
    shutil.copy(log, log.with_name("app.log-mine"))  # years later, by the clock of the disk
    reading.look()
    log.unlink()
    reading.look()
    reading.clock.now += LINGER
    reading.look()
    write(log, "three")
    reading.look()
    reading.begin_anew()
    reading.look()
    assert (reading.lines, reading.losses) == ([b"one", b"two", b"three"], 0)


@pytest.mark.parametrize("anew", [False, True], ids=["running", "begun anew"])
def test_a_file_that_was_cut_off_without_a_copy_is_a_loss(
    log: Path, reading: Reading, anew: bool
) -> None:
    write(log, "one", "two")
    reading.look()
    os.truncate(log, 0)
    write(log, "three, which makes it longer than it was")
    if anew:
        reading.begin_anew()
    assert reading.look() == [b"three, which makes it longer than it was"]
    assert reading.losses == 1


def test_a_file_that_was_written_over_is_a_loss_though_it_is_no_shorter(
    log: Path, reading: Reading
) -> None:
    write(log, "one", "two")
    reading.look()
    log.write_text("ONE\nTWO\n")
    later(log)
    assert reading.look() == [b"ONE", b"TWO"]
    assert reading.losses == 1


def test_a_file_that_is_removed_while_we_read_is_read_to_its_end(
    log: Path, reading: Reading
) -> None:
    write(log, "one")
    reading.look()
    with log.open("a") as opened:
        log.unlink()
        opened.write("two\nlast, without an end")
        opened.flush()
        assert reading.look() == [b"two"]
        reading.clock.now += LINGER
        assert reading.look() == [b"last, without an end"]
    reading.clock.now += LINGER
    reading.look()
    assert (reading.tail.count, reading.losses) == (0, 0)


def test_a_file_that_was_removed_while_nobody_read_is_a_loss(log: Path, reading: Reading) -> None:
    write(log, "one")
    reading.look()
    log.unlink()
    write(log, "two")
    reading.begin_anew()
    assert reading.look() == [b"two"]
    assert reading.losses == 1


def test_an_older_file_that_was_read_may_be_removed(log: Path, reading: Reading) -> None:
    write(log, "one")
    reading.look()
    old = log.rename(log.with_name("app.log.1"))
    write(log, "two")
    reading.look()
    old.unlink()
    reading.begin_anew()
    assert (reading.look(), reading.losses) == ([], 0)


@pytest.mark.parametrize("moment", range(1, 4))
def test_a_rotation_while_names_are_read_hides_no_file(
    log: Path, reading: Reading, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Of each look a different part is over when all files get other names."""
    write(log, "one")
    reading.look()
    log.rename(log.with_name("app.log.1"))
    write(log, "two")
    reading.look()
    reading.clock.now += LINGER  # whoever wrote to the first has gone

    asked = 0

    def rotating(pattern: str, *, recursive: bool) -> list[str]:
        nonlocal asked
        asked += 1
        names = glob(pattern, recursive=recursive)  # noqa: PTH207 (what is replaced)
        if asked == moment:
            log.with_name("app.log.1").rename(log.with_name("app.log.2"))
            log.rename(log.with_name("app.log.1"))
            write(log, "three")
        return names

    monkeypatch.setattr(found, "glob", rotating)
    reading.begin_anew()
    reading.look()
    assert reading.lines == [b"one", b"two", b"three"]
    assert reading.losses == 0


@pytest.mark.parametrize("killed", [False, True])
def test_a_copy_that_is_renamed_between_the_look_at_its_folder_and_its_opening_is_known(
    log: Path, reading: Reading, monkeypatch: pytest.MonkeyPatch, *, killed: bool
) -> None:
    write(log, "one", "two")
    reading.look()
    copy = log.with_name("app.log.1")
    shutil.copy(log, copy)
    later(copy)
    os.truncate(log, 0)
    write(log, "three")

    def overtaken(pattern: str) -> dict[FileId, Found]:
        listed = find(pattern)
        if copy.exists():
            copy.rename(log.with_name("app.log.2"))
        return listed

    monkeypatch.setattr("muniment.runtime.sources.file.find", overtaken)
    if killed:
        reading.begin_anew()
    reading.look()
    assert reading.lines == [b"one", b"two", b"three"]
    assert reading.losses == 0


@pytest.mark.parametrize("longer", [False, True])
@pytest.mark.parametrize("read_before", [False, True])
def test_a_file_that_is_cut_off_while_it_is_read_is_neither_skipped_nor_read_twice(
    log: Path, reading: Reading, monkeypatch: pytest.MonkeyPatch, *, read_before: bool, longer: bool
) -> None:
    write(log, "one")
    if read_before:
        reading.look()
    write(log, "two")
    copy, moved = log.with_name("app.log.1"), Place.moved
    new = ["three " + 99 * "x", "four"] if longer else ["3"]

    def overtaken(place: Place, fd: int, at: int) -> Place:
        if not copy.exists():
            shutil.copy(log, copy)
            later(copy)
            os.truncate(log, 0)
            write(log, *new)
        return moved(place, fd, at)

    monkeypatch.setattr(Place, "moved", overtaken)
    reading.look()
    reading.look()
    assert reading.lines == [b"one", b"two", *(line.encode() for line in new)]
    assert reading.losses == 0


def test_a_name_that_leads_to_nothing_costs_no_other_file(
    log: Path, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    ghost = Found(str(log.with_name("app.log.1")), size=7, changed=1, asked=False)
    monkeypatch.setattr(
        "muniment.runtime.sources.file.find", lambda pattern: {(0, 0): ghost, **find(pattern)}
    )
    write(log, "one")
    assert reading.look() == [b"one"]
    assert reading.losses == 0


def test_a_file_that_is_shorter_than_it_says_costs_no_other(
    log: Path, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of `/sys` are."""
    write(odd := log.with_name("app.log.1"), "odd")
    inode, fstat = odd.stat().st_ino, os.fstat

    def said(fd: int) -> object:
        seen = fstat(fd)
        more = 4096 if seen.st_ino == inode else 0
        return SimpleNamespace(
            st_dev=seen.st_dev,
            st_ino=seen.st_ino,
            st_size=seen.st_size + more,
            st_mtime_ns=seen.st_mtime_ns,
        )

    reading.look()
    write(odd, "odd")
    monkeypatch.setattr(os, "fstat", said)
    reading.begin_anew()
    write(log, "one")
    assert reading.look() == [b"one"]


def test_an_inode_that_is_used_again_is_another_file(log: Path, reading: Reading) -> None:
    write(log, "one", "two")
    reading.look()
    cursor = json.loads(reading.cursor or "")
    log.write_text("eleven\ntwelve\n")  # the inode stays
    assert log.stat().st_ino == cursor["files"][0][1]
    reading.begin_anew()
    assert reading.look() == [b"eleven", b"twelve"]
    assert reading.losses == 1


def test_new_names_of_one_pattern_are_read_in_their_order(tmp_path: Path) -> None:
    reading = Reading(tmp_path / "postgresql-*.json")
    for number in (3, 1, 2):
        write(tmp_path / f"postgresql-{number}.json", f"line {number}")
    (tmp_path / "postgresql-0.json.gz").write_bytes(b"packed")
    assert reading.look() == [b"line 3", b"line 1", b"line 2"]
    write(tmp_path / "postgresql-1.json", "a late one")
    reading.begin_anew()
    assert reading.look() == [b"a late one"]
    reading.tail.close()


def test_new_files_that_begin_alike_are_no_copies_of_one_another(tmp_path: Path) -> None:
    reading = Reading(tmp_path / "*.csv")
    head = "a,b," + "c" * 300
    for number in range(3):
        write(tmp_path / f"{number}.csv", head, f"1,{number}")
        reading.look()
    assert [line for line in reading.lines if line != head.encode()] == [b"1,0", b"1,1", b"1,2"]
    reading.tail.close()


def test_old_files_are_closed_once_they_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniment.runtime.sources.file.MAX_OPEN", 20)
    day, count = 24 * 3600, 60
    for number in range(count):
        file = tmp_path / f"{number:04}.log"
        file.write_text(f"{number}\n")
        os.utime(file, (1_700_000_000 + number * day,) * 2)
    reading = Reading(tmp_path / "*.log")
    assert reading.look() == [str(number).encode() for number in range(count)]
    assert reading.tail.count < 5
    assert len(reading.cursor or "") < 1000
    reading.begin_anew()
    assert reading.look() == []
    reading.tail.close()
    assert Reading(tmp_path / "*.log", from_start=False).tail.count < 5


def test_too_many_files_that_are_written_to_are_refused(tmp_path: Path) -> None:
    for number in range(MAX_OPEN + 1):
        (tmp_path / f"{number}.log").write_text(f"{number}\n")
    reading = Reading(tmp_path / "*.log")
    with pytest.raises(Unavailable, match="divide them"):
        reading.look()
    assert len(reading.lines) == MAX_OPEN
    reading.tail.close()


def test_a_line_without_an_end_costs_only_itself(log: Path, reading: Reading) -> None:
    with log.open("wb") as opened:
        opened.write(b"one\n" + b"x" * (10 << 20) + b"\ntwo\n")
    assert [line[:4] for line in reading.look()] == [b"one", b"xxxx", b"two"]
    assert MAX_RECORD < max(len(line) for line in reading.lines) < 2 * MAX_RECORD


def test_the_end_of_a_line_that_was_too_long_is_no_line_and_costs_no_other_file(
    tmp_path: Path,
) -> None:
    reading = Reading(tmp_path / "*.log")
    (tmp_path / "a.log").write_bytes(b"x" * (3 << 20))
    later(tmp_path / "a.log")
    write(tmp_path / "b.log", "of another file")
    reading.look()
    write(tmp_path / "a.log", "forged", "true")
    reading.look()
    assert [line for line in reading.lines if not line.startswith(b"x")] == [
        b"of another file",
        b"true",
    ]
    reading.tail.close()


def test_many_small_records_come_in_several_pieces(log: Path, reading: Reading) -> None:
    log.write_bytes(b"x\n" * 100_000)
    pieces = []
    while (piece := reading.tail.look()).records:
        pieces.append(len(piece.records))
    assert max(pieces) <= 5000
    assert sum(pieces) == 100_000


def test_a_long_record_before_many_small_ones_holds_nothing_up(log: Path, reading: Reading) -> None:
    log.write_bytes(b"y" * 900_000 + b"\n" + b"x\n" * 60_000)
    assert len(reading.look()) == 60_001


def test_a_damaged_cursor_is_a_loss_and_no_end(log: Path, reading: Reading) -> None:
    write(log, "one")
    reading.look()
    for cursor in ("", "[]", "{", '{"v":2}', '{"v":1,"floor":0,"files":[[1]]}'):
        reading.cursor = cursor
        reading.begin_anew()
        assert reading.look() == [b"one"]
    assert reading.losses == 5


def test_what_is_no_plain_file_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "folder.log").mkdir()
    (tmp_path / "link.log").symlink_to(tmp_path / "nowhere")
    write(tmp_path / "plain.log", "one")
    (tmp_path / "again.log").symlink_to(tmp_path / "plain.log")
    reading = Reading(tmp_path / "*.log")
    assert reading.look() == [b"one"]
    reading.tail.close()


# --- any history, with the reader killed at any moment -------------------------------------------

STEPS = st.lists(
    st.sampled_from(["write", "write", "look", "look", "rename", "copy", "kill", "half"]),
    max_size=40,
)


@given(steps=STEPS)
@settings(max_examples=300, deadline=None)
def test_every_line_comes_once_whatever_is_done_to_the_file(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    log = tmp_path_factory.mktemp("any") / "app.log"
    reading, written, half = Reading(log), 0, False
    reading.look()
    acts: dict[str, Callable[[], object]] = {
        "look": reading.look,
        "kill": reading.begin_anew,
        "rename": lambda: rename(log),
        "copy": lambda: copy_and_cut(log),
    }
    for step in steps:
        if step in ("write", "half"):
            whole = step == "write"
            write(log, ("" if half else f"line {written}"), end="\n" if whole else "")
            written, half = written + whole, not whole
        elif not half:  # whoever writes a line ends it before the file is rotated
            acts[step]()
    if half:
        write(log, "")
        written += 1
    reading.look()
    reading.tail.close()
    assert sorted(reading.lines) == sorted(f"line {n}".encode() for n in range(written))


def rename(log: Path) -> None:
    if log.exists():
        shift(log)
        log.rename(log.with_name("app.log.1"))


def copy_and_cut(log: Path) -> None:
    if log.exists():
        shift(log)
        shutil.copy(log, copy := log.with_name("app.log.1"))
        later(copy)
        os.truncate(log, 0)
        later(log)


def shift(log: Path) -> None:
    for number in range(50, 0, -1):
        if (old := log.with_name(f"app.log.{number}")).exists():
            old.rename(log.with_name(f"app.log.{number + 1}"))


# --- the transport -------------------------------------------------------------------------------


class Pauses:
    """Lets a test see that nothing is to be done now, and go on."""

    def __init__(self) -> None:
        self.idle = asyncio.Event()

    async def __call__(self, stop: asyncio.Event, seconds: float) -> None:
        assert seconds > 0
        self.idle.set()
        await asyncio.sleep(0)

    async def rest(self) -> None:
        """Until all that was there before this call was handed on."""
        for _ in range(3):
            self.idle.clear()
            await self.idle.wait()


async def test_the_transport_hands_on_with_its_cursor_and_goes_on_there(log: Path) -> None:
    intake, stop, pauses = FakeIntake(), asyncio.Event(), Pauses()
    write(log, "before our time")
    for line in ("one", "two"):
        stop.clear()
        file = File("app", log.name, log.parent, from_start=False, pause=pauses)
        task = asyncio.create_task(file.run(intake, stop))
        await pauses.rest()
        write(log, line)
        await pauses.rest()
        stop.set()
        await task
    assert intake.kept("app") == [b"one", b"two"]
    assert intake.misses == []


async def test_what_cannot_be_kept_now_is_handed_on_until_it_is(log: Path) -> None:
    intake, stop, pauses = FakeIntake(unavailable=5), asyncio.Event(), Pauses()
    write(log, "one")
    file = File("app", str(log), Path("/nowhere"), from_start=True, pause=pauses)
    task = asyncio.create_task(file.run(intake, stop))
    while not intake.kept("app"):
        await pauses.rest()
    stop.set()
    await task
    assert intake.kept("app") == [b"one"]
    assert intake.takes > 5


async def test_a_loss_is_recorded(log: Path) -> None:
    intake, stop, pauses = FakeIntake(), asyncio.Event(), Pauses()
    write(log, "one")
    task = asyncio.create_task(
        File("app", str(log), log.parent, from_start=True, pause=pauses).run(intake, stop)
    )
    await pauses.rest()
    os.truncate(log, 0)
    write(log, "2")
    while intake.kept("app") != [b"one", b"2"]:
        await pauses.rest()
    stop.set()
    await task
    assert intake.misses == [("app", "cursor", None)]
