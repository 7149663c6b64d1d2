"""A session is stolen and used from a second device: what it did, all it could have, and its end."""

import contextlib
import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from acceptance.incident_stage import Stage, by_hand, kinds, lines_of, log_in, said, staged, until
from muniment.testing.postgres_server import PostgresServer

pytestmark = [pytest.mark.target, pytest.mark.deep]

#: where the two devices are on this machine, and what addresses they have in the target's log:
#: whatever comes from the machine of the target itself is nobody's device
_OWN: Final = ("127.0.0.1", "192.0.2.10")
_THIEF: Final = ("127.0.0.2", "203.0.113.5")


class _Carry(socketserver.BaseRequestHandler):
    """Carries a connection on to the target, from the address of the second device."""

    target: int

    def handle(self) -> None:
        with socket.create_connection((_OWN[0], self.target), source_address=(_THIEF[0], 0)) as out:
            back = threading.Thread(target=_copy, args=(out, self.request))
            back.start()
            _copy(self.request, out)
            back.join()


def _copy(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextlib.contextmanager
def second_device(server: PostgresServer) -> Iterator[int]:
    """The port by which it reaches the target."""
    handler = type("_CarryThere", (_Carry,), {"target": server.port})
    with _Server((_OWN[0], 0), handler) as carrier:
        thread = threading.Thread(target=carrier.serve_forever)
        thread.start()
        try:
            yield carrier.server_address[1]
        finally:
            carrier.shutdown()
            thread.join()


@contextlib.contextmanager
def shipped(target: PostgresServer, to: Path) -> Iterator[None]:
    """The target's log, as it would be if both devices were elsewhere."""
    stop = threading.Event()

    def ship() -> None:
        with target.log_files()[0].open("rb") as log, to.open("ab", buffering=0) as copy:
            rest = b""
            while not stop.wait(0.05):
                whole, end, rest = (rest + log.read()).rpartition(b"\n")
                copy.write(_from_elsewhere(whole) + end)

    thread = threading.Thread(target=ship)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _from_elsewhere(lines: bytes) -> bytes:
    for here, there in (_OWN, _THIEF):
        lines = lines.replace(
            f'"remote_host":"{here}"'.encode(), f'"remote_host":"{there}"'.encode()
        )
    return lines


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with socket.socket() as probe:
        try:
            probe.bind((_THIEF[0], 0))
        except OSError:
            required = os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1"
            missing = pytest.fail if required else pytest.skip
            missing(f"this machine does not answer at {_THIEF[0]}")
    base = tmp_path_factory.mktemp("stolen-session")
    log = base / "shipped.json"
    log.touch()
    with staged(base, log=log) as made, shipped(made.server, log):
        allow = "COPY (SELECT 'host all all 127.0.0.0/8 scram-sha-256') TO PROGRAM"
        by_hand(made.server, f"{allow} 'cat >> pg_hba.conf'", "SELECT pg_reload_conf()")
        yield made


@pytest.fixture(scope="module")
def used(stage: Stage) -> str:
    """A grant of ana's that both devices use at the same time."""
    case = stage.approved()
    credential = stage.json("credential", case)
    with (
        second_device(stage.server) as port,
        log_in(credential) as own,
        log_in(credential, port=port) as other,
    ):
        own.execute("INSERT INTO orders VALUES (4711)")
        other.execute("TABLE orders")
    return case


@pytest.fixture(scope="module")
def cases(stage: Stage, used: str) -> dict[str, str]:
    """With her session the thief asks for more: one is approved, one waits, one was picked up."""
    stage.json("credential", got := stage.approved())
    return {"used": used, "got": got, "approved": stage.approved(), "asked": stage.request()}


def stories(stage: Stage) -> dict[str, Any]:
    told = stage.json("show", "--who", "ana", "--since", "1h", "--limit", "1000", as_="aud")
    assert told["next"] is None
    return {each["case"]: each for each in told["stories"]}


def test_two_addresses_on_one_grant_are_a_finding(stage: Stage, used: str) -> None:
    (finding,) = stage.findings("two-addresses")
    assert finding["about"] == [used]
    assert said(finding)["detail"] == f"{_OWN[1]} {_THIEF[1]}"


def test_the_story_tells_what_each_address_did(stage: Stage, used: str) -> None:
    def is_whole(answer: Any) -> bool:
        return [each["type"] for each in lines_of(answer)].count("session.closed") == 2

    story = until(lambda: stage.json("show", used), is_whole)
    by_client = {
        session["clients"][0]: {line["detail"] for line in session["lines"]}
        for session in story["observed"]["sessions"]
    }
    assert by_client.keys() == {_OWN[1], _THIEF[1]}
    assert "TABLE orders" in by_client[_THIEF[1]]
    assert "INSERT INTO orders VALUES (4711)" in by_client[_OWN[1]]


def test_one_query_lists_all_that_the_principal_was_given_since_then(
    stage: Stage, cases: dict[str, str]
) -> None:
    told = stories(stage)
    states = {name: told[case]["state"] for name, case in cases.items()}
    assert states == {"used": "issued", "got": "issued", "approved": "approved", "asked": "pending"}
    minted = {case for case, each in told.items() if "credential:issued" in kinds(each)}
    assert minted == {cases["used"], cases["got"]}
    for case in minted:
        (issued,) = [x for x in told[case]["timeline"] if x["kind"] == "credential:issued"]
        # to what the secret was bound, and how long it would have lasted by itself
        assert issued["record"]["account"] == case
        assert issued["record"]["fingerprint"]


def test_of_each_credential_its_end_is_proved(stage: Stage, cases: dict[str, str]) -> None:
    for name in ("used", "got", "approved"):
        revoked = stage.json("revoke", cases[name], "--note", "the session was stolen", as_="bo")
        assert revoked["state"] == "revoked"
    stage.json("refuse", cases["asked"], as_="bo")
    for name, case in cases.items():
        told = stories(stage)[case]
        assert told["closed"]
        had = "credential:issued" in kinds(told)
        assert ("removal:verified" in kinds(told)) == had
        stage.json("evidence", "export", case, "-o", f"{name}.mun", as_="aud")
        check = ("verify", f"{name}.mun", "--log-key", str(stage.log_key), "--require", "complete")
        assert stage.muniment(*check).returncode == 0
