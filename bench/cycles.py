"""
Request, approve, credential, end on a real PostgreSQL, beside OpenBao's issue and revoke.

Ours: each step one call; all of it recorded, durable and proved, and the account seen gone before
the end is answered. OpenBao: a dynamic credential is read and its lease revoked synchronously, its
audit device on, its storage in memory. Both take turns on the same server with the same client.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from bench import openbao
from bench.context import Bench
from bench.figures import Figure, at_least, median, percentile
from bench.http import asked, denial
from bench.installation import AUTO, RESOURCE, Failed, Served
from bench.load import Client
from bench.openbao import OpenBao
from bench.target import installed, postgres

CLIENTS = (1, 8)
_TTL = 3600
_MS = 1000
#: whether the end was seen before it was answered
Cycle = Callable[[], Awaitable[bool]]


@dataclass
class Taken:
    """All rounds of one competitor with one number of clients."""

    rates: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    #: share of cycles whose end was seen before it was answered
    seen: list[float] = field(default_factory=list)


async def run(bench: Bench) -> list[Figure]:
    names = ("approved", "auto", "bao")
    taken = {(name, clients): Taken() for clients in CLIENTS for name in names}
    async with AsyncExitStack() as stack:
        server = stack.enter_context(postgres(bench.folder("postgres")))
        installation = installed(bench.folder("cycles") / "muniment", server)
        service = stack.enter_context(installation.served())
        bao = await stack.enter_async_context(
            openbao.serving(bench.folder("openbao"), server, _TTL)
        )
        for _ in range(bench.sizes.rounds):
            for clients in CLIENTS:
                for name in names:
                    seconds = bench.sizes.seconds
                    await _measure(name, service, bao, clients, seconds, taken[name, clients])
        if not bao.audit_log.stat().st_size:
            raise Failed("OpenBao's audit device wrote nothing")
    return [figure for clients in CLIENTS for figure in _figures(clients, taken)]


def _figures(clients: int, taken: dict[tuple[str, int], Taken]) -> list[Figure]:
    bao = taken["bao", clients]
    name = f"{clients} client{'s' if clients > 1 else ''}"
    found = []
    for kind, what in (
        ("auto", "request, credential, end"),
        ("approved", "request, approve, credential, end"),
    ):
        ours = taken[kind, clients]
        found += [
            Figure(
                what=f"{what}, {name}", value=median(ours.rates), unit="/s",
                beside="OpenBao issue, revoke", yardstick=median(bao.rates),
                goal=at_least(1) if kind == "auto" else None,
            ),
            Figure(
                what=f"p50 of a cycle ({what}), {name}", value=median(ours.p50), unit="ms",
                beside="OpenBao issue, revoke", yardstick=median(bao.p50),
            ),
            Figure(
                what=f"processor time of a cycle ({what}), {name}", value=median(ours.cpu),
                unit="ms", beside="OpenBao issue, revoke", yardstick=median(bao.cpu),
            ),
            Figure(
                what=f"removal seen before the end is answered ({what}), {name}",
                value=100 * median(ours.seen), unit="%",
            ),
        ]  # fmt: skip
    return found


async def _measure(
    name: str, service: Served, bao: OpenBao, clients: int, seconds: float, taken: Taken
) -> None:
    async with AsyncExitStack() as stack:
        if name == "bao":
            cycles = [await _bao_cycle(stack, bao) for _ in range(clients)]
        else:
            cycles = [await our_cycle(stack, service, name == "auto") for _ in range(clients)]
        cpu = (bao if name == "bao" else service).cpu
        before, began, latencies, seen = cpu(), time.perf_counter(), [], 0

        async def work(cycle: Cycle) -> None:
            nonlocal seen
            while (start := time.perf_counter()) < began + seconds:
                was_seen = await cycle()
                seen += was_seen
                latencies.append(time.perf_counter() - start)

        await asyncio.gather(*map(work, cycles))
        taken.rates.append(len(latencies) / (time.perf_counter() - began))
        taken.p50.append(percentile(latencies, 0.5) * _MS)
        taken.seen.append(seen / len(latencies))
        taken.cpu.append((cpu() - before) / len(latencies) * _MS)


async def our_cycle(stack: AsyncExitStack, service: Served, auto: bool) -> Cycle:
    """One client's cycle; what it asks was evaluated once before, and that denial is reused."""
    ana = await stack.enter_async_context(await connected(service, "ana"))
    bo = await stack.enter_async_context(await connected(service, "bo"))
    body = asked(AUTO if auto else RESOURCE)
    body["denial"] = denial(await ana.post("/access/v1/evaluation", body))

    async def cycle() -> bool:
        case = (await ana.post("/access/v1/requests", body))["task"]["id"]
        if not auto:
            await bo.post(f"/v1/cases/{case}/approval")
        issued = await ana.post(f"/v1/cases/{case}/credential")
        ended = await ana.post(f"/v1/cases/{case}/end")
        if not issued["credential"]["secret"]:
            raise Failed(f"no credential for case {case}")
        return bool(ended["removal"] == "verified")

    return cycle


async def connected(service: Served, login: str) -> Client:
    return await Client.to(service.port, {"Authorization": f"Bearer {service.tokens[login]}"})


async def _bao_cycle(stack: AsyncExitStack, bao: OpenBao) -> Cycle:
    client = await stack.enter_async_context(await Client.to(bao.port, bao.headers))

    async def cycle() -> bool:
        issued = await client.get("/v1/database/creds/app")
        lease = {"lease_id": issued["lease_id"], "sync": True}
        await client.post("/v1/sys/leases/revoke", lease)
        return True

    return cycle
