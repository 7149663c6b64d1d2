"""
Files that grow at their end, however they are rotated: renamed, copied and cut, or under new names.

Every file is read from where it was left, also one that was renamed or removed meanwhile. Where a
file was cut off, or is gone, before all of it was read, that is recorded: see `Tail.look`.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from muniment.errors import Unavailable
from muniment.oversight.event import Reader
from muniment.runtime.sources import (
    MAX_READ,
    MAX_RECORDS,
    Intake,
    Pause,
    hand_on,
    pause,
    places,
)
from muniment.runtime.sources.found import Found, find
from muniment.runtime.sources.places import FileId, Place

#: seconds between two looks: short while something comes, longer where nothing does
SOON, LATER = 0.25, 1.0
#: seconds for which whoever wrote a file may still write to it after it was moved away
LINGER: Final = 5.0
#: files that are read at a time
MAX_OPEN: Final = 256
#: a file that is so much older than the newest, in nanoseconds, is closed once it was read
OLD: Final = 24 * 3600 * 10**9
#: times in a row that a file is renamed between the look at its folder and its opening
_RENAMED: Final = 5
#: looks around, at most, until nothing was moved, copied or cut off during one
_LOOKS: Final = 8
#: looks after which what was not found is lost: it may be renamed while names are read
_SEARCHES: Final = 3
#: seconds between two signs of life of a source that is silent
SIGN_OF_LIFE: Final = 15.0
#: a number of fewer says how often a file was rotated, and is no date
_DIGITS: Final = 6
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one look gave."""

    records: list[bytes]
    #: behind the records
    cursor: str
    #: something was cut off, or is gone, before it was read
    lost: bool
    #: there is something to be said: records, or a place that moved
    news: bool


@dataclass(slots=True, kw_only=True)
class _Open:
    """A file that is being read. It stays open: it may be removed before its end was read."""

    place: Place
    fd: int
    reader: Reader
    path: str
    #: all that it had when we looked around
    seen: Place
    #: its size and its last change, by its own clock, in nanoseconds, before `seen` was read
    stamp: tuple[int, int]
    #: its last change after that: what was written since its copy was made is newer than the copy
    changed: int
    #: when it was last seen to have grown, or to be gone, in elapsed seconds
    grew: float
    #: the name is one that was asked for, not what a rotation makes of it
    asked: bool
    #: no name that we look at leads to it any more
    gone: bool = False
    #: what it had before it was cut off, as long as we look for a copy of that
    cut: Place | None = None

    @property
    def size(self) -> int:
        return self.seen.at

    def is_as_seen(self) -> bool:
        """Whether it was not cut off since we looked around."""
        return self.seen.is_in(self.fd)

    def see(self) -> None:
        """What it has now; and whether it still has what it had."""
        had = self.seen
        for _ in range(_LOOKS):  # it may be cut off at this moment
            before = os.fstat(self.fd)
            self.stamp = before.st_size, before.st_mtime_ns
            self.seen = self.place.moved(self.fd, before.st_size)
            self.changed = os.fstat(self.fd).st_mtime_ns
            if self.is_as_seen():
                break
        else:
            self.seen = Place(self.place.file)  # it never has what it says: nothing is read of it
        if self.cut is None and not (had.is_in(self.fd) and self.place.is_in(self.fd)):
            self.cut = self.place if self.place.at else had

    def begin_anew(self) -> None:
        """At its beginning: what it had is read elsewhere, or lost."""
        self.seen = self.place = Place(self.place.file)
        self.cut = None
        self.see()


class Tail:
    """Reads on behind a cursor. Not for several threads at a time."""

    # each file has a reader of its own: it may be in the middle of a record that is too long
    def __init__(
        self,
        pattern: str,
        reader: Callable[[], Reader],
        cursor: str | None = None,
        *,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pattern = pattern
        self._reader = reader
        self._elapsed = elapsed
        self._open: dict[FileId, _Open] = {}
        #: left by an earlier run, and not found again yet
        self._left: list[Place] = []
        #: copies of files that are there themselves, by the file they are copies of
        self._copies: dict[FileId, FileId] = {}
        #: what is not newer, in nanoseconds, and not known, was read
        self._floor = 0
        self._lost = False
        self._first = cursor is None
        #: the cursor that was last handed out
        self._said: str | None = cursor
        if cursor is not None:
            try:
                self._left, self._floor = places.read(cursor)
            except ValueError as error:
                _log.error("`%s` is read anew: %s", pattern, error)
                self._lost = True

    @property
    def cursor(self) -> str:
        newest = self._newest
        return places.written(
            (
                replace(each.place, open=each.place.at < each.size or each.changed == newest)
                for each in self._open.values()
            ),
            self._floor,
        )

    @property
    def _newest(self) -> int:
        """The newest change of what is read, in nanoseconds; a copy of it may be newer."""
        return max((each.changed for each in self._open.values()), default=0)

    @property
    def count(self) -> int:
        """Files that are open."""
        return len(self._open)

    def close(self) -> None:
        for each in self._open.values():
            os.close(each.fd)
        self._open.clear()

    def skip(self) -> None:
        """What is there already was before our time; but not a record that is being written."""
        newest = max((each.changed for each in find(self._pattern).values()), default=0)
        self._floor = max(0, newest - OLD)
        self._look_around()
        for each in self._open.values():
            start = max(0, each.size - MAX_READ)
            _, rest = self._reader().cut(os.pread(each.fd, each.size - start, start))
            each.place = each.place.moved(each.fd, each.size - len(rest))

    def look(self) -> Piece:
        """
        The next records, of one file; none if there are none now.

        Raises `Unavailable` for a file that is there and cannot be read.
        """
        records: list[bytes] = []
        if self._look_around():
            for each in sorted(self._open.values(), key=_in_order):
                records = self._next(each)
                if records:
                    break
        lost, self._lost = self._lost, False
        cursor = self.cursor
        news = bool(records) or lost or cursor != self._said
        self._said = cursor
        return Piece(records=records, cursor=cursor, lost=lost, news=news)

    # --- which files there are --------------------------------------------------------------------

    def _look_around(self) -> bool:
        """Whether we know of all that is older than the end of any file that we know of."""
        return any(self._is_settled(last=look >= _SEARCHES) for look in range(1, _LOOKS + 1))

    def _is_settled(self, *, last: bool) -> bool:
        """
        Whether nothing was moved, copied or cut off meanwhile: if it was, somebody looks again.

        A file is copied first and cut off then. Whoever sees it cut off, and looks around after
        that, finds the copy; whoever sees a file, and after that no other, knows what is older.
        """
        for each in self._open.values():
            now = os.fstat(each.fd)
            if (now.st_size, now.st_mtime_ns) != each.stamp:
                each.grew = self._elapsed()
                each.see()
        found = find(self._pattern)
        for id, each in self._open.items():
            there = found.get(id)
            if there is None and not each.gone:
                each.grew = self._elapsed()  # whoever moves it away may still write to it
            each.gone = there is None
            if there is not None:
                each.path, each.asked = there.path, there.asked
        unknown = {id: there for id, there in found.items() if id not in self._open}
        began = bool(self._left)
        self._find_again(unknown)
        if self._left and not last:
            return False
        self._lost = self._lost or any(place.open for place in self._left)
        self._left.clear()
        cut = [each for each in self._open.values() if each.cut is not None]
        for each in cut:
            self._begin_anew(each, unknown, last=last)
        if any(each.cut is not None for each in cut):
            return False
        self._close_read()
        met = self._meet_all(unknown, last=last)
        self._first = False
        return not (began or cut or met)

    def _meet_all(self, unknown: dict[FileId, Found], *, last: bool) -> bool:
        """Whether there was something new."""
        new = False
        for id, there in sorted(unknown.items(), key=lambda item: _in_order(item[1])):
            if id in self._open:
                continue
            if len(self._open) < MAX_OPEN:
                new = self._meet(id, there, last=last) or new
            elif all(each.place.at >= each.size for each in self._open.values()):
                raise Unavailable(
                    f"`{self._pattern}` leads to more than {MAX_OPEN} files that were written to "
                    "within a day: divide them among several sources"
                )
        return new

    def _find_again(self, unknown: dict[FileId, Found]) -> None:
        """By its inode; or by what it has, for it was copied or moved to another disk."""
        left, self._left = self._left, []
        for place in left:
            ways = [place.file, *(id for id in unknown if id != place.file)]
            if not any(
                self._goes_on(place, id, unknown) for id in (ways if place.at else [place.file])
            ):
                self._left.append(place)

    def _goes_on(
        self, place: Place, id: FileId, unknown: dict[FileId, Found], had: Place | None = None
    ) -> bool:
        """Whether this is the file of a place, or has what that file had; then it is read on."""
        had = had or place
        there = unknown.get(id)
        if there is None or id in self._open or there.size < had.at:
            return False
        fd = self._opened(there.path, id)
        if fd is None:
            return False
        if not had.is_in(fd):
            os.close(fd)
            return False
        self._copies.pop(id, None)
        self._keep(replace(place, file=id), fd, there)
        return True

    def _meet(self, id: FileId, there: Found, *, last: bool) -> bool:
        """Whether this is, or may be, a file that was not there before."""
        if there.size == 0 or there.changed <= self._floor:
            return False
        fd = self._opened(there.path, id)
        if fd is None:
            return not last
        original = self._original_of(fd, there)
        if original is not None:
            self._copies[id] = original
            os.close(fd)
            return False
        if not all(each.is_as_seen() for each in self._open.values()):
            os.close(fd)  # it may be the copy of what was cut off since we looked at that
            return True
        self._copies.pop(id, None)
        self._keep(Place(id), fd, there)
        if self._first and not there.asked:  # it was rotated away before our time
            self._open[id].place = Place(id).moved(fd, there.size)
        return True

    def _original_of(self, fd: int, there: Found) -> FileId | None:
        """
        The file that is there itself, of which this is a copy, perhaps one in the making.

        It has nothing that the other does not have: as soon as it does, it is no copy.
        """
        for id, each in self._open.items():
            # what was moved away is not copied back to its name: there a new file begins
            if there.asked and (each.gone or not each.asked):
                continue
            if there.size <= os.fstat(each.fd).st_size:
                mine, other = (places.window(one, there.size) for one in (fd, each.fd))
                if mine == other:
                    return id
        return None

    def _keep(self, place: Place, fd: int, there: Found) -> None:
        kept = _Open(
            place=place,
            fd=fd,
            reader=self._reader(),
            path=there.path,
            seen=place,
            stamp=(0, 0),
            changed=there.changed,
            grew=self._elapsed(),
            asked=there.asked,
        )
        kept.see()
        self._open[place.file] = kept

    def _opened(self, path: str, id: FileId) -> int | None:
        """None if it is gone. By another name, if it was renamed since it was listed."""
        for _ in range(_RENAMED):
            fd = self._opened_as(path, id)
            there = None if fd is not None else find(self._pattern).get(id)
            if there is None:
                return fd
            path = there.path
        return None

    def _opened_as(self, path: str, id: FileId) -> int | None:
        """None if the name leads to another file by now."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"`{path}` cannot be read: {error.strerror}") from error
        seen = os.fstat(fd)
        if (seen.st_dev, seen.st_ino) == id:
            return fd
        os.close(fd)
        return None

    # --- cut off, and gone ------------------------------------------------------------------------

    def _begin_anew(self, each: _Open, unknown: dict[FileId, Found], *, last: bool) -> None:
        """It was cut off: what of it was not read is in its copy, or lost."""
        if not any(self._goes_on(each.place, id, unknown, each.cut) for id in unknown):
            if not last:
                return
            _log.warning("`%s` was cut off, and there is no copy of it", each.path)
            self._lost = True
        each.begin_anew()

    def _close_read(self) -> None:
        """Files that nobody writes to any more, once all of them was read."""
        newest = self._newest
        for id, each in list(self._open.items()):
            old = each.changed < newest - OLD
            read = each.cut is None and each.place.at >= each.size
            if not read or not (old or (each.gone and self._is_quiet(each))):
                continue
            os.close(self._open.pop(id).fd)
            if not each.gone:
                self._floor = max(self._floor, each.changed)
            self._forget_copies(id)

    def _forget_copies(self, of: FileId) -> None:
        """A copy that was made by hand has nothing new, though its original is gone."""
        for id in [copy for copy, original in self._copies.items() if original == of]:
            del self._copies[id]
            there = find(self._pattern).get(id)
            fd = self._opened(there.path, id) if there is not None else None
            if there is not None and fd is not None:
                self._keep(Place(id).moved(fd, there.size), fd, there)

    def _is_quiet(self, each: _Open) -> bool:
        return self._elapsed() - each.grew >= LINGER

    # --- reading ----------------------------------------------------------------------------------

    def _next(self, each: _Open) -> list[bytes]:
        """The next records of this file. What is between two reads of nothing moves no place."""
        while each.place.at < each.size:
            buffer = os.pread(each.fd, MAX_READ, each.place.at)
            if not buffer:
                return []  # it was cut off at this moment; the next look sees it
            records, width = _cut(each.reader, buffer)
            if not width:
                # either it goes on behind what was read, or nobody will ever end it
                if len(buffer) < MAX_READ and not self._is_over(each):
                    return []
                records, width = [buffer], len(buffer)
            before, each.place = each.place, each.place.moved(each.fd, each.place.at + width)
            if not each.is_as_seen():  # what was read, or its place, may be of what came after
                each.place = before
                return []
            if records:
                return records
        return []

    def _is_over(self, each: _Open) -> bool:
        """Whether nothing will be added to it any more: it was moved away, and all is quiet."""
        return self._is_quiet(each) and (each.gone or not each.asked)


def _cut(reader: Reader, buffer: bytes) -> tuple[list[bytes], int]:
    """Records, not too many at once, and how many bytes they are."""
    fewer = _lines(buffer, MAX_RECORDS)
    if len(fewer) < len(buffer):
        records, rest = reader.cut(fewer)
        if len(rest) < len(fewer):
            return records, len(fewer) - len(rest)
    records, rest = reader.cut(buffer)
    return records, len(buffer) - len(rest)


def _lines(buffer: bytes, most: int) -> bytes:
    """So many of its lines, or all of it: no reader makes more than one record of a line."""
    end = -1
    for _ in range(most):
        end = buffer.find(b"\n", end + 1)
        if end < 0:
            return buffer
    return buffer[: end + 1]


def _in_order(each: "_Open | Found") -> tuple[int, bool, int, str]:
    """By their age; where the clock of the disk is too coarse, as a rotation names them."""
    number = each.path.rpartition(".")[2]
    times = int(number) if number.isdecimal() and len(number) < _DIGITS else 0
    return each.changed, each.asked, -times, each.path


class File:
    """One source of kind `file`."""

    def __init__(
        self, source: str, path: str, folder: Path, *, from_start: bool, pause: Pause = pause
    ) -> None:
        self._source = source
        self._pattern = str(folder / path)
        self._from_start = from_start
        self._pause = pause

    async def run(self, intake: Intake, stop: asyncio.Event) -> None:
        cursor = await asyncio.to_thread(intake.cursor, self._source)
        tail = Tail(self._pattern, partial(intake.reader, self._source), cursor)
        try:
            if cursor is None and not self._from_start:
                await asyncio.to_thread(tail.skip)
                await hand_on(intake, self._source, [], tail.cursor, stop, self._pause)
            await self._follow(intake, tail, stop)
        finally:
            tail.close()

    async def _follow(self, intake: Intake, tail: Tail, stop: asyncio.Event) -> None:
        said, wait = -SIGN_OF_LIFE, SOON
        while not stop.is_set():
            piece = await asyncio.to_thread(tail.look)
            if piece.lost:
                await intake.missed(self._source, "cursor")
            signs = tail.count and time.monotonic() - said >= SIGN_OF_LIFE
            if piece.news or signs:
                said = time.monotonic()
                taken = await hand_on(
                    intake, self._source, piece.records, piece.cursor, stop, self._pause
                )
                if not taken:
                    return
            if not piece.records:
                await self._pause(stop, wait)
                wait = min(2 * wait, LATER)
            else:
                wait = SOON
