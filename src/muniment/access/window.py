"""Lengths of time as people write them: `90s`, `30m`, `1h30m`, `2d`."""

import re

from muniment.errors import Malformed

_FORM = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?\Z", re.ASCII)
_UNITS = (86_400, 3_600, 60, 1)


def seconds(text: str) -> int:
    """Raises `Malformed` with an example."""
    found = _FORM.match(text.strip())
    if found is None or not any(found.groups()):
        raise Malformed(f"not a length of time: `{text:.40}`; write for example 30m, 1h30m or 90s")
    return sum(int(n) * unit for n, unit in zip(found.groups(), _UNITS, strict=True) if n)


def text(length: int) -> str:
    """The shortest way to write it."""
    parts = []
    for letter, unit in zip("dhms", _UNITS, strict=True):
        count, length = divmod(length, unit)
        if count:
            parts.append(f"{count}{letter}")
    return "".join(parts) or "0s"
