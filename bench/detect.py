"""
All detectors over an ordinary year, beside the making of its facts alone.

Each run is a process of its own, so that the most memory it ever had is its own, too. Facts are
made as they are shown: that is part of both figures.
"""

import asyncio
import multiprocessing
import resource
import sys
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from bench.context import FULL, QUICK, SMOKE, Bench
from bench.figures import Figure, at_most
from muniment.oversight.detectors import BUILT_IN
from muniment.oversight.watch import backtest
from muniment.testing.ordinary_year import OrdinaryYear

#: grants of a small year and of a large one
_SIZES = {SMOKE: (1_000, 10_000), QUICK: (10_000, 40_000), FULL: (10_000, 100_000)}
#: seconds that are enough for a year of the large one
_ENOUGH = 60
_MIB = 1 << 20


@dataclass(frozen=True)
class Taken:
    seconds: float
    facts: int
    #: most memory, in MiB
    memory: float


async def run(bench: Bench) -> list[Figure]:
    small, large = _SIZES[bench.sizes]
    figures = []
    watched = {grants: await _alone(grants, watching=True) for grants in (small, large)}
    for grants, taken in watched.items():
        made = await _alone(grants, watching=False)
        figures.append(
            Figure(
                what=f"{len(BUILT_IN)} detectors, {grants:,} grants, {taken.facts:,} facts",
                value=taken.seconds,
                unit="s",
                beside="making the facts alone",
                yardstick=made.seconds,
                goal=at_most(_ENOUGH, of="value"),
            )
        )
    return [
        *figures,
        Figure(
            what=f"most memory, {large:,} grants",
            value=watched[large].memory,
            unit="MiB",
            beside=f"{small:,} grants",
            yardstick=watched[small].memory,
            goal=at_most(3),
        ),
    ]


async def _alone(grants: int, *, watching: bool) -> Taken:
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as pool:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool, _measure, grants, watching)


def _measure(grants: int, watching: bool) -> Taken:
    year = OrdinaryYear(grants=grants)
    began = time.perf_counter()
    if watching:
        found = backtest(year.facts(), BUILT_IN, {}, year.working_days)
        count = sum(found.facts.values())
    else:
        last = deque(enumerate(year.facts(), 1), maxlen=1)
        count = last[0][0]
    seconds = time.perf_counter() - began
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # bytes on macOS, kibibytes elsewhere
    memory = most / _MIB if sys.platform == "darwin" else most / 1024
    return Taken(seconds=seconds, facts=count, memory=memory)
