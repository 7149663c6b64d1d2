"""Whoever has the files makes himself an approver, then others; then he rewrites the database."""

import contextlib
import dataclasses
import json
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from acceptance.conftest import _operate
from acceptance.incident_stage import Stage, kinds, said, serving, staged, until

pytestmark = [pytest.mark.target, pytest.mark.deep]

_PASSWORD: Final = secrets.token_urlsafe(16)
#: who came into the group of those who may approve
_JOINED: Final = ("ana", "aud")
_FENCES: Final = ("entries_stay", "entries_remain")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own-controls")


@pytest.fixture(scope="module")
def stage(base: Path) -> Iterator[Stage]:
    with staged(base, password=_PASSWORD) as made:
        yield made


@pytest.fixture(scope="module")
def old(stage: Stage, base: Path) -> Path:
    """What somebody with root copied before anything happened: all of it, the keys too."""
    shutil.copytree(stage.folder / "head", base / "old-head")
    _operate("backup", str(stage.folder), "-o", str(base / "old"))
    return base


@pytest.fixture(scope="module")
def heads(stage: Stage, old: Path) -> Path:
    """Where an auditor, elsewhere, keeps what the log showed: here before anything happened."""
    stage.json("evidence", "head", "-o", "before.head", as_="aud")
    return stage.desk


@pytest.fixture(scope="module")
def refused(stage: Stage, heads: Path) -> str:
    """Ana makes herself an approver, and approves what she asked for."""
    join(stage, "ana", '"engineering"')
    case = stage.request()
    assert stage.muniment("approve", case).returncode == 1
    return case


@pytest.fixture(scope="module")
def granted(stage: Stage, refused: str) -> str:
    """So she makes an approver of somebody else, whose token she has."""
    join(stage, "aud", '"auditors"')
    stage.json("approve", refused, as_="aud")
    stage.json("credential", refused)
    return refused


@pytest.fixture(scope="module")
def taken(stage: Stage, granted: str, base: Path) -> Path:
    """The database as it was when all of it was over, after the auditor looked once more."""
    stage.json("end", granted)
    stage.findings("control-changed", "weaker")
    stage.json("evidence", "head", "-o", "after.head", as_="aud")
    stage.stop()
    return stage.database


def join(stage: Stage, login: str, groups: str) -> None:
    text = stage.settings.read_text()
    place = text.index(f"[people.{login}]")
    at = text.index(groups, place) + len(groups)
    stage.settings.write_text(f'{text[:at]}, "sre-leads"{text[at:]}')
    stage.reload()


def audit(stage: Stage, log: Path, *heads: str) -> Any:
    kept = [word for head in heads for word in ("--head", f"{head}.head")]
    command = ("audit", str(log), "--log-key", str(stage.log_key), *kept, "--json")
    done = stage.muniment(*command)
    told = json.loads(done.stdout)
    assert done.returncode == (0 if told["holds"] else 1), done.stderr
    return told


def changed(database: Path, to: Path, *statements: str) -> Path:
    """A copy in which somebody with the disk has taken the fences away, and done this."""
    to.mkdir()
    shutil.copytree(database.parent, to, dirs_exist_ok=True)
    with contextlib.closing(sqlite3.connect(to / database.name)) as connection:
        for fence in _FENCES:
            connection.execute(f"DROP TRIGGER {fence}")
        for statement in statements:
            assert connection.execute(statement).rowcount > 0
        connection.commit()
    return to / database.name


def test_nobody_approves_for_himself_whatever_group_he_is_in(stage: Stage, refused: str) -> None:
    story = stage.json("show", refused)
    assert story["state"] == "pending"
    last = story["timeline"][-1]
    assert last["kind"] == "decision:evaluated"
    decision = last["sections"]["decision"]
    rules = {each["id"] for each in decision["rules"]}
    assert {"approve.not-own-not-twice", "muniment:actor-chain"} <= rules


def test_each_change_of_a_group_stands_in_the_log_before_what_it_allowed(
    stage: Stage, granted: str
) -> None:
    story = stage.json("show", granted)
    (approval,) = [each for each in story["timeline"] if each["kind"] == "approval:given"]
    enrolled = [json.loads(each) for each in stage.headers(b'"principal:enrolled"')]
    later = [each for each in enrolled if each["prev"] is not None]
    assert [each["body"]["groups"][-1] for each in later] == ["sre-leads", "sre-leads"]
    assert later[-1]["id"].partition("/")[0] == approval["record"]["approver"]
    assert all(each["at"] < approval["at"] for each in later)


def test_the_evidence_of_the_case_carries_the_change_along(stage: Stage, granted: str) -> None:
    stage.json("evidence", "export", granted, "-o", "case.mun", as_="admin")
    done = stage.muniment("verify", "case.mun", "--log-key", str(stage.log_key))
    assert done.returncode == 0
    bundle = (stage.desk / "case.mun").read_bytes()
    (change,) = stage.headers(b'"groups":["auditors","compliance","sre-leads"]')
    assert json.loads(change)["id"].encode() in bundle


def test_each_of_the_changes_is_raised_as_a_weaker_control(stage: Stage, granted: str) -> None:
    found = until(
        lambda: stage.findings("control-changed", "weaker"), lambda seen: len(seen) == len(_JOINED)
    )
    assert {each["names"][one] for each in found for one in each["about"]} == {*_JOINED}
    for finding in found:
        assert (finding["severity"], finding["state"]) == ("high", "open")
        assert said(finding)["evidence"]


def test_an_untouched_database_holds_against_both_heads(stage: Stage, taken: Path) -> None:
    assert audit(stage, taken, "before", "after")["verdict"] == "SELF-WITNESSED"


@pytest.mark.parametrize("kind", ["approval:given", "principal:enrolled"])
def test_a_record_that_is_edited_is_named(
    stage: Stage, taken: Path, tmp_path: Path, kind: str
) -> None:
    pick = f"SELECT max(idx) FROM entries WHERE instr(header, '\"{kind}\"')"
    edited = "CAST(replace(CAST(header AS TEXT), 'sre-leads', 'sre-loads') AS BLOB)"
    edit = f"UPDATE entries SET header = {edited} WHERE idx = ({pick})"
    database = changed(taken, tmp_path / "copy", edit)
    told = audit(stage, database, "after")
    assert told["verdict"] == "INVALID"
    with contextlib.closing(sqlite3.connect(taken)) as connection:
        (index,) = connection.execute(pick).fetchone()
    assert told["bad"]["index"] == index


def test_records_that_are_deleted_are_missed(stage: Stage, taken: Path, tmp_path: Path) -> None:
    last = "DELETE FROM entries WHERE idx > (SELECT max(idx) - 5 FROM entries)"
    assert audit(stage, changed(taken, tmp_path / "copy", last))["verdict"] == "INVALID"


def test_a_history_that_was_signed_anew_is_another_than_the_auditor_saw(
    stage: Stage, taken: Path, old: Path
) -> None:
    """With the key everything can be signed. An old head cannot be taken out of other hands."""
    forged = old / "forged"
    shutil.copytree(stage.folder / "keys", forged / "keys")
    shutil.copytree(old / "old-head", forged / "head")
    _operate("restore", str(forged), "--from", str(old / "old"))
    size = audit(stage, taken)["size"]
    with serving(forged, _PASSWORD, old / "forged.log") as (process, url):
        other = dataclasses.replace(stage, folder=forged, url=url, process=process)
        while audit(other, forged)["size"] <= size:
            other.request()
        assert "approval:given" not in kinds(other.json("show", other.request()))
        other.stop()
    assert audit(other, forged)["holds"]  # by itself it is whole
    assert audit(other, forged, "before")["holds"]
    told = audit(other, forged, "after")
    assert (told["verdict"], told["holds"]) == ("DIVERGED", False)
