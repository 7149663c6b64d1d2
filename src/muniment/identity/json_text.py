"""JSON that others wrote: bounded, and with one meaning only."""

import json
import math
import re
from typing import Any, Final

MAX_DEPTH: Final = 16

_SURROGATE = re.compile("[\ud800-\udfff]")


def read_object(data: bytes) -> dict[str, Any]:
    """
    The object that these bytes hold. Raises `ValueError`, whose text holds none of them.

    Refused is that on which readers disagree: a name that stands twice (RFC 8259 section 4), NaN
    and infinities, half a surrogate pair; and what is nested deeper than `MAX_DEPTH`.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_each_name_once,
            parse_constant=_no_number,
            parse_float=_finite,
        )
    except (ValueError, RecursionError):
        raise ValueError("not readable as JSON") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 (of text, its value is wrong)
    _check(value, MAX_DEPTH)
    return value


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice")
    return members


def _no_number(_text: str) -> float:
    raise ValueError("not a number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("too large a number")
    return value


def _check(value: Any, room: int) -> None:
    if isinstance(value, str) and not value.isascii() and _SURROGATE.search(value):
        raise ValueError("not readable as JSON")
    if isinstance(value, dict | list):
        if not room:
            raise ValueError("nested too deep")
        for member in [*value, *value.values()] if isinstance(value, dict) else value:
            _check(member, room - 1)
