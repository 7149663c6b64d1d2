"""One installation as an operator makes it: a real PostgreSQL, the service as a process, people."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from muniment.connectors.postgresql import scram_verifier, setup_sql
from muniment.testing.postgres_server import PostgresServer, find_binaries

PROGRAM = str(Path(sys.executable).with_name("muniment"))
RESOURCE = "my-database"
#: of `runtime/starter.toml`: an engineer, an SRE lead on call, an administrator
LOGINS = ("ana", "bo", "admin")


@dataclass(frozen=True, kw_only=True)
class Installation:
    """What tests drive: nothing but the command line and the target."""

    folder: Path
    url: str
    tokens: dict[str, str]
    server: PostgresServer
    #: an empty folder for what commands write
    desk: Path

    @property
    def log_key(self) -> Path:
        return self.folder / "keys/log.vkey"

    def environment(self, as_: str) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "MUNIMENT_"))}
        mine = {"MUNIMENT_URL": self.url, "MUNIMENT_TOKEN": self.tokens[as_], "COLUMNS": "100"}
        return {**inherited, **mine}

    def muniment(self, *args: str, as_: str = "ana") -> subprocess.CompletedProcess[str]:
        """One command, to its end."""
        return subprocess.run(
            [PROGRAM, *args],
            env=self.environment(as_),
            cwd=self.desk,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *args: str, as_: str = "ana") -> subprocess.Popen[str]:
        """One command that goes on while the test does something else."""
        return subprocess.Popen(
            [PROGRAM, *args],
            env=self.environment(as_),
            cwd=self.desk,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def json(self, *args: str, as_: str = "ana") -> Any:
        """What a command that succeeds prints with `--json`."""
        done = self.muniment(*args, "--json", as_=as_)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def request(self, *args: str, as_: str = "ana") -> str:
        """A case that waits for approval."""
        ask = ("request", RESOURCE, "readwrite", "--reason", "fix order 4711", "--ticket", "OPS-1")
        case: str = self.json(*ask, *args, as_=as_)["case"]
        return case

    def approved(self, *args: str) -> str:
        """A case that ana may pick up."""
        case = self.request(*args)
        self.json("approve", case, as_="bo")
        return case


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The service with its target, made by `init` and `token create`, run by `serve`."""
    if not find_binaries():
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("no PostgreSQL binaries on this machine")
    base = tmp_path_factory.mktemp("installation")
    with PostgresServer.start(base / "target") as server:
        password = secrets.token_urlsafe(16)
        _prepare(server, password)
        folder, desk = base / "conf", base / "desk"
        desk.mkdir()
        _operate("init", str(folder), "--postgres", server.address)
        tokens = {login: _token(folder, login) for login in LOGINS}
        environment = {**os.environ, "MUNIMENT_POSTGRES_PASSWORD": password}
        with _serving(folder, environment, base / "serve.log") as url:
            yield Installation(folder=folder, url=url, tokens=tokens, server=server, desk=desk)


@contextlib.contextmanager
def _serving(folder: Path, environment: dict[str, str], log: Path) -> Iterator[str]:
    """`muniment serve` for as long as it is entered; its address."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            [PROGRAM, "serve", "--dir", str(folder), "--listen", "127.0.0.1:0"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    with process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith("muniment serves on "), log.read_text()
            yield said.split()[-1]
            process.terminate()
            assert process.wait(30) == 0, "the service did not drain"
        finally:
            process.kill()


def _prepare(server: PostgresServer, password: str) -> None:
    verifier = scram_verifier(password)
    with psycopg.connect(server.superuser_dsn, autocommit=True) as admin:
        for statement in (
            "CREATE ROLE app_rw NOLOGIN",
            "CREATE TABLE orders (id int)",
            "GRANT SELECT, INSERT ON orders TO app_rw",
            setup_sql(user="muniment_connector", grants=["app_rw"], verifier=verifier),
        ):
            admin.execute(statement.encode())


def _operate(*args: str) -> str:
    done = subprocess.run([PROGRAM, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _token(folder: Path, login: str) -> str:
    made = _operate("token", "create", login, "--dir", str(folder), "--json")
    token: str = json.loads(made)["token"]
    return token
