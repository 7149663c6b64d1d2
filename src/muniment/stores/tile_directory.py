"""A mirror of the log in a folder: another disk, a file server, whatever a backup takes along."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from muniment.errors import Conflict, Unavailable
from muniment.stores.head_file import sync_folder

_READ_ONLY: Final = 0o444


class TileDirectory:
    """
    `evidence.store.Mirror` on a file system.

    A file is written beside its place, synced and linked there: it is whole, or not there at all.
    """

    def __init__(self, folder: Path, *, must_exist: bool = False) -> None:
        """
        The folder is made, unless it `must_exist`; then nothing is touched yet.

        It has to where a disk is mounted: else the copy would go to whatever lies below the mount
        point while the disk is away. Raises `Unavailable` where it cannot be made.
        """
        self._folder = folder
        self._must_exist = must_exist
        if must_exist:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unavailable(folder, error) from error

    def put(self, path: str, data: bytes) -> None:
        place = self._place(path)
        try:
            if not self._is_kept(path, data):
                with self._beside(place, data) as new, contextlib.suppress(FileExistsError):
                    place.hardlink_to(new)  # unlike a rename, it never replaces
                self._is_kept(path, data)
            # what was there already need not be on the disk: an earlier call may have died here
            self._sync(place)
        except OSError as error:
            raise _unavailable(place, error) from error

    def _is_kept(self, path: str, data: bytes) -> bool:
        kept = self.get(path, max(len(data), 1))
        if kept not in (None, data):
            raise Conflict(f"`{self._place(path)}` is there with other bytes; nothing was changed")
        return kept is not None

    def replace(self, path: str, data: bytes) -> None:
        place = self._place(path)
        try:
            with self._beside(place, data) as new:
                new.replace(place)
            self._sync(place)
        except OSError as error:
            raise _unavailable(place, error) from error

    def get(self, path: str, most: int) -> bytes | None:
        place = self._place(path)
        try:
            with place.open("rb") as file:
                data = file.read(most + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unavailable(place, error) from error
        if len(data) > most:
            raise Conflict(f"`{place}` is larger than {most} bytes")
        return data

    def _place(self, path: str) -> Path:
        parts = path.split("/")
        if not all(part and part.strip(".") for part in parts):
            raise ValueError(f"no resource of a log: `{path}`")
        if self._must_exist and not self._folder.is_dir():
            raise Unavailable(
                f"the mirror's `{self._folder}` is not there: mount its disk, or make it, once"
            )
        return self._folder.joinpath(*parts)

    @contextlib.contextmanager
    def _beside(self, place: Path, data: bytes) -> Iterator[Path]:
        """The same bytes on the disk, under a name that no resource has."""
        place.parent.mkdir(parents=True, exist_ok=True)
        new = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
        try:
            file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _READ_ONLY)
            with os.fdopen(file, "wb") as opened:
                opened.write(data)
                opened.flush()
                os.fsync(file)
            yield new
        finally:
            # Crash here: the file stays, and is nobody's.
            new.unlink(missing_ok=True)

    def _sync(self, place: Path) -> None:
        """The folders above are as new as the file may be: each is an entry in the next."""
        for folder in place.relative_to(self._folder).parents:
            sync_folder(self._folder / folder)


def _unavailable(path: Path, error: OSError) -> Unavailable:
    return Unavailable(f"the mirror's `{path}`: {error.strerror}")
