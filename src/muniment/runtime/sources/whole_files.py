"""
Whole files that appear, in a directory or a bucket: each is read once, in the order of their names.

A file may come later than others whose names are behind its own: it is read, too, as long as it is
not more than `WINDOW` files late.
"""

import asyncio
import json
import logging
from bisect import insort
from collections import deque
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from typing import Any, Final, Protocol

from muniment.errors import Unreadable
from muniment.oversight.event import Reader
from muniment.runtime.sources import MAX_RECORDS, Intake, Pause, hand_on, pause
from muniment.runtime.sources.unpacked import is_packed, unpacked

#: files that are remembered one by one, by their names; all before them were read, or are too late
WINDOW: Final = 500
#: files that one look finds at most
MAX_FOUND: Final = 10_000
#: bytes of a file, and of what comes out of it
MAX_PACKED, MAX_UNPACKED = 64 << 20, 128 << 20
_VERSION: Final = 1
_log = logging.getLogger(__name__)


class Shelf(Protocol):
    """Where the files are. Any thread may ask; raises `Unavailable`."""

    def names(self, after: str) -> Iterator[str]:
        """Of files that are whole, in their order, behind this one."""
        ...

    def read(self, name: str, most: int) -> bytes | None:
        """At most so many bytes of it; None if it is gone."""
        ...


class Read:
    """Which files were read: the cursor. Not for several threads at a time."""

    def __init__(self, cursor: str | None = None) -> None:
        """Raises `ValueError` for what is no cursor of whole files."""
        #: all files up to this name were read
        self.floor = ""
        self._seen: set[str] = set()
        #: those of `_seen` whose names are known: in their order
        self._names: list[str] = []
        #: of which file how many records were taken, where not all of them were
        self._part = ("", 0)
        if cursor is not None:
            self._load(cursor)

    def _load(self, cursor: str) -> None:
        try:
            value: Any = json.loads(cursor)
            if value["v"] != _VERSION:
                raise ValueError("another version")
            self.floor, self._seen = str(value["floor"]), {str(each) for each in value["seen"]}
            self._part = (str(value["part"][0]), int(value["part"][1]))
        except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"this is no cursor of whole files: {error}") from error

    @property
    def cursor(self) -> str:
        value = {"v": _VERSION, "floor": self.floor, "seen": sorted(self._seen), "part": self._part}
        return json.dumps(value, separators=(",", ":"))

    def skip(self, names: Iterator[str]) -> None:
        """All of these were before our time."""
        newest: deque[str] = deque(maxlen=WINDOW + 1)
        newest.extend(names)
        if len(newest) > WINDOW:
            self.floor = newest.popleft()
        self._names = sorted(newest)
        self._seen = {_digest(name) for name in newest}

    def unread(self, names: list[str], *, complete: bool) -> list[str]:
        """Which of these were not. Where they are all there are, others may be forgotten."""
        self._names = sorted(name for name in names if _digest(name) in self._seen)
        # not as soon as they are not there: a disk may be away, or a file be written to again
        if complete and len(self._seen) > WINDOW:
            self._seen = {_digest(name) for name in self._names}
        return sorted(name for name in names if _digest(name) not in self._seen)

    def taken_of(self, name: str) -> int:
        """How many of its records were taken before."""
        return self._part[1] if self._part[0] == _digest(name) else 0

    def took(self, name: str, count: int) -> None:
        """So many of its records, and others are left."""
        self._part = (_digest(name), count)

    def finish(self, name: str) -> None:
        self._part = ("", 0)
        self._seen.add(_digest(name))
        insort(self._names, name)
        while len(self._names) > WINDOW:
            self.floor = self._names.pop(0)
            self._seen.discard(_digest(self.floor))


class WholeFiles:
    """One source of kind `directory` or `s3`."""

    def __init__(
        self,
        source: str,
        shelf: Shelf,
        *,
        from_start: bool,
        every: float,
        pause: Pause = pause,
    ) -> None:
        self._source = source
        self._shelf = shelf
        self._from_start = from_start
        self._every = every
        self._pause = pause

    async def run(self, intake: Intake, stop: asyncio.Event) -> None:
        read, reader = await self._begin(intake), intake.reader(self._source)
        while not stop.is_set():
            names = await asyncio.to_thread(
                lambda: list(islice(self._shelf.names(read.floor), MAX_FOUND))
            )
            unread = read.unread(names, complete=len(names) < MAX_FOUND)
            for name in unread:
                if stop.is_set() or not await self._take(name, read, reader, intake, stop):
                    return
            if not unread:  # a sign of life
                if not await self._hand_on([], read, intake, stop):
                    return
                await self._pause(stop, self._every)

    async def _begin(self, intake: Intake) -> Read:
        cursor = await asyncio.to_thread(intake.cursor, self._source)
        if cursor is None:
            read = Read()
            if not self._from_start:
                await asyncio.to_thread(lambda: read.skip(self._shelf.names("")))
            return read
        try:
            return Read(cursor)
        except ValueError as error:
            _log.error("source `%s` is read anew: %s", self._source, error)
            await intake.missed(self._source, "cursor")
            return Read()

    async def _take(
        self, name: str, read: Read, reader: Reader, intake: Intake, stop: asyncio.Event
    ) -> bool:
        """All records of one file. False if it is to stop before that."""
        try:
            records = await asyncio.to_thread(self._records, name, reader)
        except Unreadable as error:
            _log.error("source `%s`: `%s` is left out: %s", self._source, printable(name), error)
            await intake.missed(self._source, "count")
            records = []
        start = read.taken_of(name)
        while start + MAX_RECORDS < len(records):
            piece = records[start : start + MAX_RECORDS]
            start += len(piece)
            read.took(name, start)
            if not await self._hand_on(piece, read, intake, stop):
                return False
        read.finish(name)
        return await self._hand_on(records[start:], read, intake, stop)

    def _records(self, name: str, reader: Reader) -> list[bytes]:
        body = self._shelf.read(name, MAX_PACKED + 1)
        if body is None:
            raise Unreadable("it is gone")
        if len(body) > MAX_PACKED:
            raise Unreadable(f"it has more than {MAX_PACKED:,} bytes")
        if is_packed(body):
            body = unpacked(body, MAX_UNPACKED)
        return reader.unpack(body)

    async def _hand_on(
        self, records: list[bytes], read: Read, intake: Intake, stop: asyncio.Event
    ) -> bool:
        return await hand_on(intake, self._source, records, read.cursor, stop, self._pause)


def printable(name: str) -> str:
    """A name for a line of our log: whoever puts the file there chooses it."""
    return "".join(c if c.isprintable() else "?" for c in name[:200])


def _digest(name: str) -> str:
    return sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
