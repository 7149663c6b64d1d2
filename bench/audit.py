"""
The audit of a whole log from SQLite, beside one SHA-256 over the bytes of the same entries.

The yardstick hashes from memory: reading the database is on our side only.
"""

import json
import subprocess
import time
from functools import partial
from hashlib import sha256
from pathlib import Path

from bench.context import Bench
from bench.figures import Figure, at_most, median
from bench.installation import MUNIMENT, Failed, environment
from bench.requests import Requests
from muniment.evidence.audit import SUBTREE, audit
from muniment.evidence.audit_tiles import audit_tiles
from muniment.evidence.note import VerifierKey
from muniment.evidence.store import Published
from muniment.evidence.tile_log import TileLog
from muniment.operations import mirror
from muniment.stores.read_only import ReadOnlyStore
from muniment.stores.tile_directory import TileDirectory

#: `muniment audit` uses a second core from this size on
_SPREADS = 4 * SUBTREE
#: a bundle of 256 entries of 64 KiB
_MOST = 1 << 24


async def run(bench: Bench) -> list[Figure]:
    installation, requests = await bench.grown(bench.sizes.records)
    size = requests.service.log.size
    key = VerifierKey.parse(installation.vkey.read_text("ascii").strip())
    floor, quick, full, command = [], [], [], []
    for _ in range(bench.sizes.rounds):
        store = ReadOnlyStore(installation.database)
        floor.append(_floor(store, size))
        quick.append(_timed(store, key, full=False))
        command.append(_command(installation.database, installation.vkey))
        store.close()
    store = ReadOnlyStore(installation.database)
    full.append(_timed(store, key, full=True))
    store.close()
    of, beside = f"of {size:,} records", "SHA-256 over the same bytes"
    yardstick = median(floor)
    figure = partial(Figure, unit="s", beside=beside, yardstick=yardstick)
    spread = size >= _SPREADS
    tiles = await _mirrored(bench, requests)
    state = bench.folder("state") / "head"
    alone = [_tiles(tiles, key) for _ in range(bench.sizes.rounds)]
    whole = [
        _command(tiles, installation.vkey, "--from-start", "--state", str(state))
        for _ in range(bench.sizes.rounds)
    ]
    return [
        figure(what=f"audit {of} from tiles, one core", value=median(alone), goal=at_most(3)),
        figure(
            what=f"`muniment audit` {of} from tiles, {'all cores' if spread else 'one core'}",
            value=median(whole),
            goal=at_most(1.8) if spread else None,
        ),
        figure(what=f"audit {of}, one core", value=median(quick), goal=at_most(3.5)),
        figure(
            what=f"`muniment audit` {of}, start to end, {'all cores' if spread else 'one core'}",
            value=median(command),
            goal=at_most(2) if spread else None,
        ),
        figure(what=f"full audit {of}: every record, tile, section read", value=median(full)),
    ]


def _floor(store: ReadOnlyStore, size: int) -> float:
    hashed, seconds = sha256(), 0.0
    for start in range(0, size, SUBTREE):
        part = b"".join(data for _, data in store.entries(start, min(start + SUBTREE, size)))
        began = time.perf_counter()
        hashed.update(part)
        seconds += time.perf_counter() - began
    return seconds


def _timed(store: ReadOnlyStore, key: VerifierKey, *, full: bool) -> float:
    began = time.perf_counter()
    found = audit(store, key, full=full)
    seconds = time.perf_counter() - began
    if not found.holds:
        raise Failed(f"the log does not hold: {found.bad}")
    return seconds


async def _mirrored(bench: Bench, requests: Requests) -> Path:
    """The same log as a folder of tiles."""
    log, folder = requests.service.log, bench.folder("tiles")
    await mirror.copy(log, TileDirectory(folder), Published(log.size, log.checkpoint))
    return folder


def _tiles(folder: Path, key: VerifierKey) -> float:
    tiles = TileDirectory(folder)
    began = time.perf_counter()
    found = audit_tiles(TileLog(lambda path: tiles.get(path, _MOST)), key)
    seconds = time.perf_counter() - began
    if not found.holds:
        raise Failed(f"the tiles do not hold: {found.bad}")
    return seconds


def _command(log: Path, vkey: Path, *options: str) -> float:
    began = time.perf_counter()
    done = subprocess.run(  # noqa: S603 (our own program and arguments)
        [*MUNIMENT, "audit", str(log), "--log-key", str(vkey), "--json", *options],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    if done.returncode:
        raise Failed(f"`muniment audit`: {done.stderr or json.loads(done.stdout)}")
    return seconds
