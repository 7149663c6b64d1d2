"""
Reads a PostgreSQL's own log (jsonlog or csvlog) for the lines of grants.

The grant comes from the user field, which the server fills. `application_name` and the text of
statements are the client's and name nobody. Text that a holder can put into a message (`RAISE LOG`)
carries a context, so that it never passes for a login or logout. A csvlog must be given from the
beginning of a record: inside a quoted statement a holder can write what looks like another line.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Literal

from muniment.ports import Activity

#: columns of csvlog, as in the manual of PostgreSQL 15 to 18, by their names in jsonlog
_COLUMNS = (
    "timestamp", "user", "dbname", "pid", "remote", "session_id", "line_num", "ps",
    "session_start", "vxid", "txid", "error_severity", "state_code", "message", "detail", "hint",
    "internal_query", "internal_position", "context", "statement", "cursor_position", "location",
    "application_name", "backend_type", "leader_pid", "query_id",
)  # fmt: skip
_FIELD = re.compile(r'(?:"((?:[^"]|"")*)"|([^,]*))(?:,|\Z)', re.DOTALL)
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) ?(.*)")
_STATEMENT = re.compile(
    r"(?:duration: [\d.]+ ms +)?(?:statement|execute [^:]*|AUDIT): (.*)", re.DOTALL
)
#: a login that failed: wrong password, no such role, too many sessions, no right to the database
_REFUSALS = ("28P01", "28000", "53300", "3D000", "55000")
_KILLED = "57P01"
_LOUD = ("WARNING", "ERROR", "FATAL", "PANIC")

_Line = Mapping[str, object]


def read_log(
    lines: Iterable[str],
    form: Literal["jsonlog", "csvlog", "none"],
    grant_of: Callable[[str], str],
) -> Iterator[Activity]:
    """The activity of grants, in the log's order. A line that is cut off is left out."""
    if form == "none":
        return
    zones = _Zones()
    for line in _json_lines(lines) if form == "jsonlog" else _csv_lines(lines):
        grant = grant_of(_text(line, "user"))
        action, detail = _what(line) if grant else ("", "")
        at = zones.moment(line) if action else None
        if at is not None:
            session = _text(line, "session_id")
            yield Activity(grant=grant, at=at, session=session, action=action, detail=detail)


def _json_lines(lines: Iterable[str]) -> Iterator[_Line]:
    for text in lines:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            yield line


def _csv_lines(lines: Iterable[str]) -> Iterator[_Line]:
    record = ""
    for text in lines:
        record += text if text.endswith("\n") else text + "\n"
        # Inside a quoted field a line break belongs to the text; quotes in it are doubled.
        if record.count('"') % 2:
            continue
        fields = [
            quoted.replace('""', '"') or plain
            for quoted, plain in _FIELD.findall(record.removesuffix("\n"))
        ]
        record = ""
        # The pattern finds one more, empty, field at the very end.
        if len(fields) > len(_COLUMNS):
            yield dict(zip(_COLUMNS, fields, strict=False))


def _text(line: _Line, name: str) -> str:
    value = line.get(name, "")
    return value if isinstance(value, str) else ""


def _what(line: _Line) -> tuple[str, str]:
    """Action and detail of one line; no action if the line says nothing of its own."""
    severity, message = _text(line, "error_severity"), _text(line, "message")
    state = _text(line, "state_code")
    if severity == "FATAL" and state == _KILLED:
        return "killed", message
    if severity == "FATAL" and state in _REFUSALS:
        return "refused", message
    if severity in _LOUD:
        return "error", message
    if severity != "LOG":
        return "", ""
    return _logged(message, own=not _text(line, "context"))


def _logged(message: str, *, own: bool) -> tuple[str, str]:
    """What a message of severity LOG means; `own` if it is the server's and not a function's."""
    if own and message.startswith("connection authorized:"):
        return "login", message
    if own and message.startswith("disconnection:"):
        return "logout", message
    if own and (statement := _STATEMENT.fullmatch(message)):
        return "statement", statement[1]
    return ("", "") if own else ("statement", message)


class _Zones:
    """
    Learns what the log's time zone names mean.

    A log writes local time with an abbreviation that may mean several zones. The session id holds
    the session's start as a count of seconds, and beside it stands the same moment in local time.
    """

    def __init__(self) -> None:
        self._offsets: dict[str, timedelta] = {"UTC": timedelta(), "GMT": timedelta()}

    def moment(self, line: _Line) -> datetime | None:
        at, started = (_MOMENT.match(_text(line, name)) for name in ("timestamp", "session_start"))
        if at is None or started is None:
            return None
        since_epoch = _text(line, "session_id").partition(".")[0]
        try:
            start = datetime.fromtimestamp(int(since_epoch, 16), timezone.utc)
        except (ValueError, OverflowError, OSError):
            return None
        offset = _local(started) - start
        self._offsets[started[2]] = offset
        return _local(at) - self._offsets.get(at[2], offset)


def _local(moment: re.Match[str]) -> datetime:
    """The moment as if its zone were UTC."""
    return datetime.fromisoformat(moment[1]).replace(tzinfo=timezone.utc)
