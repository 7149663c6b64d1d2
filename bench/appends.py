"""
Durable appends through the log, beside bare commits and beside one transaction per request.

- `Log` on SQLite with its head store: both records of a request with their sections, the tree, the
  signed checkpoint, projection and due work. Requesters share one event loop, as in the service.
- Bare: the same bytes in the same batches into one table of one SQLite file, `synchronous=FULL`.
- Ungrouped: the same code from as many threads, but each request is a transaction of its own and
  waits for its turn as SQLite's connections do: by trying again.
"""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench.context import Bench
from bench.figures import Figure, at_least, at_most, median, percentile
from bench.installation import install
from bench.requests import Requests, opened
from muniment.errors import Stale
from muniment.evidence.append import Appended, Outcome, Proposal
from muniment.evidence.log import Log

WRITERS = (1, 16, 64)
_MS = 1000


@dataclass
class Load:
    """What one load came to."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def ms(self, share: float) -> float:
        return percentile(self.latencies, share) * _MS


@dataclass
class Taken:
    """All rounds of one number of writers."""

    grouped: list[Load] = field(default_factory=list)
    ungrouped: list[Load] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    batch: float = 0.0


async def run(bench: Bench) -> list[Figure]:
    taken = {writers: Taken() for writers in WRITERS}
    ours, alone = bench.folder("appends"), bench.folder("alone")
    installation = install(ours / "muniment")
    async with (
        opened(installation) as grouped,
        opened(install(alone / "muniment")) as ungrouped,
    ):
        # once: from here on it alone knows where that log ends
        view = _Ungrouped.of(ungrouped.service.log, alone / "turns.db")
        for _ in range(bench.sizes.rounds):
            for writers, found in taken.items():
                before, seconds = grouped.service.log.size, bench.sizes.seconds
                found.grouped.append(await grouped(grouped, writers, seconds))
                batches = _batches(installation.database, before)
                found.batch = sum(map(len, batches)) / 2 / len(batches)
                found.bare.append(_bare(bench.folder("bare") / "bare.db", batches) / 2)
                load = await asyncio.to_thread(_ungrouped, ungrouped, view, writers, seconds)
                found.ungrouped.append(load)
    return [figure for writers, found in taken.items() for figure in _figures(writers, found)]


def _figures(writers: int, found: Taken) -> list[Figure]:
    best = sorted(found.grouped, key=lambda load: load.rate)[len(found.grouped) // 2]
    alone = sorted(found.ungrouped, key=lambda load: load.rate)[len(found.ungrouped) // 2]
    most = writers == WRITERS[-1]
    name = f"{writers} writer{'s' if writers > 1 else ''}"
    return [
        Figure(
            what=f"requests appended, {name} ({found.batch:.0f} a batch)",
            value=best.rate, unit="/s",
            beside="bare commits of the same bytes and batches", yardstick=median(found.bare),
            goal=at_least(0.4) if most else None,
        ),
        Figure(
            what=f"requests appended, {name}", value=best.rate, unit="/s",
            beside="one transaction per request", yardstick=alone.rate,
            goal=at_least(5) if most else None,
        ),
        Figure(what=f"p50 of an append, {name}", value=best.ms(0.5), unit="ms",
               beside="one transaction per request", yardstick=alone.ms(0.5)),
        Figure(what=f"p99 of an append, {name}", value=best.ms(0.99), unit="ms",
               beside="one transaction per request", yardstick=alone.ms(0.99),
               goal=at_most(1 / 20) if most else None),
    ]  # fmt: skip


# --- through the log --------------------------------------------------------------------------


async def grouped(requests: Requests, writers: int, seconds: float) -> Load:
    load, log = Load(), requests.service.log
    began = time.perf_counter()

    async def write() -> None:
        while (start := time.perf_counter()) < began + seconds:
            await requests.service.replies.of(log.append(requests.proposal()))
            load.latencies.append(time.perf_counter() - start)

    await asyncio.gather(*(write() for _ in range(writers)))
    load.seconds = time.perf_counter() - began
    return load


def _ungrouped(requests: Requests, log: Log, writers: int, seconds: float) -> Load:
    load = Load()
    began = time.perf_counter()

    def write(_number: int) -> None:
        while (start := time.perf_counter()) < began + seconds:
            while not _stands(log.append(requests.proposal())):
                pass
            load.latencies.append(time.perf_counter() - start)

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, range(writers)))
    load.seconds = time.perf_counter() - began
    return load


def _stands(appended: "Future[Appended]") -> bool:
    """Who waits for his turn for longer than 5 s has to decide again, as the product would."""
    try:
        appended.result()
    except Stale:
        return False
    return True


class _Ungrouped(Log):
    """
    The same log without its writer thread: whoever appends commits, alone, when it is his turn.

    A turn is the write lock of a SQLite file, for which each thread has a connection.
    """

    _turns: Path
    _local: threading.local

    @classmethod
    def of(cls, log: Log, turns: Path) -> "_Ungrouped":
        """Another view of an open log; that one must not be appended to any more."""
        made = cls.__new__(cls)
        vars(made).update(vars(log), _turns=turns, _local=threading.local())
        return made

    def append(self, item: Proposal | Outcome) -> "Future[Appended]":
        future: Future[Appended] = Future()
        with self._turn():
            self._write([(item, future)])
        return future

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if not hasattr(self._local, "connection"):
            self._local.connection = sqlite3.connect(self._turns, timeout=60, isolation_level=None)
        self._local.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            self._local.connection.execute("ROLLBACK")


# --- the yardstick ----------------------------------------------------------------------------


def _batches(database: Path, before: int) -> list[list[bytes]]:
    """The bytes of every record behind the first `before`, with its sections, by transaction."""
    with sqlite3.connect(database) as connection:
        ends = connection.execute(
            "SELECT size FROM checkpoints WHERE size > ? ORDER BY size", (before,)
        ).fetchall()
        found, start = [], before
        for (stop,) in ends:
            rows = connection.execute(
                "SELECT e.header, e.leaf, s.salt, s.content FROM entries e"
                " LEFT JOIN sections s ON s.idx = e.idx WHERE e.idx >= ? AND e.idx < ?",
                (start, stop),
            )
            found.append([b"".join(filter(None, row)) for row in rows])
            start = stop
    return found


def _bare(path: Path, batches: Sequence[Sequence[bytes]]) -> float:
    """Records per second; the batches are written again until a second has passed."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, data BLOB NOT NULL)")
    began, seconds, written = time.perf_counter(), 0.0, 0
    while seconds < 1:
        for batch in batches:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO rows (data) VALUES (?)", zip(batch))
            connection.execute("COMMIT")
        written += sum(map(len, batches))
        seconds = time.perf_counter() - began
    connection.close()
    return written / seconds
