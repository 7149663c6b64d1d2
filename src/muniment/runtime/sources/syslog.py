"""
Syslog by TCP, with TLS (RFC 5425) or without: whole frames, counted or ended by a line feed.

What was received is acknowledged to nobody: there is no such thing in the protocol. While nothing
can be kept, nothing is read either, so that it waits with its sender.
"""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from muniment.errors import ConfigInvalid, Unreadable
from muniment.oversight.event import MAX_RECORD
from muniment.runtime.listening import bind, is_loopback
from muniment.runtime.source_section import SourceSection
from muniment.runtime.sources import MAX_RECORDS, Intake, Pause, hand_on, pause

#: senders at a time
MAX_SENDERS: Final = 64
#: seconds within which a frame that was begun has to be ended, and a handshake done
PATIENCE, HANDSHAKE = 60.0, 10.0
#: seconds between two lines about senders that do wrong: nobody fills our log by it
QUIET: Final = 10.0
#: seconds that a stop waits for what is being kept
LAST_TURN: Final = 5.0
#: bytes that are read at a time
_READ: Final = 64 << 10
#: RFC 6587 section 3.4.1: MSG-LEN has no leading zero; of what is longer, nothing is kept
_LENGTH_DIGITS: Final = 9
#: of frames of more bytes not even the end is looked for
_MAX_FRAME: Final = 16 << 20
_log = logging.getLogger(__name__)


@dataclass
class Frames:
    """
    The frames of one connection (RFC 6587 section 3.4), both kinds.

    What is too long comes cut to one byte more than a record may have: whoever reads it rejects it.
    """

    _held: bytearray = field(default_factory=bytearray)
    #: bytes of a frame that is too long, still to come, and to be left out
    _skipped: int = 0
    #: the same, where only a line feed ends it
    _skipping: bool = False

    @property
    def is_open(self) -> bool:
        """Whether a frame was begun and not ended."""
        return bool(self._held) or self._skipped > 0 or self._skipping

    def feed(self, data: bytes) -> list[bytes]:
        """Raises `Unreadable` for what is no frame: where the next begins cannot be known."""
        self._held += data
        found: list[bytes] = []
        while self._held:
            frame = self._next()
            if frame is None:
                break
            if frame:  # an empty line is no message
                found.append(frame)
        return found

    def last(self) -> bytes:
        """What a sender that leaves has not ended: it may be a line (section 3.4.2)."""
        counted = self._held[:1].isdigit()
        return b"" if counted or self._skipping else bytes(self._held)

    def _next(self) -> bytes | None:
        """The next frame; None if it has not come yet, empty if there is nothing in it."""
        if self._skipped:
            gone = min(self._skipped, len(self._held))
            del self._held[:gone]
            self._skipped -= gone
            return b""
        if not self._skipping and self._held[:1].isdigit():
            return self._counted()
        return self._line()

    def _counted(self) -> bytes | None:
        digits, space, _ = bytes(self._held[: _LENGTH_DIGITS + 1]).partition(b" ")
        if not space:
            if not digits.isdigit() or len(digits) > _LENGTH_DIGITS:
                raise Unreadable("a frame begins with its length and a blank")
            return None
        if not digits.isdigit() or digits.startswith(b"0") or int(digits) > _MAX_FRAME:
            raise Unreadable("a frame begins with its length, and has at most 16 MiB")
        start, length = len(digits) + 1, int(digits)
        if length > MAX_RECORD:
            if len(self._held) < start + MAX_RECORD + 1:
                return None
            frame = bytes(self._held[start : start + MAX_RECORD + 1])
            del self._held[: start + MAX_RECORD + 1]
            self._skipped = length - (MAX_RECORD + 1)
            return frame
        if len(self._held) < start + length:
            return None
        frame = bytes(self._held[start : start + length])
        del self._held[: start + length]
        return frame

    def _line(self) -> bytes | None:
        end = self._held.find(b"\n")
        if end < 0 and len(self._held) <= MAX_RECORD:
            return None
        frame = bytes(self._held[: end if end >= 0 else MAX_RECORD + 1])
        del self._held[: len(frame) + (end >= 0)]
        was, self._skipping = self._skipping, end < 0
        # the rest of a line that was too long is no line
        return b"" if was else frame.removesuffix(b"\r")


class Syslog:
    """One source of kind `syslog`."""

    def __init__(
        self,
        source: str,
        section: SourceSection,
        folder: Path,
        *,
        pause: Pause = pause,
        patience: float = PATIENCE,
        on_listening: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`on_listening` is told the port. Raises `ConfigInvalid`."""
        self._source = source
        self._host, self._port = check_listen(source, section)
        self._tls = _context(source, section, folder)
        self._pause = pause
        self._patience = patience
        self._on_listening = on_listening
        #: one after the other, in the order of arrival
        self._turn = asyncio.Lock()
        self._senders: set[asyncio.Task[None]] = set()
        #: when it was last said that a sender does wrong, and how often one did since
        self._said, self._wrong = -QUIET, 0

    async def run(self, intake: Intake, stop: asyncio.Event) -> None:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(self._senders) >= MAX_SENDERS:
                self._complain(f"more than {MAX_SENDERS} senders; one is turned away")
                writer.close()
                return
            task = asyncio.create_task(self._serve(reader, writer, intake, stop))
            self._senders.add(task)
            task.add_done_callback(self._senders.discard)

        server = await asyncio.start_server(
            accept,
            sock=bind(self._host, self._port),
            ssl=self._tls,
            limit=_READ,
            ssl_handshake_timeout=HANDSHAKE if self._tls is not None else None,
        )
        try:
            self._on_listening(server.sockets[0].getsockname()[1])
            await stop.wait()
        finally:
            server.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_TURN), self._turn:
                    pass  # what is being kept at this moment is kept
            senders = list(self._senders)
            for each in senders:
                each.cancel()
            await asyncio.gather(*senders, return_exceptions=True)
            await server.wait_closed()

    def _complain(self, what: str) -> None:
        self._wrong += 1
        if (now := time.monotonic()) - self._said >= QUIET:
            _log.warning(
                "source `%s`: %s (%d since the last time)", self._source, what, self._wrong
            )
            self._said, self._wrong = now, 0

    async def _serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        intake: Intake,
        stop: asyncio.Event,
    ) -> None:
        try:
            await self._receive(reader, intake, stop)
        except (Unreadable, TimeoutError) as error:
            why = str(error) or f"a frame was not ended within {self._patience:g} s"
            self._complain(f"a sender is cut off: {why}")
        except OSError as error:
            self._complain(f"a connection broke: {type(error).__name__}")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _receive(
        self, reader: asyncio.StreamReader, intake: Intake, stop: asyncio.Event
    ) -> None:
        frames, begun = Frames(), 0.0
        loop = asyncio.get_running_loop()
        while True:
            # whoever sends it byte by byte has no more time for it than others
            was_open = frames.is_open
            async with asyncio.timeout_at(begun + self._patience if was_open else None):
                data = await reader.read(_READ)
            if not data:
                break
            found = frames.feed(data)
            if found or not was_open:
                begun = loop.time()
            if found:
                await self._hand_on(found, intake, stop)
        if last := frames.last():
            await self._hand_on([last], intake, stop)
        elif frames.is_open:
            self._complain("a sender left in the middle of a frame")

    async def _hand_on(self, records: list[bytes], intake: Intake, stop: asyncio.Event) -> None:
        for start in range(0, len(records), MAX_RECORDS):
            piece = records[start : start + MAX_RECORDS]
            async with self._turn:
                if not await hand_on(intake, self._source, piece, None, stop, self._pause):
                    _log.error(
                        "source `%s`: %d messages are lost: they could not be kept before the stop",
                        self._source,
                        len(piece),
                    )


def check_listen(source: str, section: SourceSection) -> tuple[str, int]:
    """Host and port. Raises `ConfigInvalid` for an address that others reach without TLS."""
    where = f"sources.{source}"
    host, _, port = (section.listen or "").rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 (ports end there)
        raise ConfigInvalid(f"`{where}.listen`: `{section.listen}` is no HOST:PORT")
    if section.tls_certificate is None and not section.plain and not is_loopback(host):
        raise ConfigInvalid(
            f"`{where}.listen`: `{host}` is reachable by others: set `tls_certificate` and "
            "`tls_key`, or `plain = true` if you can vouch for the network"
        )
    return host, int(port)


def _context(source: str, section: SourceSection, folder: Path) -> ssl.SSLContext | None:
    if section.tls_certificate is None or section.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # with an empty password, where one is needed: nobody is asked for it at a start
        context.load_cert_chain(
            folder / section.tls_certificate, folder / section.tls_key, password=""
        )
        if section.client_ca is not None:
            context.load_verify_locations(folder / section.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # an `SSLError` is one
        raise ConfigInvalid(
            f"`sources.{source}`: `tls_certificate`, `tls_key` or `client_ca` cannot be used: "
            f"{error.strerror or error}"
        ) from error
    return context
