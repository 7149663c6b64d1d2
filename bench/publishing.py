"""
What it costs that others remember the log: two witnesses that are programs of their own.

- Appends while the newest head is published each second, beside the same appends without that.
- One publication that both witnesses cosign, beside one exchange with one of them.
"""

import asyncio
import contextlib
import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from bench.appends import Load
from bench.context import Bench
from bench.figures import Figure, at_least, median
from bench.installation import MUNIMENT, environment, install
from bench.requests import Requests, opened
from muniment.evidence.witness_policy import WitnessPolicy
from muniment.operations import publish
from muniment.operations.publishing import Publishing, WitnessRules
from muniment.runtime.outbound import CheckedOutbound

WRITERS = 16
EVERY = 1.0
#: publications that are timed in each round
TIMED = 20


async def run(bench: Bench) -> list[Figure]:
    folder = bench.folder("publishing")
    installation = install(folder / "muniment")
    quiet, shown, whole, bare = [], [], [], []
    with contextlib.ExitStack() as held:
        vkey = installation.vkey.read_text("ascii").strip()
        found = [held.enter_context(_witness(folder / f"w{n}", vkey)) for n in range(2)]
        async with opened(installation) as requests:
            _ask(requests, found)
            for _ in range(bench.sizes.rounds):
                quiet.append(await _append(requests, bench.sizes.seconds))
                async with _publishing(requests):
                    shown.append(await _append(requests, bench.sizes.seconds))
                for _ in range(TIMED):
                    await requests.service.replies.of(
                        requests.service.log.append(requests.proposal())
                    )
                    whole.append(await _timed_publication(requests))
                    bare.append(await _timed_exchange(requests, found[0][1]))
    return [
        Figure(
            what=f"requests appended, {WRITERS} writers, published each second to two witnesses",
            value=median([load.rate for load in shown]), unit="/s",
            beside="without publishing", yardstick=median([load.rate for load in quiet]),
            goal=at_least(0.9),
        ),
        Figure(
            what="one publication, two witnesses asked at once", value=median(whole) * 1000,
            unit="ms", beside="one exchange with one witness", yardstick=median(bare) * 1000,
        ),
    ]  # fmt: skip


async def _append(requests: Requests, seconds: float) -> Load:
    load, log = Load(), requests.service.log
    began = time.perf_counter()

    async def write() -> None:
        while (start := time.perf_counter()) < began + seconds:
            await requests.service.replies.of(log.append(requests.proposal()))
            load.latencies.append(time.perf_counter() - start)

    await asyncio.gather(*(write() for _ in range(WRITERS)))
    load.seconds = time.perf_counter() - began
    return load


@contextlib.asynccontextmanager
async def _publishing(requests: Requests) -> AsyncIterator[None]:
    async def go_on() -> None:
        while True:
            await publish.publish(requests.service)
            await asyncio.sleep(EVERY)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _timed_publication(requests: Requests) -> float:
    began = time.perf_counter()
    published = await publish.publish(requests.service)
    seconds = time.perf_counter() - began
    if not publish.is_witnessed(requests.service, published):
        raise RuntimeError(f"not witnessed: {requests.service.publishing.troubles}")
    return seconds


async def _timed_exchange(requests: Requests, url: str) -> float:
    outbound = requests.service.outbound
    if outbound is None:
        raise RuntimeError
    began = time.perf_counter()
    await outbound.fetch("GET", f"{url}/healthz", {}, b"", timeout=5, max_bytes=10_000, allow={url})
    return time.perf_counter() - began


def _ask(requests: Requests, found: list[tuple[str, str]]) -> None:
    lines = [f"witness w{n} {key} {url}" for n, (key, url) in enumerate(found)]
    text = "\n".join([*lines, "group both all w0 w1", "quorum both", ""])
    requests.service.outbound = CheckedOutbound()
    requests.service.publishing = Publishing(
        rules=WitnessRules(
            policy=WitnessPolicy.parse(text),
            text=text,
            allow=frozenset(url for _, url in found),
        )
    )


@contextlib.contextmanager
def _witness(folder: Path, vkey: str) -> Iterator[tuple[str, str]]:
    """A witness that knows this log: its key, and its address."""
    made = _run("witness", "init", str(folder), "--name", f"{folder.name}.example", "--json")
    _run("witness", "add", str(folder), vkey)
    command = [*MUNIMENT, "witness", "serve", str(folder), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(  # noqa: S603 (our own program and arguments)
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            said = process.stdout.readline() if process.stdout is not None else ""
            yield json.loads(made)["key"], said.split()[-1]
        finally:
            process.kill()


def _run(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 (our own program and arguments)
        [*MUNIMENT, *arguments], env=environment(), capture_output=True, text=True, check=True
    )
    return done.stdout
