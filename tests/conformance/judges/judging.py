"""
Foreign judges: programs that others wrote, asked whether what Muniment writes is what it claims.

A judge gets a directory and the key of the log, and nothing of ours:

- `checkpoint` and `tile/…`: the log as C2SP tlog-tiles publishes it, entry bundles included;
- `checkpoints/<size>`: older signed checkpoints;
- `proofs/<index>.tlog-proof`: inclusion proofs, as C2SP tlog-proof;
- `growth/<old>-<new>.add-checkpoint`: consistency proofs, as a C2SP tlog-witness is sent them.

`export_log` writes such a directory and `judge_directory` has it judged.
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest
from exporting import export_log

__all__ = ["JUDGES", "Verdict", "export_log", "judge_directory", "need_judge"]

_HERE: Final = Path(__file__).parent
_ACCEPTED: Final = 0
_REFUSED: Final = 1


@dataclass(frozen=True)
class Verdict:
    """What a judge says. `said` is for a person, but for the counts of what was looked at."""

    accepted: bool
    said: str


class Missing(Exception):
    """The judge is not installed; the message says what would help."""


def _python(script: str, module: str) -> list[str]:
    if find_spec(module) is None:
        raise Missing(f"{module} is not installed; `make test-deep` installs it")
    return [sys.executable, str(_HERE / script)]


@functools.cache
def _go() -> list[str]:
    """The Go judge, built from Debian's packages: by whichever Go there is, without any network."""
    source = Path("/usr/share/gocode")
    compilers = ["/usr/bin/go", *map(str, sorted(Path("/usr/lib").glob("go-*/bin/go")))]
    go = next(filter(os.path.exists, compilers), None) or shutil.which("go")
    if go is None or not (source / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        raise Missing("the Debian packages golang-go and golang-golang-x-mod-dev are not installed")
    program = Path(tempfile.mkdtemp(prefix="muniment-judge-")) / "judge"
    settings = {"GO111MODULE": "off", "GOPATH": str(source), "GOFLAGS": "", "GOTOOLCHAIN": "local"}
    subprocess.run(
        [go, "build", "-o", str(program), str(_HERE / "go" / "main.go")],
        env={"GOCACHE": str(program.parent / "cache"), **os.environ, **settings},
        check=True,
    )
    return [str(program)]


#: by name: the command that judges, to which directory and key are added
JUDGES: Final[Mapping[str, Callable[[], list[str]]]] = {
    "go": _go,
    "tlog-scales": lambda: _python("tlog_scales_judge.py", "tlog_scales"),
    "aics-tlog": lambda: _python("aics_tlog_judge.py", "aics_tlog"),
    "witness-log": lambda: _python("witness_log_judge.py", "witness_log"),
}


def need_judge(name: str) -> None:
    """Skip the test without this judge, or fail it where nothing may be missing."""
    try:
        JUDGES[name]()
    except Missing as missing:
        required = os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1"
        (pytest.fail if required else pytest.skip)(str(missing))


def judge_directory(
    path: Path, vkey: str, judges: Iterable[str] = tuple(JUDGES)
) -> dict[str, Verdict]:
    """The verdict of each judge on this directory. Raises `Missing`; a judge that breaks is an error."""
    return {name: _judge(JUDGES[name](), path, vkey) for name in judges}


def _judge(command: list[str], path: Path, vkey: str) -> Verdict:
    done = subprocess.run(
        [*command, str(path), vkey], capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode not in (_ACCEPTED, _REFUSED) or done.stderr:
        raise RuntimeError(f"{command[-1]} broke ({done.returncode}): {done.stdout}{done.stderr}")
    return Verdict(done.returncode == _ACCEPTED, done.stdout.strip())
