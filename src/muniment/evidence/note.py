"""
Signed notes: text with Ed25519 signatures below it, as C2SP signed-note defines them.

A note is text ending in a newline, an empty line, and one line for each signature. Two types of key
are known here: 0x01, with which a log signs, and 0x04, with which a witness cosigns a checkpoint
(C2SP tlog-cosignature). Signatures of any other key are kept and ignored.

Where the specification leaves a choice, the strict one is taken: base64 has one spelling, weak keys
are no keys, a known key signs once, and one bad signature of a known key spoils the note.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from muniment.errors import NoteInvalid

#: C2SP signed-note: at least 16 signatures have to be accepted, of up to nearly 5 kB each.
MAX_SIGNATURES: Final = 64
MAX_NOTE_BYTES: Final = 512 * 1024
MAX_NAME_BYTES: Final = 255

_SIGNATURE_START: Final = "\N{EM DASH} "
_SKEY_START: Final = "PRIVATE+KEY+"
_KEY_ID: Final = re.compile(r"[0-9a-f]{8}")
# C2SP signed-note: no control characters below U+0020 but the newline
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")

_ID_BYTES: Final = 4
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_TIME_BYTES: Final = 8
_MAX_TIME: Final = 2**63 - 1

# RFC 8032 section 5.1: the field, and the y coordinates of the eight points whose order divides 8.
# With such a key anybody can make "signatures".
_P: Final = 2**255 - 19
_Y_OF_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER: Final = frozenset({0, 1, _P - 1, _Y_OF_ORDER_8, _P - _Y_OF_ORDER_8})


class KeyType(IntEnum):
    """The signature type identifier bytes of C2SP signed-note that are known here."""

    LOG = 0x01
    COSIGNER = 0x04


@dataclass(frozen=True)
class VerifierKey:
    """The public half of a key, with the name under which it signs."""

    name: str
    public: bytes
    type: KeyType = KeyType.LOG

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_public(self.public)

    @cached_property
    def key_id(self) -> bytes:
        """The four bytes by which a signature line names its key."""
        # C2SP signed-note: SHA-256(key name || 0x0A || signature type || public key)[:4]
        named = self.name.encode() + b"\n" + bytes([self.type]) + self.public
        return sha256(named).digest()[:_ID_BYTES]

    @cached_property
    def vkey(self) -> str:
        """The key as one line of text: `name+id+key`."""
        return _join_key(self.name, self.key_id, bytes([self.type]) + self.public)

    @classmethod
    def parse(cls, vkey: str) -> "VerifierKey":
        """The key of this vkey; raises NoteInvalid unless it reads back to the same text."""
        name, key_id, key = _split_key(vkey)
        try:
            parsed = cls(name, key[1:], KeyType(key[0]))
        except ValueError:
            raise NoteInvalid(f"the key is of the unknown type 0x{key[0]:02x}") from None
        if parsed.key_id != key_id:
            raise NoteInvalid(f"the key id of `{name}` does not belong to its key")
        return parsed

    def verify(self, text: str, signature: bytes) -> int | None:
        """
        Check a signature of this key over the text of a note.

        Gives the time of a cosignature in seconds since 1970, None for any other signature.
        Raises NoteInvalid.
        """
        message, at = _utf8(text), None
        if self.type is KeyType.COSIGNER:
            signature, message, at = _open_cosignature(signature, message)
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            raise NoteInvalid(f"the signature of `{self.name}` does not verify") from None
        return at

    def __str__(self) -> str:
        return self.vkey


@dataclass(frozen=True, repr=False, eq=False)
class SigningKey:
    """The private half of a log's key. Its secret leaves only through `skey`."""

    name: str
    _private: Ed25519PrivateKey

    def __post_init__(self) -> None:
        _ = self.verifier  # refuses a bad name at once

    @classmethod
    def generate(cls, name: str) -> "SigningKey":
        """A new key from the random numbers of the operating system."""
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, skey: str) -> "SigningKey":
        """The key of Go's text form `PRIVATE+KEY+name+id+key`; raises NoteInvalid."""
        return cls(*_parse_private(skey, KeyType.LOG))

    @property
    def skey(self) -> str:
        """The secret, as Go's `sumdb/note` writes it. Keep it out of logs and messages."""
        return _private_text(self.verifier, self._private)

    def derive(self, purpose: str) -> bytes:
        """32 secret bytes for another purpose, that say nothing about this key (RFC 5869)."""
        info = f"muniment-{purpose}/v1".encode()
        derivation = HKDF(hashes.SHA256(), 32, salt=None, info=info)
        return derivation.derive(self._private.private_bytes_raw())

    @cached_property
    def verifier(self) -> VerifierKey:
        return VerifierKey(self.name, self._private.public_key().public_bytes_raw())

    def sign(self, text: str) -> bytes:
        """The note of this text with our signature; raises NoteInvalid if no note can hold it."""
        message = _check_text(text)
        signature = self._private.sign(message)
        line = Signature(self.name, self.verifier.key_id, signature).line
        return message + b"\n" + line.encode()

    def __repr__(self) -> str:
        return f"SigningKey({self.verifier.vkey!r})"


@dataclass(frozen=True)
class Signature:
    """One signature line: who claims to have signed, and with what."""

    name: str
    key_id: bytes
    #: for a cosignature, eight bytes of time come first
    signature: bytes

    @property
    def line(self) -> str:
        encoded = base64.b64encode(self.key_id + self.signature).decode()
        return f"{_SIGNATURE_START}{self.name} {encoded}\n"


@dataclass(frozen=True, repr=False, eq=False)
class CosigningKey:
    """
    The private half of a witness's key. Its secret leaves only through `skey`.

    C2SP tlog-cosignature: what is signed does not hold the name of the cosigner, so one key must
    not serve under two names.
    """

    name: str
    _private: Ed25519PrivateKey

    def __post_init__(self) -> None:
        _ = self.verifier  # refuses a bad name at once

    @classmethod
    def generate(cls, name: str) -> "CosigningKey":
        """A new key from the random numbers of the operating system."""
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, skey: str) -> "CosigningKey":
        """The key of the text form that a log's key has too; raises NoteInvalid."""
        return cls(*_parse_private(skey, KeyType.COSIGNER))

    @property
    def skey(self) -> str:
        """The secret as `PRIVATE+KEY+name+id+key`. Keep it out of logs and messages."""
        return _private_text(self.verifier, self._private)

    @cached_property
    def verifier(self) -> VerifierKey:
        public = self._private.public_key().public_bytes_raw()
        return VerifierKey(self.name, public, KeyType.COSIGNER)

    def cosign(self, text: str, at: int) -> Signature:
        """
        Our cosignature on the text of a checkpoint, made `at` this second since 1970.

        Whoever calls this has made sure that the checkpoint continues every one cosigned before.
        Raises NoteInvalid if no note can hold the text, or no cosignature the time.
        """
        # C2SP tlog-witness: the time must not be zero
        if not 0 < at <= _MAX_TIME:
            raise NoteInvalid(f"{at} is not the time of a cosignature")
        signature = self._private.sign(_cosigned_message(at, _check_text(text)))
        stamped = at.to_bytes(_TIME_BYTES, "big") + signature
        return Signature(self.name, self.verifier.key_id, stamped)

    def __repr__(self) -> str:
        return f"CosigningKey({self.verifier.vkey!r})"


@dataclass(frozen=True)
class Note:
    """A note that at least one known key has signed and no known key contradicts."""

    text: str
    #: the keys, of those asked for, whose signatures were there and verified
    verified: tuple[VerifierKey, ...]
    #: when the cosigners among them signed, in seconds since 1970 by their own clocks
    cosigned_at: Mapping[VerifierKey, int]


def parse_note(data: bytes) -> tuple[str, tuple[Signature, ...]]:
    """
    The text and the signature lines of a note, none of them verified.

    Raises NoteInvalid. Source: C2SP signed-note, section "Format".
    """
    if len(data) > MAX_NOTE_BYTES:
        raise NoteInvalid(f"a note of {len(data)} bytes is too long")
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError:
        raise NoteInvalid("the note is not UTF-8") from None
    # C2SP signed-note: the text is separated from the signatures by the last empty line
    start = note.rfind("\n\n")
    if start < 0 or not note.endswith("\n") or start + 2 == len(note):
        raise NoteInvalid("the note has no text and signatures with an empty line between them")
    text, lines = note[: start + 1], note[start + 2 : -1].split("\n")
    _check_text(text)
    if len(lines) > MAX_SIGNATURES:
        raise NoteInvalid(f"a note with {len(lines)} signatures has too many")
    return text, tuple(_parse_signature(line) for line in lines)


def open_note(data: bytes, keys: Sequence[VerifierKey]) -> Note:
    """
    The note in these bytes, if the keys that we know stand behind it.

    1. The note is well formed.
    2. Signatures of keys not in `keys` are ignored.
    3. A key of `keys` signs at most once, and its signature verifies.
    4. At least one key of `keys` has signed.

    Raises NoteInvalid. Source: C2SP signed-note, section "Signatures".
    """
    text, signatures = parse_note(data)
    known = _by_name_and_id(keys)
    verified: dict[VerifierKey, int | None] = {}
    for signature in signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None:
            continue  # C2SP signed-note: unknown keys MUST be ignored
        if key in verified:
            raise NoteInvalid(f"`{key.name}` signed the note twice with the same key")
        verified[key] = key.verify(text, signature.signature)
    if not verified:
        raise NoteInvalid("no known key signed the note")
    times = {key: at for key, at in verified.items() if at is not None}
    return Note(text, tuple(verified), times)


def from_base64(text: str) -> bytes | None:
    """The bytes of standard base64 (RFC 4648 section 4), None if this is not their one spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return data if base64.b64encode(data).decode() == text else None


def _by_name_and_id(keys: Sequence[VerifierKey]) -> dict[tuple[str, bytes], VerifierKey]:
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.key_id), key) != key:
            # C2SP signed-note: key ids are short; two keys under one are not told apart
            raise NoteInvalid(f"two known keys are called `{key.name}` and share a key id")
    return known


def _parse_signature(line: str) -> Signature:
    name, space, encoded = line.removeprefix(_SIGNATURE_START).partition(" ")
    raw = from_base64(encoded)
    if not line.startswith(_SIGNATURE_START) or not space or raw is None or len(raw) <= _ID_BYTES:
        raise NoteInvalid("a signature line is malformed")
    _check_name(name)
    return Signature(name, raw[:_ID_BYTES], raw[_ID_BYTES:])


def _open_cosignature(signature: bytes, text: bytes) -> tuple[bytes, bytes, int]:
    """The Ed25519 signature, the message it is over, and the time that both carry."""
    # C2SP tlog-cosignature: u64 timestamp, then the signature over two lines and the note text
    at = int.from_bytes(signature[:_TIME_BYTES], "big")
    if len(signature) != _TIME_BYTES + _SIGNATURE_BYTES or at > _MAX_TIME:
        raise NoteInvalid("a cosignature is malformed")
    return signature[_TIME_BYTES:], _cosigned_message(at, text), at


def _cosigned_message(at: int, text: bytes) -> bytes:
    # C2SP tlog-cosignature, section "Ed25519 signed message"
    return f"cosignature/v1\ntime {at}\n".encode() + text


def _parse_private(skey: str, kind: KeyType) -> tuple[str, Ed25519PrivateKey]:
    """The name and the key in Go's text form."""
    if not skey.startswith(_SKEY_START):
        raise NoteInvalid("this is not a private key")
    name, key_id, key = _split_key(skey.removeprefix(_SKEY_START))
    if key[0] != kind or len(key) != 1 + _KEY_BYTES:
        raise NoteInvalid(f"the private key of `{name}` is not an Ed25519 key of type 0x{kind:02x}")
    private = Ed25519PrivateKey.from_private_bytes(key[1:])
    if VerifierKey(name, private.public_key().public_bytes_raw(), kind).key_id != key_id:
        raise NoteInvalid(f"the key id of `{name}` does not belong to its private key")
    return name, private


def _private_text(verifier: VerifierKey, private: Ed25519PrivateKey) -> str:
    seed = bytes([verifier.type]) + private.private_bytes_raw()
    return _SKEY_START + _join_key(verifier.name, verifier.key_id, seed)


def _join_key(name: str, key_id: bytes, key: bytes) -> str:
    return f"{name}+{key_id.hex()}+{base64.b64encode(key).decode()}"


def _split_key(text: str) -> tuple[str, bytes, bytes]:
    """Name, key id and type-prefixed key; base64 may hold a plus sign, a name may not."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    key = from_base64(encoded)
    if _KEY_ID.fullmatch(key_id) is None or not key:
        raise NoteInvalid("this is not a key of the form `name+id+key`")
    return name, bytes.fromhex(key_id), key


def _check_name(name: str) -> None:
    # C2SP signed-note: not empty, no Unicode spaces, no plus
    if not name or "+" in name or any(char.isspace() for char in name) or _CONTROL.search(name):
        raise NoteInvalid("a key name is empty or holds a space, a plus or a control character")
    if len(_utf8(name)) > MAX_NAME_BYTES:
        raise NoteInvalid(f"a key name is longer than {MAX_NAME_BYTES} bytes")


def _check_public(public: bytes) -> None:
    if len(public) != _KEY_BYTES:
        raise NoteInvalid("a public key is not 32 bytes long")
    y = int.from_bytes(public, "little") & (1 << 255) - 1
    # RFC 8032 section 5.1.3: y is below p; a second encoding of one point would be a second key
    if y >= _P or y in _SMALL_ORDER:
        raise NoteInvalid("a public key is not canonical or of small order")


def _check_text(text: str) -> bytes:
    """The bytes of a text that a note can hold."""
    if not text.endswith("\n") or _CONTROL.search(text):
        raise NoteInvalid("the text of a note ends in a newline and holds no control characters")
    return _utf8(text)


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise NoteInvalid("text with a lone surrogate has no UTF-8 form") from None
