"""An intake of events that keeps records and cursor together, in a database that no kill tears."""

import asyncio
import gzip
import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from muniment.errors import Conflict, Unavailable, Unreadable
from muniment.oversight.event import MAX_RECORD, Event, Reader, ReaderSettings


@dataclass(frozen=True)
class Counted:
    kept: int
    rejected: int


class Lines:
    """Reads lines; of a body, those of it, or the elements of a JSON array."""

    kind: ClassVar[str] = "lines"

    def __init__(self, _settings: ReaderSettings | None = None) -> None:
        #: what comes up to the next end of a line belongs to one that was too long
        self._passing = False

    def cut(self, buffer: bytes) -> tuple[list[bytes], bytes]:
        *records, rest = buffer.split(b"\n")
        if self._passing:
            if not records:
                return [], b""
            records, self._passing = records[1:], False
        if len(rest) > MAX_RECORD:
            self._passing = True
            return [*records, rest], b""
        return records, rest

    def unpack(self, body: bytes) -> list[bytes]:
        if body.startswith(b"\x1f\x8b"):
            raise Unreadable("this was not unpacked")
        if not body.startswith(b"["):
            return body.splitlines()
        try:
            return [json.dumps(each).encode() for each in json.loads(body)]
        except ValueError as error:
            raise Unreadable("this is no JSON") from error

    def read(self, record: bytes) -> Event:
        if len(record) > MAX_RECORD or b"\0" in record or not record:
            raise Unreadable("this is no line")
        text = record.decode("utf-8", "replace")
        return Event(type="other", at=datetime(2026, 11, 22, tzinfo=UTC), detail=text[:100])


@dataclass
class FakeIntake:
    """Implements `runtime.sources.Intake`; what is rejected is counted, and not kept."""

    #: in memory without one
    path: Path | None = None
    reading: Callable[[], Reader] = Lines
    #: so many times it cannot take anything
    unavailable: int = 0
    misses: list[tuple[str, str, int | None]] = field(default_factory=list)
    #: how often something was handed on, also nothing
    takes: int = 0
    rejected: int = 0
    #: set whenever something was taken
    taken: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._reader = self.reading()
        place = ":memory:" if self.path is None else str(self.path)
        self._database = sqlite3.connect(place, check_same_thread=False, isolation_level=None)
        self._database.executescript(
            "PRAGMA journal_mode = WAL;"
            "CREATE TABLE IF NOT EXISTS record (source TEXT, data BLOB);"
            "CREATE TABLE IF NOT EXISTS cursor (source TEXT PRIMARY KEY, value TEXT);"
            "CREATE TABLE IF NOT EXISTS miss (source TEXT, why TEXT, count INTEGER);"
        )

    async def take(
        self,
        source: str,
        records: Sequence[bytes],
        cursor: str | None = None,
        *,
        after: str | None = None,
    ) -> Counted:
        self.takes += 1
        if self.unavailable:
            self.unavailable -= 1
            raise Unavailable("not now")
        if after not in {None, self.cursor(source) or ""}:
            raise Conflict(f"`{source}` was read on by somebody else")
        kept = [each for each in records if self._reads(each)]
        with self._database:
            self._database.execute("BEGIN")
            self._database.executemany(
                "INSERT INTO record VALUES (?, ?)", ((source, each) for each in kept)
            )
            if cursor is not None:
                self._database.execute(
                    "INSERT INTO cursor VALUES (?, ?) "
                    "ON CONFLICT (source) DO UPDATE SET value = excluded.value",
                    (source, cursor),
                )
        self.rejected += len(records) - len(kept)
        self.taken.set()
        return Counted(len(kept), len(records) - len(kept))

    def cursor(self, source: str) -> str | None:
        row = self._database.execute(
            "SELECT value FROM cursor WHERE source = ?", (source,)
        ).fetchone()
        return None if row is None else str(row[0])

    async def missed(self, source: str, why: str, *, count: int | None = None) -> None:
        self.misses.append((source, why, count))
        self._database.execute("INSERT INTO miss VALUES (?, ?, ?)", (source, why, count))

    def reader(self, source: str) -> Reader:  # noqa: ARG002 (the same for all of them)
        return self.reading()

    def kept(self, source: str) -> list[bytes]:
        """In the order of arrival."""
        rows = self._database.execute(
            "SELECT data FROM record WHERE source = ? ORDER BY rowid", (source,)
        )
        return [bytes(row[0]) for row in rows]

    async def until(self, source: str, count: int) -> list[bytes]:
        """As soon as there are so many."""
        async with asyncio.timeout(20):
            while len(found := self.kept(source)) < count:
                self.taken.clear()
                await self.taken.wait()
        return found

    def close(self) -> None:
        self._database.close()

    def _reads(self, record: bytes) -> bool:
        try:
            self._reader.read(record)
        except Unreadable:
            return False
        return True


def bomb(size: int) -> bytes:
    """So many zeros, in a thousandth of the bytes."""
    return gzip.compress(bytes(size))
