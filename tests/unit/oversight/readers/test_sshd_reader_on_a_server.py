"""What a real sshd says of certificates that are valid, expired and revoked."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from muniment.oversight.event import Event, Key, ReaderSettings
from muniment.oversight.readers import reader

pytestmark = [pytest.mark.target, pytest.mark.deep]

_GRANT = "mun_" + "f3" * 13
_PATIENCE = 20.0


class Sshd:
    """A server on 127.0.0.1 without root's rights, so that one account may come in: its own."""

    def __init__(self, folder: Path, program: str, keygen: str) -> None:
        self.folder, self.program, self.keygen = folder, program, keygen
        root = os.geteuid() == 0
        self.account = pwd.getpwnam("nobody") if root else pwd.getpwuid(os.geteuid())
        self.run: dict[str, Any] = (
            {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
            if root
            else {}
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def prepare(self) -> None:
        for name in ("ca", "host", "key"):
            self.keys("-q", "-t", "ed25519", "-N", "", "-C", "", "-f", self.folder / name)
        for name, number, validity in (
            ("valid", 41, "-5m:+1h"),
            ("expired", 42, "20200101:20200102"),
            ("revoked", 43, "-5m:+1h"),
        ):
            shutil.copy(self.folder / "key.pub", self.folder / f"{name}.pub")
            self.keys("-q", "-s", self.folder / "ca", "-I", f"{_GRANT}:{name}", "-z", str(number),
                      "-n", self.account.pw_name, "-V", validity, self.folder / f"{name}.pub")  # fmt: skip
        self.keys("-q", "-k", "-f", self.folder / "krl", self.folder / "revoked-cert.pub")
        (self.folder / "config").write_text(
            f"""
            ListenAddress 127.0.0.1
            Port {self.port}
            HostKey {self.folder / "host"}
            PidFile none
            TrustedUserCAKeys {self.folder / "ca.pub"}
            RevokedKeys {self.folder / "krl"}
            AuthenticationMethods publickey
            StrictModes no
            # without it, an account without a password counts as locked
            UsePAM yes
            LogLevel VERBOSE
            ForceCommand true
            """
        )
        (self.folder / "log").touch()
        for path in (self.folder, *self.folder.iterdir()):
            if self.run:
                os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def keys(self, *arguments: Any) -> None:
        subprocess.run([self.keygen, *map(str, arguments)], check=True, capture_output=True)

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [self.program, "-D", "-e", "-f", self.folder / "config"],
                **self.run, stdout=log, stderr=log, cwd="/",
            )  # fmt: skip
        self.wait_for(b"Server listening on 127.0.0.1")
        return process

    def wait_for(self, text: bytes, count: int = 1) -> None:
        patience = time.monotonic() + _PATIENCE
        while (said := (self.folder / "log").read_bytes()).count(text) < count:
            assert time.monotonic() < patience, said.decode()
            time.sleep(0.02)

    def visit(self, certificate: str) -> int:
        return subprocess.run(
            ["ssh", "-F", "none", "-p", str(self.port), "-i", self.folder / "key",
             "-o", f"CertificateFile={self.folder / certificate}-cert.pub",
             "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
             "-o", "UserKnownHostsFile=/dev/null", f"{self.account.pw_name}@127.0.0.1", "true"],
            check=False, capture_output=True, timeout=_PATIENCE,
        ).returncode  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    program = os.environ.get("MUNIMENT_SSHD", "/usr/sbin/sshd")
    keygen = shutil.which("ssh-keygen")
    if not Path(program).exists() or keygen is None or shutil.which("ssh") is None:
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("openssh-server and openssh-client are not installed")
    # not below the folder of the tests, which an account without rights may not reach
    folder = Path(tempfile.mkdtemp(prefix="muniment-sshd-", dir="/tmp"))
    try:
        made = Sshd(folder, program, keygen)
        made.prepare()
        process = made.start()
        try:
            made.visit("valid")
            made.wait_for(b"Disconnected from user")
            for number, refused in enumerate(("expired", "revoked"), 1):
                assert made.visit(refused) != 0
                made.wait_for(b"Connection closed by authenticating user", number)
            yield made
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_PATIENCE)
    finally:
        shutil.rmtree(folder)


def events(server: Sshd) -> list[Event]:
    """What the server wrote, in the form that the journal gives it."""
    made = reader("sshd", ReaderSettings(prefix="mun"))
    lines = (server.folder / "log").read_bytes().splitlines()
    return [
        made.read(
            orjson.dumps(
                {"__REALTIME_TIMESTAMP": f"{1795262400000000 + number}", "_HOSTNAME": "h",
                 "_COMM": "sshd", "_EXE": "/usr/sbin/sshd", "_UID": "0", "_PID": "7",
                 "MESSAGE": line.decode()}
            )
        )
        for number, line in enumerate(lines)
    ]  # fmt: skip


def test_a_login_with_a_valid_certificate_opens_and_closes_a_session(server: Sshd) -> None:
    found = [each for each in events(server) if each.type.startswith(("session", "statement"))]
    assert [each.type for each in found[:3]] == ["session.opened", "statement", "session.closed"]
    assert found[1].action == "forced-command"
    for each in found[:3]:
        assert each.keys == (Key("certificate", f"{_GRANT}:valid serial 41"),)
        assert (each.account, each.client) == (server.account.pw_name, "127.0.0.1")
    assert sum(each.type == "session.opened" for each in found) == 1


def test_an_expired_and_a_revoked_certificate_are_refused_by_name(server: Sshd) -> None:
    refused = [each for each in events(server) if each.type == "session.refused"]
    assert {each.action for each in refused} == {"Certificate invalid", "revoked", "publickey"}
    assert {key.value for each in refused for key in each.keys} == {
        f"{_GRANT}:expired serial 42",
        f"{_GRANT}:revoked serial 43",
    }
