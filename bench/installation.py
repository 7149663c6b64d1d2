"""An installation for one benchmark: made by `init`, run by `serve`, as anybody would."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MUNIMENT = (sys.executable, "-P", "-c", "from muniment.interfaces.cli.main import main; main()")
PASSWORD = "MUNIMENT_POSTGRES_PASSWORD"  # noqa: S105 (the variable's name)
RESOURCE, ROLE = "my-database", "readwrite"
#: the same database below production, where the starter policy asks nobody to approve
AUTO = "my-staging"
_PATIENCE = 60.0
_TICK = os.sysconf("SC_CLK_TCK")
_NOWHERE = "host=127.0.0.1 port=1 dbname=postgres"
_LIMITS = "\n[limits]\nasks_per_minute = 1000000\n"
_AUTO = """
[resources.{name}]
connector = "postgresql"
tier = "staging"
environment = "staging"
endpoints = ["{dsn}"]
user = "muniment_connector"
password = "env:MUNIMENT_POSTGRES_PASSWORD"

[resources.{name}.roles.readwrite]
grants = ["app_rw"]
"""


class Failed(Exception):
    """what a benchmark needs did not work"""


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A configuration folder with tokens for its starter people."""

    folder: Path
    #: the connector's password at the target
    password: str = field(default="", repr=False)
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def database(self) -> Path:
        return self.folder / "data" / "muniment.db"

    @property
    def vkey(self) -> Path:
        return self.folder / "keys" / "log.vkey"

    @contextlib.contextmanager
    def served(self) -> Iterator["Served"]:
        """`muniment serve` as a process of its own, ended with SIGTERM."""
        with (self.folder / "serve.log").open("wb") as errors:
            process = subprocess.Popen(  # noqa: S603 (our own program and arguments)
                [*MUNIMENT, "serve", "--dir", str(self.folder), "--listen", "127.0.0.1:0"],
                env=environment(self.password), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        with ended(process):
            port = first_port(process)
            if not port:
                said = (self.folder / "serve.log").read_text("utf-8")[-1000:]
                raise Failed(f"the service did not start: {said}")
            yield Served(port=port, pid=process.pid, tokens=self.tokens)


@dataclass(frozen=True, kw_only=True)
class Served:
    """A process that listens on 127.0.0.1."""

    port: int
    pid: int
    tokens: Mapping[str, str] = field(repr=False)

    def cpu(self) -> float:
        """Seconds of processor time that it has taken so far, all threads."""
        return cpu_of(self.pid)


def install(folder: Path, dsn: str = _NOWHERE, password: str = "") -> Installation:
    """Made by the commands that an operator would give."""
    cli("init", str(folder), "--postgres", dsn)
    settings = folder / "muniment.toml"
    text = settings.read_text("utf-8") + _LIMITS + _AUTO.format(name=AUTO, dsn=dsn)
    settings.write_text(text, "utf-8")
    tokens = {login: _token(folder, login) for login in ("ana", "bo", "admin")}
    return Installation(folder=folder, password=password, tokens=tokens)


def _token(folder: Path, login: str) -> str:
    return str(json.loads(cli("token", "create", login, "--dir", str(folder), "--json"))["token"])


def cli(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 (as above)
        [*MUNIMENT, *arguments], env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Failed(f"`muniment {' '.join(arguments)}`: {done.stderr.strip()[-1000:]}")
    return done.stdout


def environment(password: str = "") -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MUNIMENT_", "PG"))}
    return {**kept, PASSWORD: password}


def first_port(process: "subprocess.Popen[str]") -> int:
    """The port in the first line that a server prints; 0 if it ended, or said nothing for long."""
    if process.stdout is None:
        return 0
    ready, _, _ = select.select([process.stdout], [], [], _PATIENCE)
    line = process.stdout.readline() if ready else ""
    port = line.strip().rpartition(":")[2]
    return int(port) if port.isdecimal() else 0


@contextlib.contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator[None]:
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK
