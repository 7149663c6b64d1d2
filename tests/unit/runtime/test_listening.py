"""The address rule, the certificate and the port, before anything is served."""

import datetime as dt
import socket
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from muniment.errors import ConfigInvalid
from muniment.runtime.listening import bind, check_address, check_certificate
from muniment.runtime.settings import Server

_TLS = Server(tls_certificate=Path("tls.pem"), tls_key=Path("tls.key"))


def write_pair(folder: Path, password: bytes | None = None) -> None:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    start = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, start, start.replace(year=2027))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    locked = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    (folder / "tls.pem").write_bytes(certificate)
    (folder / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    )


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:8417", ("127.0.0.1", 8417)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:8417", ("::1", 8417)),
    ],
)
def test_loopback_needs_no_tls(listen: str, expected: tuple[str, int]) -> None:
    assert check_address(Server(listen=listen)) == expected


@pytest.mark.parametrize("listen", ["0.0.0.0:8417", "db.example:8417", "[::]:8417"])
def test_what_others_reach_needs_tls_or_a_proxy_that_speaks_it(listen: str) -> None:
    with pytest.raises(ConfigInvalid, match="reachable by others"):
        check_address(Server(listen=listen))
    check_address(Server(listen=listen, behind_proxy=True))
    check_address(_TLS, listen)


@pytest.mark.parametrize(
    "listen", ["8417", ":8417", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536"]
)
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(ConfigInvalid, match="is no HOST:PORT"):
        check_address(Server(), listen)


def test_a_certificate_and_its_key_are_found_below_the_folder(tmp_path: Path) -> None:
    assert check_certificate(Server(), tmp_path) is None
    write_pair(tmp_path)
    assert check_certificate(_TLS, tmp_path) == (f"{tmp_path}/tls.pem", f"{tmp_path}/tls.key")


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path)
    certificate = (tmp_path / "tls.pem").read_bytes()
    write_pair(tmp_path)
    (tmp_path / "tls.pem").write_bytes(certificate)
    with pytest.raises(ConfigInvalid, match=r"cannot be used .*KEY_VALUES_MISMATCH"):
        check_certificate(_TLS, tmp_path)


def test_a_key_that_is_locked_is_refused_and_nobody_is_asked_for_its_password(
    tmp_path: Path,
) -> None:
    write_pair(tmp_path, b"a password")
    with pytest.raises(ConfigInvalid, match="cannot be used"):
        check_certificate(_TLS, tmp_path)


def test_a_bound_port_answers_nobody_before_it_is_listened_on() -> None:
    with bind("127.0.0.1", 0) as bound:
        address = bound.getsockname()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)


def test_a_port_that_somebody_listens_on_cannot_be_bound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigInvalid, match=f"cannot listen on 127.0.0.1:{port}: Address"):
            bind("127.0.0.1", port)
