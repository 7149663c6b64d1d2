"""Where an installation keeps its log and its events in a test: in files, or on PostgreSQL."""

import contextlib
import os
import secrets
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from muniment.evidence.founding import found_log
from muniment.evidence.note import SigningKey
from muniment.operations.erase_events import finish_events
from muniment.operations.intake import Intake
from muniment.operations.observing import Observing, Source
from muniment.operations.remaining_events import RemainingEvents
from muniment.oversight.event import ReaderSettings
from muniment.oversight.event_store import EventStore
from muniment.stores.events import SQLiteEventStore
from muniment.stores.head_file import HeadFile
from muniment.stores.postgresql.events import PostgreSQLEventStore
from muniment.stores.postgresql.store import PostgreSQLStore
from muniment.testing import nodes
from muniment.testing.cast import cast
from muniment.testing.log_servers import LogServers, make_database
from muniment.testing.nodes import Node
from muniment.testing.plain_reader import PlainReader
from muniment.testing.postgres_server import find_binaries
from muniment.testing.scenario import ORIGIN, PREFIX, Scenario
from muniment.testing.stand_ins import Hook, ScenarioHeads

SOURCE = "orders-log"


@dataclass(frozen=True)
class Block:
    """Events as they lie in a file: their salts as they are, and the rest of them compressed."""

    start: int
    count: int
    salts: bytes
    packed: bytes


@dataclass
class Watched(Scenario):
    """With a source of events, opened as the service opens it."""

    def __post_init__(self) -> None:
        dan = cast()["dan"]
        self.principals = {**cast(), "dan": replace(dan, groups=("privacy-officers",))}
        self.checking = False

    @property
    def events(self) -> EventStore:
        """As it is, with what nobody is shown."""
        found = self.service.observing.store
        assert isinstance(found, RemainingEvents)
        return found.under

    def open_events(self) -> EventStore:
        return SQLiteEventStore(self.folder / "events.db")

    def _open(self) -> None:
        super()._open()
        service, settings = self.service, ReaderSettings(prefix=PREFIX)
        store = RemainingEvents(self.open_events(), service.erasures, service.document)
        make = partial(PlainReader, settings)
        source = Source(name=SOURCE, resource="orders-prod", reader=make(), make_reader=make)
        intake = Intake(service=service, store=store)
        service.observing = Observing(store=store, sources={SOURCE: source}, intake=intake)
        finish_events(service)

    async def _close(self) -> None:
        self.service.observing.close()
        await super()._close()


class Home(Protocol):
    """What a test does to an installation from outside."""

    scenario: Watched

    def data(self) -> bytes:
        """Every byte of every file in which something may lie."""
        ...

    def settled(self) -> bytes:
        """The same, once all that is kept lies where it stays."""
        ...

    def blocks(self) -> list[Block]: ...

    def back_up(self, name: str) -> None: ...

    def older_log(self, name: str) -> contextlib.AbstractContextManager[None]:
        """In the place of the log, while the service is down; then the newest is back."""
        ...

    def bring_sections_back(self, name: str) -> None:
        """Those of a backup, into the newest log; likewise."""
        ...

    def bring_events_back(self, name: str) -> None:
        """The older store in the place of the newer one; likewise."""
        ...

    def close(self) -> None: ...


# --- in files --------------------------------------------------------------------------------------


@dataclass
class Files:
    """SQLite, beside one another in one folder."""

    folder: Path
    backups: Path
    scenario: Watched = field(init=False)

    def __post_init__(self) -> None:
        self.scenario = Watched(self.folder)

    def data(self) -> bytes:
        """Databases, write-ahead logs, head store and ledger."""
        files = sorted(each for each in self.folder.iterdir() if each.is_file())
        return b"".join(each.read_bytes() for each in files)

    def settled(self) -> bytes:
        return self.data()

    def blocks(self) -> list[Block]:
        with contextlib.closing(sqlite3.connect(self.folder / "events.db")) as here:
            rows = here.execute("SELECT start, count, salts, packed FROM blocks").fetchall()
        return [Block(*row) for row in rows]

    def back_up(self, name: str) -> None:
        for database in ("muniment", "events"):
            copy = self.backups / f"{name}.{database}"
            copy.unlink(missing_ok=True)
            with (
                contextlib.closing(sqlite3.connect(self.folder / f"{database}.db")) as here,
                contextlib.closing(sqlite3.connect(copy)) as there,
            ):
                # a copy outlives no crash: nothing waits for the disk
                there.execute("PRAGMA synchronous = OFF")
                there.execute("PRAGMA journal_mode = OFF")
                here.backup(there)

    @contextlib.contextmanager
    def older_log(self, name: str) -> Iterator[None]:
        path, kept = self.folder / "muniment.db", self.backups / "kept"
        shutil.copy(path, kept)
        shutil.copy(self.backups / f"{name}.muniment", path)
        try:
            yield
        finally:
            shutil.copy(kept, path)
            kept.unlink()

    def bring_sections_back(self, name: str) -> None:
        with contextlib.closing(sqlite3.connect(self.folder / "muniment.db")) as here:
            here.execute("ATTACH ? AS older", (str(self.backups / f"{name}.muniment"),))
            here.execute("INSERT OR IGNORE INTO sections SELECT * FROM older.sections")
            here.execute("DELETE FROM tombstones")
            here.commit()

    def bring_events_back(self, name: str) -> None:
        for rest in ("events.db-wal", "events.db-shm"):
            (self.folder / rest).unlink(missing_ok=True)
        shutil.copy(self.backups / f"{name}.events", self.folder / "events.db")

    def close(self) -> None:
        """There is nothing but files."""


# --- on PostgreSQL ---------------------------------------------------------------------------------


class StruckStore(PostgreSQLStore):
    """What a scenario asks of its store besides."""

    def __init__(self, conninfo: str, strike: Hook) -> None:
        super().__init__(conninfo, secrets.token_hex(4))
        self._strike = strike


@dataclass
class OnPostgreSQL(Watched):
    """Log and events in databases of one server; head store and ledger elsewhere, in files."""

    log: str = ""
    events_at: str = ""

    async def __aenter__(self) -> Self:
        self.key = SigningKey.generate(ORIGIN)
        self.keys, self.retired = [self.key], []
        store, heads = StruckStore(self.log, self.hook), HeadFile(self.folder / "head")
        with contextlib.closing(store), contextlib.closing(heads):
            found_log(store, heads, self.keyring, lambda key: self._started(key.vkey))
        self._open()
        await self.take_in()
        return self

    def open_events(self) -> EventStore:
        return PostgreSQLEventStore(self.events_at, secrets.token_hex(4))

    def _open_node(self, name: str, ahead: timedelta = timedelta(0)) -> Node:
        strike = self._strike_of_this_process()
        with contextlib.ExitStack() as opened:
            store = StruckStore(self.log, strike)
            opened.callback(store.close)
            heads = ScenarioHeads(self.folder / "head", strike)
            opened.callback(heads.close)
            store_: Any = store  # it keeps what `ScenarioStore` promises
            connectors = self._connectors(strike)
            service = nodes._served(
                self, PREFIX, connectors, strike, store_, heads, name, ahead, shared=True
            )
            opened.pop_all()
        return Node(store=store_, heads=heads, service=service)


@dataclass
class Server:
    """Databases of one server; dumps of them are restored on another, or in their place."""

    folder: Path
    backups: Path
    servers: LogServers
    scenario: Watched = field(init=False)

    def __post_init__(self) -> None:
        self._name = f"kept_{secrets.token_hex(5)}"
        self._log, self._log_admin = make_database(self.servers.log, self._name, "log")
        self._events_name = f"{self._name}_events"
        self._events, self._events_admin = make_database(
            self.servers.log, self._events_name, "events"
        )
        self.scenario = OnPostgreSQL(self.folder, log=self._log, events_at=self._events)

    def data(self) -> bytes:
        """Tables, indexes and write-ahead log of the whole server, head store and ledger."""
        home = self.servers.log.log_files()[0].parent.parent
        found: list[bytes] = []
        for each in (*home.rglob("*"), *self.folder.iterdir()):
            # the server removes files while it is looked at
            with contextlib.suppress(FileNotFoundError):
                if each.is_file() and "programs" not in each.parts:
                    found.append(each.read_bytes())
        return b"".join(found)

    def settled(self) -> bytes:
        # until then it may lie in the write-ahead log alone, and there a page's head in its midst
        with psycopg.connect(self.servers.log.superuser_dsn, autocommit=True) as admin:
            admin.execute("CHECKPOINT")
        return self.data()

    def blocks(self) -> list[Block]:
        with psycopg.connect(self._events_admin) as admin:
            rows = admin.execute(
                "SELECT p.start, p.count, c.salts, c.packed"
                " FROM muniment.contents c JOIN muniment.places p USING (row)"
            ).fetchall()
        return [Block(*row) for row in rows]

    def back_up(self, name: str) -> None:
        _run("pg_dump", self._log_admin, "--format=custom", f"--file={self.backups / name}.log")
        dump = f"--file={self.backups / name}.events"
        _run("pg_dump", self._events_admin, "--format=custom", dump)

    @contextlib.contextmanager
    def older_log(self, name: str) -> Iterator[None]:
        """The dump on another server, and the service is sent there."""
        scenario = self.scenario
        assert isinstance(scenario, OnPostgreSQL)
        with self._restored_elsewhere(name) as there:
            role = conninfo_to_dict(self._log)
            scenario.log = make_conninfo(
                self.servers.heads.address,
                dbname=there, user=role["user"], password=role["password"],
            )  # fmt: skip
            try:
                yield
            finally:
                scenario.log = self._log

    @contextlib.contextmanager
    def _restored_elsewhere(self, name: str) -> Iterator[str]:
        """Of the log; on the first server its own dump would lie in the write-ahead log."""
        server, role = self.servers.heads, conninfo_to_dict(self._log)
        with psycopg.connect(server.superuser_dsn, autocommit=True) as admin:
            identifier = sql.Identifier(str(role["user"]))
            made = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                identifier, sql.Literal(role["password"])
            )
            with contextlib.suppress(psycopg.errors.DuplicateObject):
                admin.execute(made)
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self._name)))
            try:
                into = make_conninfo(server.superuser_dsn, dbname=self._name)
                _run("pg_restore", into, str(self.backups / f"{name}.log"))
                yield self._name
            finally:
                _drop(admin, self._name)

    def bring_sections_back(self, name: str) -> None:
        with self._restored_elsewhere(name) as there:
            dsn = make_conninfo(self.servers.heads.superuser_dsn, dbname=there)
            with psycopg.connect(dsn) as older:
                rows = older.execute("SELECT * FROM muniment.sections").fetchall()
        with psycopg.connect(self._log_admin, autocommit=True) as admin:
            admin.execute("DELETE FROM muniment.tombstones")
            admin.cursor().executemany(
                "INSERT INTO muniment.sections VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                rows,
            )

    def bring_events_back(self, name: str) -> None:
        with psycopg.connect(self.servers.log.superuser_dsn, autocommit=True) as admin:
            _drop(admin, self._events_name)
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self._events_name)))
        _run("pg_restore", self._events_admin, str(self.backups / f"{name}.events"))

    def close(self) -> None:
        with psycopg.connect(self.servers.log.superuser_dsn, autocommit=True) as admin:
            for each in (self._name, self._events_name):
                _drop(admin, each)


def _drop(admin: "psycopg.Connection[Any]", name: str) -> None:
    admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _run(program: str, dsn: str, *arguments: str) -> None:
    said: dict[str, Any] = conninfo_to_dict(dsn)
    password = said.pop("password", "")
    subprocess.run(
        [find_binaries()[0].bin / program, f"--dbname={make_conninfo(**said)}", *arguments],
        check=True,
        env={**os.environ, "PGPASSWORD": password},
        capture_output=True,
    )
