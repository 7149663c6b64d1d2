"""Where tiles lie: what every place has to offer, and a folder as one."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from muniment.errors import LogInvalid, Unavailable
from muniment.evidence.audit import SUBTREE
from muniment.evidence.audit_tiles import Stretch, stretch
from muniment.evidence.tile_log import MAX_RESOURCE, TileLog

#: below this many subtrees a second process costs more than it brings
WORTH_SPREADING: Final = 4


class Source(Protocol):
    """Tiles that somebody shows."""

    #: as the user named it
    name: str
    log: TileLog
    #: set to wait for no further answer
    stop: threading.Event

    @property
    def step(self) -> int:
        """How many entries are hashed together."""
        ...

    def spread(self, cores: int, ranges: Sequence[tuple[int, int]]) -> Iterator[Stretch]:
        """Hash these ranges, several at a time where that is worth it."""
        ...

    def close(self) -> None: ...


class TileFolder:
    """A mirror, or what somebody fetched."""

    step: Final = SUBTREE

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self.folder = folder
        self.stop = threading.Event()
        self.log = TileLog(self.read)

    def read(self, path: str) -> bytes | None:
        try:
            with (self.folder / path).open("rb") as file:
                # no larger buffer than it takes: a large one costs more than to hash what is in it
                size = os.fstat(file.fileno()).st_size
                return bounded(path, file.read(min(size, MAX_RESOURCE) + 1))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unavailable(f"`{self.folder / path}`: {error.strerror}") from error

    def spread(self, cores: int, ranges: Sequence[tuple[int, int]]) -> Iterator[Stretch]:
        """Hash on every core, where that is worth it."""
        if cores == 1 or len(ranges) < WORTH_SPREADING:
            yield from (stretch(self.log, *each) for each in ranges)
            return
        from multiprocessing import get_context

        # spawned and not forked: nothing of this process is wanted there
        pool = ProcessPoolExecutor(cores, mp_context=get_context("spawn"))
        yield from mapped(pool, partial(_stretch, self.folder), ranges)

    def close(self) -> None:
        pass


def bounded(path: str, data: bytes) -> bytes:
    if len(data) > MAX_RESOURCE:
        raise LogInvalid(f"`{path}` is too large")
    return data


def mapped(
    pool: Executor,
    hashed: Callable[[tuple[int, int]], Stretch],
    ranges: Sequence[tuple[int, int]],
) -> Iterator[Stretch]:
    try:
        yield from pool.map(hashed, ranges)
    finally:
        # what is wrong with one range makes the others pointless
        pool.shutdown(cancel_futures=True)


def _stretch(folder: Path, place: tuple[int, int]) -> Stretch:
    return stretch(TileFolder(folder).log, *place)
