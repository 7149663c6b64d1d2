"""What a log is kept in, as the settings say: files beside this process, or PostgreSQL."""

import contextlib
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from muniment.errors import ConfigInvalid, LogUnavailable
from muniment.evidence.store import ErasureLedger, HeadStore, LogStore, SharedHeadStore
from muniment.oversight.event_store import EventStore
from muniment.oversight.siem import Cursors
from muniment.ports import Halt, Projections
from muniment.runtime.settings import Settings, read_secret
from muniment.runtime.store_section import StoreSection
from muniment.stores.head_file import HaltFile, HeadFile, LedgerFile
from muniment.stores.read_only import ReadOnlyStore
from muniment.stores.sqlite import SQLiteStore


class Store(LogStore, Projections, Cursors, Protocol):
    """The database: the log, the lists beside it, and how far others were told of it."""

    def close(self) -> None: ...


class StoredHalt(Halt, Protocol):
    """What others remember against this log, kept over restarts."""

    def why(self) -> str | None:
        """None while nothing speaks against the log."""
        ...


@dataclass(frozen=True, kw_only=True)
class LogStores:
    """The database, and what lies apart from it."""

    database: Store
    heads: HeadStore
    #: the same head store, where other nodes write to it too
    shared: SharedHeadStore | None
    ledger: ErasureLedger
    halted: StoredHalt
    #: free bytes where the database lies, as far as that can be seen from here
    space: Callable[[], int]
    close: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class PostgreSQLStores(LogStores):
    """Both databases of `[store]`."""

    #: the log in a SQLite file goes in, where there is none; how many rows by table
    copy_in: Callable[[Path], Mapping[str, int]]
    #: the log, as it stands at this moment, goes to a new SQLite file; likewise
    copy_out: Callable[[Path], Mapping[str, int]]
    #: what stands in the way of erasing anything from the server's files
    lacks_for_erasing: Callable[[], list[str]]


def open_stores(folder: Path, settings: Settings) -> LogStores:
    """Raises `ConfigInvalid`, `LogInvalid` or `LogUnavailable` saying what to do."""
    if settings.store is not None:
        return open_postgresql(folder, settings.store)
    with contextlib.ExitStack() as held:
        return _in_files(folder, settings, held)


def open_postgresql(folder: Path, section: StoreSection) -> PostgreSQLStores:
    """Raises as `open_stores` does."""
    with contextlib.ExitStack() as held:
        return _in_postgresql(folder, section, held)


class EventDatabase(EventStore, Protocol):
    """Where events lie in PostgreSQL."""

    def lacks_for_erasing(self) -> list[str]:
        """What stands in the way of erasing anything from the server's files."""
        ...


def open_event_database(folder: Path, section: StoreSection) -> EventDatabase | None:
    """What sources said; None where no database of `[store]` is for it. Raises likewise."""
    if section.events is None:
        return None
    with _driver():
        from muniment.stores.postgresql.events import PostgreSQLEventStore  # noqa: PLC0415 (an extra)
    conninfo = read_secret(section.events, "store.events", folder).reveal()
    return PostgreSQLEventStore(conninfo, node_name(), section.lease.total_seconds())


@contextlib.contextmanager
def _driver() -> Iterator[None]:
    """The driver is an extra, which a log in files does not need."""
    try:
        yield
    except ImportError as error:
        raise ConfigInvalid(
            f"`[store]` needs `{error.name}`: pip install 'muniment[postgresql]'"
        ) from error


@contextlib.contextmanager
def reading(folder: Path, settings: Settings) -> Iterator[LogStore]:
    """The log, to look at beside a running service; of files nothing is made or migrated."""
    if settings.store is None:
        with contextlib.closing(ReadOnlyStore(find_database(folder, settings))) as found:
            yield found
    else:
        with contextlib.closing(open_postgresql(folder, settings.store)) as stores:
            yield stores.database


def _in_files(folder: Path, settings: Settings, held: contextlib.ExitStack) -> LogStores:
    """What is `held` is closed if anything goes wrong, and by the result if nothing does."""
    paths, path = settings.paths, find_database(folder, settings)
    database = held.enter_context(contextlib.closing(SQLiteStore(path)))
    heads = held.enter_context(contextlib.closing(HeadFile(folder / paths.head)))
    ledger = LedgerFile(folder / paths.erasures)
    ledger.check()
    return LogStores(
        database=database,
        heads=heads,
        shared=None,
        ledger=ledger,
        halted=HaltFile(folder / paths.head.with_name("contradicted")),
        space=lambda: shutil.disk_usage(path.parent).free,
        close=held.pop_all().close,
    )


def _in_postgresql(
    folder: Path, section: StoreSection, held: contextlib.ExitStack
) -> PostgreSQLStores:
    with _driver():
        from muniment.stores.postgresql import erasing, transfer  # noqa: PLC0415 (an extra)
        from muniment.stores.postgresql.heads import (  # noqa: PLC0415 (see above)
            SharedHalt,
            SharedHeads,
            SharedLedger,
        )
        from muniment.stores.postgresql.store import PostgreSQLStore  # noqa: PLC0415 (see above)
    lease = section.lease.total_seconds()
    log = read_secret(section.log, "store.log", folder).reveal()
    remembered = read_secret(section.heads, "store.heads", folder).reveal()
    database = held.enter_context(contextlib.closing(PostgreSQLStore(log, node_name(), lease)))
    heads = held.enter_context(contextlib.closing(SharedHeads(remembered, lease)))
    if heads.server_identity == database.server_identity:
        raise ConfigInvalid(
            "`store.heads` is on the server of `store.log`, or on a standby of it: what takes one "
            "back takes back the other, and nothing would remember. Name a database on a server "
            "of its own"
        )
    return PostgreSQLStores(
        database=database,
        heads=heads,
        shared=heads,
        ledger=SharedLedger(heads),
        halted=SharedHalt(heads),
        # a client cannot see it: whoever runs the database watches over its disk
        space=lambda: 1 << 62,
        copy_in=partial(transfer.copy_in, target=database.connections),
        copy_out=partial(transfer.copy_out, database.connections),
        lacks_for_erasing=partial(erasing.lacks_for_erasing, database.connections),
        close=held.pop_all().close,
    )


def find_database(folder: Path, settings: Settings) -> Path:
    """The file that holds the log. Raises `ConfigInvalid` where there is none."""
    path = folder / settings.paths.database
    try:
        if not path.exists():
            raise ConfigInvalid(f"there is no log at `{path}`; `muniment init` makes one")
    except OSError as error:
        raise LogUnavailable(f"`{error.filename}` cannot be opened: {error.strerror}") from error
    return path


def node_name() -> str:
    """Tells this process from others on the same log; containers may share host name and pid."""
    return f"{socket.gethostname()[:40]}/{os.getpid()}/{secrets.token_hex(3)}"
