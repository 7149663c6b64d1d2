"""
Who is on call, by iCalendar files: a shift is an event that names its people.

An event names people by the mail addresses of its attendees, or by a summary that is a login. What
recurs is expanded month by month, as far as somebody asks.
"""

import importlib
import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any, Final

from muniment.errors import ConfigInvalid
from muniment.oversight.calendars import Rota, Shift, zone_of
from muniment.runtime import clock

_log = logging.getLogger(__name__)

_MOST_BYTES: Final = 4 << 20
_MOST_EVENTS: Final = 5000
#: shifts in a month, people of an event, months that are remembered
_MOST_SHIFTS: Final = 20_000
_MOST_PEOPLE: Final = 50
_MOST_MONTHS: Final = 150
#: what recurs more often than each hour is no shift, and would be expanded for ever
_TOO_OFTEN: Final = ("SECONDLY", "MINUTELY")
_LACKING: Final = "`detect.on_call` needs more packages: pip install muniment[calendars]"


class OnCall:
    """Calendars, asked by login. They are read once; a reload reads them anew."""

    def __init__(
        self, files: Sequence[Path], mails: Mapping[str, str] | None = None, zone: str = "UTC"
    ) -> None:
        """
        `mails` leads from addresses to logins; `zone` is where a time without a zone is meant.

        Raises `ConfigInvalid`, naming the file, for what is no calendar.
        """
        try:
            self._calendar = importlib.import_module("icalendar").Calendar
            self._recurring = importlib.import_module("recurring_ical_events")
        except ImportError as error:
            raise ConfigInvalid(_LACKING) from error
        self._logins = {mail.casefold(): login for mail, login in (mails or {}).items()}
        self._zone = zone_of(zone) or timezone.utc
        self._read = {file.name: self._parse(file) for file in files}
        self._months: OrderedDict[tuple[int, int], Rota] = OrderedDict()
        for month in _next_months(clock.now()):  # what cannot be expanded is said now, not at night
            self._months[month] = Rota(self._shifts(*month))

    def __call__(self, login: str, at: datetime) -> bool:
        return login.casefold() in self.who(at)

    def who(self, at: datetime) -> frozenset[str]:
        """Logins, and whatever else the events name, in small letters."""
        at = at.astimezone(timezone.utc)
        return self._of((at.year, at.month)).who(at)

    def _parse(self, file: Path) -> Any:
        try:
            with file.open("rb") as opened:
                content = opened.read(_MOST_BYTES + 1)
        except OSError as error:
            raise ConfigInvalid(f"`{file}` cannot be read: {error.strerror}") from error
        if len(content) > _MOST_BYTES:
            raise ConfigInvalid(f"`{file.name}` is larger than {_MOST_BYTES} bytes")
        try:
            calendar = self._calendar.from_ical(content)
            events = calendar.walk("VEVENT")
            self._check(events, file.name)
            return self._recurring.of(calendar)
        except ConfigInvalid:
            raise
        except Exception as error:
            # two packages and their parsers raise what they like on a broken file
            raise ConfigInvalid(f"`{file.name}` is no iCalendar file") from error

    def _check(self, events: Sequence[Any], name: str) -> None:
        if len(events) > _MOST_EVENTS:
            raise ConfigInvalid(f"`{name}` has more than {_MOST_EVENTS} events")
        for event in events:
            rules = event.get("RRULE", [])
            for rule in rules if isinstance(rules, list) else [rules]:
                often = {str(each).upper() for each in rule.get("FREQ", [])}
                if often & set(_TOO_OFTEN) or rule.get("BYSECOND") or rule.get("BYMINUTE"):
                    raise ConfigInvalid(f"`{name}`: an event recurs too often to be a shift")

    def _of(self, month: tuple[int, int]) -> Rota:
        known = self._months.get(month)
        if known is None:
            known = self._months[month] = self._expanded(month)
            if len(self._months) > _MOST_MONTHS:
                self._months.popitem(last=False)
        return known

    def _expanded(self, month: tuple[int, int]) -> Rota:
        """Nobody is on call in a month that cannot be expanded: that silences no detector."""
        try:
            return Rota(self._shifts(*month))
        except (ConfigInvalid, OverflowError) as error:
            _log.warning("who is on call in %d-%02d is not known: %s", *month, error)
            return Rota(())

    def _shifts(self, year: int, month: int) -> Iterator[Shift]:
        """A day more at both ends: a date without a time is a day of some zone."""
        start = datetime(year, month, 1, tzinfo=timezone.utc)
        until = start + timedelta(days=33)
        start -= timedelta(days=1)
        count = 0
        for name, calendar in self._read.items():
            try:
                events = calendar.between(start, until)
            except Exception as error:
                # what recurs by a rule that is none is found out only now
                raise ConfigInvalid(f"`{name}` has an event that cannot be expanded") from error
            for event in events:
                for shift in self._of_event(event):
                    count += 1
                    if count > _MOST_SHIFTS:
                        raise ConfigInvalid(f"`{name}` has too many shifts in a month")
                    yield shift

    def _of_event(self, event: Any) -> Iterator[Shift]:
        if str(event.get("STATUS", "")).upper() == "CANCELLED":
            return
        start, until = self._moment(event.start), self._moment(event.end)
        for who in self._people(event):
            yield Shift(start, until, who)

    def _people(self, event: Any) -> frozenset[str]:
        given = event.get("ATTENDEE", [])
        attendees = given if isinstance(given, list) else [given]
        found = {str(event.get("SUMMARY", "")).strip().casefold()}
        for attendee in attendees[:_MOST_PEOPLE]:
            if str(attendee.params.get("PARTSTAT", "")).upper() == "DECLINED":
                continue
            mail = str(attendee).strip().casefold().removeprefix("mailto:")
            found.add(self._logins.get(mail, mail).casefold())
        return frozenset(found - {""})

    def _moment(self, at: date | datetime) -> datetime:
        if not isinstance(at, datetime):
            at = datetime.combine(at, time())
        return (at if at.tzinfo is not None else at.replace(tzinfo=self._zone)).astimezone(
            timezone.utc
        )


def _next_months(now: datetime) -> Iterator[tuple[int, int]]:
    """A year, from this month on."""
    for month in range(now.month - 1, now.month + 12):
        yield now.year + month // 12, month % 12 + 1
