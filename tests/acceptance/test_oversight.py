"""What was done under a grant, on a real PostgreSQL whose log a real service reads."""

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from acceptance.conftest import (
    LOGINS,
    PROGRAM,
    RESOURCE,
    Installation,
    _operate,
    _prepare,
    _token,
)
from acceptance.incident_stage import log_in, until
from muniment.testing.postgres_server import PostgresServer, find_binaries

pytestmark = [pytest.mark.target, pytest.mark.deep, pytest.mark.alone]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A service that reads its target's log; it can be killed and started again."""
    if not find_binaries():
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("no PostgreSQL binaries on this machine")
    base = tmp_path_factory.mktemp("oversight")
    with PostgresServer.start(base / "target", settings={"log_statement": "all"}) as server:
        password = secrets.token_urlsafe(16)
        _prepare(server, password)
        folder, desk = base / "conf", base / "desk"
        desk.mkdir()
        _operate("init", str(folder), "--postgres", server.address)
        _observe(folder, server.log_files()[0].parent)
        tokens = {login: _token(folder, login) for login in (*LOGINS, "aud")}
        os.environ["MUNIMENT_POSTGRES_PASSWORD"] = password
        with _serving(folder, base / "serve.log") as url:
            yield Installation(folder=folder, url=url, tokens=tokens, server=server, desk=desk)


def _observe(folder: Path, logs: Path) -> None:
    path = folder / "muniment.toml"
    path.write_text(
        f"""{path.read_text()}
[people.aud]
groups = ["auditors"]

[sources.orders-log]
kind = "file"
reader = "postgresql-json"
resource = "{RESOURCE}"
path = "{logs}/*.json"
begin = "start"
heartbeat = "1h"
expects = ["session.opened", "logging.changed"]
"""
    )


@contextlib.contextmanager
def _serving(folder: Path, log: Path) -> Iterator[str]:
    with log.open("a") as errors:
        process = subprocess.Popen(
            [PROGRAM, "serve", "--dir", str(folder), "--listen", "127.0.0.1:0"],
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
        finally:
            process.kill()


@pytest.fixture(scope="module")
def used(stage: Installation) -> str:
    """A grant under which something was done, and that was given back."""
    case = stage.approved()
    with log_in(stage.json("credential", case)) as session:
        session.execute("INSERT INTO orders VALUES (4711)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("DROP TABLE orders")
    stage.json("end", case)
    return case


def story(stage: Installation, case: str, *, lines: int) -> Any:
    """The story of a case, once its sessions have so many lines and the log has all of them."""

    def is_whole(answer: Any) -> bool:
        seen = [each for s in answer["observed"]["sessions"] for each in s["lines"]]
        return len(seen) >= lines and all(each["index"] is not None for each in seen)

    return until(lambda: stage.json("show", case), is_whole)


def test_what_was_done_under_a_grant_is_in_its_story(stage: Installation, used: str) -> None:
    answer = story(stage, used, lines=4)
    (session,) = answer["observed"]["sessions"]
    assert (session["account"], session["strength"], session["standing"]) == (
        used,
        "strong",
        "within",
    )
    types = [line["type"] for line in session["lines"]]
    assert (types[-1], types.count("session.opened")) == ("session.closed", 1)
    said = {line["detail"] for line in session["lines"]}
    assert any("INSERT INTO orders VALUES (4711)" in each for each in said)
    assert any(line["failed"] for line in session["lines"])
    assert session["clients"] == ["127.0.0.1"]


def test_a_session_becomes_a_record_that_follows_the_batches_of_its_events(
    stage: Installation, used: str
) -> None:
    answer = until(
        lambda: stage.json("show", used),
        lambda seen: bool(seen["observed"]["sessions"][0]["record"]),
    )
    assert answer["observed"]["sessions"][0]["record"].startswith("obs_")


def test_the_story_is_told_at_the_terminal_with_who_says_so(stage: Installation, used: str) -> None:
    story(stage, used, lines=4)
    shown = stage.muniment("show", used)
    assert shown.returncode == 0, shown.stderr
    assert "INSERT INTO orders VALUES (4711)" in shown.stdout
    assert "session.opened" in shown.stdout
    assert "orders-log tells what is done there since" in shown.stdout
    assert "never came: logging.changed" in shown.stdout


def test_a_role_that_somebody_makes_by_hand_is_a_finding(stage: Installation) -> None:
    with psycopg.connect(stage.server.superuser_dsn, autocommit=True) as admin:
        admin.execute("CREATE ROLE backdoor LOGIN")
        admin.execute("DROP ROLE backdoor")
    (finding,) = until(
        lambda: stage.json("findings", "--rule", "role-written-by-others", as_="admin")["findings"],
        bool,
    )
    assert (finding["state"], finding["resource"]) == ("open", RESOURCE)


def test_a_stranger_sees_the_stories_of_a_day(stage: Installation, used: str) -> None:
    told = stage.json("show", "--since", "1h", "--who", "ana", as_="aud")["stories"]
    assert used in {each["case"] for each in told}
    assert stage.json("show", "--resource", "another", as_="aud")["stories"] == []
