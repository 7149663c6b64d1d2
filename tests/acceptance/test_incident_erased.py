"""The question comes when the answer was erased: by a rule, without one, or it never was."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from acceptance.incident_stage import Stage, staged

pytestmark = [pytest.mark.target, pytest.mark.deep]

_RULE: Final = "keep-26-months"
_PRIVACY: Final = """
[people.privacy]
groups = ["privacy-officers"]
"""
_NEVER: Final = "prn_" + "a" * 26


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    base = tmp_path_factory.mktemp("erased")
    with staged(base, settings=_PRIVACY, logins=["privacy"]) as made:
        yield made


@pytest.fixture(scope="module")
def case(stage: Stage) -> str:
    """What is asked about later: who had access, and why."""
    made: str = stage.json("credential", stage.approved())["case"]
    stage.json("end", made)
    return made


@pytest.fixture(scope="module")
def bo(stage: Stage, case: str) -> str:
    """Who approved it, by pseudonym."""
    names = stage.json("show", case, as_="aud")["names"]
    (found,) = [id_ for id_, name in names.items() if name == "bo"]
    return str(found)


@pytest.fixture(scope="module")
def erased(stage: Stage, case: str, bo: str) -> None:
    """The reason, and who the approver was, are gone when their time is over."""
    stage.disable("bo")
    for record, section in (f"{case}/0", "reason"), (f"{bo}/0", "identity"):
        erase = ("evidence", "erase", record, section, "--rule", _RULE)
        assert stage.muniment(*erase, as_="admin").returncode == 1  # not who runs it
        stage.json(*erase, as_="privacy")


def completeness(stage: Stage, case: str) -> Any:
    file = f"{case}.proof"
    stage.json("completeness", "prove", case, "-o", file, as_="aud")
    return stage.json("completeness", "check", file, "--log-key", str(stage.log_key))


def test_what_was_erased_says_so_and_by_which_rule(stage: Stage, case: str, erased: None) -> None:
    story = stage.json("show", case, as_="aud")
    assert story["timeline"][0]["sections"]["reason"] == {"erased": _RULE}
    assert f"ERASED under rule {_RULE}" in stage.muniment("show", case, as_="aud").stdout


def test_that_it_was_erased_is_a_record_and_is_raised(
    stage: Stage, case: str, bo: str, erased: None
) -> None:
    told = [json.loads(each)["body"] for each in stage.headers(b'"record:erased"')]
    assert [(each["record"], each["section"], each["rule"]) for each in told] == [
        (f"{case}/0", "reason", _RULE),
        (f"{bo}/0", "identity", _RULE),
    ]
    assert stage.findings("control-changed", "record:erased")


def test_all_that_does_not_need_it_is_still_proved(stage: Stage, case: str, erased: None) -> None:
    stage.json("evidence", "export", case, "-o", "erased.mun", as_="aud")
    check = ("verify", "erased.mun", "--log-key", str(stage.log_key), "--require", "complete")
    done = stage.muniment(*check)
    assert done.returncode == 0, done.stdout
    assert f"section `reason` of {case}/0: ERASED under rule `{_RULE}`" in done.stdout
    assert "what the withheld and erased sections said" in " ".join(done.stdout.split())
    replayed = stage.muniment("replay", "erased.mun", "--log-key", str(stage.log_key))
    assert replayed.returncode == 0, replayed.stdout


def test_to_be_erased_is_another_thing_than_never_to_have_been(
    stage: Stage, bo: str, erased: None
) -> None:
    there, never = completeness(stage, bo), completeness(stage, _NEVER)
    assert (there["present"], never["present"]) == (True, False)
    assert there["as_of"] == never["as_of"]


def test_an_audit_counts_what_was_erased_by_rule(stage: Stage, erased: None) -> None:
    told = stage.json("audit", str(stage.folder), "--full", "--log-key", str(stage.log_key))
    assert (told["holds"], told["erased"], told["unfinished"]) == (True, 2, [])


def test_the_words_are_in_no_file_any_more(stage: Stage, case: str, erased: None) -> None:
    words = b"fix order 4711"
    for file in stage.folder.rglob("*"):
        assert not file.is_file() or words not in file.read_bytes(), file


def test_what_is_gone_without_a_rule_is_no_erasure(
    stage: Stage, case: str, erased: None, tmp_path: Path
) -> None:
    """Somebody takes sections out of the database: the audit says which, and that no rule did."""
    copy = tmp_path / "copy.db"
    place = "(SELECT idx FROM case_entries WHERE case_id = ? AND position = 1)"
    with (
        contextlib.closing(sqlite3.connect(stage.database)) as live,
        contextlib.closing(sqlite3.connect(copy)) as connection,
    ):
        live.backup(connection)
        gone = connection.execute(f"DELETE FROM sections WHERE idx = {place}", (case,))
        assert gone.rowcount == 1
        connection.commit()
    audit = ("audit", str(copy), "--full", "--log-key", str(stage.log_key), "--json")
    done = stage.muniment(*audit)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["verdict"], told["bad"]["record"]) == ("INVALID", f"{case}/1")
    assert told["bad"]["what"] == "section `decision` is gone, and nothing says why"
