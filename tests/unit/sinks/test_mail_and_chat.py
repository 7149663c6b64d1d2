"""Mail to a real SMTP server, and chat to a real HTTP server, through Apprise."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from muniment.errors import AddressRefused, ConfigInvalid, Unavailable
from muniment.ports import Notice, Secret
from muniment.sinks import apprise_sink
from muniment.sinks.apprise_sink import Chat, Mail

PASSWORD = "correct-horse-battery"
NOTICE = Notice(
    id="ntc_1",
    event="waiting",
    case="mun_1",
    at=datetime(2026, 11, 21, 10, tzinfo=UTC),
    title="Ana (ana) asks for readwrite on orders-prod — ü",
    text="Ana asks\n<b>really</b>",
    html="<p>Ana asks</p><p>&lt;b&gt;really&lt;/b&gt;</p>",
    checkpoint="muniment.example/log\n7\nAAAA\n\n— sig\n",
    facts={"case": "mun_1"},
)


class Post:
    """What an SMTP server was given."""

    def __init__(self) -> None:
        self.envelopes: list[Any] = []
        self.logins: list[str] = []
        self.answer = "250 taken"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        if self.answer.startswith("250"):
            self.envelopes.append(envelope)
        return self.answer

    def authenticator(
        self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any
    ) -> AuthResult:
        self.logins.append(data.password.decode())
        return AuthResult(success=True)

    @property
    def messages(self) -> list[EmailMessage]:
        return [message_from_bytes(each.content, policy=policy.default) for each in self.envelopes]


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
def port(post: Post, unused_tcp_port: int) -> Iterator[int]:
    controller = Controller(
        post,
        hostname="127.0.0.1",
        port=unused_tcp_port,
        authenticator=post.authenticator,
        auth_require_tls=False,
    )
    controller.start()
    yield unused_tcp_port
    controller.stop()


def mail_to(port: int, more: str = "") -> Mail:
    url = f"mailto://muniment:{PASSWORD}@127.0.0.1:{port}/?from=muniment@example.com&mode=insecure"
    return Mail("mail", Secret(url + more))


async def test_a_mail_reaches_exactly_one_person(port: int, post: Post) -> None:
    await mail_to(port, "&to=all@example.com&cc=cc@example.com&bcc=b@example.com").tell(
        NOTICE, "cy@example.com"
    )
    [envelope] = post.envelopes
    [message] = post.messages
    assert envelope.rcpt_tos == ["cy@example.com"]
    assert message["To"] == "cy@example.com"
    assert message["Subject"] == NOTICE.title
    assert post.logins == [PASSWORD]


async def test_a_mail_has_plain_text_html_and_the_head_of_the_log(port: int, post: Post) -> None:
    await mail_to(port).tell(NOTICE, "cy@example.com")
    parts = {part.get_content_type(): part for part in post.messages[0].walk()}
    assert "Ana asks" in parts["text/html"].get_content()
    attached = [part for part in post.messages[0].walk() if part.get_filename() == "checkpoint.txt"]
    assert attached[0].get_payload(decode=True) == NOTICE.checkpoint.encode()
    plain = [
        part.get_content()
        for part in post.messages[0].walk()
        if part.get_content_type() == "text/plain" and not part.get_filename()
    ]
    assert "Ana asks" in plain[0]


@pytest.mark.parametrize(
    "address",
    ["", "cy", "cy@", "a@b.com,c@d.com", "a@b.com\nBcc: c@d.com", "Cy <a@b.com>", "a b@c.com"],
)
async def test_what_is_no_single_address_gets_no_mail(port: int, post: Post, address: str) -> None:
    with pytest.raises(AddressRefused):
        await mail_to(port).tell(NOTICE, address)
    assert post.envelopes == []


async def test_a_server_that_refuses_or_is_gone_is_unavailable_and_shows_no_password(
    port: int, post: Post, unused_tcp_port_factory: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    post.answer = "550 not here"
    for there in (port, unused_tcp_port_factory()):
        with pytest.raises(Unavailable) as refused:
            await mail_to(there).tell(NOTICE, "cy@example.com")
        assert PASSWORD not in str(refused.value)
    encoded = base64.b64encode(f"\0muniment\0{PASSWORD}".encode()).decode()
    for secret in (PASSWORD, encoded):
        assert secret not in caplog.text


async def test_a_server_that_says_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setattr(apprise_sink, "SECONDS", 0.05)
    gone = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side has lost its patience
        writer.close()
        await writer.wait_closed()
        gone.set()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", unused_tcp_port):
        with pytest.raises(Unavailable, match=r"in 0\.05 s"):
            await mail_to(unused_tcp_port, "&cto=0.2&rto=0.2").tell(NOTICE, "cy@example.com")
        async with asyncio.timeout(10):
            await gone.wait()


@pytest.fixture
async def channel(unused_tcp_port: int) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A chat server: takes what it is given."""
    seen: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        seen.append(head + await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", unused_tcp_port)
    async with server:
        yield unused_tcp_port, seen


async def test_a_channel_is_told_in_plain_text(
    channel: tuple[int, list[bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    port, seen = channel
    await Chat("chat", Secret(f"json://127.0.0.1:{port}/services/T-secret")).tell(NOTICE)
    assert len(seen) == 1
    assert b"Ana asks" in seen[0]
    assert "T-secret" not in caplog.text


async def test_a_notice_of_another_time_is_told_by_the_same_way(
    channel: tuple[int, list[bytes]],
) -> None:
    port, seen = channel
    chat = Chat("chat", Secret(f"json://127.0.0.1:{port}/"))
    for title in ("one", "two", "three"):
        await chat.tell(replace(NOTICE, title=title))
    assert len(seen) == 3


@pytest.mark.parametrize("kind", [Mail, Chat])
@pytest.mark.parametrize("url", ["", "no-such-service://a-password@b", "mailto://", "a-password"])
def test_what_is_no_url_of_apprise_is_refused_and_not_repeated(
    kind: type[Mail | Chat], url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises((ConfigInvalid, Unavailable)) as refused:
        kind("x", Secret(url))
    assert "a-password" not in str(refused.value) + caplog.text


def test_mail_goes_by_smtp_only() -> None:
    with pytest.raises(ConfigInvalid, match="mailto"):
        Mail("x", Secret("json://127.0.0.1/"))
