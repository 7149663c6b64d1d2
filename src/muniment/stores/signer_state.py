"""What a signing process remembers, as a file: two alternating slots, synced before it answers."""

import fcntl
import os
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self

from muniment.errors import Conflict, LogInvalid, LogUnavailable, NotCanonical
from muniment.evidence import canonical
from muniment.evidence.careful_signer import Memory, SignedHead

_SLOT: Final = 512
_DIGEST: Final = 32
_LENGTH: Final = 2


class SignerStateFile:
    """`MemoryStore` on one small file, which one process has at a time."""

    def __init__(self, path: Path) -> None:
        """Raises `LogInvalid` if it is gone, `Conflict` if another process signs with it."""
        self._path = path
        try:
            self._file = os.open(path, os.O_RDWR)
        except OSError as error:
            raise LogInvalid(
                f"what was signed last stands in `{path}`, which cannot be opened "
                f"({error.strerror}): put it back; without it another history could be signed"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._number, self._memory = self._newest()
        except BlockingIOError:
            os.close(self._file)
            raise Conflict(f"another process signs with `{path}`") from None
        except BaseException:
            os.close(self._file)
            raise

    @classmethod
    def make(cls, path: Path) -> Self:
        """One that remembers nothing. Raises `Conflict` where there is one."""
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise Conflict(f"`{path}` is there already; nothing is written over it") from None
        try:
            os.pwrite(file, _framed(0, Memory()).ljust(2 * _SLOT, b"\0"), 0)
            os.fsync(file)
        finally:
            os.close(file)
        return cls(path)

    def read(self) -> Memory:
        return self._memory

    def write(self, memory: Memory) -> None:
        number = self._number + 1
        framed = _framed(number, memory)
        try:
            if os.pwrite(self._file, framed, number % 2 * _SLOT) != len(framed):
                raise LogUnavailable(f"only a part of `{self._path}` was written")
            os.fdatasync(self._file)
        except OSError as error:
            raise LogUnavailable(f"`{self._path}` cannot be written: {error.strerror}") from error
        self._number, self._memory = number, memory

    def close(self) -> None:
        os.close(self._file)

    def _newest(self) -> tuple[int, Memory]:
        found = [slot for at in (0, 1) if (slot := self._slot(at)) is not None]
        if not found:
            raise LogInvalid(f"`{self._path}` is damaged in both slots; put it back")
        return max(found, key=lambda slot: slot[0])

    def _slot(self, at: int) -> tuple[int, Memory] | None:
        raw = os.pread(self._file, _SLOT, at * _SLOT)
        length = int.from_bytes(raw[_DIGEST : _DIGEST + _LENGTH], "big")
        data = raw[_DIGEST + _LENGTH :][:length]
        if not data or sha256(data).digest() != raw[:_DIGEST]:
            return None
        try:
            value: Any = canonical.decode(data)
            return value["number"], Memory(_head(value["confirmed"]), _head(value["newest"]))
        except (NotCanonical, KeyError, TypeError, ValueError) as error:
            raise LogInvalid(f"`{self._path}` is not the memory of a signer") from error


def _framed(number: int, memory: Memory) -> bytes:
    data = canonical.encode(
        {
            "number": number,
            "confirmed": {"size": memory.confirmed.size, "root": memory.confirmed.root.hex()},
            "newest": {"size": memory.newest.size, "root": memory.newest.root.hex()},
        }
    )
    return sha256(data).digest() + len(data).to_bytes(_LENGTH, "big") + data


def _head(value: Any) -> SignedHead:
    return SignedHead(value["size"], bytes.fromhex(value["root"]))
