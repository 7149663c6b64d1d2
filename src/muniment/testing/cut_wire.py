"""
A wire to a server that can be cut: a TCP proxy on 127.0.0.1, of its own for each node and server.

    with Wire.to(server.port) as wire:
        ...                       # clients connect to `wire.port`
        wire.silence()            # nothing comes through, and nobody is told: a dead network
        wire.heal()               # what was sent meanwhile arrives now, as TCP sends it again
        wire.cut()                # every connection is reset, and so is every new one
        wire.lead_to(other.port)  # as an address that fails over: new connections go there

What silence is not: the kernel acknowledges what the proxy holds back, so that no keepalive and no
`tcp_user_timeout` notices it. To its ends it looks like a server, or a device between, that hangs.
"""

import contextlib
import queue
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Self

_HOST: Final = "127.0.0.1"
_PIECE: Final = 1 << 16
#: seconds that a server on this machine may take to accept a connection
_CONNECTING: Final = 2.0
#: closing resets the connection instead of ending it
_RESET: Final = struct.pack("ii", 1, 0)


class _State(Enum):
    WHOLE = "whole"
    SILENT = "silent"
    CUT = "cut"


@dataclass(eq=False)
class _End:
    """One of the two sockets of a connection, and what is to be sent there."""

    socket: socket.socket
    pending: bytes = b""


@dataclass(eq=False)
class _Connection:
    client: _End
    #: None while nothing leads there
    server: _End | None = None

    @property
    def ends(self) -> tuple[_End, ...]:
        return (self.client,) if self.server is None else (self.client, self.server)

    def other(self, end: _End) -> _End | None:
        return self.server if end is self.client else self.client


@dataclass(kw_only=True)
class Wire:
    """Any thread may call it; what a method does is done when it returns."""

    #: where clients connect
    port: int
    _listener: socket.socket
    _target: int
    _state: _State = _State.WHOLE
    _connections: set[_Connection] = field(default_factory=set)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    #: what the thread is to do besides; each sets its event
    _orders: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = field(
        default_factory=queue.SimpleQueue
    )
    _closed: bool = False

    def __post_init__(self) -> None:
        self._woken, self._wake = socket.socketpair()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="wire", daemon=True)
        self._thread.start()

    @classmethod
    def to(cls, port: int) -> Self:
        """In front of the server on this port of this machine."""
        listener = socket.create_server((_HOST, 0), backlog=128)
        listener.setblocking(False)
        return cls(port=listener.getsockname()[1], _listener=listener, _target=port)

    def heal(self) -> None:
        """Everything comes through again; also what was held back."""
        self._order(self._heal)

    def cut(self) -> None:
        """Both ends are told at once: every connection is reset."""
        self._order(self._cut)

    def silence(self) -> None:
        """Nobody is told: what is sent is held back, and so is every new connection."""
        self._order(self._silence)

    def lead_to(self, port: int) -> None:
        """To another server, from the next connection on."""
        self._order(lambda: setattr(self, "_target", port))

    def close(self) -> None:
        self._order(self._close)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _order(self, what: Callable[[], None]) -> None:
        done = threading.Event()
        self._orders.put((what, done))
        with contextlib.suppress(OSError):  # it was closed before
            self._wake.send(b"\0")
            done.wait()

    # --- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed:
            for key, mask in self._selector.select():
                if key.fileobj is self._woken:
                    self._woken.recv(_PIECE)
                elif key.fileobj is self._listener:
                    self._accept()
                else:
                    connection, end = key.data
                    self._serve(connection, end, mask)
            while not self._orders.empty():
                what, done = self._orders.get()
                what()
                done.set()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            accepted, _ = self._listener.accept()
            connection = _Connection(_End(_prepared(accepted)))
            self._connections.add(connection)
            if self._state is _State.CUT:
                self._drop(connection, reset=True)
            elif self._state is _State.WHOLE:
                self._lead(connection)

    def _lead(self, connection: _Connection) -> None:
        """To the server, unless it leads there already."""
        if connection.server is None:
            try:
                reached = socket.create_connection((_HOST, self._target), _CONNECTING)
            except OSError:
                self._drop(connection, reset=True)
                return
            connection.server = _End(_prepared(reached))
        self._watch(connection)

    def _serve(self, connection: _Connection, end: _End, mask: int) -> None:
        if connection not in self._connections:
            return  # dropped a moment ago, for what its other end did
        try:
            if mask & selectors.EVENT_WRITE:
                end.pending = end.pending[end.socket.send(end.pending) :]
            if mask & selectors.EVENT_READ and (other := connection.other(end)) is not None:
                # it is not listened to while anything is pending at the other end
                other.pending = end.socket.recv(_PIECE)
                if not other.pending:
                    self._drop(connection)
                    return
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection, reset=True)
            return
        self._watch(connection)

    def _watch(self, connection: _Connection) -> None:
        for end in connection.ends:
            other = connection.other(end)
            readable = other is not None and not other.pending
            mask = selectors.EVENT_READ * readable | selectors.EVENT_WRITE * bool(end.pending)
            self._listen(connection, end, mask)

    def _listen(self, connection: _Connection, end: _End, mask: int) -> None:
        known = end.socket in self._selector.get_map()
        if mask and known:
            self._selector.modify(end.socket, mask, (connection, end))
        elif mask:
            self._selector.register(end.socket, mask, (connection, end))
        elif known:
            self._selector.unregister(end.socket)

    def _drop(self, connection: _Connection, *, reset: bool = False) -> None:
        self._connections.discard(connection)
        for end in connection.ends:
            self._listen(connection, end, 0)
            with contextlib.suppress(OSError):
                if reset:
                    end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.socket.close()

    # --- what is ordered -------------------------------------------------------------------------

    def _heal(self) -> None:
        self._state = _State.WHOLE
        for connection in list(self._connections):
            self._lead(connection)

    def _cut(self) -> None:
        self._state = _State.CUT
        for connection in list(self._connections):
            self._drop(connection, reset=True)

    def _silence(self) -> None:
        self._state = _State.SILENT
        for connection in self._connections:
            for end in connection.ends:
                self._listen(connection, end, 0)

    def _close(self) -> None:
        self._closed = True
        self._cut()
        for each in (self._listener, self._woken, self._wake):
            each.close()
        self._selector.close()


def _prepared(connected: socket.socket) -> socket.socket:
    connected.setblocking(False)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected
