"""A mirror in a folder: what it leaves on the disk."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from muniment.errors import Conflict, Unavailable
from muniment.stores import tile_directory
from muniment.stores.tile_directory import TileDirectory


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_is_kept_is_read_only_and_nothing_is_beside_it(tmp_path: Path) -> None:
    mirror = TileDirectory(tmp_path / "mirror")
    mirror.put("tile/0/x001/000.p/3", b"three")
    mirror.replace("checkpoint", b"note")
    mirror.replace("checkpoint", b"newer")
    with pytest.raises(Conflict):
        mirror.put("tile/0/x001/000.p/3", b"other")
    assert files(tmp_path / "mirror") == ["checkpoint", "tile/0/x001/000.p/3"]
    for name in files(tmp_path / "mirror"):
        assert stat.S_IMODE((tmp_path / "mirror" / name).stat().st_mode) == 0o444


def test_a_file_is_synced_before_it_has_its_name_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, link, replace = os.fsync, os.link, os.replace

    def spied_fsync(file: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(file).st_mode) else "file")
        fsync(file)

    def spied_link(*arguments: Any, **named: Any) -> None:
        steps.append("link")
        link(*arguments, **named)

    def spied_replace(*arguments: Any, **named: Any) -> None:
        steps.append("replace")
        replace(*arguments, **named)

    mirror = TileDirectory(tmp_path / "mirror")
    monkeypatch.setattr(os, "fsync", spied_fsync)
    monkeypatch.setattr(os, "link", spied_link)
    monkeypatch.setattr(os, "replace", spied_replace)
    mirror.put("tile/0/000", b"a")
    assert steps == ["file", "link", "folder", "folder", "folder"]
    steps.clear()
    mirror.put("tile/0/000", b"a")
    assert steps == ["folder", "folder", "folder"], "the first call may have died before these"
    steps.clear()
    mirror.replace("checkpoint", b"a")
    assert steps == ["file", "replace", "folder"]


def test_what_a_crash_left_beside_a_file_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "tile/0").mkdir(parents=True)
    (tmp_path / "tile/0/.000.0123456789abcdef").write_bytes(b"half")
    mirror = TileDirectory(tmp_path)
    mirror.put("tile/0/000", b"whole")
    assert mirror.get("tile/0/000", 10) == b"whole"


def test_a_disk_that_fails_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = TileDirectory(tmp_path)

    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(tile_directory, "sync_folder", fails)
    with pytest.raises(Unavailable, match="Input/output error"):
        mirror.put("tile/0/000", b"a")
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable):
        TileDirectory(tmp_path / "file").put("tile/0/000", b"a")
