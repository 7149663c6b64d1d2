"""
A file is written, rotated, copied and cut off between any two system calls of its reader.

What follows on what is drawn from a seed: what failed once fails again.
"""

import os
import random
from collections.abc import Callable, Iterator
from glob import glob
from pathlib import Path
from typing import Any

import pytest

from muniment.runtime.sources import found
from muniment.runtime.sources.file import Tail
from muniment.testing.fake_intake import Lines

LINES = 60
#: seeds of a fast run, and of a deep one
FEW, MANY = range(20), range(20, 120)


def write(log: Path, how: str, chance: random.Random) -> Iterator[None]:
    """One step at a time, as another process takes them."""
    longest, clock = chance.choice([1, 20, 200, 600]), iter(range(1 << 40))

    def add(file: Any, data: bytes) -> None:
        file.write(data)  # what is written later was changed later, however coarse a disk's clock
        os.utime(file.fileno(), ns=(1_700_000_000_000_000_000 + next(clock) * 1_000_000,) * 2)

    file = log.open("ab", buffering=0)
    for number in range(LINES):
        line = b"%d %s\n" % (number, b"x" * chance.randrange(longest))
        middle = chance.randrange(len(line))
        for part in (line[:middle], line[middle:]):
            add(file, part)
            yield
        if chance.randrange(8):
            continue
        for times in range(LINES, 0, -1):
            if os.path.exists(old := f"{log}.{times}"):  # noqa: PTH110 (`Path.stat` is a reader's)
                os.rename(old, f"{log}.{times + 1}")  # noqa: PTH104 (as above)
                yield
        first = log.with_name(f"{log.name}.1")
        if how == "rename":
            log.rename(first)
            yield
            file.close()
            file = log.open("ab", buffering=0)
        else:
            whole = log.read_bytes()
            middle = chance.randrange(len(whole) + 1)
            with first.open("wb", buffering=0) as copy:
                for part in (whole[:middle], whole[middle:]):
                    add(copy, part)
                    yield
            os.truncate(log, 0)
            add(file, b"")
        yield
    file.close()


class Interleaving:
    """A writer that goes on while somebody reads, as chance has it, and a reader that is killed."""

    def __init__(self, log: Path, how: str, seed: int) -> None:
        self.log, self.chance = log, random.Random(seed)
        self.writer, self.ended = write(log, how, random.Random(-1 - seed)), False
        self.haste = self.chance.choice([0.003, 0.01, 0.03, 0.1])
        self.kills = self.chance.choice([0.0, 0.1, 0.4])
        self.looking, self.now = False, 0.0

    def between(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def overtaken(*args: Any, **kwargs: Any) -> Any:
            while self.looking and not self.ended and self.chance.random() < self.haste:
                self.step()
            return call(*args, **kwargs)

        return overtaken

    def step(self) -> None:
        self.ended = next(self.writer, self) is self

    def read(self) -> tuple[list[bytes], int]:
        """All lines in the order in which they were kept, and how often something was lost."""
        lines: list[bytes] = []
        losses, idle = 0, 0
        tail = self._begun(None)
        cursor = tail.look().cursor  # what was rotated away before the first look is not read
        while idle < 3:
            self.looking = True
            piece = tail.look()
            self.looking = False
            killed = self.chance.random() < self.kills
            if not (killed and self.chance.random() < 0.5):  # or before it was kept
                lines += piece.records
                losses += piece.lost
                cursor = piece.cursor
            if killed:
                tail.close()
                tail = self._begun(cursor)
            if not piece.records:
                self.now += self.chance.choice([0.25, 1.0, 6.0])
                idle += self.ended
            if self.chance.random() < 0.3:
                self.step()
        tail.close()
        return lines, losses

    def _begun(self, cursor: str | None) -> Tail:
        return Tail(str(self.log), Lines, cursor, elapsed=lambda: self.now)


def every_line_comes_once(folder: Path, how: str, seed: int) -> None:
    log = folder / "app.log"
    log.touch()
    interleaving = Interleaving(log, how, seed)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("pread", "fstat", "open"):
            patch.setattr(os, name, interleaving.between(getattr(os, name)))
        patch.setattr(found, "glob", interleaving.between(glob))
        patch.setattr(Path, "stat", interleaving.between(Path.stat))
        lines, losses = interleaving.read()
    assert [int(line.split()[0]) for line in lines] == list(range(LINES))
    assert losses == 0


@pytest.mark.parametrize("how", ["rename", "copy"])
@pytest.mark.parametrize("seed", FEW)
def test_every_line_comes_once_and_in_order_whatever_happens_while_it_is_read(
    tmp_path: Path, how: str, seed: int
) -> None:
    every_line_comes_once(tmp_path, how, seed)


@pytest.mark.deep
@pytest.mark.parametrize("how", ["rename", "copy"])
def test_every_line_comes_once_and_in_order_in_many_histories(
    tmp_path_factory: pytest.TempPathFactory, how: str
) -> None:
    for seed in MANY:
        every_line_comes_once(tmp_path_factory.mktemp("history"), how, seed)
