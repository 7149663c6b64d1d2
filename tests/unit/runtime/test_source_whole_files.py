"""Whole files in a directory or a bucket: each once, late ones too, and what cannot be read."""

import asyncio
import contextlib
import gzip
import json
import os
import random
from collections.abc import Iterator, Sequence
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.errors import Unavailable, Unreadable
from muniment.runtime.sources.directory import SETTLED, Directory
from muniment.runtime.sources.s3 import Bucket
from muniment.runtime.sources.unpacked import unpacked
from muniment.runtime.sources.whole_files import WINDOW, Read, Shelf, WholeFiles
from muniment.testing.fake_intake import Counted, FakeIntake, bomb


class Files:
    """A shelf in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.reads: list[str] = []

    def names(self, after: str) -> Iterator[str]:
        yield from sorted(name for name in self.files if name > after)

    def read(self, name: str, most: int) -> bytes | None:
        self.reads.append(name)
        return self.files[name][:most] if name in self.files else None


class Pauses:
    """Ends the reading as soon as there is nothing more to read."""

    async def __call__(self, stop: asyncio.Event, seconds: float) -> None:
        stop.set()


async def read_all(shelf: Shelf, intake: FakeIntake, *, from_start: bool = True) -> None:
    files = WholeFiles("trail", shelf, from_start=from_start, every=60, pause=Pauses())
    await files.run(intake, asyncio.Event())


async def test_files_are_read_once_in_the_order_of_their_names() -> None:
    shelf, intake = Files(), FakeIntake()
    shelf.files = {"b": b"3", "a": b"1\n2", "c.gz": gzip.compress(b"4")}
    await read_all(shelf, intake)
    shelf.files["d"] = b"5"
    await read_all(shelf, intake)
    assert intake.kept("trail") == [b"1", b"2", b"3", b"4", b"5"]
    assert shelf.reads == ["a", "b", "c.gz", "d"]


async def test_by_default_what_was_there_before_is_left_out() -> None:
    shelf, intake = Files(), FakeIntake()
    shelf.files = {f"{n:05}": b"old" for n in range(2 * WINDOW)}
    await read_all(shelf, intake, from_start=False)
    shelf.files["01000"] = b"new"
    shelf.files[f"{2 * WINDOW - 10:05}x"] = b"late"
    await read_all(shelf, intake, from_start=False)
    assert sorted(intake.kept("trail")) == [b"late", b"new"]


async def test_a_late_file_is_read_whatever_its_name_within_the_window() -> None:
    shelf, intake = Files(), FakeIntake()
    shelf.files = {f"{n:05}": b"%d" % n for n in range(3 * WINDOW)}
    await read_all(shelf, intake)
    shelf.files[f"{2 * WINDOW + 1:05}-late"] = b"late"
    shelf.files["00000-much-too-late"] = b"too late"
    await read_all(shelf, intake)
    assert intake.kept("trail")[3 * WINDOW :] == [b"late"]
    assert len(intake.cursor("trail") or "") < 20 * WINDOW


def test_a_cursor_names_no_more_files_than_may_be_late() -> None:
    read = Read()
    for n in range(3 * WINDOW):
        read.finish(f"{n:05}")
    assert len(json.loads(read.cursor)["seen"]) == WINDOW
    assert read.floor == f"{2 * WINDOW - 1:05}"


def test_a_cursor_forgets_files_that_are_removed_before_it_grows_too_long() -> None:
    read = Read()
    for n in range(3 * WINDOW):
        assert read.unread([f"{n:05}"], complete=True) == [f"{n:05}"]
        read.finish(f"{n:05}")
        assert len(json.loads(read.cursor)["seen"]) <= WINDOW + 1


async def test_a_folder_that_is_back_is_not_read_once_more() -> None:
    """A disk that was not mounted for a while, and shows nothing, or other files."""
    shelf, intake = Files(), FakeIntake()
    there = {f"{n:05}": b"%d" % n for n in range(WINDOW)}
    for seen in (there, {}, there, {"00000": b"0"}, there):
        shelf.files = dict(seen)
        await read_all(shelf, intake)
    assert len(intake.kept("trail")) == WINDOW


async def test_a_file_that_is_touched_is_not_read_once_more(tmp_path: Path) -> None:
    intake, now = FakeIntake(), [100.0]
    for name in ("a", "b"):
        put(tmp_path / name, name.encode(), 10)
    shelf = Directory(str(tmp_path), tmp_path, now=lambda: now[0])
    for touched in (10, 110, 110):  # the second time it may still be written to
        os.utime(tmp_path / "a", (touched, touched))
        await read_all(shelf, intake)
        now[0] += 10
    assert intake.kept("trail") == [b"a", b"b"]


async def test_a_large_file_is_taken_in_pieces_and_goes_on_in_its_middle() -> None:
    class Interrupted(FakeIntake):
        async def take(
            self,
            source: str,
            records: Sequence[bytes],
            cursor: str | None = None,
            *,
            after: str | None = None,
        ) -> Counted:
            if self.takes == 1:
                stop.set()
                self.unavailable = 1
            return await super().take(source, records, cursor, after=after)

    shelf, intake, stop = Files(), Interrupted(), asyncio.Event()
    lines = [b"%d" % n for n in range(12_000)]
    shelf.files = {"a": b"\n".join(lines), "b": b"last"}
    await WholeFiles("trail", shelf, from_start=True, every=60, pause=Pauses()).run(intake, stop)
    assert intake.kept("trail") == lines[:5000]
    await read_all(shelf, intake)
    assert intake.kept("trail") == [*lines, b"last"]


async def test_what_cannot_be_kept_now_is_handed_on_until_it_is() -> None:
    shelf, intake = Files(), FakeIntake(unavailable=1)

    async def keep_trying(stop: asyncio.Event, seconds: float) -> None:
        if intake.kept("trail"):
            stop.set()

    shelf.files = {"a": b"1"}
    files = WholeFiles("trail", shelf, from_start=True, every=60, pause=keep_trying)
    await files.run(intake, asyncio.Event())
    assert intake.kept("trail") == [b"1"]


@pytest.mark.parametrize(
    "body",
    [
        bomb(200 << 20),
        gzip.compress(b"cut")[:-5],
        gzip.compress(b"damaged" * 100)[:20] + b"\0" * 50,
        b"[ no JSON",
        gzip.compress(gzip.compress(b"twice")),
    ],
    ids=["bomb", "cut", "damaged", "no JSON", "twice packed"],
)
async def test_a_file_that_cannot_be_read_is_a_loss_and_holds_up_no_other(body: bytes) -> None:
    shelf, intake = Files(), FakeIntake()
    shelf.files = {"a": body, "b": b"next"}
    await read_all(shelf, intake)
    await read_all(shelf, intake)
    assert intake.kept("trail") == [b"next"]
    assert intake.misses == [("trail", "count", None)]
    assert shelf.reads == ["a", "b"]


async def test_a_damaged_cursor_is_a_loss_and_no_end() -> None:
    for cursor in ("", "{}", '{"v":1,"floor":0,"seen":0,"part":[]}', "[" * 100_000):
        shelf, intake = Files(), FakeIntake()
        shelf.files = {"a": b"1"}
        await intake.take("trail", [], cursor)
        await read_all(shelf, intake)
        assert intake.kept("trail") == [b"1"]
        assert intake.misses == [("trail", "cursor", None)]


@given(seed=st.integers(0, 2**32), rounds=st.integers(1, 12))
def test_every_file_is_read_once_whenever_it_comes(seed: int, rounds: int) -> None:
    chance = random.Random(seed)
    read, there, found = Read(), set[str](), list[str]()
    for _ in range(rounds):
        there |= {f"{chance.randrange(WINDOW):04}" for _ in range(chance.randrange(60))}
        for name in read.unread(sorted(there), complete=True):
            found.append(name)
            read.finish(name)
        read = Read(read.cursor)
    assert sorted(found) == sorted(there)


# --- packed --------------------------------------------------------------------------------------


def test_parts_and_padding_are_unpacked_and_bounded() -> None:
    packed = gzip.compress(b"one") + gzip.compress(b"two") + b"\0" * 512
    assert unpacked(packed, 6) == b"onetwo"
    with pytest.raises(Unreadable, match="more than 5 bytes"):
        unpacked(packed, 5)
    with pytest.raises(Unreadable, match="parts"):
        unpacked(gzip.compress(b"") * 10_001, 5)
    with pytest.raises(Unreadable, match="damaged"):
        unpacked(gzip.compress(b"one") + b"rest", 99)


@given(st.binary(max_size=300))
def test_whatever_is_unpacked_gives_bytes_or_a_refusal(data: bytes) -> None:
    for packed in (data, b"\x1f\x8b" + data, gzip.compress(b"x")[:10] + data):
        with contextlib.suppress(Unreadable):
            assert len(unpacked(packed, 1000)) <= 1000


# --- a directory ---------------------------------------------------------------------------------


def put(file: Path, data: bytes, at: float = 0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    os.utime(file, (at, at))


def test_files_are_found_below_a_folder_or_by_a_pattern(tmp_path: Path) -> None:
    for name in ("2026/11/a.json.gz", "2026/12/b.json.gz", "2026/12/c.txt", ".hidden"):
        put(tmp_path / name, name.encode())
    everything = Directory(str(tmp_path), Path("/nowhere"))
    assert list(everything.names("")) == ["2026/11/a.json.gz", "2026/12/b.json.gz", "2026/12/c.txt"]
    packed = Directory("2026/**/*.json.gz", tmp_path)
    assert list(packed.names("")) == ["11/a.json.gz", "12/b.json.gz"]
    assert list(packed.names("11/a.json.gz")) == ["12/b.json.gz"]
    assert packed.read("12/b.json.gz", 4) == b"2026"
    assert packed.read("12/gone", 4) is None


def test_a_file_that_is_being_written_waits(tmp_path: Path) -> None:
    put(tmp_path / "a", b"x", at=1000)
    now = [1000.0]
    directory = Directory(str(tmp_path), tmp_path, now=lambda: now[0])
    assert list(directory.names("")) == []
    now[0] += SETTLED
    assert list(directory.names("")) == ["a"]


def test_links_and_pipes_are_left_alone(tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    put(outside, b"not yours")
    put(tmp_path / "drop/a", b"x")
    (tmp_path / "drop/b").symlink_to(outside)
    os.mkfifo(tmp_path / "drop/c")
    directory = Directory("drop", tmp_path)
    assert list(directory.names("")) == ["a"]
    with pytest.raises(Unavailable):
        directory.read("b", 99)


def test_a_folder_that_is_away_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="there is no folder"):
        list(Directory("nothing", tmp_path).names(""))


# --- a bucket ------------------------------------------------------------------------------------


def refused(code: str, call: str) -> Exception:
    error: type[Exception] = import_module("botocore.exceptions").ClientError
    return error({"Error": {"Code": code, "Message": "of AKIA1234"}}, call)


class Client:
    """A client of S3 with pages of two."""

    def __init__(self, **objects: bytes) -> None:
        self.objects = objects
        self.asked: list[dict[str, Any]] = []

    def list_objects_v2(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        after = asked.get("ContinuationToken") or asked.get("StartAfter", "")
        keys = sorted(k for k in self.objects if k > after and k.startswith(asked["Prefix"]))
        found: dict[str, Any] = {"IsTruncated": len(keys) > 2}
        if keys:
            found["Contents"] = [{"Key": k, "Size": len(self.objects[k])} for k in keys[:2]]
        if len(keys) > 2:
            found["NextContinuationToken"] = keys[1]
        return found

    def get_object(self, **asked: Any) -> dict[str, Any]:
        if asked["Key"] not in self.objects:
            raise refused("NoSuchKey", "GetObject")
        return {"Body": BytesIO(self.objects[asked["Key"]])}


def test_a_bucket_is_listed_page_by_page_behind_a_name() -> None:
    client = Client(**{"x/1": b"1", "x/2": b"2", "x/3": b"3", "x/": b"", "x/4/": b"", "y": b"9"})
    bucket = Bucket(client, "trail", "x/")
    assert list(bucket.names("")) == ["x/1", "x/2", "x/3"]
    assert list(bucket.names("x/1")) == ["x/2", "x/3"]
    assert "StartAfter" not in client.asked[0]
    assert bucket.read("x/2", 99) == b"2"
    assert bucket.read("x/gone", 99) is None


async def test_a_bucket_is_read_like_a_directory() -> None:
    client, intake = Client(**{f"x/{n}": gzip.compress(b"%d" % n) for n in range(5)}), FakeIntake()
    await read_all(Bucket(client, "trail", "x/"), intake)
    client.objects["x/3-late"] = b"late"
    await read_all(Bucket(client, "trail", "x/"), intake)
    assert intake.kept("trail") == [b"0", b"1", b"2", b"3", b"4", b"late"]


def test_a_bucket_that_says_no_is_unavailable_and_its_words_are_not_repeated() -> None:

    class Refusing:
        def list_objects_v2(self, **_: Any) -> None:
            raise refused("AccessDenied", "ListObjectsV2")

    with pytest.raises(Unavailable, match="AccessDenied") as said:
        list(Bucket(Refusing(), "trail").names(""))
    assert "AKIA" not in str(said.value)
