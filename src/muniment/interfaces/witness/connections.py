"""Connections: a client gets so long to ask something, and no longer."""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

#: from the opening of a connection, or the last answer on it, to the end of a request's head
PATIENCE_SECONDS: Final = 15.0


class ImpatientProtocol(H11Protocol):
    """
    HTTP/1.1 by h11, which bounds the head of a request in bytes; here it is bounded in time, too.

    NOTE: uvicorn alone waits for ever for a first request, and again once a byte of the next has
    come. As many such connections as are allowed at once would keep everybody else out.
    """

    patience = PATIENCE_SECONDS
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_answering():
            self._stop_waiting()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_answering():  # else the next request had come already
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _wait(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(self.patience, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
