"""
Where records of others come in: lines, bounded JSON, moments, and names without tricks.

Whatever the bytes are, nothing leaves here but a value or `Unreadable`; and its text is ours.
"""

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, ClassVar, Final

import orjson

from muniment.errors import Unreadable
from muniment.oversight.event import MAX_DETAIL, MAX_NAME, MAX_RECORD, clipped

#: how deep a JSON value may be nested
MAX_DEPTH: Final = 64
#: bytes that a compressed body may have when it is open
MAX_BODY: Final = 64 << 20
#: what turns text around, hides in it, or ends its line
_TRICKS = (
    "\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
_IN_NAMES = re.compile(f"[\x00-\x1f{_TRICKS}]")
_IN_PROSE = re.compile(f"[\x00-\x08\x0b-\x1f{_TRICKS}]")
_BLANK = re.compile(r"[ \t\r\n]*")
_LONGEST_MOMENT = 40
#: Numbers stay text: only where a value ends is of interest, and a long one takes long to convert.
_ends = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str).raw_decode


def plain(value: object, length: int = MAX_NAME) -> str:
    """A name on one line, cut to its bound; empty for what is no text and no whole number."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return ""
    if value.isascii() and value.isprintable():
        return clipped(value, length)
    return clipped(_IN_NAMES.sub("\ufffd", value[: length + 1]), length)


def prose(text: str) -> str:
    """The text of what was done, which may have lines of its own."""
    if text.isascii() and text.isprintable():
        return clipped(text, MAX_DETAIL)
    return clipped(_IN_PROSE.sub("\ufffd", text[: MAX_DETAIL + 1]), MAX_DETAIL)


def moment(text: object) -> datetime:
    """From ISO 8601 with a zone."""
    if not isinstance(text, str) or len(text) > _LONGEST_MOMENT:
        raise Unreadable("its time is no ISO 8601 moment")
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise Unreadable("its time is no ISO 8601 moment") from None
    raise Unreadable("its time has no zone")


def moment_since_epoch(number: object, per_second: int) -> datetime:
    """From a count since 1970, as a number or as the text of one."""
    try:
        count = float(number) if isinstance(number, int | float | str) else None
        if count is not None and not isinstance(number, bool):
            return datetime.fromtimestamp(count / per_second, timezone.utc)
    except (ValueError, OverflowError, OSError):
        pass
    raise Unreadable("its time is no count since 1970")


# --- JSON


def document(record: bytes) -> Any:
    """A JSON value of one record."""
    if len(record) > MAX_RECORD:
        raise Unreadable("it is longer than a record may be")
    return _loaded(record)


def table(record: bytes) -> dict[str, Any]:
    """The JSON object of one record."""
    value = document(record)
    if isinstance(value, dict):
        return value
    raise Unreadable("it is no JSON object")


def _loaded(text: bytes) -> Any:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = _loaded_in_spite_of_its_bytes(text)
    # Parsing itself ends at a depth of its own; a value with few brackets cannot be deep.
    if text.count(b"{") + text.count(b"[") > MAX_DEPTH:
        _check_depth(value)
    return value


def _loaded_in_spite_of_its_bytes(text: bytes) -> Any:
    """
    Read what is no UTF-8, too.

    A target may copy bytes of its clients into its log. Nobody shall hide a line by such a byte.
    """
    try:
        text.decode()
    except UnicodeDecodeError:
        try:
            return orjson.loads(text.decode("utf-8", "replace"))
        except orjson.JSONDecodeError:
            pass
    raise Unreadable("it is no JSON")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for each in level for child in _children(each)]
        if not level:
            return
    raise Unreadable("its JSON is nested too deep")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def within(value: object, *path: str) -> Any:
    """What lies at a path of names; None where there is nothing."""
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def text_within(value: object, *path: str) -> str:
    """A name at a path of names; empty where there is none."""
    return plain(within(value, *path))


# --- records from a stream, and from a whole body


class Lines:
    """Cuts one record a line. What is left of a line that is too long is passed over."""

    def __init__(self) -> None:
        self._passing = False

    def cut(self, buffer: bytes) -> tuple[list[bytes], bytes]:
        *whole, rest = buffer.split(b"\n")
        if self._passing:
            if not whole:
                return [], b""
            whole = whole[1:]
            self._passing = False
        records = [line.removesuffix(b"\r") for line in whole if line and line != b"\r"]
        if len(rest) > MAX_RECORD:
            self._passing = True
            records.append(rest)
            rest = b""
        return records, rest


class LineReader:
    """A reader whose records are lines."""

    def __init__(self) -> None:
        self._lines = Lines()

    def cut(self, buffer: bytes) -> tuple[list[bytes], bytes]:
        return self._lines.cut(buffer)

    def unpack(self, body: bytes) -> list[bytes]:
        records, rest = Lines().cut(opened(body))
        return [*records, rest] if rest else records


class DocumentReader(LineReader):
    """
    A reader whose records are JSON documents: one a line, or in a body that holds several.

    Each keeps the bytes that it had.
    """

    #: names under which a body may hold its records in a list
    LISTS: ClassVar[tuple[str, ...]] = ()

    def unpack(self, body: bytes) -> list[bytes]:
        return self.documents(body, self.LISTS)

    @staticmethod
    def documents(body: bytes, lists: tuple[str, ...]) -> list[bytes]:
        body = opened(body).strip()
        if not body:
            return []
        try:
            _loaded(body)
        except Unreadable:
            if b"\n" not in body:
                raise
            return [line for line in body.splitlines() if line]
        text = body.decode("utf-8", "replace")
        start = 0 if text.startswith("[") else _list_within(text, lists)
        return [body] if start is None else _elements(text, start)


def opened(body: bytes) -> bytes:
    """A body, which may come compressed by gzip."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    unpacking = zlib.decompressobj(wbits=31)
    try:
        found = unpacking.decompress(body, MAX_BODY)
    except zlib.error:
        raise Unreadable("it is no whole gzip file") from None
    if unpacking.unconsumed_tail or not unpacking.eof:
        raise Unreadable("it is no whole gzip file, or too long when it is open")
    return found


def _list_within(text: str, names: tuple[str, ...]) -> int | None:
    """Where the list begins that an object has under one of these names."""
    if not names or not text.startswith("{"):
        return None
    found, at = None, _blank(text, 1)
    while text[at] != "}":
        name, at = _ends(text, at)
        at = _blank(text, _blank(text, at) + 1)
        if name in names and text[at] == "[":
            found = at
        at = _behind_value(text, at)
    return found


def _elements(text: str, start: int) -> list[bytes]:
    found, at = [], _blank(text, start + 1)
    while text[at] != "]":
        _, end = _ends(text, at)
        found.append(text[at:end].encode())
        at = _behind_value(text, at)
    return found


def _behind_value(text: str, at: int) -> int:
    at = _blank(text, _ends(text, at)[1])
    return _blank(text, at + 1) if text[at] == "," else at


def _blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at
