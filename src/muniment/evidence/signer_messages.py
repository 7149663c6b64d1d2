"""
What a log and the process that holds its key say to each other: one request, one answer.

Each message is its length in four bytes, and then as many bytes. A request is the size before, the
peaks of its tree, the leaf hashes since, and the checkpoint to be signed; an answer is one byte,
and then a signature line, or why there is none. Numbers are big endian.
"""

import struct
from typing import Final

from muniment.errors import Malformed, NoteInvalid
from muniment.evidence.merkle import HASH_SIZE
from muniment.evidence.note import Signature, VerifierKey, parse_note
from muniment.evidence.signer import Extension

#: hashes of a quarter of a million entries in one batch
MAX_REQUEST: Final = 8 * 1024 * 1024
MAX_ANSWER: Final = 4096
MAX_TEXT: Final = 4096
LENGTH: Final = struct.Struct(">I")
_HEAD: Final = struct.Struct(">QHI")
_MAX_PEAKS: Final = 63
_SIGNED, _REFUSED = b"+", b"-"


def encode_request(extension: Extension) -> bytes:
    """Raises `Malformed` if there is more in one batch than a request can hold."""
    head = _HEAD.pack(extension.size, len(extension.peaks), len(extension.leaves))
    hashes = b"".join((*extension.peaks, *extension.leaves))
    return _framed(head + hashes + extension.text.encode(), MAX_REQUEST)


def parse_request(data: bytes) -> Extension:
    """Raises `Malformed`."""
    if len(data) < _HEAD.size:
        raise Malformed("a request that is cut off")
    size, peaks, leaves = _HEAD.unpack_from(data)
    hashes = data[_HEAD.size :][: (peaks + leaves) * HASH_SIZE]
    text = data[_HEAD.size + len(hashes) :]
    if peaks > _MAX_PEAKS or size >= 1 << 63:
        raise Malformed("a tree that no log has")
    if len(hashes) != (peaks + leaves) * HASH_SIZE or len(text) > MAX_TEXT:
        raise Malformed("a request that is cut off, or with a text that is no checkpoint")
    each = [hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)]
    try:
        return Extension(
            size=size,
            peaks=tuple(each[:peaks]),
            leaves=tuple(each[peaks:]),
            text=text.decode("utf-8"),
        )
    except UnicodeDecodeError:
        raise Malformed("the text to be signed is not UTF-8") from None


def encode_signed(signature: Signature) -> bytes:
    return _framed(_SIGNED + signature.line.encode(), MAX_ANSWER)


def encode_refused(why: str) -> bytes:
    return _framed(_REFUSED + why.encode("utf-8", "replace")[: MAX_ANSWER - 1], MAX_ANSWER)


def parse_answer(data: bytes, key: VerifierKey, text: str) -> Signature:
    """
    The line of this key below this text, verified.

    Raises `Malformed` with the words of a refusal, and for anything else that it is not.
    """
    if data[:1] == _REFUSED:
        why = data[1:].decode("utf-8", "replace")
        raise Malformed(f"it refuses: {''.join(c for c in why if c.isprintable())[:300]}")
    if data[:1] != _SIGNED:
        raise Malformed("its answer is none")
    try:
        said, signatures = parse_note(text.encode() + b"\n" + data[1:])
        if said != text or [(s.name, s.key_id) for s in signatures] != [(key.name, key.key_id)]:
            raise Malformed("it answers with a line of another key")
        key.verify(text, signatures[0].signature)
    except NoteInvalid as error:
        raise Malformed(f"what it answers is no signature: {error}") from error
    return signatures[0]


def _framed(data: bytes, most: int) -> bytes:
    if len(data) > most:
        raise Malformed(f"a message of {len(data)} bytes; at most {most} are allowed")
    return LENGTH.pack(len(data)) + data
