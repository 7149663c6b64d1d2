"""
Several nodes on one log in PostgreSQL: real processes, each on a folder and wires of its own.

An installation is made in files, moved, and copied for every node. Between a node and each of both
servers stands a wire, so that it can be cut from the log's database, from the head store, or both.
"""

import contextlib
import json
import os
import re
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from muniment.connectors.postgresql import scram_verifier, setup_sql
from muniment.identity.tokens import new_token, token_hash
from muniment.testing.cut_wire import Wire
from muniment.testing.log_servers import LogDatabases, LogServers
from muniment.testing.postgres_server import PostgresServer, find_binaries

PROGRAM: Final = str(Path(sys.executable).with_name("muniment"))
#: seconds; the shortest would be 1
LEASE: Final = 2.0
#: seconds that a target may take over an order: more than others may keep its record waiting
ORDER: Final = 4
#: seconds until a node has read the log and serves, on a machine that does much besides
STARTING: Final = 40.0
#: where nobody has to approve, and where one of the SRE leads has to
OPEN: Final = "staging"
GUARDED: Final = "production"
ROLE: Final = "readwrite"
APPROVER: Final = "bo"
PEOPLE: Final = tuple(f"engineer-{number}" for number in range(8))
_ADDRESS: Final = re.compile(r"http://[\d.]+:\d+")
_STORE: Final = f"""
[store]
log = "env:NODE_LOG"
heads = "env:NODE_HEADS"
lease = "{LEASE:.0f}s"
"""


@dataclass(frozen=True, kw_only=True)
class Wires:
    """The two ways of one node to what all nodes share."""

    log: Wire
    heads: Wire

    def of(self, server: str) -> tuple[Wire, ...]:
        """`log`, `heads` or `both`."""
        return {"log": (self.log,), "heads": (self.heads,), "both": (self.log, self.heads)}[server]


@dataclass(kw_only=True)
class Node:
    """One `muniment serve`."""

    name: str
    role: str
    folder: Path
    wires: Wires
    environment: Mapping[str, str]
    url: str = ""
    process: subprocess.Popen[str] | None = None

    @property
    def output(self) -> Path:
        """What it says, over all its lives."""
        return self.folder.with_suffix(".log")

    def launch(self) -> None:
        with self.output.open("a") as errors:
            self.process = subprocess.Popen(
                [
                    *(PROGRAM, "serve", "--dir", str(self.folder)),
                    *("--listen", "127.0.0.1:0", "--role", self.role),
                ],
                env=clean(self.environment),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def await_address(self) -> None:
        """Once it is launched; fails with its last words."""
        assert self.process is not None
        assert self.process.stdout is not None
        said, _, _ = select.select([self.process.stdout], [], [], STARTING)
        line = self.process.stdout.readline() if said else ""
        found = _ADDRESS.search(line)
        assert found is not None, f"{self.name} does not start: {self.last_words()}"
        self.url = found[0]

    def start(self) -> None:
        self.launch()
        self.await_address()

    def last_words(self) -> str:
        return self.output.read_text()[-3000:]

    def kill(self) -> None:
        """As the kernel, or a power cut, would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As an operator would; it drains."""
        self.thaw()
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(30)
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def get(self, path: str, timeout: float = 5.0) -> httpx.Response | None:
        """None where nothing answers."""
        try:
            return httpx.get(self.url + path, timeout=timeout)
        except httpx.TransportError:
            return None

    def troubles(self) -> list[str] | None:
        """What it says against granting access; None where it does not answer."""
        answer = self.get("/readyz")
        if answer is None:
            return None
        troubles: list[str] = answer.json()["troubles"]
        return troubles

    def await_troubles(self, text: str, seconds: float) -> str:
        """The trouble that has this text, as soon as it says so."""
        return str(within(seconds, lambda: self._trouble_with(text), f"{self.name}: `{text}`"))

    def _trouble_with(self, text: str) -> str | None:
        return next((trouble for trouble in self.troubles() or () if text in trouble), None)

    def await_ready(self, seconds: float) -> None:
        within(seconds, lambda: self.troubles() == [], f"{self.name} is not ready")

    def await_size(self, size: int, seconds: float) -> None:
        """Until it has taken in so many records, and with them what others wrote meanwhile."""
        within(seconds, lambda: self.size() >= size, f"{self.name} does not follow")

    def size(self) -> int:
        """Of the log, as this node knows it."""
        answer = self.get("/metrics")
        assert answer is not None, f"{self.name} does not answer"
        found = re.search(r"^muniment_log_size (\d+)$", answer.text, re.MULTILINE)
        assert found is not None
        return int(found[1])


@dataclass(kw_only=True)
class Cluster:
    """All nodes, both servers of the log, and the target."""

    base: Path
    servers: LogServers
    databases: LogDatabases
    target: PostgresServer
    tokens: Mapping[str, str]
    #: of the connector's account at the target
    password: str
    nodes: list[Node] = field(default_factory=list)
    #: what was moved, and is copied for every node: nobody serves it
    folder: Path
    _held: ExitStack

    @classmethod
    @contextlib.contextmanager
    def running(
        cls,
        base: Path,
        roles: Sequence[str] = ("api", "api", "worker", "worker"),
        settings: str = "",
    ) -> Iterator[Self]:
        """From nothing to nodes that serve; `settings` go behind those of every node."""
        if not find_binaries():
            missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") else pytest.skip
            missing("no PostgreSQL binaries on this machine")
        with ExitStack() as held:
            cluster = cls._made(base, settings, held)
            for number, role in enumerate(roles):
                cluster.nodes.append(cluster.new_node(f"{role}-{number}", role))
            for node in cluster.nodes:
                node.launch()
            for node in cluster.nodes:
                node.await_address()
            yield cluster

    @classmethod
    def _made(cls, base: Path, settings: str, held: ExitStack) -> Self:
        """The log is in PostgreSQL, and nobody serves it yet."""
        servers = held.enter_context(contextlib.closing(LogServers.start(base / "servers")))
        target = held.enter_context(PostgresServer.start(base / "target"))
        cluster = cls(
            base=base,
            servers=servers,
            databases=servers.new(LEASE),
            target=target,
            tokens={login: new_token() for login in (*PEOPLE, APPROVER, "admin")},
            password=secrets.token_urlsafe(16),
            folder=base / "conf",
            _held=held,
        )
        cluster._prepare_target()
        operate("init", str(cluster.folder))
        cluster._write_settings(settings)
        operate("migrate", "--dir", str(cluster.folder), environment=cluster.environment())
        return cluster

    @property
    def log_key(self) -> Path:
        return self.folder / "keys/log.vkey"

    @property
    def apis(self) -> list[Node]:
        return [node for node in self.nodes if node.role != "worker"]

    @property
    def workers(self) -> list[Node]:
        return [node for node in self.nodes if node.role == "worker"]

    def environment(self, wires: Wires | None = None) -> dict[str, str]:
        """Of whatever works on the log: through these wires, or straight."""
        log, heads = self.databases.log, self.databases.heads
        if wires is not None:
            log = make_conninfo(log, port=wires.log.port)
            heads = make_conninfo(heads, port=wires.heads.port)
        return {"NODE_LOG": log, "NODE_HEADS": heads, "MUNIMENT_POSTGRES_PASSWORD": self.password}

    def new_node(self, name: str, role: str) -> Node:
        """On a copy of the folder, not started."""
        wires = Wires(
            log=self._held.enter_context(Wire.to(_port(self.databases.log))),
            heads=self._held.enter_context(Wire.to(_port(self.databases.heads))),
        )
        node = Node(
            name=name,
            role=role,
            folder=Path(shutil.copytree(self.folder, self.base / name)),
            wires=wires,
            environment=self.environment(wires),
        )
        self._held.callback(node.kill)
        return node

    def size(self) -> int:
        """Of the log, as its database has it."""
        with psycopg.connect(self.databases.log_admin) as admin:
            [(size,)] = admin.execute("SELECT size FROM muniment.log_state").fetchall()
            return int(size)

    def accounts(self) -> set[str]:
        """What is at the target in the name of grants."""
        with psycopg.connect(self.target.superuser_dsn) as admin:
            rows = admin.execute(r"SELECT rolname FROM pg_roles WHERE rolname LIKE 'mun\_%'")
            return {name for (name,) in rows}

    def ask(
        self, node: Node, login: str, method: str, path: str, body: Any = None, **more: Any
    ) -> httpx.Response:
        """One call at one node, outside of all load."""
        headers = {"Authorization": f"Bearer {self.tokens[login]}"}
        return httpx.request(method, node.url + path, json=body, headers=headers, **more)

    def _prepare_target(self) -> None:
        setup = setup_sql(
            user="muniment_connector", grants=["app_rw"], verifier=scram_verifier(self.password)
        )
        with psycopg.connect(self.target.superuser_dsn, autocommit=True) as admin:
            admin.execute("CREATE ROLE app_rw NOLOGIN")
            admin.execute(setup.encode())

    def _write_settings(self, more: str) -> None:
        path = self.folder / "muniment.toml"
        text = path.read_text("utf-8").replace("[people.ana]", _people() + "[people.ana]")
        limits = f'[limits]\norder_timeout = "{ORDER}s"\nasks_per_minute = 100000\n'
        targets = "".join(
            _resource(name, tier, self.target.address)
            for name, tier in ((OPEN, "staging"), (GUARDED, "prod"))
        )
        path.write_text(f"{text}\n{limits}\n{targets}\n{_STORE}\n{more}", "utf-8")
        tokens = (
            f"[{token_hash(token).hex()}]\nfor = {json.dumps(login)}\n\n"
            for login, token in self.tokens.items()
        )
        (self.folder / "tokens.toml").write_text("".join(tokens), "utf-8")


def _port(conninfo: str) -> int:
    return int(str(conninfo_to_dict(conninfo)["port"]))


def _people() -> str:
    return "".join(f'[people.{login}]\ngroups = ["engineering"]\n\n' for login in PEOPLE)


def _resource(name: str, tier: str, address: str) -> str:
    return f"""
[resources.{name}]
connector = "postgresql"
tier = "{tier}"
environment = "{name}"
endpoints = [{json.dumps(address)}]
user = "muniment_connector"
password = "env:MUNIMENT_POSTGRES_PASSWORD"

[resources.{name}.roles.{ROLE}]
grants = ["app_rw"]
"""


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "MUNIMENT_"))}
    return {**inherited, **environment}


def operate(*arguments: str, code: int = 0, environment: Mapping[str, str] | None = None) -> str:
    """One command to its end; what it prints."""
    done = subprocess.run(
        [PROGRAM, *arguments],
        env=clean(environment or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout or done.stderr


def within(seconds: float, look: Any, what: str) -> Any:
    """What `look` gives once it gives something: nothing tells when, so it is asked, up to then."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)
    return found
