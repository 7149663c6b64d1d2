"""
Tiles at an address. Whoever serves them is not believed, and has bounds.

No answer is larger than a resource of a log can be, or takes longer than a minute; it is asked for
again only where that may help; and no redirect is followed, since it would take the token along.
"""

import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Final

import httpx

from muniment.errors import (
    LogInvalid,
    Malformed,
    MunimentError,
    NotPermitted,
    Unauthenticated,
    Unavailable,
)
from muniment.evidence.audit_tiles import Stretch, stretch
from muniment.evidence.tile_log import MAX_RESOURCE, TileLog
from muniment.evidence.tiles import WIDTH
from muniment.interfaces.cli.tile_sources import bounded, mapped

#: seconds until a connection stands, or the next bytes come
TIMEOUT: Final = 20.0
#: seconds for a whole answer
WHOLE: Final = 60.0
#: seconds of waiting before an answer is asked for again
PAUSES: Final = (0.2, 1.0, 4.0)
_OK, _NOT_FOUND, _TOO_MANY, _SERVER_ERROR = 200, 404, 429, 500
_REFUSALS: Final[dict[int, type[MunimentError]]] = {401: Unauthenticated, 403: NotPermitted}


class TileAddress:
    """`…/log` of a service, or of whatever serves a mirror."""

    step: Final = 8 * WIDTH

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        transport: httpx.BaseTransport | None = None,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        """Raises `Malformed` for what is no address, or none to show a token."""
        self.name = url.rstrip("/")
        self._pauses = pauses
        #: whoever waits for an answer sets it to wait no longer
        self.stop = threading.Event()
        check_address(self.name, token)
        bearer = {"Authorization": f"Bearer {token}"} if token is not None else {}
        self._http = httpx.Client(
            headers={**bearer, "Accept-Encoding": "gzip, identity"},
            timeout=TIMEOUT,
            transport=transport,
            follow_redirects=False,
        )
        self.log = TileLog(self.read)

    def read(self, path: str) -> bytes | None:
        """Raises `Refused`, `Unavailable`, and `LogInvalid` for what is too large."""
        for pause in self._pauses:
            try:
                return self._read(path)
            except Unavailable:
                if self.stop.wait(pause):
                    raise
        return self._read(path)

    def spread(self, _cores: int, ranges: Sequence[tuple[int, int]]) -> Iterator[Stretch]:
        """Hashing is quick beside fetching: a few threads fetch."""
        pool = ThreadPoolExecutor(4)
        yield from mapped(pool, lambda each: stretch(self.log, *each), ranges)

    def close(self) -> None:
        self._http.close()

    def _read(self, path: str) -> bytes | None:
        try:
            with self._http.stream("GET", f"{self.name}/{path}") as response:
                if response.status_code == _NOT_FOUND:
                    return None
                self._check_status(response.status_code)
                data = _whole(path, response)
                coding = response.headers.get("content-encoding", "identity")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(f"no answer from {self.name} ({type(error).__name__})") from error
        match coding.strip().lower():
            case "identity":
                return data
            case "gzip":
                return _unzipped(path, data)
            case _:
                raise Unavailable(f"{self.name} sends `{path}` in a coding that was not asked for")

    def _check_status(self, status: int) -> None:
        if status == _OK:
            return
        if status in _REFUSALS:
            raise _REFUSALS[status](
                f"{self.name} answers {status}: set MUNIMENT_TOKEN to the token of somebody who may"
                " follow the log"
            )
        raise Unavailable(f"{self.name} answers {status}")


def check_address(url: str, token: str | None) -> None:
    """Raises `Malformed` for what is no address of tiles, or for a token that all could read."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise Malformed(f"`{url}` is no address: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.userinfo:
        raise Malformed("an address of tiles is `https://host/…/log`, without user or query")
    if token is None:
        return
    if not (token.isascii() and token.isprintable()):
        raise Malformed("that is no token: it holds other than printable ASCII characters")
    if parsed.scheme == "http" and not _is_loopback(parsed.host):
        raise Malformed(f"the token would go to {parsed.host} unencrypted; use https")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _whole(path: str, response: httpx.Response) -> bytes:
    parts, size, until = [], 0, time.monotonic() + WHOLE
    for part in response.iter_raw():
        size += len(part)
        if size > MAX_RESOURCE:
            raise LogInvalid(f"`{path}` is too large")
        if time.monotonic() > until:
            raise Unavailable(f"`{path}` takes longer than {WHOLE:.0f} s")
        parts.append(part)
    return b"".join(parts)


def _unzipped(path: str, data: bytes) -> bytes:
    unzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        found = bounded(path, unzip.decompress(data, MAX_RESOURCE + 1))
    except zlib.error as error:
        raise Unavailable(f"`{path}` came broken: {error}") from error
    if not unzip.eof or unzip.unused_data:
        raise Unavailable(f"`{path}` came broken")
    return found
