"""The head store and the ledger as files: what a crash or a bad disk leaves of them."""

import contextlib
import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from muniment.errors import LogInvalid, LogUnavailable
from muniment.stores import head_file
from muniment.stores.head_file import HeadFile, LedgerFile

SLOT = 8192


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "head"


@pytest.fixture
def heads(path: Path) -> Iterator[HeadFile]:
    heads = HeadFile(path)
    yield heads
    heads.close()


def read(path: Path) -> bytes | None:
    with contextlib.closing(HeadFile(path)) as heads:
        return heads.read()


def test_a_write_never_touches_the_slot_that_holds_the_largest_head(
    heads: HeadFile, path: Path
) -> None:
    slots = []
    for size in range(1, 6):
        heads.write(b"head of %d" % size, size)
        data = path.read_bytes()
        slots.append([data[n * SLOT : (n + 1) * SLOT] for n in (0, 1)])
    for before, after in itertools.pairwise(slots):
        assert sum(one == other for one, other in zip(before, after, strict=True)) == 1


def test_a_write_that_is_torn_anywhere_leaves_the_head_before_it(
    heads: HeadFile, path: Path
) -> None:
    heads.write(b"head of 1", 1)
    heads.write(b"head of 2", 2)
    before = path.read_bytes()
    heads.write(b"head of 3", 3)
    after = path.read_bytes()
    changed = [at for at in range(2 * SLOT) if before[at] != after[at]]
    for cut in range(changed[0], changed[-1] + 1):
        path.write_bytes(after[:cut] + before[cut:])
        assert read(path) == b"head of 2"
        path.write_bytes(before[:cut] + after[cut:])
        assert read(path) == (b"head of 3" if cut == changed[0] else b"head of 2")


def test_a_torn_slot_is_written_over_first(heads: HeadFile, path: Path) -> None:
    heads.write(b"head of 1", 1)
    heads.write(b"head of 2", 2)
    data = bytearray(path.read_bytes())
    torn = 0 if b"head of 1" in data[:SLOT] else 1
    data[torn * SLOT + 40] ^= 1
    path.write_bytes(bytes(data))
    heads.write(b"head of 3", 3)
    assert b"head of 3" in path.read_bytes()[torn * SLOT :][:SLOT]
    assert heads.read() == b"head of 3"


def test_the_same_head_again_does_not_touch_the_other_slot(heads: HeadFile, path: Path) -> None:
    """After a failed sync only the other slot is surely on the disk."""
    heads.write(b"head of 1", 1)
    heads.write(b"head of 2", 2)
    before = path.read_bytes()
    heads.write(b"head of 2", 2)
    assert path.read_bytes() == before


def test_every_flipped_byte_of_a_slot_voids_it(heads: HeadFile, path: Path) -> None:
    heads.write(b"head", 1)
    whole = path.read_bytes()
    used = 32 + 4 + 8 + len(b"head")
    for at in range(used):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with pytest.raises(LogInvalid, match="damaged in both slots"):
            read(path)


def test_nothing_but_zeros_is_an_empty_head_store(path: Path) -> None:
    for size in (0, 100, SLOT, 2 * SLOT):
        path.write_bytes(bytes(size))
        assert read(path) is None


def test_a_head_that_does_not_fit_its_slot_is_refused(heads: HeadFile) -> None:
    heads.write(b"head of 1", 1)
    with pytest.raises(LogInvalid, match="too large"):
        heads.write(bytes(SLOT), 2)
    assert heads.read() == b"head of 1"


def fail(*_: Any) -> Any:
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_head_that_does_not_reach_the_disk_is_not_acknowledged(
    call: str, heads: HeadFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads.write(b"head of 1", 1)
    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        with pytest.raises(LogUnavailable, match="head store cannot be written: Input/output"):
            heads.write(b"head of 2", 2)
    heads.write(b"head of 2", 2)
    assert heads.read() == b"head of 2"


def test_a_head_of_which_only_a_part_was_written_is_not_acknowledged(
    heads: HeadFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk may take a part without an error."""
    heads.write(b"head of 1", 1)
    real = os.pwrite
    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", lambda file, data, at: real(file, data[:20], at))
        with pytest.raises(LogUnavailable, match="only a part of the head was written"):
            heads.write(b"head of 2", 2)
    assert heads.read() == b"head of 1"


def test_a_head_that_cannot_be_read_is_unavailable_and_not_gone(
    heads: HeadFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads.write(b"head of 1", 1)
    with monkeypatch.context() as broken:
        broken.setattr(os, "pread", fail)
        with pytest.raises(LogUnavailable, match="head store cannot be read: Input/output"):
            heads.read()
    assert heads.read() == b"head of 1"


def test_a_new_file_is_synced_into_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the head store is gone after a power loss, and the log does not start."""
    synced: list[Path] = []
    monkeypatch.setattr(head_file, "sync_folder", synced.append)
    HeadFile(tmp_path / "head").close()
    HeadFile(tmp_path / "head").close()
    assert synced == [tmp_path] * 2, "also if the first start died in between"
    LedgerFile(tmp_path / "erasures").add("mun_a/0", "note", "R")
    assert synced == [tmp_path] * 3


def test_a_head_store_that_cannot_be_opened_says_where_and_why(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match=r"`.*missing/head` cannot be opened: No such file"):
        HeadFile(tmp_path / "missing" / "head")
    with pytest.raises(LogUnavailable, match="cannot be opened: Is a directory"):
        HeadFile(tmp_path)


def test_only_its_owner_may_read_the_head_store(heads: HeadFile, path: Path) -> None:
    heads.write(b"head of 1", 1)
    assert path.stat().st_mode & 0o077 == 0


# --- the ledger ----------------------------------------------------------------------------------


def test_a_torn_line_of_the_ledger_was_never_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "erasures"
    ledger = LedgerFile(path)
    ledger.add("mun_a/0", "note", "R")
    ledger.add("mun_a/1", "note", "R")
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole)):
        path.write_bytes(whole[:cut])
        assert ledger.erasures() == [("mun_a/0", "note", "R")]
        ledger.add("mun_a/2", "note", "R")
        assert ledger.erasures() == [("mun_a/0", "note", "R"), ("mun_a/2", "note", "R")]


@pytest.mark.parametrize(
    "line", [b"nonsense", b"[]", b"{}", b'"text"', b'{"record":"a","section":"b"}', b"{ }", b""]
)
def test_a_damaged_ledger_says_which_file_it_is(line: bytes, tmp_path: Path) -> None:
    """An erasure that is forgotten would bring back what was erased."""
    path = tmp_path / "erasures"
    LedgerFile(path).add("mun_a/0", "note", "R")
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(LogInvalid, match=r"the erasure ledger `.*erasures` is damaged"):
        LedgerFile(path).erasures()


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_an_erasure_that_does_not_reach_the_disk_is_not_acknowledged(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = LedgerFile(tmp_path / "erasures")
    ledger.add("mun_a/0", "note", "R")
    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        with pytest.raises(LogUnavailable, match="cannot be written: Input/output error"):
            ledger.add("mun_a/1", "note", "R")
    ledger.add("mun_a/1", "note", "R")
    assert ledger.erasures() == [("mun_a/0", "note", "R"), ("mun_a/1", "note", "R")]


def test_an_erasure_that_was_kept_but_not_synced_is_synced_when_it_is_added_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be read back, but it need not be on the disk."""
    ledger = LedgerFile(tmp_path / "erasures")
    synced: list[int] = []
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(LogUnavailable):
            ledger.add("mun_a/0", "note", "R")
    real = os.fsync

    def sync(file: int) -> None:
        synced.append(file)
        real(file)

    monkeypatch.setattr(os, "fsync", sync)
    ledger.add("mun_a/0", "note", "R")
    assert ledger.erasures() == [("mun_a/0", "note", "R")]
    assert synced
