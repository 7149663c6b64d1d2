"""
Verification is offline: it opens the files of its arguments and nothing else in the world.

Each run is a fresh interpreter with an audit hook that ends it on any socket, database, child
process, or file that is not among the arguments. Loading modules is exempt.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from muniment.testing.cases import WrittenCase, WrittenLog
from muniment.testing.vouching import Vouchers
from muniment.testing.written_events import write_events

HOOK = """
import os, sys

ALLOWED = {os.path.realpath(path) for path in sys.argv[1:] if os.path.exists(path)}
FORBIDDEN = ("socket.", "sqlite3.", "subprocess.", "os.system", "os.exec", "os.fork", "os.spawn",
             "os.posix_spawn", "os.remove", "os.rename", "os.mkdir", "ftplib.", "http.", "urllib.",
             "ctypes.dlopen")

def loading_a_module():
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False

def hook(event, arguments):
    if event == "open" and not loading_a_module():
        path = arguments[0]
        if not isinstance(path, int) and os.path.realpath(os.fsdecode(path)) not in ALLOWED:
            sys.stderr.write(f"opened {path!r}\\n")
            os._exit(99)
    elif event.startswith(FORBIDDEN) and not loading_a_module():
        sys.stderr.write(f"did {event} {arguments!r}\\n")
        os._exit(99)
"""

RUN = (
    HOOK
    + """
for name in sys.argv.pop(1).split(","):
    if name:
        sys.modules[name] = None
sys.addaudithook(hook)
from muniment.interfaces.cli.main import run
code = run(sys.argv[1:])
heavy = {"sqlite3", "asyncio", "fastapi", "uvicorn", "httpx", "psycopg", "pydantic", "cedarpy"}
sys.stdout.flush()
sys.stderr.write("loaded " + ",".join(sorted(heavy & set(sys.modules))) + "\\n")
sys.exit(code)
"""
)

# what the two rooms need: their own names, the standard library, `cryptography` and its own needs
ROOMS = """
import pkgutil, sys
for name in sys.argv[1].split(","):
    if name:
        sys.modules[name] = None
import cryptography.hazmat.primitives.asymmetric.ed25519
before = set(sys.modules)
import muniment.access, muniment.evidence
for room in (muniment.evidence, muniment.access):
    for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
        __import__(module.name)
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(",".join(sorted(new - set(sys.stdlib_module_names))))
"""


@dataclass
class Files:
    bundle: str
    key: str
    head: str
    witnessed: str
    policy: str
    root: str
    events: str


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    folder = tmp_path_factory.mktemp("offline")
    written = WrittenLog(folder)
    case = WrittenCase(written).whole()
    contents = {
        "case.json": written.export(case.id, sizes=[4]),
        "log.vkey": written.key.verifier.vkey.encode(),
        "head": written.store.checkpoint(4) or b"",
    }
    vouchers = Vouchers()
    contents["witnessed.json"] = vouchers.export(written, case.id)
    contents["witnesses"] = vouchers.policy.encode()
    contents["root.pem"] = vouchers.authority.issuer.pem
    sent = [b"SELECT %d" % number for number in range(5)]
    contents["events.json"] = write_events(written, sent, shown={1, 2}, erased={0, 2})
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    yield Files(*(str(folder / name) for name in contents))
    written.close()


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONUTF8": "1"},
    )


def verified(files: Files, without: str = "") -> tuple[Any, str]:
    done = run(
        RUN, without, "verify", files.bundle, "--log-key", files.key, "--head", files.head, "--json"
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_verify_touches_nothing_but_the_files_of_its_arguments(files: Files) -> None:
    value, loaded = verified(files)
    assert value["verdict"] == "SELF-WITNESSED"
    assert loaded.splitlines()[-1] == "loaded "


def test_witnesses_and_time_stamps_are_verified_from_the_files_of_the_arguments_alone(
    files: Files,
) -> None:
    done = run(
        RUN, "", "verify", files.witnessed, "--log-key", files.key, "--json",
        "--witnesses", files.policy, "--tsa-root", files.root,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["grade"] == "WITNESSED 2/3, TIME-STAMPED 2026-11-22T03:00:01Z"
    assert done.stderr.splitlines()[-1] == "loaded "


def test_replay_touches_nothing_but_the_files_of_its_arguments(files: Files) -> None:
    done = run(RUN, "", "replay", files.bundle, "--log-key", files.key)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 decisions recomputed" in done.stdout
    assert done.stderr.splitlines()[-1] == "loaded cedarpy"


def test_the_check_of_events_touches_nothing_but_the_files_of_its_arguments(files: Files) -> None:
    for without in ("", "orjson"):
        done = run(RUN, without, "events", "check", files.events, "--log-key", files.key)
        assert done.returncode == 0, done.stderr
        assert "SELECT 1" in done.stdout
        assert done.stderr.splitlines()[-1] == "loaded "


def test_the_hook_of_this_test_catches_what_it_should(files: Files, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("secret")
    for deed in (
        f"open({str(other)!r})",
        "__import__('socket').socket()",
        "__import__('sqlite3').connect(':memory:')",
        "__import__('subprocess').run(['true'])",
        "os.system('true')",
    ):
        done = run(f"{HOOK}\nsys.addaudithook(hook)\n{deed}", files.bundle)
        assert done.returncode == 99, (deed, done.stderr)


def test_verification_without_the_accelerator_gives_the_same_answer(files: Files) -> None:
    assert verified(files, without="orjson")[0] == verified(files)[0]


@pytest.mark.parametrize(
    ("without", "needs"),
    [("", "cryptography,muniment,orjson"), ("orjson", "cryptography,muniment")],
)
def test_evidence_and_access_need_the_standard_library_and_cryptography_only(
    without: str, needs: str
) -> None:
    done = run(ROOMS, without)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == needs
