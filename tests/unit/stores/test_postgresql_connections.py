"""A database that is gone, hangs or is cut off: what is told, how soon, and what is left of it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from muniment.errors import LogUnavailable
from muniment.stores.postgresql import PostgreSQLStore, store
from muniment.testing.faulty import Growing, add
from muniment.testing.log_servers import DURABLE, make_database
from muniment.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.target

#: seconds
LEASE = 0.6
LONG = 20.0
#: what somebody who must not wait can bear
AT_ONCE = 1.5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer.start(tmp_path_factory.mktemp("pg"), settings=DURABLE) as started:
        yield started


Open = Callable[..., PostgreSQLStore]


@pytest.fixture
def databases(server: PostgresServer, request: pytest.FixtureRequest) -> tuple[str, str]:
    return make_database(server, request.node.name[:50], "log")


@pytest.fixture
def node(databases: tuple[str, str]) -> Iterator[Open]:
    with ExitStack() as stack:
        yield lambda lease=LONG: stack.enter_context(
            closing(PostgreSQLStore(databases[0], "first", lease))
        )


@pytest.fixture
def growing() -> Growing:
    return Growing()


def ask(conninfo: str, query: str) -> list[Any]:
    with psycopg.connect(conninfo, autocommit=True) as admin:
        cursor = admin.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


def end_sessions(databases: tuple[str, str], where: str = "true") -> int:
    query = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        f" WHERE datname = current_database() AND pid <> pg_backend_pid() AND {where}"
    )
    return len(ask(databases[1], query))


def within(seconds: float, call: Callable[[], Any]) -> Any:
    begun = time.monotonic()
    try:
        return call()
    finally:
        assert time.monotonic() - begun < seconds


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(LogUnavailable) as raised:
        call()
    return str(raised.value)


def await_(holds: Callable[[], Any]) -> None:
    """For what nothing tells of."""
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < LONG


# --- one session ---------------------------------------------------------------------------------


def test_a_session_that_is_ended_inside_a_transaction_leaves_nothing(
    node: Open, growing: Growing, databases: tuple[str, str]
) -> None:
    store, other = node(), node()
    store.found(growing.batch())
    second = growing.batch(2, sections={"note": b"x"})

    def write() -> None:
        with store.transaction() as transaction:
            transaction.add(second)
            assert end_sessions(databases, "state = 'idle in transaction'") == 1
            refused(transaction.tail)
            refused(lambda: transaction.read_back(1, 3))

    refused(write)
    store.reopen()
    for each in (store, other):
        assert [index for index, _ in each.entries(0, 9)] == [0]
        assert each.sections(1) == {}
    add(other, second)
    assert [index for index, _ in store.entries(0, 9)] == [0, 1, 2]


def test_a_node_that_stops_inside_a_transaction_keeps_no_other_out_for_longer_than_a_lease(
    node: Open, growing: Growing
) -> None:
    stopped, other = node(LEASE), node(LEASE)
    stopped.found(growing.batch())
    second = growing.batch()

    def stop() -> None:
        with stopped.transaction() as transaction:
            transaction.add(second)
            within(LONG, lambda: add(other, second))

    refused(stop)
    assert [index for index, _ in stopped.entries(0, 9)] == [0, 1]


def test_what_a_node_left_behind_is_over_once_it_has_connected_anew(
    node: Open, growing: Growing, databases: tuple[str, str]
) -> None:
    """Else it might be committed after the node has read how the log stands."""
    store = node()
    store.found(growing.batch())
    with holding(databases, "muniment first") as left:
        within(LONG / 2, store.reopen)
        with pytest.raises(psycopg.OperationalError):
            left.execute("SELECT 1")
    with holding(databases, "muniment second") as other:
        within(LONG / 2, store.reopen)
        other.execute("SELECT 1")
    add(store, growing.batch())


@contextmanager
def holding(databases: tuple[str, str], name: str) -> Iterator[psycopg.Connection[Any]]:
    """A session in the middle of an append."""
    with closing(psycopg.connect(databases[0], application_name=name)) as session:
        session.execute("SELECT FROM muniment.log_state FOR UPDATE")
        yield session


def test_sessions_that_were_ended_while_nobody_used_them_are_not_noticed(
    node: Open, growing: Growing, databases: tuple[str, str]
) -> None:
    store = node()
    store.found(growing.batch())
    assert end_sessions(databases) > 0
    assert store.tail() is not None
    assert end_sessions(databases) > 0
    add(store, growing.batch())


def test_a_commit_that_somebody_cuts_short_is_not_taken_for_durable(
    node: Open, growing: Growing, databases: tuple[str, str]
) -> None:
    """The server warns that a standby may not have it, and commits all the same."""
    store = node()
    store.found(growing.batch())
    batch = growing.batch()
    with_standby(databases, "nobody")
    try:
        thread = threading.Thread(target=lambda: said.append(refused(lambda: add(store, batch))))
        said: list[str] = []
        thread.start()
        cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        await_(lambda: ask(databases[1], cancel))
        thread.join(LONG)
        assert "durable is unknown" in said[0]
    finally:
        with_standby(databases, "")
    tail = store.tail()
    assert tail is not None
    assert tail.size == 2


def test_a_commit_that_hangs_is_given_up(
    node: Open, growing: Growing, databases: tuple[str, str]
) -> None:
    store = node(LEASE)
    store.found(growing.batch())
    batch = growing.batch()
    with_standby(databases, "nobody")
    try:
        assert "no answer in time" in refused(lambda: add(store, batch))
        within(AT_ONCE, lambda: refused(store.tail))
    finally:
        with_standby(databases, "")
    await_(lambda: end_sessions(databases, "wait_event = 'SyncRep'") == 0)
    store.reopen()
    tail = store.tail()
    assert tail is not None
    assert tail.size == 2, "its outcome was unknown, and now it is known"


def with_standby(databases: tuple[str, str], name: str) -> None:
    ask(databases[1], f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    ask(databases[1], "SELECT pg_reload_conf()")
    # a new session has it once the server has read its file
    await_(lambda: ask(databases[1], "SHOW synchronous_standby_names") == [(name,)])


# --- all of them ---------------------------------------------------------------------------------


def test_readers_go_on_while_all_sessions_are_dropped(node: Open, growing: Growing) -> None:
    store = node()
    store.found(growing.batch(50))
    wrong: list[Any] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                if len(list(store.entries(0, 50))) != 50:
                    wrong.append("entries are missing")
            except Exception as error:  # noqa: BLE001 (whatever it was)
                wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        store.reopen()
    done.set()
    for thread in threads:
        thread.join(LONG)
    assert wrong == []


def test_pages_follow_one_another_and_hold_no_session(
    node: Open, growing: Growing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_PAGE", 7)
    monkeypatch.setattr(store, "_LEAVES", 7)
    log = node(LEASE)
    log.found(growing.batch(30))
    expected = [(entry.index, entry.data) for entry in growing.entries]
    for start, stop in ((0, 30), (0, 1 << 40), (3, 17), (7, 14), (30, 40), (5, 5)):
        assert list(log.entries(start, stop)) == expected[start:stop]
        leaves = b"".join(entry.leaf for entry in growing.entries[start:stop])
        assert log.leaves(start, stop) == leaves
    begun = [log.entries(0, 30) for _ in range(40)]
    assert [next(pages) for pages in begun] == [expected[0]] * 40
    assert all(list(pages) == expected[1:] for pages in begun)


def test_more_threads_than_sessions_take_turns(node: Open, growing: Growing) -> None:
    log = node()
    log.found(growing.batch())
    tails: list[Any] = []
    threads = [threading.Thread(target=lambda: tails.append(log.tail())) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert tails == [log.tail()] * 60


def test_a_store_that_was_closed_says_so(databases: tuple[str, str]) -> None:
    log = PostgreSQLStore(databases[0], "first")
    log.close()
    assert "closed" in refused(log.tail)
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'muniment first'"
    await_(lambda: ask(databases[1], count) == [(0,)])


# --- the server ----------------------------------------------------------------------------------


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer.start(tmp_path_factory.mktemp("pg"), settings=DURABLE) as started:
        yield started


def test_while_a_server_is_gone_calls_fail_at_once_and_then_go_on(
    own_server: PostgresServer, growing: Growing
) -> None:
    database, _ = make_database(own_server, "log", "log")
    with closing(PostgreSQLStore(database, "first", LEASE)) as log:
        log.found(growing.batch())
        own_server.stop(immediate=True)
        refused(log.tail)
        for _ in range(20):
            within(AT_ONCE, lambda: refused(log.tail))
        within(AT_ONCE, lambda: refused(log.reopen))
        own_server.resume_service()
        log.reopen()  # at once, and not when the next look is due
        assert log.tail() is not None
        add(log, growing.batch())
        own_server.restart()
        assert log.tail() is not None, "what was ended meanwhile is made anew"


def test_a_server_that_is_back_is_found_without_being_asked_for(
    own_server: PostgresServer, growing: Growing
) -> None:
    database, _ = make_database(own_server, "log", "log")
    with closing(PostgreSQLStore(database, "first", LEASE)) as log:
        log.found(growing.batch())
        own_server.stop()
        refused(log.tail)
        own_server.resume_service()
        await_(lambda: log.connections._down is None)
        assert log.tail() is not None


def test_a_server_that_hangs_is_waited_for_once(
    own_server: PostgresServer, growing: Growing
) -> None:
    database, _ = make_database(own_server, "log", "log")
    with closing(PostgreSQLStore(database, "first", LEASE)) as log:
        log.found(growing.batch())
        own_server.pause()
        try:
            assert "no answer in time" in within(LONG, lambda: refused(log.tail))
            for _ in range(20):
                within(AT_ONCE, lambda: refused(log.tail))
        finally:
            own_server.resume()
        log.reopen()
        assert log.tail() is not None
        add(log, growing.batch())


def test_another_server_under_the_same_name_is_not_taken_for_ours(
    own_server: PostgresServer, server: PostgresServer, growing: Growing
) -> None:
    """As after a name was repointed: the same role, the same tables, another cluster."""
    password = "the same on both"
    for each in (own_server, server):
        _, admin = make_database(each, "twin", "log")
        ask(admin, f"ALTER ROLE muniment_twin PASSWORD '{password}'")
    conninfo = make_conninfo(
        host="127.0.0.1,127.0.0.1", port=f"{own_server.port},{server.port}", dbname="twin",
        user="muniment_twin", password=password,
    )  # fmt: skip
    with closing(PostgreSQLStore(conninfo, "first")) as log:
        log.found(growing.batch())
        own_server.stop()
        assert "another server" in refused(log.tail)
        assert "another server" in refused(log.reopen)
        own_server.resume_service()
        log.reopen()
        assert log.tail() is not None
