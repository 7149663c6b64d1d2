"""
The list of an archive: which cases were taken away, and how far each of them went then.

It is canonical JSON, a line for each case in the order of their ids: `case`, `last` (position of
its last record) and `records` (SHA-256 over the leaf hashes of its records up to there). The lines
lie in as many documents as it takes; the record of the archive has their digest.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final

from muniment.access.records.campaigns import CampaignOpened
from muniment.access.records.carried_away import ArchiveExported
from muniment.errors import NotCanonical
from muniment.evidence import canonical
from muniment.evidence.bundle import records_digest
from muniment.evidence.record import MAX_DOCUMENT, Header, check_case_id

#: more than these have no room in one bundle: a third of a million cases
MAX_PARTS: Final = 40
_FIELDS: Final = {"case", "last", "records"}
_HASH: Final = 64


@dataclass(frozen=True, slots=True)
class Listed:
    """A case, and how far it went."""

    case: str
    last: int
    records: bytes

    @classmethod
    def of(cls, case: str, leaves: Sequence[bytes]) -> "Listed":
        return cls(case, len(leaves) - 1, records_digest(leaves))

    def line(self) -> bytes:
        value = {"case": self.case, "last": self.last, "records": self.records.hex()}
        return canonical.encode(value) + b"\n"

    def goes_on_in(self, leaves: Sequence[bytes]) -> bool:
        """Whether a case with these records is this one, as far as it went then or further."""
        return records_digest(leaves[: self.last + 1]) == self.records and self.last < len(leaves)


def is_of(resources: Collection[str], opening: Header) -> bool:
    """
    Whether a case that begins with this is about these resources; of none given: every case is.

    A review of many is, where it is about nothing else. A finding that names no resource is not.
    """
    if not resources:
        return True
    if opening.kind != CampaignOpened.KIND:
        return opening.body.get("resource") in resources
    named = opening.body.get("resources")
    return isinstance(named, list) and bool(named) and all(each in resources for each in named)


def concerns(resources: Collection[str], opening: Header) -> bool:
    """Whether a review or a finding may be about them, and is not of them alone."""
    if is_of(resources, opening):
        return False
    if opening.kind != CampaignOpened.KIND:
        return not opening.body.get("resource")
    named = opening.body.get("resources")
    return not isinstance(named, list) or not named or any(each in resources for each in named)


def documents(listed: Iterable[Listed]) -> tuple[bytes, ...]:
    """The list in parts. Raises `NotCanonical` where it has no room."""
    parts: list[bytearray] = []
    for each in sorted(listed, key=lambda one: one.case):
        line = each.line()
        if not parts or len(parts[-1]) + len(line) > MAX_DOCUMENT:
            parts.append(bytearray())
        parts[-1] += line
    if len(parts) > MAX_PARTS:
        raise NotCanonical("these are more cases than one archive has room for: shorten the period")
    return tuple(bytes(part) for part in parts)


def digest_of(parts: Iterable[bytes]) -> bytes:
    """`listed` of the record."""
    whole = sha256()
    for part in parts:
        whole.update(part)
    return whole.digest()


def read(record: ArchiveExported, given: Mapping[bytes, bytes]) -> tuple[Listed, ...]:
    """
    The list of an archive, out of documents among which it is.

    Raises `NotCanonical` unless it is exactly the one of the record.
    """
    parts = sorted(part for part in given.values() if part.startswith(b'{"case":'))
    found = tuple(each for part in parts for each in _lines(part))
    if any(before.case >= after.case for before, after in pairwise(found)):
        raise NotCanonical("the list of cases is not in its order")
    if digest_of(parts) != record.listed or len(found) != record.cases:
        raise NotCanonical("the list of cases is not the one of the record")
    return found


def _lines(part: bytes) -> Iterator[Listed]:
    if not part.endswith(b"\n"):
        raise NotCanonical("a part of the list ends within a line")
    for line in part.splitlines():
        value: Any = canonical.decode(line, max_bytes=len(line))
        if not isinstance(value, dict) or value.keys() != _FIELDS:
            raise NotCanonical("a line of the list has not exactly the fields of one")
        case, last, digest = value["case"], value["last"], value["records"]
        if not (isinstance(case, str) and isinstance(digest, str) and type(last) is int):
            raise NotCanonical("a line of the list has a field of another type")
        if last < 0 or len(digest) != _HASH or digest.strip("0123456789abcdef"):
            raise NotCanonical("a line of the list has a value that cannot be")
        yield Listed(check_case_id(case), last, bytes.fromhex(digest))
