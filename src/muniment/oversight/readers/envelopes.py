"""
What carries the messages of programs: the journal of systemd, and syslog in its three forms.

The journal knows by itself which process wrote a line. In syslog the sender says so, and every
account of a machine may write with any name: `Message.trusted` is the difference.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Final, Protocol

from muniment.errors import ConfigInvalid, Unreadable
from muniment.oversight.event import MAX_RECORD
from muniment.oversight.readers.border import (
    Lines,
    moment,
    moment_since_epoch,
    opened,
    plain,
    table,
    text_within,
)
from muniment.oversight.readers.options import Options

_MICROSECONDS: Final = 1_000_000
_ROOT: Final = "0"
#: where programs lie that only root can put there
_OF_THE_SYSTEM = ("/usr/", "/bin/", "/sbin/", "/lib/", "/nix/store/")
_FRAME = re.compile(rb"([1-9]\d{0,6}) (?=<)")
_FRAME_BEGINS = re.compile(rb"[1-9]\d{0,6} ?")
_PRIORITY = re.compile(r"<(\d{1,3})>")
_NEW = re.compile(r"<\d{1,3}>1 ")
#: as RFC 3164 has it, or with an ISO 8601 moment in its place, as Debian's rsyslog writes
_OLD = re.compile(
    r"(?P<at>\d{4}-\d\d-\d\dT[\d:.]++(?:Z|[+-]\d\d:\d\d)|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)"
    r" (?P<host>\S{1,255}+) (?P<program>[^\[: ]{1,128}+)(?:\[(?P<pid>\d{1,10})\])?: ?(?P<text>.*)",
    re.DOTALL,
)
_ZONE = re.compile(r"([+-])(\d\d):(\d\d)")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HALF_A_YEAR = 6
#: whatever ends a line or a text somewhere; a frame has one line
_BREAKS = re.compile("[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one program said."""

    at: datetime
    host: str
    program: str
    pid: str
    text: str
    #: whether the machine vouches that this program wrote it, and that it ran as root
    trusted: bool
    root: bool


class Envelope(Protocol):
    """Takes messages out of what carries them."""

    def cut(self, buffer: bytes) -> tuple[list[bytes], bytes]: ...

    def unpack(self, body: bytes) -> list[bytes]: ...

    def message(self, record: bytes) -> Message:
        """Raises `Unreadable`."""
        ...


def envelope(options: Options) -> Envelope:
    """As the options `envelope`, `year` and `utc_offset` say. Raises `ConfigInvalid`."""
    year, zone = options.number("year"), options.text("utc_offset", "+00:00")
    if options.choice("envelope", ("journald", "syslog"), "journald") == "journald":
        return Journal()
    found = _ZONE.fullmatch(zone)
    if found is None:
        raise options.wrong('`utc_offset` is as in `utc_offset = "+01:00"`')
    offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return Syslog(year, -offset if found[1] == "-" else offset)


class Journal:
    """Lines of `journalctl -o json`. Fields with a `_` in front are the journal's own."""

    def __init__(self) -> None:
        self._lines = Lines()

    def cut(self, buffer: bytes) -> tuple[list[bytes], bytes]:
        return self._lines.cut(buffer)

    def unpack(self, body: bytes) -> list[bytes]:
        records, rest = Lines().cut(opened(body))
        return [*records, rest] if rest else records

    def message(self, record: bytes) -> Message:
        entry = table(record)
        at = entry.get("_SOURCE_REALTIME_TIMESTAMP") or entry.get("__REALTIME_TIMESTAMP")
        program = text_within(entry, "_COMM")
        root = text_within(entry, "_UID") == _ROOT
        return Message(
            at=moment_since_epoch(at, _MICROSECONDS),
            host=text_within(entry, "_HOSTNAME"),
            program=program,
            pid=text_within(entry, "_PID"),
            text=_said(entry.get("MESSAGE")),
            trusted=_is(program, text_within(entry, "_EXE"), root=root),
            root=root,
        )


def _is(program: str, file: str, *, root: bool) -> bool:
    """Every process may give itself a name; the file that it runs, and as whom, it may not."""
    if not file:
        # It had ended before the journal could look.
        return root
    return file.rpartition("/")[2] == program and file.startswith(_OF_THE_SYSTEM)


def _said(value: Any) -> str:
    """A text with control characters comes as a list of its bytes; one that is too long as null."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(type(each) is int and 0 <= each < 256 for each in value):  # noqa: PLR2004 - of a byte
        return bytes(value).decode("utf-8", "replace")
    if value is None:
        raise Unreadable("it has no text: let journalctl run with `--all`")
    raise Unreadable("it has more than one text")


class _Frames:
    """A stream with a frame a line, or with frames behind their length (RFC 6587)."""

    def __init__(self) -> None:
        self._lines = Lines()
        #: bytes of a frame that was given up
        self._passing = 0

    def cut(self, buffer: bytes) -> tuple[list[bytes], bytes]:
        passed = min(self._passing, len(buffer))
        self._passing -= passed
        at = passed
        records: list[bytes] = []
        while found := _FRAME.match(buffer, at):
            start, end = found.end(), found.end() + int(found[1])
            if len(buffer) < end and end - start <= MAX_RECORD:
                return records, buffer[at:]
            records.append(buffer[start:end])
            self._passing = max(0, end - len(buffer))
            at = end
            while buffer[at : at + 1] == b"\n":
                at += 1
        if self._passing or at >= len(buffer):
            return records, b""
        if _FRAME_BEGINS.fullmatch(buffer, at):
            return records, buffer[at:]
        lines, rest = self._lines.cut(buffer[at:])
        return records + lines, rest


class Syslog:
    """Frames of syslog: RFC 5424, RFC 3164, and lines of a file that rsyslog wrote."""

    def __init__(self, year: int | None, offset: timedelta) -> None:
        self._frames = _Frames()
        self._offset = offset
        self._year = year
        self._month = 0
        self._parse = _parser()

    def cut(self, buffer: bytes) -> tuple[list[bytes], bytes]:
        return self._frames.cut(buffer)

    def unpack(self, body: bytes) -> list[bytes]:
        records, rest = _Frames().cut(opened(body))
        return [*records, rest] if rest else records

    def message(self, record: bytes) -> Message:
        if len(record) > MAX_RECORD:
            raise Unreadable("it is longer than a record may be")
        # What looks like the end of a line inside of a frame is none.
        text = _BREAKS.sub("\ufffd", record.decode("utf-8", "replace").rstrip("\r\n"))
        if _NEW.match(text):
            return self._new(text)
        found = _OLD.fullmatch(text, (priority.end() if (priority := _PRIORITY.match(text)) else 0))
        if found is None:
            raise Unreadable("it is no frame of syslog")
        return Message(
            at=self._moment(found["at"]),
            host=plain(found["host"]),
            program=plain(found["program"]),
            pid=found["pid"] or "",
            text=found["text"],
            trusted=False,
            root=False,
        )

    def _new(self, text: str) -> Message:
        """RFC 5424."""
        frames = self._parse(text, raw=True, quiet=True)
        if len(frames) != 1 or "unparsable" in frames[0]:
            raise Unreadable("it is no frame of RFC 5424")
        frame = frames[0]
        said = frame["message"] or ""
        # The parser takes a frame for whole where its structured data ends too early.
        end = said or frame["structured_data"] or "-"
        if not (text if said else text.rstrip()).endswith(end):
            raise Unreadable("it is no frame of RFC 5424")
        return Message(
            at=moment(frame["timestamp"]),
            host=plain(frame["hostname"]),
            program=plain(frame["appname"]),
            pid=plain(frame["proc_id"]),
            text=said.removeprefix("\ufeff"),
            trusted=False,
            root=False,
        )

    def _moment(self, text: str) -> datetime:
        if text[0].isdigit():
            return moment(text)
        if self._year is None:
            raise Unreadable("its time has no year: set `year`, or let rsyslog write whole moments")
        month = _MONTHS.index(text[:3]) + 1 if text[:3] in _MONTHS else 0
        year = self._year_of(month)
        try:
            day, clock = int(text[4:6]), text[7:]
            at = datetime.fromisoformat(f"{year:04}-{month:02}-{day:02}T{clock}+00:00")
            return (at - self._offset).astimezone(timezone.utc)
        except (ValueError, OverflowError):
            raise Unreadable("its time is no moment") from None

    def _year_of(self, month: int) -> int:
        """Lines come in their order, but for a few; behind December comes January."""
        year = self._year or 0
        if self._month and month and month - self._month > _HALF_A_YEAR:
            return year - 1
        if self._month and month and self._month - month > _HALF_A_YEAR:
            year += 1
        self._year, self._month = year, month or self._month
        return year


class _Parse(Protocol):
    def __call__(self, data: str, *, raw: bool, quiet: bool) -> list[dict[str, Any]]: ...


def _parser() -> _Parse:
    try:
        from jc.parsers.syslog import parse  # noqa: PLC0415 - of the extra `syslog`
    except ImportError:
        raise ConfigInvalid("syslog needs a parser: pip install muniment[syslog]") from None
    return parse  # type: ignore[no-any-return,unused-ignore]  # its types are those of old Python
