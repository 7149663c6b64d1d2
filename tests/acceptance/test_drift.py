"""Drift on a real PostgreSQL: what somebody does there by hand is found, once, and has ways out."""

import json
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from acceptance.conftest import (
    LOGINS,
    RESOURCE,
    Installation,
    _operate,
    _prepare,
    _serving,
    _token,
)
from acceptance.incident_stage import log_in
from muniment.testing.postgres_server import PostgresServer, find_binaries

pytestmark = [pytest.mark.target, pytest.mark.deep]

_OLD = (
    "CREATE ROLE payroll NOLOGIN",
    "CREATE ROLE orders_app LOGIN IN ROLE app_rw",
    "CREATE ROLE old_dba LOGIN SUPERUSER",
    "CREATE ROLE sealed LOGIN SUPERUSER",
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A service in front of a target that is older than it; nobody has looked at it yet."""
    if not find_binaries():
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("no PostgreSQL binaries on this machine")
    base = tmp_path_factory.mktemp("drift")
    with PostgresServer.start(base / "target") as server:
        password = secrets.token_urlsafe(16)
        _prepare(server, password)
        with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
            for statement in _OLD:
                connection.execute(statement.encode())
        folder, desk = base / "conf", base / "desk"
        desk.mkdir()
        _operate("init", str(folder), "--postgres", server.address)
        _configure(folder)
        tokens = {login: _token(folder, login) for login in (*LOGINS, "aud")}
        environment = {**os.environ, "MUNIMENT_POSTGRES_PASSWORD": password}
        with _serving(folder, environment, base / "serve.log") as url:
            yield Installation(folder=folder, url=url, tokens=tokens, server=server, desk=desk)


def _configure(folder: Path) -> None:
    path = folder / "muniment.toml"
    resource = f"[resources.{RESOURCE}]\n"
    text = path.read_text()
    assert resource in text
    text = text.replace(resource, f'{resource}emergency_account = "sealed"\n')
    text += '\n[people.aud]\ngroups = ["auditors", "compliance"]\n\n[drift]\nevery = "1d"\n'
    path.write_text(text)


@pytest.fixture(scope="module")
def first(stage: Installation) -> Any:
    """What the first look at the target said."""
    return stage.json("drift", RESOURCE, as_="admin")


@pytest.fixture
def admin(stage: Installation, first: Any) -> Iterator["psycopg.Connection[Any]"]:
    """Somebody with every right at the target, after the first look at it."""
    with psycopg.connect(stage.server.superuser_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def granted(stage: Installation, first: Any) -> Iterator[Any]:
    """A grant that ana has picked up; it is ended whatever becomes of it."""
    case = stage.approved()
    yield stage.json("credential", case)
    stage.muniment("end", case)


def sql(connection: "psycopg.Connection[Any]", *statements: str) -> None:
    for statement in statements:
        connection.execute(statement.encode())


def look(stage: Installation) -> list[dict[str, Any]]:
    """What differs and did not stand there before."""
    done = stage.muniment("drift", RESOURCE, "--json", as_="admin")
    (one,) = json.loads(done.stdout)["resources"]
    found: list[dict[str, Any]] = [
        each for each in one["differences"] if each["what"] != "standing"
    ]
    assert done.returncode == (1 if found else 0), done.stderr
    return found


def whats(found: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {(each["kind"], each["what"], each["account"]) for each in found}


def test_the_first_look_at_an_old_target_is_a_report(stage: Installation, first: Any) -> None:
    (one,) = first["resources"]
    assert one["scan"]["first"] is True
    standing = {(each["kind"], each["what"], each["account"]) for each in one["differences"]}
    assert standing == {
        ("account-without-grant", "standing", "orders_app"),
        ("privileged-account", "standing", "old_dba"),
        ("privileged-account", "standing", "postgres"),
    }
    (report,) = stage.json("findings", "--rule", "standing-access", as_="admin")["findings"]
    assert (report["severity"], report["state"]) == ("info", "open")
    assert not stage.json("findings", "--rule", "access-without-grant", as_="admin")["findings"]
    shown = stage.muniment("drift", as_="aud")
    assert "orders_app" in shown.stdout
    assert shown.returncode == 0


def test_a_superuser_made_by_hand_is_found_once_and_removed_by_two(
    stage: Installation, admin: "psycopg.Connection[Any]"
) -> None:
    sql(admin, "CREATE ROLE backdoor LOGIN SUPERUSER")
    (found,) = look(stage)
    assert (found["kind"], found["what"]) == ("privileged-account", "out-of-band")
    assert (found["account"], found["severity"]) == ("backdoor", "critical")
    (again,) = look(stage)
    assert again["finding"] == found["finding"]
    assert stage.json("findings", "show", found["finding"], as_="admin")["count"] == 2

    ask = ("drift", "remove", RESOURCE, "backdoor", "--finding", found["finding"], "--reason", "x")
    refused = stage.muniment(*ask, as_="admin")
    assert refused.returncode == 1
    assert "it takes two" in refused.stderr
    stage.json("findings", "acknowledge", found["finding"], as_="aud")
    ordered = stage.json(*ask, as_="admin")
    (still,) = look(stage)
    assert still["account"] == "backdoor"  # nothing is done by it
    sql(admin, *ordered["statements"])
    gone = stage.json("drift", RESOURCE, as_="admin")
    assert gone["removed"] == [ordered["removal"]]
    assert look(stage) == []
    shown = stage.json("findings", "show", found["finding"], as_="admin")
    assert shown["state"] == "acknowledged"  # that it is gone closes nothing
    close = ("findings", "close", found["finding"], "--as", "remedied", "--reason", "dropped")
    stage.json(*close, as_="aud")


def test_an_account_of_our_form_that_was_never_issued_is_critical(
    stage: Installation, admin: "psycopg.Connection[Any]"
) -> None:
    name = "mun_" + "a" * 26
    sql(admin, f"CREATE ROLE {name} LOGIN")
    found = look(stage)
    sql(admin, f"DROP ROLE {name}")
    assert whats(found) == {("account-without-grant", "unknown-grant", name)}


def test_a_grant_whose_account_was_dropped_and_its_session_are_found(
    stage: Installation, admin: "psycopg.Connection[Any]", granted: Any
) -> None:
    case = granted["case"]
    with log_in(granted):
        sql(admin, f"DROP OWNED BY {case}", f"DROP ROLE {case}")
        found = look(stage)
    assert {(each["kind"], each["what"]) for each in found} == {
        ("grant-without-access", "gone"),
        ("session-without-grant", "no-account"),
    }
    (missing,) = [each for each in found if each["kind"] == "grant-without-access"]
    finding = stage.json("findings", "show", missing["finding"], as_="admin")
    assert finding["about"] == [case]
    own = stage.muniment("findings", "acknowledge", missing["finding"], as_="ana")
    assert own.returncode == 1  # nobody answers a finding about himself


def test_whatever_a_grants_account_gets_by_hand_is_beyond_its_role(
    stage: Installation, admin: "psycopg.Connection[Any]", granted: Any
) -> None:
    case = granted["case"]
    assert look(stage) == []
    sql(
        admin,
        f"GRANT payroll TO {case}",
        f"GRANT DELETE ON orders TO {case}",
        f"ALTER ROLE {case} CREATEDB VALID UNTIL 'infinity'",
    )
    found = look(stage)
    # what an owner has given by hand only he can take back, and until then the account stays
    sql(admin, f"REVOKE DELETE ON orders FROM {case}")
    assert whats(found) == {
        ("privilege-beyond-role", what, case)
        for what in ("membership", "privilege", "powers", "window")
    }
    objects = {each["what"]: each["objects"] for each in found}
    assert objects["membership"] == ["payroll"]
    assert objects["privilege"] == ["DELETE on postgres/public.orders"]
    assert objects["powers"] == ["createdb"]


def test_what_a_grants_account_lost_by_hand_is_found(
    stage: Installation, admin: "psycopg.Connection[Any]", granted: Any
) -> None:
    case = granted["case"]
    sql(admin, f"REVOKE app_rw FROM {case} GRANTED BY muniment_connector")
    assert whats(look(stage)) == {("grant-without-access", "less", case)}
    sql(admin, f"ALTER ROLE {case} NOLOGIN")
    assert whats(look(stage)) == {("grant-without-access", "blocked", case)}


def test_the_sealed_account_is_known_until_somebody_uses_it(
    stage: Installation, admin: "psycopg.Connection[Any]"
) -> None:
    assert look(stage) == []
    sql(admin, "ALTER ROLE sealed PASSWORD 'sealed'")
    with psycopg.connect(stage.server.address, user="sealed", password="sealed"):
        found = look(stage)
    assert whats(found) == {("session-without-grant", "emergency", "sealed")}


def test_what_stood_there_is_adopted_and_its_new_rights_are_not(
    stage: Installation, admin: "psycopg.Connection[Any]"
) -> None:
    assert look(stage) == []
    adopt = ("drift", "adopt", RESOURCE, "orders_app", "--owner", "bo", "--for", "90d")
    done = stage.muniment(*adopt, "--reason", "the shop", as_="aud")
    assert done.returncode == 0, done.stderr
    listed = stage.json("drift", RESOURCE, "--last", as_="aud")["resources"][0]["differences"]
    assert {each["account"] for each in listed} == {"old_dba", "postgres"}
    sql(admin, "ALTER ROLE orders_app CREATEROLE", "GRANT payroll TO app_rw")
    found = look(stage)
    sql(admin, "ALTER ROLE orders_app NOCREATEROLE", "REVOKE payroll FROM app_rw")
    assert {(each["what"], each["account"], *each["objects"]) for each in found} == {
        ("gained", "orders_app", "createrole"),
        ("gained", "app_rw", "member of payroll"),
    }
    assert look(stage) == []


def test_names_of_accounts_stand_in_no_record_that_is_not_sealed(stage: Installation) -> None:
    database = stage.folder / "data/muniment.db"
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        headers = [bytes(data) for (data,) in connection.execute("SELECT header FROM entries")]
    assert len(headers) > 10
    assert not any(b"orders_app" in data or b"backdoor" in data for data in headers)


@pytest.mark.deep
def test_what_is_left_of_a_grant_that_is_over_is_found_after_a_minute(
    stage: Installation, admin: "psycopg.Connection[Any]"
) -> None:
    case = stage.approved()
    stage.json("credential", case)
    stage.json("end", case)
    sql(admin, f"CREATE ROLE {case} LOGIN")
    assert look(stage) == []  # its removal might still be under way
    time.sleep(61)
    found = look(stage)
    sql(admin, f"DROP ROLE {case}")
    assert whats(found) == {("account-without-grant", "left-over", case)}


@pytest.mark.deep
def test_an_end_that_nobody_could_see_is_unproven_until_somebody_does(
    stage: Installation, first: Any
) -> None:
    case = stage.approved()
    stage.json("credential", case)
    assert stage.muniment("drift", "--unproven", as_="aud").returncode == 0
    stage.server.pause()
    try:
        stage.muniment("end", case)
        unproven = stage.muniment("drift", "--unproven", as_="aud")
        assert unproven.returncode == 1
        assert case[:12] in unproven.stdout
        refused = stage.muniment("drift", RESOURCE, as_="admin")
        assert refused.returncode == 3  # what was not seen is not called clean
    finally:
        stage.server.resume()
    for _ in range(600):
        if stage.muniment("drift", "--unproven", as_="aud").returncode == 0:
            return
        time.sleep(0.1)
    raise AssertionError("the end was never verified")
