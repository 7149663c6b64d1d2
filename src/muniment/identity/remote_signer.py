"""A signing key in another process, reached over a Unix socket."""

import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import Final

from muniment.errors import LogUnavailable, Malformed
from muniment.evidence.note import Signature, VerifierKey
from muniment.evidence.signer import Extension
from muniment.evidence.signer_messages import LENGTH, MAX_ANSWER, encode_request, parse_answer

_PIECE: Final = 4096


class RemoteSigner:
    """
    `Signer` that asks `muniment signer serve`, over one connection that is kept open.

    Nothing that comes back is believed before it verifies.
    """

    def __init__(self, verifier: VerifierKey, path: Path, seconds: float) -> None:
        """`seconds` are for a whole request, with the connecting."""
        self._verifier = verifier
        self._path = path
        self._seconds = seconds
        self._mutex = threading.Lock()
        self._connection: socket.socket | None = None

    @property
    def verifier(self) -> VerifierKey:
        return self._verifier

    @property
    def place(self) -> tuple[VerifierKey, Path, float]:
        """Two with the same one are one."""
        return self._verifier, self._path, self._seconds

    def sign(self, extension: Extension) -> Signature:
        with self._mutex:
            try:
                answer = self._ask(encode_request(extension))
                return parse_answer(answer, self._verifier, extension.text)
            except (OSError, Malformed) as error:
                # whatever else might still come over this connection answers no later request
                self._hang_up()
                why = error.strerror or "no answer in time" if isinstance(error, OSError) else error
                raise LogUnavailable(
                    f"the signer of {self._verifier.key_id.hex()} does not sign: {why}"
                ) from error

    def close(self) -> None:
        with self._mutex:
            self._hang_up()

    def _ask(self, request: bytes) -> bytes:
        deadline = time.monotonic() + self._seconds
        if self._connection is not None:
            # the process may have been started anew meanwhile; to ask twice is to ask once
            with contextlib.suppress(ConnectionError):
                return self._exchange(self._connection, request, deadline)
            self._hang_up()
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(self._seconds)
        self._connection.connect(str(self._path))
        return self._exchange(self._connection, request, deadline)

    def _exchange(self, connection: socket.socket, request: bytes, deadline: float) -> bytes:
        connection.settimeout(_left(deadline))
        connection.sendall(request)
        (length,) = LENGTH.unpack(_read(connection, LENGTH.size, deadline))
        if length > MAX_ANSWER:
            raise Malformed(f"it answers with {length} bytes")
        return _read(connection, length, deadline)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _read(connection: socket.socket, length: int, deadline: float) -> bytes:
    data = b""
    while len(data) < length:
        connection.settimeout(_left(deadline))
        piece = connection.recv(min(_PIECE, length - len(data)))
        if not piece:
            raise ConnectionResetError(0, "it hung up")
        data += piece
    return data


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError(0, "no answer in time")
    return left
