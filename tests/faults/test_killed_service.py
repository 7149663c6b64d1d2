"""A service that is killed, or stopped and woken, at every step of an issue and of an end."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-incomplete-defs=False
# a fixture says what it is by its name

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from muniment.connectors.postgresql import scram_verifier, setup_sql
from muniment.errors import ConfigInvalid, TargetUnavailable
from muniment.testing.postgres_server import PostgresServer

pytestmark = [pytest.mark.deep, pytest.mark.target, pytest.mark.alone]
MUNIMENT = [sys.executable, "-m", "muniment"]
INTERRUPTED = [sys.executable, str(Path(__file__).parent / "interrupted_service.py")]
ISSUE = [
    f"{when}:{step}"
    for step in ("clock", "intent", "order", "issued")
    for when in ("before", "after")
]
END = [
    f"{when}:{step}"
    for step in ("declared", "revoke", "probe", "verified")
    for when in ("before", "after")
]
ORDER_TIMEOUT = 2


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    try:
        server = PostgresServer.start(tmp_path_factory.mktemp("pg"))
    except (ConfigInvalid, TargetUnavailable) as error:
        if os.environ.get("MUNIMENT_REQUIRE_TARGETS"):
            raise
        pytest.skip(str(error))
    with server, psycopg.connect(server.superuser_dsn, autocommit=True) as admin:
        admin.execute("CREATE ROLE app_rw NOLOGIN")
        admin.execute(
            setup_sql(user="muniment_connector", grants=["app_rw"], verifier=scram_verifier("pw"))
        )
        yield server


class Installation:
    """One folder, its service in whatever state, and what stands at the target."""

    def __init__(self, folder: Path, postgres) -> None:
        self.folder, self.server = folder, postgres
        self.environment = {**os.environ, "MUNIMENT_POSTGRES_PASSWORD": "pw"}
        self.process: Any = None
        folder.parent.mkdir(exist_ok=True)
        self.log = (folder.parent / "serve.log").open("a")
        dsn = f"host=127.0.0.1 port={self.server.port} dbname=postgres"
        self.run("init", str(folder), "--postgres", dsn)
        settings = folder / "muniment.toml"
        settings.write_text(
            settings.read_text() + f'\n[limits]\norder_timeout = "{ORDER_TIMEOUT}s"\n'
        )
        self.tokens = {
            login: json.loads(self.run("token", "create", login, "--dir", str(folder), "--json"))[
                "token"
            ]
            for login in ("ana", "bo", "admin")
        }

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*MUNIMENT, *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            check=True,
            timeout=60,
        )
        return done.stdout

    def start(self, *interruption: str) -> None:
        self.forget()
        program = [*INTERRUPTED, *interruption, "--"] if interruption else MUNIMENT
        self.process = subprocess.Popen(
            [*program, "serve", "--dir", str(self.folder), "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=self.environment,
        )
        line = self.process.stdout.readline()
        assert "serves on" in line, (self.folder.parent / "serve.log").read_text()[-2000:]
        self.url = line.split()[-1]

    def forget(self) -> None:
        if self.process is not None:
            self.process.stdout.close()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(30)
        self.forget()

    def call(self, login: str, method: str, path: str, body=None, timeout: float = 30):
        headers = {"Authorization": f"Bearer {self.tokens[login]}"}
        with httpx.Client(base_url=self.url, headers=headers, timeout=timeout) as client:
            return client.request(method, path, json=body)

    def approved_case(self) -> Any:
        role = {"resource": "my-database", "role": "readwrite"}
        wish = {**role, "seconds": 1800, "ticket": "OPS-1"}
        case = self.call("ana", "POST", "/v1/cases", wish).json()["case"]
        assert (
            self.call("bo", "POST", f"/v1/cases/{case}/approval", {}).json()["state"] == "approved"
        )
        return case

    def until(self, case: str, holds, seconds: float = 20):
        """Ask for the case until it is as wanted; bounded."""
        deadline = time.monotonic() + seconds
        while True:
            seen = self.call("ana", "GET", f"/v1/cases/{case}").json()
            if holds(seen):
                return seen
            assert time.monotonic() < deadline, (
                seen["state"],
                [r["kind"] for r in seen["timeline"]],
            )
            time.sleep(0.05)

    def accounts(self) -> set[str]:
        with psycopg.connect(self.server.superuser_dsn) as admin:
            rows = admin.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'mun\\_%'")
            return {name for (name,) in rows}


@pytest.fixture
def installation(tmp_path, postgres):
    made = Installation(tmp_path / "conf", postgres)
    yield made
    with contextlib.suppress(subprocess.TimeoutExpired):
        made.stop()
    made.log.close()


def kinds(seen) -> list[str]:
    return [record["kind"] for record in seen["timeline"]]


@pytest.mark.parametrize("point", ISSUE)
def test_a_service_killed_while_issuing_leaves_no_access_behind(installation, point):
    installation.start(point, "SIGKILL")
    case = installation.approved_case()
    with pytest.raises(httpx.HTTPError):
        installation.call("ana", "POST", f"/v1/cases/{case}/credential")
    assert installation.process.wait(10) == -signal.SIGKILL

    installation.start()
    if point in ("before:clock", "after:clock", "before:intent"):
        seen = installation.until(case, lambda now: now["state"] == "approved")
        assert "grant:authorized" not in kinds(seen)
    elif point == "after:issued":
        seen = installation.until(case, lambda now: now["state"] == "issued")
        ended = installation.call("ana", "POST", f"/v1/cases/{case}/end")
        assert ended.json().get("closed"), ended.text
    else:
        undone = ["credential:failed", "grant:undone", "removal:verified"]
        seen = installation.until(case, lambda now: kinds(now)[-3:] == undone)
        assert seen["state"] == "approved"
        assert installation.accounts() == set()
        again = installation.call("ana", "POST", f"/v1/cases/{case}/credential")
        assert again.status_code == 200, again.text
        ended = installation.call("ana", "POST", f"/v1/cases/{case}/end")
        assert ended.json().get("closed"), ended.text
    assert installation.accounts() == set()


@pytest.mark.parametrize("point", END)
def test_a_service_killed_while_ending_finishes_the_end(installation, point):
    installation.start(point, "SIGKILL")
    case = installation.approved_case()
    credential = installation.call("ana", "POST", f"/v1/cases/{case}/credential").json()[
        "credential"
    ]
    connection = credential["connection"]
    held = psycopg.connect(
        host=connection["host"],
        port=connection["port"],
        dbname="postgres",
        user=credential["account"],
        password=credential["secret"],
        autocommit=True,
    )
    with pytest.raises(httpx.HTTPError):
        installation.call("ana", "POST", f"/v1/cases/{case}/end")
    assert installation.process.wait(10) == -signal.SIGKILL

    installation.start()
    if point == "before:declared":
        assert installation.until(case, lambda now: True)["state"] == "issued"
        installation.call("ana", "POST", f"/v1/cases/{case}/end")
    seen = installation.until(case, lambda now: now["closed"])
    assert seen["state"] == "ended"
    assert kinds(seen)[-2:] == ["removal:verified", "case:closed"]
    assert installation.accounts() == set()
    with pytest.raises(psycopg.Error):
        held.execute("SELECT 1")
    held.close()


def test_a_service_stopped_before_its_order_cannot_create_access_when_it_wakes(installation):
    installation.start("before:order", "SIGSTOP")
    case = installation.approved_case()
    with pytest.raises(httpx.HTTPError):
        installation.call("ana", "POST", f"/v1/cases/{case}/credential", timeout=ORDER_TIMEOUT + 2)
    installation.process.send_signal(signal.SIGCONT)
    seen = installation.until(case, lambda now: kinds(now)[-1] == "removal:verified")
    assert seen["state"] == "approved"
    assert installation.accounts() == set()


def test_a_second_service_on_the_same_folder_is_refused_while_the_first_is_stopped(installation):
    installation.start()
    installation.process.send_signal(signal.SIGSTOP)
    done = subprocess.run(
        [*MUNIMENT, "serve", "--dir", str(installation.folder), "--listen", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        env=installation.environment,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "another `muniment serve`" in done.stderr


def test_a_grant_whose_target_is_down_at_its_end_stays_open_until_the_target_is_back(installation):
    installation.start()
    case = installation.approved_case()
    assert installation.call("ana", "POST", f"/v1/cases/{case}/credential").status_code == 200
    installation.server.stop()
    try:
        seen = installation.call("ana", "POST", f"/v1/cases/{case}/end").json()
        assert (seen["state"], seen["removal"], seen["closed"]) == ("ended", "unverified", False)
    finally:
        installation.server.resume_service()
    seen = installation.until(case, lambda now: now["closed"])
    assert kinds(seen).count("removal:unverified") == 1
    assert installation.accounts() == set()
