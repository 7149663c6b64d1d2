"""
An archive on disk: what lies where, and what of it follows from its bundles.

Everything but the bundles, the events and the excerpt of the log is made from these, always the
same way: whoever writes an archive and whoever checks it do it with the functions of this module.
"""

import errno
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

from muniment import __version__
from muniment.access import archive, check, records
from muniment.access.archive import Listed
from muniment.access.check import Checked
from muniment.errors import BundleInvalid, EvidenceError, NotCanonical
from muniment.evidence import moment
from muniment.evidence.bundle import MAX_BUNDLE
from muniment.evidence.keys import ReadersKeys
from muniment.evidence.verdict import NOBODY, Reader
from muniment.interfaces.verifier import told
from muniment.interfaces.verifier.given import plain
from muniment.interfaces.verifier.pages import Cover
from muniment.interfaces.verifier.record_words import clean

FORMAT: Final = "muniment-archive/v1"
ARCHIVE: Final = "archive.json"
SUMS: Final = "SHA256SUMS"
MANIFEST: Final = "manifest.json"
README: Final = "README.txt"
EXCERPT: Final = "log/excerpt.gz"
KEYS: Final = "keys/log.vkey"
WITNESSES: Final = "keys/witnesses"
VERIFIER: Final = "muniment-verify.pyz"
#: whatever else its files are: the lists of so many cases stay below what is read of them
MAX_CASES: Final = 100_000
#: of an excerpt, of `SHA256SUMS` and `manifest.json`, of any other file
MAX_EXCERPT, _MAX_LIST, _MAX_FILE = 4 << 30, 64 << 20, 256 << 20
_PIECE: Final = 1 << 20
#: folders in folders, of policies most of all
_DEEPEST: Final = 16
_VERSION: Final = re.compile(r"[0-9A-Za-z.+-]{1,40}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """The archive's own bundle, verified, with the list that it proves."""

    checked: Checked
    record: records.ArchiveExported
    listed: tuple[Listed, ...]
    #: entry of the record
    index: int

    @property
    def cover(self) -> Cover:
        proved = self.checked.proved
        summary = told.tell(self.checked)
        return Cover(
            origin=clean(proved.checkpoint.origin),
            archive=proved.case_id,
            taken_by=summary.by,
            taken_at=moment.text(summary.opened),
            since=moment.text(self.record.since),
            until=moment.text(self.record.until),
            resources=tuple(clean(each) for each in self.record.resources),
            cases=self.record.cases,
            beyond=self.record.beyond,
            size=self.record.size,
            policies=tuple(
                (activated.bundle.hex(), moment.text(at)) for at, activated in self.policies()
            ),
        )

    def policies(self) -> Iterator[tuple[Any, records.PolicyActivated]]:
        for entry in self.checked.proved.entries:
            record = records.parse(entry.header)
            if isinstance(record, records.PolicyActivated):
                yield entry.header.at, record

    def made(self) -> Mapping[str, bytes]:
        """What lies beside the bundles and follows from this one: keys and policies, by path."""
        found = {KEYS: "".join(f"{key}\n" for key in self._keys()).encode()}
        documents = self.checked.proved.documents
        for name in self.checked.proved.export.header.documents:
            found[WITNESSES] = documents[name]
        for _, activated in self.policies():
            for path, data in _policy_files(activated.bundle, documents).items():
                if found.setdefault(path, data) != data:
                    raise NotCanonical(f"`{path}` is of two policies that begin alike")
        return found

    def _keys(self) -> Iterator[str]:
        """The first, and each that was added later: whoever checks names those that he trusts."""
        for entry in self.checked.proved.entries:
            match records.parse(entry.header):
                case records.LogStarted(key=key) | records.KeyAdded(key=key):
                    yield key
                case _:
                    pass


def open_archive(
    folder: Path, keys: ReadersKeys, reader: Reader = NOBODY, heads: Sequence[bytes] = ()
) -> Opened:
    """Raises `EvidenceError` unless the archive's own bundle verifies and proves a list."""
    return opened(check.verify(read_in(folder, ARCHIVE, MAX_BUNDLE), keys, heads, reader))


def opened(checked: Checked) -> Opened:
    first = checked.proved.case[0]
    record = records.parse(first.header)
    if not isinstance(record, records.ArchiveExported):
        raise NotCanonical(f"`{ARCHIVE}` is a bundle of `{first.header.kind}`, and of no archive")
    own = {name: checked.proved.documents[name] for name in first.header.documents}
    return Opened(
        checked=checked, record=record, listed=archive.read(record, own), index=first.index
    )


def _policy_files(manifest: bytes, documents: Mapping[bytes, bytes]) -> dict[str, bytes]:
    """A bundle of policies as plain files: `sha256sum MANIFEST` gives its digest."""
    if manifest not in documents:
        raise NotCanonical(f"the manifest of policy {manifest.hex()[:16]} is not here")
    place = f"policy/{manifest.hex()[:16]}"
    found = {f"{place}/MANIFEST": documents[manifest]}
    taken: set[str] = set()
    for line in documents[manifest].decode("utf-8", "replace").splitlines():
        name, _, path = line.partition("  ")
        if not _harmless(path):
            raise NotCanonical(f"a policy has a file `{clean(path):.80}`, which is no plain path")
        if path.lower() in taken:
            raise NotCanonical(f"a policy has `{clean(path):.80}` twice, but for its case")
        taken.add(path.lower())
        try:
            found[f"{place}/{path}"] = documents[bytes.fromhex(name)]
        except (KeyError, ValueError) as error:
            raise NotCanonical(f"`{clean(path):.80}` of a policy is not here") from error
    return found


def _harmless(path: str) -> bool:
    """Stays in its folder on every system, and stands there for itself."""
    parts = path.split("/")
    plain = all(
        part and part.isascii() and part.isprintable() and part.strip() == part.rstrip(".")
        for part in parts
    )
    return plain and not set(path) & set('\\:*?"<>|') and parts[0].upper() != "MANIFEST"


# --- files and their digests ------------------------------------------------------------------


def paths_in(folder: Path) -> Iterator[str]:
    """
    Every file below the folder, in order. No link is followed.

    What is no plain file is named as well: links, pipes, a folder with nothing in it (`path/`), or
    one that lies deeper than any of an archive.
    """
    found, open_ = list[str](), [""]
    while open_:
        under = open_.pop()
        with os.scandir(folder / under) as entries:
            inside = list(entries)
        if under and not inside:
            found.append(f"{under}/")
        for each in inside:
            path = f"{under}/{each.name}" if under else each.name
            below = each.is_dir(follow_symlinks=False) and path.count("/") < _DEEPEST
            (open_ if below else found).append(path)
    yield from sorted(found)


def open_in(folder: Path, path: str) -> BinaryIO:
    """A plain file that lies in the folder, by no link on the way to it. Raises `OSError`."""
    place = folder
    for name in path.split("/")[:-1]:
        place /= name
        if place.is_symlink():
            raise OSError(errno.EINVAL, "it lies behind a link", str(place))
    most = MAX_EXCERPT if path.endswith("excerpt.gz") else _MAX_FILE
    return plain(folder / path, most=most)


def is_in(folder: Path, path: str) -> bool:
    """Whether there is such a file."""
    try:
        open_in(folder, path).close()
    except OSError:
        return False
    return True


def read_in(folder: Path, path: str, most: int) -> bytes:
    """All of a file; one byte too many is enough to see that it is too large. `NotCanonical`."""
    try:
        with open_in(folder, path) as file:
            return file.read(most + 1)
    except OSError as error:
        raise NotCanonical(f"`{path}` cannot be read: {error.strerror}") from error


def pieces_in(folder: Path, path: str) -> Iterator[bytes]:
    """A file piece by piece, and never more of one that grows. Raises `NotCanonical`."""
    try:
        with open_in(folder, path) as file:
            left = os.fstat(file.fileno()).st_size
            while left > 0 and (piece := file.read(min(left, _PIECE))):
                left -= len(piece)
                yield piece
    except OSError as error:
        raise NotCanonical(f"`{path}` cannot be read: {error.strerror}") from error


def digest_in(folder: Path, path: str) -> str:
    """Raises `NotCanonical`."""
    whole = sha256()
    for piece in pieces_in(folder, path):
        whole.update(piece)
    return whole.hexdigest()


def sums(digests: Mapping[str, str]) -> bytes:
    """As `sha256sum` writes it, and `sha256sum -c` checks it."""
    return "".join(f"{digests[path]}  {path}\n" for path in sorted(digests)).encode()


def read_sums(folder: Path) -> dict[str, str]:
    """Raises `NotCanonical` for anything but what `sums` writes."""
    data = read_in(folder, SUMS, _MAX_LIST)
    try:
        lines = data.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise NotCanonical(f"`{SUMS}` is no list of digests") from error
    found = {path: name for name, _, path in (line.partition("  ") for line in lines)}
    if sums(found) != data:
        raise NotCanonical(f"`{SUMS}` is not in its one form")
    return found


def manifest(cover: Cover, files: Mapping[str, tuple[str, int]]) -> bytes:
    """What this is, for programs; digests and sizes by path."""
    value = {
        "format": FORMAT,
        "version": __version__,
        "origin": cover.origin,
        "archive": cover.archive,
        "since": cover.since,
        "until": cover.until,
        "resources": list(cover.resources),
        "cases": cover.cases,
        "beyond": cover.beyond,
        "files": {path: {"sha256": name, "bytes": size} for path, (name, size) in files.items()},
    }
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def made_by(folder: Path) -> str:
    """The version that wrote the archive's pages; empty where that is not known."""
    try:
        value = json.loads(read_in(folder, MANIFEST, _MAX_LIST))
    except (NotCanonical, ValueError, RecursionError):
        return ""
    version = value.get("version") if isinstance(value, dict) else None
    return version if isinstance(version, str) and _VERSION.fullmatch(version) else ""


def invalid(error: EvidenceError) -> str:
    """Why something does not hold, in one line."""
    if isinstance(error, BundleInvalid):
        return f"INVALID: {clean(error)}"
    return clean(error)


def difference(folder: Path, wanted: Mapping[str, bytes]) -> Iterable[str]:
    """Those of these files that are not there, or say something else."""
    for path, data in wanted.items():
        if not is_in(folder, path):
            yield f"`{path}` is not here"
        elif read_in(folder, path, len(data)) != data:
            yield f"`{path}` is not what the bundles say"
