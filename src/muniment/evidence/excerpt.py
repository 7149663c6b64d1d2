"""
An excerpt of the log: chosen entries word for word, and of all others the fewest hashes.

Where entries are left out, complete subtrees of the RFC 6962 tree stand in their place: so few that
no two of them could be one. With them the signed root is computed again. So nothing that is shown
can be altered, nothing can be left out where entries stand in a row, and it is known how many are
not shown.

The file is gzip over lines, which are written and read one by one, however many there are:

1. the first is canonical JSON: `checkpoint` (the signed note), `format`, `stamps` (RFC 3161 tokens
   over its text), `witnesses` (vkeys of those who cosigned it);
2. each other line is either the header of an entry, as the log has it, or `[level,"hash"]`: the
   node over the next `2**level` entries, none of which is shown.

What is beside the log (sections, documents, events) is not in it. These bytes are frozen: a change
is a new format.
"""

import base64
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from muniment.errors import NotCanonical
from muniment.evidence import canonical, merkle
from muniment.evidence.bundle import MAX_STAMPS, MAX_WITNESSES
from muniment.evidence.note import MAX_NOTE_BYTES, KeyType, VerifierKey, from_base64
from muniment.evidence.record import MAX_HEADER
from muniment.evidence.stamp import MAX_TOKEN

FORMAT: Final = "muniment-excerpt/v1"
#: the first line: a note, and what others put to it, as base64
MAX_FIRST: Final = 2 * (MAX_NOTE_BYTES + MAX_STAMPS * MAX_TOKEN) + MAX_WITNESSES * 1024
MAX_LEVEL: Final = 62

#: RFC 1952 section 2.3: no name, no time, no system; so the same lines give the same bytes
GZIP: Final = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])
_FIELDS: Final = {"checkpoint", "format", "stamps", "witnesses"}
_HIDDEN: Final = re.compile(rb'\[([0-9]|[1-5][0-9]|6[0-2]),"([0-9a-f]{64})"\]')
_PIECE: Final = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Heading:
    """The first line: whose log it is, at which size, and who vouches for that."""

    checkpoint: bytes
    #: whose cosignatures stand on it, in the order of their vkeys
    witnesses: tuple[VerifierKey, ...] = ()
    #: RFC 3161 tokens over its text, in the order of their bytes
    stamps: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "checkpoint": self.checkpoint.decode("utf-8"),
                "format": FORMAT,
                "stamps": [base64.b64encode(each).decode() for each in sorted(self.stamps)],
                "witnesses": sorted(each.vkey for each in self.witnesses),
            }
        )

    @classmethod
    def parse(cls, line: bytes) -> "Heading":
        """Raises `NotCanonical` for anything but the bytes that `encode` gives."""
        value: Any = canonical.decode(line, max_bytes=MAX_FIRST)
        if not isinstance(value, dict) or value.keys() != _FIELDS or value["format"] != FORMAT:
            raise NotCanonical(f"this is no excerpt of the format {FORMAT}")
        note, stamps, witnesses = value["checkpoint"], value["stamps"], value["witnesses"]
        if not isinstance(note, str):
            raise NotCanonical("`checkpoint` is no text")
        heading = cls(
            checkpoint=note.encode(),
            witnesses=tuple(_witness(each) for each in _texts(witnesses, MAX_WITNESSES)),
            stamps=tuple(_stamp(each) for each in _texts(stamps, MAX_STAMPS)),
        )
        if len(set(heading.witnesses)) < len(witnesses) or len(set(heading.stamps)) < len(stamps):
            raise NotCanonical("a witness or a stamp stands there twice")
        if heading.encode() != line:
            raise NotCanonical("witnesses or stamps are not in their order")
        return heading


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry, word for word."""

    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Hidden:
    """`2**level` entries from `index` on, of which nothing is shown but one hash."""

    index: int
    level: int
    hash: bytes


Part: TypeAlias = Shown | Hidden


# --- writing ----------------------------------------------------------------------------------


def write(
    heading: Heading, size: int, shown: Iterable[tuple[int, bytes]], node: merkle.Node
) -> Iterator[bytes]:
    """
    The bytes of the file, piece by piece.

    `shown` are index and bytes of entries in rising order; `node` gives complete subtrees of the
    tree of `size` entries, to which the checkpoint belongs.
    """
    return zipped(lines(heading, size, shown, node))


def lines(
    heading: Heading, size: int, shown: Iterable[tuple[int, bytes]], node: merkle.Node
) -> Iterator[bytes]:
    yield heading.encode()
    due = 0
    for index, data in shown:
        yield from _hidden_lines(due, index, node)
        yield data
        due = index + 1
    yield from _hidden_lines(due, size, node)


def cover(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The fewest nodes `(level, index)` over exactly the entries from `start` up to `stop`."""
    while start < stop:
        level = (stop - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        yield level, start >> level
        start += 1 << level


def _hidden_lines(start: int, stop: int, node: merkle.Node) -> Iterator[bytes]:
    for level, index in cover(start, stop):
        yield b'[%d,"%s"]' % (level, node(level, index).hex().encode())


def zipped(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Gzip without anything that the lines do not say."""
    # RFC 1952 wants no more than this around a raw stream; the fastest level halves it already
    squeeze = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    checksum = length = 0
    yield GZIP
    gathered = bytearray()
    for line in lines:
        gathered += line
        gathered += b"\n"
        if len(gathered) < _PIECE:
            continue
        checksum, length = zlib.crc32(gathered, checksum), length + len(gathered)
        if piece := squeeze.compress(gathered):
            yield piece
        gathered.clear()
    checksum, length = zlib.crc32(gathered, checksum), length + len(gathered)
    yield squeeze.compress(gathered) + squeeze.flush()
    yield checksum.to_bytes(4, "little") + (length & 0xFFFFFFFF).to_bytes(4, "little")


# --- reading ----------------------------------------------------------------------------------


def read(pieces: Iterable[bytes]) -> tuple[Heading, Iterator[Part]]:
    """
    The first line, and the parts in the order of the log, as they are taken.

    Raises `NotCanonical`, also while the parts are taken. Nothing is proved here.
    """
    found = unzipped(pieces)
    first = next(found, None)
    if first is None:
        raise NotCanonical("the file is empty")
    return Heading.parse(first), _parts(found)


def _parts(found: Iterator[bytes]) -> Iterator[Part]:
    index = 0
    for line in found:
        if line[:1] == b"{":
            yield Shown(index, line)
            index += 1
            continue
        hidden = _HIDDEN.fullmatch(line)
        if hidden is None:
            raise NotCanonical(f"after {index} entries comes a line that is none of an excerpt")
        level = int(hidden[1])
        yield Hidden(index, level, bytes.fromhex(hidden[2].decode()))
        index += 1 << level


def unzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a file that `zipped` wrote; raises `NotCanonical` for any other."""
    # 31: with the frame of RFC 1952, whose checksum is checked on the way
    expand = zlib.decompressobj(16 + zlib.MAX_WBITS)
    begin, rest, most = b"", b"", MAX_FIRST
    for piece in pieces:
        if piece and expand.eof:
            raise NotCanonical("the file goes on after its end")
        begin += piece[: len(GZIP) - len(begin)]
        if not GZIP.startswith(begin):
            raise NotCanonical("the file is not the gzip of an excerpt")
        given = piece
        # behind the end of the stream nothing is consumed, and zlib may hand the same out for ever
        while given and not expand.eof:
            rest += _expanded(expand, given)
            given = expand.unconsumed_tail
            *whole, rest = rest.split(b"\n")
            for line in whole:
                _check_length(line, most)
                yield line
                most = MAX_HEADER
            _check_length(rest, most)
        if expand.unused_data:
            raise NotCanonical("the file goes on after its end")
    if not expand.eof or rest:
        raise NotCanonical("the file was cut short")


def _expanded(expand: "zlib._Decompress", given: bytes) -> bytes:
    try:
        return expand.decompress(given, _PIECE)
    except zlib.error as error:
        raise NotCanonical(f"the file is damaged: {error}") from None


def _check_length(line: bytes, most: int) -> None:
    if len(line) > most:
        raise NotCanonical(f"a line is longer than {most} bytes")


def _texts(value: object, most: int) -> Sequence[str]:
    if not isinstance(value, list) or len(value) > most:
        raise NotCanonical(f"no list of at most {most}")
    if not all(isinstance(each, str) for each in value):
        raise NotCanonical("a list of something else than text")
    return value


def _witness(vkey: str) -> VerifierKey:
    key = VerifierKey.parse(vkey)
    if key.type is not KeyType.COSIGNER:
        raise NotCanonical("the key of a witness is not one for cosignatures")
    return key


def _stamp(text: str) -> bytes:
    token = from_base64(text)
    if token is None or len(token) > MAX_TOKEN:
        raise NotCanonical("a stamp is not canonical base64, or too long")
    return token
