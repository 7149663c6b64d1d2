"""
What an append, a proof and the reading of a case cost in a small log and in a large one.

A log of ten million records is not made by requests: its leaves are those of short lines, put into
the tables of the store in bulk. Only inclusion proofs are measured there.
"""

import random
import time
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from bench.context import FULL, Bench
from bench.figures import Figure, at_most, median
from bench.installation import install
from bench.requests import Requests, fill, opened
from muniment.evidence import merkle
from muniment.evidence.tree import StoredTree, Tree
from muniment.stores.sqlite import INSERT_ENTRY, PUT_TILE, SQLiteStore, connect

SMALL = 10_000
HUGE = 10_000_000
_PIECE = 200_000
_SAMPLES = 400
_MS = 1000


async def run(bench: Bench) -> list[Figure]:
    """The small log is measured after the large one is made, so that both see the same machine."""
    _, large = await bench.grown(bench.sizes.records)
    async with opened(install(bench.folder("small") / "muniment")) as small:
        await fill(small, min(SMALL, bench.sizes.records // 2))
        sizes = small.service.log.size, large.service.log.size
        found = [(await _costs(small), await _costs(large)) for _ in range(bench.sizes.rounds)]
    figures = [
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
    return [*figures, _huge(bench)] if bench.sizes.records == FULL.records else figures


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


# --- ten million --------------------------------------------------------------------------------


def _huge(bench: Bench) -> Figure:
    paths = {size: bench.folder("leaves") / "muniment.db" for size in (SMALL, HUGE)}
    for size, path in paths.items():
        _put(path, size)
    rounds = [{size: _proofs(path, size) for size, path in paths.items()}
              for _ in range(bench.sizes.rounds)]  # fmt: skip
    return Figure(
        what=f"inclusion proof at {HUGE:,} records", unit="ms",
        value=median([found[HUGE] for found in rounds]), beside=f"at {SMALL:,} records",
        yardstick=median([found[SMALL] for found in rounds]), goal=at_most(2),
    )  # fmt: skip


def _put(path: Path, size: int) -> None:
    SQLiteStore(path).close()  # makes the tables
    tree, lines = Tree(), (b"record %d" % number for number in range(size))
    with closing(connect(path)) as connection:
        connection.execute("DROP TRIGGER entries_are_dense")
        connection.execute("PRAGMA synchronous=OFF")
        while piece := list(islice(lines, _PIECE)):
            rows = []
            for line in piece:
                rows.append((tree.size, merkle.leaf_hash(line), line))
                tree.push(rows[-1][1])
            tiles = [(*place, hashes) for place, hashes in tree.changed_tiles().items()]
            tree.forget_changes()
            connection.execute("BEGIN")
            connection.executemany(INSERT_ENTRY, rows)
            connection.executemany(PUT_TILE, tiles)
            connection.execute("COMMIT")


def _proofs(path: Path, size: int) -> float:
    rng = random.Random(1)  # noqa: S311 (the same positions each time)
    with closing(SQLiteStore(path)) as store:
        tree = StoredTree(store)
        places = [rng.randrange(size) for _ in range(_SAMPLES)]
        return _each(lambda at: merkle.inclusion_proof(at, size, tree.at(size).node), places)
