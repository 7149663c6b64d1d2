"""
Have what was deleted leave the files of the server, too.

A deleted row stays in its table's file until the table is rewritten, and everything that was ever
written stays in the write-ahead log until its segments are removed. So the shelf is rewritten, the
log begins a new segment, and a checkpoint removes all segments before it. Each step is looked at
afterwards: a server warns at most, where a transaction, a replication slot or a setting keeps more.
"""

import contextlib
import re
import threading
from collections.abc import Iterator
from typing import Final, LiteralString

from psycopg import errors

from muniment.errors import LogUnavailable
from muniment.stores.postgresql.connections import Connections, Session, surely

_SHELVES = 64
#: entries whose sections lie together, so that one batch writes to one shelf
_RUN = 1024
#: seconds for the rewriting of a shelf and for a checkpoint
_PATIENCE = 600
_TRIES = 5
#: segments of the write-ahead log that may lie ready to be written to: 16 GiB
_MOST_AHEAD = 1024

_READ_UNFINISHED: LiteralString = "SELECT idx, name FROM tombstones WHERE NOT gone"
_FINISH: LiteralString = "UPDATE tombstones SET gone = true WHERE idx = %s AND name = %s"
_READ_READY: LiteralString = """
    SELECT current_setting('wal_recycle') = 'off',
           pg_has_role('pg_checkpoint', 'USAGE')
             AND has_function_privilege('pg_switch_wal()', 'EXECUTE')
             AND has_function_privilege('pg_ls_waldir()', 'EXECUTE')
"""
_REWRITE: LiteralString = "VACUUM (FULL, VERBOSE) {}_{}"
#: of events: shelves that still have to be rewritten
_READ_SHELVES: LiteralString = "SELECT shelf, xact FROM unfinished"
_FINISH_SHELF: LiteralString = "DELETE FROM unfinished WHERE shelf = %s AND xact = %s"
#: Something has to be written, or the server does not begin a new segment.
_TOUCH: LiteralString = "SELECT pg_current_xact_id()"
_GIVE_UP: LiteralString = "SELECT set_config('lock_timeout', %s, false)"
_SWITCH: LiteralString = "SELECT pg_switch_wal()"
#: The segments before and after the one that is written to, of whatever timeline.
_READ_SEGMENTS: LiteralString = """
    WITH current (segment) AS (
      SELECT substr(pg_walfile_name(pg_current_wal_insert_lsn() + 1), 9)
    )
    SELECT count(*) FILTER (WHERE substr(name, 9, 16) < segment),
           count(*) FILTER (WHERE substr(name, 9, 16) > segment)
      FROM pg_ls_waldir(), current WHERE name ~ '^[0-9A-F]{24}'
"""
_MAY: Final = "run the SQL of `muniment migrate --sql {}` again, as a superuser"
#: what is erased from each table, and the kind of its database
_ERASED: Final = {"sections": ("section", "log"), "contents": ("event", "events")}
_RECYCLES: Final = "`ALTER SYSTEM SET wal_recycle = off; SELECT pg_reload_conf()`"


def shelf_of(index: int) -> int:
    """Where the sections of an entry lie: a part of the table that is rewritten as a whole."""
    return index // _RUN % _SHELVES


def lacks_for_erasing(connections: Connections, kind: str = "log") -> list[str]:
    """What stands in the way of erasing anything from the server's files: what to do about it."""
    with connections.lent() as session:
        removes, may = session.rows(_READ_READY)[0]
    return [*([] if removes else [_RECYCLES]), *([] if may else [_MAY.format(kind)])]


def finish_erasures(connections: Connections) -> None:
    """
    For every tombstone whose bytes may still be somewhere.

    Raises `LogUnavailable` saying what is in the way; what is left is done by the next call.
    """
    with connections.lent() as session:
        unfinished = session.rows(_READ_UNFINISHED)
    if not unfinished:
        return
    with _rewritten(
        connections, "sections", {shelf_of(index) for index, _ in unfinished}
    ) as session:
        session.cursor().executemany(_FINISH, unfinished)


def finish_shelves(connections: Connections) -> None:
    """The same for events: of shelves from which something was erased."""
    with connections.lent() as session:
        unfinished = session.rows(_READ_SHELVES)
    if not unfinished:
        return
    with _rewritten(connections, "contents", {shelf for shelf, _ in unfinished}) as session:
        # a shelf from which something was erased meanwhile has another transaction, and stays
        session.cursor().executemany(_FINISH_SHELF, unfinished)


@contextlib.contextmanager
def _rewritten(
    connections: Connections, table: LiteralString, shelves: set[int]
) -> Iterator[Session]:
    """What was deleted from these is in no file; the block says so, durably."""
    session = connections.alone()
    try:
        with connections.telling():
            session.patience = _PATIENCE
            session.execute("SET statement_timeout = 0")
            # whoever appends waits behind us, for as long as a backup or another keeps us waiting
            session.execute(_GIVE_UP, (str(int(100 * connections.lease)),))
            for shelf in shelves:
                _rewrite(session, table, shelf)
            _remove_segments(session, table)
            with surely(session):
                yield session
    finally:
        session.close()


def _rewrite(session: Session, table: LiteralString, shelf: int) -> None:
    for _ in range(_TRIES):
        with contextlib.suppress(errors.LockNotAvailable):
            if _rows_kept(session, table, shelf) == 0:
                return
        # a statement of any session in this database may still see them, mostly for milliseconds
        threading.Event().wait(0.1)
    raise LogUnavailable(
        f"an erased {_ERASED[table][0]} is still in the database's files: a backup, a long "
        "transaction, a prepared one or a replication slot can still see it; end that, and erase "
        "it again"
    )


def _rows_kept(session: Session, table: LiteralString, shelf: int) -> int:
    """Rewrite a shelf; the number of deleted rows that had to be kept, by the server's words."""
    counts: list[int] = []
    warnings: list[str] = []

    def hear(diagnostic: errors.Diagnostic) -> None:
        # "DETAIL: 0 dead row versions cannot be removed yet." in whatever language
        if found := re.search(r"\d+", diagnostic.message_detail or ""):
            counts.append(int(found[0]))
        else:
            warnings.append(diagnostic.message_primary or "")

    session.add_notice_handler(hear)
    try:
        session.execute(_REWRITE.format(table, shelf))
    finally:
        session.remove_notice_handler(hear)
    if not counts:
        what, kind = _ERASED[table]
        why = ": ".join([f"a shelf of {what}s cannot be rewritten", *warnings])
        raise LogUnavailable(f"{why}; {_MAY.format(kind)}")
    return sum(counts)


def _remove_segments(session: Session, table: str) -> None:
    what, kind = _ERASED[table]
    if session.rows("SELECT current_setting('wal_recycle')")[0][0] != "off":
        raise LogUnavailable(
            f"an erased {what} is still in the server's write-ahead log, as old files of it are "
            f"used again: {_RECYCLES}, then erase it again"
        )
    try:
        _begin_segment(session)
        session.execute("CHECKPOINT")
        before, _ = session.rows(_READ_SEGMENTS)[0]
    except errors.InsufficientPrivilege as error:
        raise LogUnavailable(
            f"an erased {what} is still in the server's write-ahead log "
            f"({error.diag.message_primary}): {_MAY.format(kind)}"
        ) from None
    if before:
        raise LogUnavailable(
            f"an erased {what} is still in the server's write-ahead log: a replication slot, the "
            "archiver, `wal_keep_size` or `summarize_wal` keeps old files of it; look at "
            "pg_replication_slots and pg_stat_archiver, then erase it again"
        )


def _begin_segment(session: Session) -> None:
    """
    One that was never written to before.

    Segments that lie ready may be old ones under a new name, from a time before `wal_recycle` was
    off: each is begun and left again, and what the server leaves unwritten it fills with zeros.
    """
    for _ in range(_MOST_AHEAD):
        _, ahead = session.rows(_READ_SEGMENTS)[0]
        session.execute(_TOUCH)
        session.execute(_SWITCH)
        if not ahead:
            return
    raise LogUnavailable("the server's write-ahead log has too many files that lie ready")
