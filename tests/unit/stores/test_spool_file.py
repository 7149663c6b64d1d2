"""The spool: outcomes of ends that wait for the log must neither be lost nor block one another."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from muniment.errors import LogInvalid, LogUnavailable
from muniment.stores.spool_file import SpoolFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(path: Path) -> SpoolFile:
    return SpoolFile(path)


def fail(*_: Any) -> Any:
    raise OSError(errno.EIO, "Input/output error")


def test_a_line_that_was_torn_by_a_crash_does_not_spoil_the_next(
    spool: SpoolFile, path: Path
) -> None:
    """Nobody was told of the torn one; whoever adds the next is told, and must find it."""
    spool.add({"n": 1})
    first = path.read_bytes()
    spool.add({"n": 2, "case": "mun_a"})
    whole = path.read_bytes()
    for cut in range(len(first), len(whole)):
        path.write_bytes(whole[:cut])
        spool.add({"n": 3})
        assert spool.waiting() == [{"n": 1}, {"n": 3}]


def test_a_line_of_which_only_a_part_was_written_is_not_acknowledged(
    spool: SpoolFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.add({"n": 1})
    real = os.write
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", lambda file, data: real(file, data[:3]))
        with pytest.raises(LogUnavailable, match="only a part of the line was written"):
            spool.add({"n": 2})
    assert spool.waiting() == [{"n": 1}]
    spool.add({"n": 3})
    assert spool.waiting() == [{"n": 1}, {"n": 3}]


@pytest.mark.parametrize("call", ["open", "write", "fsync"])
def test_a_line_that_does_not_reach_the_disk_is_not_acknowledged(
    call: str, spool: SpoolFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        with pytest.raises(LogUnavailable, match="cannot be written: Input/output error"):
            spool.add({"n": 1})
    spool.add({"n": 2})
    assert spool.waiting()[-1] == {"n": 2}


def test_what_is_left_after_clearing_is_on_the_disk_before_it_takes_the_old_ones_place(
    spool: SpoolFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power loss could leave an empty file where ends were still waiting."""
    for number in range(3):
        spool.add({"n": number})
    done: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(file: int) -> None:
        done.append("sync")
        real_sync(file)

    def replace(path: Path, to: Path) -> Path:
        done.append("replace")
        return real_replace(path, to)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    spool.clear(1)
    assert done[0] == done[-1] == "sync"
    assert done.count("replace") == 1
    assert spool.waiting() == [{"n": 1}, {"n": 2}]


def test_clearing_that_fails_leaves_every_line(
    spool: SpoolFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        spool.add({"n": number})
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(LogUnavailable, match="cannot be written: Input/output error"):
            spool.clear(2)
    assert spool.waiting() == [{"n": 0}, {"n": 1}, {"n": 2}]
    spool.clear(2)
    assert spool.waiting() == [{"n": 2}]


@pytest.mark.parametrize("line", [b"nonsense", b"[]", b"{ }", b""])
def test_a_damaged_spool_says_which_file_it_is(line: bytes, spool: SpoolFile, path: Path) -> None:
    spool.add({"n": 1})
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(LogInvalid, match=r"the spool `.*spool` is damaged"):
        spool.waiting()


def test_only_its_owner_may_read_the_spool(spool: SpoolFile, path: Path) -> None:
    spool.add({"n": 1})
    spool.add({"n": 2})
    spool.clear(1)
    assert path.stat().st_mode & 0o077 == 0
