"""
Receivers of events as a SIEM has them, on this machine: syslog over TLS, and HTTP.

Both can be told to go down in the middle of what they are sent, as real ones do, and come back.
"""

import asyncio
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

LOOPBACK = "127.0.0.1"


def self_made(folder: Path, name: str = "siem") -> tuple[Path, Path]:
    """A certificate for this machine that vouches for itself, and its key: two PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)  # noqa: TID251 (a certificate for a real handshake)
    names = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address(LOOPBACK))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(secret)
    return files


@dataclass
class SyslogReceiver:
    """RFC 5425; in plain text without a context. Use it as an asynchronous context manager."""

    port: int
    context: ssl.SSLContext | None = None
    #: whole messages, without their frames
    got: list[bytes] = field(default_factory=list)
    #: so many messages it takes before it goes down; None: it stays
    dies_after: int | None = None
    #: whether it answers a `close_notify` with its own
    polite: bool = True
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self.dies_after = None
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port)

    async def stop(self) -> None:
        """As a killed process does: nothing is said, and what came and was not read is lost."""
        if self._server is not None:
            self._server.close()
            for writer in self._open:
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self.context is None:
                await self._read_plainly(reader)
            else:
                await self._read_tls(reader, writer, self.context)
        except (_Died, ConnectionError, ssl.SSLError):
            writer.transport.abort()
        finally:
            self._open.discard(writer)
            writer.close()

    async def _read_plainly(self, reader: asyncio.StreamReader) -> None:
        left = b""
        while received := await reader.read(4096):
            left = self._take(left + received)

    async def _read_tls(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext
    ) -> None:
        """Record by record: `close_notify` is answered when all before it was taken."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        left, ready, over = b"", False, False
        while not over:
            try:
                if not ready:
                    tls.do_handshake()
                    ready = True
                read = tls.read(4096)
                over = not read
                left = self._take(left + read)
            except ssl.SSLWantReadError:
                await _flush(outgoing, writer)
                if not (received := await reader.read(4096)):
                    return
                incoming.write(received)
            except ssl.SSLError:
                await _flush(outgoing, writer)  # the alert
                raise
        if self.polite:
            tls.unwrap()
            await _flush(outgoing, writer)

    def _take(self, data: bytes) -> bytes:
        """Every whole message in it; what is left."""
        while True:
            length, blank, rest = data.partition(b" ")
            if not blank or len(rest) < int(length):
                return data
            if self.dies_after == 0:
                if self._server is not None:
                    self._server.close()
                raise _Died
            if self.dies_after is not None:
                self.dies_after -= 1
            self.got.append(rest[: int(length)])
            data = rest[int(length) :]


class _Died(Exception):
    pass


async def _flush(outgoing: ssl.MemoryBIO, writer: asyncio.StreamWriter) -> None:
    if said := outgoing.read():
        writer.write(said)
        await writer.drain()


@dataclass
class EventReceiver:
    """HTTP, for one POST a connection. Use it as an asynchronous context manager."""

    port: int
    #: what it answers to the n-th batch: a status; None: it hangs up without a word
    answers: Callable[[int], int | None] = lambda _: 204
    #: headers and body of every batch that it answered with success
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    asked: int = 0
    _server: asyncio.Server | None = None

    @property
    def origin(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every event, in the order of arrival."""
        return [event for _, body in self.got for event in json.loads(body)]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._take, LOOPBACK, self.port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:]
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head)
            if name
        }
        body = await reader.readexactly(int(headers["content-length"]))
        status = self.answers(self.asked)
        self.asked += 1
        if status is not None:
            if 200 <= status < 300:  # noqa: PLR2004 (success)
                self.got.append((headers, body))
            answer = f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            writer.write(answer.encode())
            await writer.drain()
        writer.close()
