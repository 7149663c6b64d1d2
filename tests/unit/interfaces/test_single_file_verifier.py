"""The verifier in one file: built the same everywhere, and of one mind with `muniment verify`."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bare_python import BarePython
from click.testing import CliRunner

from muniment.evidence import canonical
from muniment.evidence.bundle import MAX_DEPTH
from muniment.interfaces.cli.events import events_command
from muniment.interfaces.cli.verify import verify_command
from muniment.interfaces.verifier import single_file
from muniment.interfaces.verifier.front_door import NO_REPLAY
from muniment.testing.cases import WrittenCase, WrittenLog
from muniment.testing.written_events import write_events

GOLDEN = Path(__file__).parents[2] / "conformance" / "golden" / "bundles"


@dataclass
class Desk:
    """Bundles, good and altered, with the key; and a Python with nothing of ours."""

    folder: Path
    key: str
    bare: BarePython

    def paths(self) -> list[str]:
        return sorted(map(str, self.folder.glob("*.json")))


def _rewrite(value: dict[str, list[dict[str, str]]]) -> None:
    header = value["records"][5]["header"]
    value["records"][5]["header"] = header.replace("orders-prod", "orders-test")


def _resigned(note: str) -> str:
    """Its signature ends otherwise, whatever it ended with."""
    return note[:-3] + ("E=\n" if note.endswith("A=\n") else "A=\n")


CHANGES: dict[str, Callable[[Any], object]] = {
    "cut": lambda value: value["records"].pop(),
    "gap": lambda value: value["records"].pop(6),
    "headless": lambda value: value["heads"].pop(),
    "undocumented": lambda value: value["documents"].popitem(),
    "withheld": lambda value: value["records"][5]["sections"].update(reason="withheld"),
    "moved": lambda value: value["records"][4].update(index=99),
    "proofless": lambda value: value["records"][4]["proof"].pop(),
    "unsigned": lambda value: value.update(checkpoint=_resigned(value["checkpoint"])),
    "rewritten": _rewrite,
}


def altered(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The same bundle, changed in one place each."""
    assert canonical.encode(json.loads(data), max_depth=MAX_DEPTH) == data
    yield "shortened", data[:-1]
    for name, change in CHANGES.items():
        value = json.loads(data)
        change(value)
        yield name, canonical.encode(value, max_depth=MAX_DEPTH)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "log").mkdir()
    written = WrittenLog(folder / "log")
    case = WrittenCase(written).whole()
    good = written.export(case.id, sizes=[4])
    (folder / "files").mkdir()
    (folder / "files" / "good.json").write_bytes(good)
    for name, data in altered(good):
        (folder / "files" / f"{name}.json").write_bytes(data)
    events = write_events(written, [b"SELECT 1", b"SELECT 2"], shown={0, 1}, erased={1})
    (folder / "events").write_bytes(events)
    pyz = folder / "muniment-verify.pyz"
    pyz.write_bytes(single_file.build())
    key = folder / "log.vkey"
    key.write_text(written.key.verifier.vkey, "utf-8")
    yield Desk(folder / "files", str(key), BarePython(folder, pyz))
    written.close()


def ours(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(verify_command, list(arguments), catch_exceptions=False)
    return result.exit_code, result.output


def without_the_parsers_words(value: dict[str, Any]) -> dict[str, Any]:
    """What is no JSON at all, each library says in words of its own."""
    return {**value, "reason": str(value.get("reason")).partition(" JSON: ")[0]}


def test_it_is_built_of_the_same_bytes_each_time() -> None:
    data = single_file.build()
    assert data == single_file.build()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        assert names == sorted(names)
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    rooms = {name.split("/")[1] for name in names if name.startswith("muniment/")}
    assert rooms == {"__init__.py", "errors.py", "evidence", "access", "interfaces"}


def test_it_says_of_good_and_altered_bundles_what_the_command_says(desk: Desk) -> None:
    paths = desk.paths()
    done = desk.bare.run("verify", *paths, "--log-key", desk.key, "--json")
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert not said["holds"]
    assert len(paths) == 11
    for path, value in zip(paths, said["files"], strict=True):
        code, output = ours(path, "--log-key", desk.key, "--json")
        assert without_the_parsers_words(value) == without_the_parsers_words(json.loads(output))
        assert value["holds"] == (code == 0) == path.endswith("good.json")


def test_its_words_and_exit_codes_are_those_of_the_command(desk: Desk) -> None:
    for name in ("good", "rewritten"):
        path = str(desk.folder / f"{name}.json")
        code, output = ours(path, "--log-key", desk.key)
        done = desk.bare.run("verify", path, "--log-key", desk.key)
        assert (done.returncode, done.stdout) == (code, f"{output}\nNote: {NO_REPLAY}.\n")


def test_witnesses_time_stamps_and_demands_are_judged_as_by_the_command(desk: Desk) -> None:
    for version, code in (("v2", 0), ("v1", 1)):
        arguments = [
            str(GOLDEN / f"{version}.json"), "--log-key", str(GOLDEN / "log.vkey"), "--json",
            "--witnesses", str(GOLDEN / "witnesses"), "--tsa-root", str(GOLDEN / "tsa-root.pem"),
            "--require", "witnessed", "--require", "time-stamped", "--require", "complete",
        ]  # fmt: skip
        done = desk.bare.run("verify", *arguments)
        assert (done.returncode, done.stdout) == ours(*arguments) == (code, done.stdout)


def test_nothing_but_cryptography_is_loaded_beside_the_standard_library(desk: Desk) -> None:
    done = desk.bare.run("verify", str(desk.folder / "good.json"), "--log-key", desk.key)
    loaded = set(done.stderr.splitlines()[-1].removeprefix("loaded ").split(","))
    assert loaded <= {"cryptography", "cffi", "_cffi_backend", "_openssl", "pycparser"}


def test_a_file_that_is_not_named_would_end_it(desk: Desk, tmp_path: Path) -> None:
    """The hook of these tests catches what it should."""
    curious = tmp_path / "curious.pyz"
    with zipfile.ZipFile(curious, "w") as archive:
        archive.writestr("__main__.py", f"open({desk.key!r})")
    bare = BarePython(tmp_path, curious)
    assert bare.run("verify").returncode == 99
    assert bare.run(desk.key).returncode == 0


def test_a_case_is_shown_in_plain_text_with_the_rule_that_decided(desk: Desk) -> None:
    done = desk.bare.run("show", str(desk.folder / "good.json"), "--log-key", desk.key)
    assert done.returncode == 0, done.stderr
    assert re.search(r"asked by +ana\n", done.stdout)
    assert "approval     cy for sre-leads, by session (no second factor)" in done.stdout
    assert "rule require.prod, policies/30-require.cedar:12" in done.stdout
    assert "seen gone" in done.stdout
    broken = desk.bare.run("show", str(desk.folder / "rewritten.json"), "--log-key", desk.key)
    assert broken.returncode == 1
    assert "asked by" not in broken.stdout


def test_events_are_checked_in_the_words_of_the_command(desk: Desk) -> None:
    path = str(desk.folder.parent / "events")
    done = desk.bare.run("events", path, "--log-key", desk.key)
    result = CliRunner().invoke(events_command, ["check", path, "--log-key", desk.key])
    assert (done.returncode, done.stdout) == (result.exit_code, result.output)
    other = str(GOLDEN / "log.vkey")
    assert desk.bare.run("events", path, "--log-key", other).returncode == 1


def test_of_a_case_without_events_it_says_that_there_need_be_none(desk: Desk) -> None:
    done = desk.bare.run("events", "events/mun_a.json", "--log-key", desk.key)
    assert done.returncode == 2
    assert done.stdout == ""
    said = done.stderr.splitlines()[0]
    assert said.startswith("muniment-verify: there is no `events/mun_a.json`: a folder has none")
    assert "`verify` says whether one that should be there is missing" in said


def test_it_replays_no_policy_and_does_not_take_that_as_a_demand(desk: Desk) -> None:
    done = desk.bare.run(
        "verify", str(desk.folder / "good.json"), "--log-key", desk.key, "--require", "replay"
    )
    assert done.returncode == 2
    assert "invalid choice: 'replay'" in done.stderr


def test_what_cannot_be_understood_is_a_wrong_use_of_it(desk: Desk, tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense"
    nonsense.write_bytes(b"\x00\xff")
    good = str(desk.folder / "good.json")
    assert desk.bare.run("verify", good, "--log-key", "not-a-key").returncode == 2
    assert desk.bare.run("verify", good, "--log-key", str(nonsense)).returncode == 2
    assert desk.bare.run("verify", "nowhere", "--log-key", desk.key).returncode == 2
    assert desk.bare.run("verify", str(nonsense), "--log-key", desk.key).returncode == 1
