"""What incidents are replayed on: a service, a PostgreSQL whose log it reads, and who is around."""

import contextlib
import json
import os
import secrets
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from acceptance.conftest import LOGINS, PROGRAM, RESOURCE, Installation, _operate, _prepare, _token
from muniment.testing.postgres_server import PostgresServer, find_binaries

#: seconds within which what happened has to be seen, recorded and raised
SOON = 40.0
#: beside the people of the starter configuration
_PEOPLE = """
[people.aud]
groups = ["auditors", "compliance"]

[drift]
every = "1d"
"""
_SOURCE = """
[sources.orders-log]
kind = "file"
reader = "postgresql-json"
resource = "{resource}"
path = "{path}"
heartbeat = "1h"
"""


@dataclass(frozen=True, kw_only=True)
class Stage(Installation):
    """An installation that can be told to read its files again, and to stop."""

    process: "subprocess.Popen[str]"

    @property
    def settings(self) -> Path:
        return self.folder / "muniment.toml"

    @property
    def database(self) -> Path:
        return self.folder / "data/muniment.db"

    def headers(self, word: bytes) -> list[str]:
        """The records of the log in which a word stands, as the database has them."""
        database = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        with contextlib.closing(database) as connection:
            found = [bytes(data) for (data,) in connection.execute("SELECT header FROM entries")]
        return [each.decode() for each in found if word in each]

    def reload(self) -> None:
        _operate("reload", "--dir", str(self.folder))

    def disable(self, login: str) -> None:
        head = f"[people.{login}]\n"
        text = self.settings.read_text()
        self.settings.write_text(text.replace(head, f"{head}active = false\n"))
        self.reload()

    def stop(self) -> None:
        """To its end: nobody has the database open any more."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, "the service did not drain"

    def api(self, as_: str) -> httpx.Client:
        """For what would take too many commands."""
        headers = {"Authorization": f"Bearer {self.tokens[as_]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def proved_events(self, *which: str) -> list[dict[str, Any]]:
        """What sources sent, bit for bit, checked offline as soon as the log has all of it."""

        def prove() -> tuple[str, bool]:
            file = f"events-{time.monotonic_ns()}.proof"
            done = self.muniment("events", "prove", *which, "-o", file, "--json", as_="aud")
            return file, done.returncode == 0 and json.loads(done.stdout)["waiting"] == 0

        file, _ = until(prove, lambda proved: bool(proved[1]))
        check = self.json("events", "check", file, "--log-key", str(self.log_key))
        found: list[dict[str, Any]] = check["events"]
        return found

    def findings(self, rule: str, words: str = "") -> list[dict[str, Any]]:
        """Of a rule, as soon as there are any, with these words in what they say."""
        with self.api("aud") as api:
            found = until(lambda: _findings(api, rule, words), bool)
        return [self.json("findings", "show", each, as_="aud") for each in found]


def _findings(api: httpx.Client, rule: str, words: str) -> list[str]:
    """Looked for without a command, as it is done again and again."""
    listed = api.get("/v1/findings", params={"rule": rule}).raise_for_status().json()["findings"]
    found = (api.get(f"/v1/findings/{each['finding']}").json() for each in listed)
    return [each["finding"] for each in found if words in said(each)["summary"]]


def require_postgresql() -> None:
    if not find_binaries():
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("no PostgreSQL binaries on this machine")


@contextlib.contextmanager
def staged(
    base: Path,
    *,
    before: Sequence[str] = (),
    settings: str = "",
    rules: Mapping[str, str] | None = None,
    log: Path | None = None,
    logins: Sequence[str] = (),
    tier: str = "prod",
    password: str = "",
) -> Iterator[Stage]:
    """
    `before` is what stood at the target before Muniment came, `rules` go to the policy. `log` is where its log is read, if
    that is not where the server writes it. `logins` are those of `settings`. `password` is that of
    the connector at every target.
    """
    require_postgresql()
    folder, desk = base / "conf", base / "desk"
    desk.mkdir()
    with PostgresServer.start(base / "target", settings={"log_statement": "all"}) as server:
        password = password or secrets.token_urlsafe(16)
        _prepare(server, password)
        by_hand(server, *before)
        _operate("init", str(folder), "--postgres", server.address)
        path = log or server.log_files()[0].parent / "*.json"
        file = folder / "muniment.toml"
        source = _SOURCE.format(resource=RESOURCE, path=path)
        for name, text in (rules or {}).items():
            (folder / "policy/policies" / name).write_text(text)
        starter = file.read_text().replace('tier = "prod"', f'tier = "{tier}"')
        file.write_text(f"{starter}{_PEOPLE}{source}{settings}")
        everybody = (*LOGINS, "aud", *logins)
        with ThreadPoolExecutor() as threads:
            made = threads.map(partial(_token, folder), everybody)
            tokens = dict(zip(everybody, made, strict=True))
        with serving(folder, password, base / "serve.log") as (process, url):
            stage = Stage(
                folder=folder, url=url, tokens=tokens, server=server, desk=desk, process=process
            )
            until(lambda: stage.headers(b'"events:received"'), bool)
            yield stage


@contextlib.contextmanager
def serving(
    folder: Path, password: str, log: Path
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`muniment serve` for as long as it is entered; its address."""
    with log.open("a") as errors:
        process = subprocess.Popen(
            [PROGRAM, "serve", "--dir", str(folder), "--listen", "127.0.0.1:0"],
            env={**os.environ, "MUNIMENT_POSTGRES_PASSWORD": password},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    with process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith("muniment serves on "), log.read_text()
            yield process, said.split()[-1]
        finally:
            process.kill()


def by_hand(server: PostgresServer, *statements: str) -> None:
    """What somebody with every right does at the target, beside Muniment."""
    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def log_in(credential: Any, *, port: int | None = None) -> "psycopg.Connection[Any]":
    connection = credential["credential"]["connection"]
    return psycopg.connect(
        host=connection["host"],
        port=port or connection["port"],
        dbname=connection["database"],
        user=connection["user"],
        password=credential["credential"]["secret"],
        autocommit=True,
    )


def until(look: Callable[[], Any], is_so: Callable[[Any], bool]) -> Any:
    """What was seen once it is so; nothing tells from outside when a service has read a file."""
    deadline = time.monotonic() + SOON
    while True:
        seen = look()
        if is_so(seen):
            return seen
        assert time.monotonic() < deadline, json.dumps(seen, indent=1)
        time.sleep(0.2)


def said(finding: Any) -> dict[str, Any]:
    """What a finding was raised with: its sentence, its detail, its evidence."""
    told: dict[str, Any] = finding["timeline"][0]["sections"]["detail"]
    return told


def lines_of(story: Any, source: str = "orders-log") -> list[dict[str, Any]]:
    """All that one source says of a grant."""
    return [
        {**line, "account": session["account"], "strength": session["strength"]}
        for session in story["observed"]["sessions"]
        if session["source"] == source
        for line in session["lines"]
    ]


def kinds(story: Any) -> list[str]:
    """The kinds of the records of a case, in their order."""
    return [line["kind"] for line in story["timeline"]]
