"""A service whose keys change while it runs, one of them in another process; and its readers."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acceptance.conftest import LOGINS, PROGRAM, Installation, _operate, _prepare, _serving, _token
from muniment.testing.postgres_server import PostgresServer, find_binaries

pytestmark = [pytest.mark.deep, pytest.mark.target, pytest.mark.alone]
PASSWORD = "of the tests"
ENVIRONMENT = {**os.environ, "MUNIMENT_POSTGRES_PASSWORD": PASSWORD}


@contextlib.contextmanager
def signing(folder: Path, socket: Path) -> Iterator[None]:
    """`muniment signer serve` for as long as it is entered."""
    command = [PROGRAM, "signer", "serve", str(folder), "--socket", str(socket)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("muniment signs for ")
            yield
            process.terminate()
            assert process.wait(10) == 0
        finally:
            process.kill()


def keys(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        _operate("key", "list", "--dir", str(folder), "--json")
    )["keys"]
    return found


def read(desk: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """A reader's command, which knows nothing of the service; code and answer."""
    done = subprocess.run(
        [PROGRAM, *arguments, "--json"],
        cwd=desk,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def granted(service: Installation, name: str) -> None:
    """A grant from its request to its end, and its evidence as the file of that name."""
    case = service.approved()
    service.json("credential", case, "--format", "json")
    service.json("end", case)
    done = service.muniment("evidence", "export", case, "-o", name, as_="admin")
    assert done.returncode == 0, done.stderr


def test_a_rotation_into_another_process_and_what_its_readers_see(tmp_path: Path) -> None:
    if not find_binaries():
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("no PostgreSQL binaries on this machine")
    folder, desk, signer = tmp_path / "conf", tmp_path / "desk", tmp_path / "signer"
    desk.mkdir()
    socket = tmp_path / "run" / "socket"
    socket.parent.mkdir(mode=0o700)
    with PostgresServer.start(tmp_path / "target") as server:
        _prepare(server, PASSWORD)
        _operate("init", str(folder), "--postgres", server.address)
        tokens = {login: _token(folder, login) for login in LOGINS}

        @contextlib.contextmanager
        def service() -> Iterator[Installation]:
            with _serving(folder, ENVIRONMENT, tmp_path / "serve.log") as url:
                yield Installation(folder=folder, url=url, tokens=tokens, server=server, desk=desk)

        with service() as one:
            granted(one, "before.json")
        (first,) = keys(folder)
        old = ["--log-key", first["key"]]

        made = _operate("signer", "init", str(signer), "--origin", "muniment.example/log", "--json")
        new = ["--log-key", json.loads(made)["key"]]
        with (folder / "muniment.toml").open("a") as settings:
            settings.write(f'\n[signer]\nsocket = "{socket}"\nkey = "{new[1]}"\n')
        with signing(signer, socket), service() as one:
            granted(one, "overlap.json")
            _operate("key", "retire", first["id"], "--dir", str(folder))
            _operate("reload", "--dir", str(folder))
            deadline = time.monotonic() + 10
            while not keys(folder)[0]["state"].startswith("retired"):
                assert time.monotonic() < deadline, (tmp_path / "serve.log").read_text()
                time.sleep(0.1)
            granted(one, "after.json")
        assert (folder / "keys" / "log.key.retired").exists()

        # without its signer the service starts, and grants nothing
        with service() as one:
            done = one.muniment("request", "my-database", "readwrite", "--reason", "x")
            assert done.returncode == 3
            assert "cannot be written" in done.stderr
        with signing(signer, socket), service() as one:
            granted(one, "again.json")

    for name, key, other in [
        ("before.json", old, new),
        ("overlap.json", old, new),
        ("after.json", new, old),
        ("again.json", new, old),
    ]:
        for named in (key, [*old, *new], [*new, *old]):
            assert read(desk, "verify", name, *named)[0] == 0
        code, answer = read(desk, "verify", name, *other)
        assert code == 1
        assert "and you named" in json.dumps(answer)
        assert read(desk, "replay", name, *key)[0] == 0
    for named, code in [(new, 0), ([*old, *new], 0), (old, 1)]:
        for full in ([], ["--full"]):
            assert read(desk, "audit", str(folder), *named, *full)[0] == code
    shown = json.loads(_operate("signer", "status", str(signer), "--json"))
    assert shown["newest"]["size"] == read(desk, "audit", str(folder), *new)[1]["size"]
