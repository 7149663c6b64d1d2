"""
Events that a source sent: the commitment of one, and the root over a batch of them.

A record of the log holds the root. An event can be shown to be the one that came, with its salt and
a path to the root; its neighbours can be erased without a trace, and it still can.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Self

from muniment.errors import NotCanonical, ProofInvalid
from muniment.evidence import canonical, merkle
from muniment.evidence.note import from_base64

#: bytes of fresh randomness that each event is committed under
SALT_SIZE: Final = 16
#: of the file that proves one event
FORMAT: Final = "muniment-event-proof/v1"
#: bytes of a record, characters of the name of a source, and hashes of a path
MAX_RAW, MAX_SOURCE, MAX_PATH = 1 << 20, 256, 63
#: bytes of the file: a record in base64, and the rest
MAX_PROOF: Final = (MAX_RAW + 2) // 3 * 4 + 16 * 1024
_DOMAIN: Final = b"muniment-event/v1\0"
_FIELDS: Final = frozenset(("batch", "format", "number", "path", "raw", "record", "salt", "source"))
_BATCH_FIELDS: Final = frozenset(("count", "start"))
#: as the header of a record has it
_RECORD: Final = re.compile(r"[a-z][a-z0-9]{1,7}_[a-z2-7]{26}/(?:0|[1-9][0-9]{0,8})\Z", re.ASCII)


def commitment(log_id: bytes, salt: bytes, source: str, number: int, raw: bytes) -> bytes:
    """
    What stands for an event: bound to one log, one source and one place in it.

    SHA-256 of the domain, log id (32 bytes), salt (16), length (2) and name of the source, number
    (8), length (8) and bytes of the record; numbers are big-endian.
    """
    name = source.encode("utf-8")
    return sha256(
        b"".join(
            (
                _DOMAIN,
                log_id,
                salt,
                len(name).to_bytes(2, "big"),
                name,
                number.to_bytes(8, "big"),
                len(raw).to_bytes(8, "big"),
                raw,
            )
        )
    ).digest()


def root(commitments: Iterable[bytes]) -> bytes:
    """RFC 6962 root over the commitments, in the order of their numbers."""
    return merkle.root(merkle.leaf_hash(each) for each in commitments)


def prove(commitments: Sequence[bytes], position: int) -> list[bytes]:
    """The path from one of them to the root. Raises `ProofInvalid` if there is no such one."""
    return paths(commitments, [position])[0]


def paths(commitments: Sequence[bytes], positions: Iterable[int]) -> list[list[bytes]]:
    """The paths from several of them; the tree is made once. Raises `ProofInvalid` as `prove`."""
    rows = [[merkle.leaf_hash(each) for each in commitments]]
    while len(below := rows[-1]) > 1:
        # complete subtrees only: an odd last one is not of this row
        pairs = zip(below[::2], below[1::2], strict=False)
        rows.append([merkle.node_hash(left, right) for left, right in pairs])

    def node(level: int, index: int) -> bytes:
        return rows[level][index]

    return [merkle.inclusion_proof(each, len(commitments), node) for each in positions]


def verify(
    committed: bytes, position: int, count: int, path: Sequence[bytes], expected: bytes
) -> None:
    """Raises `ProofInvalid` unless this is the commitment at this place of such a batch."""
    merkle.verify_inclusion(merkle.leaf_hash(committed), position, count, path, expected)


@dataclass(frozen=True, kw_only=True, slots=True)
class EventProof:
    """
    One event as its source sent it, with all that leads to a record of the log.

    A file of its own, in canonical JSON. Nothing in it is believed: `check` decides, with a record
    that was itself proved to be in the log.
    """

    source: str
    number: int
    raw: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    #: number of the first event of its batch, and how many these are
    start: int
    count: int
    path: tuple[bytes, ...]
    #: id of the record that has the root of the batch: `<case>/<position>`
    record: str

    def encode(self) -> bytes:
        """The bytes of the file. Raises `NotCanonical` if it is no possible one."""
        return canonical.encode(self.value())

    def value(self) -> dict[str, Any]:
        """What `encode` writes, to stand in a larger file. Raises `NotCanonical`."""
        _check_sizes(self)
        return {
            "batch": {"count": self.count, "start": self.start},
            "format": FORMAT,
            "number": self.number,
            "path": [each.hex() for each in self.path],
            "raw": base64.b64encode(self.raw).decode("ascii"),
            "record": self.record,
            "salt": self.salt.hex(),
            "source": self.source,
        }

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises `NotCanonical` for anything but the bytes that `encode` gives."""
        return cls.read(canonical.decode(data, max_bytes=MAX_PROOF))

    @classmethod
    def read(cls, found: object) -> Self:
        """From what `value` gives, read out of canonical JSON. Raises `NotCanonical`."""
        value = _object(found, _FIELDS, "a proof of an event")
        if value["format"] != FORMAT:
            raise NotCanonical(f"this is no proof of an event of the format `{FORMAT}`")
        batch = _object(value["batch"], _BATCH_FIELDS, "`batch`")
        path = value["path"]
        if not isinstance(path, list):
            raise NotCanonical("`path` is no list")
        raw = from_base64(_text(value["raw"], "raw"))
        if raw is None:
            raise NotCanonical("`raw` is not canonical base64")
        proof = cls(
            source=_text(value["source"], "source"),
            number=_number(value["number"], "number"),
            raw=raw,
            salt=_hex(value["salt"], SALT_SIZE, "salt"),
            start=_number(batch["start"], "start"),
            count=_number(batch["count"], "count"),
            path=tuple(_hex(each, merkle.HASH_SIZE, "path") for each in path),
            record=_text(value["record"], "record"),
        )
        _check_sizes(proof)
        return proof

    def check(self, log_id: bytes, body: Mapping[str, Any]) -> None:
        """
        Check that the source sent this event, as far as a record of the log says so.

        `body` is that of the record which `record` names; that it is in the log, and of the kind
        that has batches of events, is for the caller to check.

        1. The record speaks of this source and of this batch.
        2. The event has a place in the batch.
        3. Record and salt make a commitment from which the path leads to the record's root.

        Raises `ProofInvalid`.
        """
        claimed = {"source": self.source, "start": self.start, "count": self.count}
        for name, value in claimed.items():  # step 1
            if type(body.get(name)) is not type(value) or body[name] != value:
                raise ProofInvalid(f"the record `{self.record}` has another `{name}`")
        if not self.start <= self.number < self.start + self.count:  # step 2
            raise ProofInvalid(f"event {self.number} is not in the batch of `{self.record}`")
        try:
            expected = _hex(body.get("root"), merkle.HASH_SIZE, "root")
        except NotCanonical as error:
            raise ProofInvalid(f"the record `{self.record}` has no root of a batch") from error
        committed = commitment(log_id, self.salt, self.source, self.number, self.raw)
        verify(committed, self.number - self.start, self.count, self.path, expected)  # step 3


def _check_sizes(proof: EventProof) -> None:
    if len(proof.raw) > MAX_RAW:
        raise NotCanonical(f"a record of {len(proof.raw)} bytes; at most {MAX_RAW} are allowed")
    if not 0 < len(proof.source) <= MAX_SOURCE or not proof.source.isascii():
        raise NotCanonical(f"the name of a source has 1 to {MAX_SOURCE} ASCII characters")
    if len(proof.salt) != SALT_SIZE or any(len(h) != merkle.HASH_SIZE for h in proof.path):
        raise NotCanonical("the salt, or a hash of the path, has another length")
    if len(proof.path) > MAX_PATH:
        raise NotCanonical(f"a path of {len(proof.path)} hashes; at most {MAX_PATH} are allowed")
    if not _RECORD.match(proof.record):
        raise NotCanonical(f"not a record id: `{proof.record:.60}`")


def _object(value: object, fields: frozenset[str], what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != fields:
        raise NotCanonical(f"{what} has the fields {', '.join(sorted(fields))}, and no others")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise NotCanonical(f"`{what}` is no text")
    return value


def _number(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise NotCanonical(f"`{what}` is no number from 0 on")
    return value


def _hex(value: object, size: int, what: str) -> bytes:
    if not isinstance(value, str) or len(value) != 2 * size or value.strip("0123456789abcdef"):
        raise NotCanonical(f"`{what}` is not {size} bytes in lower-case hex")
    return bytes.fromhex(value)
