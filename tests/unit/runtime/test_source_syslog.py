"""Syslog by TCP: frames of both kinds, hostile ones, TLS with certificates of both sides."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from muniment.errors import ConfigInvalid, Unreadable
from muniment.oversight.event import MAX_RECORD
from muniment.runtime.source_section import SourceSection
from muniment.runtime.sources.syslog import MAX_SENDERS, Frames, Syslog
from muniment.testing.fake_intake import FakeIntake

MESSAGE = b"<38>1 2026-11-22T10:00:00Z host sshd 42 - - Accepted certificate"


def counted(message: bytes) -> bytes:
    return b"%d " % len(message) + message


def section(**changes: Any) -> SourceSection:
    value = {"kind": "syslog", "reader": "sshd", "listen": "127.0.0.1:0", **changes}
    return SourceSection.model_validate(value)


# --- frames --------------------------------------------------------------------------------------


@given(
    messages=st.lists(st.binary(min_size=1, max_size=40).map(lambda tail: b"<1>" + tail)),
    size=st.integers(1, 50),
)
def test_counted_frames_come_whole_however_they_are_cut(messages: list[bytes], size: int) -> None:
    stream = b"".join(counted(message) for message in messages)
    frames, found = Frames(), list[bytes]()
    for at in range(0, len(stream), size):
        found += frames.feed(stream[at : at + size])
    assert found == messages
    assert not frames.is_open


def test_lines_come_with_either_end_and_empty_ones_do_not() -> None:
    frames = Frames()
    assert frames.feed(b"<1>one\r\n\n<1>two\n<1>thr") == [b"<1>one", b"<1>two"]
    assert frames.is_open
    assert frames.last() == b"<1>thr"


def test_a_counted_message_may_hold_line_feeds_and_nul() -> None:
    message = b"<1>one\ntwo\0three"
    assert Frames().feed(counted(message) + b"<1>x\n") == [message, b"<1>x"]


def test_a_message_that_is_too_long_is_cut_and_the_next_one_is_whole() -> None:
    long = b"<1>" + b"x" * (3 << 20)
    for stream in (counted(long) + counted(MESSAGE), long + b"\n" + MESSAGE + b"\n"):
        frames, found = Frames(), list[bytes]()
        for at in range(0, len(stream), 60_000):
            found += frames.feed(stream[at : at + 60_000])
        assert found == [long[: MAX_RECORD + 1], MESSAGE]


def test_the_end_of_a_line_that_was_too_long_is_no_message() -> None:
    """Else whoever can make one long would write the next."""
    frames = Frames()
    (cut,) = frames.feed(b"<1>" + b"x" * MAX_RECORD)
    assert len(cut) == MAX_RECORD + 1
    assert frames.feed(b"<38>1 forged\n" + MESSAGE + b"\n") == [MESSAGE]


@pytest.mark.parametrize(
    "stream", [b"0 x", b"01 x", b"1234567890 x", b"99999999 x", b"12x45678901", b"1" * 2000]
)
def test_a_length_that_is_none_is_refused(stream: bytes) -> None:
    with pytest.raises(Unreadable):
        Frames().feed(stream)


@given(st.lists(st.binary(max_size=200)))
def test_whatever_is_sent_gives_records_or_a_refusal(pieces: list[bytes]) -> None:
    frames = Frames()
    with contextlib.suppress(Unreadable):
        for piece in pieces:
            assert all(0 < len(each) <= MAX_RECORD + 1 for each in frames.feed(piece))


# --- over a socket -------------------------------------------------------------------------------


@dataclass
class Listening:
    port: int
    intake: FakeIntake
    stop: asyncio.Event

    async def send(self, data: bytes, tls: ssl.SSLContext | None = None) -> None:
        """One connection; returns when the other side has read all of it."""
        name = "localhost" if tls is not None else None
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=tls, server_hostname=name
        )
        writer.write(data)
        if tls is None:
            writer.write_eof()
        await writer.drain()
        if tls is None:
            await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def kept(self, count: int) -> list[bytes]:
        return await self.intake.until("sys", count)


async def no_pause(stop: asyncio.Event, seconds: float) -> None:
    await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def listening(
    intake: FakeIntake | None = None,
    folder: Path = Path(),
    *,
    patience: float = 60,
    **changes: Any,
) -> AsyncIterator[Listening]:
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    intake = intake or FakeIntake()
    syslog = Syslog(
        "sys", section(**changes), folder, pause=no_pause, patience=patience,
        on_listening=port.set_result,
    )  # fmt: skip
    task = asyncio.create_task(syslog.run(intake, stop))
    yield Listening(await port, intake, stop)
    stop.set()
    await task


async def test_messages_of_several_senders_are_kept_as_they_came() -> None:
    async with listening() as there:
        await asyncio.gather(
            there.send(counted(b"<1>a") + counted(b"<1>b")), there.send(b"<1>c\n<1>d")
        )
        assert sorted(await there.kept(4)) == [b"<1>a", b"<1>b", b"<1>c", b"<1>d"]


async def test_a_message_waits_while_nothing_can_be_kept() -> None:
    async with listening(FakeIntake(unavailable=3)) as there:
        await there.send(counted(MESSAGE))
        assert await there.kept(1) == [MESSAGE]


async def test_half_a_counted_message_is_none() -> None:
    async with listening() as there:
        await there.send(counted(MESSAGE) + counted(MESSAGE)[:-1])
        assert there.intake.kept("sys") == [MESSAGE]


async def test_a_sender_of_nonsense_is_cut_off_and_others_are_not() -> None:
    async with listening() as there:
        reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
        writer.write(b"9" * 100)
        assert await reader.read() == b""
        writer.close()
        await there.send(counted(MESSAGE))
        assert await there.kept(1) == [MESSAGE]


async def test_senders_of_nonsense_do_not_fill_our_log(caplog: pytest.LogCaptureFixture) -> None:
    async with listening() as there:
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
            writer.write(b"<1>\x1b[31mforged\n" + b"9" * 100)
            assert await reader.read() == b""
            writer.close()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1
    assert all(line.isprintable() and "forged" not in line for line in lines)


async def test_a_frame_that_never_ends_does_not_stay() -> None:
    async with listening(patience=0.05) as there:
        reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
        writer.write(counted(MESSAGE) + b"500 <1>be")
        assert await reader.read() == b""
        writer.close()
        assert there.intake.kept("sys") == [MESSAGE]


async def test_a_sender_that_says_nothing_may_stay() -> None:
    async with listening(patience=0) as there:
        _, writer = await asyncio.open_connection("127.0.0.1", there.port)
        for count in (1, 2, 3):
            writer.write(counted(MESSAGE))
            assert await there.kept(count) == [MESSAGE] * count
        writer.close()


async def test_too_many_senders_are_turned_away() -> None:
    async with listening() as there, contextlib.AsyncExitStack() as stack:
        for _ in range(MAX_SENDERS):
            _, writer = await asyncio.open_connection("127.0.0.1", there.port)
            stack.callback(writer.close)
            writer.write(counted(b"<1>x"))
        await there.kept(MAX_SENDERS)
        reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
        stack.callback(writer.close)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""


@pytest.mark.parametrize("listen", ["0.0.0.0:6514", "192.0.2.1:6514", "[::]:6514", "host:6514"])
def test_an_address_that_others_reach_takes_tls_or_a_word(listen: str) -> None:
    with pytest.raises(ConfigInvalid, match="reachable by others"):
        Syslog("sys", section(listen=listen), Path())
    Syslog("sys", section(listen=listen, plain=True), Path())


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.0.0.1:x", ":99", "127.0.0.1:99999"])
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(ConfigInvalid, match="no HOST:PORT"):
        Syslog("sys", section(listen=listen), Path())


# --- TLS -----------------------------------------------------------------------------------------

BEFORE, AFTER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)


class Authority:
    """Issues certificates, for servers and for clients."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.path = self._write(f"{name}.pem", self._sign(self.name, self.key, ca=True))

    def issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        kept = self.folder / f"{name}.key"
        kept.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return self._write(f"{name}.crt", self._sign(subject, key, ca=False)), kept

    def _sign(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> bytes:
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(BEFORE)
            .not_valid_after(AFTER)
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        )
        return made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _write(self, name: str, data: bytes) -> Path:
        (self.folder / name).write_bytes(data)
        return self.folder / name


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


def client(authority: Authority, shown: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.path))
    if shown is not None:
        context.load_cert_chain(*shown)
    return context


async def test_senders_without_our_certificate_are_refused(tmp_path: Path, ours: Authority) -> None:
    certificate, key = ours.issue("server")
    others = Authority(tmp_path, "others")
    tls: Any = {"tls_certificate": certificate, "tls_key": key, "client_ca": ours.path}
    async with listening(**tls) as there:
        for shown in (None, others.issue("stranger")):
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                await there.send(counted(b"<1>forged"), client(ours, shown))
        with contextlib.suppress(ConnectionError):
            await there.send(counted(b"<1>not TLS"))
        await there.send(counted(MESSAGE), client(ours, ours.issue("sender")))
        assert await there.kept(1) == [MESSAGE]


async def test_with_tls_alone_anybody_may_send(tmp_path: Path, ours: Authority) -> None:
    ours.issue("server")
    tls: Any = {"tls_certificate": "server.crt", "tls_key": "server.key"}
    async with listening(folder=tmp_path, **tls) as there:
        await there.send(counted(MESSAGE), client(ours))
        assert await there.kept(1) == [MESSAGE]


def test_a_certificate_that_cannot_be_used_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("nonsense")
    with pytest.raises(ConfigInvalid, match=r"sources\.sys"):
        Syslog("sys", section(tls_certificate="c", tls_key="c"), tmp_path)
