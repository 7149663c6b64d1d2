"""
A backup of an installation: a folder with one whole copy of the database, and the files.

What is *not* in it, on purpose: the signing key, which is kept apart from every copy of what it
signs; the head store, which tells an older copy from the true log; and the erasure ledger, which
tells what a copy must not bring back. An older copy of these three would undo what they are for.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final, Self

from muniment.errors import (
    ConfigInvalid,
    Conflict,
    EvidenceError,
    LogInvalid,
    LogUnavailable,
    NotCanonical,
)
from muniment.evidence import canonical, moment
from muniment.evidence.audit import audit
from muniment.evidence.note import VerifierKey
from muniment.runtime import clock
from muniment.runtime.log_stores import find_database, open_postgresql
from muniment.runtime.settings import FILE, Settings, read_settings
from muniment.stores.backup import (
    copy_database,
    copy_file,
    digest_of,
    private_folder,
    put_in_place,
    sync_file,
    write_file,
)
from muniment.stores.head_file import sync_folder
from muniment.stores.read_only import ReadOnlyStore

FORMAT: Final = "muniment-backup/v1"
MANIFEST: Final = "manifest.json"
DATABASE: Final = "muniment.db"
EVENTS: Final = "events.db"
KEY: Final = "log.vkey"
TOKENS: Final = "tokens.toml"
POLICY: Final = "policy"
MAX_FILES: Final = 2000
_MAX_MANIFEST: Final = 1 << 20
_HASH: Final = 64

#: what nobody finds in a backup, and has to be kept in another way
LEFT_OUT: Final[Mapping[str, str]] = {
    "the signing key": "keep it in a safe of its own: whoever has it can sign another history",
    "the head store": "it tells an older copy from the true log; a copy of it would be as old",
    "the erasure ledger": "it tells what a copy must not bring back; keep it with the head store",
    "what sources said, if it lies in `store.events`": "have PostgreSQL back up that database too",
    "the spool": "it holds what the log does not have yet, and is emptied into it",
    f"secrets that {FILE} refers to": "they never leave where you keep them",
}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a backup holds."""

    origin: str
    made: datetime
    #: entries of the log
    size: int
    #: the newest signed checkpoint in the copy
    checkpoint: bytes
    #: SHA-256 of every file, by its path in the backup
    files: Mapping[str, bytes]

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "format": FORMAT,
                "origin": self.origin,
                "made": moment.text(self.made),
                "size": self.size,
                "checkpoint": self.checkpoint.decode("utf-8"),
                # a list: the name of a file need not be ASCII
                "files": [[path, digest.hex()] for path, digest in self.files.items()],
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises `NotCanonical` for anything but the bytes that `encode` gives."""
        value: Any = canonical.decode(data, max_bytes=_MAX_MANIFEST)
        names = {"format", "origin", "made", "size", "checkpoint", "files"}
        if not isinstance(value, dict) or value.keys() != names or value["format"] != FORMAT:
            raise NotCanonical(f"this is no manifest of the format `{FORMAT}`")
        texts = (value["origin"], value["made"], value["checkpoint"])
        if not all(isinstance(text, str) for text in texts) or type(value["size"]) is not int:
            raise NotCanonical("a value of the manifest is not of its type")
        pairs = value["files"]
        if not isinstance(pairs, list) or len(pairs) > MAX_FILES:
            raise NotCanonical(f"the manifest names no files, or more than {MAX_FILES}")
        return cls(
            origin=value["origin"],
            made=moment.parse(value["made"]),
            size=value["size"],
            checkpoint=value["checkpoint"].encode(),
            files=dict(_file(pair) for pair in pairs),
        )


def make_backup(folder: Path, target: Path) -> Manifest:
    """
    Back an installation up into a new folder, also while its service runs.

    The copy of the log is held against the public key before it is called a backup. Raises
    `Conflict` if the target is there, `LogInvalid` if the copy does not hold.
    """
    settings = read_settings(folder)
    if target.exists():
        raise Conflict(f"`{target}` is there already; choose another folder")
    try:
        part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise LogUnavailable(f"`{target}` cannot be made: {error.strerror}") from error
    try:
        manifest = _fill(part, folder, settings)
        put_in_place(part, target)
    except OSError as error:
        raise LogUnavailable(f"`{error.filename}` cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)  # what is in place has another name
    return manifest


def read_manifest(backup: Path) -> Manifest:
    """Raises `ConfigInvalid` where there is none that holds."""
    try:
        with (backup / MANIFEST).open("rb") as file:
            return Manifest.parse(file.read(_MAX_MANIFEST + 1))
    except OSError as error:
        raise ConfigInvalid(f"`{backup}` is no backup: it has no `{MANIFEST}`") from error
    except NotCanonical as error:
        raise ConfigInvalid(f"the manifest of `{backup}` is damaged: {error}") from error


def read_vkey(path: Path) -> VerifierKey:
    """A log's public key. Raises `ConfigInvalid`."""
    try:
        return VerifierKey.parse(path.read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError, EvidenceError) as error:
        raise ConfigInvalid(f"`{path}` holds no public key of a log: {error}") from error


def public_key(folder: Path, settings: Settings) -> Path:
    """Where `init` has put the public key."""
    return (folder / settings.paths.key).with_suffix(".vkey")


def _fill(part: Path, folder: Path, settings: Settings) -> Manifest:
    files: dict[str, bytes] = {}
    for name, source in _files(folder, settings):
        copy = part / name
        private_folder(copy.parent)
        files[name] = copy_file(source, copy)
    _copy_log(folder, settings, part / DATABASE)
    files[DATABASE] = digest_of(part / DATABASE)
    # after the log: what it says of events is in their copy, which may have a few more
    events = folder / settings.paths.events
    if settings.store is None and events.exists():
        copy_database(events, part / EVENTS)
        files[EVENTS] = digest_of(part / EVENTS)
    size, checkpoint = _check(part / DATABASE, read_vkey(part / KEY))
    manifest = Manifest(
        origin=settings.installation.origin,
        made=moment.whole(clock.now()),
        size=size,
        checkpoint=checkpoint,
        files=files,
    )
    write_file(part / MANIFEST, manifest.encode())
    for inner, _, _ in os.walk(part):
        sync_folder(Path(inner))
    return manifest


def _copy_log(folder: Path, settings: Settings, copy: Path) -> None:
    """A file in either case: what is restored from it can be moved to PostgreSQL again."""
    if settings.store is None:
        copy_database(find_database(folder, settings), copy)
        return
    with contextlib.closing(open_postgresql(folder, settings.store)) as stores:
        stores.copy_out(copy)
    sync_file(copy)


def _files(folder: Path, settings: Settings) -> Iterator[tuple[str, Path]]:
    """Path in the backup, and where it comes from."""
    yield FILE, folder / FILE
    yield KEY, public_key(folder, settings)
    if (folder / settings.paths.tokens).exists():
        yield TOKENS, folder / settings.paths.tokens
    policy = folder / settings.paths.policy
    found = sorted(path for path in policy.rglob("*") if path.is_file())
    if len(found) > MAX_FILES - 10:
        raise ConfigInvalid(f"`{policy}` holds more than {MAX_FILES - 10} files")
    for path in found:
        yield (PurePosixPath(POLICY) / path.relative_to(policy).as_posix()).as_posix(), path


def _check(database: Path, key: VerifierKey) -> tuple[int, bytes]:
    store = ReadOnlyStore(database)
    try:
        found, tail = audit(store, key), store.tail()
    finally:
        store.close()
    if found.checkpoint is None or tail is None or not found.holds:
        raise LogInvalid(f"the copy of the log does not hold: {found.bad}")
    return found.checkpoint.size, tail.checkpoint


def _file(pair: object) -> tuple[str, bytes]:
    """A path that leads nowhere but into the backup, written in one way; and a digest."""
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):  # noqa: PLR2004 (a pair)
        raise NotCanonical("a file of the manifest is no pair of path and digest")
    path = pair[0]
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/") or "/".join(parts) != path:
        raise NotCanonical(f"`{path:.70}` does not lie in the backup")
    return path, _digest(pair[1])


def _digest(text: object) -> bytes:
    if not isinstance(text, str) or len(text) != _HASH or text.strip("0123456789abcdef"):
        raise NotCanonical(f"not a SHA-256 in lower-case hex: `{text!r:.70}`")
    return bytes.fromhex(text)
