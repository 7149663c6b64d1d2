"""Whoever hands an archive over may have written anything into it: nothing happens but a refusal."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from little_history import Desk, cast_with_security
from scenario_api import ScenarioApi

from muniment.errors import NotCanonical
from muniment.evidence.note import VerifierKey
from muniment.evidence.record import digest
from muniment.evidence.verdict import NOBODY
from muniment.interfaces.verifier import folder as places
from muniment.interfaces.verifier import folder_check
from muniment.interfaces.verifier.front_door import main
from muniment.interfaces.verifier.pages import case_page
from muniment.interfaces.verifier.record_words import clean
from muniment.interfaces.verifier.rows import Row, as_csv
from muniment.interfaces.verifier.told import Told
from muniment.testing.scenario import Scenario


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[tuple[Path, str]]:
    (tmp_path / "service").mkdir()
    async with cast_with_security(Scenario(tmp_path / "service", checking=False)) as scenario:
        api = ScenarioApi(scenario, tmp_path)
        await api.enrol("aud")
        await scenario.granted()
        await Desk(scenario, api, tmp_path).take("aud")
        yield tmp_path / "archive", scenario.key.verifier.vkey


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/x", "a/../../x", "a//b", ".", "a/.", "C:x", "a\\b", "a\x00b", "x\u202ey",
     "MANIFEST", "a\nb", "*", ""],
)  # fmt: skip
def test_a_policy_with_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    content = b"permit (principal, action, resource);"
    manifest = f"{digest(content).hex()}  {path}".encode()
    with pytest.raises(NotCanonical):
        places._policy_files(
            digest(manifest), {digest(manifest): manifest, digest(content): content}
        )


async def test_links_and_folders_in_the_place_of_files_are_not_followed(
    archive: tuple[Path, str], tmp_path: Path
) -> None:
    folder, key = archive
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (bundle,) = (folder / "cases").iterdir()
    bundle.rename(tmp_path / "elsewhere")
    bundle.symlink_to(tmp_path / "elsewhere")
    (folder / "pages" / "link.html").symlink_to(secret)
    (folder / "\x1b[2Jx").write_text("")
    found = folder_check.check(folder, _keys(key), NOBODY)
    assert not found.holds
    assert any("no plain file" in each for each in found.wrong[1])
    assert not any("\x1b[2J" in line for line in found.lines())
    assert any("is not here" in each for each in found.wrong[3])


async def test_whatever_stands_in_the_place_of_a_file_is_refused_and_nothing_else(
    archive: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, key = archive
    deep = b"[" * 100_000 + b"]" * 100_000
    for name in ("archive.json", "SHA256SUMS", "manifest.json", "log/excerpt.gz"):
        good = (folder / name).read_bytes()
        for bad in (b"", b"\x00" * 1000, b"{}", deep, b"\xff\xfe", good[: len(good) // 2]):
            (folder / name).write_bytes(bad)
            assert main(["verify", str(folder), "--log-key", key]) == 1, (name, bad[:9])
        (folder / name).unlink()
        assert main(["verify", str(folder), "--log-key", key]) == 1
        (folder / name).write_bytes(good)
    capsys.readouterr()
    assert main(["verify", str(folder), "--log-key", key]) == 0


@pytest.mark.parametrize("version", ["0.0.1", "0.0.1\x1b[2J", "9 of https://evil.example", None])
async def test_pages_that_another_version_is_said_to_have_made_do_not_pass_unseen(
    archive: tuple[Path, str], capsys: pytest.CaptureFixture[str], version: str | None
) -> None:
    folder, key = archive
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["version"] = version
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "index.html").write_text("<h1>All is well</h1>")
    sums = {path: places.digest_in(folder, path) for path in places.read_sums(folder)}
    (folder / "SHA256SUMS").write_bytes(places.sums(sums))
    assert main(["verify", str(folder), "--log-key", key]) == 1
    said = capsys.readouterr().out
    assert "use the verifier of that version, as it was published, or `--without-pages`" in said
    assert ("version 0.0.1 made them, as it says" in said) == (version == "0.0.1")
    assert "evil" not in said
    assert "\x1b[2J" not in said
    assert main(["verify", str(folder), "--log-key", key, "--without-pages"]) == 0
    said = capsys.readouterr().out
    assert "do not read them" in said
    assert main(["index", str(folder), "--log-key", key]) == 1
    assert main(["index", str(folder), "--log-key", key, "--without-pages"]) == 0


async def test_a_manifest_that_says_something_else_is_found_though_its_sums_were_made_again(
    archive: tuple[Path, str],
) -> None:
    folder, key = archive
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["cases"] = 0
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    sums = {path: places.digest_in(folder, path) for path in places.read_sums(folder)}
    (folder / "SHA256SUMS").write_bytes(places.sums(sums))
    found = folder_check.check(folder, _keys(key), NOBODY)
    assert not found.wrong[1]
    assert found.wrong[7] == ["`manifest.json` is not what the bundles say"]


async def test_questions_that_make_no_sense_are_wrong_uses(
    archive: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, key = archive
    for wrong in (
        ["index", str(folder), "--log-key", key, "--where", "nothing=x"],
        ["verify", str(folder), str(folder), "--log-key", key],
    ):
        assert main(wrong) == 2
    for wrong in (
        ["index", str(folder), "--log-key", key, "--where", "state"],
        ["index", str(folder / "archive.json"), "--log-key", key],
        ["show", str(folder), "--log-key", key],
        [],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(wrong)
        assert stopped.value.code == 2
    assert main(["index", str(folder), "--log-key", key, "--where", "state=issued"]) == 0
    assert "1 of 1 cases" in capsys.readouterr().out
    assert main(["log", str(folder / "archive.json"), "--log-key", key]) == 1


_AT = datetime(2026, 11, 21, tzinfo=UTC)
_TEXT = st.text(st.characters(exclude_categories=()), max_size=200)


@given(_TEXT)
def test_text_that_was_typed_moves_no_cursor_and_turns_no_line(typed: str) -> None:
    shown = clean(typed)
    assert not set(shown) & set("\n\r\t\x00\x1b\u202e\u2066\u200b\x7f\x9b")
    shown.encode("utf-8")


@settings(max_examples=50)
@given(_TEXT, _TEXT)
def test_pages_and_tables_hold_whatever_was_typed_as_text(by: str, reason: str) -> None:
    told = Told(
        case="mun_" + "a" * 26, kind="access", state="denied", complete=True, opened=_AT,
        by=clean(by), what="x", reason=clean(reason),
    )  # fmt: skip
    page = case_page(told, events=False).decode("utf-8")
    body = page.partition("<body>")[2]
    assert "<script" not in body
    assert body.count("<dd>") == body.count("</dd>")
    data = as_csv([Row.of(told)]).decode("utf-8")
    assert not any(line.startswith(("=", "+", "-", "@")) for line in data.split(","))


def _keys(key: str) -> list[VerifierKey]:
    return [VerifierKey.parse(key)]
