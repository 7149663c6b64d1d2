"""
The folder of signing keys: one file each, what is to be retired, and the secret that seals.

    log.key, log-2.key …     a private key each, its public half beside it
    log.key.retired          one that signs no more
    log.vkey                 the public key to verify receipts and bundles with
    retired.toml             what `muniment key retire` asks for, for ever
    sealing.key              seals what browsers and clients carry back

Files propose: which of these keys sign is the log's to say.
"""

import json
import os
import secrets
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from muniment.errors import ConfigInvalid, Conflict, EvidenceError, LogUnavailable
from muniment.evidence.keys import COMPROMISED, ROTATED, LogKeys
from muniment.evidence.note import SigningKey, VerifierKey
from muniment.operations.take_in import ProposedRetirement
from muniment.stores.head_file import sync_folder

RETIREMENTS: Final = "retired.toml"
RETIRED: Final = ".retired"
SEALING: Final = "sealing.key"
_SECRET: Final = 32
_MAX_FILE: Final = 1 << 20

_HEADER: Final = """\
# Keys that sign no more, written by `muniment key retire`. The log takes this in at the next start
# or reload, and never lets a key come back.

"""


@dataclass(frozen=True)
class KeyFolder:
    """Where the signing keys of an installation lie: beside the first, `paths.key`."""

    #: the first key's file; it need not be there any more
    first: Path
    origin: str

    @property
    def path(self) -> Path:
        return self.first.parent

    # --- keys

    def keys(self) -> dict[Path, SigningKey]:
        """Those whose files are there, the first one first. Raises `ConfigInvalid`."""
        return {path: read_key(path, self.origin) for path in self._files()}

    def has_keys(self) -> bool:
        """Whether there is a key at all; whether it is of use is not asked."""
        return any(True for _ in self._files())

    def add(self) -> tuple[Path, SigningKey]:
        """A new key, in the first place that is free and never was taken."""
        key = SigningKey.generate(self.origin)
        number = 2
        while any(self._numbered(number, end).exists() for end in ("", RETIRED)):
            number += 1
        path = self._numbered(number)
        write_key(path, key)
        return path, key

    def set_aside(self, path: Path) -> Path:
        """A key that signs no more: its file gets another name, and is not deleted."""
        aside = path.with_name(path.name + RETIRED)
        if aside.exists():
            raise Conflict(f"`{aside}` is there already; nothing is written over it")
        _rename(path, aside)
        return aside

    def show(self, key: VerifierKey) -> None:
        """Have `log.vkey` hold this public key: the one to verify with."""
        path, text = self.first.with_suffix(".vkey"), f"{key.vkey}\n"
        if not path.exists() or path.read_text("utf-8") != text:
            _replace(path, text, 0o644)

    def _files(self) -> Iterator[Path]:
        if self.first.exists():
            yield self.first
        stem, end = self.first.stem, self.first.suffix
        numbers = (path.stem.removeprefix(f"{stem}-") for path in self.path.glob(f"{stem}-*{end}"))
        for number in sorted(int(each) for each in numbers if each.isascii() and each.isdecimal()):
            yield self._numbered(number)

    def _numbered(self, number: int, end: str = "") -> Path:
        return self.first.with_name(f"{self.first.stem}-{number}{self.first.suffix}{end}")

    # --- what is to be retired

    def retirements(self) -> tuple[ProposedRetirement, ...]:
        """What `muniment key retire` asked for. Raises `ConfigInvalid`."""
        path = self.path / RETIREMENTS
        try:
            if not path.exists():
                return ()
            if path.stat().st_size > _MAX_FILE:
                raise ConfigInvalid(f"`{path}` is longer than {_MAX_FILE} bytes")
            tables = tomllib.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigInvalid(f"`{path}` cannot be read: {error}") from error
        return tuple(_retirement(path, vkey, table) for vkey, table in tables.items())

    def retire(self, wanted: ProposedRetirement) -> None:
        """Ask for a key to be retired. What was asked for before stays as it was."""
        known = self.retirements()
        if any(each.key == wanted.key for each in known):
            return
        tables = (_table(each) for each in (*known, wanted))
        _replace(self.path / RETIREMENTS, _HEADER + "\n".join(tables), 0o644)

    # --- the secret that seals

    def sealing(self) -> bytes:
        """
        The secret that seals what browsers and clients carry back; made where there is none.

        An installation that was made before it had a file of its own keeps the one that was derived
        from its first key, so that nobody has to sign in again.
        """
        path = self.path / SEALING
        if not path.exists():
            derived = self.first.exists()
            secret = (
                read_key(self.first, self.origin).derive("sealing")
                if derived
                else secrets.token_bytes(_SECRET)
            )
            _replace(path, f"{secret.hex()}\n", 0o600)
        text = _read_private(path, "the sealing key")
        try:
            secret = bytes.fromhex(text)
        except ValueError:
            secret = b""
        if len(secret) != _SECRET:
            raise ConfigInvalid(f"`{path}` does not hold {_SECRET} bytes in hex")
        return secret

    def new_sealing(self) -> None:
        """Another secret, from the next start on: people sign in again."""
        _replace(self.path / SEALING, f"{secrets.token_hex(_SECRET)}\n", 0o600)

    # --- after the log has decided

    def settle(self, keys: LogKeys, size: int) -> list[Path]:
        """
        Set aside the files of keys that the log has retired; the files that were moved.

        Safe to repeat: what a crash left is done by the next start.
        """
        aside = []
        for path, key in self.keys().items():
            known = keys.of(key.verifier)
            if known is not None and known.retired is not None:
                aside.append(self.set_aside(path))
        self.show(keys.signers(size)[0])
        return aside


def read_key(path: Path, origin: str) -> SigningKey:
    """Raises `ConfigInvalid` if others may read it, or if it is not this log's."""
    text = _read_private(path, "the signing key")
    try:
        key = SigningKey.parse(text)
    except EvidenceError as error:
        raise ConfigInvalid(f"`{path}` holds no signing key") from error
    if key.name != origin:
        raise ConfigInvalid(f"the signing key is of `{key.name}`, not of `{origin}`")
    return key


def write_key(path: Path, key: SigningKey) -> None:
    """A new file with strict modes, and the public half beside it; raises FileExistsError."""
    _write_new(path, f"{key.skey}\n", 0o600)
    _replace(path.with_suffix(".vkey"), f"{key.verifier.vkey}\n", 0o644)


def _read_private(path: Path, what: str) -> str:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{what} `{path}` cannot be read") from error
    if mode & 0o077:
        raise ConfigInvalid(f"others may read {what}: chmod 600 {path}")
    return text


def _retirement(path: Path, vkey: str, table: Any) -> ProposedRetirement:
    try:
        key = VerifierKey.parse(vkey)
    except EvidenceError as error:
        raise ConfigInvalid(f"`{path}`: a key that is none: {error}") from error
    fields = table if isinstance(table, dict) else {}
    reason, since = fields.get("reason"), fields.get("since")
    if not fields.keys() <= {"reason", "since"} or reason not in (ROTATED, COMPROMISED):
        raise ConfigInvalid(f"`{path}`: {key.key_id.hex()} needs `reason`, and may have `since`")
    if since is not None and (type(since) is not int or since < 0 or reason != COMPROMISED):
        raise ConfigInvalid(f"`{path}`: `since` is the log's size when a key was compromised")
    return ProposedRetirement(key=key, reason=reason, since=since)


def _table(retirement: ProposedRetirement) -> str:
    lines = [
        f"[{json.dumps(retirement.key.vkey)}]",
        f"reason = {json.dumps(retirement.reason)}",
        *([f"since = {retirement.since}"] if retirement.since is not None else []),
    ]
    return "".join(f"{line}\n" for line in lines)


def _replace(path: Path, text: str, mode: int) -> None:
    """The whole file or the old one, durably."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        _write_new(new, text, mode)
        _rename(new, path)
    except OSError as error:
        raise LogUnavailable(f"`{path}` cannot be written: {error.strerror}") from error


def _rename(path: Path, to: Path) -> None:
    try:
        path.replace(to)
        sync_folder(to.parent)
    except OSError as error:
        raise LogUnavailable(f"`{path}` cannot be renamed: {error.strerror}") from error


def _write_new(path: Path, text: str, mode: int) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(file, "w", encoding="utf-8") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(file)
    sync_folder(path.parent)
