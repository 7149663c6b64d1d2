"""The command line starts quickly: what is heavy is imported by the command that needs it."""

import subprocess
import sys

import pytest

_HEAVY = ("httpx", "fastapi", "rich", "sqlite3", "cedarpy", "psycopg", "pydantic", "cryptography")


@pytest.mark.parametrize("module", ["client", "decide", "look", "run", "operate", "evidence"])
def test_a_module_of_commands_imports_nothing_heavy(module: str) -> None:
    code = (
        f"import sys; import muniment.interfaces.cli.{module};"
        f"print([name for name in {_HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
