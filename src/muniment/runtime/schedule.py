"""When something comes round again: a rule of RFC 5545, counted from its first day, in UTC."""

import re
from datetime import UTC, date, datetime, time
from typing import Final

from dateutil.rrule import rrule, rrulestr

from muniment.errors import Malformed

#: more often than daily is no review, and would be long to count
_RULE: Final = re.compile(r"FREQ=(DAILY|WEEKLY|MONTHLY|YEARLY)(;[A-Z]+=[A-Z0-9,+-]+)*", re.ASCII)
_PARTS: Final = frozenset(
    ("INTERVAL", "BYDAY", "BYMONTHDAY", "BYMONTH", "BYSETPOS", "WKST", "COUNT", "UNTIL")
)
#: years that are counted; no rule is older
_SINCE: Final = 2000


def check_schedule(schedule: str, starts: date) -> None:
    """Raises `Malformed` saying what to write."""
    _rule(schedule, starts)


def latest(schedule: str, starts: date, now: datetime) -> datetime | None:
    """The newest time that has come by now; None before the first."""
    found = _rule(schedule, starts).before(now.astimezone(UTC).replace(tzinfo=None), inc=True)
    return None if found is None else found.replace(tzinfo=UTC)


def coming(schedule: str, starts: date, now: datetime) -> datetime | None:
    """The next time; None where there is none any more."""
    found = _rule(schedule, starts).after(now.astimezone(UTC).replace(tzinfo=None))
    return None if found is None else found.replace(tzinfo=UTC)


def _rule(schedule: str, starts: date) -> rrule:
    named = [part.partition("=")[0] for part in schedule.split(";")[1:]]
    if not _RULE.fullmatch(schedule) or not set(named) <= _PARTS or starts.year < _SINCE:
        raise Malformed(
            f"`{schedule!a:.60}` is no schedule: write for example `FREQ=MONTHLY;INTERVAL=3`"
        )
    try:
        found = rrulestr(schedule, dtstart=datetime.combine(starts, time()), cache=True)
    except (ValueError, TypeError, OverflowError) as error:
        raise Malformed(f"`{schedule}` is no schedule: {error}") from error
    if not isinstance(found, rrule):
        raise Malformed(f"`{schedule}` is more than one schedule")
    return found
