"""
Put a backup back, and what a mirror has of the time since: never over anything.

Nothing here signs, and nothing writes to the head store or the erasure ledger. These two decide
afterwards whether the log may go on: every start refuses a log that is shorter than the head that
is remembered, so that a restored log never comes to have a second history.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from muniment.errors import ConfigInvalid, Conflict, EvidenceError, LogInvalid, LogUnavailable
from muniment.evidence import merkle
from muniment.evidence.audit import Audited, audit
from muniment.evidence.checkpoint import Checkpoint, open_checkpoint
from muniment.evidence.note import VerifierKey, parse_note
from muniment.evidence.record import MAX_DOCUMENT
from muniment.evidence.store import Mirror
from muniment.evidence.tile_log import MAX_RESOURCE, TileLog
from muniment.evidence.tree import StoredTree
from muniment.operations.mirror import DOCUMENTS
from muniment.runtime.backup import (
    DATABASE,
    EVENTS,
    KEY,
    POLICY,
    TOKENS,
    Manifest,
    public_key,
    read_manifest,
    read_vkey,
)
from muniment.runtime.key_files import KeyFolder
from muniment.runtime.settings import FILE, Settings, read_settings
from muniment.stores.backup import copy_file, digest_of, private_folder, put_in_place
from muniment.stores.extend import Missing, extend
from muniment.stores.head_file import HeadFile
from muniment.stores.one_server import OneServer
from muniment.stores.read_only import ReadOnlyStore

#: what an operator may have put back before anything else
_BEFOREHAND: Final = frozenset({"head", "keys"})
_ENDS: Final = ("", "-wal", "-shm")
#: endings of what an attempt that was cut short leaves
_LEAVES: Final = frozenset({".lock", ".restoring"})


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What is in place now, and what it still lacks before the service may start."""

    folder: Path
    #: files that were written, the database last
    written: tuple[Path, ...]
    audited: Audited
    #: how many entries came from a mirror
    mirrored: int
    #: where the public key came from that it was held against
    key: str
    #: size of the head in the head store; None where there is no head store
    remembered: int | None
    #: of signing key and ledger: those that are not in the folder
    missing: tuple[Path, ...]

    @property
    def size(self) -> int:
        return self.audited.checkpoint.size if self.audited.checkpoint is not None else 0

    @property
    def behind(self) -> int:
        """How many entries more the head store remembers: then every start is refused."""
        return max(0, (self.remembered or 0) - self.size)


def restore(
    folder: Path,
    *,
    backup: Path | None = None,
    mirror: Mirror | None = None,
    key: VerifierKey | None = None,
) -> Restored:
    """
    Put a log back: from a backup, then what a mirror has of the time since; or from a mirror alone.

    A backup goes into an empty folder, all of it, or into its own installation, the database only.
    A mirror goes on top of the database, or makes one in an installation that has none.

    `key` is the public key that the log is held against; without one it is the installation's, or
    else the backup's own, which shows accidents only. Raises `Conflict` where something is in the
    way, and `LogInvalid` where something does not hold; then nothing was put in place.
    """
    given = None if backup is None else _Given.read(backup)
    place = _Place.of(folder, given, key)
    try:
        with place.held():
            if given is None and mirror is not None and place.database.exists():
                mirrored, written = place.extend(place.database, mirror), []
                audited = place.check(place.database)
            else:
                with place.staged() as staged:
                    if given is not None:
                        given.copy(DATABASE, staged)
                    mirrored = place.extend(staged, mirror) if mirror is not None else 0
                    audited = place.check(staged)
                    written = list(place.put_files(given)) if given is not None else []
                    put_in_place(staged, place.database)
                    written.append(place.database)
    except OSError as error:
        raise LogUnavailable(f"`{error.filename}` cannot be written: {error.strerror}") from error
    return Restored(
        folder=folder,
        written=tuple(written),
        audited=audited,
        mirrored=mirrored,
        key=place.key_from,
        remembered=place.remembered.size if place.remembered is not None else None,
        missing=place.missing(),
    )


@dataclass(frozen=True, kw_only=True)
class _Given:
    """A backup whose files are what its manifest says."""

    folder: Path
    manifest: Manifest

    @classmethod
    def read(cls, folder: Path) -> "_Given":
        manifest = read_manifest(folder)
        for needed in (FILE, KEY, DATABASE):
            if needed not in manifest.files:
                raise ConfigInvalid(f"the backup `{folder}` has no `{needed}`")
        for name, digest in manifest.files.items():
            try:
                found = digest_of(folder / name)
            except OSError as error:
                raise LogInvalid(f"the backup lacks its `{name}`: {error.strerror}") from error
            if found != digest:
                raise LogInvalid(f"`{name}` in the backup is not what was backed up")
        return cls(folder=folder, manifest=manifest)

    def copy(self, name: str, copy: Path) -> None:
        if copy_file(self.folder / name, copy) != self.manifest.files[name]:
            raise LogInvalid(f"`{self.folder / name}` changed while it was read")

    def places(self, folder: Path, settings: Settings) -> dict[Path, str]:
        """Where each file but the database belongs, the settings last; unknown ones nowhere."""
        places: dict[Path, str] = {}
        for name in self.manifest.files:
            if name.startswith(f"{POLICY}/"):
                within = name.removeprefix(f"{POLICY}/")
                places[folder / settings.paths.policy / within] = name
        if TOKENS in self.manifest.files:
            places[folder / settings.paths.tokens] = TOKENS
        if EVENTS in self.manifest.files:
            places[folder / settings.paths.events] = EVENTS
        return {**places, public_key(folder, settings): KEY, folder / FILE: FILE}

    def holds(self, name: str, path: Path) -> bool:
        """Whether this file is the one of the backup."""
        return digest_of(path) == self.manifest.files[name]


@dataclass(frozen=True, kw_only=True)
class _Place:
    """The installation that a log comes back to."""

    folder: Path
    settings: Settings
    #: nothing of it is there yet
    empty: bool
    key: VerifierKey
    key_from: str
    remembered: Checkpoint | None

    @classmethod
    def of(cls, folder: Path, given: _Given | None, key: VerifierKey | None) -> "_Place":
        empty = not (folder / FILE).exists()
        if empty and given is None:
            raise ConfigInvalid(
                f"`{folder}` has no `{FILE}`: put settings, policy and keys back first; no mirror "
                "has them"
            )
        settings = read_settings(given.folder if empty and given is not None else folder)
        if empty and given is not None:
            places = given.places(folder, settings)
            _check_within(folder, (*places, folder / settings.paths.database))
            _check_empty(folder, given, places)
        if given is not None and settings.installation.origin != given.manifest.origin:
            raise Conflict(
                f"the backup is of the log `{given.manifest.origin}`, the folder of "
                f"`{settings.installation.origin}`"
            )
        known, source = _known_key(folder, settings, given) if key is None else (key, "yours")
        return cls(
            folder=folder,
            settings=settings,
            empty=empty,
            key=known,
            key_from=source,
            remembered=_remembered(folder / settings.paths.head, known),
        )

    @property
    def database(self) -> Path:
        return self.folder / self.settings.paths.database

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While no service runs here. Raises `Conflict` where one does."""
        private_folder(self.database.parent)
        only = OneServer(self.database.with_suffix(".lock"))
        try:
            yield
        finally:
            only.release()

    @contextlib.contextmanager
    def staged(self) -> Iterator[Path]:
        """A new file beside the database, which is not to be there: the operator moves it away."""
        for end in _ENDS:
            if Path(f"{self.database}{end}").exists():
                raise Conflict(
                    f"`{self.database}{end}` is there: move it aside, and keep it; nothing is "
                    "written over"
                )
        staged = self.database.with_name(f"{self.database.name}.restoring")
        _remove(staged)  # of an attempt that was cut short
        try:
            yield staged
        finally:
            _remove(staged)

    def extend(self, database: Path, mirror: Mirror) -> int:
        """Append what a mirror has beyond this database; how many entries that is."""
        tiles = TileLog(partial(mirror.get, most=MAX_RESOURCE))
        note, signed = self._newest(tiles)
        size = _size_of(database)
        if signed.size <= size:
            return 0
        entries = (data for _, data in tiles.entries(size, signed.size, signed.size))
        documents = partial(_documents, mirror)
        missing = Missing(
            note=note,
            signed=signed,
            remembered=self.remembered,
            entries=entries,
            documents=documents,
        )
        return extend(database, size, missing)

    def _newest(self, tiles: TileLog) -> tuple[bytes, Checkpoint]:
        """The newest checkpoint of a mirror, with the log's own signatures and no others."""
        note = tiles.newest()
        if note is None:
            raise LogInvalid("the mirror has no checkpoint: it is none, or never was whole")
        try:
            signed = open_checkpoint(note, self.key.name, [self.key])
            text, signatures = parse_note(note)
        except EvidenceError as error:
            raise LogInvalid(f"the mirror is of another log or key: {error}") from error
        # all keys of a log have its name: what is left is the note as it stood in its database
        lines = [each.line for each in signatures if each.name == self.key.name]
        return f"{text}\n{''.join(lines)}".encode(), signed

    def check(self, database: Path) -> Audited:
        """
        Audit a whole log that nobody has open, also against the head that is remembered.

        Raises `LogInvalid` if it does not hold. That it is behind that head is no error here.
        """
        with contextlib.closing(ReadOnlyStore(database)) as store:
            audited = audit(store, self.key, full=True)
            if not audited.holds or audited.checkpoint is None:
                raise LogInvalid(f"this copy of the log does not hold: {audited.bad}")
            known = self.remembered
            if known is not None and known.size <= audited.checkpoint.size:
                # the audit has held these tiles against the entries
                node = StoredTree(store).at(known.size).node
                if merkle.Frontier.at(known.size, node).root() != known.root:
                    raise LogInvalid(
                        "this copy is of another history than the head store remembers"
                    )
        return audited

    def put_files(self, given: _Given) -> Iterator[Path]:
        """
        All but the database; the settings last, as they make the folder an installation.

        Where it is one already, only events that were lost are put back.
        """
        for place, name in given.places(self.folder, self.settings).items():
            if not self.empty and name != EVENTS:
                continue
            if place.exists():  # by an attempt that was cut short; or the key, put back by hand
                continue
            private_folder(place.parent)
            part = place.with_name(f".{place.name}.restoring")
            part.unlink(missing_ok=True)
            try:
                given.copy(name, part)
                put_in_place(part, place)
            finally:
                part.unlink(missing_ok=True)
            yield place

    def missing(self) -> tuple[Path, ...]:
        """What has to be put back by hand, as no backup holds it."""
        paths = self.settings.paths
        key, ledger = (self.folder / path for path in (paths.key, paths.erasures))
        signs = self.settings.signer is not None or KeyFolder(key, "").has_keys()
        return (*(() if signs else (key,)), *(() if ledger.exists() else (ledger,)))


def _documents(mirror: Mirror, wanted: Iterable[bytes]) -> Iterator[bytes]:
    """Those of these documents, by digest, that a mirror has."""
    found = (mirror.get(f"{DOCUMENTS}/{name.hex()}", MAX_DOCUMENT) for name in wanted)
    return (content for content in found if content is not None)


def _known_key(folder: Path, settings: Settings, given: _Given | None) -> tuple[VerifierKey, str]:
    """The public key at hand, and whose it is."""
    own = public_key(folder, settings)
    if own.exists() or given is None:
        return read_vkey(own), "this installation's"
    return read_vkey(given.folder / KEY), "the backup's own"


def _remembered(path: Path, key: VerifierKey) -> Checkpoint | None:
    """The head in a head store; None where there is none. It is not made here."""
    if not path.exists():
        return None
    with contextlib.closing(HeadFile(path)) as heads:
        note = heads.read()
    try:
        return None if note is None else open_checkpoint(note, key.name, [key])
    except EvidenceError as error:
        raise LogInvalid(f"the head store is of another log or key: {error}") from error


def _size_of(database: Path) -> int:
    if not database.exists():
        return 0
    with contextlib.closing(ReadOnlyStore(database)) as store:
        tail = store.tail()
    return 0 if tail is None else tail.size


def _check_within(folder: Path, places: Iterable[Path]) -> None:
    """Where files go is said by settings that nobody signed: they do not lead out of the folder."""
    inside = folder.resolve()
    for place in places:
        if not place.resolve().is_relative_to(inside):
            raise Conflict(
                f"the settings in the backup put `{place}` outside `{folder}`: look whether they "
                "are yours, put them there yourself, and restore into that installation"
            )


def _check_empty(folder: Path, given: _Given, places: Mapping[Path, str]) -> None:
    """But for what a restore leaves that was cut short: locks, and files of this very backup."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if not path.is_file() or name.parts[0] in _BEFOREHAND or path.suffix in _LEAVES:
            continue
        if path not in places or not given.holds(places[path], path):
            raise Conflict(
                f"`{folder}` is neither empty nor an installation: it holds `{name}`; "
                "choose another folder"
            )


def _remove(staged: Path) -> None:
    for end in _ENDS:
        Path(f"{staged}{end}").unlink(missing_ok=True)
