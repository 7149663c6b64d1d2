"""The operator's commands, on a folder of their own."""

import json
from pathlib import Path

import pytest

from muniment.interfaces.cli.main import run
from muniment.runtime.settings import read_settings

_DSN = "host=db.example port=5432 dbname=orders"


def test_init_leaves_the_sql_for_the_target_in_a_file_and_prints_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "conf"
    assert run(["init", str(folder), "--postgres", _DSN, "--role", "app_rw"]) == 0
    sql = (folder / "postgresql.sql").read_text("utf-8")
    assert 'GRANT "app_rw"' in sql
    said = capsys.readouterr().out
    assert sql in said
    assert f"-f {folder}/postgresql.sql" in said


def test_init_answers_with_one_json_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "conf"
    assert run(["init", str(folder), "--postgres", _DSN, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {
        "folder": str(folder),
        "log_key": (folder / "keys/log.vkey").read_text().strip(),
        "sql": str(folder / "postgresql.sql"),
    }
    assert read_settings(folder).resources["my-database"].options["endpoints"] == [_DSN]


def test_init_without_a_target_writes_no_sql(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", str(tmp_path / "conf"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sql"] is None
    assert not (tmp_path / "conf/postgresql.sql").exists()


def test_check_warns_of_classes_that_keep_nothing_that_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUNIMENT_POSTGRES_PASSWORD", "none")
    folder = tmp_path / "conf"
    assert run(["init", str(folder), "--postgres", _DSN]) == 0
    settings = folder / "muniment.toml"
    classes = '[retention.classes.kept]\nfloor = "9d"\ndata = ["restriced", "internal"]\n'
    settings.write_text(f"{settings.read_text('utf-8')}\n{classes}", "utf-8")
    capsys.readouterr()
    assert run(["check", "--dir", str(folder), "--json"]) == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    found = [each for each in warnings if each.startswith("retention")]
    assert found == [
        "retention.classes.kept: `data` names `restriced`, of which there is nothing here"
    ]


_SOURCES = """
[sources.heard]
kind = "file"
reader = "postgresql-json"
path = "orders.json"
heartbeat = "5m"
[sources.unheard]
kind = "file"
reader = "postgresql-json"
path = "other.json"
"""


def test_check_warns_of_a_source_whose_silence_nobody_would_notice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "conf"
    assert run(["init", str(folder)]) == 0
    with (folder / "muniment.toml").open("a", encoding="utf-8") as settings:
        settings.write(_SOURCES)
    capsys.readouterr()
    assert run(["check", "--dir", str(folder), "--json"]) == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    (found,) = [each for each in warnings if each.startswith("sources")]
    assert found.startswith("sources.unheard: no `heartbeat`")


_CAMPAIGN = """
[people.lead]
groups = ["team-leads"]
[people.sec]
groups = ["security"]
[people.boss]
groups = ["managers"]
active = false
[[campaigns]]
name = "who-may-ask"
what = "eligibility"
reviewers = "teamleads"
fallback = "security"
sign_off = "managers"
resources = ["orders"]
"""
_FROM_ELSEWHERE = """
[providers.corp]
kind = "people"
issuer = "https://idp.example"
audience = "muniment"
groups = "claim"
"""


def reviews_warned_of(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> list[str]:
    capsys.readouterr()
    assert run(["check", "--dir", str(folder), "--json", *more]) == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    return [each for each in warnings if each.startswith("campaigns")]


def test_check_warns_of_reviews_of_which_nobody_does_a_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "conf"
    assert run(["init", str(folder)]) == 0
    settings = folder / "muniment.toml"
    empty = settings.read_text("utf-8")
    settings.write_text(f"{empty}\n{_CAMPAIGN}", "utf-8")
    nobody = "and nobody active is in that"
    expected = [
        f"campaigns.who-may-ask: `reviewers` is `teamleads`, {nobody}: it cannot be opened",
        f"campaigns.who-may-ask: `sign_off` is `managers`, {nobody}: nobody can sign it",
    ]
    unknown = "campaigns.who-may-ask: `resources` names `orders`, which is not here"
    assert reviews_warned_of(folder, capsys) == [unknown, *expected]
    # where people's groups come from elsewhere, only the log says who is in which
    settings.write_text(f"{empty}\n{_CAMPAIGN}\n{_FROM_ELSEWHERE}", "utf-8")
    assert reviews_warned_of(folder, capsys) == [unknown]
    assert reviews_warned_of(folder, capsys, "--diff") == [unknown, *expected]
