"""The head store as a file: two alternating slots, each whole or void, synced before answering."""

import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from muniment.errors import Conflict, LogInvalid, LogUnavailable, NotCanonical
from muniment.evidence import canonical

_SLOT = 8192
_DIGEST = 32
_LENGTH = 4


class HeadFile:
    """
    `HeadStore` on one small file, to be kept on another disk than the database.

    A slot is digest, length, size and checkpoint. A write goes to the slot that does not hold the
    largest head, so that a torn write leaves the other one whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mutex = threading.Lock()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            if os.fstat(self._file).st_size < 2 * _SLOT:
                os.ftruncate(self._file, 2 * _SLOT)
            sync_folder(path.parent)
        except OSError as error:
            raise LogUnavailable(
                f"the head store `{path}` cannot be opened: {error.strerror}"
            ) from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        with self._mutex:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def read(self) -> bytes | None:
        slots = [slot for number in (0, 1) if (slot := self._slot(number)) is not None]
        if slots:
            return max(slots)[1]
        if any(self._raw(number).strip(b"\0") for number in (0, 1)):
            raise LogInvalid(f"the head store `{self._path}` is damaged in both slots")
        return None

    def write(self, checkpoint: bytes, size: int) -> None:
        held = [self._slot(number) for number in (0, 1)]
        same = (size, checkpoint)
        if any(slot is not None and slot[0] >= size and slot != same for slot in held):
            raise LogInvalid(f"the head store remembers {size} or more entries already")
        sizes = [-1 if slot is None else slot[0] for slot in held]
        data = size.to_bytes(8, "big") + checkpoint
        if len(data) + _DIGEST + _LENGTH > _SLOT:
            raise LogInvalid("a checkpoint too large for the head store")
        framed = sha256(data).digest() + len(data).to_bytes(_LENGTH, "big") + data
        # the same again, after an error, goes where it was: only the other slot is surely whole
        self._put(held.index(same) if same in held else sizes.index(min(sizes)), framed)

    def close(self) -> None:
        os.close(self._file)

    def _put(self, number: int, framed: bytes) -> None:
        try:
            if os.pwrite(self._file, framed, number * _SLOT) != len(framed):
                raise OSError(errno.ENOSPC, "only a part of the head was written")
            os.fdatasync(self._file)
        except OSError as error:
            raise LogUnavailable(f"the head store cannot be written: {error.strerror}") from error

    def _raw(self, number: int) -> bytes:
        try:
            return os.pread(self._file, _SLOT, number * _SLOT)
        except OSError as error:
            raise LogUnavailable(f"the head store cannot be read: {error.strerror}") from error

    def _slot(self, number: int) -> tuple[int, bytes] | None:
        raw = self._raw(number)
        length = int.from_bytes(raw[_DIGEST : _DIGEST + _LENGTH], "big")
        data = raw[_DIGEST + _LENGTH :][:length]
        if length < 8 or len(data) != length or sha256(data).digest() != raw[:_DIGEST]:  # noqa: PLR2004 (the size field)
            return None
        return int.from_bytes(data[:8], "big"), data[8:]


class LedgerFile:
    """
    `ErasureLedger` as an append-only file beside the head store, one canonical object a line.

    It is made once, with the log. That it is gone is never taken for "nothing was erased".
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        #: what it holds, once it was read: only we append to it
        self._known: dict[tuple[str, str, str], None] | None = None

    def make(self) -> None:
        """An empty ledger, for a new log. Raises `Conflict` where there is one."""
        if self._path.exists():
            raise Conflict(f"there is an erasure ledger at `{self._path}`, of another log")
        append_durably(self._path, b"")

    def check(self) -> None:
        """Raises `LogInvalid` where there is no ledger, saying what to do."""
        if not self._path.exists():
            raise LogInvalid(
                f"the erasure ledger `{self._path}` is missing: put it back, as without it a "
                "restored copy would show what was erased. Only where nothing ever was, make an "
                f"empty one: touch {self._path}"
            )

    def add(self, record_id: str, section: str, rule: str) -> None:
        self.add_many([(record_id, section, rule)])

    def add_many(self, erasures: Sequence[tuple[str, str, str]]) -> None:
        known = self._read()
        # one that is there already need not be on the disk: an earlier call may have failed
        self._known = None  # what becomes of the file if this fails, it will say itself
        append_durably(self._path, b"".join(_line(*e) for e in erasures if e not in known))
        known.update(dict.fromkeys(erasures))
        self._known = known

    def erasures(self) -> list[tuple[str, str, str]]:
        self._known = None  # as it is now
        return list(self._read())

    def _read(self) -> dict[tuple[str, str, str], None]:
        if self._known is None:
            self._known = dict.fromkeys(
                _erasure(self._path, line) for line in read_lines(self._path)
            )
        return self._known


def _line(record_id: str, section: str, rule: str) -> bytes:
    return canonical.encode({"record": record_id, "section": section, "rule": rule}) + b"\n"


def _erasure(path: Path, line: bytes) -> tuple[str, str, str]:
    try:
        value: Any = canonical.decode(line)
        return (value["record"], value["section"], value["rule"])
    except (NotCanonical, KeyError, TypeError) as error:
        raise LogInvalid(f"the erasure ledger `{path}` is damaged") from error


#: why a log that went on elsewhere signs nothing where it was
MOVED = "this log was moved to the PostgreSQL of `[store]`"


class HaltFile:
    """
    Beside the head store: what somebody remembers of another history of this log.

    While it is there the log signs nothing, over restarts too. A person looks, and takes it away.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def keep(self, why: str, note: bytes) -> None:
        """Durable when it returns; what is there already stays. Raises `LogUnavailable`."""
        if not self.path.exists():
            append_durably(self.path, why.encode() + b"\n\n" + note)

    def why(self) -> str | None:
        """With what to do about it; None while nothing speaks against the log."""
        try:
            kept = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LogUnavailable(f"`{self.path}` cannot be read: {error.strerror}") from error
        said = kept.partition(b"\n")[0].decode("utf-8", "replace")
        if said.startswith(MOVED):
            return f"{said}: set `[store]` again, as another history would begin here"
        return f"{said}; look, then remove `{self.path}`"


def append_durably(path: Path, data: bytes) -> None:
    """Append a line, and wait until the disk has it and the file's place in its directory."""
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            # a torn last line was never acknowledged; what is appended must not become a part of it
            os.ftruncate(file, os.pread(file, os.fstat(file).st_size, 0).rfind(b"\n") + 1)
            if os.write(file, data) != len(data):
                raise OSError(errno.ENOSPC, "only a part of the line was written")
            os.fsync(file)
        finally:
            os.close(file)
        sync_folder(path.parent)
    except OSError as error:
        raise LogUnavailable(f"`{path}` cannot be written: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """A new or renamed file is not there after a power loss before its directory is."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_lines(path: Path) -> list[bytes]:
    """Whole lines only: a torn last one was never acknowledged."""
    if not path.exists():
        return []
    return path.read_bytes().split(b"\n")[:-1]
