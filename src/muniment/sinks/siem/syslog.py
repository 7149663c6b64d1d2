"""
Events by syslog: RFC 5424 messages over TLS, framed by octet counting as RFC 5425 has it.

Syslog has no answer that says that a message was taken. But RFC 5425 section 4.4 has the receiver
answer our `close_notify` with its own, after all that we sent before: so every batch has its own
connection, and what was not closed from both sides is sent again. A receiver that never answers so
is told of by `confirmed = false`; what was under way when it went down is then lost. Either way
nobody says whether it has *kept* what it read: who has to know that takes a webhook or a file.

The message is ASCII, as everything beyond it is escaped in JSON: so there is no BOM before it, at
which many readers of JSON stumble (RFC 5424 section 6.4 asks for one where a message is UTF-8).
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Sequence
from typing import Final

from muniment.errors import Unavailable
from muniment.evidence import moment
from muniment.oversight.siem import SiemEvent

#: for one batch, from the connection to its end, in seconds
SECONDS: Final = 20.0
#: how long a receiver that confirms nothing may take to hang up
LINGER: Final = 2.0
#: RFC 5424 section 6.2.1: security and authorization; log audit (13) would be as right, but there
#: are readers that take a PRI of 100 to 109 for none
FACILITY: Final = 10
#: RFC 5424 section 6.2.1: critical, error, warning, notice, informational
_SEVERITIES: Final = {5: 2, 4: 3, 3: 4, 2: 5, 1: 6}
_NOTICE: Final = 5
#: RFC 5612: the number for documents, as we have none of our own
SD_ID: Final = "muniment@32473"
#: RFC 5424 section 6: the longest HOSTNAME and MSGID
_MAX_HOST, _MAX_KIND = 255, 32
_PIECE: Final = 1 << 16


class Syslog:
    """One receiver; without `context`, in plain text."""

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        *,
        origin: str,
        context: ssl.SSLContext | None,
        confirmed: bool = True,
    ) -> None:
        self._name = name
        self._host = host
        self._port = port
        self._origin = origin
        self._context = context
        self._confirmed = confirmed

    async def send(self, events: Sequence[SiemEvent]) -> None:
        await self._carry(b"".join(frame(message(each, self._origin)) for each in events))

    async def look(self) -> str:
        spoken = await self._carry(b"")
        return f"answers, and speaks {spoken}"

    async def _carry(self, data: bytes) -> str:
        """What was spoken. Raises `Unavailable` unless the other side has read all of it."""
        try:
            async with asyncio.timeout(SECONDS):
                reader, writer = await asyncio.open_connection(self._host, self._port)
                try:
                    if self._context is None:
                        return await _carry_plainly(reader, writer, data)
                    tunnel = _Tunnel(reader, writer, self._context, self._host)
                    return await tunnel.carry(data, confirmed=self._confirmed)
                finally:
                    writer.transport.abort()  # whatever there was to say was said
        except TimeoutError as error:
            raise Unavailable(f"`{self._name}` did not answer in {SECONDS:g} s") from error
        except ssl.SSLCertVerificationError as error:
            raise Unavailable(
                f"`{self._name}` shows a certificate that is not believed: {error.verify_message}"
            ) from error
        except (OSError, ssl.SSLError) as error:
            raise Unavailable(f"`{self._name}` could not be talked to: {_why(error)}") from error


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLEOFError):
        return (
            "it ended the connection without close_notify (RFC 5425 section 4.4); if it always"
            " does, set `confirmed = false`"
        )
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    return error.strerror or type(error).__name__


async def _carry_plainly(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes
) -> str:
    """To the same machine: it has read everything once it hangs up after we did."""
    writer.write(data)
    writer.write_eof()
    await writer.drain()
    while await reader.read(_PIECE):
        pass
    return "plain text"


class _Tunnel:
    """
    TLS over one connection, to its very end.

    asyncio's own TLS takes a connection that was cut for one that was closed: here that differs.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        context: ssl.SSLContext,
        host: str,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    async def carry(self, data: bytes, *, confirmed: bool) -> str:
        try:
            while not self._done(self._tls.do_handshake):
                await self._receive()
        except ssl.SSLError:
            await self._flush()  # the alert, by which the other side learns why
            raise
        spoken = self._tls.version() or "TLS"
        for start in range(0, len(data), _PIECE):
            self._tls.write(data[start : start + _PIECE])
            await self._flush()
        if self._is_closed():
            raise ConnectionResetError(0, "it closed the connection before we did")
        self._done(self._tls.unwrap)  # says ours: what the other side says is for `_is_closed`
        await self._flush()
        if confirmed:
            while not self._is_closed():
                await self._receive()
        else:
            await self._linger()
        return spoken

    def _done(self, act: Callable[[], object]) -> bool:
        """False if it needs more of the other side first."""
        try:
            act()
        except ssl.SSLWantReadError:
            return False
        return True

    def _is_closed(self) -> bool:
        """
        Whether the other side has said its `close_notify`; raises for an alert, and for a cut.

        `unwrap` itself takes an alert for a goodbye: as from a receiver that wants a certificate.
        """
        try:
            while self._tls.read(_PIECE):
                pass  # nothing that a receiver says means anything
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLZeroReturnError:
            pass
        return True

    async def _receive(self) -> None:
        await self._flush()
        if received := await self._reader.read(_PIECE):
            self._incoming.write(received)
        else:
            self._incoming.write_eof()

    async def _linger(self) -> None:
        """A connection with something unread is reset, and takes what was sent along."""
        self._writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while await self._reader.read(_PIECE):
                    pass

    async def _flush(self) -> None:
        if said := self._outgoing.read():
            self._writer.write(said)
            await self._writer.drain()


def frame(message: bytes) -> bytes:
    """RFC 5425 section 4.3: the length, a space, the message."""
    return b"%d %b" % (len(message), message)


def message(event: SiemEvent, origin: str) -> bytes:
    """RFC 5424 section 6; the host is the log's, whichever node speaks for it."""
    severity = _SEVERITIES.get(event.severity, _NOTICE)
    host = _printable(origin.partition("/")[0], _MAX_HOST)
    coordinates = {
        "origin": origin,
        "index": str(event.index),
        "previous": "" if event.previous is None else str(event.previous),
        "record": event.id,
        "leaf": event.leaf.hex(),
    }
    data = " ".join(f'{name}="{_escaped(value)}"' for name, value in coordinates.items() if value)
    header = (
        f"<{FACILITY * 8 + severity}>1 {moment.text(event.at)} {host} muniment -"
        f" {_printable(event.kind, _MAX_KIND)} [{SD_ID} {data}] "
    )
    return header.encode("utf-8") + event.body


def _printable(text: str, most: int) -> str:
    """RFC 5424 section 6: PRINTUSASCII, or `-` for nothing."""
    return "".join(each for each in text if "!" <= each <= "~")[:most] or "-"


def _escaped(value: str) -> str:
    """RFC 5424 section 6.3.3."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
