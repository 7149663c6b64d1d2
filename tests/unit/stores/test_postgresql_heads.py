"""The shared head store: a lock that no dead node keeps, and news of what others wrote."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from muniment.errors import LogInvalid, LogUnavailable
from muniment.stores.postgresql import SharedHalt, SharedHeads, SharedLedger
from muniment.testing.cut_wire import Wire
from muniment.testing.log_servers import DURABLE, make_database
from muniment.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.target

#: seconds
LEASE = 0.6
LONG = 20.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer.start(tmp_path_factory.mktemp("pg"), settings=DURABLE) as started:
        yield started


Open = Callable[..., SharedHeads]


@pytest.fixture
def databases(server: PostgresServer, request: pytest.FixtureRequest) -> tuple[str, str]:
    return make_database(server, request.node.name[:50], "heads")


@pytest.fixture
def node(databases: tuple[str, str]) -> Iterator[Open]:
    with ExitStack() as stack:
        yield lambda lease=LONG: stack.enter_context(closing(SharedHeads(databases[0], lease)))


def ended(databases: tuple[str, str], query: str = "%") -> int:
    """End all sessions of the service, as a failing network or an administrator does."""
    with psycopg.connect(databases[1], autocommit=True) as admin:
        return len(
            admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE %s",
                (query,),
            ).fetchall()
        )


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.monotonic()
    answer = call()
    return answer, time.monotonic() - begun


class InThread(threading.Thread):
    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__()
        self._call = call
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._call()
        except Exception as error:  # noqa: BLE001 (whatever it was)
            self.error = error

    def done(self) -> Exception | None:
        self.join(LONG)
        assert not self.is_alive()
        return self.error


def take(heads: SharedHeads) -> None:
    with heads.lock():
        pass


# --- the lock ------------------------------------------------------------------------------------


def test_a_node_that_stops_inside_the_lock_loses_it_after_a_lease(node: Open) -> None:
    stopped, other = node(LEASE), node(LEASE)
    with stopped.lock():
        stopped.write(b"head of 1", 1)
        _, waited = timed(lambda: take(other))
        assert waited > LEASE / 2
        other.write(b"head of 2", 2)
        # it never comes back over another session
        for _ in range(2):
            with pytest.raises(LogUnavailable):
                stopped.write(b"another 3", 3)
            with pytest.raises(LogUnavailable):
                stopped.read()
    assert other.read() == b"head of 2"
    with stopped.lock():
        assert stopped.read() == b"head of 2"
        stopped.write(b"head of 3", 3)


def test_a_node_that_goes_on_keeps_the_lock_longer_than_a_lease(node: Open) -> None:
    holder, other = node(2 * LEASE), node(2 * LEASE)
    with holder.lock():
        waiting = InThread(lambda: take(other))
        begun = time.monotonic()
        while waiting.is_alive():
            assert holder.read() is None
            assert time.monotonic() - begun < LONG
        assert isinstance(waiting.done(), LogUnavailable), "it does not wait for ever"
        assert time.monotonic() - begun > 2 * LEASE
        holder.write(b"head of 1", 1)
    take(other)


def test_the_lock_of_a_session_that_was_ended_is_free_at_once(
    node: Open, databases: tuple[str, str]
) -> None:
    cut, other = node(), node()
    with cut.lock():
        assert ended(databases, "%pg_advisory_lock%") == 1
        _, waited = timed(lambda: take(other))
        assert waited < LONG / 2
        with pytest.raises(LogUnavailable):
            cut.write(b"head of 1", 1)
    take(cut)
    assert cut.read() is None


def test_who_fails_inside_the_lock_says_so_at_once_though_the_server_went_silent(
    databases: tuple[str, str], node: Open
) -> None:
    port = int(str(conninfo_to_dict(databases[0])["port"]))
    with Wire.to(port) as wire:
        through = make_conninfo(databases[0], port=wire.port)
        with closing(SharedHeads(through, LEASE)) as cut:

            def fail() -> None:
                with cut.lock():
                    wire.silence()
                    raise LogInvalid("something does not hold")

            failing = InThread(fail)
            error, waited = timed(failing.done)
            assert isinstance(error, LogInvalid)
            assert waited < 2 * LEASE, "it waits for an answer of four leases, and nobody is told"
            wire.heal()
            take(node(LEASE))
            take(cut)


def test_a_node_that_does_nothing_between_two_locks_keeps_its_session(node: Open) -> None:
    heads, other = node(LEASE), node(LONG)
    take(heads)
    session = heads._kept
    # nothing is to happen for longer than a lease
    other.await_change(0)
    other.await_change(2 * LEASE)
    take(heads)
    assert heads._kept is session


def test_other_threads_read_beside_the_one_inside_the_lock(node: Open) -> None:
    heads = node()
    with heads.lock():
        heads.write(b"head of 1", 1)
        reading = InThread(lambda: heads.read() == b"head of 1" or pytest.fail("another head"))
        assert reading.done() is None


def test_a_second_thread_waits_for_the_first_but_not_for_ever(node: Open) -> None:
    heads = node(LEASE)
    with heads.lock():
        assert isinstance(InThread(lambda: take(heads)).done(), LogUnavailable)
    take(heads)


def test_two_nodes_that_both_believe_to_hold_the_lock_write_one_history(node: Open) -> None:
    a, b = node(), node()
    a.write(b"head of 1", 1)
    wrote: list[bytes] = []

    def write(heads: SharedHeads, name: bytes) -> None:
        for size in range(2, 40):
            try:
                heads.write(name, size)
            except LogInvalid:
                continue
            wrote.append(name)

    threads = [InThread(lambda: write(a, b"a")), InThread(lambda: write(b, b"b"))]
    assert [thread.done() for thread in threads] == [None, None]
    assert len(wrote) == 38


# --- news ----------------------------------------------------------------------------------------


def test_what_another_node_writes_ends_the_waiting(node: Open) -> None:
    listening, other = node(), node()
    listening.await_change(0)
    waiting = InThread(lambda: listening.await_change(LONG))
    other.write(b"head of 1", 1)
    assert waiting.done() is None


def test_what_was_written_between_two_calls_ends_the_second(node: Open) -> None:
    listening, other = node(), node()
    listening.await_change(0)
    other.write(b"head of 1", 1)
    _, waited = timed(lambda: listening.await_change(LONG))
    assert waited < LONG / 2
    _, waited = timed(lambda: listening.await_change(LEASE))
    assert waited >= LEASE, "and the third one waits"


def test_the_first_call_waits_for_nothing(node: Open) -> None:
    """Something may have been written before anybody listened."""
    _, waited = timed(lambda: node().await_change(LONG))
    assert waited < LONG / 2


def test_what_a_node_wrote_itself_is_no_news_to_it(node: Open) -> None:
    heads = node()
    heads.await_change(0)
    heads.write(b"head of 1", 1)
    _, waited = timed(lambda: heads.await_change(LEASE))
    assert waited >= LEASE


def test_a_session_that_listens_and_is_ended_is_made_anew(
    node: Open, databases: tuple[str, str]
) -> None:
    listening, other = node(), node()
    listening.await_change(0)
    waiting = InThread(lambda: listening.await_change(LONG))
    assert ended(databases, "LISTEN%") == 1
    assert isinstance(waiting.done(), LogUnavailable | None)
    listening.await_change(LONG)  # at once: something may have been missed
    waiting = InThread(lambda: listening.await_change(LONG))
    other.write(b"head of 1", 1)
    assert waiting.done() is None


def test_whoever_listens_leaves_when_it_is_closed(databases: tuple[str, str]) -> None:
    heads = SharedHeads(databases[0], LONG)
    heads.await_change(0)
    waiting = InThread(lambda: heads.await_change(LONG))
    heads.close()
    assert waiting.done() is None
    with pytest.raises(LogUnavailable):
        heads.await_change(LONG)


# --- a server that is gone -----------------------------------------------------------------------


def test_nothing_is_written_or_taken_back_by_a_server_that_was_gone(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with PostgresServer.start(tmp_path_factory.mktemp("pg"), settings=DURABLE) as server:
        database, _ = make_database(server, "heads", "heads")
        with closing(SharedHeads(database, LEASE)) as heads:
            heads.await_change(0)
            heads.write(b"head of 1", 1)
            SharedLedger(heads).add("mun_a/0", "note", "R")
            SharedHalt(heads).keep("because", b"")
            server.stop(immediate=True)
            for call in (
                heads.read,
                lambda: heads.write(b"head of 2", 2),
                lambda: take(heads),
                lambda: heads.await_change(LONG),
                SharedLedger(heads).erasures,
                SharedHalt(heads).why,
            ):
                with pytest.raises(LogUnavailable):
                    call()
            server.resume_service()
            begun = time.monotonic()
            while heads.connections._down is not None:
                assert time.monotonic() - begun < LONG
            assert heads.read() == b"head of 1"
            assert SharedLedger(heads).erasures() == [("mun_a/0", "note", "R")]
            assert (SharedHalt(heads).why() or "").startswith("because; look, then")
            with heads.lock():
                heads.write(b"head of 2", 2)
            heads.await_change(LONG)
