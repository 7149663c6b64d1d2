"""The order of the rooms, as import-linter knows it, and what must not be loaded where."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = Path(sys.executable).parent / "lint-imports"
HEAVY = ("fastapi", "uvicorn", "sqlite3", "psycopg", "httpx", "cedarpy")


def lint(directory: Path) -> subprocess.CompletedProcess[str]:
    # -S would hide the packages; PYTHONPATH puts the copy before the installed checkout
    environment = {**os.environ, "PYTHONPATH": str(directory / "src")}
    command = [str(LINT), "--no-cache"]
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


def test_imports_point_inwards() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


BREACHES = {
    "an inner room imports an outer one": (
        "evidence/merkle.py", "from muniment.stores import sqlite", "imports point inwards",
    ),
    "an inner room reads the clock": (
        "policy/obligations.py", "import time", "touch neither clock, network nor database",
    ),
    "an inner room opens a database": (
        "access/records/record.py", "import sqlite3", "touch neither clock, network nor database",
    ),
    "a store knows an operation": (
        "stores/head_file.py", "from muniment.operations import approve", "imports point inwards",
    ),
    "a connector knows another": (
        "connectors/second.py", "import muniment.connectors.postgresql", "do not know one another",
    ),
    "a room has no place": ("attic/__init__.py", '"""A new room."""', "imports point inwards"),
}  # fmt: skip


@pytest.mark.parametrize(("file", "line", "contract"), BREACHES.values(), ids=BREACHES)
def test_a_breach_of_the_order_is_seen(file: str, line: str, contract: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    package = tmp_path / "src" / "muniment"
    shutil.copytree(
        ROOT / "src" / "muniment", package, ignore=shutil.ignore_patterns("__pycache__")
    )
    target = package / file
    target.parent.mkdir(exist_ok=True)
    with target.open("a", encoding="utf-8") as out:
        out.write(f"\n{line}\n")
    done = lint(tmp_path)
    broken = [row for row in done.stdout.splitlines() if row.rstrip().endswith("BROKEN")]
    assert done.returncode == 1, done.stdout + done.stderr
    assert any(contract in row for row in broken), broken


def test_asking_for_the_version_loads_no_server_no_database_and_no_engine() -> None:
    program = (
        "import sys; sys.argv = ['muniment', '--version']\n"
        "from muniment.interfaces.cli.main import main\n"
        "try:\n    main()\n"
        "except SystemExit as left:\n    assert not left.code, left.code\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    version, loaded = done.stdout.splitlines()
    assert version.startswith("muniment")
    assert loaded == ""
