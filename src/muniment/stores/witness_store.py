"""
What a witness remembers, in one SQLite file: WAL, `synchronous=FULL`, compare and set.

The file is made once, by `create`, for one key. It is never made by the way: a witness whose file
is gone has lost its memory, and must not go on under the same key.
"""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from muniment.errors import Conflict, LogInvalid, Unavailable
from muniment.evidence.merkle import HASH_SIZE
from muniment.evidence.note import VerifierKey
from muniment.evidence.witness import Cosigned, Evidence, Outcome
from muniment.stores.migrations import migrate

#: Refused requests kept for one log and one outcome: the oldest stay, the rest are counted.
MAX_KEPT: Final = 16

_SCHEMA: Final = "witness"
#: seconds to wait for others who use the file
_PATIENCE: Final = 10.0
_PAUSE: Final = 0.01

INSERT_IDENTITY = "INSERT INTO identity (one, vkey) VALUES (1, ?)"
READ_IDENTITY = "SELECT vkey FROM identity"
READ_HEAD = "SELECT note FROM heads WHERE origin = ?"
READ_NAMED = "SELECT note FROM heads WHERE named = ?"
READ_HEADS = "SELECT origin, note FROM heads ORDER BY origin"
FIRST_HEAD = (
    "INSERT INTO heads (origin, named, size, root, note) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (origin) DO NOTHING"
)
NEXT_HEAD = "UPDATE heads SET size = ?, root = ?, note = ? WHERE origin = ? AND note = ?"
#: the log has proved it after all
CLEAR_REFUSED = "DELETE FROM refused WHERE origin = ? AND size = ? AND root = ?"
#: what had no proof contradicts what has one: the log has signed both
CONVICT_REFUSED = (
    "UPDATE refused SET outcome = ?, cosigned = ? WHERE origin = ? AND size = ? AND outcome = ?"
)
COUNT_REFUSED = "SELECT count(*) FROM refused WHERE origin = ? AND outcome = ?"
KNOWN_REFUSED = "SELECT 1 FROM refused WHERE origin = ? AND size = ? AND root = ?"
_EVIDENCE = "origin, outcome, at, old, proof, size, root, note, cosigned"
INSERT_REFUSED = f"INSERT INTO refused ({_EVIDENCE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 (column names of ours)
READ_REFUSED = f"SELECT {_EVIDENCE} FROM refused ORDER BY origin, at, rowid"  # noqa: S608 (as above)
DROP_REFUSED = (
    "INSERT INTO dropped (origin, outcome, count) VALUES (?, ?, 1)"
    " ON CONFLICT (origin, outcome) DO UPDATE SET count = count + 1"
)
COUNT_KEPT = "SELECT origin, outcome, count(*) FROM refused GROUP BY origin, outcome"
READ_DROPPED = "SELECT origin, sum(count) FROM dropped GROUP BY origin"


class SQLiteWitnessStore:
    """`WitnessStore` on one file, for any thread; other processes may have it open, too."""

    def __init__(self, path: Path, key: VerifierKey) -> None:
        """
        Open what `create` made.

        Raises `LogInvalid` if it is gone, damaged or of another witness; `Unavailable` if it
        cannot be read now.
        """
        if not path.exists():
            raise LogInvalid(
                f"`{path}` is gone, and with it all that this witness remembers: make a new "
                "witness with `muniment witness init`, and have its readers drop the old key"
            )
        self._path = path
        self._mutex = threading.Lock()
        self._opened: sqlite3.Connection | None = None
        with self._connection() as connection:
            migrate(connection, _SCHEMA)
            found = connection.execute(READ_IDENTITY).fetchone()
        if found != (key.vkey,):
            self.close()
            raise LogInvalid(f"`{path}` does not belong to the witness {key.vkey}")

    @classmethod
    def create(cls, path: Path, key: VerifierKey) -> "SQLiteWitnessStore":
        """A store that remembers nothing; raises `Conflict` if the file is there."""
        try:
            # SQLite gives the files beside it the same mode
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            raise Conflict(f"`{path}` is there already") from None
        with contextlib.closing(connect(path)) as connection, _as_our_errors():
            migrate(connection, _SCHEMA)
            connection.execute(INSERT_IDENTITY, (key.vkey,))
        return cls(path, key)

    def close(self) -> None:
        """The last one to close folds the write-ahead log in."""
        with self._mutex:
            self._drop()

    # --- the promises of `WitnessStore` ------------------------------------------------------

    def latest(self, origin: str) -> bytes | None:
        return self._note(READ_HEAD, origin)

    def advance(self, before: bytes | None, after: Cosigned) -> bool:
        head = after.checkpoint
        with self._connection() as connection, _transaction(connection):
            if before is None:
                named = sha256(head.origin.encode()).digest()
                first = (head.origin, named, head.size, head.root, after.note)
                changed = connection.execute(FIRST_HEAD, first).rowcount
            else:
                moved = (head.size, head.root, after.note, head.origin, before)
                changed = connection.execute(NEXT_HEAD, moved).rowcount
            if changed:
                connection.execute(CLEAR_REFUSED, (head.origin, head.size, head.root))
                guilty = (Outcome.FORKED, after.note, head.origin, head.size, Outcome.UNPROVEN)
                connection.execute(CONVICT_REFUSED, guilty)
        return changed == 1

    def keep(self, evidence: Evidence) -> bool:
        kind = (evidence.origin, evidence.outcome)
        with self._connection() as connection, _transaction(connection):
            head = (evidence.origin, evidence.size, evidence.root)
            if connection.execute(KNOWN_REFUSED, head).fetchone() is not None:
                return False
            (kept,) = connection.execute(COUNT_REFUSED, kind).fetchone()
            if kept >= MAX_KEPT:
                connection.execute(DROP_REFUSED, kind)
                return False
            connection.execute(
                INSERT_REFUSED,
                (
                    *kind, evidence.at, evidence.old, b"".join(evidence.proof),
                    evidence.size, evidence.root, evidence.note, evidence.cosigned,
                ),
            )  # fmt: skip
        return True

    # --- for monitors and the operator -------------------------------------------------------

    def named(self, name: bytes) -> bytes | None:
        """The note cosigned last for the log whose origin has this SHA-256."""
        return self._note(READ_NAMED, name)

    def heads(self) -> dict[str, bytes]:
        """The notes cosigned last, by origin."""
        with self._connection() as connection:
            return dict(connection.execute(READ_HEADS).fetchall())

    def evidence(self) -> list[Evidence]:
        """What is kept of refused requests, by origin, the oldest first."""
        with self._connection() as connection:
            return [_evidence(row) for row in connection.execute(READ_REFUSED)]

    def kept(self) -> dict[tuple[str, Outcome], int]:
        """How much evidence there is, by origin and outcome."""
        with self._connection() as connection:
            rows = connection.execute(COUNT_KEPT).fetchall()
        return {(origin, Outcome(outcome)): count for origin, outcome, count in rows}

    def dropped(self) -> dict[str, int]:
        """By origin, how many more there were than are kept; some may have come twice."""
        with self._connection() as connection:
            return dict(connection.execute(READ_DROPPED).fetchall())

    # --- connections -------------------------------------------------------------------------

    def _note(self, query: str, value: str | bytes) -> bytes | None:
        with self._connection() as connection:
            row = connection.execute(query, (value,)).fetchone()
        return None if row is None else row[0]

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._mutex, _as_our_errors():
            if self._opened is None:
                self._opened = connect(self._path)
            try:
                yield self._opened
            except BaseException:
                # what stands in the file after an error is for a new connection to find out
                self._drop()
                raise

    def _drop(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()


def connect(path: Path) -> sqlite3.Connection:
    """
    A connection whose commits wait for the disk; to a file that exists.

    What an earlier process wrote before a failed `fsync` can be read, from the memory of the
    system, and may yet not be on the disk; nor does another `fsync` bring it there. So all that is
    seen is written anew first, into the database itself.
    """
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(
        uri, uri=True, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "recursive_triggers=ON"):
            connection.execute(f"PRAGMA {pragma}")
        _write_back(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _write_back(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy:
            return
        # https://sqlite.org/c3ref/wal_checkpoint_v2.html: for another one that is doing the same,
        # SQLite does not wait by itself, and nothing tells when it is done
        if time.monotonic() > deadline:
            raise sqlite3.OperationalError("others use it")
        time.sleep(_PAUSE)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of the block or nothing of it; left by an error, its end is the connection's."""
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("COMMIT")


@contextlib.contextmanager
def _as_our_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError) or type(error) is sqlite3.DatabaseError:
            raise LogInvalid(f"the memory of this witness is damaged: {error}") from error
        raise Unavailable(f"the memory of this witness does not answer: {error}") from error


def _evidence(row: tuple[Any, ...]) -> Evidence:
    origin, outcome, at, old, proof, size, root, note, cosigned = row
    hashes = tuple(proof[i : i + HASH_SIZE] for i in range(0, len(proof), HASH_SIZE))
    return Evidence(
        origin=origin, outcome=Outcome(outcome), at=at, old=old, proof=hashes,
        size=size, root=root, note=note, cosigned=cosigned,
    )  # fmt: skip
