"""Whose day it is where, which days are worked, and who is on call when."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_DAY: Final = timedelta(days=1)
#: no calendar has this many days off in a row; one that has is not believed
_MOST_DAYS_OFF: Final = 60


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo | None:
    """None where there is no zone of this name."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def local(at: datetime, zone: str) -> datetime | None:
    """What the clock on the wall says there; None where nobody knows where that is."""
    found = zone_of(zone)
    return None if found is None else at.astimezone(found)


@dataclass(frozen=True, kw_only=True)
class WorkingDays:
    """Which days are worked, and where: `Surroundings` of detectors."""

    zone: str = "UTC"
    #: 1 is Monday
    days: tuple[int, ...] = (1, 2, 3, 4, 5)
    holidays: frozenset[date] = frozenset()

    def is_worked(self, day: date) -> bool:
        return day.isoweekday() in self.days and day not in self.holidays

    def working_days_after(self, at: datetime, days: int) -> datetime:
        """
        The same time of day, so many working days later: from Friday, one later is Monday.

        Where nothing was worked for two months, all days count: what is due has to come.
        """
        there = local(at, self.zone) or at.astimezone(timezone.utc)
        off = 0
        while days > 0:
            there += _DAY
            if self.is_worked(there.date()) or off >= _MOST_DAYS_OFF:
                days -= 1
            else:
                off += 1
        return there.astimezone(timezone.utc)


@dataclass(frozen=True, slots=True, order=True)
class Shift:
    """Somebody is on call, from then to then."""

    start: datetime
    until: datetime
    #: as the calendar names them: a login
    who: str


class Rota:
    """Who is on call when. Shifts may overlap."""

    def __init__(self, shifts: Iterable[Shift]) -> None:
        self._shifts = sorted(shift for shift in shifts if shift.start < shift.until)
        self._starts = [shift.start for shift in self._shifts]
        self._longest = max((s.until - s.start for s in self._shifts), default=timedelta(0))

    def __len__(self) -> int:
        return len(self._shifts)

    def who(self, at: datetime) -> frozenset[str]:
        """Everybody who is on call at that moment."""
        found = set()
        for index in range(bisect_right(self._starts, at) - 1, -1, -1):
            shift = self._shifts[index]
            if shift.start + self._longest <= at:
                break
            if at < shift.until:
                found.add(shift.who)
        return frozenset(found)

    def is_on_call(self, who: str, at: datetime) -> bool:
        return who in self.who(at)
