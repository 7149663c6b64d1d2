"""What a run erased stays erased, whichever copy is put back: before anybody is served, or never."""

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from folders import TOML, install, make_folder, make_installation

from muniment.access import records
from muniment.errors import LogInvalid
from muniment.operations import erase_run
from muniment.operations.service import Caller
from muniment.operations.take_in import take_in
from muniment.runtime import clock
from muniment.runtime.migrate import migrate
from muniment.runtime.past import looking_back
from muniment.runtime.settings import FILE, read_settings
from muniment.runtime.wiring import Opened, hold_back, open_service
from muniment.testing.fake_target import FakeTarget
from muniment.testing.log_servers import LogServers

MAIL = b"ana@example.com"
RETENTION = """
[people.pia]
groups = ["privacy-officers"]
[retention.classes.identities]
sections = ["identity"]
ceiling = "30d"
"""
STORE = '\n[store]\nlog = "env:ERASED_LOG"\nheads = "env:ERASED_HEADS"\nlease = "2s"\n'


@pytest.fixture(autouse=True)
def target(monkeypatch: pytest.MonkeyPatch) -> FakeTarget:
    target = FakeTarget(clock.now, endpoints=("fake",))
    install(monkeypatch, target)
    return target


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Opened]:
    opened = open_service(folder)
    try:
        await take_in(opened.service, opened.proposed, records.SERVICE)
        yield opened
    finally:
        await opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return make_installation(make_folder(made, TOML + RETENTION), TOML + RETENTION)


async def disable_ana(folder: Path) -> None:
    """She was there, with her address, and is disabled."""
    async with serving(folder):
        pass
    toml = (folder / FILE).read_text()
    (folder / FILE).write_text(toml.replace('name = "Ana"', 'name = "Ana"\nactive = false'))
    async with serving(folder):
        pass


async def erase(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A month and a day later one run erases who she was; how many sections."""
    months = clock.now() + timedelta(days=31) - clock.now()
    now = clock.now
    monkeypatch.setattr(clock, "now", lambda: now() + months)
    async with serving(folder) as opened:
        service = opened.service
        pia = service.registry.principals[service.names["pia"]]
        proposed = await erase_run.propose(service, Caller(principal=pia, assurance="token"))
        assert proposed.run is not None
        return (await erase_run.carry_out(service, proposed.run.id)).sections


def mails_in(folder: Path) -> list[str]:
    return [each.name for each in sorted((folder / "data").iterdir()) if MAIL in each.read_bytes()]


def bring_back(folder: Path, older: Path) -> None:
    """The sections that were erased since are there again."""
    with closing(sqlite3.connect(folder / "data/muniment.db")) as here:
        here.execute("ATTACH ? AS older", (str(older / "older/muniment.db"),))
        here.execute("INSERT OR IGNORE INTO sections SELECT * FROM older.sections")
        here.execute("DELETE FROM tombstones")
        here.commit()


async def test_an_older_database_alone_serves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await disable_ana(folder)
    shutil.copytree(folder / "data", tmp_path / "older")
    assert await erase(folder, monkeypatch) == 2
    assert mails_in(folder) == []
    shutil.rmtree(folder / "data")
    shutil.copytree(tmp_path / "older", folder / "data")
    with pytest.raises(LogInvalid, match="head store"):
        open_service(folder)


async def test_an_older_database_with_its_older_head_store_serves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger was in no backup: it knows what this copy of the log does not."""
    await disable_ana(folder)
    shutil.copytree(folder / "data", tmp_path / "older")
    shutil.copy(folder / "head/head", tmp_path / "older-head")
    await erase(folder, monkeypatch)
    shutil.rmtree(folder / "data")
    shutil.copytree(tmp_path / "older", folder / "data")
    shutil.copy(tmp_path / "older-head", folder / "head/head")
    with pytest.raises(LogInvalid, match="this is an older copy of the log"):
        open_service(folder)


async def test_sections_that_an_older_copy_brings_back_are_gone_before_anybody_reads(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await disable_ana(folder)
    shutil.copytree(folder / "data", tmp_path / "older")
    await erase(folder, monkeypatch)
    bring_back(folder, tmp_path)
    assert mails_in(folder)
    opened = open_service(folder)
    try:
        assert mails_in(folder) == []
        assert "ana" not in opened.service.names
    finally:
        await opened.close()


# --- whoever only looks --------------------------------------------------------------------------


def logins_beside(folder: Path) -> set[str]:
    """As `muniment check --diff` sees them."""
    opened = open_service(folder, looking=True)
    try:
        return set(opened.service.names)
    finally:
        asyncio.run(opened.close())


def logins_of_the_past(folder: Path) -> set[str]:
    """As `muniment detect --backtest` sees them."""
    with looking_back(folder, read_settings(folder)) as service:
        return set(service.names)


@pytest.fixture(params=[logins_beside, logins_of_the_past])
def logins(request: pytest.FixtureRequest) -> Callable[[Path], set[str]]:
    found: Callable[[Path], set[str]] = request.param
    return found


def test_whoever_looks_at_an_older_copy_sees_nothing_that_was_erased_since(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logins: Callable[[Path], set[str]],
) -> None:
    asyncio.run(disable_ana(folder))
    assert "ana" in logins(folder)
    shutil.copytree(folder / "data", tmp_path / "older")
    shutil.copy(folder / "head/head", tmp_path / "older-head")
    asyncio.run(erase(folder, monkeypatch))
    shutil.rmtree(folder / "data")
    shutil.copytree(tmp_path / "older", folder / "data")
    shutil.copy(tmp_path / "older-head", folder / "head/head")
    assert mails_in(folder)
    with pytest.raises(LogInvalid, match="this is an older copy of the log"):
        logins(folder)


def test_whoever_looks_sees_no_section_that_an_older_copy_brought_back(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logins: Callable[[Path], set[str]],
) -> None:
    asyncio.run(disable_ana(folder))
    shutil.copytree(folder / "data", tmp_path / "older")
    asyncio.run(erase(folder, monkeypatch))
    bring_back(folder, tmp_path)
    assert mails_in(folder)
    assert "ana" not in logins(folder)
    assert mails_in(folder)  # it was looked, and nothing else


async def test_refused_files_let_nothing_go(folder: Path) -> None:
    """What may go is for files in force to say."""
    await disable_ana(folder)
    opened = open_service(folder)
    try:
        assert opened.service.erasures.rules.classes
        (folder / FILE).write_text((folder / FILE).read_text().replace("30d", "1d"))
        await opened.close()
        opened = open_service(folder)
        hold_back(opened)
        assert {each.name for each in opened.service.erasures.rules.classes} == {"files-refused"}
    finally:
        await opened.close()


# --- PostgreSQL ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogServers]:
    with contextlib.closing(LogServers.start(tmp_path_factory.mktemp("servers"))) as servers:
        yield servers


@pytest.mark.deep
@pytest.mark.target
async def test_on_postgresql_a_run_erases_from_every_file_and_a_restored_copy_is_erased_from(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, servers: LogServers
) -> None:
    databases = servers.new()
    monkeypatch.setenv("ERASED_LOG", databases.log)
    monkeypatch.setenv("ERASED_HEADS", databases.heads)
    await disable_ana(folder)
    with (folder / FILE).open("a") as file:
        file.write(STORE)
    migrate(folder)
    with psycopg.connect(databases.log_admin, autocommit=True) as admin:
        admin.execute("CHECKPOINT")
        older: list[Any] = admin.execute("SELECT * FROM muniment.sections").fetchall()
        assert any(MAIL in row[-1] for row in older)
        assert _mail_in_files(servers)
        assert await erase(folder, monkeypatch) == 2
        assert not _mail_in_database(admin)
        assert not _mail_in_files(servers)
        # a copy from before brings the sections back, and no tombstone
        admin.execute("DELETE FROM muniment.tombstones")
        for row in older:
            admin.execute(
                "INSERT INTO muniment.sections VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                row,
            )
        assert _mail_in_database(admin)
        opened = open_service(folder)
        try:
            assert len(opened.stores.ledger.erasures()) == 2
            assert not _mail_in_database(admin)
            assert "ana" not in opened.service.names
        finally:
            await opened.close()


def _mail_in_database(admin: "psycopg.Connection[Any]") -> bool:
    rows = admin.execute("SELECT content FROM muniment.sections").fetchall()
    return any(MAIL in content for (content,) in rows)


def _mail_in_files(servers: LogServers) -> bool:
    """Tables, indexes and write-ahead log, of the whole server."""
    home = servers.log.log_files()[0].parent.parent
    files = [each for each in home.rglob("*") if each.is_file() and "programs" not in each.parts]
    assert len(files) > 500  # it is looked at the right place
    return any(MAIL in each.read_bytes() for each in files)
