"""
What stands between the product and the outside in a `Scenario`: clock, targets and files.

Each names its steps just before they happen, so that a hook can strike there.
"""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from muniment.stores.head_file import HeadFile
from muniment.stores.spool_file import SpoolFile
from muniment.stores.sqlite import SQLiteStore, SQLiteTransaction
from muniment.testing.fake_target import FakeTarget

START = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)

#: called with the name of each step towards the outside, just before it; what it raises strikes
Hook: TypeAlias = Callable[[str], None]


class Crash(BaseException):
    """the process died here: a hook raises it, and no handler of the product catches it"""


@dataclass
class SteppedClock:
    """A wall clock and elapsed seconds, moved by hand; the targets have a clock of their own."""

    wall: datetime = START
    elapsed: float = 1000.0
    #: the targets' clock minus a wall clock that nobody stepped
    skew: timedelta = timedelta(0)

    def advance(self, time: timedelta) -> None:
        """Time passes, everywhere alike."""
        self.wall += time
        self.elapsed += time.total_seconds()

    def step(self, time: timedelta) -> None:
        """Somebody sets our wall clock; no time passes."""
        self.wall += time

    def at_target(self) -> datetime:
        return START + timedelta(seconds=self.elapsed - 1000.0) + self.skew


class ScenarioTarget(FakeTarget):
    """A fake target whose every point is a step of the scenario, too."""

    def __init__(self, resource: str, now: Callable[[], datetime], strike: Hook) -> None:
        super().__init__(now, identity=f"fake:{resource}")
        self._strike = strike

    async def come_to(self, point: str) -> None:
        self._strike(f"target:{point}")
        await super().come_to(point)


class Claims:
    """What each of several nodes has claimed, and which duties it leads: for a lease."""

    LEASE = 5.0

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        #: by name of work or duty: which node has it, and for how long
        self._taken: dict[str, tuple[str, float]] = {}

    def holder(self, name: str) -> str | None:
        node, until = self._taken.get(name, (None, 0.0))
        return node if until > self._elapsed() else None

    def take(self, node: str, name: str) -> bool:
        if self.holder(name) not in (None, node):
            return False
        self._taken[name] = node, self._elapsed() + self.LEASE
        return True

    def give_up(self, node: str, name: str) -> None:
        if self.holder(name) == node:
            del self._taken[name]


class ScenarioStore(SQLiteStore):
    """The SQLite store, whose commits can be made to fail, or to fail after they happened."""

    def __init__(
        self, path: Path, strike: Hook, *, node: str = "", claims: Claims | None = None
    ) -> None:
        super().__init__(path)
        self._strike = strike
        self._node = node
        #: None where this is the only node
        self._claims = claims

    def claim(
        self,
        now: str,
        limit: int = 500,
        *,
        working: Collection[str] = (),
        resting: Collection[str] = (),
        callbacks: bool = False,
    ) -> list[str]:
        claims, node = self._claims, self._node
        if claims is None:
            return super().claim(now, limit, working=working, resting=resting, callbacks=callbacks)
        for case in resting:
            claims.give_up(node, case)
        due = self.due(now, 1 << 30, callbacks=callbacks)
        for case in {*working}.intersection(due):
            claims.take(node, case)
        found = (case for case in due if case not in {*working, *resting})
        return list(islice((case for case in found if claims.take(node, case)), limit))

    def lead(self, duty: str) -> bool:
        return self._claims is None or self._claims.take(self._node, f"duty/{duty}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[SQLiteTransaction]:
        with super().transaction() as transaction:
            yield transaction
            self._strike("log:commit")
        self._strike("log:committed")


class ScenarioHeads(HeadFile):
    """The head store, whose writes can be made to fail, or to fail after they happened."""

    def __init__(self, path: Path, strike: Hook) -> None:
        super().__init__(path)
        self._strike = strike

    def write(self, checkpoint: bytes, size: int) -> None:
        self._strike("head:write")
        super().write(checkpoint, size)
        self._strike("head:written")


class ScenarioSpool(SpoolFile):
    """The spool, whose writes can be made to fail, or to fail after they happened."""

    def __init__(self, path: Path, strike: Hook) -> None:
        super().__init__(path)
        self._strike = strike

    def add(self, line: dict[str, Any]) -> None:
        self._strike("spool:add")
        super().add(line)
        self._strike("spool:added")


class Bugs(logging.Handler):
    """What the worker outlives in production, and what must not pass in a test."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            self.found.append(error)
