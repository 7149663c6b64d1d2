"""
The head store of several nodes, on another server than the log's database.

Beside the head lies what else has to be remembered apart from that database: the ledger of
erasures, and what somebody remembers of another history of the log.
"""

import contextlib
import os
import secrets
import select
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Final, LiteralString

import psycopg

from muniment.errors import LogInvalid, LogUnavailable
from muniment.stores.postgresql.connections import Connections, Session, surely
from muniment.stores.postgresql.setup import check_fences, check_schema

#: of the advisory lock that every node of this log takes before it writes
_LOCK: Final = int.from_bytes(b"muniment")
_CHANNEL: Final = "muniment_head"

#: The server ends a session that does nothing for a lease, and with it goes its lock.
TAKE_LOCK: LiteralString = """
    SELECT set_config('idle_session_timeout', %s, false), pg_advisory_lock(%s)
"""
RELEASE_LOCK: LiteralString = """
    SELECT pg_advisory_unlock(%s), set_config('idle_session_timeout', '0', false)
"""
READ_HEAD: LiteralString = "SELECT size, checkpoint FROM head"
#: Compared and set in one statement. The same head may be written again: after an error nobody
#: knows whether it stands. Everybody is told when it is committed.
WRITE_HEAD: LiteralString = """
    WITH written AS (
      UPDATE head SET size = %(size)s, checkpoint = %(checkpoint)s
       WHERE size < %(size)s OR (size = %(size)s AND checkpoint = %(checkpoint)s) RETURNING size
    )
    SELECT size, pg_notify(%(channel)s, %(writer)s) FROM written
"""
#: Where it stands already, whoever wrote it may still wait for the last copy of it. The message is
#: for nobody: whatever is written, a commit waits for all that was written before it.
ADD_ERASURE: LiteralString = """
    WITH added AS (
      INSERT INTO erasures (record_id, section, rule) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING
    )
    SELECT pg_logical_emit_message(true, 'muniment', '')
"""
READ_ERASURES: LiteralString = "SELECT record_id, section, rule FROM erasures ORDER BY number"
KEEP_WHY: LiteralString = """
    WITH kept AS (INSERT INTO contradictions (why, note) VALUES (%s, %s) ON CONFLICT DO NOTHING)
    SELECT pg_logical_emit_message(true, 'muniment', '')
"""
READ_WHY: LiteralString = "SELECT why FROM contradictions"


class SharedHeads:
    """
    `SharedHeadStore` in a table, with a lock that the server itself takes back from a dead node.

    Any thread may call it. Inside the lock, reads and writes go over the session that holds it and
    over no other: where that was lost, somebody else may hold the lock, and nothing is written.
    """

    def __init__(self, conninfo: str, lease: float = 5.0) -> None:
        """
        Connect, and check the server, the schema and the rights of our role.

        Raises `ConfigInvalid` where no heads are to be kept here, saying what to do, and
        `LogUnavailable` where the server does not answer.
        """
        self.connections = Connections(
            conninfo, place="the head store", application="muniment heads", lease=lease
        )
        self._lease = lease
        #: tells our own notifications from those of other nodes
        self._writer = secrets.token_hex(8)
        self._turn = threading.Lock()
        self._kept: Session | None = None
        #: the thread inside the lock, and the session that holds it
        self._inside: tuple[int, Session] | None = None
        self._ear = _Ear(self.connections, self._writer)
        try:
            self.connections.connect_first()
            check_schema(self.connections, "heads")
            check_fences(self.connections, "heads")
        except BaseException:
            self.close()
            raise

    @property
    def server_identity(self) -> str:
        """The same for a server, its standbys and copies of its files."""
        return self.connections.identity

    def close(self) -> None:
        """While no thread is inside the lock."""
        self._ear.close()
        self.connections.close()
        if self._kept is not None:
            self._kept.close()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Raises `LogUnavailable` where others hold it for too long."""
        if not self._turn.acquire(timeout=2 * self._lease):
            raise LogUnavailable("the head store is locked by another thread of this process")
        try:
            session = self._locked()
            self._inside = (threading.get_ident(), session)
            try:
                yield
            except BaseException:
                # The server takes the lock back with the session. To ask for it could be one more
                # wait for an answer that does not come, before anybody learns of the failure.
                session.close()
                raise
            finally:
                self._inside = None
            self._unlock(session)
        finally:
            self._turn.release()

    def read(self) -> bytes | None:
        with self._session() as session:
            rows = session.rows(READ_HEAD)
        if not rows:
            raise LogInvalid("the head is gone from the head store")
        size, checkpoint = rows[0]
        return None if size < 0 else bytes(checkpoint)

    def write(self, checkpoint: bytes, size: int) -> None:
        asked = {
            "size": size, "checkpoint": checkpoint, "channel": _CHANNEL, "writer": self._writer,
        }  # fmt: skip
        with self._session() as session, surely(session):
            written = session.rows(WRITE_HEAD, asked)
        if not written:
            raise LogInvalid(f"the head store remembers {size} or more entries already")

    def await_change(self, seconds: float) -> None:
        """
        Return once another node may have written, after `seconds` at the latest.

        What was written between two calls ends the second one at once. Raises `LogUnavailable`
        where the head store does not answer.
        """
        self._ear.listen(seconds)

    def _session(self) -> contextlib.AbstractContextManager[Session]:
        if self._inside is not None and self._inside[0] == threading.get_ident():
            return self._held(self._inside[1])
        return self.connections.lent()

    @contextlib.contextmanager
    def _held(self, session: Session) -> Iterator[Session]:
        with self.connections.telling():
            if session.closed:
                raise LogUnavailable("the lock of the head store was lost")
            yield session

    def _locked(self) -> Session:
        if self._kept is None or not self._kept.usable:
            if self._kept is not None:
                self._kept.close()
            self._kept = self.connections.alone()
        with self.connections.telling(), _closed_on_error(self._kept):
            self._kept.execute(TAKE_LOCK, (str(int(1000 * self._lease)), _LOCK))
        return self._kept

    def _unlock(self, session: Session) -> None:
        """A session that is gone has taken its lock along: what was done in it is done."""
        if session.closed:
            return
        with contextlib.suppress(psycopg.Error), _closed_on_error(session):
            if not session.rows(RELEASE_LOCK, (_LOCK,))[0][0]:
                session.close()


class SharedLedger:
    """`ErasureLedger` beside the heads. That it is gone shows at the start, by its schema."""

    def __init__(self, heads: SharedHeads) -> None:
        self._connections = heads.connections

    def add(self, record_id: str, section: str, rule: str) -> None:
        with self._connections.lent() as session, surely(session):
            session.execute(ADD_ERASURE, (record_id, section, rule))

    def add_many(self, erasures: Sequence[tuple[str, str, str]]) -> None:
        with self._connections.lent() as session, surely(session):
            session.cursor().executemany(ADD_ERASURE, erasures)

    def erasures(self) -> list[tuple[str, str, str]]:
        with self._connections.lent() as session:
            rows = session.rows(READ_ERASURES)
        return [(record, section, rule) for record, section, rule in rows]


class SharedHalt:
    """
    `Halt` beside the heads: what somebody remembers of another history of this log.

    While it is there no node signs, over restarts too. A person looks, and takes it away.
    """

    def __init__(self, heads: SharedHeads) -> None:
        self._heads = heads

    def keep(self, why: str, note: bytes) -> None:
        """Durable when it returns; what is there already stays. Raises `LogUnavailable`."""
        with self._heads.connections.lent() as session, surely(session):
            session.execute(KEEP_WHY, (why.replace("\0", ""), note))

    def why(self) -> str | None:
        """With what to do about it; None while nothing speaks against the log."""
        with self._heads.connections.lent() as session:
            rows = session.rows(READ_WHY)
        if not rows:
            return None
        said = rows[0][0].partition("\n")[0]
        # our own role may not
        return f"{said}; look, then empty `muniment.contradictions` in `store.heads`, as its owner"


class _Ear:
    """Hears of what other nodes have written, on a session of its own."""

    def __init__(self, connections: Connections, writer: str) -> None:
        self._connections = connections
        self._writer = writer.encode()
        self._mutex = threading.Lock()
        self._session: Session | None = None
        self._woken, self._wake = os.pipe()
        self._closed = False

    def close(self) -> None:
        self._closed = True
        os.write(self._wake, b"\0")  # whoever listens leaves
        with self._mutex:
            if self._session is not None:
                self._session.close()
            os.close(self._woken)
            os.close(self._wake)

    def listen(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        with self._mutex:
            if self._closed:
                raise LogUnavailable(f"{self._connections.place}: closed")
            if self._session is None or self._session.closed:
                self._session = self._connected()
                return  # whatever was written while nobody listened
            with self._connections.telling(), _closed_on_error(self._session):
                self._await(self._session, end)

    def _connected(self) -> Session:
        session = self._connections.alone()
        with self._connections.telling(), _closed_on_error(session):
            session.execute(f"LISTEN {_CHANNEL}")
        return session

    def _await(self, session: Session, end: float) -> None:
        waiting = select.poll()
        waiting.register(session.pgconn.socket, select.POLLIN)
        waiting.register(self._woken, select.POLLIN)
        while not self._heard(session) and not self._closed:
            left = end - time.monotonic()
            if left <= 0:
                return
            waiting.poll(1000 * left)

    def _heard(self, session: Session) -> bool:
        """Whether another node has written; takes in all that has come."""
        session.pgconn.consume_input()
        others = False
        while (notice := session.pgconn.notifies()) is not None:
            others |= notice.extra != self._writer
        return others


@contextlib.contextmanager
def _closed_on_error(session: Session) -> Iterator[None]:
    try:
        yield
    except BaseException:
        session.close()
        raise
