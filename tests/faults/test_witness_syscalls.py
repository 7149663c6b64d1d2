"""
A witness whose system calls fail, or kill it, while it cosigns.

Whenever it gives no answer it is asked again, and asked for a fork as well. After every run, and a
restart: what it has cosigned is one history, it remembers all of it, and it goes on with it. The
process is this file run as a program.
"""

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tracing import PATIENCE, need_strace, sample, traced

from muniment.errors import Unavailable
from muniment.evidence.checkpoint import Checkpoint
from muniment.evidence.note import CosigningKey, SigningKey, parse_note
from muniment.evidence.witness import Witness
from muniment.stores import witness_store
from muniment.stores.witness_store import SQLiteWitnessStore
from muniment.testing.small_log import SmallLog

pytestmark = pytest.mark.deep

#: what SQLite does to its files, and how each can fail
SYSCALLS = {
    "openat": ("error=EIO", "error=EMFILE", "signal=KILL"),
    "newfstatat": ("error=EIO", "signal=KILL"),
    "pread64": ("error=EIO", "signal=KILL"),
    "pwrite64": ("error=EIO", "error=ENOSPC", "signal=KILL"),
    "fdatasync": ("error=EIO", "error=ENOSPC", "signal=KILL"),
    "ftruncate": ("error=EIO", "signal=KILL"),
    "fcntl": ("error=EIO", "signal=KILL"),
    "fchown": ("error=EIO", "signal=KILL"),
    "close": ("error=EIO", "signal=KILL"),
    "unlink": ("error=EIO", "signal=KILL"),
}
#: what a run does besides: our own pipe, and memory of which SQLite maps some, too
OTHERS = {"write", "read", "mmap"}

_PRIVATE = Ed25519PrivateKey.from_private_bytes
KEY = CosigningKey("witness.example/1", _PRIVATE(b"witness " * 4))
LOG_KEY = SigningKey("log.example/1", _PRIVATE(b"log key " * 4))
LOG = SmallLog(LOG_KEY.name, key=LOG_KEY)
#: where the log stands when the faults begin, and how often it grows from there
START, GROWTHS = 3, 5
NOW = 1_800_000_000


def history(forked_at: int) -> SmallLog:
    """The log, or (from 0 on) what it tells others from that entry on."""
    return LOG if forked_at < 0 else LOG.other_history(forked_at)


def witness_on(store: SQLiteWitnessStore) -> Witness:
    return Witness(KEY, store, lambda: {LOG.origin: (LOG_KEY.verifier,)}, lambda: NOW)


# --- the process that cosigns --------------------------------------------------------------------


def cosigner(path: Path) -> None:
    """Say `ready`, wait for a line, cosign, and print what was answered with a cosignature."""
    plain, patient = witness_store.connect, sqlite3.connect

    def connect(path: Path) -> sqlite3.Connection:
        connection = plain(path)
        # so small that the write-ahead log is written back while we cosign
        connection.execute("PRAGMA wal_autocheckpoint = 4")
        return connection

    def impatient(*arguments: Any, **options: Any) -> sqlite3.Connection:
        # a lock that cannot be had for an error is taken for somebody else's, and waited for
        made: sqlite3.Connection = patient(*arguments, **{**options, "timeout": 0.02})
        return made

    witness_store.connect, sqlite3.connect = connect, impatient  # type: ignore[assignment]
    store = SQLiteWitnessStore(path, KEY.verifier)
    witness = witness_on(store)
    say("ready")
    sys.stdin.readline()
    size, forked_at = START, -1
    for _ in range(GROWTHS):
        # the same again, and then to everybody else something else: whichever it takes, holds
        for attempt in (forked_at, forked_at, size if forked_at < 0 else -1):
            answer = witness.add_checkpoint(history(attempt).request(size, size + 2))
            if answer.status == 200:
                forked_at, size = attempt, size + 2
                say(f"{size} {forked_at}")
                break
            if answer.status == 409:  # it was kept, but not told
                size = int(answer.body)
                break
            say(f"refused {answer.status}")
    store.close()
    say("done")
    os._exit(0)


def say(line: str) -> None:
    # in one call, so that a kill leaves a whole line or none
    os.write(1, line.encode() + b"\n")


# --- running it ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cosignature:
    """A head for which a cosignature was given."""

    size: int
    forked_at: int

    @property
    def root(self) -> bytes:
        return history(self.forked_at).checkpoint(self.size).root


class Run:
    """One process that cosigns, and what it said."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, __file__, str(path)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n", self.process.communicate()[1]

    def go(self) -> "Run":
        with self.process:
            try:
                output, errors = self.process.communicate(b"go\n", timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
        *lines, _torn = output.decode().split("\n")
        told = [line.split() for line in lines if re.fullmatch(r"\d+ -?\d+", line)]
        self.given = [Cosignature(int(size), int(forked_at)) for size, forked_at in told]
        self.refused = sum(line.startswith("refused") for line in lines)
        self.done = lines[-1:] == ["done"]
        assert b"Traceback" not in errors, errors.decode()
        return self


def assert_one_history(path: Path, given: list[Cosignature]) -> None:
    """What was cosigned is one history; the witness remembers it, and nothing else goes on."""
    for earlier, later in pairwise(given):
        assert earlier.size < later.size
        assert history(later.forked_at).checkpoint(earlier.size).root == earlier.root
    with contextlib.closing(SQLiteWitnessStore(path, KEY.verifier)) as store:
        note = store.latest(LOG.origin)
        assert note is not None
        head = Checkpoint.parse(parse_note(note)[0])
        last = given[-1]
        assert head.size >= last.size, "what was answered is remembered"
        following = [
            log
            for log in (LOG, *map(LOG.other_history, range(START, head.size)))
            if log.checkpoint(head.size) == head and log.checkpoint(last.size).root == last.root
        ]
        assert following, "the head continues what was answered"
        witness, log = witness_on(store), following[0]
        # what is a history apart from the first entry on, and one from the last on
        for other in (LOG.other_history(0), LOG.other_history(head.size - 1)):
            if other.checkpoint(head.size) != head:
                assert witness.add_checkpoint(other.request(head.size, head.size)).status == 422
                assert witness.add_checkpoint(other.request(head.size, 40)).status == 422
        assert witness.add_checkpoint(log.request(head.size, 40)).status == 200


@pytest.fixture(scope="module", autouse=True)
def strace() -> None:
    need_strace()


def witness_in(folder: Path) -> Path:
    """A witness that has cosigned the log's first entries."""
    folder.mkdir(exist_ok=True)
    path = folder / "witness.db"
    with contextlib.closing(SQLiteWitnessStore.create(path, KEY.verifier)) as store:
        assert witness_on(store).add_checkpoint(LOG.request(0, START)).status == 200
    return path


FIRST = Cosignature(START, -1)


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How often each system call is made by a run without trouble, or with one error."""
    found: Counter[str] = Counter()
    for inject in ([], ["-e", "inject=fdatasync:error=EIO:when=2"]):
        folder = tmp_path_factory.mktemp("counted")
        run, output = Run(witness_in(folder)), folder / "trace"
        with traced(run.process.pid, "-o", str(output), "-e", "trace=%file,%desc", *inject):
            run.go()
        assert run.done
        assert len(run.given) >= GROWTHS - 1
        found |= Counter(re.findall(r"^\d+ +(\w+)\(", output.read_text(), re.MULTILINE))
    return found


def test_the_sweep_knows_what_a_witness_does_to_its_files(counts: Counter[str]) -> None:
    assert counts.keys() - OTHERS <= SYSCALLS.keys(), counts
    assert {"pread64", "pwrite64", "fdatasync", "fcntl", "openat"} <= counts.keys()


@pytest.mark.parametrize(
    ("syscall", "fault"), [(name, fault) for name, faults in SYSCALLS.items() for fault in faults]
)
def test_a_system_call_that_fails_makes_no_second_history(
    syscall: str, fault: str, counts: Counter[str], tmp_path: Path
) -> None:
    often = syscall in ("pwrite64", "fdatasync")
    moments = [str(k) for k in sample(counts[syscall], 8 if often else 3)]
    if fault != "signal=KILL" and syscall != "fcntl":
        # from there on for good; and every third, so that the next attempt meets it as well
        moments += ["2+", "2+3"]
    for moment in moments:
        path = witness_in(tmp_path / moment)
        run = Run(path)
        inject = f"inject={syscall}:{fault}:when={moment}"
        with traced(run.process.pid, "-o", "/dev/null", "-e", inject):
            run.go()
        assert run.done or fault == "signal=KILL"
        assert_one_history(path, [FIRST, *run.given])


def test_a_witness_that_cannot_write_at_all_gives_no_cosignature(tmp_path: Path) -> None:
    path = witness_in(tmp_path)
    run = Run(path)
    with traced(run.process.pid, "-o", "/dev/null", "-e", "inject=pwrite64:error=ENOSPC:when=1+"):
        run.go()
    assert (run.given, run.refused) == ([], 3 * GROWTHS)
    assert_one_history(path, [FIRST])


def test_a_disk_that_fails_while_the_memory_is_opened_is_told(tmp_path: Path) -> None:
    path = witness_in(tmp_path)
    path.with_name("witness.db-wal").mkdir()
    with pytest.raises(Unavailable, match="does not answer"):
        SQLiteWitnessStore(path, KEY.verifier)
    path.with_name("witness.db-wal").rmdir()
    assert_one_history(path, [FIRST])


if __name__ == "__main__":
    cosigner(Path(sys.argv[1]))
