"""Sources on several nodes, over a real PostgreSQL: moved there, read once, numbered in one row."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from folders import TOML, install, make_installation

from muniment.access import records
from muniment.errors import ConfigInvalid
from muniment.operations import observe
from muniment.operations.take_in import take_in
from muniment.oversight.event_store import EventStore
from muniment.runtime import clock
from muniment.runtime.migrate import migrate
from muniment.runtime.settings import FILE
from muniment.runtime.wiring import Opened, open_service
from muniment.testing.fake_target import FakeTarget
from muniment.testing.log_servers import LogServers, make_database

pytestmark = [pytest.mark.target, pytest.mark.deep]

SOURCES = """
[sources.ssh]
kind = "push"
reader = "sshd"
options.envelope = "syslog"
resource = "db"
[sources.auth]
kind = "file"
reader = "sshd"
options.envelope = "syslog"
resource = "db"
path = "{path}"
begin = "start"
"""
STORE = '\n[store]\nlog = "env:MOVED_LOG"\nheads = "env:MOVED_HEADS"\nlease = "2s"\n'
Serve = Callable[[Path], Awaitable[Opened]]
EVENTS = 'events = "env:MOVED_EVENTS"\n'


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogServers]:
    with contextlib.closing(LogServers.start(tmp_path_factory.mktemp("servers"))) as servers:
        yield servers


@pytest.fixture(autouse=True)
def named(servers: LogServers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, FakeTarget(clock.now, endpoints=("fake",)))
    databases = servers.new()
    name = "events_" + tmp_path.name.replace("-", "_").lower()[-30:]
    events, _ = make_database(servers.log, name, "events")
    for key, value in (("LOG", databases.log), ("HEADS", databases.heads), ("EVENTS", events)):
        monkeypatch.setenv(f"MOVED_{key}", value)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    opened: list[Opened] = []

    async def begin(folder: Path) -> Opened:
        opened.append(open_service(folder))
        await take_in(opened[-1].service, opened[-1].proposed, records.SERVICE)
        return opened[-1]

    yield begin
    for each in opened:
        with contextlib.suppress(Exception):  # a test may have closed it
            await each.close()


def lines(start: int, stop: int) -> list[bytes]:
    return [
        b"<38>1 2026-11-22T10:%02d:00Z db sshd %d - - Connection closed by 192.0.2.7 port 22"
        % (n % 60, n)
        for n in range(start, stop)
    ]


def add(folder: Path, text: str) -> None:
    with (folder / FILE).open("a") as file:
        file.write(text)


def store_of(opened: Opened) -> EventStore:
    store = opened.service.observing.store
    assert store is not None
    return store


def raws(store: EventStore, source: str) -> list[bytes]:
    found = [store.raw(source, number) for number in range(store.state(source).next)]
    return [each.raw for each in found if each is not None]


async def push(opened: Opened, number: int, sender: str) -> None:
    """The body of this number of a sender; each has one line."""
    assert opened.overseeing is not None
    door = opened.overseeing.sources.door("ssh", "push")
    await door.push(lines(number, number + 1)[0], sender, number + 1)


async def until(store: EventStore, source: str, count: int) -> None:
    async with asyncio.timeout(30):
        # nothing tells of it
        while (await asyncio.to_thread(store.state, source)).next < count:  # noqa: ASYNC110 (see above)
            await asyncio.sleep(0.05)


async def test_what_sources_said_is_moved_and_goes_on_at_two_nodes(
    tmp_path: Path, serve: Serve
) -> None:
    log = tmp_path / "auth.log"
    log.write_bytes(b"")
    folder = tmp_path / "one"
    folder.mkdir()
    make_installation(folder, TOML + SOURCES.format(path=log))
    files = open_service(folder)
    await take_in(files.service, files.proposed, records.SERVICE)
    for number in range(3):
        await push(files, number, "prn_a")
    assert await observe.seal(files.service) == 3
    await push(files, 3, "prn_a")
    before = raws(store_of(files), "ssh")
    await files.close()

    add(folder, STORE)
    with pytest.raises(ConfigInvalid, match=r"`store\.events`"):
        migrate(folder)
    add(folder, EVENTS)
    moved = migrate(folder)
    assert moved.events is not None
    assert moved.events.events == 4
    other = Path(shutil.copytree(folder, tmp_path / "two", ignore=lambda *_: ["data", "head"]))
    here = await serve(folder)
    there = await serve(other)
    for node in (here, there):
        node.follow()
    assert raws(store_of(there), "ssh") == before == lines(0, 4)
    await push(there, 3, "prn_a")  # it was kept before the move
    await asyncio.gather(*(push((here, there)[n % 2], n // 4, f"prn_{n % 4}b") for n in range(24)))
    await push(here, 4, "prn_a")
    found = raws(store_of(here), "ssh")
    assert (len(found), found[-1]) == (29, lines(4, 5)[0])
    assert await observe.seal(there.service) == 26
    assert await observe.seal(here.service) == 0
    assert await here.service.catch_up(10)
    seen = here.service.registry.sources["ssh"]
    assert (seen.next, seen.gaps) == (29, ())


async def test_a_file_is_read_on_where_the_node_before_was(tmp_path: Path, serve: Serve) -> None:
    log = tmp_path / "auth.log"
    log.write_bytes(b"")
    folder = tmp_path / "one"
    folder.mkdir()
    make_installation(folder, TOML + SOURCES.format(path=log))
    add(folder, STORE + EVENTS)
    migrate(folder)
    other = Path(shutil.copytree(folder, tmp_path / "two", ignore=lambda *_: ["data", "head"]))
    nodes = [await serve(folder), await serve(other)]
    for node in nodes:
        node.follow()
        assert node.overseeing is not None
        await node.overseeing.sources.start()
    with log.open("ab", buffering=0) as file:
        file.write(b"".join(each + b"\n" for each in lines(0, 50)))
        await until(store_of(nodes[1]), "auth", 50)
        (leads,) = [
            node
            for node in nodes
            if node.overseeing is not None
            and 'running{source="auth"} 1' in "\n".join(node.overseeing.sources.metrics())
        ]
        stays = nodes[1 - nodes.index(leads)]
        await leads.close()
        file.write(b"".join(each + b"\n" for each in lines(50, 100)))
        await until(store_of(stays), "auth", 100)
    assert raws(store_of(stays), "auth") == lines(0, 100)
