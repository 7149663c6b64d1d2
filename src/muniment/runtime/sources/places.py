"""How far each of several files was read, and how a file is known again after it was moved."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, TypeAlias

#: bytes at the beginning of a file, and before the place up to which it was read, that are compared
WINDOW: Final = 256
_VERSION: Final = 1

#: device and inode
FileId: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Place:
    """A file, and how far it was read."""

    file: FileId
    at: int = 0
    #: of the bytes at its beginning, and of those before `at`: inodes are used again, files copied
    head: str = ""
    tail: str = ""
    #: more was to come when this was written: if the file is gone, something is lost
    open: bool = False

    def moved(self, fd: int, at: int) -> "Place":
        head, tail = digests(fd, at)
        return Place(self.file, at, head, tail)

    def is_in(self, fd: int) -> bool:
        """Whether this file has, up to there, what was read."""
        return not self.at or (bool(self.head) and digests(fd, self.at) == (self.head, self.tail))


def digests(fd: int, at: int) -> tuple[str, str]:
    """Of what lies at the beginning of the first `at` bytes, and at their end; empty for fewer."""
    width = min(WINDOW, at)
    head, tail = os.pread(fd, width, 0), os.pread(fd, width, at - width)
    return (_digest(head), _digest(tail)) if at and len(tail) == width else ("", "")


def window(fd: int, at: int) -> bytes:
    """The same as bytes, to be compared with those of a file that is there, too."""
    width = min(WINDOW, at)
    return os.pread(fd, width, 0) + os.pread(fd, width, at - width)


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:32]


def written(places: Iterable[Place], floor: int) -> str:
    """The cursor. Files that were not changed after `floor`, in nanoseconds, were read before."""
    files = [[*each.file, each.at, each.head, each.tail, int(each.open)] for each in places]
    return json.dumps({"v": _VERSION, "floor": floor, "files": files}, separators=(",", ":"))


def read(cursor: str) -> tuple[list[Place], int]:
    """Raises `ValueError` for what is no cursor of files."""
    try:
        value: Any = json.loads(cursor)
        if value["v"] != _VERSION:
            raise ValueError("another version")
        places = [
            Place((int(dev), int(inode)), int(at), str(head), str(tail), bool(more))
            for dev, inode, at, head, tail, more in value["files"]
        ]
        return places, int(value["floor"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"this is no cursor of files: {error}") from error
