"""A folder in which whole files appear."""

import os
import stat
import time
from collections.abc import Callable, Iterator
from glob import glob, has_magic
from pathlib import Path
from typing import Final

from muniment.errors import Unavailable

#: seconds that a file has rested before it is held to be whole: rather move it there when it is
SETTLED: Final = 2.0


class Directory:
    """Implements `whole_files.Shelf`. What a link leads to is none of its files."""

    def __init__(self, path: str, folder: Path, *, now: Callable[[], float] = time.time) -> None:
        """`path` is a folder, or a pattern of files below one."""
        fixed, rest = _divided(path)
        self._root = folder / fixed
        self._pattern = rest
        self._now = now

    def names(self, after: str) -> Iterator[str]:
        if not self._root.is_dir():
            raise Unavailable(f"there is no folder `{self._root}`")
        settled = self._now() - SETTLED
        # NOTE: `Path.glob` follows links to folders, and so could be led round and round
        for name in sorted(glob(self._pattern, root_dir=self._root, recursive=True)):  # noqa: PTH207
            if name > after and self._is_whole(name, settled):
                yield name

    def read(self, name: str, most: int) -> bytes | None:
        try:
            fd = os.open(self._root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"`{name}` cannot be read: {error.strerror}") from error
        with os.fdopen(fd, "rb") as file:
            return file.read(most)

    def _is_whole(self, name: str, settled: float) -> bool:
        try:
            seen = (self._root / name).lstat()
        except OSError:
            return False
        return stat.S_ISREG(seen.st_mode) and seen.st_mtime <= settled


def _divided(path: str) -> tuple[str, str]:
    """The folder, and the pattern of names below it."""
    parts = Path(path).parts
    magic = next((i for i, part in enumerate(parts) if has_magic(part)), len(parts))
    rest = parts[magic:] or ("**", "*")
    return str(Path(*parts[:magic])), str(Path(*rest))
