"""All that somebody holds is revoked at once, and four of sixty ends cannot be seen."""

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import psycopg
import pytest

from acceptance.conftest import RESOURCE, _prepare
from acceptance.incident_stage import Stage, kinds, require_postgresql, staged, until
from muniment.testing.postgres_server import PostgresServer

pytestmark = [pytest.mark.target, pytest.mark.deep]

#: grants at a target that answers, and at one that will not
_HERE, _THERE = 56, 4
_ARCHIVE: Final = """
[limits]
asks_per_minute = 1000

[resources.archive]
connector = "postgresql"
tier = "staging"
environment = "staging"
endpoints = ["{address}"]
user = "muniment_connector"
password = "env:MUNIMENT_POSTGRES_PASSWORD"

[resources.archive.roles.readwrite]
grants = ["app_rw"]
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The second target."""
    require_postgresql()
    with PostgresServer.start(tmp_path_factory.mktemp("archive")) as server:
        yield server


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, archive: PostgresServer) -> Iterator[Stage]:
    password = secrets.token_urlsafe(16)
    _prepare(archive, password)
    with staged(
        tmp_path_factory.mktemp("rotation"),
        settings=_ARCHIVE.format(address=archive.address),
        tier="staging",  # below production nobody has to approve
        password=password,
    ) as made:
        yield made


@pytest.fixture(scope="module")
def cases(stage: Stage) -> dict[str, str]:
    """Sixty live grants of ana's, by their case id: at which target each is."""
    wanted = [RESOURCE] * _HERE + ["archive"] * _THERE
    with stage.api("ana") as api, ThreadPoolExecutor(4) as threads:

        def hold(resource: str) -> str:
            ask = {"resource": resource, "role": "readwrite", "seconds": 1800, "reason": "nightly"}
            made = api.post("/v1/cases", json=ask).raise_for_status().json()["case"]
            api.post(f"/v1/cases/{made}/credential", json={}).raise_for_status()
            return str(made)

        return dict(zip(threads.map(hold, wanted), wanted, strict=True))


@pytest.fixture(scope="module")
def left(cases: dict[str, str]) -> set[str]:
    return {case for case, resource in cases.items() if resource == "archive"}


@pytest.fixture(scope="module")
def rotated(stage: Stage, archive: PostgresServer, cases: dict[str, str]) -> None:
    """The second target does not answer; and ana's account, which leaked, is disabled."""
    archive.stop()
    stage.disable("ana")
    until(
        lambda: unproven(stage),
        lambda seen: len(seen) == _THERE and all(each["reason"] for each in seen),
    )


def unproven(stage: Stage) -> list[dict[str, Any]]:
    done = stage.muniment("drift", "--unproven", "--json", as_="aud")
    told = json.loads(done.stdout)
    found: list[dict[str, Any]] = told["cases"]
    assert done.returncode == (1 if found else 0), done.stderr
    return [{**each, "owner": told["names"][each["requester"]]} for each in found]


def stories(stage: Stage) -> dict[str, Any]:
    told = stage.json("show", "--who", "ana", "--limit", "1000", as_="aud")
    assert told["next"] is None
    return {each["case"]: each for each in told["stories"]}


def test_what_remains_is_exactly_the_four_with_owner_and_age(
    stage: Stage, rotated: None, left: set[str]
) -> None:
    found = unproven(stage)
    assert {each["case"] for each in found} == left
    assert len(left) == _THERE
    for each in found:
        assert (each["owner"], each["resource"], each["state"]) == ("ana", "archive", "revoked")
        assert each["reason"] == "target-unavailable"
        assert each["age"] >= 0
        assert each["looked_at"] is not None
    shown = stage.muniment("drift", "--unproven", as_="aud").stdout
    assert shown.count("archive readwrite") == _THERE


def test_ordered_done_and_seen_gone_are_told_apart(
    stage: Stage, rotated: None, cases: dict[str, str], left: set[str]
) -> None:
    told = stories(stage)
    assert told.keys() == cases.keys()
    for case, story in told.items():
        (order,) = [each for each in story["timeline"] if each["kind"] == "grant:revoked"]
        assert order["record"]["reason"] == "principal-disabled"
        if case in left:
            assert "removal:verified" not in kinds(story)
            assert (story["closed"], story["removal"]) == (False, "unverified")
            continue
        (gone,) = [each for each in story["timeline"] if each["kind"] == "removal:verified"]
        assert gone["record"]["accounts_removed"] == 1  # this was done
        (view,) = gone["record"]["endpoints"]  # and this was read at the target afterwards
        assert (view["saw_itself"], view["accounts"], view["trouble"]) == (True, 0, "")
        assert story["closed"]


def test_nothing_says_that_all_of_it_was_revoked(
    stage: Stage, rotated: None, left: set[str]
) -> None:
    overdue = stage.muniment("overdue", "--json", as_="aud")
    assert overdue.returncode == 1
    assert {each["case"] for each in json.loads(overdue.stdout)["cases"]} == left
    for command in ("overdue",), ("drift", "--unproven"):
        said = stage.muniment(*command, as_="aud")
        assert said.returncode == 1
        assert "every access" not in said.stdout
    listed = stage.muniment("list", "--all", "--limit", "100", as_="aud").stdout
    assert listed.count("not yet seen gone") == _THERE
    # a target that was not looked at is not called clean
    assert stage.muniment("drift", "archive", as_="admin").returncode == 3


def test_the_four_are_closed_once_the_target_was_seen_without_them(
    stage: Stage, archive: PostgresServer, rotated: None, left: set[str]
) -> None:
    archive.resume_service()
    until(lambda: unproven(stage), lambda seen: not seen)
    with psycopg.connect(archive.superuser_dsn) as connection:
        there = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
    assert not there & left
    told = stories(stage)
    for case in left:
        assert kinds(told[case])[-2:] == ["removal:verified", "case:closed"]
    assert stage.muniment("overdue", as_="aud").returncode == 0
