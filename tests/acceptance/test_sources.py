"""Sources as they are: a program that writes and rotates, a reader that is killed, foreign senders."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from muniment.runtime.source_section import SourceSection
from muniment.runtime.sources.syslog import Syslog
from muniment.testing.fake_intake import FakeIntake

#: seconds that a whole history may take
PATIENCE = 60
#: so many lines at least, and so many readers that are killed while they are written
LINES, KILLS = 6000, 4

#: writes numbered lines, and rotates as it is told: by a new name, or by a copy
WRITER = """
import itertools, os, pathlib, random, shutil, sys, time
log, how, count = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
chance, enough = random.Random(int(sys.argv[4])), pathlib.Path(sys.argv[5])

def shift():
    for number in range(99, 0, -1):
        old = log.with_name(f"{log.name}.{number}")
        if old.exists():
            old.rename(log.with_name(f"{log.name}.{number + 1}"))

file = log.open("ab", buffering=0)
for number in itertools.count():
    if number >= count and enough.exists():
        break
    line = b"line %d %s\\n" % (number, b"x" * chance.randrange(200))
    cut = chance.randrange(len(line))
    file.write(line[:cut])
    file.write(line[cut:])
    if number % 5 == 0:
        time.sleep(0.002)  # as long as it writes, readers come and go
    if chance.randrange(200) == 0:
        shift()
        if how == "rename":
            log.rename(log.with_name(log.name + ".1"))
            file.close()
            file = log.open("ab", buffering=0)
        else:
            shutil.copy(log, log.with_name(log.name + ".1"))
            os.truncate(log, 0)
print(number)
"""

#: reads into a database, until it is killed
READER = """
import asyncio, pathlib, sys
from muniment.runtime.sources.file import File
from muniment.testing.fake_intake import FakeIntake

async def main():
    log = pathlib.Path(sys.argv[1])
    intake = FakeIntake(pathlib.Path(sys.argv[2]))
    print("reads", flush=True)
    await File("app", str(log), log.parent, from_start=True).run(intake, asyncio.Event())

asyncio.run(main())
"""


@contextlib.contextmanager
def running(*command: str) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(
        [sys.executable, "-c", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)


def begun(
    log: Path, database: Path
) -> "contextlib.AbstractContextManager[subprocess.Popen[bytes]]":
    return running(READER, str(log), str(database))


@pytest.mark.deep
@pytest.mark.alone
@pytest.mark.parametrize("how", ["rename", "copy"])
async def test_every_line_comes_once_while_its_file_is_rotated_and_its_reader_killed(
    tmp_path: Path, how: str
) -> None:
    log, database = tmp_path / "app.log", tmp_path / "kept.db"
    log.touch()
    chance, kills = random.Random(how), 0
    intake = FakeIntake(database)
    with begun(log, database):  # what was rotated away before its time is not read
        await wait_until(lambda: intake.cursor("app") is not None)
    enough = tmp_path / "enough"
    with running(WRITER, str(log), how, str(LINES), "7", str(enough)) as writer:
        while writer.poll() is None:
            with begun(log, database) as reader:
                assert reader.stdout is not None
                reader.stdout.readline()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    writer.wait(chance.uniform(0.01, 0.2))
                reader.kill()
                kills += 1
                if kills == KILLS:
                    enough.touch()
        assert writer.returncode == 0, writer.stderr and writer.stderr.read().decode()
        assert writer.stdout is not None
        lines = int(writer.stdout.read())
    with begun(log, database):
        await wait_until(lambda: len(intake.kept("app")) >= lines)
    numbers = [int(line.split()[1]) for line in intake.kept("app")]
    assert sorted(numbers) == list(range(lines))
    assert numbers == sorted(numbers)
    assert intake.misses == []
    assert lines >= LINES
    assert kills >= KILLS
    intake.close()


async def wait_until(holds: Callable[[], bool]) -> None:
    """Another process writes: there is nothing to wait for but what it has written."""
    for _ in range(PATIENCE * 20):
        if holds():
            return
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("options", [["--octet-count", "--rfc5424"], ["--rfc5424"]])
async def test_what_logger_sends_by_tcp_is_kept_as_it_is(options: list[str]) -> None:
    """Of util-linux: it was not written by us."""
    program = shutil.which("logger")
    if program is None:
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("`logger` is not on this machine")
    section = SourceSection.model_validate(
        {"kind": "syslog", "reader": "sshd", "listen": "127.0.0.1:0"}
    )
    port, stop = asyncio.get_running_loop().create_future(), asyncio.Event()
    intake = FakeIntake()
    syslog = Syslog("sys", section, Path(), on_listening=port.set_result)
    task = asyncio.create_task(syslog.run(intake, stop))
    for number in range(3):
        command = ("-n", "127.0.0.1", "-P", str(await port), "-T", *options, "-t", "sshd")
        sent = await asyncio.create_subprocess_exec(program, *command, f"line {number}")
        assert await sent.wait() == 0
    kept = await intake.until("sys", 3)
    stop.set()
    await task
    assert [each.rsplit(b" ", 1)[1] for each in sorted(kept)] == [b"0", b"1", b"2"]
    assert all(each.startswith(b"<13>1 ") for each in kept)
