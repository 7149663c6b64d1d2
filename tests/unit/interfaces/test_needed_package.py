"""A verifier where the package that it needs is too old, broken or not there."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from muniment.interfaces.verifier import needed, single_file

#: without what a site adds, but with PYTHONPATH
BARE = [sys.executable, "-S"]
PACKAGES = Path(needed.__file__).parents[3]

OLD = "here is 38.0.4: "
CASES = [
    ({}, "there is none here: "),
    ({"cryptography/__init__.py": '__version__ = "38.0.4"'}, OLD),
    (
        {
            "cryptography/__init__.py": '__version__ = "49.9"',
            "cryptography/hazmat/__init__.py": "",
        },
        "here is 49.9: ",
    ),
    ({"cryptography/__init__.py": ""}, "there is none here: "),
    ({"cryptography/__init__.py": '__version__ = "90.1"'}, "does not work with 90.1: "),
    ({"cryptography/__init__.py": '__version__ = "x"'}, "here is x: "),
]


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder


def run(*command: str, path: Path, more: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BARE, *command],
        env={**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{more}" if more else str(path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(("files", "said"), CASES)
def test_the_single_file_says_in_one_sentence_what_it_needs(
    tmp_path: Path, files: dict[str, str], said: str
) -> None:
    pyz = tmp_path / "muniment-verify.pyz"
    pyz.write_bytes(single_file.build())
    done = run(str(pyz), "--help", path=write(tmp_path / "packages", files))
    assert done.returncode == 2
    assert done.stdout == ""
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert f"`cryptography`, version {needed.SERIES}" in done.stderr
    assert needed.HOW in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_command_says_the_same(tmp_path: Path) -> None:
    files = {"cryptography/__init__.py": '__version__ = "38.0.4"'}
    installed = os.pathsep.join([str(PACKAGES), *(each for each in sys.path if each)])
    done = run("-m", "muniment", "verify", "x", path=write(tmp_path, files), more=installed)
    assert done.returncode == 2
    assert done.stderr.startswith("muniment: it needs the package `cryptography`, version")
    assert OLD in done.stderr
    assert done.stderr.count("\n") == 1


def test_nothing_is_lacking_here() -> None:
    assert needed.lacking() is None


def test_it_asks_for_what_the_package_itself_asks_for() -> None:
    root = Path(__file__).parents[3]
    asked = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    assert f"cryptography>={needed.SERIES},<{needed.SERIES + 1}" in asked
    # an auditor reads it before he has a folder
    said = re.sub(r"\s+", " ", (root / "docs/auditor.md").read_text("utf-8"))
    assert f"version {needed.SERIES} of the package" in said
    assert needed.HOW in said
