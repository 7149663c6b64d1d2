"""What was packed, with a bound on what comes out of it."""

import zlib
from typing import Final

from muniment.errors import Unreadable

_MAGIC: Final = b"\x1f\x8b"
#: for zlib: gzip, and nothing else
_GZIP: Final = 16 + zlib.MAX_WBITS
#: parts of one file, each with an end of its own (RFC 1952 section 2.2)
_MAX_MEMBERS: Final = 10_000


def is_packed(data: bytes) -> bool:
    return data.startswith(_MAGIC)


def unpacked(data: bytes, most: int) -> bytes:
    """All of it, if it is no more than that. Raises `Unreadable`."""
    found = bytearray()
    for _ in range(_MAX_MEMBERS):
        member = zlib.decompressobj(_GZIP)
        try:
            found += member.decompress(data, most + 1 - len(found))
        except zlib.error as error:
            raise Unreadable("it is damaged: it cannot be unpacked") from error
        if len(found) > most:
            raise Unreadable(f"unpacked it has more than {most:,} bytes")
        if not member.eof:
            raise Unreadable("it is cut: it ends before what was packed does")
        data = member.unused_data
        if not data.strip(b"\0"):  # padding, as of tapes
            return bytes(found)
    raise Unreadable(f"it has more than {_MAX_MEMBERS:,} parts")
