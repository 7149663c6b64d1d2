"""
The way out by HTTP: to addresses that others name, and never into our own network.

A name is resolved once for each exchange; every address that it has is checked, and the connection
goes to one of exactly those, while TLS and `Host` go on speaking of the name. So nothing is gained
by a name that resolves differently the second time, nor by a redirect, which nobody follows.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias
from urllib.parse import urlsplit

import httpcore

from muniment.errors import AddressRefused, Unavailable
from muniment.ports import Reply

#: the addresses of a name and port, as text
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_URL = 2000
#: how long `check` waits for a name
NAME_SECONDS = 5.0
_TROUBLE = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError)
_PORTS = {"https": 443, "http": 80}
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
#: RFC 6052 section 2.1: the IPv4 address stands in the last 32 bits
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
#: neither public nor called, though some versions of Python say that they are global: addresses
#: of protocols, tunnels with an IPv4 address inside, and a cloud's own services (Azure)
_ODD = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24",
        "192.88.99.0/24",
        "168.63.129.16/32",
        "2001::/23",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
    )
)


@dataclass(frozen=True)
class Place:
    """A URL that may be called, as far as can be said without resolving its name."""

    scheme: str
    host: str
    port: int
    #: path and query
    target: str

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        standard = _PORTS[self.scheme] == self.port
        return f"{self.scheme}://{host}" + ("" if standard else f":{self.port}")


def place(url: str) -> Place:
    """Raises `AddressRefused` for what is no plain URL; its text is not repeated."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressRefused("this is no URL") from error
    plain = len(url) <= MAX_URL and url.isascii() and url.isprintable() and "\\" not in url
    if not plain or " " in url or parts.scheme not in _PORTS:
        raise AddressRefused("a URL begins with `https://` and is ASCII without blanks")
    if "@" in parts.netloc or parts.fragment:
        raise AddressRefused("a URL that is called has neither user name nor fragment")
    if not _HOST.fullmatch(parts.netloc.removesuffix(f":{port}")) or port == 0:
        raise AddressRefused("the URL has no host that can be called")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(parts.scheme, str(parts.hostname), port or _PORTS[parts.scheme], target)


def origin(url: str) -> str:
    """Scheme, host and port: what an allow-list holds. Raises `AddressRefused`."""
    return place(url).origin


def is_public(text: str) -> bool:
    """Whether a packet to this address leaves for the public Internet."""
    address = _plain(text)
    special = address.is_multicast or address.is_reserved or _is_odd(address)
    return address.is_global and not special


def is_never_called(text: str) -> bool:
    """Addresses at which nothing that an administrator could mean listens: metadata, multicast."""
    address = _plain(text)
    nowhere = address.is_link_local or address.is_multicast or address.is_unspecified
    return nowhere or _is_odd(address)


def _plain(text: str) -> _Address:
    """The address that is reached: of an IPv4 address in IPv6's clothes, the IPv4 address."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _is_odd(address: _Address) -> bool:
    return any(address in network for network in _ODD)


async def resolve(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@cache
def _whom_the_system_trusts() -> ssl.SSLContext:
    """Reading all its certificates takes a while: once is enough."""
    return ssl.create_default_context()


class CheckedOutbound:
    """Implements `ports.Outbound`. `context` says whom TLS trusts; by default, the system."""

    def __init__(self, resolve: Resolve = resolve, context: ssl.SSLContext | None = None) -> None:
        self._resolve = resolve
        self._context = _whom_the_system_trusts() if context is None else context

    async def check(self, url: str, *, allow: Collection[str] = ()) -> None:
        try:
            async with asyncio.timeout(NAME_SECONDS):
                await self._addresses(place(url), allow)
        except TimeoutError as error:
            raise Unavailable("the name in the URL was not resolved in time") from error

    async def fetch(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout: float,  # noqa: ASYNC109 (as the port has it)
        max_bytes: int,
        allow: Collection[str] = (),
    ) -> Reply:
        there = place(url)
        try:
            async with asyncio.timeout(timeout):
                towards = _Towards(await self._addresses(there, allow), timeout)
                return await self._exchange(method, there, headers, body, towards, max_bytes)
        except TimeoutError as error:
            raise Unavailable(f"`{there.host}` did not answer in {timeout:g} s") from error
        except _TROUBLE as error:
            name = type(error).__name__
            raise Unavailable(f"`{there.host}` could not be talked to: {name}") from error

    async def _addresses(self, there: Place, allow: Collection[str]) -> Sequence[str]:
        allowed = there.origin in allow
        if there.scheme != "https" and not allowed:
            raise AddressRefused(f"`{there.host}` is called by `https` only")
        try:
            addresses = await self._resolve(there.host, there.port)
        except (OSError, UnicodeError) as error:
            raise Unavailable(f"`{there.host}` has no address") from error
        # one bad address is enough: which of them is called is not left to chance
        if not addresses or not all(_may_call(each, allowed=allowed) for each in addresses):
            raise AddressRefused(f"`{there.host}` leads to an address that is not called")
        return addresses

    async def _exchange(
        self,
        method: str,
        there: Place,
        headers: Mapping[str, str],
        body: bytes,
        towards: "_Towards",
        max_bytes: int,
    ) -> Reply:
        pool = httpcore.AsyncConnectionPool(
            ssl_context=self._context, network_backend=towards, max_connections=1
        )
        sent = {"Accept-Encoding": "identity", **headers}
        url = httpcore.URL(
            scheme=there.scheme, host=there.host, port=there.port, target=there.target
        )
        async with (
            pool,
            pool.stream(method, url, headers=list(sent.items()), content=body) as answer,
        ):
            received = bytearray()
            async for chunk in answer.aiter_stream():
                received += chunk
                if len(received) > max_bytes:
                    raise Unavailable(f"`{there.host}` answered with more than {max_bytes} bytes")
            names = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in answer.headers}
            return Reply(status=answer.status, headers=names, body=bytes(received))


def _may_call(address: str, *, allowed: bool) -> bool:
    return not is_never_called(address) if allowed else is_public(address)


class _Towards(httpcore.AsyncNetworkBackend):
    """Connects to one of the given addresses, whatever host it is asked for."""

    def __init__(self, addresses: Sequence[str], seconds: float) -> None:
        self._addresses = addresses
        self._share = seconds / len(addresses)
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002 (that is the point)
        port: int,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 (httpcore's interface)
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failed: Exception = httpcore.ConnectError("no address")
        for address in self._addresses:
            try:
                return await self._network.connect_tcp(
                    address, port, self._share, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed
