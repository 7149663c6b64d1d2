"""Sessions at one PostgreSQL server: bounded in number and in time, and safe to lose."""

import contextlib
import math
import select
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import errors, pq
from psycopg.abc import RV, PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from muniment.errors import ConfigInvalid, LogInvalid, LogUnavailable

#: the oldest server with `pg_checkpoint`, which makes an erasure real
_OLDEST = 15
#: sessions in use at once; the others wait for their turn
_AT_ONCE = 16
#: seconds between two tries to reach a server that is gone; meanwhile every call fails at once
_PAUSE = 1.0
#: how often a waiting thread looks whether it was interrupted
_TICK = 0.1
#: characters of a trouble that are worth telling
_ENOUGH = 300

#: What has to hold of the server, and the settings of our session, in one statement.
_GREETING: LiteralString = """
    SELECT current_setting('fsync'), current_setting('full_page_writes'), pg_is_in_recovery(),
           (SELECT system_identifier::text FROM pg_control_system()),
           set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                      WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false),
           (SELECT count(set_config(name, value, false))
              FROM unnest(%s::text[], %s::text[]) AS wanted (name, value))
"""


class NoAnswer(psycopg.OperationalError):
    """no answer in time"""


class Session(psycopg.Connection[TupleRow]):
    """A connection that waits for no answer longer than its patience, and is closed then."""

    #: seconds for one exchange
    patience: float | None = None

    def wait(self, gen: PQGen[RV], interval: float = _TICK, timeout: float | None = None) -> RV:
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except errors._WaitTimeout:  # noqa: SLF001 (what `wait` documents that it raises)
            # what was asked may still be carried out: nothing more is to be asked on this session
            self.close()
            raise NoAnswer("no answer in time") from None

    def rows(
        self, query: LiteralString, values: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[TupleRow]:
        return self.execute(query, values, binary=True).fetchall()

    @property
    def usable(self) -> bool:
        """Whether an idle session can be used again: the server has not said goodbye."""
        if self.closed or self.pgconn.transaction_status != pq.TransactionStatus.IDLE:
            return False
        # a server speaks to an idle client only to hang up, but for what it was asked to notify of
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return not poll.poll(0)


class Connections:
    """
    All sessions of one store. Any thread may borrow one; none is held between two calls.

    When the server cannot be reached, calls fail at once until a thread of its own has reached it
    again: some of them come from an event loop, which must not wait for it. Every failure is raised
    as `LogUnavailable`, or as `LogInvalid` where the server says that the data contradicts what it
    has. No text of them holds the password.
    """

    def __init__(self, conninfo: str, *, place: str, application: str, lease: float) -> None:
        """
        Connects to nothing yet. `place` is what messages call the server.

        Raises `ConfigInvalid` if the connection string cannot be read.
        """
        self.place = place
        self.lease = lease
        #: of the cluster, the same for a standby of it; known once connected
        self.identity = ""
        self._parameters = _parameters(conninfo, place, application, lease)
        self._password = str(self._parameters.get("password") or "")
        self._mutex = threading.Lock()
        self._turns = threading.BoundedSemaphore(_AT_ONCE)
        self._idle: list[Session] = []
        #: grows when all sessions are to be dropped; those that are lent are closed on return
        self._generation = 0
        #: why calls fail at once; None while they do not
        self._down: str | None = None
        self._closed = threading.Event()

    @contextlib.contextmanager
    def lent(self) -> Iterator[Session]:
        """A session; it is kept for others unless it is left in the middle of something."""
        if not self._turns.acquire(timeout=4 * self.lease):
            raise LogUnavailable(f"{self.place}: all sessions have been busy for too long")
        try:
            generation, session = self._taken()
            try:
                with self.telling():
                    yield session
            finally:
                self._give_back(generation, session)
        finally:
            self._turns.release()

    def alone(self) -> Session:
        """A session of the caller's own, who closes it. Raises `LogUnavailable`."""
        if self._closed.is_set():
            raise LogUnavailable(f"{self.place}: closed")
        if self._down is not None:
            raise LogUnavailable(self._down)
        try:
            return self._connected()
        except LogUnavailable as error:
            self._go_down(str(error))
            raise

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Turns every failure into an error of ours."""
        try:
            yield
        except (psycopg.Error, OSError) as error:
            # `from None`: psycopg's errors hold the server's whole answer, values included
            raise self._told(error) from None

    def reopen(self) -> None:
        """Drop all sessions and connect anew, whatever is known of the server."""
        self._drop()
        try:
            session = self._connected()
        except LogUnavailable as error:
            self._go_down(str(error))
            raise
        with self._mutex:
            self._down = None
        self._give_back(self._generation, session)

    def close(self) -> None:
        self._closed.set()
        self._drop()

    # --- taking and giving back

    def _taken(self) -> tuple[int, Session]:
        while True:
            with self._mutex:
                generation = self._generation
                session = self._idle.pop() if self._idle else None
            if session is None:
                return generation, self.alone()
            if session.usable:
                return generation, session
            session.close()

    def _give_back(self, generation: int, session: Session) -> None:
        if session.closed:
            self._drop()  # what became of this one has probably become of the others
            return
        idle = session.pgconn.transaction_status == pq.TransactionStatus.IDLE
        with self._mutex:
            if idle and generation == self._generation and not self._closed.is_set():
                self._idle.append(session)
                return
        session.close()

    def _drop(self) -> None:
        with self._mutex:
            self._generation += 1
            dropped, self._idle = self._idle, []
        for session in dropped:
            session.close()

    # --- a server that is gone

    def _go_down(self, why: str) -> None:
        with self._mutex:
            known, self._down = self._down is not None, why
        if not known:
            threading.Thread(target=self._look, name="muniment-postgresql", daemon=True).start()

    def _look(self) -> None:
        """Until the server is there again, or somebody else has reached it."""
        while not self._closed.wait(_PAUSE):
            if self._down is None:
                return
            try:
                session = self._connected()
            except LogUnavailable as error:
                with self._mutex:
                    if self._down is not None:
                        self._down = str(error)
                continue
            with self._mutex:
                self._down = None
            self._give_back(self._generation, session)
            return

    # --- connecting

    def connect_first(self) -> None:
        """Raises `ConfigInvalid` where the server is not one to keep a log on; says what to do."""
        with self.telling():
            session = Session.connect(**self._parameters)
        try:
            with self.telling():
                self.identity = self._greet(session)
        except BaseException:
            session.close()
            raise
        self._give_back(self._generation, session)

    def _connected(self) -> Session:
        with self.telling():
            session = Session.connect(**self._parameters)
            try:
                identity = self._greet(session)
                if identity != self.identity:
                    raise LogUnavailable(f"{self.place}: another server answers than at the start")
            except BaseException as error:
                session.close()
                if isinstance(error, ConfigInvalid):
                    raise LogUnavailable(str(error)) from None
                raise
        return session

    def _greet(self, session: Session) -> str:
        session.patience = 4 * self.lease
        if session.info.server_version < _OLDEST * 10_000:
            raise ConfigInvalid(f"{self.place} is older than PostgreSQL {_OLDEST}: upgrade it")
        settings = _settings(self.lease)
        values = (list(settings), list(settings.values()))
        fsync, whole_pages, standby, identity, *_ = session.rows(_GREETING, values)[0]
        for name, value in (("fsync", fsync), ("full_page_writes", whole_pages)):
            if value != "on":
                raise ConfigInvalid(
                    f"{self.place} runs with `{name} = {value}` and loses what it has promised to "
                    f"keep when the power goes: `ALTER SYSTEM SET {name} = on`, then reload it"
                )
        if standby:
            raise LogUnavailable(
                f"{self.place}: a standby answers, which cannot be written to; let the connection "
                "string lead to the primary (`target_session_attrs=read-write` chooses among hosts)"
            )
        return str(identity)

    def _told(self, error: psycopg.Error | OSError) -> LogInvalid | LogUnavailable:
        said = error.diag.message_primary if isinstance(error, psycopg.Error) else error.strerror
        text = said or str(error).strip().partition("\n")[0] or type(error).__name__
        if self._password:
            text = text.replace(self._password, "…")
        kind = LogInvalid if isinstance(error, psycopg.IntegrityError) else LogUnavailable
        if isinstance(error, NoAnswer):
            self._go_down(f"{self.place}: {text}")
        return kind(f"{self.place}: {text[:_ENOUGH]}")


@contextlib.contextmanager
def transaction(session: Session) -> Iterator[None]:
    """Committed when the block is left without an error; rolled back when left with one."""
    session.execute("BEGIN")
    with rolled_back_on_error(session):
        yield
        commit(session)


@contextlib.contextmanager
def rolled_back_on_error(session: Session) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if not session.closed:
            with contextlib.suppress(psycopg.Error):
                session.execute("ROLLBACK")
        raise


def commit(session: Session) -> None:
    with surely(session):
        if session.execute("COMMIT").statusmessage != "COMMIT":
            raise LogUnavailable("the database took the transaction back")


@contextlib.contextmanager
def surely(session: Session) -> Iterator[None]:
    """
    For what has to be durable when the block is left.

    Where a synchronous standby is asked for and somebody cuts the wait for it short, the server
    commits all the same and merely warns of it.
    """
    warnings: list[str] = []

    def heed(diagnostic: errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            warnings.append(diagnostic.message_primary or "a warning")

    session.add_notice_handler(heed)
    try:
        yield
    finally:
        session.remove_notice_handler(heed)
    if warnings:
        raise LogUnavailable(f"whether it is durable is unknown: {warnings[0]}")


def _parameters(conninfo: str, place: str, application: str, lease: float) -> dict[str, Any]:
    try:
        given = conninfo_to_dict(conninfo)
    except psycopg.Error:
        # `from None`: the parser quotes what it cannot read, which may be the password
        raise ConfigInvalid(
            f"the connection string of {place} cannot be read: write `host=… dbname=… user=…`, or "
            "a `postgresql://` URL with special characters percent-encoded"
        ) from None
    if any("@" in str(given.get(name, "")) for name in ("host", "hostaddr", "port", "dbname")):
        # a password with an unescaped `@` in a URL: its rest would be told as the name of a host
        raise ConfigInvalid(
            f"the connection string of {place} cannot be read: percent-encode `@`, `:` and `/` in "
            "its password, or write `host=… dbname=… user=…`"
        )
    whole = max(1, math.ceil(lease / 4))
    ours: dict[str, Any] = {
        "connect_timeout": max(2, math.ceil(lease)),
        # a network that is cut is noticed within about a lease
        "keepalives": 1,
        "keepalives_idle": whole,
        "keepalives_interval": whole,
        "keepalives_count": 2,
        "tcp_user_timeout": int(1000 * lease),
    }
    return {
        **ours,
        **given,
        "application_name": application,
        "client_encoding": "UTF8",
        "autocommit": True,
    }


def _settings(lease: float) -> dict[str, str]:
    """Of every session of ours, in force before its first statement."""
    whole, milliseconds = str(max(1, math.ceil(lease / 4))), int(1000 * lease)
    return {
        "search_path": "muniment, pg_temp",
        "default_transaction_isolation": "read committed",
        "default_transaction_read_only": "off",
        "timezone": "UTC",
        # whoever stops in the middle of a transaction keeps nobody waiting longer than a lease
        "idle_in_transaction_session_timeout": str(milliseconds),
        "idle_session_timeout": "0",
        "lock_timeout": str(2 * milliseconds),
        "statement_timeout": str(3 * milliseconds),
        # the server, too, notices that the network is cut
        "tcp_keepalives_idle": whole,
        "tcp_keepalives_interval": whole,
        "tcp_keepalives_count": "2",
        "tcp_user_timeout": str(milliseconds),
    }
