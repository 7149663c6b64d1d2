"""
A process that appends and publishes, while its system calls fail or kill it, or the disk is full.

After every run: the log opens again, a full audit finds nothing, and every record that the process
had a receipt for, and every checkpoint that it published, is there as it was. The process is this
file run as a program.
"""

import contextlib
import os
import random
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from muniment.errors import LogUnavailable, Stale
from muniment.evidence.checkpoint import open_checkpoint
from muniment.evidence.note import SigningKey
from muniment.evidence.store import Published
from muniment.stores import sqlite
from muniment.testing.faulty import ORIGIN, new_case
from muniment.testing.trial_log import TrialLog

pytestmark = pytest.mark.deep

#: what SQLite and the head store do to their files, and how each can fail
SYSCALLS = {
    "openat": ("error=EIO", "error=EMFILE", "signal=KILL"),
    "newfstatat": ("error=EIO", "signal=KILL"),
    "pread64": ("error=EIO", "signal=KILL"),
    "pwrite64": ("error=EIO", "error=ENOSPC", "signal=KILL"),
    "fdatasync": ("error=EIO", "error=ENOSPC", "signal=KILL"),
    "ftruncate": ("error=EIO", "signal=KILL"),
    "fcntl": ("error=EIO", "signal=KILL"),
    "flock": ("error=EIO", "signal=KILL"),
    "fchown": ("error=EIO", "signal=KILL"),
    "close": ("error=EIO", "signal=KILL"),
}
#: what an append does besides: our own pipe, and memory of which Python has some, too
OTHERS = {"write", "read", "mmap"}
APPENDS = 6
#: one of so many appends is followed by a publication of its checkpoint
PUBLISHES = 3
PATIENCE = 60


# --- the process that appends --------------------------------------------------------------------


def appender(folder: Path, skey: str, appends: int, writers: int) -> None:
    """Say `ready`, wait for a line, append, and print what was acknowledged, a record a line."""
    plain, patient = sqlite.connect, sqlite3.connect

    def connect(path: Path) -> sqlite3.Connection:
        connection = plain(path)
        # so small that the write-ahead log is written back while we append
        connection.execute("PRAGMA wal_autocheckpoint = 10")
        return connection

    def impatient(path: Path, **options: Any) -> sqlite3.Connection:
        # a lock that cannot be had for an error is taken for somebody else's, and waited for
        made: sqlite3.Connection = patient(path, **{**options, "timeout": 0.05})
        return made

    sqlite.connect, sqlite3.connect = connect, impatient  # type: ignore[assignment]
    trial = TrialLog(folder, key=SigningKey.parse(skey))
    say("ready")
    sys.stdin.readline()
    threads = [threading.Thread(target=append, args=(trial, appends)) for _ in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say("done")
    os._exit(0)


def append(trial: TrialLog, appends: int) -> None:
    """Until so many were written; an error is the disk's, and is followed by another try."""
    case = new_case()
    for number in range(appends):
        try:
            reads = {case: trial.log.head(case)}
            draft = trial.draft(case, sections={"note": os.urandom(3000)})
            for entry in trial.append(draft, reads=reads):
                say(f"{entry.index} {entry.leaf.hex()}")
            if number % PUBLISHES == PUBLISHES - 1:
                note = trial.log.checkpoint
                size = int(note.split(b"\n")[1])
                trial.log.store.publish(Published(size, note))
                say(f"published {size}")
        except (LogUnavailable, Stale) as error:  # stale: one that was kept unseen
            say(f"refused: {error}")


def say(line: str) -> None:
    # in one call, so that a kill leaves a whole line or none
    os.write(1, line.encode() + b"\n")


# --- running it ----------------------------------------------------------------------------------


class Run:
    """One process that appends, and what it said."""

    def __init__(
        self, folder: Path, key: SigningKey, *, appends: int = APPENDS, writers: int = 1
    ) -> None:
        command = [sys.executable, __file__, str(folder), key.skey, str(appends), str(writers)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n", self.process.communicate()[1]

    def go(self, *, kill_after: float | None = None) -> "Run":
        """Let it append, to its end or until it is killed."""
        if kill_after is not None:
            threading.Timer(kill_after, self.process.kill).start()
        with self.process:
            try:
                output, errors = self.process.communicate(b"go\n", timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
        *lines, _torn = output.decode().split("\n")
        self.acknowledged = [
            (int(index), bytes.fromhex(leaf))
            for index, leaf in (line.split() for line in lines if re.match(r"\d+ ", line))
        ]
        self.published = [int(line.split()[1]) for line in lines if line.startswith("published ")]
        self.refused = [line for line in lines if line.startswith("refused: ")]
        self.done = lines[-1:] == ["done"]
        assert b"Traceback" not in errors, errors.decode()
        return self


@contextlib.contextmanager
def traced(run: Run, *options: str) -> Iterator[None]:
    """strace is attached while the block runs; from here on system calls are counted."""
    command = ["strace", "-f", "-qq", "-p", str(run.process.pid), *options]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        status = Path(f"/proc/{run.process.pid}/status")
        for _ in range(100_000):
            if re.search(r"TracerPid:\t[1-9]", status.read_text()):
                break
            if tracer.poll() is not None:
                assert tracer.stderr is not None
                pytest.fail(f"strace: {tracer.stderr.read().decode()}")
        yield
    finally:
        tracer.wait(PATIENCE)
        assert tracer.stderr is not None
        tracer.stderr.close()


def assert_sound(folder: Path, key: SigningKey, runs: list[Run]) -> None:
    """The log opens, is whole, has all that was acknowledged, and goes on."""
    trial = TrialLog(folder, key=key)
    trial.check()
    leaves = [entry.leaf for entry in trial.told]
    for run in runs:
        for index, leaf in run.acknowledged:
            assert leaves[index] == leaf, f"record {index} was acknowledged"
        for size in run.published:
            kept = trial.store.published_at_or_after(size)
            assert kept is not None, f"size {size} was published"
            open_checkpoint(kept.note, ORIGIN, [key.verifier])
    trial.fill(1)
    trial.check()
    trial.close()


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate(ORIGIN)


@pytest.fixture(scope="module", autouse=True)
def strace() -> str:
    found = shutil.which("strace")
    if found is None:
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("strace is not installed here")
    return found


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How often each system call is made by a run without trouble, or with one error."""
    found: Counter[str] = Counter()
    for inject in ([], ["-e", "inject=fdatasync:error=EIO:when=3"]):
        folder = tmp_path_factory.mktemp("counted")
        run, output = Run(folder, SigningKey.generate(ORIGIN)), folder / "trace"
        with traced(run, "-o", str(output), "-e", "trace=%file,%desc", *inject):
            run.go()
        assert run.done
        found |= Counter(re.findall(r"^\d+ +(\w+)\(", output.read_text(), re.MULTILINE))
    return found


def test_the_sweep_knows_what_an_append_does_to_its_files(counts: Counter[str]) -> None:
    assert counts.keys() - OTHERS <= SYSCALLS.keys(), counts
    assert {"pread64", "pwrite64", "fdatasync", "fcntl", "flock", "openat"} <= counts.keys()


def sample(count: int, most: int) -> list[int]:
    """The first, the last, and some between."""
    if count <= most:
        return list(range(1, count + 1))
    return sorted({1 + (count - 1) * n // (most - 1) for n in range(most)})


@pytest.mark.parametrize(
    ("syscall", "fault"), [(name, fault) for name, faults in SYSCALLS.items() for fault in faults]
)
def test_a_system_call_that_fails_loses_nothing(
    syscall: str, fault: str, counts: Counter[str], key: SigningKey, tmp_path: Path
) -> None:
    often = syscall in ("pwrite64", "fcntl")
    moments = [str(k) for k in sample(counts[syscall], 8 if often else 4)]
    # without its locks SQLite waits, ten seconds each time
    if fault != "signal=KILL" and syscall != "fcntl":
        # from there on for good; and every third, so that recovery meets it as well
        moments += ["2+", "2+3"]
    for moment in moments:
        folder = tmp_path / moment
        folder.mkdir()
        run = Run(folder, key)
        with traced(run, "-o", "/dev/null", "-e", f"inject={syscall}:{fault}:when={moment}"):
            run.go()
        assert run.done or fault == "signal=KILL"
        assert_sound(folder, key, [run])


# --- kill -9, and a full disk --------------------------------------------------------------------


def test_a_process_that_is_killed_again_and_again_loses_nothing(
    key: SigningKey, tmp_path: Path
) -> None:
    chance = random.Random(20261121)
    runs: list[Run] = []
    for _ in range(10):
        run = Run(tmp_path, key, appends=100_000, writers=6)
        runs.append(run.go(kill_after=chance.uniform(0.01, 0.3)))
        assert not run.done
        assert run.refused == []
        assert_sound(tmp_path, key, runs)
    assert sum(len(run.acknowledged) for run in runs) > 100


def test_files_that_may_not_grow_any_more_lose_nothing(key: SigningKey, tmp_path: Path) -> None:
    run = Run(tmp_path, key, appends=60)
    limit = 150_000
    resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    run.go()
    assert run.done
    assert run.acknowledged
    assert run.refused
    assert_sound(tmp_path, key, [run])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        assert not os.environ.get("MUNIMENT_REQUIRE_TARGETS"), done.stderr
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_loses_nothing_and_the_log_goes_on_when_there_is_room(
    small_disk: Path, key: SigningKey
) -> None:
    runs = [Run(small_disk, key, appends=300).go()]
    assert runs[0].done
    assert runs[0].acknowledged
    assert "the log cannot be written" in runs[0].refused[-1]
    with contextlib.suppress(LogUnavailable):  # it may lack the room to start; it says so
        TrialLog(small_disk, key=key).close()
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    assert_sound(small_disk, key, runs)
    runs.append(Run(small_disk, key).go())
    assert len(runs[1].acknowledged) == APPENDS
    assert_sound(small_disk, key, runs)


if __name__ == "__main__":
    appender(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
