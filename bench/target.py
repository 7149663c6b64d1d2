"""The PostgreSQL on which both competitors make accounts, and an installation for it."""

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg

from bench.installation import Installation, install
from muniment.connectors.postgresql import scram_verifier, setup_sql
from muniment.testing.postgres_server import PostgresServer

_APPLICATION = """
CREATE ROLE app_rw NOLOGIN;
CREATE TABLE orders (id int PRIMARY KEY, state text);
INSERT INTO orders VALUES (1, 'new');
GRANT SELECT, INSERT, UPDATE ON orders TO app_rw;
"""


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[PostgresServer]:
    """Durable commits, as in production; with an application's role and table."""
    settings = {"fsync": "on", "max_connections": "300"}
    with PostgresServer.start(folder, settings=settings) as server:
        with psycopg.connect(server.superuser_dsn, autocommit=True) as owner:
            owner.execute(_APPLICATION.encode())
        yield server


def installed(folder: Path, server: PostgresServer) -> Installation:
    """The SQL that `init` prints, run by the owner, and the installation that `init` makes."""
    password = secrets.token_urlsafe(24)
    with psycopg.connect(server.superuser_dsn, autocommit=True) as owner:
        verifier = scram_verifier(password)
        sql = setup_sql(user="muniment_connector", grants=["app_rw"], verifier=verifier)
        owner.execute(sql.encode())
    dsn = f"host={server.host} port={server.port} dbname=postgres"
    return install(folder, dsn, password)
