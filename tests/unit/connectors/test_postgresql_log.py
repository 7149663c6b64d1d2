"""Lines of a PostgreSQL's own log, read back to grants."""

import json
from datetime import datetime, timezone

import pytest

from muniment.connectors.postgresql.log import read_log
from muniment.ports import Activity

_GRANT = "mt_" + "a" * 26
#: session began at 2026-11-21 12:00:00 UTC
_SESSION = f"{1795262400:x}.1f"


def line(**fields: object) -> str:
    return json.dumps(
        {
            "timestamp": "2026-11-21 12:00:01.250 UTC",
            "user": _GRANT,
            "session_id": _SESSION,
            "session_start": "2026-11-21 12:00:00 UTC",
            "error_severity": "LOG",
            "message": "statement: SELECT 1",
            **fields,
        }
    )


def read(*lines: str) -> list[Activity]:
    return list(read_log(lines, "jsonlog", lambda user: user if user == _GRANT else ""))


def test_a_statement_names_its_grant_moment_and_session() -> None:
    (found,) = read(line())
    assert (found.grant, found.session, found.action, found.detail) == (
        _GRANT,
        _SESSION,
        "statement",
        "SELECT 1",
    )
    assert found.at == datetime(2026, 11, 21, 12, 0, 1, 250_000, tzinfo=timezone.utc)


def test_local_time_is_understood_through_the_session_id() -> None:
    (found,) = read(
        line(timestamp="2026-11-21 23:00:01.250 IST", session_start="2026-11-21 23:00:00 IST")
    )
    assert found.at == datetime(2026, 11, 21, 12, 0, 1, 250_000, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("fields", "action"),
    [
        ({"message": "connection authorized: user=x database=y"}, "login"),
        ({"message": "connection authorized: forged", "context": "PL/pgSQL function"}, "statement"),
        ({"message": "disconnection: session time: 0:00:01"}, "logout"),
        ({"message": "execute s1: SELECT 2"}, "statement"),
        ({"message": "duration: 1.2 ms  statement: SELECT 3"}, "statement"),
        ({"message": "AUDIT: SESSION,1,1,WRITE,INSERT"}, "statement"),
        ({"error_severity": "ERROR", "state_code": "42P01"}, "error"),
        ({"error_severity": "FATAL", "state_code": "57P01"}, "killed"),
        ({"error_severity": "FATAL", "state_code": "28P01"}, "refused"),
        ({"error_severity": "FATAL", "state_code": "53300"}, "refused"),
    ],
)
def test_every_kind_of_line_has_its_action(fields: dict[str, object], action: str) -> None:
    assert [each.action for each in read(line(**fields))] == [action]


@pytest.mark.parametrize(
    "text",
    [
        line(user="postgres", application_name=_GRANT, message=f"statement: DROP ROLE {_GRANT}"),
        line(message="connection authenticated: identity=…"),
        line(error_severity="DEBUG1"),
        line()[:-20],
        "",
        "[]",
        line(session_id="?"),
        line(timestamp="yesterday"),
    ],
)
def test_lines_of_others_and_broken_lines_are_left_out(text: str) -> None:
    assert [each.detail for each in read(text, line())] == ["SELECT 1"]


def test_a_password_in_a_statement_is_left_out() -> None:
    (found,) = read(line(message="statement: ALTER ROLE x PASSWORD 'geheim'"))
    assert found.detail == "ALTER ROLE x PASSWORD <REDACTED>"


def test_a_statement_in_csvlog_cannot_pass_for_another_line() -> None:
    forged = 'SELECT 1\n2026-11-21 12:00:00 UTC,"other","x"'
    fields = ["2026-11-21 12:00:01.250 UTC", f'"{_GRANT}"', '"db"', "31", '"[local]"', _SESSION, "1", '"SELECT"',
              "2026-11-21 12:00:00 UTC", "2/3", "0", "LOG", "00000", '"statement: ' + forged.replace('"', '""') + '"']  # fmt: skip
    record = ",".join(fields + [""] * 9 + ['"client backend"', "", "0"]) + "\n"
    found = list(read_log(record.splitlines(keepends=True), "csvlog", lambda user: user))
    assert [(each.grant, each.detail) for each in found] == [(_GRANT, forged)]
