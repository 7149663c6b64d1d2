"""What an append, a proof and the reading of a case cost in a small log and in a large one."""

import random
import time
from collections.abc import Callable
from typing import Any

from bench.context import Bench
from bench.figures import Figure, at_most, median
from bench.installation import install
from bench.requests import Requests, fill, opened

SMALL = 10_000
_SAMPLES = 400
_MS = 1000


async def run(bench: Bench) -> list[Figure]:
    """The small log is measured after the large one is made, so that both see the same machine."""
    _, large = await bench.grown(bench.sizes.records)
    async with opened(install(bench.folder("small") / "muniment")) as small:
        await fill(small, min(SMALL, bench.sizes.records // 2))
        sizes = small.service.log.size, large.service.log.size
        found = [(await _costs(small), await _costs(large)) for _ in range(bench.sizes.rounds)]
    return [
        Figure(
            what=f"{what} at {sizes[1]:,} records",
            value=median([there[what] for _, there in found]),
            unit="ms",
            beside=f"at {sizes[0]:,} records",
            yardstick=median([here[what] for here, _ in found]),
            goal=at_most(2),
        )
        for what in found[0][0]
    ]


async def _costs(requests: Requests) -> dict[str, float]:
    """Milliseconds, medians; positions are drawn anew, so that no cache knows them."""
    log = requests.service.log
    rng = random.Random(1)  # noqa: S311 (the same positions each time)
    places = [rng.randrange(log.size) for _ in range(_SAMPLES)]
    cases = [log.read_entry(place).header.case for place in places[: _SAMPLES // 2]]
    appends = []
    for _ in range(_SAMPLES):
        began = time.perf_counter()
        await requests.service.replies.of(log.append(requests.proposal()))
        appends.append((time.perf_counter() - began) * _MS)
    return {
        "append": median(appends),
        "inclusion proof": _each(lambda place: log.inclusion(place, log.size), places),
        "read a case, proved": _each(log.read_case, cases),
    }


def _each(call: Callable[[Any], Any], values: list[Any]) -> float:
    taken = []
    for value in values:
        began = time.perf_counter()
        call(value)
        taken.append((time.perf_counter() - began) * _MS)
    return median(taken)
