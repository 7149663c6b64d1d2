"""Copying the log to a mirror: what arrives, in which order, and when nothing is written."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment.errors import Conflict, LogInvalid, Unavailable
from muniment.evidence.audit_tiles import AuditedTiles, audit_tiles
from muniment.evidence.checkpoint import Checkpoint, sign
from muniment.evidence.note import SigningKey
from muniment.evidence.record import Header
from muniment.evidence.store import Mirror, Published
from muniment.evidence.tile_log import MAX_RESOURCE, TileLog
from muniment.evidence.tiles import WIDTH, tiles_for
from muniment.operations.mirror import Copied, copy
from muniment.stores.tile_directory import TileDirectory
from muniment.testing.cases import WrittenCase, WrittenLog


@pytest.fixture
def written(tmp_path: Path) -> Iterator[WrittenLog]:
    folder = tmp_path / "log"
    folder.mkdir()
    log = WrittenLog(folder)
    WrittenCase(log).whole()
    yield log
    log.close()


@pytest.fixture
def mirror(tmp_path: Path) -> TileDirectory:
    return TileDirectory(tmp_path / "mirror")


def published(written: WrittenLog) -> Published:
    return Published(written.log.size, written.log.checkpoint)


def kept(tmp_path: Path) -> dict[str, bytes]:
    folder = tmp_path / "mirror"
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def audited(written: WrittenLog, mirror: Mirror, *heads: bytes) -> AuditedTiles:
    log = TileLog(lambda path: mirror.get(path, MAX_RESOURCE))
    return audit_tiles(log, written.key.verifier, heads, full=True)


class Dying:
    """A mirror whose process dies at the n-th write."""

    def __init__(self, mirror: Mirror, after: int) -> None:
        self._mirror, self._left = mirror, after
        self.done: list[str] = []

    def put(self, path: str, data: bytes) -> None:
        self._live(path)
        self._mirror.put(path, data)

    def replace(self, path: str, data: bytes) -> None:
        self._live(path)
        self._mirror.replace(path, data)

    def get(self, path: str, most: int) -> bytes | None:
        return self._mirror.get(path, most)

    def _live(self, path: str) -> None:
        if not self._left:
            raise Unavailable("the process died here")
        self._left -= 1
        self.done.append(path)


async def test_what_is_published_arrives_whole_and_nothing_sealed_with_it(
    written: WrittenLog, mirror: TileDirectory, tmp_path: Path
) -> None:
    size = written.log.size
    assert await copy(written.log, mirror, published(written)) == Copied(0, size)
    assert audited(written, mirror).holds
    files = kept(tmp_path)
    headers = [Header.parse(data) for _, data in written.store.entries(0, size)]
    documents = {name.hex() for header in headers for name in header.documents}
    assert documents
    assert set(files) == {
        "checkpoint", f"checkpoints/{size}", *(f"documents/{name}" for name in documents),
        *(tile.path for tile in tiles_for(size)),
    }  # fmt: skip
    everything = b"".join(files.values())
    for index in range(size):
        for sealed in written.store.sections(index).values():
            assert sealed.content not in everything
            assert sealed.salt not in everything


async def test_only_what_is_new_is_copied_and_the_checkpoint_comes_last(
    written: WrittenLog, mirror: TileDirectory
) -> None:
    first = published(written)
    await copy(written.log, mirror, first)
    WrittenCase(written).whole()
    second, watched = published(written), Dying(mirror, 1000)
    assert await copy(written.log, watched, second) == Copied(first.size, second.size)
    assert watched.done[-2:] == [f"checkpoints/{second.size}", "checkpoint"]
    assert [path for path in watched.done if path.startswith("tile/")] == [
        tile.path for tile in tiles_for(second.size, first.size)
    ]
    assert audited(written, mirror, first.note).compared[0].agrees
    watched.done.clear()
    assert await copy(written.log, watched, first) == Copied(second.size, second.size)
    assert watched.done == [], "a mirror never goes back"


async def test_a_death_at_any_write_leaves_what_holds_and_the_next_run_finishes(
    written: WrittenLog, tmp_path: Path
) -> None:
    first = published(written)
    WrittenCase(written).whole()
    second = published(written)
    writes = Dying(TileDirectory(tmp_path / "whole"), 1000)
    await both(written, writes, first, second)
    for after in range(len(writes.done)):
        mirror = TileDirectory(tmp_path / str(after))
        dying = Dying(mirror, after)
        with pytest.raises(Unavailable):
            await both(written, dying, first, second)
        if mirror.get("checkpoint", MAX_RESOURCE) is not None:
            assert audited(written, mirror).holds
        await copy(written.log, mirror, second)
        assert audited(written, mirror).holds


async def both(written: WrittenLog, mirror: Mirror, *each: Published) -> None:
    for one in each:
        await copy(written.log, mirror, one)


async def test_a_checkpoint_that_is_cosigned_later_takes_the_place_of_the_same(
    written: WrittenLog, mirror: TileDirectory, tmp_path: Path
) -> None:
    first = published(written)
    await copy(written.log, mirror, first)
    witness = SigningKey.generate("witness.example").sign(
        first.note.split(b"\n\n")[0].decode() + "\n"
    )
    cosigned = first.note + witness.split(b"\n\n")[1]
    await copy(written.log, mirror, Published(first.size, cosigned))
    files = kept(tmp_path)
    assert files["checkpoint"] == cosigned
    assert files[f"checkpoints/{first.size}"] == first.note


# --- what is refused -----------------------------------------------------------------------------


async def test_another_history_of_the_same_key_is_refused_and_nothing_is_written(
    written: WrittenLog, mirror: TileDirectory, tmp_path: Path
) -> None:
    await copy(written.log, mirror, published(written))
    folder = tmp_path / "other"
    folder.mkdir()
    other = WrittenLog(folder, key=written.key)
    for _ in range(2):
        WrittenCase(other).whole()
    before = kept(tmp_path)
    with pytest.raises(LogInvalid, match="another history"):
        await copy(other.log, mirror, published(other))
    assert kept(tmp_path) == before
    other.close()


async def test_a_log_that_lost_entries_is_refused(
    written: WrittenLog, mirror: TileDirectory, tmp_path: Path
) -> None:
    note = sign(Checkpoint(written.key.name, written.log.size + 1, bytes(32)), written.key)
    mirror.replace("checkpoint", note)
    with pytest.raises(LogInvalid, match="entries are gone here"):
        await copy(written.log, mirror, published(written))
    assert list(kept(tmp_path)) == ["checkpoint"]


async def test_the_mirror_of_another_log_is_refused(
    written: WrittenLog, mirror: TileDirectory, tmp_path: Path
) -> None:
    other = SigningKey.generate(written.key.name)
    mirror.replace("checkpoint", sign(Checkpoint(other.name, 1, bytes(32)), other))
    with pytest.raises(LogInvalid, match="not of this log"):
        await copy(written.log, mirror, published(written))
    assert list(kept(tmp_path)) == ["checkpoint"]


async def test_what_the_database_has_wrong_is_not_copied_for_ever(
    written: WrittenLog, mirror: TileDirectory, tmp_path: Path
) -> None:
    with sqlite3.connect(written.path) as connection:
        connection.execute("DROP TRIGGER entries_stay")
        connection.execute(
            "UPDATE entries SET header = CAST(replace(header, '1800', '9999') AS BLOB)"
        )
    connection.close()
    with pytest.raises(LogInvalid, match="not what the database has"):
        await copy(written.log, mirror, published(written))
    assert kept(tmp_path) == {}


async def test_a_document_that_is_not_what_it_is_called_is_not_copied(
    written: WrittenLog, mirror: TileDirectory
) -> None:
    with sqlite3.connect(written.path) as connection:
        connection.execute("UPDATE documents SET content = x'00'")
    connection.close()
    with pytest.raises(LogInvalid, match="as it is called"):
        await copy(written.log, mirror, published(written))
    assert mirror.get("checkpoint", MAX_RESOURCE) is None


async def test_bytes_that_somebody_put_in_the_way_are_a_conflict(
    written: WrittenLog, mirror: TileDirectory
) -> None:
    mirror.put(f"tile/0/000.p/{written.log.size % WIDTH}", b"in the way")
    with pytest.raises(Conflict):
        await copy(written.log, mirror, published(written))
    assert mirror.get("checkpoint", MAX_RESOURCE) is None
