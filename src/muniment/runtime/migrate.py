"""
Move a log from files to PostgreSQL, and prove that it is the same log.

The way is one-way: what stays behind in the files signs nothing any more, so that a log never comes
to have two histories. Every step may be repeated; what was cut short is finished by the next try.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from muniment.errors import ConfigInvalid, Conflict, EvidenceError, LogInvalid
from muniment.evidence.audit import Audited, audit
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint
from muniment.evidence.merkle import Frontier
from muniment.evidence.note import VerifierKey
from muniment.evidence.store import LogStore
from muniment.evidence.tree import StoredTree
from muniment.operations.erase import EVENTS
from muniment.oversight.event_store import EventStore
from muniment.runtime.backup import public_key, read_vkey
from muniment.runtime.log_stores import (
    LogStores,
    PostgreSQLStores,
    find_database,
    open_event_database,
    open_postgresql,
)
from muniment.runtime.move_events import MovedEvents, move_events
from muniment.runtime.settings import Settings, read_settings
from muniment.runtime.store_section import StoreSection
from muniment.stores.events import SQLiteEventStore
from muniment.stores.head_file import MOVED, HaltFile, HeadFile, LedgerFile
from muniment.stores.one_server import OneServer
from muniment.stores.read_only import ReadOnlyStore


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A log in its new place, and what shows that it is the same."""

    #: leaf hash of its first entry
    log_id: bytes
    #: over all entries, as it was signed before: byte for byte the same
    note: bytes
    #: everything that was read in the new place, and held
    audited: Audited
    #: rows that were copied, by table; empty where an earlier try had copied them
    copied: Mapping[str, int]
    #: what the head store had remembered before; None where it was new
    remembered: Checkpoint | None
    #: where it says that the files sign nothing any more
    left: Path
    #: what sources said, copied; None where there is nothing, or an earlier try has moved it
    events: MovedEvents | None = None

    @property
    def size(self) -> int:
        return self.audited.checkpoint.size if self.audited.checkpoint is not None else 0


def migrate(folder: Path) -> Moved:
    """
    Move the log of an installation to the PostgreSQL of its `[store]`.

    Raises `ConfigInvalid`, `Conflict` where a service runs on the files or another log is in the
    way, and `LogInvalid` where something does not hold; then the files go on as they were.
    """
    settings = read_settings(folder)
    if settings.store is None:
        raise ConfigInvalid("nothing names where to: set `[store]` in `muniment.toml` first")
    database = find_database(folder, settings)
    with contextlib.ExitStack() as held:
        held.enter_context(_held(database))
        events = _open_events(folder, settings, settings.store, held)
        stores = held.enter_context(contextlib.closing(open_postgresql(folder, settings.store)))
        head = stores.heads.read()
        return _move(_Files.of(folder, settings, database, head), stores, head, events)


def _open_events(
    folder: Path, settings: Settings, section: StoreSection, held: contextlib.ExitStack
) -> tuple[EventStore, EventStore] | None:
    """Where what sources said lies, and where it is to lie; None where there is nothing."""
    path = folder / settings.paths.events
    if not path.exists():
        return None
    new = open_event_database(folder, section)
    if new is None:
        raise ConfigInvalid(
            f"what sources said lies in `{path}`: name a database to move it to, `store.events`, "
            "whose tables the SQL of `muniment migrate --sql events` makes"
        )
    held.callback(new.close)
    return held.enter_context(contextlib.closing(SQLiteEventStore(path))), new


def _move(
    files: "_Files",
    stores: PostgreSQLStores,
    head: bytes | None,
    events: tuple[EventStore, EventStore] | None,
) -> Moved:
    if (why := stores.halted.why()) is not None:
        raise LogInvalid(why)
    remembered = _check_beginning(files, head)
    _check_signs(files, stores)
    copied = stores.copy_in(files.path) if stores.database.tail() is None else {}
    moved = _check_same(files, stores)
    for erasure in files.ledger.erasures():
        stores.ledger.add(*erasure)
    told = None
    if events is not None and files.halt.why() is None:  # else it was done by an earlier try
        told = move_events(*events, stores.database)
    # the files sign nothing any more, and only then others may sign: never both
    files.halt.keep(MOVED, files.note)
    with stores.heads.lock():
        stores.heads.write(files.note, files.newest.size)
    return Moved(
        log_id=files.log_id,
        note=files.note,
        audited=moved,
        copied=copied,
        remembered=remembered,
        left=files.halt.path,
        events=told,
    )


@dataclass(frozen=True, kw_only=True)
class _Files:
    """A log in files that nobody has open, all of it checked."""

    path: Path
    key: VerifierKey
    ledger: LedgerFile
    halt: HaltFile
    log_id: bytes
    #: the newest signed checkpoint, and what it says
    note: bytes
    newest: Checkpoint
    audited: Audited

    @classmethod
    def of(
        cls, folder: Path, settings: Settings, database: Path, remembered: bytes | None
    ) -> "_Files":
        """
        Raises `LogInvalid` where the log, its head store and its ledger do not agree.

        What was restored for a head store in PostgreSQL, which has `remembered` it, needs neither.
        """
        paths = settings.paths
        key = read_vkey(public_key(folder, settings))
        ledger = LedgerFile(folder / paths.erasures)
        if remembered is None:
            ledger.check()
        head = _head_of(folder / paths.head)
        if head is None and remembered is None:
            raise LogInvalid(
                f"the head store `{folder / paths.head}` remembers nothing of this log"
            )
        kept = [head] if head is not None else []
        with contextlib.closing(ReadOnlyStore(database)) as store:
            audited, tail = audit(store, key, kept, full=True), store.tail()
            if not audited.holds or audited.checkpoint is None or tail is None:
                raise LogInvalid(f"the log in `{database}` does not hold: {audited.bad}")
            _check_erased(store, ledger, audited)
            log_id = store.leaves(0, 1)
        return cls(
            path=database,
            key=key,
            ledger=ledger,
            halt=HaltFile(folder / paths.head.with_name("contradicted")),
            log_id=log_id,
            note=tail.checkpoint,
            newest=audited.checkpoint,
            audited=audited,
        )


def _head_of(path: Path) -> bytes | None:
    """What a head store in a file remembers; none is made here."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        return None
    with contextlib.closing(HeadFile(path)) as heads:
        return heads.read()


def _check_erased(store: LogStore, ledger: LedgerFile, audited: Audited) -> None:
    """No byte that was to be erased is carried to another place."""
    if audited.unfinished:
        record, name = audited.unfinished[0]
        raise LogInvalid(
            f"section `{name}` of {record} is recorded as erased and still there: start the "
            "service on the files once, which finishes that, then migrate"
        )
    for record, name, _ in ledger.erasures():
        case, _, position = record.partition("/")
        placed = store.case(case, 1 << 62)[int(position) :]
        # of raw events the record itself says that they went
        if not placed or (name != EVENTS and name not in store.erased(placed[0][0])):
            raise LogInvalid(
                f"the erasure ledger knows that `{name}` of {record} was erased, and this log does "
                "not: this is an older copy of the log"
            )


def _check_beginning(files: _Files, head: bytes | None) -> Checkpoint | None:
    """What the new head store remembers, where it does: it has to be a beginning of this log."""
    if head is None:
        return None
    try:
        known = open_checkpoint(head, files.key.name, [files.key])
    except EvidenceError as error:
        raise LogInvalid(f"`store.heads` remembers another log or key: {error}") from error
    if known.size > files.newest.size:
        raise LogInvalid(
            f"`store.heads` remembers {known.size} entries, but the log in `{files.path}` has "
            f"{files.newest.size}: it was moved before and has grown since, or this is an older "
            "copy of it"
        )
    with contextlib.closing(ReadOnlyStore(files.path)) as store:
        # the audit has held these tiles against the entries
        node = StoredTree(store).at(known.size).node
        if Frontier.at(known.size, node).root() != known.root:
            raise LogInvalid(
                f"`store.heads` remembers another history of the first {known.size} entries"
            )
    return known


def _check_signs(files: _Files, stores: LogStores) -> None:
    """
    What signs nothing in files signs nothing elsewhere.

    But for a log that was moved before, to where the rest of that is to be done.
    """
    why = files.halt.why()
    if why is None:
        return
    if not why.startswith(MOVED):
        raise LogInvalid(why)
    if stores.heads.read() is None and stores.database.tail() is None:
        raise LogInvalid(
            "this log was moved before, and goes on there: `[store]` names another place, which "
            f"knows nothing of it. A second history would begin here ({why})"
        )


def _check_same(files: _Files, stores: LogStores) -> Audited:
    """Everything is read again where it lies now, and held against what was there before."""
    tail = stores.database.tail()
    moved = audit(stores.database, files.key, [files.note], full=True)
    if tail is None or not moved.holds:
        raise LogInvalid(f"the copy in PostgreSQL does not hold: {moved.bad}")
    before = files.audited
    same = {
        "checkpoint": (files.note, tail.checkpoint),
        "first entry": (files.log_id, stores.database.leaves(0, 1)),
        "kept checkpoints": (before.checkpoints, moved.checkpoints),
        "cases": (before.cases, moved.cases),
        "sections": (before.sections, moved.sections),
        "erased sections": (before.erased, moved.erased),
        "documents": (before.documents, moved.documents),
        "indexes of cases": (before.indexes, moved.indexes),
    }
    for what, (old, new) in same.items():
        if old != new:
            raise Conflict(
                f"PostgreSQL holds another log, or a part of one: its {what} differs from that in "
                f"`{files.path}`; name an empty database"
            )
    return moved


@contextlib.contextmanager
def _held(database: Path) -> Iterator[None]:
    """While no service runs on the files. Raises `Conflict` where one does."""
    only = OneServer(database.with_suffix(".lock"))
    try:
        yield
    finally:
        only.release()
