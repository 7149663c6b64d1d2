"""
Events in a file, one JSON object a line, for whatever reads files: an agent of the SIEM, or `jq`.

The file is opened anew for every batch: so `logrotate` may move it away at any time, without being
told how to tell us. A line that a crash cut short is taken out before the next is written; its
record comes again.
"""

import asyncio
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from muniment.errors import Unavailable
from muniment.oversight.siem import SiemEvent

#: keys are sorted, so this is how each of our lines begins: `action` or `activity_id`
_BEGINNING: Final = b'{"acti'
#: the longest line that is looked for: a header has 16 KiB at most
_MAX_LINE: Final = 1 << 20
_PIECE: Final = 1 << 16


class EventFile:
    """One file of this machine."""

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path

    async def send(self, events: Sequence[SiemEvent]) -> None:
        await asyncio.to_thread(self._append, b"".join(each.body + b"\n" for each in events))

    async def look(self) -> str:
        return await asyncio.to_thread(self._look)

    def _append(self, data: bytes) -> None:
        try:
            new = not self._path.exists()
            # beside its owner, whatever group the operator gave the folder may read it
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            try:
                self._check(file)
                self._mend(file)
                _write(file, data)
                os.fsync(file)
            finally:
                os.close(file)
            if new:
                _sync_folder(self._path.parent)
        except OSError as error:
            raise Unavailable(f"`{self._name}`: `{self._path}`: {error.strerror}") from error

    def _look(self) -> str:
        folder = self._path.parent
        if not os.access(folder, os.W_OK | os.X_OK):
            raise Unavailable(f"`{self._name}`: nothing can be written to `{folder}`: make it")
        if not self._path.exists():
            return "has no file yet"
        if not self._path.is_file() or not os.access(self._path, os.W_OK):
            raise Unavailable(f"`{self._name}`: `{self._path}` is no file that can be written")
        return f"has {self._path.stat().st_size:,} bytes"

    def _check(self, file: int) -> None:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise Unavailable(f"`{self._name}`: `{self._path}` is no plain file: name another")

    def _mend(self, file: int) -> None:
        """Take out the last line if it is not whole."""
        size = os.fstat(file).st_size
        if not size or os.pread(file, 1, size - 1) == b"\n":
            return
        start = _last_line(file, size)
        torn = os.pread(file, len(_BEGINNING), start)
        if size - start > _MAX_LINE or not _BEGINNING.startswith(torn):
            raise Unavailable(
                f"`{self._name}`: `{self._path}` ends in something that is not ours: nothing was"
                " changed, name another file"
            )
        os.ftruncate(file, start)


def _last_line(file: int, size: int) -> int:
    """Where the last line begins, as far back as one of ours could."""
    end = size
    while end > 0 and size - end <= _MAX_LINE:
        start = max(0, end - _PIECE)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return end


def _write(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
