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
from typing import Literal

from muniment.errors import Unreadable
from muniment.oversight.readers.postgresql_line import COLUMNS, Zones
from muniment.oversight.readers.sql import without_passwords
from muniment.ports import Activity

_FIELD = re.compile(r'(?:"((?:[^"]|"")*)"|([^,]*))(?:,|\Z)', re.DOTALL)
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
    zones = Zones()
    for line in _json_lines(lines) if form == "jsonlog" else _csv_lines(lines):
        grant = grant_of(_text(line, "user"))
        action, detail = _what(line) if grant else ("", "")
        if not action:
            continue
        try:
            at = zones.moment(line)
        except Unreadable:
            continue
        yield Activity(
            grant=grant,
            at=at,
            session=_text(line, "session_id"),
            action=action,
            detail=without_passwords(detail),
        )


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
        if len(fields) > len(COLUMNS):
            yield dict(zip(COLUMNS, fields, strict=False))


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
