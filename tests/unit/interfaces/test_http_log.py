"""`/log/` over a `Scenario`: the log as tiles, for those who may follow it."""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from muniment.evidence.audit_tiles import audit_tiles
from muniment.evidence.publishing import tile_bytes
from muniment.evidence.store import Published
from muniment.evidence.tile_log import TileLog
from muniment.evidence.tiles import tiles_for
from muniment.evidence.verdict import Verdict
from muniment.identity.tokens import new_token, token_hash
from muniment.interfaces.http.app import make_app
from muniment.operations.take_in import ProposedPrincipal, ProposedToken
from muniment.runtime.settings import Settings
from muniment.testing.scenario import Scenario


class Follower:
    """A client for each login of a scenario."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario = scenario
        self.opened = SimpleNamespace(service=scenario.service, settings=settings())
        opened: Any = self.opened
        self.app = make_app(opened, folder, work=False)
        self.tokens: dict[str, str] = {}

    async def enrol(self, *logins: str) -> None:
        for login in logins:
            token = self.tokens[login] = new_token()
            hashed = token_hash(token)
            self.scenario.tokens[hashed] = ProposedToken(
                hash=hashed, login=login, expires=None, label=""
            )
        await self.scenario.take_in()

    async def get(self, path: str, login: str | None = "watch", **headers: str) -> httpx.Response:
        bearer = {"Authorization": f"Bearer {self.tokens[login]}"} if login else {}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.get(f"/log/{path}", headers={**bearer, **headers})

    def publish(self) -> int:
        """The newest checkpoint; its size."""
        log = self.scenario.service.log
        size = log.size
        log.store.publish(Published(size, log.checkpoint))
        return size


def settings(*, public: bool = False) -> Settings:
    return Settings.model_validate(
        {"installation": {"origin": "muniment.example/scenario"}, "log": {"public": public}}
    )


@pytest.fixture
async def follower(tmp_path: Path) -> AsyncIterator[Follower]:
    async with Scenario(tmp_path) as scenario:
        scenario.principals["watch"] = ProposedPrincipal(
            login="watch", type="workload", groups=("muniment-monitors",), sponsor="admin"
        )
        made = Follower(scenario, tmp_path)
        await made.enrol("ana", "aud", "admin", "watch")
        yield made


async def test_nothing_is_there_before_anything_was_published(follower: Follower) -> None:
    for path in ("checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1"):
        assert (await follower.get(path)).status_code == 404


async def test_what_is_fetched_is_the_log_and_holds(follower: Follower) -> None:
    size = follower.publish()
    published = follower.scenario.service.log.checkpoint
    fetched: dict[str, bytes] = {}
    for path in ("checkpoint", *(tile.path for tile in tiles_for(size))):
        answer = await follower.get(path)
        assert answer.status_code == 200, path
        fetched[path] = answer.content
    found = audit_tiles(TileLog(fetched.get), follower.scenario.key.verifier, full=True)
    assert (found.verdict, found.bad) == (Verdict.UNANCHORED, None)
    assert found.note == published


async def test_every_width_of_an_earlier_size_is_there_and_none_beyond(follower: Follower) -> None:
    size = follower.publish()
    await follower.scenario.granted()
    assert follower.scenario.service.log.size > size
    store = follower.scenario.service.log.store
    for earlier in range(1, size + 1):
        for tile in tiles_for(earlier):
            assert (await follower.get(tile.path)).content == tile_bytes(store, tile)
    for path in (
        f"tile/0/000.p/{size + 1}",
        f"tile/entries/000.p/{size + 1}",
        "tile/0/000",
        "tile/0/001.p/1",
        "tile/1/000.p/1",
        "tile/63/000.p/1",
        "tile/0/x009/x223/x372/x036/x854/x775/807",
    ):
        assert (await follower.get(path)).status_code == 404, path


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/000.p/01", "tile/0/0", "tile/0/x000/000.p/1", "tile/00/000.p/1", "tile/0/000.p/0",
        "tile/0/000.p/1/", "tile//0/000.p/1", "tile/0/000.p/+1", "tile/0/%20000.p/1",
        "tile/0/..%2f0/000.p/1", "tile/-1/000.p/1", "tile/entries/000.p/1%0a", "tile/", "",
        "checkpoint/", "checkpoints/1",
    ],
)  # fmt: skip
async def test_another_spelling_is_no_resource(follower: Follower, path: str) -> None:
    follower.publish()
    answer = await follower.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_headers_are_those_of_the_specification(follower: Follower) -> None:
    follower.publish()
    checkpoint = await follower.get("checkpoint")
    assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"
    assert checkpoint.headers["cache-control"] == "private, max-age=3"
    for path in ("tile/0/000.p/1", "tile/entries/000.p/1"):
        tile = await follower.get(path)
        assert tile.headers["content-type"] == "application/octet-stream"
        assert tile.headers["cache-control"] == "private, max-age=31536000, immutable"


async def test_entries_are_compressed_for_whoever_takes_it(follower: Follower) -> None:
    follower.publish()
    plain = await follower.get("tile/entries/000.p/5", **{"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    zipped = await follower.get("tile/entries/000.p/5", **{"Accept-Encoding": "br, gzip"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert plain.headers["vary"] == zipped.headers["vary"] == "Accept-Encoding"
    assert zipped.content == plain.content
    assert len(gzip.compress(plain.content, 1)) < len(plain.content)
    refused = await follower.get("tile/entries/000.p/5", **{"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in refused.headers


@pytest.mark.parametrize("path", ["checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1"])
async def test_only_who_may_follow_reads_the_log(follower: Follower, path: str) -> None:
    follower.publish()
    size = follower.scenario.service.log.size
    for login, status in (("watch", 200), ("aud", 200), ("admin", 200), ("ana", 403), (None, 401)):
        assert (await follower.get(path, login)).status_code == status, login
    for login in ("watch", "aud"):
        await follower.get(path, login)
    readers = 0 if path == "checkpoint" else 3
    # who follows the log is recorded once an hour; who only looks at its head is not
    assert follower.scenario.service.log.size == size + 2 * readers


async def test_a_log_that_is_public_is_there_for_everybody(follower: Follower) -> None:
    follower.publish()
    follower.opened.settings = settings(public=True)
    answer = await follower.get("tile/entries/000.p/1", None)
    assert answer.status_code == 200
    assert answer.headers["cache-control"].startswith("public, ")
    assert (await follower.get("checkpoint", "ana")).status_code == 200


async def test_a_disabled_monitor_reads_nothing_more(follower: Follower) -> None:
    follower.publish()
    await follower.scenario.change("watch", active=False)
    assert (await follower.get("checkpoint")).status_code in (401, 403)
