"""Checking a report is offline: it opens the files of its folder and nothing else in the world."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_offline import HOOK, run

from muniment.interfaces.cli.main import run as muniment
from muniment.testing.written_year import WrittenYear

RUN = (
    HOOK
    + """
FOLDER = os.path.realpath(sys.argv[2 + sys.argv[1:].index("--check")])
ALLOWED |= {os.path.join(here, name) for here, _, names in os.walk(FOLDER) for name in names}
import muniment.oversight
# the program's own map, beside which that of the report is held
ALLOWED.add(os.path.join(os.path.realpath(muniment.oversight.__path__[0]), "control_map.toml"))
sys.addaudithook(hook)
from muniment.interfaces.cli.main import run
code = run(sys.argv[1:])
heavy = {"sqlite3", "asyncio", "fastapi", "uvicorn", "httpx", "psycopg", "pydantic", "cedarpy"}
sys.stdout.flush()
sys.stderr.write("loaded " + ",".join(sorted(heavy & set(sys.modules))) + "\\n")
sys.exit(code)
"""
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("offline-report")
    mirror, key, out = folder / "mirror", folder / "log.vkey", folder / "report"
    year = WrittenYear(grants=10, days=5)
    mirror.mkdir()
    year.tiles(mirror)
    key.write_text(year.key.verifier.vkey)
    code = muniment(
        [
            "report", "--framework", "soc2", "--period", "2026", "-o", str(out),
            "--log", str(mirror), "--log-key", str(key),
        ]
    )  # fmt: skip
    assert code == 0
    return out, key


def test_a_check_touches_nothing_but_the_folder_and_the_key(made: tuple[Path, Path]) -> None:
    folder, key = made
    done = run(RUN, "report", "--check", str(folder), "--log-key", str(key), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["holds"]
    assert done.stderr.splitlines()[-1] == "loaded "


def test_the_hook_of_this_test_still_catches_what_it_should(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text("secret")
    script = RUN.replace("code = run(sys.argv[1:])", f"open({str(other)!r})")
    done: subprocess.CompletedProcess[str] = run(script, "--check", str(made[0]))
    assert done.returncode == 99, (sys.executable, done.stderr)
