"""
The evidence bundle: the one file that an auditor carries away, as bytes and as a value.

It is canonical JSON: the checkpoint, records with their inclusion proofs, the sections that the
reader may see, the documents that the records name, and proofs that earlier heads of the log are
beginnings of this one. Nothing is believed here; `verify` decides.

No value is decoration. What no hash and no signature covers by itself (which sections were given,
from which sizes there are proofs) is covered by two digests in the bundle's last record, which
says that it was exported.

The second version has what others put to the checkpoint once it was published: cosignatures of
witnesses, and RFC 3161 tokens over its text. That came after the last record was written, so no
record can fix it: whoever holds the file can take a cosignature and its key out, or a time stamp,
and the bundle then shows less. He can change neither, nor put in a witness that the log's own
policy does not name. A time stamp more he can put in: he asked an authority for it, and it is as
good as its root. With nothing of either kind the first version is written, byte for byte.

These bytes are frozen: a change is a new format, and those here stay readable.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import Any, ClassVar, Final, Self, TypeAlias

from muniment.errors import NotCanonical, NoteInvalid
from muniment.evidence import canonical
from muniment.evidence.note import MAX_SIGNATURES, KeyType, VerifierKey, from_base64
from muniment.evidence.record import Sealed
from muniment.evidence.stamp import MAX_TOKEN

FORMAT: Final = "muniment-bundle/v1"
#: with what others put to the checkpoint
FORMAT_2: Final = "muniment-bundle/v2"
#: a reader with 1 GiB of memory has to be able to check it
MAX_BUNDLE: Final = 64 * 1024 * 1024
MAX_DEPTH: Final = 6
MAX_RECORDS: Final = 10_000
MAX_HEADS: Final = 10_000
#: a path in a tree of at most 2**63 entries
MAX_PROOF: Final = 64
#: the log's own signature stands beside them
MAX_WITNESSES: Final = MAX_SIGNATURES - 1
MAX_STAMPS: Final = 16

_FIELDS: Final = ("format", "checkpoint", "records", "documents", "heads")
_FIELDS_2: Final = (*_FIELDS, "witnesses", "stamps")
_HASH: Final = 64
_WITHHELD: Final = "withheld"


@dataclass(frozen=True, slots=True)
class Withheld:
    """The section exists, and this reader was not given it."""

    STATE: ClassVar[str] = "withheld"


@dataclass(frozen=True, slots=True)
class Erased:
    """Content and salt are gone. The rule is the one that a `record:erased` record names."""

    rule: str

    STATE: ClassVar[str] = "erased"


Section: TypeAlias = Sealed | Withheld | Erased


def state(section: Section) -> str:
    """`given`, `withheld` or `erased`."""
    return "given" if isinstance(section, Sealed) else section.STATE


@dataclass(frozen=True, kw_only=True, slots=True)
class BundledRecord:
    """One entry of the log, as the bundle claims it."""

    index: int
    #: the exact bytes of the header
    header: bytes
    #: inclusion proof to the bundle's checkpoint
    proof: tuple[bytes, ...]
    sections: Mapping[str, Section] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """An earlier head of the same log, and the proof that the checkpoint's tree begins with it."""

    size: int
    root: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """What stands in the file, parsed but not verified."""

    checkpoint: bytes
    records: tuple[BundledRecord, ...]
    documents: Mapping[bytes, bytes]
    heads: tuple[Head, ...]
    #: whose cosignatures stand on the checkpoint, in the order of their vkeys
    witnesses: tuple[VerifierKey, ...] = ()
    #: RFC 3161 tokens over the checkpoint's text, in the order of their bytes
    stamps: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        """The bytes of the file. Raises `NotCanonical` if it would be too large to be read."""
        if len(self.records) > MAX_RECORDS or len(self.heads) > MAX_HEADS:
            raise NotCanonical(f"a bundle of {len(self.records)} records, {len(self.heads)} heads")
        value: dict[str, Any] = {
            "format": FORMAT,
            "checkpoint": self.checkpoint.decode("utf-8"),
            "records": [_record_value(record) for record in self.records],
            "documents": {name.hex(): _text(data) for name, data in self.documents.items()},
            "heads": [
                {"size": head.size, "root": head.root.hex(), "proof": _hexes(head.proof)}
                for head in self.heads
            ],
        }
        if self.witnesses or self.stamps:
            value["format"] = FORMAT_2
            value["witnesses"] = sorted(witness.vkey for witness in self.witnesses)
            value["stamps"] = [_text(token) for token in sorted(self.stamps)]
        data = canonical.encode(value, max_depth=MAX_DEPTH)
        if len(data) > MAX_BUNDLE:
            raise NotCanonical(f"a bundle of {len(data)} bytes; at most {MAX_BUNDLE} are allowed")
        return data

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises `NotCanonical` for anything but the bytes that `encode` gives."""
        value = canonical.decode(data, max_bytes=MAX_BUNDLE, max_depth=MAX_DEPTH)
        fields = _FORMATS.get(str(value.get("format"))) if isinstance(value, dict) else None
        if fields is None:
            raise NotCanonical(f"this is no bundle of the formats {' and '.join(_FORMATS)}")
        form = _fields(value, fields, "the bundle")
        witnesses, stamps = _witnesses(form.get("witnesses", [])), _stamps(form.get("stamps", []))
        if fields is _FIELDS_2 and not (witnesses or stamps):
            raise NotCanonical(f"a bundle without witnesses and stamps has the format `{FORMAT}`")
        return cls(
            checkpoint=_string(form["checkpoint"], "checkpoint").encode(),
            records=tuple(_record(item) for item in _list(form["records"], "records", MAX_RECORDS)),
            documents={
                _hash(name): _bytes(text, f"document `{name:.64}`")
                for name, text in _object(form["documents"], "documents").items()
            },
            heads=tuple(_head(item) for item in _list(form["heads"], "heads", MAX_HEADS)),
            witnesses=witnesses,
            stamps=stamps,
        )


_FORMATS: Final = {FORMAT: _FIELDS, FORMAT_2: _FIELDS_2}


def records_digest(leaves: Iterable[bytes]) -> bytes:
    """`records` of `evidence:exported`: SHA-256 over the leaf hashes of the case, in order."""
    return sha256(b"".join(leaves)).digest()


def disclosure_digest(sections: Mapping[tuple[str, str], Section], sizes: Iterable[int]) -> bytes:
    """
    `disclosed` of `evidence:exported`: SHA-256 of the canonical JSON of what the bundle shows.

    That is the state of every section, by record id and name, and the sizes of the heads.
    """
    shown = sorted([record, name, state(section)] for (record, name), section in sections.items())
    return sha256(canonical.encode({"sections": shown, "heads": sorted(sizes)})).digest()


# --- writing ----------------------------------------------------------------------------------


def _record_value(record: BundledRecord) -> dict[str, Any]:
    return {
        "index": record.index,
        "header": record.header.decode("ascii"),
        "proof": _hexes(record.proof),
        "sections": {name: _section_value(part) for name, part in record.sections.items()},
    }


def _section_value(section: Section) -> Any:
    match section:
        case Sealed():
            return {"salt": section.salt.hex(), "content": _text(section.content)}
        case Erased():
            return {"erased": section.rule}
        case Withheld():
            return _WITHHELD


def _hexes(hashes: Iterable[bytes]) -> list[str]:
    return [each.hex() for each in hashes]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- reading: every value has one form --------------------------------------------------------


def _record(value: object) -> BundledRecord:
    form = _fields(value, ("index", "header", "proof", "sections"), "a record")
    header = _string(form["header"], "header")
    if not header.isascii():
        raise NotCanonical("a header that is not ASCII")
    return BundledRecord(
        index=_count(form["index"], "index"),
        header=header.encode(),
        proof=_proof(form["proof"]),
        sections={
            name: _section(part) for name, part in _object(form["sections"], "sections").items()
        },
    )


def _section(value: object) -> Section:
    if value == _WITHHELD:
        return Withheld()
    if isinstance(value, dict) and value.keys() == {"erased"}:
        return Erased(_string(value["erased"], "erased"))
    form = _fields(value, ("salt", "content"), "a section")
    return Sealed(_hash(form["salt"]), _bytes(form["content"], "content"))


def _head(value: object) -> Head:
    form = _fields(value, ("size", "root", "proof"), "a head")
    return Head(
        size=_count(form["size"], "size"), root=_hash(form["root"]), proof=_proof(form["proof"])
    )


def _witnesses(value: object) -> tuple[VerifierKey, ...]:
    names = [_string(item, "witness") for item in _list(value, "witnesses", MAX_WITNESSES)]
    _check_rising(names, "witnesses")
    try:
        keys = tuple(VerifierKey.parse(name) for name in names)
    except NoteInvalid as error:
        raise NotCanonical(f"a witness: {error}") from error
    if any(key.type is not KeyType.COSIGNER for key in keys):
        raise NotCanonical("the key of a witness is not one for cosignatures")
    return keys


def _stamps(value: object) -> tuple[bytes, ...]:
    tokens = [_bytes(item, "stamp") for item in _list(value, "stamps", MAX_STAMPS)]
    _check_rising(tokens, "stamps")
    if any(len(token) > MAX_TOKEN for token in tokens):
        raise NotCanonical(f"a stamp is longer than {MAX_TOKEN} bytes")
    return tuple(tokens)


def _check_rising(values: Sequence[Any], what: str) -> None:
    if any(before >= after for before, after in pairwise(values)):
        raise NotCanonical(f"`{what}` are not in order, or one stands there twice")


def _proof(value: object) -> tuple[bytes, ...]:
    return tuple(_hash(item) for item in _list(value, "proof", MAX_PROOF))


def _fields(value: object, names: tuple[str, ...], what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != set(names):
        raise NotCanonical(f"{what} has not exactly the fields {', '.join(names)}")
    return value


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NotCanonical(f"`{what}` is no object")
    return value


def _list(value: object, what: str, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise NotCanonical(f"`{what}` is no list of at most {most}")
    return value


def _string(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise NotCanonical(f"`{what}` is no text")
    return value


def _count(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise NotCanonical(f"`{what}` is no count")
    return value


def _hash(value: object) -> bytes:
    if not isinstance(value, str) or len(value) != _HASH or value.strip("0123456789abcdef"):
        raise NotCanonical(f"not 32 bytes in lower-case hex: `{value!r:.70}`")
    return bytes.fromhex(value)


def _bytes(value: object, what: str) -> bytes:
    data = from_base64(value) if isinstance(value, str) else None
    if data is None:
        raise NotCanonical(f"`{what}` is not canonical base64")
    return data
