"""From files to PostgreSQL: the same log, one history, and a way back that does not fork it."""

import contextlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from folders import TOML, install, make_folder

from muniment.access import records
from muniment.errors import ConfigInvalid, Conflict, LogInvalid, LogUnavailable
from muniment.evidence.store import Published, Stamp, entry_of
from muniment.interfaces.cli.main import run
from muniment.operations.heartbeat import beat
from muniment.operations.take_in import take_in
from muniment.runtime import clock
from muniment.runtime.backup import make_backup
from muniment.runtime.key_files import KeyFolder, write_key
from muniment.runtime.log_stores import open_stores
from muniment.runtime.migrate import migrate
from muniment.runtime.restore import restore
from muniment.runtime.settings import FILE, read_settings
from muniment.runtime.wiring import Opened, open_service
from muniment.stores.head_file import HaltFile, LedgerFile
from muniment.stores.one_server import OneServer
from muniment.stores.sqlite import SQLiteStore
from muniment.testing.cases import ORIGIN, WrittenCase, WrittenLog, new_case
from muniment.testing.fake_target import FakeTarget
from muniment.testing.log_servers import LogDatabases, LogServers, make_database

pytestmark = pytest.mark.target

STORE = '\n[store]\nlog = "env:MIGRATED_LOG"\nheads = "env:MIGRATED_HEADS"\nlease = "2s"\n'
RULE = "GDPR 17"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogServers]:
    with contextlib.closing(LogServers.start(tmp_path_factory.mktemp("servers"))) as servers:
        yield servers


@pytest.fixture(autouse=True)
def target(monkeypatch: pytest.MonkeyPatch) -> FakeTarget:
    target = FakeTarget(clock.now, endpoints=("fake",))
    install(monkeypatch, target)
    return target


@pytest.fixture
def databases(servers: LogServers, monkeypatch: pytest.MonkeyPatch) -> LogDatabases:
    databases = servers.new()
    point_at(databases, monkeypatch)
    return databases


def point_at(databases: LogDatabases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGRATED_LOG", databases.log)
    monkeypatch.setenv("MIGRATED_HEADS", databases.heads)


def make_whole(folder: Path, *, interrupted: bool = False) -> Path:
    """
    An installation in files: cases, documents, an erasure, and something published.

    With `interrupted`, another erasure was cut short behind its record.
    """
    folder.mkdir()
    make_folder(folder, TOML.replace("muniment.example/runtime", ORIGIN))
    (folder / "data").mkdir()
    written = WrittenLog(folder / "data")
    for _ in range(2):
        case = WrittenCase(written).whole()
    written.erase(case.entries["access:requested"], "reason", RULE)
    if interrupted:
        record = case.entries["approval:given"].header.id
        erased = records.RecordErased(
            actor=records.SERVICE, record=record, section="note", rule=RULE
        )
        written.append(new_case("ers"), erased, follows=[case.entries["approval:given"]])
    size = written.log.size
    written.store.publish(Published(size, written.log.checkpoint, (Stamp("tsa", b"token"),)))
    written.close()
    (folder / "head").mkdir()
    shutil.move(folder / "data/head", folder / "head/head")
    shutil.move(folder / "data/erasures", folder / "head/erasures")
    (folder / "keys").mkdir(mode=0o700)
    write_key(folder / "keys/log.key", written.key)
    KeyFolder(folder / "keys/log.key", ORIGIN).new_sealing()
    return folder


def point(folder: Path) -> Path:
    with (folder / FILE).open("a") as file:
        file.write(STORE)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_whole(tmp_path / "conf")


@pytest.fixture
def pointed(folder: Path, databases: LogDatabases) -> Path:
    """The same, with `[store]` set."""
    return point(folder)


def without_store(folder: Path) -> None:
    (folder / FILE).write_text((folder / FILE).read_text().replace(STORE, ""))


@contextlib.contextmanager
def in_files(folder: Path) -> Iterator[SQLiteStore]:
    with contextlib.closing(SQLiteStore(folder / "data/muniment.db")) as store:
        yield store


async def go_on(folder: Path) -> Opened:
    opened = open_service(folder)
    await take_in(opened.service, opened.proposed, records.SERVICE)
    return opened


@pytest.fixture
async def served() -> AsyncIterator[Callable[[Path], Any]]:
    opened: list[Opened] = []

    async def serve(folder: Path) -> Opened:
        opened.append(await go_on(folder))
        return opened[-1]

    yield serve
    for each in opened:
        await each.close()


def test_a_log_that_was_moved_is_the_same_log(pointed: Path) -> None:
    with in_files(pointed) as before:
        tail = before.tail()
        assert tail is not None
        moved = migrate(pointed)
        assert (moved.note, moved.size, moved.log_id) == (
            tail.checkpoint,
            tail.size,
            before.leaves(0, 1),
        )
        assert moved.audited.holds
        assert moved.audited.full
        assert moved.audited.erased == 1
        with contextlib.closing(open_stores(pointed, read_settings(pointed))) as stores:
            after = stores.database
            assert after.tail() == tail
            assert list(after.entries(0, tail.size)) == list(before.entries(0, tail.size))
            for index in range(tail.size):
                assert after.sections(index) == before.sections(index)
                assert after.erased(index) == before.erased(index)
                assert after.checkpoint(index) == before.checkpoint(index)
            assert after.published() == before.published()
            assert after.cases() == before.cases()
            assert stores.heads.read() == tail.checkpoint
            assert stores.ledger.erasures() == LedgerFile(pointed / "head/erasures").erasures()


async def test_the_service_goes_on_where_the_log_lies_now(pointed: Path, served: Any) -> None:
    size = migrate(pointed).size
    opened = await served(pointed)
    assert opened.shared
    before = opened.service.log.size
    assert before > size, "what the files say was taken in"
    await beat(opened.service)
    assert opened.service.log.size == before + 1


async def test_what_stays_behind_in_the_files_signs_nothing_any_more(pointed: Path) -> None:
    moved = migrate(pointed)
    assert moved.left == pointed / "head/contradicted"
    without_store(pointed)
    opened = open_service(pointed)
    assert "was moved to the PostgreSQL" in str(opened.service.log.trouble)
    with pytest.raises(LogUnavailable, match="was moved to the PostgreSQL"):
        await take_in(opened.service, opened.proposed, records.SERVICE)
    await opened.close()


def test_a_log_that_was_moved_is_not_moved_to_a_second_place(
    pointed: Path, servers: LogServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it lies now nodes go on: there would be two histories."""
    migrate(pointed)
    second = servers.new()
    point_at(second, monkeypatch)
    with pytest.raises(LogInvalid, match="was moved before, and goes on there"):
        migrate(pointed)
    with contextlib.closing(second.open_heads()) as heads:
        assert heads.read() is None


def test_a_log_that_signs_nothing_any_more_is_not_moved(pointed: Path) -> None:
    """A witness remembers another history of it: no other place makes that good."""
    HaltFile(pointed / "head/contradicted").keep("`w` remembers another history", b"a note")
    with pytest.raises(LogInvalid, match="remembers another history; look, then remove"):
        migrate(pointed)


def test_moving_twice_changes_nothing(pointed: Path) -> None:
    first = migrate(pointed)
    again = migrate(pointed)
    assert (again.note, again.size, again.copied) == (first.note, first.size, {})
    assert first.copied["entries"] == first.size


@pytest.mark.parametrize(
    "step",
    [
        "muniment.stores.postgresql.transfer._put",
        "muniment.runtime.migrate._check_same",
        "muniment.stores.postgresql.heads.SharedLedger.add",
        "muniment.stores.head_file.HaltFile.keep",
        "muniment.stores.postgresql.heads.SharedHeads.write",
    ],
)
def test_a_move_that_is_cut_short_is_finished_by_the_next_try(
    pointed: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At no step could both places sign."""

    def fail(*_: object) -> None:
        raise LogUnavailable("cut short")

    with monkeypatch.context() as patch:
        patch.setattr(step, fail)
        with pytest.raises(LogUnavailable, match="cut short"):
            migrate(pointed)
        with contextlib.closing(open_stores(pointed, read_settings(pointed))) as stores:
            gone = HaltFile(pointed / "head/contradicted").why() is not None
            assert gone or stores.heads.read() is None
    moved = migrate(pointed)
    assert moved.audited.holds
    with contextlib.closing(open_stores(pointed, read_settings(pointed))) as stores:
        assert stores.heads.read() == moved.note


def test_a_head_store_that_remembers_another_log_is_refused(pointed: Path, tmp_path: Path) -> None:
    migrate(pointed)
    other = point(make_whole(tmp_path / "other"))
    with pytest.raises(LogInvalid, match="remembers another log or key"):
        migrate(other)


def test_a_database_that_holds_another_log_is_refused(
    pointed: Path, tmp_path: Path, servers: LogServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(pointed)
    monkeypatch.setenv("MIGRATED_HEADS", servers.new().heads)
    other = point(make_whole(tmp_path / "other"))
    with pytest.raises(LogInvalid, match="the copy in PostgreSQL does not hold"):
        migrate(other)
    assert HaltFile(other / "head/contradicted").why() is None, "the files go on"


async def test_a_log_that_was_moved_and_has_grown_is_not_moved_again(
    pointed: Path, served: Any
) -> None:
    migrate(pointed)
    opened = await served(pointed)
    assert opened.service.log.trouble is None
    await opened.close()
    with pytest.raises(LogInvalid, match="moved before and has grown since"):
        migrate(pointed)


def test_a_log_that_does_not_hold_is_not_moved(pointed: Path) -> None:
    with contextlib.closing(sqlite3.connect(pointed / "data/muniment.db")) as intruder:
        intruder.execute(
            "UPDATE sections SET content = x'00' WHERE idx = (SELECT min(idx) FROM sections)"
        )
        intruder.commit()
    with pytest.raises(LogInvalid, match="does not hold"):
        migrate(pointed)
    with contextlib.closing(open_stores(pointed, read_settings(pointed))) as stores:
        assert stores.database.tail() is None
        assert stores.heads.read() is None


def test_what_the_ledger_says_was_erased_is_carried_nowhere(pointed: Path) -> None:
    with in_files(pointed) as store:
        kept = next(i for i, _ in store.entries(0, 99) if store.sections(i))
        header = entry_of(*next(store.entries(kept, kept + 1))).header
        name = next(iter(store.sections(kept)))
    LedgerFile(pointed / "head/erasures").add(header.id, name, RULE)
    with pytest.raises(LogInvalid, match="the erasure ledger knows"):
        migrate(pointed)


def test_an_erasure_that_was_cut_short_is_finished_first(
    databases: LogDatabases,
    tmp_path: Path,
) -> None:
    """Its record stands, and its bytes are there yet: the next start on the files ends that."""
    folder = point(make_whole(tmp_path / "conf", interrupted=True))
    with pytest.raises(LogInvalid, match="recorded as erased and still there"):
        migrate(folder)


def test_nothing_is_moved_while_a_service_runs(pointed: Path) -> None:
    only = OneServer(pointed / "data/muniment.lock")
    with pytest.raises(Conflict, match="another `muniment serve`"):
        migrate(pointed)
    only.release()
    assert migrate(pointed).size


def test_without_a_place_to_go_nothing_is_moved(folder: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"set `\[store\]`"):
        migrate(folder)


def test_a_head_store_beside_its_log_is_refused(
    pointed: Path, servers: LogServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes one back takes back the other."""
    beside, _ = make_database(servers.log, "beside", "heads")
    monkeypatch.setenv("MIGRATED_HEADS", beside)
    with pytest.raises(ConfigInvalid, match="on a server of its own"):
        migrate(pointed)


def test_an_empty_database_says_how_to_fill_it(pointed: Path) -> None:
    with pytest.raises(LogInvalid, match="`muniment migrate`"):
        open_service(pointed)


# --- back, and on again ---------------------------------------------------------------------------


async def test_a_backup_from_postgresql_is_restored_and_moved_again(
    pointed: Path,
    tmp_path: Path,
    served: Any,
    servers: LogServers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The database is lost; the head store is not."""
    migrate(pointed)
    opened = await served(pointed)
    await beat(opened.service)
    size = opened.service.log.size
    made = make_backup(pointed, tmp_path / "backup")
    assert made.size == size
    await opened.close()
    back = restored(pointed, tmp_path)
    fresh = servers.new()
    monkeypatch.setenv("MIGRATED_LOG", fresh.log)
    moved = migrate(back)
    assert moved.size == size
    assert moved.remembered is not None
    assert moved.remembered.size == size
    again = await served(back)
    await beat(again.service)
    assert again.service.log.size == size + 1


async def test_the_head_store_in_postgresql_is_enough_to_move_a_restored_log(
    pointed: Path,
    tmp_path: Path,
    served: Any,
    servers: LogServers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was left in files may have been deleted; what was erased since stays erased."""
    migrate(pointed)
    make_backup(pointed, tmp_path / "backup")
    back = tmp_path / "back"
    back.mkdir()
    shutil.copytree(pointed / "keys", back / "keys")
    restore(back, backup=tmp_path / "backup")
    monkeypatch.setenv("MIGRATED_LOG", servers.new().log)
    moved = migrate(back)
    assert moved.remembered is not None
    opened = await served(back)
    assert opened.service.log.trouble is None
    assert opened.stores.ledger.erasures() == LedgerFile(pointed / "head/erasures").erasures()


async def test_an_older_backup_cannot_go_on(
    pointed: Path,
    tmp_path: Path,
    served: Any,
    servers: LogServers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    migrate(pointed)
    opened = await served(pointed)
    make_backup(pointed, tmp_path / "backup")
    await beat(opened.service)
    await opened.close()
    back = restored(pointed, tmp_path)
    monkeypatch.setenv("MIGRATED_LOG", servers.new().log)
    with pytest.raises(LogInvalid, match="an older copy of it"):
        migrate(back)


def test_a_restored_log_is_sent_on_to_where_it_is_remembered(
    pointed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files' own head store remembers an old head by then."""
    migrate(pointed)
    make_backup(pointed, tmp_path / "backup")
    back = tmp_path / "back"
    shutil.copytree(pointed / "keys", back / "keys")
    shutil.copytree(pointed / "head", back / "head")
    assert run(["restore", str(back), "--from", str(tmp_path / "backup")]) == 0
    said = capsys.readouterr().out
    assert said.endswith("decides whether the log may go on: muniment migrate\n")
    assert "the log may go on\n" not in said


def restored(folder: Path, tmp_path: Path) -> Path:
    """The backup in a folder of its own, with what is kept apart from every backup."""
    back = tmp_path / "back"
    back.mkdir()
    shutil.copytree(folder / "keys", back / "keys")
    shutil.copytree(folder / "head", back / "head")
    (back / "head/contradicted").unlink()
    restore(back, backup=tmp_path / "backup")
    return back
