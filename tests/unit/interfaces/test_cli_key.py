"""`muniment key` and `muniment signer`: the ceremony, step by step, and what is left to do."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from muniment.access import records
from muniment.interfaces.cli.main import run
from muniment.operations.take_in import take_in
from muniment.runtime.wiring import open_service, settle_keys


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run(["init", str(tmp_path / "conf"), "--origin", "log.example/keys"]) == 0
    start(tmp_path / "conf")
    capsys.readouterr()
    return tmp_path / "conf"


def start(folder: Path) -> None:
    """As `muniment serve` starts, and is stopped."""

    async def once() -> None:
        opened = open_service(folder)
        await take_in(opened.service, opened.proposed, records.SERVICE)
        settle_keys(opened.service.log, opened.keys, opened.remote)
        await opened.close()

    asyncio.run(once())


@pytest.fixture
def told(folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def tell(*arguments: str) -> Any:
        assert run(["key", *arguments, "--dir", str(folder), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return tell


@pytest.fixture
def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def tell(*arguments: str) -> str:
        assert run(["key", *arguments, "--dir", str(folder)]) == 1
        return capsys.readouterr().err

    return tell


def states(told: Any) -> list[str]:
    return [key["state"] for key in told("list")["keys"]]


def test_a_rotation_from_the_first_command_to_the_last(folder: Path, told: Any) -> None:
    (first,) = told("list")["keys"]
    assert (first["state"], first["notes"]) == (
        "signs since entry 0",
        [str(folder / "keys" / "log.key")],
    )
    made = told("add")
    assert told("add") == made  # it waits, and no other is made
    assert [path.name for path in sorted((folder / "keys").glob("log-*.key"))] == ["log-2.key"]
    assert states(told)[1].startswith("does not sign yet")
    start(folder)
    assert states(told)[1].startswith("signs since entry ")

    assert not told("retire", first["id"])["recorded"]
    assert "to be retired (rotated)" in told("list")["keys"][0]["notes"][1]
    assert not told("retire", first["key"])["recorded"]
    start(folder)
    assert told("retire", first["id"])["recorded"]
    assert states(told)[0].startswith("retired by entry ")
    assert (folder / "keys" / "log.key.retired").exists()
    assert (folder / "keys" / "log.vkey").read_text().strip() == made["key"]
    start(folder)


def test_the_only_key_is_not_retired(folder: Path, told: Any, refused: Any) -> None:
    (first,) = told("list")["keys"]
    assert "muniment key add" in refused("retire", first["id"])
    told("add")
    assert "does not sign yet" in refused("retire", first["id"])
    assert not (folder / "keys" / "retired.toml").exists()
    start(folder)
    told("retire", first["id"])
    second = told("list")["keys"][1]
    assert "only key" in refused("retire", second["id"])


def test_a_stolen_key_is_retired_without_waiting_for_an_overlap(folder: Path, told: Any) -> None:
    (first,) = told("list")["keys"]
    sealing = (folder / "keys" / "sealing.key").read_text()
    told("add")
    told("retire", first["id"], "--compromised", "--since", "3")
    assert (folder / "keys" / "sealing.key").read_text() != sealing
    start(folder)
    gone, new = states(told)
    assert gone.endswith("(compromised, not to be believed above size 3)")
    assert new.startswith("signs since")


def test_what_is_no_key_of_this_log_is_not_found(refused: Any) -> None:
    assert "0 keys begin with `nothing`" in refused("retire", "nothing")


def test_what_is_left_to_do_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], told: Any
) -> None:
    (first,) = told("list")["keys"]
    at = ["--dir", str(folder)]
    assert run(["key", "add", *at]) == 0
    said = capsys.readouterr().out
    assert "muniment witness add" in said
    assert "PRIVATE" not in said
    assert run(["key", "add", *at]) == 0
    assert "there is already" in capsys.readouterr().out
    start(folder)
    assert run(["key", "retire", first["id"], *at]) == 0
    assert "one last checkpoint" in capsys.readouterr().out
    assert run(["key", "retire", first["id"], "--since", "3", *at]) == 2
    capsys.readouterr()
    assert run(["key", "list", *at]) == 0
    assert first["id"] in capsys.readouterr().out
    start(folder)
    assert run(["key", "retire", first["id"], *at]) == 0
    assert "already" in capsys.readouterr().out


def test_a_key_whose_file_is_gone_is_missed(folder: Path, told: Any) -> None:
    told("add")
    start(folder)
    (folder / "keys" / "log-2.key").unlink()
    assert "its file is not here" in told("list")["keys"][1]["notes"][0]


# --- a key in another process ---------------------------------------------------------------------


def test_a_signer_is_made_once_and_says_what_it_signed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(tmp_path / "signer")
    assert run(["signer", "init", place, "--origin", "log.example/keys"]) == 0
    assert '[signer]\nsocket = "…"\nkey = "log.example/keys+' in capsys.readouterr().out
    assert run(["signer", "init", place, "--origin", "log.example/keys"]) == 1
    capsys.readouterr()
    assert run(["signer", "status", place]) == 0
    assert "signed nothing yet" in capsys.readouterr().out
    assert run(["signer", "status", place, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["newest"]["size"] == 0
    assert run(["signer", "init", str(tmp_path / "b"), "--origin", "a b"]) == 2
    (tmp_path / "signer" / "signer.state").unlink()
    assert run(["signer", "status", place]) == 1


def test_a_key_of_a_signer_is_listed_with_the_others(
    folder: Path, told: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(folder / "signer")
    assert run(["signer", "init", place, "--origin", "log.example/keys", "--json"]) == 0
    key = json.loads(capsys.readouterr().out)["key"]
    toml = folder / "muniment.toml"
    toml.write_text(f'{toml.read_text()}\n[signer]\nsocket = "signer/socket"\nkey = "{key}"\n')
    second = told("list")["keys"][1]
    assert (second["key"], second["notes"]) == (key, ["in the process of `[signer]`"])
