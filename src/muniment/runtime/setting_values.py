"""How values are written in `muniment.toml`: lengths, sizes, names, references to secrets."""

from datetime import timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from muniment.access.window import seconds
from muniment.errors import Malformed


def _length(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    try:
        return timedelta(seconds=seconds(str(value)))
    except Malformed as error:
        raise ValueError(str(error)) from error


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"there is no time zone `{value}`") from error
    return value


def _reference(value: str) -> str:
    if not value.startswith(("env:", "file:")):
        raise ValueError("write a reference, `env:NAME` or `file:PATH`, not the secret")
    return value


def _size(value: object) -> int:
    units = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    text = str(value)
    for unit, factor in units.items():
        if text.endswith(unit) and text.removesuffix(unit).strip().isdecimal():
            return int(text.removesuffix(unit)) * factor
    raise ValueError(f"not a size: `{text}`; write for example `64MiB`")


Length = Annotated[timedelta, BeforeValidator(_length)]
Size = Annotated[int, BeforeValidator(_size)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
#: never the secret itself: what is refused is not repeated
Reference = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_reference)]
Prefix = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{1,7}$")]
#: a time zone by its name, as in `Europe/Berlin`
Zone = Annotated[str, AfterValidator(_zone)]
