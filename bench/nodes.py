"""
Appends with the log in PostgreSQL: one node and two, beside bare commits on the same server.

- Each node is a process of its own, with 64 requesters on its event loop; log and head store are on
  two servers, each commit waits for its disk twice: in the log, and in the head store.
- Bare: the same bytes in the same batches into one table of one database, one transaction a batch.
- The same node on SQLite, for whoever has to choose.
"""

import asyncio
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from multiprocessing import get_context
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import psycopg

from bench.appends import Load, grouped
from bench.context import Bench
from bench.figures import Figure, median
from bench.installation import Installation, cli, install
from bench.requests import opened
from muniment.testing.log_servers import LogDatabases, LogServers

WRITERS = 64
_LOG, _HEADS = "BENCH_LOG", "BENCH_HEADS"
_STORE = f'\n[store]\nlog = "env:{_LOG}"\nheads = "env:{_HEADS}"\n'
_PATIENCE = 120.0
#: each starts four processes, which all read the log first: most of the time goes there
_ROUNDS = 2


async def run(bench: Bench) -> list[Figure]:
    files = install(bench.folder("nodes-in-files") / "muniment")
    with closing(LogServers.start(bench.folder("log-servers"))) as servers:
        databases = servers.new()
        first = _moved(bench, databases)
        nodes = [first, _copied(bench, first)]
        one, two, embedded, bare, sizes = [], [], [], [], []
        for _ in range(min(bench.sizes.rounds, _ROUNDS)):
            before = _size(databases)
            one.append(_rate(nodes[:1], bench.sizes.seconds))
            batches = _batches(databases, before)
            sizes.append(sum(map(len, batches)) / 2 / len(batches))
            bare.append(_bare(databases, batches) / 2)
            two.append(_rate(nodes, bench.sizes.seconds))
            embedded.append(_rate([files], bench.sizes.seconds))
    return [
        Figure(
            what=f"requests appended, one node, {WRITERS} writers ({median(sizes):.0f} a batch)",
            value=median(one), unit="/s",
            beside="bare commits of the same bytes and batches in PostgreSQL",
            yardstick=median(bare),
        ),
        Figure(
            what="requests appended, one node", value=median(one), unit="/s",
            beside="one node on SQLite", yardstick=median(embedded),
        ),
        Figure(
            what=f"requests appended, two nodes, {WRITERS} writers each", value=median(two),
            unit="/s", beside="one node", yardstick=median(one),
        ),
    ]  # fmt: skip


def _moved(bench: Bench, databases: LogDatabases) -> Installation:
    """An installation whose log was moved to PostgreSQL, as an operator does it."""
    os.environ.update({_LOG: databases.log, _HEADS: databases.heads})
    made = install(bench.folder("node") / "muniment")
    with (made.folder / "muniment.toml").open("a", encoding="utf-8") as settings:
        settings.write(_STORE)
    cli("migrate", "--dir", str(made.folder))
    return made


def _copied(bench: Bench, first: Installation) -> Installation:
    folder = bench.folder("node") / "muniment"
    shutil.copytree(first.folder, folder, ignore=shutil.ignore_patterns("data", "head"))
    return Installation(folder=folder, tokens=first.tokens)


def _rate(nodes: Sequence[Installation], seconds: float) -> float:
    """Requests per second over all nodes, which begin at the same moment."""
    context = get_context("spawn")
    barrier, queue = context.Barrier(len(nodes)), context.Queue()
    processes = [
        context.Process(target=_node, args=(node.folder, seconds, barrier, queue)) for node in nodes
    ]
    for process in processes:
        process.start()
    rates: list[float] = [queue.get(timeout=_PATIENCE) for _ in processes]
    for process in processes:
        process.join(_PATIENCE)
    return sum(rates)


def _node(folder: Path, seconds: float, barrier: Barrier, queue: "Queue[float]") -> None:
    queue.put(asyncio.run(_appends(folder, seconds, barrier)).rate)


async def _appends(folder: Path, seconds: float, barrier: Barrier) -> Load:
    async with opened(Installation(folder=folder)) as requests:
        barrier.wait(_PATIENCE)
        return await grouped(requests, WRITERS, seconds)


def _size(databases: LogDatabases) -> int:
    with psycopg.connect(databases.log_admin) as connection:
        row = connection.execute("SELECT size FROM muniment.log_state").fetchone()
        return int(row[0]) if row is not None else 0


def _batches(databases: LogDatabases, before: int) -> list[list[bytes]]:
    """The bytes of every record behind the first `before`, with its sections, by transaction."""
    with psycopg.connect(databases.log_admin) as connection:
        ends = connection.execute(
            "SELECT size FROM muniment.checkpoints WHERE size > %s ORDER BY size", (before,)
        ).fetchall()
        found, start = [], before
        for (stop,) in ends:
            rows = connection.execute(
                "SELECT e.header, e.leaf, s.salt, s.content FROM muniment.entries e"
                " LEFT JOIN muniment.sections s ON s.idx = e.idx"
                " WHERE e.idx >= %s AND e.idx < %s",
                (start, stop),
            )
            found.append([b"".join(filter(None, row)) for row in rows])
            start = stop
    return found


def _bare(databases: LogDatabases, batches: Sequence[Sequence[bytes]]) -> float:
    """Records per second; the batches are written again until a second has passed."""
    with psycopg.connect(databases.log_admin, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS public.bare")
        connection.execute("CREATE TABLE public.bare (id bigserial PRIMARY KEY, data bytea)")
        began, seconds, written = time.perf_counter(), 0.0, 0
        while seconds < 1:
            for batch in batches:
                with connection.pipeline(), connection.transaction():
                    connection.cursor().executemany(
                        "INSERT INTO public.bare (data) VALUES (%s)", [(each,) for each in batch]
                    )
            written += sum(map(len, batches))
            seconds = time.perf_counter() - began
    return written / seconds
