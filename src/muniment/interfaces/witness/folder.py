"""The folder of a witness: its key, what it remembers, and the logs that it knows."""

import contextlib
import fcntl
import json
import logging
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from muniment.errors import ConfigInvalid, Conflict, EvidenceError, NoteInvalid
from muniment.evidence.checkpoint import Checkpoint
from muniment.evidence.merkle import EMPTY_ROOT
from muniment.evidence.note import CosigningKey, KeyType, VerifierKey
from muniment.stores.witness_store import SQLiteWitnessStore

#: the keys of each known log, by origin
Logs = Mapping[str, tuple[VerifierKey, ...]]

KEY: Final = "witness.key"
VKEY: Final = "witness.vkey"
DATABASE: Final = "witness.db"
CONFIG: Final = "witness.toml"

MAX_CONFIG_BYTES: Final = 1024 * 1024

_HEADER: Final = """\
# The logs whose checkpoints this witness cosigns: the public keys of each, by origin.
# `muniment witness add` and `muniment witness remove` write this file.
# A running witness takes up a change with the next request.

[logs]
"""

_log = logging.getLogger(__name__)


class WitnessFolder:
    """What `muniment witness init` makes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self, name: str) -> CosigningKey:
        """
        A new witness that knows no log yet.

        Raises `ConfigInvalid` for a name that no key can have, `Conflict` if there is a witness.
        """
        try:
            key = CosigningKey.generate(name)
        except NoteInvalid as error:
            raise ConfigInvalid(f"`{name}` cannot be the name of a witness: {error}") from None
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if found := [each for each in (KEY, DATABASE, CONFIG) if (self.path / each).exists()]:
            raise Conflict(f"`{self.path / found[0]}` exists already; choose another folder")
        _write_new(self.path / KEY, f"{key.skey}\n", 0o600)
        SQLiteWitnessStore.create(self.path / DATABASE, key.verifier).close()
        _write_new(self.path / VKEY, f"{key.verifier.vkey}\n", 0o644)
        _write_new(self.path / CONFIG, _HEADER, 0o644)
        _sync(self.path)
        return key

    def key(self) -> CosigningKey:
        """Raises `ConfigInvalid` if it is not there, or others may read it."""
        path = self.path / KEY
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            text = path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigInvalid(
                f"`{self.path}` is not the folder of a witness: `{KEY}` cannot be read; "
                "`muniment witness init` makes one"
            ) from error
        if mode & 0o077:
            raise ConfigInvalid(f"others may read the key of the witness: chmod 600 {path}")
        try:
            return CosigningKey.parse(text)
        except EvidenceError as error:
            raise ConfigInvalid(f"`{path}` holds no key of a witness") from error

    def store(self, key: VerifierKey) -> SQLiteWitnessStore:
        """Raises `LogInvalid` if what the witness remembered is gone, or is another's."""
        return SQLiteWitnessStore(self.path / DATABASE, key)

    def logs(self) -> Logs:
        """Raises `ConfigInvalid` saying which line of which log does not hold."""
        path = self.path / CONFIG
        try:
            if path.stat().st_size > MAX_CONFIG_BYTES:
                raise ConfigInvalid(f"`{path}` is longer than {MAX_CONFIG_BYTES} bytes")
            return _logs(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigInvalid(f"`{path}` cannot be read: {error}") from error

    def add(self, origin: str, key: VerifierKey) -> None:
        """Trust this key for the log of that origin, beside those trusted already."""
        with self._changing():
            logs = dict(self.logs())
            if key in logs.get(origin, ()):
                raise Conflict(f"this key of `{origin}` is known already")
            logs[origin] = (*logs.get(origin, ()), key)
            self._write(logs)

    def remove(self, origin: str) -> None:
        """Cosign no more for this log. What was cosigned for it stays remembered."""
        with self._changing():
            logs = dict(self.logs())
            if logs.pop(origin, None) is None:
                raise Conflict(f"no log of the origin `{origin}` is known")
            self._write(logs)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Two who change the file at once do so one after the other."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _write(self, logs: Logs) -> None:
        lines = [
            f"{_quoted(origin)} = [{', '.join(_quoted(key.vkey) for key in keys)}]\n"
            for origin, keys in logs.items()
        ]
        text = _HEADER + "".join(lines)
        _logs(text)  # refuses what could not be read again
        new = self.path / f"{CONFIG}.new"
        new.unlink(missing_ok=True)
        _write_new(new, text, 0o644)
        new.replace(self.path / CONFIG)
        _sync(self.path)


class KnownLogs:
    """
    The logs of a running witness: read again when their file has changed.

    A change that does not hold leaves the logs as they were, and is told once.
    """

    def __init__(self, folder: WitnessFolder) -> None:
        """Raises `ConfigInvalid` if the file does not hold."""
        self._folder = folder
        self._seen = self._look()
        self._logs = folder.logs()

    def __call__(self) -> Logs:
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self._logs = self._folder.logs()
                _log.info("%d logs are known from now on", len(self._logs))
            except ConfigInvalid as error:
                _log.error("the logs stay as they were: %s", error)
        return self._logs

    def _look(self) -> tuple[int, ...]:
        try:
            found = (self._folder.path / CONFIG).stat()
        except OSError:
            return ()
        return (found.st_ino, found.st_mtime_ns, found.st_size)


def read_vkey(text: str) -> VerifierKey:
    """The key of a log in this text; raises `ConfigInvalid`."""
    try:
        key = VerifierKey.parse(text.strip())
    except NoteInvalid as error:
        raise ConfigInvalid(f"this is not the public key of a log: {error}") from None
    if key.type is not KeyType.LOG:
        raise ConfigInvalid(f"the key of `{key.name}` is not one that a log signs with")
    return key


def _logs(text: str) -> Logs:
    """What such a file says; raises `ConfigInvalid`, or TOMLDecodeError."""
    value = tomllib.loads(text)
    if value.keys() != {"logs"} or not isinstance(value["logs"], dict):
        raise ConfigInvalid(f"`{CONFIG}` holds one table, `[logs]`, and nothing else")
    return {origin: _keys(origin, keys) for origin, keys in value["logs"].items()}


def _keys(origin: str, vkeys: Any) -> tuple[VerifierKey, ...]:
    if not isinstance(vkeys, list) or not vkeys or not all(isinstance(v, str) for v in vkeys):
        raise ConfigInvalid(f"log {origin!a}: write its keys as a list of strings")
    try:
        Checkpoint(origin, 0, EMPTY_ROOT).format().encode()  # refuses what is no origin
        keys = tuple(read_vkey(vkey) for vkey in vkeys)
    except (NoteInvalid, ConfigInvalid, UnicodeEncodeError) as error:
        raise ConfigInvalid(f"log {origin!a}: {error}") from None
    if len({(key.name, key.key_id) for key in keys}) < len(keys):
        raise ConfigInvalid(f"log {origin!a}: two keys have the same name and id; keep one")
    return keys


def _quoted(text: str) -> str:
    # a string of JSON is one of TOML, as long as no character is escaped by halves
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _write_new(path: Path, text: str, mode: int) -> None:
    """A file that was not there, on the disk before anything is built on it."""
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    with os.fdopen(file, "w", encoding="utf-8") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(file)


def _sync(folder: Path) -> None:
    """A new or renamed file is not there after a power loss before its directory is."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
