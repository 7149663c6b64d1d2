"""
An archive on disk: what lies where, and what of it follows from its bundles.

Everything but the bundles, the events and the excerpt of the log is made from these, always the
same way: whoever writes an archive and whoever checks it do it with the functions of this module.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from muniment import __version__
from muniment.access import archive, check, records
from muniment.access.archive import Listed
from muniment.access.check import Checked
from muniment.errors import BundleInvalid, EvidenceError, NotCanonical
from muniment.evidence import moment
from muniment.evidence.bundle import MAX_BUNDLE
from muniment.evidence.keys import ReadersKeys
from muniment.evidence.record import digest
from muniment.evidence.verdict import NOBODY, Reader
from muniment.interfaces.verifier import told
from muniment.interfaces.verifier.given import read
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
_PIECE: Final = 1 << 20
_MAX_SUMS: Final = 1 << 30


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
            found |= _policy_files(activated.bundle, documents)
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
    return opened(check.verify(read(folder / ARCHIVE, MAX_BUNDLE), keys, heads, reader))


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
    for line in documents[manifest].decode("utf-8", "replace").splitlines():
        name, _, path = line.partition("  ")
        if not _harmless(path):
            raise NotCanonical(f"a policy has a file `{clean(path):.80}`, which is no plain path")
        try:
            found[f"{place}/{path}"] = documents[bytes.fromhex(name)]
        except (KeyError, ValueError) as error:
            raise NotCanonical(f"`{clean(path):.80}` of a policy is not here") from error
    return found


def _harmless(path: str) -> bool:
    """Stays in its folder on every system."""
    parts = path.split("/")
    plain = all(
        part and part.strip(".") and part.isascii() and part.isprintable() for part in parts
    )
    return plain and not set(path) & set('\\:*?"<>|') and parts[0] != "MANIFEST"


# --- files and their digests ------------------------------------------------------------------


def paths_in(folder: Path) -> Iterator[str]:
    """Every file below the folder, in order. What is no plain file is named as well."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(folder).as_posix()


def digest_of(path: Path) -> str:
    whole = sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            whole.update(piece)
    return whole.hexdigest()


def sums(digests: Mapping[str, str]) -> bytes:
    """As `sha256sum` writes it, and `sha256sum -c` checks it."""
    return "".join(f"{digests[path]}  {path}\n" for path in sorted(digests)).encode()


def read_sums(folder: Path) -> dict[str, str]:
    """Raises `NotCanonical` for anything but what `sums` writes."""
    try:
        data = read(folder / SUMS, _MAX_SUMS)
        lines = data.decode("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NotCanonical(f"`{SUMS}` is not here, or no list of digests") from error
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
        value = json.loads(read(folder / MANIFEST, _MAX_SUMS))
    except (OSError, ValueError, RecursionError):
        return ""
    version = value.get("version") if isinstance(value, dict) else None
    return version if isinstance(version, str) else ""


def invalid(error: EvidenceError) -> str:
    """Why something does not hold, in one line."""
    if isinstance(error, BundleInvalid):
        return f"INVALID: {clean(error)}"
    return clean(error)


def difference(folder: Path, wanted: Mapping[str, bytes]) -> Iterable[str]:
    """Those of these files that are not there, or say something else."""
    for path, data in wanted.items():
        place = folder / path
        if not place.is_file():
            yield f"`{path}` is not here"
        elif place.stat().st_size != len(data) or digest_of(place) != digest(data).hex():
            yield f"`{path}` is not what the bundles say"
