"""`muniment audit` as a person runs it: it reads, and leaves everything as it was."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from muniment.errors import LogInvalid
from muniment.interfaces.cli import audit as audit_cli
from muniment.interfaces.cli.audit import audit_command
from muniment.interfaces.verifier import outcome as verify_words
from muniment.testing.cases import WrittenCase, WrittenLog


@pytest.fixture
def written(tmp_path: Path) -> Iterator[WrittenLog]:
    folder = tmp_path / "data"
    folder.mkdir()
    log = WrittenLog(folder)
    WrittenCase(log).whole()
    yield log
    log.close()


def run(written: WrittenLog, *arguments: Any) -> Result:
    everything = [*map(str, arguments), "--log-key", written.key.verifier.vkey]
    return CliRunner().invoke(audit_command, everything, catch_exceptions=False)


def listing(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("where", ["data/muniment.db", "data", "."])
def test_a_log_is_found_by_its_file_or_its_folder(
    written: WrittenLog, tmp_path: Path, where: str
) -> None:
    result = run(written, tmp_path / where)
    assert result.exit_code == 0
    assert "UNANCHORED" in result.output
    assert result.output.splitlines()[-1].startswith("Not proved: ")


def test_the_sentence_on_what_was_not_proved_is_wrapped_like_that_of_verify(
    written: WrittenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_words, "wrapped", lambda sentence: f"wrapped: {sentence}")
    result = run(written, tmp_path / "data")
    assert result.output.splitlines()[-1].startswith("wrapped: Not proved: ")


def copied(written: WrittenLog, path: Path) -> Path:
    """The database as a file that nobody has open."""
    path.parent.mkdir(exist_ok=True)
    source, target = sqlite3.connect(written.path), sqlite3.connect(path)
    source.backup(target)
    source.close()
    target.close()
    return path


def test_it_writes_nothing_beside_a_log_at_rest(written: WrittenLog, tmp_path: Path) -> None:
    path = copied(written, tmp_path / "rest" / "muniment.db")
    before = listing(path.parent)
    assert list(before) == ["muniment.db"]
    assert run(written, path, "--full").exit_code == 0
    assert listing(path.parent) == before


def test_it_reads_a_log_that_is_in_use(written: WrittenLog) -> None:
    assert (written.folder / "muniment.db-wal").exists()
    assert "cases without a gap" in run(written, written.path, "--full").output


def test_it_neither_makes_nor_migrates_a_database(written: WrittenLog, tmp_path: Path) -> None:
    empty = tmp_path / "empty.db"
    empty.touch()
    with pytest.raises(LogInvalid, match="holds no log"):
        run(written, empty)
    assert empty.read_bytes() == b""
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"not a database, not at all" * 100)
    with pytest.raises(LogInvalid, match="cannot be read"):
        run(written, garbage)
    assert run(written, tmp_path / "nothing.db").exit_code == 2
    folder = tmp_path / "bare"
    folder.mkdir()
    assert run(written, folder).exit_code == 2


def test_a_kept_head_makes_it_self_witnessed(written: WrittenLog, tmp_path: Path) -> None:
    head = tmp_path / "head"
    head.write_bytes(written.store.checkpoint(3) or b"")
    result = run(written, written.path, "--head", head)
    assert (result.exit_code, "SELF-WITNESSED" in result.output) == (0, True)


def test_a_head_of_more_entries_than_there_are_is_diverged(
    written: WrittenLog, tmp_path: Path
) -> None:
    older = copied(written, tmp_path / "older.db")
    WrittenCase(written).whole()
    head = tmp_path / "head"
    head.write_bytes(written.log.checkpoint)
    result = run(written, older, "--head", head)
    assert (result.exit_code, "DIVERGED" in result.output) == (1, True)
    assert "entries are gone" in result.output


def test_a_bad_entry_is_named_for_people_and_machines(written: WrittenLog) -> None:
    with sqlite3.connect(written.path) as connection:
        connection.execute("DROP TRIGGER entries_stay")
        forged = "CAST(replace(header, 'human', 'robot') AS BLOB)"
        connection.execute(f"UPDATE entries SET header = {forged} WHERE idx = 3")
    connection.close()
    result = run(written, written.path)
    assert result.exit_code == 1
    assert "INVALID: entry 3" in result.output
    value = json.loads(run(written, written.path, "--json").output)
    assert (value["verdict"], value["holds"], value["bad"]["index"]) == ("INVALID", False, 3)


def test_hashing_is_spread_over_the_cores_of_a_large_log(
    written: WrittenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_cli, "_LARGE", 0)
    monkeypatch.setattr(audit_cli, "_WORTH_SPREADING", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert run(written, written.path).exit_code == 0
