"""What a wire does to those at its ends: it passes, is cut, is silent, heals, leads elsewhere."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from muniment.testing.cut_wire import Wire

PATIENCE = 5.0
#: seconds in which nothing comes, where nothing is to come
NOTHING = 0.2
LONG = b"0123456789" * 300_000


@dataclass
class Echo:
    """A server that gives back what it gets, behind its own name."""

    name: bytes
    listener: socket.socket = field(
        default_factory=lambda: socket.create_server(("127.0.0.1", 0), backlog=16)
    )

    def __post_init__(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=self.listener.accept()[:1]).start()

    def _serve(self, accepted: socket.socket) -> None:
        with accepted, contextlib.suppress(OSError):
            accepted.sendall(self.name)
            while data := accepted.recv(1 << 16):
                accepted.sendall(data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    with contextlib.closing(Echo(b"one:")) as echo:
        yield echo


@pytest.fixture
def wire(echo: Echo) -> Iterator[Wire]:
    with Wire.to(echo.port) as wire:
        yield wire


@pytest.fixture
def client(wire: Wire) -> Iterator[socket.socket]:
    with connected(wire) as client:
        assert read(client, 4) == b"one:"
        yield client


def connected(wire: Wire) -> socket.socket:
    return socket.create_connection(("127.0.0.1", wire.port), PATIENCE)


def read(client: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length and (more := client.recv(length - len(found))):
        found += more
    return found


def hears_nothing(client: socket.socket) -> bool:
    client.settimeout(NOTHING)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(PATIENCE)
    return False


def test_all_of_it_comes_through(client: socket.socket) -> None:
    sender = threading.Thread(target=client.sendall, args=(LONG,))
    sender.start()
    assert read(client, len(LONG)) == LONG
    sender.join()


def test_an_end_that_closes_is_closed_to_the_other(wire: Wire, client: socket.socket) -> None:
    with connected(wire) as other:
        assert read(other, 4) == b"one:"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        other.sendall(b"still")
        assert read(other, 5) == b"still"


def test_a_cut_resets_what_is_there_and_what_comes(wire: Wire, client: socket.socket) -> None:
    wire.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionResetError), connected(wire) as later:
        later.recv(1)
    wire.heal()
    with connected(wire) as healed:
        assert read(healed, 4) == b"one:"


def test_silence_tells_nobody_and_what_was_sent_arrives_when_it_is_over(
    wire: Wire, client: socket.socket
) -> None:
    wire.silence()
    client.sendall(b"late")
    with connected(wire) as later:
        assert hears_nothing(client)
        assert hears_nothing(later)
        wire.heal()
        assert read(client, 4) == b"late"
        assert read(later, 4) == b"one:"


def test_who_gives_up_in_the_silence_is_not_waited_for(wire: Wire, client: socket.socket) -> None:
    wire.silence()
    client.close()
    with connected(wire) as later:
        wire.heal()
        assert read(later, 4) == b"one:"


def test_a_wire_that_leads_elsewhere_takes_new_connections_there(
    wire: Wire, client: socket.socket
) -> None:
    with contextlib.closing(Echo(b"two:")) as other:
        wire.lead_to(other.port)
        with connected(wire) as moved:
            assert read(moved, 4) == b"two:"
        client.sendall(b"here")
        assert read(client, 4) == b"here"


def test_where_no_server_is_a_connection_is_reset(wire: Wire, echo: Echo) -> None:
    echo.close()
    with pytest.raises(ConnectionResetError), connected(wire) as client:
        client.recv(1)


def test_a_closed_wire_is_closed_for_good(wire: Wire, client: socket.socket) -> None:
    wire.close()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(OSError, match="refused"):
        connected(wire)
    wire.heal()
    wire.close()
