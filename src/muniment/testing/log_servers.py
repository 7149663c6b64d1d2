"""Two real PostgreSQL servers: one for logs, one for what is remembered of them."""

import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from muniment.stores.postgresql.heads import SharedHeads
from muniment.stores.postgresql.setup import Kind, setup_sql
from muniment.stores.postgresql.store import PostgreSQLStore
from muniment.testing.postgres_server import Binaries, PostgresServer

#: what a log asks of its server, and the test servers do not have by themselves
DURABLE: Final[Mapping[str, str]] = {"fsync": "on", "wal_recycle": "off"}
_ROLE: Final = "muniment"


@dataclass(frozen=True, kw_only=True)
class LogDatabases:
    """Two empty databases, ready for a log: connection strings for the service's role."""

    log: str
    heads: str
    #: as the superuser of each server
    log_admin: str
    heads_admin: str
    lease: float = 5.0

    def open_store(self) -> PostgreSQLStore:
        """Each call is another node."""
        return PostgreSQLStore(self.log, secrets.token_hex(4), self.lease)

    def open_heads(self) -> SharedHeads:
        return SharedHeads(self.heads, self.lease)


@dataclass(frozen=True, kw_only=True)
class LogServers:
    """Running servers; each log gets databases of its own."""

    log: PostgresServer
    heads: PostgresServer
    _stack: ExitStack

    @classmethod
    def start(cls, directory: Path, *, binaries: Binaries | None = None) -> Self:
        with ExitStack() as stack:
            log, heads = (
                stack.enter_context(
                    PostgresServer.start(directory / name, binaries=binaries, settings=DURABLE)
                )
                for name in ("log", "heads")
            )
            return cls(log=log, heads=heads, _stack=stack.pop_all())

    def close(self) -> None:
        self._stack.close()

    def new(self, lease: float = 5.0) -> LogDatabases:
        name = f"log_{secrets.token_hex(6)}"
        log, log_admin = make_database(self.log, name, "log")
        heads, heads_admin = make_database(self.heads, name, "heads")
        return LogDatabases(
            log=log, heads=heads, log_admin=log_admin, heads_admin=heads_admin, lease=lease
        )


def make_database(server: PostgresServer, name: str, kind: Kind) -> tuple[str, str]:
    """A database as `muniment migrate --sql` makes it: for the service's role, for a superuser."""
    password = secrets.token_urlsafe(12)
    with psycopg.connect(server.superuser_dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        role = sql.Identifier(f"{_ROLE}_{name}")
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, password))
    superuser = make_conninfo(server.superuser_dsn, dbname=name)
    with psycopg.connect(superuser, autocommit=True) as admin:
        admin.execute(setup_sql(kind, f"{_ROLE}_{name}").encode())
    return (
        make_conninfo(server.address, dbname=name, user=f"{_ROLE}_{name}", password=password),
        superuser,
    )
