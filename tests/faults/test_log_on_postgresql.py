"""
A log in PostgreSQL, and what happens to real servers and to nodes in the middle of an append.

Nothing that somebody has a receipt for is lost, no second history is signed, and the nodes that are
left go on by themselves after a lease at most.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from muniment.errors import LogUnavailable, Stale
from muniment.evidence.note import SigningKey
from muniment.testing.faulty import ORIGIN, WRITE_STEPS, new_case
from muniment.testing.log_servers import LogDatabases, LogServers
from muniment.testing.postgres_server import PostgresServer
from muniment.testing.trial_log import TrialLog

pytestmark = [pytest.mark.target, pytest.mark.deep, pytest.mark.alone]

LEASE = 1.0
#: what a node waits for another one's lease, and for the turn of the machine it runs on
PATIENCE = LEASE + 4.0
KILLED = Path(__file__).parent / "killed_node.py"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogServers]:
    with contextlib.closing(LogServers.start(tmp_path_factory.mktemp("servers"))) as servers:
        yield servers


@pytest.fixture
def databases(servers: LogServers) -> LogDatabases:
    return servers.new(LEASE)


@pytest.fixture
def node(tmp_path: Path, databases: LogDatabases) -> Iterator[Callable[[], TrialLog]]:
    """Each call opens one more node on the log."""
    key, opened = SigningKey.generate(ORIGIN), list[TrialLog]()
    (tmp_path / "key").write_text(key.skey)

    def open_one() -> TrialLog:
        opened.append(TrialLog(tmp_path, key=key, place=databases, shared=True))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def end_sessions(dsn: str) -> None:
    """As a failing machine in between, or an administrator, would."""
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def settle(*nodes: TrialLog) -> None:
    """Everybody goes on by himself, knows all, and all of it holds."""
    for each in nodes:
        until_appended(each)
    for each in nodes:
        each.log.follow().result(PATIENCE)
        each.check()
    assert len({each.log.checkpoint for each in nodes}) == 1


def until_appended(node: TrialLog) -> None:
    """As a client that asks again does; what it waits is bounded."""
    end = time.monotonic() + 4 * PATIENCE
    while True:
        try:
            node.fill(1)
        except LogUnavailable:
            assert time.monotonic() < end, f"it does not go on: {node.log.trouble}"
            time.sleep(0.05)  # the server tells nobody that it is there again
        else:
            return


def append_while(node: TrialLog, step: str, happens: Callable[[], None]) -> None:
    """Whatever the append comes to: what it acknowledges has to stand."""
    with node.disk.hold(step) as reached:
        future = node.queue(node.draft(new_case()), node.draft(new_case()))
        assert reached.wait(PATIENCE)
        happens()
    with contextlib.suppress(LogUnavailable):
        node.receipt(future)


@pytest.mark.parametrize("which", ["log", "heads", "both"])
@pytest.mark.parametrize("step", WRITE_STEPS)
def test_sessions_that_are_ended_during_an_append_lose_nothing(
    step: str, which: str, node: Callable[[], TrialLog], databases: LogDatabases
) -> None:
    one, other = node(), node()
    one.fill(3)

    def ended() -> None:
        for name, dsn in (("log", databases.log_admin), ("heads", databases.heads_admin)):
            if which in (name, "both"):
                end_sessions(dsn)

    append_while(one, step, ended)
    settle(one, other)


@pytest.mark.parametrize("which", ["log", "heads"])
@pytest.mark.parametrize("step", ["begin", "add", "commit", "write head"])
def test_a_server_that_crashes_during_an_append_loses_nothing(
    step: str, which: str, node: Callable[[], TrialLog], servers: LogServers
) -> None:
    one, other = node(), node()
    one.fill(3)
    server: PostgresServer = getattr(servers, which)

    def crashed() -> None:
        server.stop(immediate=True)
        server.resume_service()

    append_while(one, step, crashed)
    settle(other, one)


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
@pytest.mark.parametrize("kept", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", WRITE_STEPS)
def test_a_node_that_falls_at_any_step_holds_the_others_up_for_a_lease_at_most(
    step: str, kept: bool, signal_: signal.Signals, node: Callable[[], TrialLog],
    tmp_path: Path, databases: LogDatabases,
) -> None:  # fmt: skip
    """One that was stopped comes back, and finds that the log went on without it."""
    survivor = node()
    with falling(tmp_path, databases, step, kept=kept, signal_=signal_) as fallen:
        began = time.monotonic()
        until_appended(survivor)
        waited = time.monotonic() - began
        assert waited < PATIENCE, f"waited {waited:.1f} s for a lease of {LEASE:.0f} s"
        if signal_ == signal.SIGSTOP:
            os.kill(fallen.pid, signal.SIGCONT)
            assert fallen.wait(4 * PATIENCE) == 0, "it goes on by itself"
    settle(survivor)
    acknowledged = (tmp_path / "acknowledged").read_text().split()
    entries = dict(survivor.store.entries(0, survivor.log.size))
    assert [entries[int(line.partition(":")[0])].hex() for line in acknowledged] == [
        line.partition(":")[2] for line in acknowledged
    ]
    assert len(acknowledged) >= 3, "what it appended before it fell"


@contextlib.contextmanager
def falling(
    folder: Path, databases: LogDatabases, step: str, *, kept: bool, signal_: signal.Signals
) -> Iterator[subprocess.Popen[bytes]]:
    """A node of its own process that sends itself the signal at this step; it has done so now."""
    secret = {"LOG": databases.log, "HEADS": databases.heads}
    process = subprocess.Popen(
        [sys.executable, KILLED, folder, step, str(int(kept)), str(int(signal_)), str(LEASE)],
        env={**os.environ, **secret},
    )
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        if signal_ == signal.SIGSTOP:
            assert os.WIFSTOPPED(status), "it has not stopped"
        else:
            assert os.WIFSIGNALED(status), "it was not killed"
            process.returncode = -signal_
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()


def test_a_node_that_stops_in_the_middle_of_an_exchange_loses_its_lock_too(
    node: Callable[[], TrialLog], databases: LogDatabases
) -> None:
    """No time-out of the server runs then: it waits for the rest of what it was sent."""
    survivor = node()
    with contextlib.closing(psycopg.connect(databases.log, autocommit=True)) as stopped:
        stopped.pgconn.enter_pipeline_mode()
        for statement in (b"BEGIN", b"SELECT size FROM muniment.log_state FOR UPDATE"):
            stopped.pgconn.send_query_params(statement, None)
        stopped.pgconn.send_flush_request()
        stopped.pgconn.flush()
        began = time.monotonic()
        until_appended(survivor)
        assert time.monotonic() - began < PATIENCE
    settle(survivor)


@pytest.mark.parametrize("seed", range(3))
def test_nodes_and_servers_that_fail_at_random_keep_one_history(
    seed: int, node: Callable[[], TrialLog], databases: LogDatabases
) -> None:
    dice, nodes = random.Random(seed), [node() for _ in range(3)]
    stop = threading.Event()

    def trouble() -> None:
        while not stop.wait(dice.uniform(0.05, 0.3)):
            end_sessions(dice.choice([databases.log_admin, databases.heads_admin]))

    def write(each: TrialLog) -> None:
        for _ in range(25):
            with contextlib.suppress(LogUnavailable, Stale):
                each.fill(3)

    threads = [threading.Thread(target=write, args=(each,)) for each in nodes]
    troubling = threading.Thread(target=trouble)
    for thread in (*threads, troubling):
        thread.start()
    for thread in threads:
        thread.join(60)
    stop.set()
    troubling.join(10)
    settle(*nodes)
    assert sum(len(each.acknowledged) for each in nodes) > len(nodes)
