"""Who is on call, by iCalendar files."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from muniment.errors import ConfigInvalid
from muniment.runtime.on_call import OnCall

WEEKLY = """BEGIN:VEVENT
UID:1@example.com
DTSTART;TZID=Europe/Berlin:20260302T090000
DTEND;TZID=Europe/Berlin:20260309T090000
RRULE:FREQ=WEEKLY;INTERVAL=2
SUMMARY:on call
ATTENDEE:mailto:Ana@Example.com
END:VEVENT"""


def calendar(tmp_path: Path, *events: str, name: str = "rota.ics") -> Path:
    text = "\n".join(("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", *events, "END:VCALENDAR", ""))
    file = tmp_path / name
    file.write_bytes(text.replace("\n", "\r\n").encode())
    return file


def event(*lines: str) -> str:
    return "\n".join(("BEGIN:VEVENT", "UID:2@example.com", *lines, "END:VEVENT"))


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}:00+00:00")


def test_whoever_attends_is_on_call_by_login(tmp_path: Path) -> None:
    on_call = OnCall([calendar(tmp_path, WEEKLY)], {"ana@example.com": "ana"})
    assert not on_call("ana", at("03-02T07:59"))
    assert on_call("ana", at("03-02T08:00"))
    assert on_call("Ana", at("03-09T07:59"))
    assert not on_call("ana", at("03-09T08:00"))
    assert not on_call("bo", at("03-03T08:00"))


def test_a_week_on_call_goes_with_the_clock_on_the_wall(tmp_path: Path) -> None:
    on_call = OnCall([calendar(tmp_path, WEEKLY)], {"ana@example.com": "ana"})
    # summer time begins on the 29th; the shift that begins on the 30th does so at nine, too
    assert not on_call("ana", at("03-30T06:59"))
    assert on_call("ana", at("03-30T07:00"))
    assert on_call("ana", datetime(2036, 3, 18, tzinfo=timezone.utc))


def test_a_login_may_be_a_mail_address_or_the_summary(tmp_path: Path) -> None:
    single = event("DTSTART:20260310T220000Z", "DTEND:20260311T060000Z", "SUMMARY: bo ")
    on_call = OnCall([calendar(tmp_path, WEEKLY, single)])
    assert on_call("ana@example.com", at("03-03T08:00"))
    assert on_call("bo", at("03-10T22:00"))
    assert on_call.who(at("03-10T22:00")) == {"bo"}


def test_a_day_without_hours_is_one_of_the_installation(tmp_path: Path) -> None:
    whole = event("DTSTART;VALUE=DATE:20260401", "DTEND;VALUE=DATE:20260402", "SUMMARY:bo")
    on_call = OnCall([calendar(tmp_path, whole)], zone="Australia/Sydney")
    assert on_call("bo", at("03-31T13:00"))
    assert not on_call("bo", at("03-31T12:59"))
    assert not on_call("bo", at("04-01T13:00"))


def test_a_shift_over_the_end_of_a_month_is_seen_from_both(tmp_path: Path) -> None:
    long = event("DTSTART:20260125T090000Z", "DTEND:20260405T090000Z", "SUMMARY:bo")
    on_call = OnCall([calendar(tmp_path, long)])
    moment = at("01-26T00:00")
    while moment < at("04-05T00:00"):
        assert on_call("bo", moment)
        moment += timedelta(days=1)


def test_who_declined_and_what_was_cancelled_is_not_on_call(tmp_path: Path) -> None:
    times = ("DTSTART:20260310T220000Z", "DTEND:20260311T060000Z")
    declined = event(*times, "SUMMARY:x", "ATTENDEE;PARTSTAT=DECLINED:mailto:bo@example.com",
                     "ATTENDEE:mailto:cy@example.com")  # fmt: skip
    cancelled = event(*times, "SUMMARY:dan", "STATUS:CANCELLED")
    on_call = OnCall([calendar(tmp_path, declined), calendar(tmp_path, cancelled, name="b.ics")])
    assert on_call.who(at("03-10T23:00")) == {"x", "cy@example.com"}


def test_a_shift_that_was_moved_counts_where_it_was_moved_to(tmp_path: Path) -> None:
    series = event("DTSTART:20260302T090000Z", "DTEND:20260302T170000Z", "RRULE:FREQ=DAILY",
                   "SUMMARY:bo", "EXDATE:20260303T090000Z")  # fmt: skip
    moved = event("DTSTART:20260304T190000Z", "DTEND:20260304T200000Z",
                  "RECURRENCE-ID:20260304T090000Z", "SUMMARY:bo")  # fmt: skip
    on_call = OnCall([calendar(tmp_path, series, moved)])
    assert [on_call("bo", at(f"03-0{day}T10:00")) for day in (2, 3, 4, 5)] == [
        True, False, False, True,
    ]  # fmt: skip
    assert on_call("bo", at("03-04T19:30"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no iCalendar file"),
        (b"\0\xff nonsense", "is no iCalendar file"),
        (b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n", "is no iCalendar file"),
        (b"x" * ((4 << 20) + 1), "larger than"),
    ],
)
def test_what_is_no_calendar_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "rota.ics"
    file.write_bytes(content)
    with pytest.raises(ConfigInvalid, match=message):
        OnCall([file])


@pytest.mark.parametrize(
    "rule", ["FREQ=SECONDLY", "FREQ=MINUTELY", "FREQ=DAILY;BYSECOND=1,2", "FREQ=DAILY;BYMINUTE=1"]
)
def test_an_event_that_recurs_without_end_is_refused(rule: str, tmp_path: Path) -> None:
    often = event(
        "DTSTART:20260302T090000Z", "DTEND:20260302T090001Z", f"RRULE:{rule}", "SUMMARY:b"
    )
    with pytest.raises(ConfigInvalid, match="recurs too often"):
        OnCall([calendar(tmp_path, often)])


def test_at_the_end_of_time_nobody_is_on_call(tmp_path: Path) -> None:
    on_call = OnCall([calendar(tmp_path, WEEKLY)], {"ana@example.com": "ana"})
    assert not on_call("ana", datetime(9999, 12, 31, tzinfo=timezone.utc))
    assert not on_call("ana", datetime(1, 1, 1, tzinfo=timezone.utc))


def test_too_many_events_are_refused(tmp_path: Path) -> None:
    single = event("DTSTART:20260310T220000Z", "DTEND:20260311T060000Z", "SUMMARY:bo")
    with pytest.raises(ConfigInvalid, match="more than 5000 events"):
        OnCall([calendar(tmp_path, *[single] * 5001)])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"gone\.ics` cannot be read: No such file"):
        OnCall([tmp_path / "gone.ics"])


def test_without_the_packages_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "recurring_ical_events", None)
    with pytest.raises(ConfigInvalid, match=r"pip install muniment\[calendars\]"):
        OnCall([calendar(tmp_path, WEEKLY)])
