"""A service whose witnesses are other programs: ours, and one that we did not write."""

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psycopg
import pytest

from acceptance.conftest import (
    LOGINS,
    PROGRAM,
    RESOURCE,
    Installation,
    _operate,
    _prepare,
    _serving,
    _token,
)
from acceptance.witness_program import muniment as witness
from acceptance.witness_program import serving
from muniment.testing.postgres_server import PostgresServer, find_binaries

pytestmark = [pytest.mark.deep, pytest.mark.target, pytest.mark.alone]
PASSWORD = "of the tests"
WITNESSES = """
[witnesses]
policy = "witnesses.policy"
timeout = "5s"
allow = [{origins}]
"""


@dataclass(frozen=True, kw_only=True)
class Witnessed:
    """An installation that nobody serves yet, and what its witnesses are called."""

    base: Path
    server: PostgresServer
    tokens: dict[str, str]
    ours: Path
    port: int

    @property
    def folder(self) -> Path:
        return self.base / "conf"

    @contextlib.contextmanager
    def service(self) -> Iterator[Installation]:
        environment = {**os.environ, "MUNIMENT_POSTGRES_PASSWORD": PASSWORD}
        with _serving(self.folder, environment, self.base / "serve.log") as url:
            yield Installation(
                folder=self.folder, url=url, tokens=self.tokens, server=self.server,
                desk=self.base,
            )  # fmt: skip


@contextlib.contextmanager
def foreign(base: Path, vkey: str, origin: str) -> Iterator[tuple[str, str]]:
    """`aics-witness`: its key, and the prefix that it is asked under."""
    if importlib.util.find_spec("aics_witness") is None:
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("aics-witness is not installed; `make test-deep` installs it")
    program = [sys.executable, "-m", "aics_witness"]
    config = ["--config", str(base / "aics.json")]
    made = subprocess.run(
        [*program, "init", "--name", "aics.example/witness", *config],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    adding = [*program, "add-log", "--origin", origin, "--vkey", vkey, *config]
    subprocess.run(adding, capture_output=True, check=True)
    command = [*program, "serve", "--listen", "127.0.0.1:0", *config]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            url = next(line.split()[-1].rpartition("/")[0] for line in lines if "listening" in line)
            yield made.stdout.strip(), url
        finally:
            process.kill()


@pytest.fixture
def witnessed(tmp_path: Path) -> Iterator[Witnessed]:
    if not find_binaries():
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("no PostgreSQL binaries on this machine")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with PostgresServer.start(tmp_path / "target") as server:
        _prepare(server, PASSWORD)
        folder = tmp_path / "conf"
        _operate("init", str(folder), "--postgres", server.address)
        tokens = {login: _token(folder, login) for login in LOGINS}
        vkey = (folder / "keys/log.vkey").read_text().strip()
        ours = tmp_path / "witness"
        key = witness("init", ours, "--name", "witness.example/1")["key"]
        witness("add", ours, vkey)
        with foreign(tmp_path, vkey, vkey.partition("+")[0]) as (other, url):
            (folder / "witnesses.policy").write_text(
                f"log {vkey}\n"
                f"witness ours {key} http://127.0.0.1:{port}\n"
                f"witness aics {other} {url}\n"
                "group both all ours aics\n"
                "quorum both\n"
            )
            origins = [f"http://127.0.0.1:{port}", "/".join(url.split("/")[:3])]
            settings = folder / "muniment.toml"
            text = settings.read_text().replace(
                "[resources.my-database]\n",
                '[resources.my-database]\nissue = "require-witnesses"\n',
            )
            allowed = ", ".join(json.dumps(each) for each in origins)
            settings.write_text(text + WITNESSES.format(origins=allowed))
            yield Witnessed(base=tmp_path, server=server, tokens=tokens, ours=ours, port=port)


def listening(witnessed: Witnessed) -> list[str]:
    return ["--listen", f"127.0.0.1:{witnessed.port}"]


def gauge(service: Installation, name: str) -> float:
    lines = httpx.get(f"{service.url}/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def picked_up(service: Installation, case: str) -> None:
    service.json("credential", case, "--format", "json")
    with psycopg.connect(service.server.superuser_dsn) as admin:
        found = admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (case,)).fetchone()
    assert found is not None


def test_a_grant_waits_for_its_witnesses_and_the_evidence_carries_them(
    witnessed: Witnessed,
) -> None:
    with serving(witnessed.ours, *listening(witnessed)), witnessed.service() as service:
        case = service.approved()
        picked_up(service, case)
        assert gauge(service, "muniment_witness_quorum") == 1
        timeline = service.json("show", case)["timeline"]
        issued = next(line for line in timeline if line["kind"] == "credential:issued")
        assert issued["index"] > 0
        service.json("end", case)
        service.muniment("evidence", "export", case, "-o", "case.json", as_="admin")
    done = service.muniment(
        "verify", "case.json", "--log-key", str(service.log_key),
        "--witnesses", str(witnessed.folder / "witnesses.policy"), "--require", "witnessed",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WITNESSED 2/2" in done.stdout


def test_without_one_of_them_nothing_is_issued_until_it_is_back(witnessed: Witnessed) -> None:
    with witnessed.service() as service:
        case = service.approved()
        refused = service.muniment("credential", case)
        assert refused.returncode != 0
        assert "issues nothing without its witnesses" in refused.stderr
        assert gauge(service, "muniment_witness_quorum") == 0
        with serving(witnessed.ours, *listening(witnessed)):
            # what was undone is seen gone first: after the order's own deadline, at the next attempt
            deadline = time.monotonic() + 120
            while service.json("show", case)["state"] != "approved":
                assert time.monotonic() < deadline
            again = service.muniment("credential", case)
            assert again.returncode == 0, again.stderr


def test_an_older_copy_of_everything_does_not_start_again(witnessed: Witnessed) -> None:
    """Database and head store were put back together: only others remember more."""
    old = witnessed.base / "old"
    with serving(witnessed.ours, *listening(witnessed)):
        with witnessed.service() as service:
            picked_up(service, service.approved())
        shutil.copytree(witnessed.folder, old)
        with witnessed.service() as service:
            picked_up(service, service.approved())
        restored = replace(witnessed, base=witnessed.base / "restored")
        restored.base.mkdir()
        shutil.copytree(old, restored.folder)
        with restored.service() as service:
            troubles = httpx.get(f"{service.url}/readyz")
            assert troubles.status_code == 503
            assert "older copy of the database" in troubles.text
            asked = service.muniment(
                "request", RESOURCE, "readwrite", "--for", "5m", "--reason", "x", "--ticket", "T-1"
            )
            assert "older copy of the database" in asked.stderr
    with restored.service() as service:  # also where nobody says so any more
        assert httpx.get(f"{service.url}/readyz").status_code == 503
    audited = subprocess.run(
        [PROGRAM, "audit", str(old), "--log-key", str(old / "keys/log.vkey"), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    held = subprocess.run(
        [PROGRAM, "audit", str(restored.folder), "--log-key", str(old / "keys/log.vkey"), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert json.loads(audited.stdout)["size"] == json.loads(held.stdout)["size"], (
        "it signed nothing"
    )
