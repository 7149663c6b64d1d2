"""Connections: a client has so long, and so many bytes, to say what it asks."""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: from the opening of a connection, or the first byte of a further request, to that request's end
PATIENCE_SECONDS: Final = 30.0
#: of the line and the headers of one request; the largest token fits four times
MAX_HEAD: Final = 64 * 1024


class BoundedProtocol(HttpToolsProtocol):
    """
    HTTP/1.1 by httptools, whose requests end.

    NOTE: uvicorn alone keeps every header that somebody sends, without end, and waits for ever for
    a first request and for the rest of any.
    """

    patience = PATIENCE_SECONDS
    _deadline: asyncio.TimerHandle | None = None
    #: bytes of a head that is not complete yet
    _head = 0
    _in_body = False
    #: whether the data that came last had the end of a head in it, or some of a body
    _completed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._deadline is None:
            self._wait()
        self._completed = False
        super().data_received(data)
        if self._completed:
            self._head = 0
        else:  # also the headers that may follow a body, which uvicorn keeps, too
            self._head += len(data)
            if self._head > MAX_HEAD and not self.transport.is_closing():
                self.send_400_response("The head of this request is too large.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # nobody here asks for what follows a body
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._completed = True

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_body = self._completed = True

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_body = False
        self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(self.patience, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
