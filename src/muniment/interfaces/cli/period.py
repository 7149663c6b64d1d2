"""A period, or a moment, as somebody types it: whole days are those of UTC."""

from datetime import date, datetime, timedelta, timezone

from muniment.errors import Malformed


def whole_days(text: str) -> tuple[datetime, datetime]:
    """
    `2026`, `2026-Q3`, `2026-07`, or `2026-01-01..2026-12-31` with its last day.

    Raises `Malformed` with an example.
    """
    try:
        first, dots, last = text.strip().partition("..")
        if dots:
            start, stop = date.fromisoformat(first), date.fromisoformat(last) + timedelta(days=1)
        elif "-Q" in first:
            year, _, quarter = first.partition("-Q")
            month = 3 * (("1", "2", "3", "4").index(quarter)) + 1
            start = date(int(year), month, 1)
            stop = _month_after(start, 3)
        elif "-" in first:
            start = date.fromisoformat(f"{first}-01")
            stop = _month_after(start, 1)
        else:
            start, stop = date(int(first), 1, 1), date(int(first) + 1, 1, 1)
    except (ValueError, OverflowError):
        raise Malformed(
            f"not a period: `{text:.40}`; write 2026, 2026-Q3, 2026-07 or 2026-01-01..2026-06-30"
        ) from None
    if stop <= start:
        raise Malformed(f"the period `{text:.40}` ends before it begins")
    return _midnight(start), _midnight(stop)


def a_moment(text: str) -> str:
    """
    Of `2026-06-01`, where that day begins in UTC, or of `2026-06-01T08:00Z`.

    As the service reads it. Raises `Malformed` with an example.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Malformed(f"no moment: `{text:.40}`; write 2026-06-01 or 2026-06-01T08:00Z") from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=timezone.utc)).isoformat()


def _month_after(first: date, months: int) -> date:
    years, month = divmod(first.month - 1 + months, 12)
    return date(first.year + years, month + 1, 1)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
