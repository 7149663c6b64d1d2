"""The witness as an operator runs it: the real command, a process of its own, real HTTP."""

import contextlib
import datetime as dt
import os
import signal
import socket
import ssl
import subprocess
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from acceptance.witness_program import PROGRAM, muniment, serving
from muniment.evidence.checkpoint import open_cosigned
from muniment.evidence.note import VerifierKey
from muniment.testing.small_log import SmallLog

pytestmark = [pytest.mark.deep, pytest.mark.alone]

LOG = SmallLog()
MONITORED = f"/{sha256(LOG.origin.encode()).hexdigest()}/checkpoint"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "witness"
    muniment("init", folder, "--name", "witness.example/1")
    muniment("add", folder, LOG.key.verifier.vkey)
    return folder


def test_a_log_is_cosigned_over_http_and_remembered_over_a_restart(folder: Path) -> None:
    witness_key = VerifierKey.parse((folder / "witness.vkey").read_text().strip())
    with serving(folder) as running, httpx.Client(base_url=running.url) as client:
        for old, new in [(0, 3), (3, 40), (40, 40)]:
            answer = client.post("/add-checkpoint", content=LOG.request(old, new))
            assert answer.status_code == 200
            note = LOG.signed(new) + answer.content
            keys = [LOG.key.verifier, witness_key]
            assert witness_key in open_cosigned(note, LOG.origin, keys)[1].verified
        assert client.get(MONITORED).content == note
        code, log = running.stop()
    assert code == 0
    assert {line["level"] for line in log} == {"info"}
    (status,) = muniment("status", folder)["logs"]
    assert (status["size"], status["forked"]) == (40, 0)
    with serving(folder) as running, httpx.Client(base_url=running.url) as client:
        conflict = client.post("/add-checkpoint", content=LOG.request(3, 50))
        assert (conflict.status_code, conflict.text) == (409, "40\n")
        assert conflict.headers["content-type"] == "text/x.tlog.size"
        fork = LOG.other_history(5)
        assert client.post("/add-checkpoint", content=fork.request(40, 40)).status_code == 422
        assert client.post("/add-checkpoint", content=LOG.request(40, 50)).status_code == 200
        code, log = running.stop()
    assert code == 0
    assert [line["level"] for line in log if line["level"] != "info"] == ["error"]
    (evidence,) = muniment("evidence", folder)["evidence"]
    assert (evidence["outcome"], evidence["size"]) == ("forked", 40)


def test_a_log_that_is_added_or_removed_counts_at_once(folder: Path) -> None:
    other = SmallLog("other.example")
    with serving(folder) as running, httpx.Client(base_url=running.url) as client:

        def ask() -> int:
            return client.post("/add-checkpoint", content=other.request(0, 3)).status_code

        assert ask() == 404
        running.process.send_signal(signal.SIGHUP)
        muniment("add", folder, other.key.verifier.vkey)
        assert ask() == 200
        muniment("remove", folder, other.origin)
        assert ask() == 404


def test_what_was_answered_before_a_kill_is_remembered_after_it(folder: Path) -> None:
    with serving(folder) as running, httpx.Client(base_url=running.url) as client:
        assert client.post("/add-checkpoint", content=LOG.request(0, 9)).status_code == 200
        running.process.kill()
    with serving(folder) as running, httpx.Client(base_url=running.url) as client:
        assert client.post("/add-checkpoint", content=LOG.request(0, 9)).text == "9\n"


def test_a_client_that_sends_without_end_is_cut_off_and_others_are_served(folder: Path) -> None:
    with serving(folder) as running, httpx.Client(base_url=running.url) as client:
        address = (client.base_url.host, client.base_url.port or 0)
        head = (
            b"POST /add-checkpoint HTTP/1.1\r\nHost: witness\r\nContent-Length: 9999999999\r\n\r\n"
        )
        with socket.create_connection(address, timeout=30) as flood:
            flood.sendall(head)
            with contextlib.suppress(OSError):
                for _ in range(10_000):
                    flood.sendall(bytes(64 * 1024))
                pytest.fail("600 MB were taken")
        assert client.post("/add-checkpoint", content=LOG.request(0, 9)).status_code == 200
        memory = Path(f"/proc/{running.process.pid}/status").read_text()
        resident = int(memory.partition("VmHWM:")[2].split()[0])
        assert resident < 200_000, "kB"


def test_a_request_in_flight_is_answered_before_the_witness_stops(folder: Path) -> None:
    body = LOG.request(0, 9)
    with serving(folder) as running:
        url = httpx.URL(running.url)
        head = f"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection((url.host, url.port or 0), timeout=30) as slow:
            slow.sendall(head.encode() + body[:20])
            # answered, so that it has read what came before
            assert httpx.get(f"{running.url}/healthz").json()["status"] == "ok"
            running.process.send_signal(signal.SIGTERM)
            slow.sendall(body[20:])
            assert slow.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
        assert running.process.wait(30) == 0


def test_an_address_that_others_reach_needs_tls(folder: Path) -> None:
    command = [PROGRAM, "witness", "serve", str(folder), "--listen", "0.0.0.0:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "--behind-proxy" in done.stderr) == (2, True)


def test_a_witness_speaks_tls_with_the_certificate_that_it_is_given(
    folder: Path, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path)
    options = ("--tls-certificate", certificate, "--tls-key", key)
    with serving(folder, *options) as running:
        assert running.url.startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(base_url=running.url, verify=trusted) as client:
            assert client.post("/add-checkpoint", content=LOG.request(0, 3)).status_code == 200


def make_certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)  # noqa: TID251 (the test is the outermost room)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    files = folder / "chain.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file = os.open(files[1], os.O_CREAT | os.O_WRONLY, 0o600)
    with os.fdopen(file, "wb") as opened:
        opened.write(private)
    return files
