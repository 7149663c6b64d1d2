"""A copy of the database is one snapshot of it, whatever is written meanwhile."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from muniment.access import records
from muniment.errors import Conflict, LogInvalid, LogUnavailable
from muniment.evidence.audit import audit
from muniment.evidence.record import digest
from muniment.stores.backup import copy_database, copy_file, put_in_place, write_file
from muniment.stores.read_only import ReadOnlyStore
from muniment.testing.cases import WrittenCase, WrittenLog, new_case


@pytest.fixture
def written(tmp_path: Path) -> Iterator[WrittenLog]:
    (tmp_path / "log").mkdir()
    log = WrittenLog(tmp_path / "log")
    yield log
    log.close()


def test_every_copy_beside_a_writer_holds(written: WrittenLog, tmp_path: Path) -> None:
    case, done, failed = WrittenCase(written).whole(), threading.Event(), threading.Event()

    def write() -> None:
        try:
            while not done.is_set():
                beat = records.LogHeartbeat(actor=records.SERVICE, unrecorded={})
                written.append(new_case("hbt"), beat)
        except Exception:
            failed.set()
            raise

    writer = threading.Thread(target=write)
    writer.start()
    sizes = []
    for number in range(6):
        copy = tmp_path / f"{number}.db"
        copy_database(written.path, copy)
        with closing(ReadOnlyStore(copy)) as store:
            found = audit(store, written.key.verifier, full=True)
        assert found.holds, found.bad
        assert found.checkpoint is not None
        sizes.append(found.checkpoint.size)
    done.set()
    writer.join()
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[0], "nothing was written meanwhile"
    assert not failed.is_set()
    assert case.state.closed


def test_a_copy_has_no_free_pages(written: WrittenLog, tmp_path: Path) -> None:
    case = WrittenCase(written).whole()
    written.erase(case.entries["access:requested"], "reason", "gdpr-17")
    copy_database(written.path, tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)


def test_nothing_is_copied_over_anything(written: WrittenLog, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"mine")
    for copy in (copy_database, copy_file):
        with pytest.raises(Conflict, match="nothing is written over it"):
            copy(written.path, tmp_path / "there")
    with pytest.raises(Conflict):
        write_file(tmp_path / "there", b"")
    write_file(tmp_path / "new", b"data")
    with pytest.raises(Conflict):
        put_in_place(tmp_path / "new", tmp_path / "there")
    assert (tmp_path / "there").read_bytes() == b"mine"


def test_what_is_no_database_or_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, but long enough to be read as one" * 100)
    with pytest.raises(LogInvalid, match="is not a whole database"):
        copy_database(tmp_path / "text", tmp_path / "copy")
    with pytest.raises(LogUnavailable, match="cannot be copied"):
        copy_database(tmp_path / "nothing", tmp_path / "copy2")
    with pytest.raises(LogUnavailable, match="cannot be copied"):
        copy_file(tmp_path / "nothing", tmp_path / "copy3")
    assert not (tmp_path / "nothing").exists()


def test_the_digest_of_a_copied_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(data)
    assert copy_file(tmp_path / "file", tmp_path / "copy") == digest(data)
    assert (tmp_path / "copy").read_bytes() == data
    assert (tmp_path / "copy").stat().st_mode & 0o077 == 0
