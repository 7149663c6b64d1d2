"""
Canonical JSON: the one sequence of bytes that a value has, as RFC 8785 defines it for our schema.

The schema leaves out what makes RFC 8785 hard, so that ordinary JSON writers already agree on it:

1. a value is a string, an integer, a boolean, null, an array or an object, and nothing else: no
   floats, no enums, no subclasses;
2. an integer lies within ±(2**53 - 1), which every JSON reader keeps exactly;
3. the keys of an object are ASCII strings, so that sorting by code point is sorting by UTF-16 unit;
4. a string holds no lone surrogate: it has to have UTF-8 bytes;
5. arrays and objects are nested at most `MAX_DEPTH` deep.

The standard library is enough. Where `orjson` is installed it writes and reads the same bytes, only
faster; both ways exist under their own names and are tested against each other.
"""

import json
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from muniment.errors import NotCanonical

try:
    import orjson

    HAVE_ORJSON: Final = True
except ImportError:  # evidence runs on the standard library; a test hides orjson to prove it
    HAVE_ORJSON = False  # type: ignore[misc]

Json: TypeAlias = "str | int | bool | list[Json] | tuple[Json, ...] | dict[str, Json] | None"

#: RFC 7493 section 2.2: beyond this, readers that keep numbers as doubles would change the value.
MAX_INT: Final = 2**53 - 1
MAX_BYTES: Final = 16384
MAX_DEPTH: Final = 32

_PLAIN: Final = frozenset({str, bool, type(None)})


def encode(value: object, *, max_depth: int = MAX_DEPTH) -> bytes:
    """
    The canonical bytes of `value`.

    Raises NotCanonical, naming the path (`$.actor[0].id`) of what the schema does not admit.
    Tuples are written as arrays. Source: RFC 8785 section 3.2.
    """
    _check(value, max_depth)
    try:
        return _write(value)
    except (TypeError, ValueError, RecursionError):
        # what `_check` leaves to the writer: UTF-8, and its own limit if `max_depth` lies above it
        place = _surrogate(value, "$")
        raise NotCanonical(f"{place} holds a lone surrogate" if place else "too deep") from None


def decode(data: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Json:
    """
    The value whose canonical bytes are exactly `data`; arrays come back as lists.

    Nothing is repaired: bytes that differ from what `encode` writes for the value read from them
    are refused, whatever the difference is (order, spaces, escapes, duplicate keys, a byte order
    mark, bytes after the end). Raises NotCanonical.
    """
    if len(data) > max_bytes:
        raise NotCanonical(f"{len(data)} bytes are more than the {max_bytes} allowed")
    try:
        value: Json = _read(data)
    except (ValueError, RecursionError) as error:
        raise NotCanonical(f"not readable as JSON: {error}") from None
    if encode(value, max_depth=max_depth) != data:
        raise NotCanonical("the bytes are not the canonical form of the value they hold")
    return value


def write_stdlib(value: object) -> bytes:
    """Write a checked value with the standard library."""
    # RFC 8785 section 3.2.2.2: escape only what must be, in lower case; section 3.2.3: sorted keys
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8")


def read_stdlib(data: bytes) -> Any:
    """Read JSON with the standard library; raises ValueError or RecursionError."""
    # decoded here, because `json` would accept UTF-16 and drop a byte order mark
    return json.loads(data.decode("utf-8"))


def write_orjson(value: object) -> bytes:
    """Write a checked value with orjson: the bytes of `write_stdlib`, some ten times faster."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def read_orjson(data: bytes) -> Any:
    """Read JSON with orjson; raises ValueError."""
    return orjson.loads(data)


def read_again(data: bytes) -> Any:
    """The value of bytes that were decoded once, as their hash says: of the one form."""
    return _read(data)


_write: Callable[[object], bytes] = write_orjson if HAVE_ORJSON else write_stdlib
_read: Callable[[bytes], Any] = read_orjson if HAVE_ORJSON else read_stdlib


class _Unfit(Exception):  # never leaves this module
    """what is wrong, and on the way up the path to it, innermost step first"""

    def __init__(self, what: str) -> None:
        self.what = what
        self.steps: list[str] = []


def _check(value: object, max_depth: int) -> None:
    """Raise NotCanonical unless `value` is in the schema; surrogates are left to the writer."""
    try:
        _check_part(value, max_depth)
    except _Unfit as unfit:
        path = "$" + "".join(reversed(unfit.steps))
        raise NotCanonical(f"{path} {unfit.what}") from None


def _check_part(value: Any, room: int) -> None:
    # NOTE: this runs for every record that is written or read: exact types are compared (so that no
    # subclass passes), plain members are skipped without a call, and the path is put together only
    # when something is wrong.
    kind = type(value)
    if kind is dict:
        for key in value:
            if type(key) is not str or not key.isascii():
                raise _Unfit(f"has the key {key!r}, which is not an ASCII string")
        members = value.items()
    elif kind is list or kind is tuple:
        members = enumerate(value)
    else:
        return _check_scalar(value)
    if not room:
        raise _Unfit("is nested too deep")
    for step, member in members:
        if type(member) not in _PLAIN:
            try:
                _check_part(member, room - 1)
            except _Unfit as unfit:
                unfit.steps.append(f".{step}" if kind is dict else f"[{step}]")
                raise
    return None


def _check_scalar(value: Any) -> None:
    kind = type(value)
    if kind is int:
        if not -MAX_INT <= value <= MAX_INT:
            raise _Unfit("is an integer beyond 2**53 - 1")
    elif kind not in _PLAIN:
        raise _Unfit(f"is of the type `{kind.__name__}`, which has no canonical form here")


def _surrogate(value: Any, path: str) -> str | None:
    """The path of the first string in a checked value that cannot be written as UTF-8."""
    if isinstance(value, str):
        return path if any("\ud800" <= char <= "\udfff" for char in value) else None
    members: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        members = [(f"{path}.{key}", member) for key, member in value.items()]
    elif isinstance(value, list | tuple):
        members = [(f"{path}[{index}]", member) for index, member in enumerate(value)]
    return next(filter(None, (_surrogate(member, place) for place, member in members)), None)
