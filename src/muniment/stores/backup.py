"""
Copies of the database and of plain files: whole when they are there, and for their owner only.

A copy is written under another name and waits for the disk; only then does it get its own. It never
takes the place of anything.
"""

import contextlib
import os
import sqlite3
from hashlib import sha256
from pathlib import Path

from muniment.errors import Conflict, LogInvalid, LogUnavailable
from muniment.stores.head_file import sync_folder

_PIECE = 1 << 20


def copy_database(source: Path, copy: Path) -> None:
    """
    Copy a database, also while a service appends to it. `copy` must not be there.

    `VACUUM INTO` reads one snapshot, hence whole batches with their checkpoint, and writes only
    what stands: no free page, no erased byte. (SQLite's backup interface would copy free pages too,
    and begins anew whenever somebody commits.) An erasure waits while it runs.
    """
    _make(copy)
    uri = f"{source.absolute().as_uri()}?mode=rw"  # never makes an empty one
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
            connection.execute("VACUUM INTO ?", (str(copy),))
    except sqlite3.DatabaseError as error:
        if type(error) is sqlite3.DatabaseError:  # not a database, or a malformed one
            raise LogInvalid(f"`{source}` is not a whole database: {error}") from error
        raise LogUnavailable(f"`{source}` cannot be copied: {error}") from error
    sync_file(copy)  # SQLite does not


def copy_file(source: Path, copy: Path) -> bytes:
    """Copy a file; its SHA-256. `copy` must not be there."""
    digest = sha256()
    try:
        _make(copy)
        with source.open("rb") as read, copy.open("wb") as written:
            while piece := read.read(_PIECE):
                digest.update(piece)
                written.write(piece)
    except OSError as error:
        raise LogUnavailable(f"`{error.filename}` cannot be copied: {error.strerror}") from error
    sync_file(copy)
    return digest.digest()


def digest_of(path: Path) -> bytes:
    """SHA-256 of a file."""
    digest = sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.digest()


def write_file(path: Path, data: bytes) -> None:
    """Write a new file, durably but for its name."""
    _make(path)
    path.write_bytes(data)
    sync_file(path)


def private_folder(folder: Path) -> None:
    """Make a folder, and those above it, for their owner only; those that are there stay."""
    if not folder.exists():
        private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def put_in_place(path: Path, final: Path) -> None:
    """Give a finished file or folder its name, durably; raises `Conflict` if that is taken."""
    if final.exists():
        raise Conflict(f"`{final}` is there already; nothing is written over it")
    path.rename(final)
    sync_folder(final.parent)


def sync_file(path: Path) -> None:
    """Wait until the disk has all of it."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _make(path: Path) -> None:
    """An empty file that only its owner may read."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError as error:
        raise Conflict(f"`{path}` is there already; nothing is written over it") from error
