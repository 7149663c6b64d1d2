"""Sign for whoever may, over a Unix socket: one request after the other, until SIGTERM."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import stat
import struct
from pathlib import Path
from typing import Final

from muniment.errors import ConfigInvalid, Conflict, MunimentError
from muniment.evidence.careful_signer import CarefulSigner
from muniment.evidence.signer_messages import (
    LENGTH,
    MAX_REQUEST,
    encode_refused,
    encode_signed,
    parse_request,
)
from muniment.interfaces.json_lines import log_as_json
from muniment.interfaces.signer.folder import SignerFolder

#: a request that has begun has to be whole by then
PATIENCE_SECONDS: Final = 5.0
#: a service has one; another while it is started anew
MAX_CONNECTIONS: Final = 8
_CREDENTIALS: Final = struct.Struct("3i")
_log = logging.getLogger("muniment.signer")


def serve(folder: SignerFolder, path: Path, client: int | None = None) -> None:
    """
    Until SIGTERM or SIGINT. `client` is the user id that may ask, where it is not our own.

    Raises `ConfigInvalid` at start, and `LogInvalid` if what was signed last is not known.
    """
    log_as_json()
    with contextlib.closing(folder.state()) as state:
        signer = CarefulSigner(folder.key(), state)
        with listen(path, client) as listener:
            asyncio.run(_Serving(signer, os.geteuid() if client is None else client).run(listener))


def listen(path: Path, client: int | None = None) -> socket.socket:
    """
    The socket, in a folder where nobody else can put another in its place.

    For our own user only its mode lets others in; for a `client` that is another user, who asks is
    looked at with each connection. Raises `ConfigInvalid`, and `Conflict` if somebody listens.
    """
    forbidden = 0o077 if client is None else 0o022
    try:
        found = path.parent.stat()
        if found.st_uid not in (0, os.geteuid()) or stat.S_IMODE(found.st_mode) & forbidden:
            raise ConfigInvalid(
                f"others have rights in `{path.parent}`: make it your own, "
                f"chmod {'700' if client is None else '755'}"
            )
        _remove_stale(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177 if client is None else 0o111)
        try:
            listener.bind(str(path))
        except BaseException:
            listener.close()
            raise
        finally:
            os.umask(before)
    except OSError as error:
        raise ConfigInvalid(f"cannot listen on `{path}`: {error.strerror or error}") from error
    return listener


def _remove_stale(path: Path) -> None:
    """What a process that died left; raises `Conflict` where one lives."""
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise Conflict(f"`{path}` is there already, and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise Conflict(f"somebody listens on `{path}` already")


class _Serving:
    """The connections of one process."""

    def __init__(self, signer: CarefulSigner, client: int) -> None:
        self._signer = signer
        self._client = client
        self._open: set[asyncio.StreamWriter] = set()

    async def run(self, listener: socket.socket) -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        server = await asyncio.start_unix_server(self._talk, sock=listener)
        print(f"muniment signs for {self._signer.verifier.name}", flush=True)  # noqa: T201 (it is ready)
        await stopped.wait()
        server.close()
        for writer in list(self._open):
            writer.close()
        await server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = _peer(writer)
        if uid != self._client or len(self._open) >= MAX_CONNECTIONS:
            _log.warning("a connection of the user %d was refused", uid)
            writer.close()
            return
        self._open.add(writer)
        try:
            while (request := await _read(reader)) is not None:
                writer.write(self._answer(request))
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            _log.warning("a connection was given up: %s", type(error).__name__)
        finally:
            self._open.discard(writer)
            writer.close()

    def _answer(self, request: bytes) -> bytes:
        # not beside the loop: requests are answered one after the other, as they change one memory
        try:
            return encode_signed(self._signer.sign(parse_request(request)))
        except MunimentError as error:
            _log.error("refused to sign: %s", error)
            return encode_refused(str(error))


async def _read(reader: asyncio.StreamReader) -> bytes | None:
    """The next request, however long it takes to begin; None when they hung up."""
    first = await reader.read(LENGTH.size)
    if not first:
        return None
    async with asyncio.timeout(PATIENCE_SECONDS):
        first += await reader.readexactly(LENGTH.size - len(first))
        (length,) = LENGTH.unpack(first)
        if length > MAX_REQUEST:
            raise OSError("a request that is too long")
        return await reader.readexactly(length)


def _peer(writer: asyncio.StreamWriter) -> int:
    """The user at the other end, as the kernel has it."""
    connection: socket.socket = writer.get_extra_info("socket")
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(data)
    return int(uid)
