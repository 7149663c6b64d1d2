"""
Load over HTTP on 127.0.0.1, bounded in connections and in time.

`wrk` where it is installed: it costs a tenth of a Python client, which would take the service's
processor time away. Without it a small client of our own; its figures are lower, and say so.
"""

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, Self

from bench.figures import percentile
from bench.installation import Failed

_MS = 1000
_LUA = """
wrk.method = "POST"
wrk.headers = %s
local bodies = {%s}
local turn = 0
function request()
  turn = turn %% #bodies + 1
  return wrk.format(nil, nil, nil, bodies[turn])
end
function done(summary, latency)
  io.write(string.format("\\nBENCH %%d %%d %%d %%d %%d\\n", summary.requests,
    summary.errors.status + summary.errors.read + summary.errors.timeout,
    summary.duration, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a load came to; latencies in milliseconds."""

    requests: int
    rate: float
    p50: float
    p99: float
    by: str


@dataclass(frozen=True, kw_only=True)
class Post:
    """A POST that is repeated."""

    port: int
    path: str
    body: bytes
    headers: Mapping[str, str] = field(repr=False)
    #: further bodies, sent in turn with the first
    others: tuple[bytes, ...] = ()

    @property
    def bodies(self) -> tuple[bytes, ...]:
        return (self.body, *self.others)


def run(post: Post, clients: int, seconds: float, scratch: Path) -> Loaded:
    """Raises `Failed` if an answer was not a success."""
    if (wrk := shutil.which("wrk")) is not None:
        return _wrk(wrk, post, clients, seconds, scratch)
    return asyncio.run(_own(post, clients, seconds))


def _wrk(wrk: str, post: Post, clients: int, seconds: float, scratch: Path) -> Loaded:
    headers = "{" + ", ".join(f'["{k}"]="{v}"' for k, v in post.headers.items()) + "}"
    script = scratch / "load.lua"
    bodies = ", ".join(f"[==[{body.decode()}]==]" for body in post.bodies)
    script.write_text(_LUA % (headers, bodies), "utf-8")
    done = subprocess.run(  # noqa: S603 (found on the PATH; loopback, bounded)
        [wrk, "-t1", "--timeout", "10s", f"-c{clients}", f"-d{max(1, round(seconds))}s",
         "-s", str(script),
         f"http://127.0.0.1:{post.port}{post.path}"],
        capture_output=True, text=True, check=True, timeout=seconds + 30,
    )  # fmt: skip
    line = next(line for line in done.stdout.splitlines() if line.startswith("BENCH "))
    requests, bad, took, p50, p99 = map(int, line.split()[1:])
    if bad or not requests:
        raise Failed(f"{bad} of {requests} answers were no success")
    return Loaded(
        requests=requests, rate=requests / took * 1e6, p50=p50 / _MS, p99=p99 / _MS, by="wrk"
    )


async def _own(post: Post, clients: int, seconds: float) -> Loaded:
    taken: list[float] = []
    began = time.perf_counter()

    async def work() -> None:
        async with await Client.to(post.port, post.headers) as client:
            bodies = cycle(post.bodies)
            while (start := time.perf_counter()) < began + seconds:
                await client.send("POST", post.path, next(bodies))
                taken.append((time.perf_counter() - start) * _MS)

    await asyncio.gather(*(work() for _ in range(clients)))
    return Loaded(
        requests=len(taken),
        rate=len(taken) / (time.perf_counter() - began),
        p50=percentile(taken, 0.5),
        p99=percentile(taken, 0.99),
        by="own client",
    )


class Client:
    """One kept connection. As little as a benchmark needs, so that it costs little itself."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str
    ) -> None:
        self._reader, self._writer, self._head = reader, writer, head

    @classmethod
    async def to(cls, port: int, headers: Mapping[str, str]) -> Self:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = {"Host": f"127.0.0.1:{port}", "Content-Type": "application/json", **headers}
        return cls(reader, writer, "".join(f"{k}: {v}\r\n" for k, v in lines.items()))

    async def post(self, path: str, value: object = None) -> Any:
        """The answer's JSON; None where it has no body."""
        return await self.send("POST", path, b"{}" if value is None else json.dumps(value).encode())

    async def get(self, path: str) -> Any:
        return await self.send("GET", path, b"")

    async def send(self, method: str, path: str, body: bytes) -> Any:
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status, length = int(lines[0].split()[1]), 0
        for line in lines[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                length = int(value)
        answer = await self._reader.readexactly(length)
        if not 200 <= status < 300:  # noqa: PLR2004 (success)
            raise Failed(f"{method} {path}: {status} {answer[:500].decode(errors='replace')}")
        return json.loads(answer) if answer else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
