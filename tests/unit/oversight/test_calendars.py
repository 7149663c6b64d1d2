"""Whose day it is where, which days are worked, and who is on call when."""

from datetime import date, datetime, timedelta, timezone

import pytest

from muniment.oversight.calendars import Rota, Shift, WorkingDays, local

MONDAY = datetime(2026, 3, 2, 10, tzinfo=timezone.utc)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("start", "days", "due"),
    [
        (MONDAY, 2, MONDAY + 2 * DAY),
        (MONDAY + 3 * DAY, 2, MONDAY + 7 * DAY),  # from Thursday to Monday
        (MONDAY + 5 * DAY, 2, MONDAY + 8 * DAY),  # from Saturday: Monday is the first
        (MONDAY, 0, MONDAY),
    ],
)
def test_working_days_leave_out_the_weekend(start: datetime, days: int, due: datetime) -> None:
    assert WorkingDays().working_days_after(start, days) == due


def test_working_days_leave_out_holidays() -> None:
    calendar = WorkingDays(holidays=frozenset({date(2026, 3, 3), date(2026, 3, 4)}))
    assert calendar.working_days_after(MONDAY, 1) == MONDAY + 3 * DAY


def test_a_working_day_begins_where_the_installation_is() -> None:
    friday_evening = datetime(2026, 3, 6, 18, tzinfo=timezone.utc)  # it is Saturday in Sydney
    calendar = WorkingDays(zone="Australia/Sydney")
    assert calendar.working_days_after(friday_evening, 1) == friday_evening + 2 * DAY


def test_the_time_of_day_stays_when_the_clocks_change() -> None:
    friday = datetime(2026, 3, 27, 9, tzinfo=timezone.utc)
    due = WorkingDays(zone="Europe/Berlin").working_days_after(friday, 1)
    assert due == datetime(2026, 3, 30, 8, tzinfo=timezone.utc)


def test_a_calendar_without_any_working_day_still_ends() -> None:
    assert WorkingDays(days=()).working_days_after(MONDAY, 2) == MONDAY + 62 * DAY


@pytest.mark.parametrize("zone", ["", "Nowhere/Atall", "../../etc/passwd", "\0", "x" * 5000])
def test_a_zone_that_is_none_is_no_utc(zone: str) -> None:
    assert local(MONDAY, zone) is None


def test_local_time_is_that_of_the_zone() -> None:
    here = local(MONDAY, "Asia/Kolkata")
    assert here is not None
    assert (here.hour, here.minute) == (15, 30)


def test_whoever_is_on_call_is_so_from_the_first_moment_and_not_at_the_last() -> None:
    rota = Rota(
        [Shift(MONDAY, MONDAY + 7 * DAY, "ana"), Shift(MONDAY + DAY, MONDAY + 2 * DAY, "bo")]
    )
    assert rota.who(MONDAY - timedelta(seconds=1)) == frozenset()
    assert rota.who(MONDAY) == {"ana"}
    assert rota.who(MONDAY + DAY) == {"ana", "bo"}
    assert rota.who(MONDAY + 2 * DAY) == {"ana"}
    assert rota.is_on_call("ana", MONDAY + 6 * DAY)
    assert not rota.is_on_call("ana", MONDAY + 7 * DAY)


def test_a_shift_that_ends_before_it_begins_is_none() -> None:
    assert len(Rota([Shift(MONDAY, MONDAY, "ana"), Shift(MONDAY, MONDAY - DAY, "ana")])) == 0
