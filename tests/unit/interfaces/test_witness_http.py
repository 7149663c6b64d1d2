"""The HTTP interface of a witness: every status of C2SP tlog-witness, and what is sent in between."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from muniment.evidence.checkpoint import open_cosigned
from muniment.evidence.note import CosigningKey
from muniment.evidence.witness import MAX_REQUEST_BYTES, Witness
from muniment.interfaces.witness.app import make_app
from muniment.stores.witness_store import SQLiteWitnessStore
from muniment.testing.small_log import SmallLog, add_checkpoint

LOG = SmallLog()
FORK = LOG.other_history(3)
KEY = CosigningKey.generate("witness.example/1")
NOW = 1_800_000_000
MONITORED = f"/{sha256(LOG.origin.encode()).hexdigest()}/checkpoint"
TEXT = "text/plain; charset=utf-8"


@dataclass
class Served:
    """A witness behind its interface, without a network between."""

    client: httpx.AsyncClient
    store: SQLiteWitnessStore
    database: Path

    async def ask(self, body: bytes) -> tuple[int, str, str]:
        answer = await self.client.post("/add-checkpoint", content=body)
        return answer.status_code, answer.headers["content-type"], answer.text


@pytest.fixture
def worker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as worker:
        yield worker


@pytest.fixture
async def served(tmp_path: Path, worker: ThreadPoolExecutor) -> AsyncIterator[Served]:
    database = tmp_path / "witness.db"
    store = SQLiteWitnessStore.create(database, KEY.verifier)
    witness = Witness(KEY, store, lambda: {LOG.origin: (LOG.key.verifier,)}, lambda: NOW)
    transport = httpx.ASGITransport(make_app(witness, store, worker, patience=0.2))
    async with httpx.AsyncClient(transport=transport, base_url="http://witness") as client:
        yield Served(client, store, database)
    store.close()


async def test_the_sequence_of_a_log_and_of_those_who_are_not_it(served: Served) -> None:
    status, media_type, line = await served.ask(LOG.request(0, 4))
    assert (status, media_type) == (200, TEXT)
    keys = [LOG.key.verifier, KEY.verifier]
    assert open_cosigned(LOG.signed(4) + line.encode(), LOG.origin, keys)[1].cosigned_at
    assert (await served.ask(SmallLog("stranger.example").request(0, 4)))[:2] == (404, TEXT)
    assert (await served.ask(SmallLog(LOG.origin).request(4, 9)))[:2] == (403, TEXT)
    assert (await served.ask(add_checkpoint(9, [], LOG.signed(4))))[:2] == (400, TEXT)
    assert (await served.ask(b"old 4\n\njunk"))[:2] == (400, TEXT)
    assert (await served.ask(add_checkpoint(4, [], LOG.signed(9))))[:2] == (422, TEXT)
    assert (await served.ask(add_checkpoint(4, LOG.proof(3, 9), LOG.signed(9))))[:2] == (422, TEXT)
    assert (await served.ask(FORK.request(4, 4)))[:2] == (422, TEXT)
    assert await served.ask(LOG.request(0, 9)) == (409, "text/x.tlog.size", "4\n")
    assert (await served.ask(LOG.request(4, 9)))[:2] == (200, TEXT)
    assert await served.ask(LOG.request(4, 9)) == (409, "text/x.tlog.size", "9\n")
    assert (await served.ask(LOG.request(9, 9)))[:2] == (200, TEXT)


async def test_a_monitor_is_shown_what_was_cosigned_last(served: Served) -> None:
    assert (await served.client.get(MONITORED)).status_code == 404
    lines = [(await served.ask(LOG.request(old, new)))[2] for old, new in [(0, 4), (4, 9)]]
    answer = await served.client.get(MONITORED)
    assert (answer.status_code, answer.headers["content-type"]) == (200, TEXT)
    assert answer.content == LOG.signed(9) + lines[1].encode()


@pytest.mark.parametrize(
    "path",
    [
        "/checkpoint",
        f"/{'0' * 64}/checkpoint",
        f"/{'0' * 63}/checkpoint",
        MONITORED.upper().replace("CHECKPOINT", "checkpoint"),
        f"{MONITORED}/more",
        "/%0a/checkpoint",
        "/",
    ],
)
async def test_what_no_log_is_named_by_is_not_found(served: Served, path: str) -> None:
    await served.ask(LOG.request(0, 4))
    assert (await served.client.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/add-checkpoint"), ("POST", MONITORED), ("POST", "/metrics")]
)
async def test_another_method_is_not_allowed(served: Served, method: str, path: str) -> None:
    assert (await served.client.request(method, path)).status_code == 405


async def test_a_body_that_never_ends_is_cut_off(served: Served) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield bytes(16 * 1024)

    answer = await served.client.post("/add-checkpoint", content=endless())
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert sent <= MAX_REQUEST_BYTES // (16 * 1024) + 2


async def test_a_body_of_the_largest_size_is_read(served: Served) -> None:
    assert (await served.ask(b"x" * MAX_REQUEST_BYTES))[0] == 400
    assert (await served.ask(b"x" * (MAX_REQUEST_BYTES + 1)))[0] == 413


async def test_a_client_that_dawdles_is_left(served: Served) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"old 0\n"
        await asyncio.Event().wait()

    answer = await served.client.post("/add-checkpoint", content=slow())
    assert (answer.status_code, answer.headers["connection"]) == (408, "close")


async def test_many_requests_at_once_follow_one_history(served: Served) -> None:
    await served.ask(LOG.request(0, 2))
    wanted = [log.request(2, 9) for log in (LOG, FORK.other_history(2)) for _ in range(20)]
    statuses = [status for status, _, _ in await asyncio.gather(*map(served.ask, wanted))]
    assert statuses == [200] + [409] * 39


async def test_health_and_metrics_tell_what_became_of_requests(served: Served) -> None:
    assert (await served.client.get("/healthz")).json()["status"] == "ok"
    for body in (LOG.request(0, 4), LOG.request(4, 9), LOG.request(0, 4), FORK.request(9, 9), b""):
        await served.ask(body)
    answer = await served.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4"
    lines = answer.text.splitlines()
    for line in (
        'muniment_witness_cosigned_total{origin="log.example/1"} 2',
        'muniment_witness_refused_total{reason="other-size"} 1',
        'muniment_witness_refused_total{reason="forked"} 1',
        'muniment_witness_refused_total{reason="malformed"} 1',
        'muniment_witness_size{origin="log.example/1"} 9',
        f'muniment_witness_cosigned_timestamp_seconds{{origin="log.example/1"}} {NOW}',
        'muniment_witness_forks_kept{origin="log.example/1"} 1',
    ):
        assert line in lines


async def test_a_label_cannot_end_its_quotes(tmp_path: Path, worker: ThreadPoolExecutor) -> None:
    odd = SmallLog('a "log" \\ of mine', key=LOG.key)
    with contextlib.closing(SQLiteWitnessStore.create(tmp_path / "w.db", KEY.verifier)) as store:
        witness = Witness(KEY, store, lambda: {odd.origin: (LOG.key.verifier,)}, lambda: NOW)
        transport = httpx.ASGITransport(make_app(witness, store, worker))
        async with httpx.AsyncClient(transport=transport, base_url="http://witness") as client:
            await client.post("/add-checkpoint", content=odd.request(0, 1))
            said = (await client.get("/metrics")).text
    assert r'muniment_witness_size{origin="a \"log\" \\ of mine"} 1' in said.splitlines()


async def test_a_store_that_is_gone_answers_503_everywhere(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    await served.ask(LOG.request(0, 4))
    served.store.close()
    served.database.unlink()
    assert (await served.ask(LOG.request(4, 9)))[0] == 503
    for path in (MONITORED, "/healthz", "/metrics"):
        assert (await served.client.get(path)).status_code == 503
    said = [each.levelno for each in caplog.records if each.name.startswith("muniment")]
    assert said[0] == logging.CRITICAL
    assert not served.database.exists()


async def test_the_event_loop_does_not_wait_for_the_store(
    served: Served, worker: ThreadPoolExecutor
) -> None:
    held = threading.Event()
    blocked: Callable[[], bool] = held.wait
    worker.submit(blocked)
    asking = asyncio.ensure_future(served.ask(LOG.request(0, 4)))
    await asyncio.sleep(0)
    # whoever sends too much is answered while the worker is busy
    assert (await served.ask(b"x" * (MAX_REQUEST_BYTES + 1)))[0] == 413
    assert not asking.done()
    held.set()
    assert (await asking)[0] == 200
