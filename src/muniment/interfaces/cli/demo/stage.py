"""What the demo is played on: a PostgreSQL, a configuration, the service, and three people."""

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psycopg

from muniment.connectors.postgresql import scram_verifier, setup_sql
from muniment.errors import Unavailable
from muniment.interfaces.cli.api import Api
from muniment.testing.postgres_server import PostgresServer

#: the same program, by the same interpreter, whatever is on the PATH; -P keeps the folder that we
#: happen to stand in out of it
MUNIMENT = (sys.executable, "-P", "-c", "from muniment.interfaces.cli.main import main; main()")
PEOPLE = ("ana", "bo", "admin")
RESOURCE, ROLE = "orders-prod", "readwrite"
_ACCOUNT, _APP_ROLE, _DATABASE = "muniment_connector", "orders_rw", "orders"
_PASSWORD = "MUNIMENT_POSTGRES_PASSWORD"  # noqa: S105 (the variable's name)
#: seconds after which whatever we wait for is given up
PATIENCE = 20.0

#: ends the service ($1) once the pipe on its input closes, however the demo died
_WATCHDOG = 'read _; kill "$1"'

_ORDERS = """
CREATE ROLE orders_rw NOLOGIN;
CREATE TABLE orders (id int PRIMARY KEY, customer text, state text);
INSERT INTO orders VALUES (41, 'Ada', 'shipped'), (42, 'Grace', 'stuck'), (43, 'Edsger', 'new');
GRANT SELECT, INSERT, UPDATE ON orders TO orders_rw;
"""


@dataclass(frozen=True)
class Answer:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def last_words(self) -> str:
        """The message of a command that failed."""
        return last_line(self.err).removeprefix("muniment: ")

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.out)
        return value


@dataclass(kw_only=True)
class Service:
    """One running `muniment serve`."""

    url: str
    process: subprocess.Popen[str]
    tokens: dict[str, str] = field(repr=False)
    watchdog: subprocess.Popen[bytes] = field(repr=False)
    _apis: dict[str, Api] = field(default_factory=dict, repr=False)

    def api(self, login: str) -> Api:
        """The service as this person sees it."""
        if login not in self._apis:
            self._apis[login] = Api(self.url, self.tokens[login], timeout=PATIENCE)
        return self._apis[login]

    def stop(self) -> int:
        """SIGTERM and its exit code; SIGKILL if that is not heeded. Safe to repeat."""
        while self._apis:
            self._apis.popitem()[1].close()
        self.watchdog.kill()
        self.watchdog.communicate()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


@dataclass(kw_only=True)
class Stage:
    """Made by `set_up`; everything that runs is ended by `close`, however the story ended."""

    work: Path
    postgres: PostgresServer
    #: of the connector's account: in the environment of the service, and nowhere else
    password: str = field(repr=False)
    tokens: dict[str, str] = field(default_factory=dict, repr=False)
    service: Service | None = None
    #: what the acts leave for those that come after
    cases: dict[str, str] = field(default_factory=dict)
    #: how ana connects with each credential
    logins: dict[str, str] = field(default_factory=dict, repr=False)
    #: secrets that were handed out, to be looked for afterwards
    handed_out: list[str] = field(default_factory=list, repr=False)
    _running: list[Service] = field(default_factory=list)

    @classmethod
    @contextlib.contextmanager
    def set_up(cls, work: Path) -> Iterator[Self]:
        with PostgresServer.start(work / "postgresql") as postgres:
            stage = cls(work=work, postgres=postgres, password=secrets.token_urlsafe(24))
            try:
                stage.prepare()
                yield stage
            finally:
                stage.close()

    def prepare(self) -> None:
        """The target, the configuration, tokens, and the service on them."""
        self._prepare_target()
        dsn = f"host={self.postgres.host} port={self.postgres.port} dbname={_DATABASE}"
        self._must("init", str(self.folder), "--postgres", dsn, "--role", _APP_ROLE)
        settings = self.folder / "muniment.toml"
        text = settings.read_text("utf-8")
        settings.write_text(text.replace("resources.my-database", f"resources.{RESOURCE}"), "utf-8")
        self.tokens = {login: self.new_token(self.folder, login) for login in PEOPLE}
        self.service = self.serve(self.folder)

    def _prepare_target(self) -> None:
        """What `init` prints for the owner of a database, run by the owner of this one."""
        with psycopg.connect(self.postgres.superuser_dsn, autocommit=True) as owner:
            owner.execute(f"CREATE DATABASE {_DATABASE}".encode())
        with self.as_owner() as owner:
            owner.execute(_ORDERS.encode())
            verifier = scram_verifier(self.password)
            owner.execute(setup_sql(user=_ACCOUNT, grants=[_APP_ROLE], verifier=verifier).encode())

    @property
    def folder(self) -> Path:
        """The configuration folder, as `init` made it."""
        return self.work / "muniment"

    @property
    def vkey(self) -> Path:
        return self.folder / "keys" / "log.vkey"

    def bundle(self, name: str) -> Path:
        """Where the evidence of a case is exported to."""
        return self.work / f"{name}.bundle.json"

    @property
    def log(self) -> Path:
        """What the service wrote to its standard error."""
        return self.work / "serve.log"

    @property
    def version(self) -> str:
        return f"{self.postgres.binaries.major} ({self.postgres.binaries.name})"

    @property
    def live(self) -> Service:
        if self.service is None:
            raise Unavailable("the service is stopped")
        return self.service

    def as_owner(self) -> "psycopg.Connection[Any]":
        dsn = self.postgres.superuser_dsn.replace("dbname=postgres", f"dbname={_DATABASE}")
        return psycopg.connect(dsn, autocommit=True)

    def roles_of_grants(self) -> list[str]:
        """Login roles of grants at the target, asked as its owner and not as Muniment."""
        with self.as_owner() as owner:
            found = owner.execute(r"SELECT rolname FROM pg_roles WHERE rolname LIKE 'mun\_%'")
            return [name for (name,) in found.fetchall()]

    # --- processes --------------------------------------------------------------------------------

    def cli(self, *arguments: str | Path) -> Answer:
        """A command as a process of its own, without any secret in its environment."""
        done = subprocess.run(  # noqa: S603 (our own program and arguments)
            [*MUNIMENT, *map(str, arguments)],
            env=_environment(),
            cwd=self.work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def check(self, command: str, file: Path, *options: str | Path) -> Answer:
        """`verify`, `replay` or `audit` of a file against the log's public key, in JSON."""
        return self.cli(command, file, "--log-key", self.vkey, *options, "--json")

    def verify(self, file: Path, *options: str | Path) -> Answer:
        return self.check("verify", file, *options)

    def _must(self, *arguments: str) -> Answer:
        answer = self.cli(*arguments)
        if answer.code:
            raise Unavailable(f"`muniment {arguments[0]}` failed: {answer.last_words}")
        return answer

    def new_token(self, folder: Path, login: str) -> str:
        answer = self._must("token", "create", login, "--dir", str(folder), "--json")
        return str(answer.json["token"])

    def serve(self, folder: Path, log: Path | None = None) -> Service:
        """Start the service on a folder; raises `Unavailable` with its last words."""
        log = log or self.log
        with log.open("ab") as errors:
            process = subprocess.Popen(  # noqa: S603 (as above)
                [*MUNIMENT, "serve", "--dir", str(folder), "--listen", "127.0.0.1:0"],
                env={**_environment(), _PASSWORD: self.password},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        service = Service(url="", process=process, tokens=self.tokens, watchdog=_watch(process.pid))
        self._running.append(service)
        service.url = _address(process)
        if not service.url:
            code, said = service.stop(), last_line(log.read_text("utf-8", "replace"))
            raise Unavailable(f"the service did not start (exit code {code}): {said}")
        return service

    @contextlib.contextmanager
    def served(self, folder: Path, **more_tokens: str) -> Iterator[Service]:
        """The service on a copy, for as long as an attack takes."""
        service = self.serve(folder, folder / "serve.log")
        service.tokens = {**self.tokens, **more_tokens}
        try:
            yield service
        finally:
            service.stop()

    def stop_service(self) -> int:
        code = self.live.stop()
        self.service = None
        return code

    def close(self) -> None:
        """Safe to repeat."""
        for service in self._running:
            service.stop()
        self.service = None

    # --- copies -----------------------------------------------------------------------------------

    def put_aside(self) -> None:
        """A copy of database and head store as they are now, taken beside the running service."""
        aside = self.work / "older"
        aside.mkdir()
        with (
            contextlib.closing(sqlite3.connect(database(self.folder))) as source,
            contextlib.closing(sqlite3.connect(aside / "muniment.db")) as goal,
        ):
            source.backup(goal)
        shutil.copy(self.folder / "head" / "head", aside / "head")

    def put_back(self, folder: Path, *, head: bool) -> None:
        """Put that older copy in place of the database of a stopped service."""
        for path in database(folder).parent.glob("muniment.db*"):
            path.unlink()
        shutil.copy(self.work / "older" / "muniment.db", database(folder))
        if head:
            shutil.copy(self.work / "older" / "head", folder / "head" / "head")

    def copy(self, name: str) -> Path:
        """All that the stopped service left, database, head store and keys, for one attack."""
        return Path(shutil.copytree(self.folder, self.work / "attacks" / name))


def _watch(pid: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 (a constant, and a number)
        ["/bin/sh", "-c", _WATCHDOG, "watchdog", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _environment() -> dict[str, str]:
    """Ours, without what belongs to another installation or to libpq."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MUNIMENT_", "PG"))}
    return {**kept, "PYTHONUTF8": "1"}


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing was said"])[-1]


def database(folder: Path) -> Path:
    return folder / "data" / "muniment.db"


def _address(process: "subprocess.Popen[str]") -> str:
    """What `serve` prints once it listens; empty if it ended, or said nothing for too long."""
    if process.stdout is None:
        return ""
    ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
    words = process.stdout.readline().split() if ready else []
    return words[-1] if words else ""
