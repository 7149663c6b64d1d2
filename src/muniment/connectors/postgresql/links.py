"""Connections to the endpoints of a target: bounded in number and time, and safe to abandon."""

import asyncio
import select
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import sql, waiting
from psycopg.abc import RV, PQGen
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from muniment.connectors.postgresql.settings import Endpoint, Settings
from muniment.connectors.postgresql.statements import LATE
from muniment.errors import OrderLate, TargetUnavailable
from muniment.ports import Secret

#: orders and revocations at work on one endpoint at once; the others wait for their turn
_AT_ONCE = 8
#: seconds after which an idle link is not used again, so that a repointed name is followed
_MAX_AGE = 30.0
#: seconds for which a link that was opened ahead waits for its use
_AHEAD = 2.0
#: seconds that the network may add to what the server was given for a statement
_GRACE = 1.0
#: characters of a trouble that are worth keeping in a record
_ENOUGH = 300

Query = LiteralString | sql.Composed


class Link(psycopg.AsyncConnection[TupleRow]):
    """A connection whose every question is bounded, and which is dropped when one is abandoned."""

    patience: float = _GRACE
    opened_at: float = 0.0

    async def wait(self, gen: PQGen[RV], *_: Any, **__: Any) -> RV:
        # When it is cancelled, psycopg's own would ask the server to cancel too and wait for that,
        # up to 10 s. A server that hangs must not hold us up: the link is closed by whoever uses
        # it, and what the server may still do is bounded by its timeout and ended by `revoke`.
        return await waiting.wait_async(gen, self.pgconn.socket, interval=0.1)

    async def rows(self, query: Query, parameters: Sequence[Any] = ()) -> list[TupleRow]:
        """What one statement answers; nothing if it has no rows."""
        async with asyncio.timeout(self.patience):
            return await _answer(await self.execute(query, parameters or None))

    async def row(self, query: Query, parameters: Sequence[Any] = ()) -> TupleRow:
        return (await self.rows(query, parameters))[0]

    async def answers(self, *statements: sql.Composed) -> list[list[TupleRow]]:
        """What each of these answers; they travel in one message and are one transaction."""
        async with asyncio.timeout(self.patience):
            cursor = await self.execute(sql.SQL("; ").join(statements))
            found = [await _answer(cursor)]
            while cursor.nextset():
                found.append(await _answer(cursor))
            return found

    @property
    def usable(self) -> bool:
        """Whether an idle link can be used again: young, and the server has not hung up."""
        age = asyncio.get_running_loop().time() - self.opened_at
        if self.closed or age > _MAX_AGE:
            return False
        # A server speaks to an idle client only to say goodbye.
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return not poll.poll(0)


async def _answer(cursor: psycopg.AsyncCursor[TupleRow]) -> list[TupleRow]:
    return await cursor.fetchall() if cursor.description else []


def _give_up(task: asyncio.Task[Link | None]) -> None:
    """Nobody uses the link any more that it opens, or has opened."""
    task.cancel()  # without effect where it is done
    task.add_done_callback(_hang_up)


def _hang_up(task: asyncio.Task[Link | None]) -> None:
    if not task.cancelled() and (link := task.result()) is not None:
        link.pgconn.finish()


class Links:
    """All connections of one connector: a few kept for orders and ends, fresh ones for probes."""

    def __init__(self, settings: Settings, password: Secret | None) -> None:
        self._settings = settings
        self._password = password
        self._idle: dict[Endpoint, list[Link]] = defaultdict(list)
        self._turns: dict[Endpoint, asyncio.Semaphore] = {}
        self._ahead: dict[tuple[Endpoint, str], asyncio.Task[Link | None]] = {}

    @asynccontextmanager
    async def kept(self, endpoint: Endpoint) -> AsyncIterator[Link]:
        """A link that may have served before; it is dropped when its user fails."""
        async with self._turns.setdefault(endpoint, asyncio.Semaphore(_AT_ONCE)):
            with self._told(endpoint):
                link = await self._idle_or_new(endpoint)
                try:
                    yield link
                except BaseException:
                    await link.close()
                    raise
                self._idle[endpoint].append(link)

    @asynccontextmanager
    async def fresh(
        self, endpoint: Endpoint, database: str | None = None, *, use: str = ""
    ) -> AsyncIterator[Link]:
        """A connection made for this use alone, if need be ahead of it."""
        with self._told(endpoint):
            link = await self._opened_ahead(endpoint, use)
            if link is None:
                link = await self._connected(endpoint, database)
            try:
                yield link
            finally:
                await link.close()

    def open_ahead(self, endpoint: Endpoint, use: str) -> None:
        """
        Begin to connect for a `fresh` of the same use, which is to follow within moments.

        Whatever goes wrong with it does not count: then that connects anew.
        """
        task = asyncio.create_task(self._connected_or_none(endpoint))
        before = self._ahead.pop((endpoint, use), None)
        if before is not None:
            _give_up(before)
        self._ahead[endpoint, use] = task
        asyncio.get_running_loop().call_later(_AHEAD, self._expire, (endpoint, use), task)

    async def close(self) -> None:
        while self._ahead:
            _give_up(self._ahead.popitem()[1])
        for links in self._idle.values():
            while links:
                await links.pop().close()

    async def _opened_ahead(self, endpoint: Endpoint, use: str) -> Link | None:
        task = self._ahead.pop((endpoint, use), None)
        link = await task if task is not None else None
        if link is not None and not link.usable:
            await link.close()
            return None
        return link

    async def _connected_or_none(self, endpoint: Endpoint) -> Link | None:
        try:
            return await self._connected(endpoint)
        except (psycopg.Error, OSError, TimeoutError):
            return None

    def _expire(self, key: tuple[Endpoint, str], task: asyncio.Task[Link | None]) -> None:
        if self._ahead.get(key) is task:
            _give_up(self._ahead.pop(key))

    async def _idle_or_new(self, endpoint: Endpoint) -> Link:
        idle = self._idle[endpoint]
        while idle:
            link = idle.pop()
            if link.usable:
                return link
            await link.close()
        return await self._connected(endpoint)

    async def _connected(self, endpoint: Endpoint, database: str | None = None) -> Link:
        parameters = dict(endpoint.parameters) | {"user": self._settings.user}
        if database is not None:
            parameters["dbname"] = database
        if self._password is not None:
            parameters["password"] = self._password.reveal()
        async with asyncio.timeout(self._settings.connect_timeout_ms / 1000):
            link = await Link.connect(
                make_conninfo(**parameters),
                application_name="muniment",
                client_encoding="UTF8",
                options=self._options(),
                autocommit=True,
                prepare_threshold=None,
            )
        link.patience = self._settings.statement_timeout_ms / 1000 + _GRACE
        link.opened_at = asyncio.get_running_loop().time()
        return link

    def _options(self) -> str:
        """Settings of our sessions, in force before the first statement."""
        wanted = {
            "statement_timeout": self._settings.statement_timeout_ms,
            "lock_timeout": self._settings.lock_timeout_ms,
            # Holders may create functions and operators; ours must not resolve to theirs.
            "search_path": "pg_catalog,pg_temp",
            "default_transaction_read_only": "off",
            # What is answered is durable, whatever the cluster's default is.
            "synchronous_commit": "on",
            "default_transaction_isolation": r"read\ committed",
            "timezone": "UTC",
        }
        return " ".join(f"-c {name}={value}" for name, value in wanted.items())

    @contextmanager
    def _told(self, endpoint: Endpoint) -> Iterator[None]:
        """Turns every failure into an error of ours that names the endpoint, and no secret."""
        try:
            yield
        except (psycopg.Error, OSError, TimeoutError) as error:
            # `from None`: psycopg's errors hold the server's whole answer, statements included.
            late = isinstance(error, psycopg.Error) and error.sqlstate == LATE
            kind = OrderLate if late else TargetUnavailable
            raise kind(f"`{endpoint.name}`: {self._trouble(error)}") from None

    def _trouble(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return "no answer in time"
        text = error.diag.message_primary if isinstance(error, psycopg.Error) else None
        if isinstance(error, psycopg.errors.DependentObjectsStillExist):
            # The detail of other errors may quote values; this one names what is in the way.
            text = f"{text}: {' '.join((error.diag.message_detail or '').split())}"
        text = text or str(error).strip().partition("\n")[0] or type(error).__name__
        if self._password is not None:
            text = text.replace(self._password.reveal(), "...")
        # A probe's trouble stands in a record's header, which is ASCII.
        return text[:_ENOUGH].encode("ascii", "backslashreplace").decode()
