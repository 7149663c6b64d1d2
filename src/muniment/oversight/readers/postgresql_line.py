"""
What a line of PostgreSQL's own log means: the same, whether it came as JSON or as CSV.

The account comes from the user field, which the server fills. `application_name` and the text of
statements are the client's, and lead to nobody. What a holder can put into a message (`RAISE LOG`)
carries a context, so that it never passes for a login, a logout or a line of pgaudit; with
`log_error_verbosity = terse` the server leaves that out, and a holder can forge lines of their own
session.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from muniment.errors import Unreadable
from muniment.oversight.event import Event
from muniment.oversight.readers.border import plain, prose
from muniment.oversight.readers.options import OwnAccounts
from muniment.oversight.readers.sql import (
    ACCESS_COMMANDS,
    Said,
    has_password,
    is_logging,
    said,
    without_passwords,
)

#: columns of csvlog, as in the manual of PostgreSQL 12 to 18, by their names in jsonlog
COLUMNS = (
    "timestamp", "user", "dbname", "pid", "remote", "session_id", "line_num", "ps",
    "session_start", "vxid", "txid", "error_severity", "state_code", "message", "detail", "hint",
    "internal_query", "internal_position", "context", "statement", "cursor_position", "location",
    "application_name", "backend_type", "leader_pid", "query_id",
)  # fmt: skip
#: a session that the server did not let begin: wrong password, no such role, too many sessions
_REFUSALS = frozenset((
    "28P01", "28000", "53300", "3D000", "55000", "57P03", "42501",
))  # fmt: skip
#: a session that the server ended: by order, in a crash, idle for too long, its database dropped
_KILLED = frozenset(("57P01", "57P02", "57P04", "57P05", "25P03", "25P04"))
_AUTHORIZED = ("connection authorized: user=", "replication connection authorized: user=")
#: sayings of the server about a connection that are nothing more
_KNOWN = ("connection received", "connection authenticated", "connection ready")
_DURATION = re.compile(r"duration: [\d.]++ ms(?:  (?=\S))?")
_PARAMETER = re.compile(r'parameter "([^"]++)" (?:changed to|removed from)')
_AUDITED = re.compile(
    r"AUDIT: (?:SESSION|OBJECT),\d++,\d++,([A-Z_]*+),([^,\"]*+),([^,\"]*+),"
    r'(?:"([^"]*+(?:""[^"]*+)*+)"|([^,"]*+)),(?:"([^"]*+(?:""[^"]*+)*+)"|([^,"]*+)),',
)
#: classes of pgaudit that the text of a statement says nothing more about
_PLAIN_CLASSES = ("READ", "WRITE", "FUNCTION")
#: begins a statement that is read for itself where a client could have put it into a name
_MOST_NAMES: Final = 8

Line = Mapping[str, Any]


class PostgresLines:
    """Reads the lines of one server, in their order."""

    def __init__(self, prefix: str) -> None:
        self._own = OwnAccounts(prefix)
        self._zones = Zones()

    def event(self, line: Line, host: str) -> Event:
        """`host` is where the client is: without its port, or `[local]`."""
        if not isinstance(line.get("error_severity"), str):
            raise Unreadable("it is no line of PostgreSQL's log")
        account = plain(line.get("user"))
        type, action, object, detail = _meaning(line)
        return Event(
            type=type,
            at=self._zones.moment(line),
            account=account,
            session=plain(line.get("session_id")),
            client=plain(host),
            action=plain(action),
            object=plain(object),
            failed=type in ("error", "session.refused"),
            detail=prose(detail),
            keys=self._own.keys(account),
        )


_Meaning = tuple[str, str, str, str]


def _text(line: Line, name: str) -> str:
    value = line.get(name)
    return value if isinstance(value, str) else ""


def _meaning(line: Line) -> _Meaning:
    """Type, action, object and detail."""
    severity, message = line["error_severity"], _text(line, "message")
    if severity == "LOG":
        if line.get("context"):
            return "other", "LOG", "", without_passwords(message)
        return _logged(line, message)
    if severity in ("FATAL", "PANIC", "ERROR"):
        return _failure(line, severity, message)
    if message.startswith("AUDIT: ") and not line.get("context"):
        # pgaudit may be told to write at another level
        return _audited(message)
    return "other", severity, "", without_passwords(message)


def _failure(line: Line, severity: str, message: str) -> _Meaning:
    state, why = _text(line, "state_code"), _text(line, "detail")
    if severity == "FATAL" and state in _KILLED:
        return "session.killed", state, "", message
    if severity == "FATAL" and state in _REFUSALS:
        return "session.refused", state, "", f"{message}: {why}" if why else message
    statement = _text(line, "statement")
    if not statement:
        return "error", state or severity, "", without_passwords(message)
    tried = said(statement)
    if has_password(statement):
        # The message may quote the very word that was mistaken for something else.
        message = f"{severity} {state}"
    return "error", tried.action, tried.object, f"{message}: {without_passwords(statement)}"


def _logged(line: Line, message: str) -> _Meaning:
    """What the server says of itself, and of what it was sent."""
    if message.startswith("AUDIT: "):
        return _audited(message)
    if message.startswith("statement: "):
        return _stated(said(message[11:]), message[11:])
    if message.startswith(("execute ", "duration: ")):
        return _timed(line, message)
    return _of_connection(line, message) or ("other", "LOG", "", without_passwords(message))


def _of_connection(line: Line, message: str) -> _Meaning | None:
    """What the server says of a connection, or of itself."""
    user = _text(line, "user")
    if message.startswith(_AUTHORIZED) and message.partition("user=")[2].startswith(user):
        return "session.opened", "connection authorized", _text(line, "dbname"), message
    if message.startswith("disconnection: ") and f" user={user} " in message:
        return "session.closed", "disconnection", _text(line, "dbname"), message
    if not user and (found := _PARAMETER.match(message)):
        changed = "logging.changed" if is_logging(found[1]) else "other"
        return changed, "parameter", found[1], message
    known = next((each for each in _KNOWN if message.startswith(each)), "")
    return ("other", known, "", message) if known else None


def _stated(what: Said, statement: str) -> _Meaning:
    return what.type, what.action, what.object, without_passwords(statement)


def _timed(line: Line, message: str) -> _Meaning:
    """A statement with its duration, or one that was prepared; the client may name the latter."""
    if found := _DURATION.match(message):
        message = message[found.end() :]
        if not message:
            return "other", "duration", "", found[0]
    if message.startswith("statement: "):
        return _stated(said(message[11:]), message[11:])
    # What runs is in the server's own words; where it says nothing, the text has to do.
    command = _text(line, "ps")
    command = command if command.isupper() else ""
    if not message.startswith("execute "):
        # `parse` and `bind` only prepare
        return "other", message.partition(" ")[0], "", without_passwords(message)
    texts = _behind_names(message)
    found_in = [what for text in texts if (what := said(text, command)).object]
    if not found_in:
        return _stated(said(texts[0] if texts else "", command), texts[0] if texts else message)
    return _stated(found_in[0], message.partition(": ")[2])


def _behind_names(message: str) -> list[str]:
    """Every text that may be the statement, where a name may hold what looks like one."""
    texts: list[str] = []
    for _ in range(_MOST_NAMES):
        _, colon, message = message.partition(": ")
        if not colon:
            break
        texts.append(message)
    return texts


def _audited(message: str) -> _Meaning:
    """A line of pgaudit: class, command, and what the statement says itself."""
    found = _AUDITED.match(message)
    if found is None:
        return "other", "AUDIT", "", without_passwords(message)
    group, command = found[1], found[2]
    object = found[5] or found[4].replace('""', '"') if found[4] is not None else found[5]
    statement = found[6].replace('""', '"') if found[6] is not None else found[7]
    if group in _PLAIN_CLASSES and "set_config" not in statement:
        return "statement", command, object or "", without_passwords(statement)
    what = said(statement, command)
    type = what.type
    if type == "statement" and (group == "ROLE" or command in ACCESS_COMMANDS):
        type = "access.changed"
    return type, what.action or command, what.object or object or "", without_passwords(statement)


# --- moments

#: what a difference between a zone and UTC may be
_FARTHEST: Final = timedelta(hours=26)
_MOST_ZONES, _MOST_SESSIONS = 64, 4096


class Zones:
    """
    Learns what the log's time zone names mean.

    A log writes local time with an abbreviation that may mean several zones. The session id holds
    the session's start as a count of seconds, and beside it stands the same moment in local time.
    """

    def __init__(self) -> None:
        self._offsets: dict[str, timedelta] = {}
        self._sessions: dict[tuple[str, str], timedelta] = {}

    def moment(self, line: Line) -> datetime:
        text = _text(line, "timestamp")
        day, _, rest = text.partition(" ")
        clock, _, zone = rest.partition(" ")
        offset = self._session(_text(line, "session_start"), _text(line, "session_id"))
        try:
            return _local(day, clock) - self._offsets.get(zone, offset)
        except OverflowError:
            raise Unreadable("its time is no moment of PostgreSQL's log") from None

    def _session(self, start: str, session: str) -> timedelta:
        """Between local time and UTC, when the session began."""
        since_epoch = session.partition(".")[0]
        known = self._sessions.get((start, since_epoch))
        if known is None:
            known = self._learn(start, since_epoch)
            if len(self._sessions) >= _MOST_SESSIONS:
                self._sessions.clear()
            self._sessions[(start, since_epoch)] = known
        return known

    def _learn(self, start: str, since_epoch: str) -> timedelta:
        day, _, rest = start.partition(" ")
        clock, _, zone = rest.partition(" ")
        try:
            began = datetime.fromtimestamp(int(since_epoch, 16), timezone.utc)
            offset = _local(day, clock) - began
        except (ValueError, OverflowError, OSError):
            raise Unreadable("its session id holds no moment") from None
        if abs(offset) > _FARTHEST:
            raise Unreadable("its session id and the start of its session do not agree")
        if zone in self._offsets or len(self._offsets) < _MOST_ZONES:
            self._offsets[zone] = offset
        return offset


def _local(day: str, clock: str) -> datetime:
    """The moment as if its zone were UTC."""
    try:
        return datetime.fromisoformat(f"{day}T{clock}+00:00")
    except ValueError:
        raise Unreadable("its time is no moment of PostgreSQL's log") from None
