"""
One record: a header that stands in the log for ever, sections sealed beside it, and documents.

- The **header** is the log entry: canonical JSON, ASCII, at most 16 KiB. It holds no personal data.
- A **section** is personal or large content. The header holds only a commitment to it, made with a
  random salt; erasing content and salt leaves every proof as it was.
- A **document** (policy file, role definition) is neither personal nor secret; the header names it
  by its SHA-256 and it lies unsealed beside the log.

These bytes are frozen: a change is a new `FORMAT`, and this one stays readable.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Self

from muniment.errors import NotCanonical
from muniment.evidence import canonical, moment

FORMAT = 1
MAX_HEADER = 16 * 1024
MAX_SECTION = 1024 * 1024
MAX_DOCUMENT = 1024 * 1024
_KIND = re.compile(r"[a-z][a-z-]*:[a-z][a-z-]*\Z", re.ASCII)
_CASE = re.compile(r"[a-z][a-z0-9]{1,7}_[a-z2-7]{26}\Z", re.ASCII)
_NAME = re.compile(r"[a-z][a-z-]{0,39}\Z", re.ASCII)
_DOMAIN = b"muniment-section/v1\0"
_FIELDS = frozenset(
    ("at", "body", "documents", "fold", "follows", "format", "id", "kind", "prev", "sections")
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A record before it has its place: what an operation hands to the log."""

    case: str
    kind: str
    #: version of the tables by which this record is to be folded
    fold: int
    #: the one reading of the clock, taken when it was decided or its effect had returned
    at: datetime
    #: the kind's own typed fields
    body: Mapping[str, Any]
    #: leaf hashes of records in other cases on which this one rests; a number stands for the
    #: leaf of an earlier draft of the same item, which has none yet
    follows: tuple[bytes | int, ...] = ()
    #: when it happened, where that was before it could be appended
    observed: datetime | None = None
    #: content to seal, by section name
    sections: Mapping[str, bytes] = field(default_factory=dict)
    #: whole documents that the body names by digest
    documents: tuple[bytes, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """A record in its place."""

    kind: str
    fold: int
    case: str
    position: int
    at: datetime
    body: Mapping[str, Any]
    #: leaf hash of the case's record before this one; None at position 0
    prev: bytes | None
    follows: tuple[bytes, ...] = ()
    documents: tuple[bytes, ...] = ()
    sections: Mapping[str, bytes] = field(default_factory=dict)
    #: when it was seen, where `at` is later: to keep the order of the case, or for a late outcome
    observed: datetime | None = None
    #: what a reader made of `kind` and `body`, kept so that it is made once; no part of the record
    read: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def id(self) -> str:
        return f"{self.case}/{self.position}"

    def encode(self) -> bytes:
        """The log entry. Raises `NotCanonical` if it is no possible one."""
        value: dict[str, Any] = {
            "at": moment.text(self.at),
            "body": self.body,
            "documents": [digest.hex() for digest in self.documents],
            "fold": self.fold,
            "follows": [leaf.hex() for leaf in self.follows],
            "format": FORMAT,
            "id": self.id,
            "kind": self.kind,
            "prev": self.prev.hex() if self.prev is not None else None,
            "sections": {name: sealed.hex() for name, sealed in self.sections.items()},
        }
        if self.observed is not None:
            value["observed"] = moment.text(self.observed)
        data = canonical.encode(value)
        if len(data) > MAX_HEADER:
            raise NotCanonical(f"a header of {len(data)} bytes; at most {MAX_HEADER} are allowed")
        if not data.isascii():
            raise NotCanonical(f"the header of `{self.id}` is not ASCII")
        return data

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises `NotCanonical` for anything but the bytes that `encode` gives."""
        if not data.isascii():
            raise NotCanonical("a header that is not ASCII")
        value = canonical.decode(data, max_bytes=MAX_HEADER)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise NotCanonical("not a record header of format 1")
        extra = value.keys() - _FIELDS - {"observed"}
        if extra or not value.keys() >= _FIELDS:
            raise NotCanonical(f"a header with other fields: {sorted(extra)}")
        case, position = _parse_id(value["id"])
        # what is not there is left out: a null would be a second way to write it
        observed = moment.parse(value["observed"]) if "observed" in value else None
        return cls(
            kind=_matching(_KIND, value["kind"], "kind"),
            fold=_whole_number(value["fold"], "fold"),
            case=case,
            position=position,
            at=moment.parse(value["at"]),
            body=_object(value["body"], "body"),
            prev=None if value["prev"] is None else _hash(value["prev"]),
            follows=tuple(_hash(leaf) for leaf in _list(value["follows"], "follows")),
            documents=tuple(_hash(digest) for digest in _list(value["documents"], "documents")),
            sections={
                _matching(_NAME, name, "section"): _hash(sealed)
                for name, sealed in _object(value["sections"], "sections").items()
            },
            observed=observed,
        )


def read_again(data: bytes) -> Header:
    """
    The header of an entry that stands in a tree whose root was, or is about to be, compared.

    What was appended was parsed then: its form is not looked at a second time, which is most of the
    work. Raises `NotCanonical` for what can be no header.
    """
    try:
        value = canonical.read_again(data)
        case, _, position = value["id"].partition("/")
        observed = value.get("observed")
        return Header(
            kind=value["kind"],
            fold=value["fold"],
            case=case,
            position=int(position),
            at=moment.parse(value["at"]),
            body=value["body"],
            prev=None if value["prev"] is None else bytes.fromhex(value["prev"]),
            follows=tuple(map(bytes.fromhex, value["follows"])),
            documents=tuple(map(bytes.fromhex, value["documents"])),
            sections={name: bytes.fromhex(sealed) for name, sealed in value["sections"].items()},
            observed=None if observed is None else moment.parse(observed),
        )
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise NotCanonical(f"no record header: {error}") from error


@dataclass(frozen=True, slots=True)
class Sealed:
    """Content and salt of one section, as they lie beside the log."""

    salt: bytes
    content: bytes = field(repr=False)

    @classmethod
    def seal(cls, content: bytes) -> Self:
        """With a fresh random salt: never derived, never used twice."""
        if len(content) > MAX_SECTION:
            raise NotCanonical(f"a section of {len(content)} bytes; at most {MAX_SECTION}")
        return cls(secrets.token_bytes(32), content)

    def commitment(self, log_id: bytes, record_id: str, name: str) -> bytes:
        """What the header holds. Bound to one log, one record and one section name."""
        return sha256(
            _DOMAIN
            + log_id
            + self.salt
            + _sized(name.encode("ascii"), 2)
            + _sized(record_id.encode("ascii"), 2)
            + _sized(self.content, 8)
        ).digest()


def digest(document: bytes) -> bytes:
    """The name of a document: its plain SHA-256, so that coreutils can check it."""
    return sha256(document).digest()


def check_case_id(case: str) -> str:
    """`<prefix>_<26 characters of base32>`; raises `NotCanonical`."""
    return _matching(_CASE, case, "case id")


def _sized(data: bytes, width: int) -> bytes:
    return len(data).to_bytes(width, "big") + data


def _parse_id(value: object) -> tuple[str, int]:
    case, _, position = value.partition("/") if isinstance(value, str) else ("", "", "")
    if len(position) > 9 or not position.isdecimal() or str(int(position)) != position:  # noqa: PLR2004 (a billion records in one case)
        raise NotCanonical(f"not a record id: `{value!r:.60}`")
    return check_case_id(case), int(position)


def _hash(value: object) -> bytes:
    if not isinstance(value, str) or len(value) != 64 or value.strip("0123456789abcdef"):  # noqa: PLR2004 (SHA-256 in hex)
        raise NotCanonical(f"not a SHA-256 in lower-case hex: `{value!r:.70}`")
    return bytes.fromhex(value)


def _matching(form: re.Pattern[str], value: object, what: str) -> str:
    if not isinstance(value, str) or not form.match(value):
        raise NotCanonical(f"not a {what}: `{value!r:.60}`")
    return value


def _whole_number(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise NotCanonical(f"not a {what}: `{value!r:.40}`")
    return value


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NotCanonical(f"`{what}` is no object")
    return value


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise NotCanonical(f"`{what}` is no list")
    return value
