"""Which files a path or a pattern leads to, with those that a rotation has made of them."""

import contextlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Final

from muniment.errors import Unavailable
from muniment.runtime.sources.places import FileId

#: names that are looked at
MAX_FILES: Final = 10_000
#: looks, at most, until two see the same
_LOOKS: Final = 50
_COMPRESSED: Final = (".gz", ".xz", ".bz2", ".zst", ".lz4", ".Z")


@dataclass(frozen=True, slots=True)
class Found:
    """A file that a name leads to."""

    path: str
    size: int
    #: when it was last changed, by its own clock, in nanoseconds
    changed: int
    #: the name is one that was asked for, not what a rotation makes of it
    asked: bool


def find(pattern: str) -> dict[FileId, Found]:
    """Every plain file once. Raises `Unavailable` for too many."""
    # a file that is renamed while names are read may be missed under both: whoever takes it for
    # gone reads it twice. What two looks saw alike, no rotation was moving.
    found = _seen(pattern)
    for _ in range(_LOOKS):
        before, found = found, _seen(pattern)
        if {id: there.path for id, there in before.items()} == {
            id: there.path for id, there in found.items()
        }:
            break
    return found


def _seen(pattern: str) -> dict[FileId, Found]:
    found: dict[FileId, Found] = {}
    for path, asked in _names(pattern):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            seen = Path(path).stat()
            id = (seen.st_dev, seen.st_ino)
            if stat.S_ISREG(seen.st_mode) and id not in found:
                found[id] = Found(path, seen.st_size, seen.st_mtime_ns, asked)
        if len(found) > MAX_FILES:
            raise Unavailable(f"`{pattern}` leads to more than {MAX_FILES:,} files")
    return found


def _names(pattern: str) -> Iterator[tuple[str, bool]]:
    # what logrotate makes of a name: `.1`, `-20261122`
    for each, asked in ((pattern, True), (f"{pattern}.*", False), (f"{pattern}-*", False)):
        # NOTE: `Path.glob` takes no absolute pattern
        for path in sorted(glob(each, recursive=True)):  # noqa: PTH207
            if not path.endswith(_COMPRESSED):
                yield path, asked
