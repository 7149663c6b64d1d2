"""
Grants that come due over a while, one in ten with an open session: until seen gone.

The lag is what the evidence itself says: `lag_ms` of `removal:verified`, from the moment the grant
was due to the end of the look that saw account and sessions gone. Beside it: a session on an
OpenBao credential whose lease expires.
"""

import asyncio
import contextlib
import json
import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psycopg

from bench import openbao
from bench.context import Bench
from bench.cycles import connected
from bench.figures import Figure, at_most, percentile
from bench.installation import AUTO, ROLE, Failed
from bench.load import Client
from bench.requests import ASK
from bench.target import installed, postgres
from muniment.testing.postgres_server import PostgresServer

_SESSIONS = 10  # one grant in so many
_MS, _S = 1000, 1.0
#: seconds that issuing one grant is given before the first one may be due
_EACH = 0.05
_WAIT = 60.0
_TTL = 3
_AT_ONCE = 4


async def run(bench: Bench) -> list[Figure]:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(postgres(bench.folder("postgres")))
        installation = installed(bench.folder("expiry") / "muniment", server)
        service = stack.enter_context(installation.served())
        ana = [
            await stack.enter_async_context(await connected(service, "ana"))
            for _ in range(_AT_ONCE)
        ]
        grants, spread = bench.sizes.grants, bench.sizes.spread
        sessions = await _issue(ana, grants, spread, stack)
        verified = await _verified(installation.database, grants)
        alive = sum(_alive(session) for session in sessions)
        bao = await stack.enter_async_context(
            openbao.serving(bench.folder("openbao"), server, _TTL)
        )
        theirs = await _outlive(bao, server)
    lags = [one["lag_ms"] / _MS for one in verified]
    killed = sum(one["sessions_killed"] for one in verified)
    name = f"{grants:,} grants due over {spread:.0f} s"
    due = "due to removal verified"
    outlived = "sessions that outlive their end"
    return [
        Figure(what=f"{due}, p50, {name}", value=percentile(lags, 0.5), unit="s"),
        Figure(
            what=f"{due}, p99, {name}", value=percentile(lags, 0.99), unit="s",
            goal=at_most(2, "value"),
        ),
        Figure(what=f"{due}, longest, {name}", value=max(lags), unit="s"),
        Figure(what=f"sessions killed, of {len(sessions)} that were open", value=killed, unit=""),
        Figure(
            what=outlived, value=alive, unit="",
            beside="of 1 on OpenBao, after its lease", yardstick=theirs["alive"],
            goal=at_most(0, "value"),
        ),
        Figure(
            what=f"{outlived} and still write", value=alive, unit="",
            beside="of 1 on OpenBao that did SET ROLE before", yardstick=theirs["writes"],
        ),
    ]  # fmt: skip


async def _issue(
    clients: list[Client], grants: int, spread: float, stack: AsyncExitStack
) -> list["psycopg.Connection[Any]"]:
    """Grants whose windows end evenly spread, after all of them were issued."""
    sessions: list[psycopg.Connection[Any]] = []
    first = time.monotonic() + max(3.0, grants * _EACH)
    todo = iter(range(grants))

    async def work(client: Client) -> None:
        for number in todo:
            due = first + number * spread / grants
            # grants of one role beside one another: nothing was denied that could be shown
            wish = {"resource": AUTO, "role": ROLE, "ticket": ASK.reason.ticket}
            seconds = max(1, math.ceil(due - time.monotonic()))
            case = (await client.post("/v1/cases", {**wish, "seconds": seconds}))["case"]
            issued = (await client.post(f"/v1/cases/{case}/credential"))["credential"]
            if number % _SESSIONS == 0:
                sessions.append(await asyncio.to_thread(_login, issued))

    await asyncio.gather(*map(work, clients))
    for session in sessions:
        stack.callback(session.close)
    return sessions


def _login(credential: dict[str, Any]) -> "psycopg.Connection[Any]":
    place = {("dbname" if k == "database" else k): v for k, v in credential["connection"].items()}
    return psycopg.connect(password=credential["secret"], autocommit=True, **place)


async def _verified(database: Path, grants: int) -> list[dict[str, Any]]:
    """The bodies of all `removal:verified` records, once there is one for each grant."""
    deadline = time.monotonic() + _WAIT + grants * 2 * _EACH + 60
    while time.monotonic() < deadline:
        found = list(_bodies(database))
        if len(found) >= grants:
            return found
        await asyncio.sleep(0.5)
    raise Failed(f"only {len(found)} of {grants} removals were verified in time")


def _bodies(database: Path) -> Iterator[dict[str, Any]]:
    with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as log:
        for (header,) in log.execute("SELECT header FROM entries WHERE idx > 0"):
            if b'"removal:verified"' in header:
                yield json.loads(header)["body"]


def _alive(session: "psycopg.Connection[Any]", query: bytes = b"SELECT 1") -> bool:
    try:
        session.execute(query)
    except psycopg.Error:
        return False
    return True


async def _outlive(bao: openbao.OpenBao, server: PostgresServer) -> dict[str, int]:
    """Two sessions on one lease, one of which took the role on; looked at once it has expired."""
    async with await Client.to(bao.port, bao.headers) as client:
        data = (await client.get("/v1/database/creds/app"))["data"]
    place = {"host": server.host, "port": server.port, "dbname": "postgres"}
    login = {"user": data["username"], "password": data["password"], **place}
    with (
        psycopg.connect(**login, autocommit=True) as plain,
        psycopg.connect(**login, autocommit=True) as taken_on,
        psycopg.connect(server.superuser_dsn, autocommit=True) as owner,
    ):
        taken_on.execute("SET ROLE app_rw")
        for _ in range(round(_WAIT * 5)):
            query = "SELECT count(*) FROM pg_roles WHERE rolname = %s"
            row = owner.execute(query, (data["username"],)).fetchone()
            if row is not None and row[0] == 0:
                break
            await asyncio.sleep(0.2)
        else:
            raise Failed("OpenBao did not remove its account in time")
        write = b"UPDATE orders SET state = 'written after the lease' WHERE id = 1"
        return {"alive": int(_alive(plain)), "writes": int(_alive(taken_on, write))}
