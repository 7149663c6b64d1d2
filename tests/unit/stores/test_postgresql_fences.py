"""What our own role, and even a superuser, cannot do to the log; and what we refuse to start on."""

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo

from muniment.errors import ConfigInvalid, LogInvalid, LogUnavailable, MunimentError
from muniment.stores.postgresql import PostgreSQLStore, SharedHeads, SharedLedger, setup_sql
from muniment.testing.faulty import Growing, add
from muniment.testing.log_servers import DURABLE, LogDatabases, LogServers, make_database
from muniment.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.target

#: what psql's environment calls otherwise than a connection string does
_PSQL = {"dbname": "database"}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogServers]:
    with closing(LogServers.start(tmp_path_factory.mktemp("pg"))) as started:
        yield started


@pytest.fixture
def databases(servers: LogServers) -> LogDatabases:
    """For tests that change them."""
    return servers.new()


@pytest.fixture(scope="module")
def kept(servers: LogServers) -> LogDatabases:
    """A log of four entries, and its head, which no test gets to change."""
    databases, growing = servers.new(), Growing()
    with closing(PostgreSQLStore(databases.log, "first")) as store:
        store.found(growing.batch())
        add(store, growing.batch(3, sections={"note": b"x"}))
    with closing(SharedHeads(databases.heads)) as heads:
        heads.write(b"head of 4", 4)
        SharedLedger(heads).add("mun_a/0", "note", "R")
    return databases


def run(conninfo: str, *statements: str) -> list[Any]:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def role_in(databases: LogDatabases) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(databases.log)["user"])


# --- our own role --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE muniment.entries SET header = 'x' WHERE idx = 1",
        "DELETE FROM muniment.entries WHERE idx = 3",
        "TRUNCATE muniment.entries",
        (
            "INSERT INTO muniment.entries VALUES (1, decode(repeat('00', 32), 'hex'), 'x')"
            " ON CONFLICT (idx) DO UPDATE SET header = EXCLUDED.header"
        ),
        "ALTER TABLE muniment.entries DISABLE TRIGGER ALL",
        "DROP TRIGGER entries_stay ON muniment.entries",
        "DROP TABLE muniment.entries",
        "ALTER TABLE muniment.entries ADD COLUMN more text",
        "CREATE TABLE muniment.more (x int)",
        (
            "CREATE OR REPLACE FUNCTION muniment.refuse_change() RETURNS trigger"
            " LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
        ),
        "SET session_replication_role = replica",
        "DELETE FROM muniment.checkpoints",
        "UPDATE muniment.checkpoints SET note = 'x'",
        "DELETE FROM muniment.tombstones",
        "UPDATE muniment.tombstones SET rule = 'another'",
        "INSERT INTO muniment.log_state VALUES (false, 0, '', '')",
        "DELETE FROM muniment.log_state",
        "UPDATE muniment.migrations SET digest = ''",
    ],
)
def test_the_service_cannot_change_what_stands(kept: LogDatabases, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        run(kept.log, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM muniment.head",
        "TRUNCATE muniment.head",
        "INSERT INTO muniment.head VALUES (false, 9, '')",
        "ALTER TABLE muniment.head DISABLE TRIGGER ALL",
        "UPDATE muniment.erasures SET rule = 'another'",
        "DELETE FROM muniment.erasures",
        "DELETE FROM muniment.contradictions",
    ],
)
def test_the_service_cannot_take_back_what_is_remembered(
    kept: LogDatabases, statement: str
) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        run(kept.heads, statement)


def test_entries_leave_no_gap_whoever_adds_them(kept: LogDatabases) -> None:
    insert = "INSERT INTO muniment.entries VALUES ({}, decode(repeat('00', 32), 'hex'), 'x')"
    for index in (2, 5, "NULL", -1):
        with pytest.raises(psycopg.IntegrityError):
            run(kept.log, insert.format(index))
    with closing(PostgreSQLStore(kept.log, "first")) as store:
        assert [index for index, _ in store.entries(0, 10)] == [0, 1, 2, 3]


# --- whoever owns the tables, or the server ------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE muniment.entries SET header = 'x' WHERE idx = 1",
        "DELETE FROM muniment.entries WHERE idx = 3",
        "TRUNCATE muniment.entries",
        "INSERT INTO muniment.entries VALUES (9, decode(repeat('00', 32), 'hex'), 'x')",
    ],
)
def test_not_even_a_superuser_changes_entries_without_taking_the_fence_down(
    kept: LogDatabases, statement: str
) -> None:
    with pytest.raises(errors.IntegrityConstraintViolation):
        run(kept.log_admin, "SET session_replication_role = replica", statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE muniment.head SET size = 3",
        "UPDATE muniment.head SET checkpoint = 'another of 4'",
        "DELETE FROM muniment.head",
        "TRUNCATE muniment.head",
        "DELETE FROM muniment.erasures",
    ],
)
def test_not_even_a_superuser_takes_a_head_back_without_taking_the_fence_down(
    kept: LogDatabases, statement: str
) -> None:
    with pytest.raises(errors.IntegrityConstraintViolation):
        run(kept.heads_admin, "SET session_replication_role = replica", statement)


# --- what we refuse to start on ------------------------------------------------------------------


def refused(
    open_it: Callable[[], Any], why: str, kind: type[MunimentError] = ConfigInvalid
) -> None:
    with pytest.raises(kind, match=why):
        open_it().close()


def test_a_database_without_our_tables_is_refused(servers: LogServers) -> None:
    empty = make_conninfo(servers.log.superuser_dsn, dbname="template1")
    refused(lambda: PostgreSQLStore(empty, "first"), "no tables of ours")
    refused(lambda: SharedHeads(empty), "no tables of ours")


def test_a_database_of_the_other_kind_is_refused(kept: LogDatabases) -> None:
    refused(lambda: PostgreSQLStore(kept.heads, "first"), "made for something else")
    refused(lambda: SharedHeads(kept.log), "made for something else")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("DELETE FROM muniment.migrations WHERE name LIKE '0003%'", "lacks the step `0003_"),
        ("INSERT INTO muniment.migrations VALUES ('9999_later.sql', '')", "newer muniment"),
        ("UPDATE muniment.migrations SET digest = 'x' WHERE name LIKE '0001%'", "not the one"),
        ("GRANT UPDATE ON muniment.entries TO {}", "has one of UPDATE"),
        ("GRANT UPDATE (header) ON muniment.entries TO {}", "has one of UPDATE"),
        ("GRANT TRUNCATE ON muniment.entries TO PUBLIC", "has one of UPDATE"),
        ("ALTER ROLE {} SUPERUSER", "is a superuser"),
        ("GRANT postgres TO {}", "can become one"),
        ("ALTER TABLE muniment.entries ENABLE TRIGGER entries_stay", "not `ENABLE ALWAYS`"),
        ("ALTER TABLE muniment.entries DISABLE TRIGGER ALL", "not `ENABLE ALWAYS`"),
    ],
)
def test_a_schema_or_a_role_that_is_not_as_it_was_set_up_is_refused(
    databases: LogDatabases, change: str, why: str
) -> None:
    PostgreSQLStore(databases.log, "first").close()
    run(databases.log_admin, change.format(f'"{role_in(databases)}"'))
    refused(lambda: PostgreSQLStore(databases.log, "first"), why)


def test_a_missing_step_is_carried_out_by_the_same_sql(databases: LogDatabases) -> None:
    run(
        databases.log_admin,
        "DROP TABLE muniment.published, muniment.stamps",
        "DELETE FROM muniment.migrations WHERE name LIKE '0003%'",
    )
    refused(lambda: PostgreSQLStore(databases.log, "first"), "0003_published")
    run(databases.log_admin, setup_sql("log", role_in(databases)))
    PostgreSQLStore(databases.log, "first").close()


def test_a_server_that_may_lose_what_it_promised_is_refused(
    servers: LogServers, kept: LogDatabases
) -> None:
    admin = servers.log.superuser_dsn
    for setting in ("full_page_writes", "fsync"):
        run(admin, f"ALTER SYSTEM SET {setting} = off", "SELECT pg_reload_conf()")
        try:
            await_reloaded(admin, setting, "off")
            refused(lambda: PostgreSQLStore(kept.log, "first"), f"`{setting} = off`")
        finally:
            run(admin, f"ALTER SYSTEM SET {setting} = on", "SELECT pg_reload_conf()")
            await_reloaded(admin, setting, "on")


def await_reloaded(admin: str, setting: str, value: str) -> None:
    """The server reads its settings when it gets to it, and tells nobody."""
    for _ in range(1000):
        if run(admin, f"SHOW {setting}") == [(value,)]:
            return
    raise AssertionError(f"{setting} is not {value}")


def test_a_standby_is_refused_and_is_known_as_the_same_server(
    kept: LogDatabases, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp
        primary = stack.enter_context(PostgresServer.start(folder("primary"), settings=DURABLE))
        database, _ = make_database(primary, "replicated", "log")
        standby = stack.enter_context(primary.start_replica(folder("standby")))
        there = make_conninfo(database, port=standby.port)
        refused(lambda: PostgreSQLStore(there, "first"), "a standby", LogUnavailable)
        store = stack.enter_context(closing(PostgreSQLStore(database, "first")))
        identity = "SELECT system_identifier::text FROM pg_control_system()"
        assert run(standby.superuser_dsn, identity) == [(store.server_identity,)]
        heads = stack.enter_context(closing(SharedHeads(kept.heads)))
        assert heads.server_identity != store.server_identity


def test_a_server_that_is_not_there_is_told_from_one_that_is_wrong(kept: LogDatabases) -> None:
    nowhere = make_conninfo(kept.log, port=1)
    refused(lambda: PostgreSQLStore(nowhere, "first"), "log's database: conn", LogUnavailable)
    refused(lambda: SharedHeads(nowhere), "head store: conn", LogUnavailable)


# --- passwords -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "conninfo",
    [
        "host=127.0.0.1 password=hunter2 hunter2",
        "postgresql://muniment:p@hunter2@127.0.0.1/log",
        "postgresql://muniment:p/a@hunter2@127.0.0.1:5432/log",
        "postgresql://someone:hunter2%zz@127.0.0.1/log",
        "password='hunter2",
    ],
)
def test_a_connection_string_that_cannot_be_read_is_not_shown(conninfo: str) -> None:
    for open_it in (lambda: PostgreSQLStore(conninfo, "first"), lambda: SharedHeads(conninfo)):
        with pytest.raises(MunimentError) as raised:
            open_it()
        error = raised.value
        assert isinstance(error, ConfigInvalid)
        assert error.__cause__ is None
        assert "hunter2" not in str(error)


def test_no_error_shows_the_password(kept: LogDatabases) -> None:
    wrong = secrets.token_urlsafe(12)
    for conninfo in (
        make_conninfo(kept.log, password=wrong),
        make_conninfo(kept.log, password=wrong, dbname=wrong),
        make_conninfo(kept.log, password=wrong, host="does-not-exist.invalid"),
    ):
        with pytest.raises(LogUnavailable) as raised:
            PostgreSQLStore(conninfo, "first")
        assert wrong not in str(raised.value)
        assert raised.value.__cause__ is None


def test_what_contradicts_the_data_is_told_from_what_does_not_answer(kept: LogDatabases) -> None:
    batch = Growing().batch()
    with (
        closing(PostgreSQLStore(kept.log, "first")) as store,
        pytest.raises(LogInvalid, match="entries are dense"),
        store.transaction() as transaction,
    ):
        transaction.add(batch)


# --- the setup -----------------------------------------------------------------------------------


def test_the_setup_changes_nothing_when_it_is_run_again(kept: LogDatabases) -> None:
    for _ in range(2):
        run(kept.log_admin, setup_sql("log", role_in(kept)))
    with closing(PostgreSQLStore(kept.log, "first")) as store:
        assert [index for index, _ in store.entries(0, 10)] == [0, 1, 2, 3]


def test_the_setup_can_be_run_with_psql(
    servers: LogServers, databases: LogDatabases, tmp_path: Path
) -> None:
    script = tmp_path / "setup.sql"
    script.write_text(setup_sql("heads", "by_psql"))
    parts = psycopg.conninfo.conninfo_to_dict(databases.heads_admin)
    done = subprocess.run(
        [servers.heads.binaries.bin / "psql", "-X", "-v", "ON_ERROR_STOP=1", "-f", script],
        env={**os.environ, **{f"PG{_PSQL.get(n, n).upper()}": str(v) for n, v in parts.items()}},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "COMMIT" in done.stdout
    run(databases.heads_admin, "ALTER ROLE by_psql PASSWORD 'p'")
    SharedHeads(make_conninfo(databases.heads, user="by_psql", password="p")).close()


def test_the_setup_makes_a_role_that_is_missing(servers: LogServers) -> None:
    databases = servers.new()
    run(databases.log_admin, setup_sql("log", "odd \"name's"))
    run(servers.log.superuser_dsn, 'ALTER ROLE "odd ""name\'s" PASSWORD \'p\'')
    PostgreSQLStore(make_conninfo(databases.log, user="odd \"name's", password="p"), "a").close()


def test_the_setup_is_refused_to_the_services_own_role(kept: LogDatabases) -> None:
    for sql in (setup_sql("log", role_in(kept)), setup_sql("log", "another")):
        with pytest.raises(psycopg.Error):
            run(kept.log, sql)


@pytest.mark.parametrize("name", ["", "a\0b", "$muniment$"])
def test_a_name_that_would_break_out_of_the_setup_is_refused(name: str) -> None:
    with pytest.raises(ConfigInvalid):
        setup_sql("log", name)


def test_a_server_of_tests_that_syncs_nothing_is_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with PostgresServer.start(tmp_path_factory.mktemp("fast")) as server:
        refused(lambda: PostgreSQLStore(server.superuser_dsn, "first"), "`fsync = off`")
