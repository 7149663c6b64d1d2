"""`muniment backup` and `restore`: what an operator is told, and what not to do next."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from muniment.access import records
from muniment.interfaces.cli.main import run
from muniment.operations.take_in import take_in
from muniment.runtime.wiring import open_service


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run(["init", str(tmp_path / "home")]) == 0
    capsys.readouterr()
    return tmp_path / "home"


def said(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert run([str(each) for each in arguments]) == code
    out = capsys.readouterr()
    return out.out + out.err


async def take_in_files(home: Path) -> None:
    """The log goes on."""
    opened = open_service(home)
    try:
        await take_in(opened.service, opened.proposed, records.SERVICE)
    finally:
        await opened.close()


def test_a_backup_says_what_it_holds_and_what_it_does_not(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, "backup", home, "-o", tmp_path / "copy")
    assert "the log of `muniment.example/log` at size 1" in text
    for left_out in ("the signing key", "the head store", "the erasure ledger"):
        assert left_out in text
    assert "is there already" in said(capsys, "backup", home, "-o", tmp_path / "copy", code=1)


def test_a_backup_as_json_names_every_file_with_its_digest(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = json.loads(said(capsys, "backup", home, "-o", tmp_path / "copy", "--json"))
    manifest = json.loads((tmp_path / "copy" / "manifest.json").read_bytes())
    assert value["files"] == dict(manifest["files"])
    assert (value["size"], value["origin"]) == (1, "muniment.example/log")


def test_a_restore_without_its_head_store_says_that_the_log_stays_refused(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "backup", home, "-o", tmp_path / "copy")
    text = said(capsys, "restore", tmp_path / "new", "--from", tmp_path / "copy", code=4)
    assert "held against the backup's own public key" in text
    assert f"missing, put it back: {tmp_path / 'new' / 'keys' / 'log.key'}" in text
    assert "THE LOG STAYS REFUSED: there is no head store" in text
    assert "begin a new log with another name" in text


def test_a_restore_that_may_go_on_says_so(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "backup", home, "-o", tmp_path / "copy")
    shutil.rmtree(home / "data")
    text = said(capsys, "restore", home, "--from", tmp_path / "copy")
    assert "the head store remembers size 1: the log may go on" in text
    assert "REFUSED" not in text


def test_a_restore_of_an_older_copy_has_an_exit_code_of_its_own(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "backup", home, "-o", tmp_path / "copy")
    asyncio.run(take_in_files(home))
    shutil.rmtree(home / "data")
    text = said(capsys, "restore", home, "--from", tmp_path / "copy", code=4)
    assert "THE LOG STAYS REFUSED: the head store remembers" in text


def test_a_key_of_somebody_else_is_not_the_logs(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "backup", home, "-o", tmp_path / "copy")
    said(capsys, "init", tmp_path / "other")
    key = tmp_path / "other" / "keys" / "log.vkey"
    arguments = ("restore", tmp_path / "new", "--from", tmp_path / "copy", "--log-key", key)
    assert "does not hold" in said(capsys, *arguments, code=1)
    assert not (tmp_path / "new" / "muniment.toml").exists()


def test_a_restore_from_nothing_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "say what from" in said(capsys, "restore", tmp_path / "new", code=2)


def test_a_restore_as_json_says_what_is_lost_and_missing(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "backup", home, "-o", tmp_path / "copy")
    arguments = ("restore", tmp_path / "new", "--from", tmp_path / "copy", "--json")
    value = json.loads(said(capsys, *arguments, code=4))
    assert (value["behind"], value["sections_lost"], value["remembered"]) == (0, 0, None)
    assert [Path(path).name for path in value["missing"]] == ["log.key", "erasures"]
