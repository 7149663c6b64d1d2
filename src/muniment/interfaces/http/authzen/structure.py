"""
Structural comparison of JSON, as ARAP section 21.1.4 defines it: by one form for equal values.

Numbers are equal by their value as IEEE 754 doubles, objects whatever the order of their members;
an absent member differs from null, a number from a string, true from 1.
"""

import math
from hashlib import sha256
from typing import Any

import orjson

from muniment.errors import Malformed

#: deeper than anybody means it
MAX_DEPTH = 32
_EXACT = 2**53


def digest(value: Any) -> bytes:
    """The same for equal values. Raises `Malformed` for what JSON can write and nobody can mean."""
    return sha256(encode(value)).digest()


def encode(value: Any) -> bytes:
    """One form for equal values. Raises `Malformed`, as `digest` does."""
    try:
        return orjson.dumps(_plain(value, 0), option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:  # half of a surrogate pair
        raise Malformed("a text in the body is not Unicode") from error


def _plain(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise Malformed(f"the body is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value)
    return value


def _number(value: float) -> int | float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Malformed("a number in the body is too large")
    whole = number.is_integer() and abs(number) <= _EXACT
    return int(number) if whole else number
