"""One way to write a moment: UTC, exactly three decimals, `2026-11-21T10:00:00.000Z`."""

import re
from datetime import UTC, datetime, timedelta

from muniment.errors import NotCanonical

_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z", re.ASCII)


def text(at: datetime) -> str:
    """Digits beyond the millisecond are cut, never rounded up into the future."""
    if at.tzinfo is None:
        raise NotCanonical("a moment without a time zone")
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    return f"{at.isoformat(timespec='milliseconds')[:-6]}Z"


def parse(value: object) -> datetime:
    """Raises `NotCanonical` for every form but the one that `text` writes."""
    if not isinstance(value, str) or not _FORM.match(value):
        raise NotCanonical(f"not a moment: `{value!r:.40}`")
    try:
        return datetime.fromisoformat(value)
    except ValueError as error:
        raise NotCanonical(f"not a moment: `{value}`") from error


def whole(at: datetime) -> datetime:
    """The same moment, cut to the millisecond, so that it equals what is read back."""
    return at - timedelta(microseconds=at.microsecond % 1000)
