"""
A request over HTTP: decided, recorded and durable, beside HTTP alone and the policy engine alone.

The service is a real `muniment serve`. Processor time per request is what the kernel counted for
the whole process, over the load of the most clients.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import load
from bench.context import Bench
from bench.figures import Figure, at_least, at_most, median
from bench.installation import (
    RESOURCE,
    ROLE,
    Installation,
    Served,
    ended,
    environment,
    first_port,
    install,
)
from bench.plain_server import TOKEN
from bench.requests import ASK, caller, opened
from muniment.operations.facts import access_facts
from muniment.policy.decide import ask_request

CLIENTS = (1, 16, 64)
_US = 1e6
_PATH = "/access/v1/requests"


@dataclass
class Taken:
    """All rounds of one number of clients."""

    ours: list[load.Loaded] = field(default_factory=list)
    alone: list[load.Loaded] = field(default_factory=list)


@dataclass
class Costs:
    """Processor time per request, in microseconds, by round."""

    ours: list[float] = field(default_factory=list)
    route: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    engine: list[float] = field(default_factory=list)


async def run(bench: Bench) -> list[Figure]:
    installation, scratch = install(bench.folder("http") / "muniment"), bench.folder("load")
    costs, taken = Costs(), {clients: Taken() for clients in CLIENTS}
    async with opened(install(bench.folder("engine") / "muniment")) as requests:
        facts = access_facts(
            requests.service, caller(requests.service).principal,
            requests.service.role(RESOURCE, ROLE), seconds=ASK.seconds, emergency=False,
            reason=ASK.reason, now=requests.service.now(), signed_in=None,
        )  # fmt: skip
        bundle = requests.service.policy()
    with installation.served() as service, plain_served() as plain:
        post = await _post(installation, service)
        there = load.Post(port=plain.port, path="/route", body=post.body, headers=bearer(TOKEN))
        bare = load.Post(port=plain.port, path="/bare", body=post.body, headers=bearer(TOKEN))
        for each in (post, there, bare):
            _load(each, 16, 1, scratch)
        for _ in range(bench.sizes.rounds):
            costs.engine.append(_engine(bundle, facts, bench.sizes.seconds / 4))
            for clients, found in taken.items():
                seconds = bench.sizes.seconds
                ours, ours_cpu = _costed(service, post, clients, seconds, scratch)
                alone, alone_cpu = _costed(plain, there, clients, seconds / 2, scratch)
                found.ours.append(ours)
                found.alone.append(alone)
            costs.ours.append(ours_cpu)
            costs.route.append(alone_cpu)
            costs.bare.append(_costed(plain, bare, CLIENTS[-1], seconds / 2, scratch)[1])
    return [*_rates(taken), *_cpu(costs)]


def _rates(taken: dict[int, Taken]) -> Iterator[Figure]:
    for clients, found in taken.items():
        most = clients == CLIENTS[-1]
        name = f"{clients} client{'s' if clients > 1 else ''}"
        beside = f"HTTP alone ({found.ours[0].by})"
        yield Figure(
            what=f"requests decided and durable, {name}", unit="/s",
            value=median([one.rate for one in found.ours]), beside=beside,
            yardstick=median([one.rate for one in found.alone]),
            goal=at_least(2000, "value") if most else None,
        )  # fmt: skip
        yield Figure(
            what=f"p50, {name}", unit="ms", value=median([one.p50 for one in found.ours]),
            beside=beside, yardstick=median([one.p50 for one in found.alone]),
        )  # fmt: skip
        yield Figure(
            what=f"p99, {name}", unit="ms", value=median([one.p99 for one in found.ours]),
            beside=beside, yardstick=median([one.p99 for one in found.alone]),
            goal=at_most(40, "value") if most else None,
        )  # fmt: skip


def _cpu(costs: Costs) -> Iterator[Figure]:
    ours, route, bare, engine = map(median, (costs.ours, costs.route, costs.bare, costs.engine))
    what = "processor time per request"
    yield Figure(
        what=what, value=ours, unit="µs", beside="HTTP alone + engine alone",
        yardstick=route + engine, goal=at_most(2.5),
    )  # fmt: skip
    yield Figure(
        what=what, value=ours, unit="µs", beside="HTTP alone as a plain route + engine alone",
        yardstick=bare + engine,
    )  # fmt: skip
    yield Figure(
        what="the engine alone: ask, explain, write down", value=engine, unit="µs",
        beside="HTTP alone", yardstick=route,
    )  # fmt: skip


# --- what is loaded ---------------------------------------------------------------------------


async def _post(installation: Installation, service: Served) -> load.Post:
    """A request as a client sends it: bound to a denial that was evaluated before."""
    headers = bearer(installation.tokens["ana"])
    body = asked(RESOURCE)
    async with await load.Client.to(service.port, headers) as client:
        denied = await client.post("/access/v1/evaluation", body)
        body["denial"] = denial(denied)
        await client.post(_PATH, body)
    return load.Post(port=service.port, path=_PATH, body=json.dumps(body).encode(), headers=headers)


def asked(resource: str, seconds: int = ASK.seconds) -> dict[str, Any]:
    return {
        "subject": {"type": "human", "id": "ana"},
        "resource": {"type": "postgresql", "id": resource},
        "action": {"name": ROLE},
        "context": {
            "seconds": seconds,
            "ticket": ASK.reason.ticket,
            "business_justification": ASK.reason.text,
        },
    }


def denial(answer: Any) -> dict[str, str]:
    context = answer["context"]
    return {
        "evaluation_id": context["evaluation_id"],
        "expires_at": context["access_request"]["expires_at"],
    }


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


@contextlib.contextmanager
def plain_served() -> Iterator[Served]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.plain_server"],
        env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with ended(process):
        yield Served(port=first_port(process), pid=process.pid, tokens={})


# --- loads ------------------------------------------------------------------------------------


def _costed(
    served: Served, post: load.Post, clients: int, seconds: float, scratch: Path
) -> tuple[load.Loaded, float]:
    before = served.cpu()
    loaded = _load(post, clients, seconds, scratch)
    return loaded, (served.cpu() - before) / loaded.requests * _US


def _load(post: load.Post, clients: int, seconds: float, scratch: Path) -> load.Loaded:
    return load.run(post, clients, seconds, scratch)


def _engine(bundle: Any, facts: Any, seconds: float) -> float:
    """Processor time of one decision with its complete record, in microseconds."""
    count, cpu, began = 0, time.process_time(), time.perf_counter()
    while time.perf_counter() < began + seconds:
        ask_request(bundle, facts).content()
        count += 1
    return (time.process_time() - cpu) / count * _US
