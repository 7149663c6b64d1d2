"""
A yearly report from a mirror: made and checked, beside hashing the same entries alone.

Each run is a process of its own, so that the most memory it ever had is its own, too.
"""

import asyncio
import contextlib
import io
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.context import FULL, SMOKE, Bench
from bench.figures import Figure, at_most
from muniment.evidence import merkle
from muniment.interfaces.cli.main import run as muniment
from muniment.interfaces.cli.report_sources import of_tiles
from muniment.interfaces.cli.tile_sources import TileFolder
from muniment.testing.written_year import WrittenYear

#: seconds that are enough for a year of 100,000 grants
_ENOUGH = 60
_MIB = 1 << 20


@dataclass(frozen=True)
class Taken:
    seconds: float
    entries: int
    #: most memory, in MiB
    memory: float


async def run(bench: Bench) -> list[Figure]:
    small, large = (100, 1_000) if bench.sizes is SMOKE else (1_000, 10_000)
    if bench.sizes is FULL:
        small, large = 10_000, 100_000
    taken: dict[tuple[str, int], Taken] = {}
    for grants in (small, large):
        folder = bench.work / f"reports-{grants}"
        await _alone(_write, folder, grants)
        for what in (_hash, _make, _check):
            taken[what.__name__, grants] = await _alone(what, folder)
    made, checked = taken["_make", large], taken["_check", large]
    hashed = taken["_hash", large]
    return [
        Figure(
            what=f"a report over {large:,} grants, {made.entries:,} records",
            value=made.seconds,
            unit="s",
            beside="hashing the records alone",
            yardstick=hashed.seconds,
            goal=at_most(_ENOUGH, of="value"),
        ),
        Figure(
            what=f"its check, {large:,} grants",
            value=checked.seconds,
            unit="s",
            beside="making it",
            yardstick=made.seconds,
            goal=at_most(1.5),
        ),
        Figure(
            what=f"most memory of its check, {large:,} grants",
            value=checked.memory,
            unit="MiB",
            beside=f"{small:,} grants",
            yardstick=taken["_check", small].memory,
            goal=at_most(2.5),
        ),
    ]


async def _alone(what: Callable[..., Taken], *given: object) -> Taken:
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as pool:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool, what, *given)


def _write(folder: Path, grants: int) -> Taken:
    (folder / "mirror").mkdir(parents=True)
    year = WrittenYear(grants=grants)
    size = year.tiles(folder / "mirror").size
    (folder / "log.vkey").write_text(year.key.verifier.vkey)
    return _taken(0, size)


def _hash(folder: Path) -> Taken:
    log = of_tiles(TileFolder(folder / "mirror"))
    began = time.perf_counter()
    merkle.root(merkle.leaf_hash(data) for _, data in log.entries(0, log.size))
    return _taken(time.perf_counter() - began, log.size)


def _make(folder: Path) -> Taken:
    return _command(
        folder, "--framework", "pci", "--period", "2026", "-o", str(folder / "report"),
        "--log", str(folder / "mirror"),
    )  # fmt: skip


def _check(folder: Path) -> Taken:
    return _command(folder, "--check", str(folder / "report"))


def _command(folder: Path, *arguments: str) -> Taken:
    size = of_tiles(TileFolder(folder / "mirror")).size
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = muniment(["report", *arguments, "--log-key", str(folder / "log.vkey")])
    if code:
        raise AssertionError(said.getvalue())
    return _taken(time.perf_counter() - began, size)


def _taken(seconds: float, entries: int) -> Taken:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # bytes on macOS, kibibytes elsewhere
    memory = most / _MIB if sys.platform == "darwin" else most / 1024
    return Taken(seconds=seconds, entries=entries, memory=memory)
