"""The way out by HTTP: what a caller names must never lead into our own network."""

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from muniment.errors import AddressRefused, Unavailable
from muniment.ports import Outbound, Reply
from muniment.runtime.outbound import CheckedOutbound, is_never_called, is_public, origin

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Seen: yes\r\n\r\nok"
INSIDE = (
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",  # RFC 6598, carrier-grade NAT
    "100.100.100.200",  # a cloud's metadata
    "169.254.169.254",  # most clouds' metadata
    "168.63.129.16",  # a cloud's own services at a public-looking address
    "192.0.0.192",  # a cloud's metadata
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::1",
    "2001:0:7f00:1::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
)
ODD_URLS = (
    "",
    "hooks.example.com",
    "//hooks.example.com/",
    "ftp://hooks.example.com/",
    "file:///etc/passwd",
    "gopher://hooks.example.com/",
    "https://",
    "https:///path",
    "https://user@hooks.example.com/",
    "https://user:secret@hooks.example.com/",
    "https://hooks.example.com@127.0.0.1/",
    "https://hooks.example.com\\@127.0.0.1/",
    "https://hooks.example.com/#fragment",
    "https://hooks.example.com/a b",
    "https://hooks.example.com/\r\nHost: other",
    "https://hooks.example.com:0/",
    "https://hooks.example.com:99999/",
    "https://hooks.example.com:x/",
    "https://hook\u017f.example.com/",
    "https://[::1/",
    "https://[fe80::1%25eth0]/",
    "https://hooks%2eexample.com/",
    "https://hooks.example.com/" + "a" * 2000,
)


class Names:
    """A resolver that gives the next answer each time it is asked, and the last for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Listening:
    """A server on 127.0.0.1 that sends the same bytes to everybody, and keeps what it was sent."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heard: list[bytes] = []
        self.port = 0
        self.talks: set[asyncio.Task[None]] = set()

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (talk := asyncio.current_task()) is not None:
            self.talks.add(talk)
        await self.serve(reader, writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self.heard.append(head + await reader.readexactly(int(length or b"0")))
            writer.write(self.answer)
            await writer.drain()
            if not self.answer:
                await reader.read()  # says nothing until the other side gives up
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def listening(
    answer: bytes = OK, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Listening]:
    """With `tls` it speaks https."""
    there = Listening(answer)
    server = await asyncio.start_server(there.meet, "127.0.0.1", 0, ssl=tls)
    there.port = server.sockets[0].getsockname()[1]
    try:
        yield there
    finally:
        server.close()
        await asyncio.gather(*there.talks)


async def fetch(
    outbound: Outbound, url: str, *, seconds: float = 10, max_bytes: int = 1000, allow: str = ""
) -> Reply:
    return await outbound.fetch(
        "POST", url, {"A": "b"}, b"{}", timeout=seconds, max_bytes=max_bytes, allow={allow}
    )


def test_what_is_sent_and_answered_goes_through_unchanged() -> None:
    async def run() -> None:
        async with listening() as there:
            url = f"http://127.0.0.1:{there.port}/a/b?c=d"
            reply = await fetch(CheckedOutbound(), url, allow=origin(url))
            assert (reply.status, reply.body, reply.headers["x-seen"]) == (200, b"ok", "yes")
            [heard] = there.heard
            assert heard.startswith(b"POST /a/b?c=d HTTP/1.1\r\n")
            assert f"Host: 127.0.0.1:{there.port}\r\n".encode() in heard
            assert b"A: b\r\n" in heard
            assert heard.endswith(b"\r\n\r\n{}")

    asyncio.run(run())


@pytest.mark.parametrize("address", INSIDE)
async def test_an_address_inside_is_refused_whatever_its_clothes(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(AddressRefused, match="not called"):
        await CheckedOutbound(Names([address])).check("https://hooks.example.com/")


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"])
async def test_a_public_address_is_called(address: str) -> None:
    await CheckedOutbound(Names([address])).check("https://hooks.example.com/")


async def test_one_address_inside_among_public_ones_is_enough_to_refuse() -> None:
    with pytest.raises(AddressRefused):
        await CheckedOutbound(Names(["1.1.1.1", "10.0.0.1"])).check("https://hooks.example.com/")


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "localhost", "[::1]"])
async def test_an_address_inside_in_another_spelling_is_refused(host: str) -> None:
    with pytest.raises((AddressRefused, Unavailable)):
        await CheckedOutbound().check(f"https://{host}/")


@pytest.mark.parametrize("url", ODD_URLS)
async def test_a_url_of_an_odd_shape_is_refused_before_its_name_is_resolved(url: str) -> None:
    names = Names(["1.1.1.1"])
    with pytest.raises(AddressRefused) as refused:
        await CheckedOutbound(names).check(url)
    assert names.asked == []
    assert "secret" not in str(refused.value)


async def test_without_tls_only_an_allowed_origin_is_called() -> None:
    outbound = CheckedOutbound(Names(["1.1.1.1"]))
    with pytest.raises(AddressRefused, match="https"):
        await outbound.check("http://hooks.example.com/")
    await outbound.check("http://hooks.example.com/", allow={"http://hooks.example.com"})


async def test_an_allowed_origin_may_be_inside_but_another_port_or_scheme_of_it_may_not() -> None:
    outbound, allow = CheckedOutbound(Names(["10.0.0.7"])), {"https://hooks.internal:8443"}
    await outbound.check("https://hooks.internal:8443/", allow=allow)
    for url in ("https://hooks.internal/", "http://hooks.internal:8443/"):
        with pytest.raises(AddressRefused):
            await outbound.check(url, allow=allow)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "::ffff:169.254.169.254", "168.63.129.16", "224.0.0.1", "::"]
)
async def test_not_even_an_allowed_origin_leads_to_the_metadata_of_a_cloud(address: str) -> None:
    assert is_never_called(address)
    with pytest.raises(AddressRefused):
        await CheckedOutbound(Names([address])).check(
            "https://a.internal/", allow={"https://a.internal"}
        )


async def test_a_name_that_changes_its_mind_after_the_check_at_request_time_is_refused() -> None:
    async with listening() as inside:
        names = Names(["1.1.1.1"], ["127.0.0.1"])
        outbound, url = CheckedOutbound(names), f"https://hooks.example.com:{inside.port}/"
        await outbound.check(url)
        with pytest.raises(AddressRefused):
            await fetch(outbound, url)
        assert inside.heard == []


async def test_a_name_is_resolved_once_and_the_connection_goes_where_was_checked() -> None:
    async with listening() as checked:
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        url = f"http://hooks.internal:{checked.port}/"
        reply = await fetch(CheckedOutbound(names), url, allow=origin(url))
        assert reply.status == 200
        assert names.asked == [("hooks.internal", checked.port)]
        assert f"Host: hooks.internal:{checked.port}".encode() in checked.heard[0]


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async with listening() as inside:
        where = f"Location: http://127.0.0.1:{inside.port}/\r\nContent-Length: 0\r\n\r\n"
        async with listening(b"HTTP/1.1 307 Temporary Redirect\r\n" + where.encode()) as there:
            url = f"http://127.0.0.1:{there.port}/"
            assert (await fetch(CheckedOutbound(), url, allow=origin(url))).status == 307
        assert inside.heard == []


async def test_a_server_that_says_nothing_is_given_up_on() -> None:
    async with listening(b"") as there:
        url = f"http://127.0.0.1:{there.port}/path-with-a-secret"
        with pytest.raises(Unavailable, match="did not answer") as failed:
            await fetch(CheckedOutbound(), url, seconds=0.2, allow=origin(url))
        assert "secret" not in str(failed.value)


async def test_a_name_that_is_never_resolved_is_given_up_on() -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        raise AssertionError(host, port)

    with pytest.raises(Unavailable):
        await fetch(CheckedOutbound(never), "https://hooks.example.com/", seconds=0.05)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n"
        + b"x" * 1000
        + b"\r\n1\r\ny\r\n0\r\n\r\n",
    ],
)
async def test_an_answer_without_measure_is_cut_off(answer: bytes) -> None:
    async with listening(answer) as there:
        url = f"http://127.0.0.1:{there.port}/"
        with pytest.raises(Unavailable, match="more than 1000 bytes"):
            await fetch(CheckedOutbound(), url, allow=origin(url))


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"]
)
async def test_a_server_that_speaks_no_http_is_unavailable(answer: bytes) -> None:
    async with listening(answer) as there:
        url = f"http://127.0.0.1:{there.port}/"
        with pytest.raises(Unavailable, match="could not be talked to"):
            await fetch(CheckedOutbound(), url, allow=origin(url))


async def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    async with listening() as there:
        url = f"http://hooks.internal:{there.port}/"
        outbound = CheckedOutbound(Names(["127.0.0.9", "127.0.0.1"]))
        assert (await fetch(outbound, url, allow=origin(url))).status == 200


async def test_nobody_listens_is_unavailable() -> None:
    async with listening() as there:
        url = f"http://127.0.0.1:{there.port}/"
    with pytest.raises(Unavailable, match="could not be talked to"):
        await fetch(CheckedOutbound(), url, allow=origin(url))


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening() as proxy, listening() as there:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        url = f"http://127.0.0.1:{there.port}/"
        await fetch(CheckedOutbound(), url, allow=origin(url))
        assert (len(proxy.heard), len(there.heard)) == (0, 1)


async def test_tls_is_checked_against_the_name_and_not_the_address(tmp_path: Path) -> None:
    server, client = certified(tmp_path, "hooks.internal")
    async with listening(tls=server) as there:
        outbound = CheckedOutbound(Names(["127.0.0.1"]), client)
        url = f"https://hooks.internal:{there.port}/"
        assert (await fetch(outbound, url, allow=origin(url))).status == 200
        other = f"https://other.internal:{there.port}/"
        with pytest.raises(Unavailable):
            await fetch(outbound, other, allow=origin(other))
        assert len(there.heard) == 1


async def test_a_certificate_that_nobody_vouches_for_is_not_talked_to(tmp_path: Path) -> None:
    server, _ = certified(tmp_path, "hooks.internal")
    async with listening(tls=server) as there:
        url = f"https://hooks.internal:{there.port}/"
        with pytest.raises(Unavailable):
            await fetch(CheckedOutbound(Names(["127.0.0.1"])), url, allow=origin(url))
        assert there.heard == []


def certified(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate of its own for a name, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)  # noqa: TID251 (a certificate for a real handshake)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "both.pem").write_bytes(secret + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "both.pem")
    return server, ssl.create_default_context(cadata=pem.decode())


def test_an_origin_leaves_out_the_port_that_its_scheme_has_anyway() -> None:
    assert origin("https://Hooks.Example.com:443/x?y") == "https://hooks.example.com"
    assert origin("https://[2606:4700::1]:8443/") == "https://[2606:4700::1]:8443"
    assert ipaddress.ip_address("2606:4700::1").is_global
