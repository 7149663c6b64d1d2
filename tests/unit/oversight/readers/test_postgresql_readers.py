"""Lines of PostgreSQL's log, read into events."""

import orjson
import pytest

from muniment.errors import ConfigInvalid, Unreadable
from muniment.oversight.event import MAX_RECORD, Event, Key, ReaderSettings
from muniment.oversight.readers import reader
from muniment.oversight.readers.postgresql import PostgresCsv, PostgresJson

_GRANT = "mun_" + "a" * 26
_SETTINGS = ReaderSettings(prefix="mun")
#: as PostgreSQL 15 wrote it, but for the name of the role
_CAPTURED = (
    '{"timestamp":"2026-11-21 18:59:32.748 UTC","user":"NAME","dbname":"postgres","pid":24680,'
    '"remote_host":"127.0.0.1","remote_port":49480,"session_id":"6b01e9fb.6068","line_num":6,'
    '"ps":"SELECT","session_start":"2026-11-21 18:59:07 UTC","vxid":"3/12","txid":0,'
    '"error_severity":"LOG","message":"AUDIT: SESSION,3,1,READ,SELECT,,,select v from accounts,'
    '<not logged>","application_name":"jit:g_01J9ZK4T6Q","backend_type":"client backend",'
    '"query_id":0}'
).replace("NAME", _GRANT)


def line(**fields: object) -> bytes:
    return orjson.dumps(orjson.loads(_CAPTURED) | fields)


def read(**fields: object) -> Event:
    return PostgresJson(_SETTINGS).read(line(**fields))


def test_a_captured_line_of_pgaudit_is_read_whole() -> None:
    found = PostgresJson(_SETTINGS).read(_CAPTURED.encode())
    assert found.type == "statement"
    assert found.at.isoformat() == "2026-11-21T18:59:32.748000+00:00"
    assert (found.account, found.session) == (_GRANT, "6b01e9fb.6068")
    assert (found.client, found.action) == ("127.0.0.1", "SELECT")
    assert found.detail == "select v from accounts"
    assert found.keys == (Key("account", _GRANT),)


@pytest.mark.parametrize(
    ("message", "type", "action", "object"),
    [
        (f"connection authorized: user={_GRANT} database=postgres application_name=x",
         "session.opened", "connection authorized", "postgres"),
        (f'connection authenticated: identity="{_GRANT}" method=scram-sha-256 (pg_hba.conf:2)',
         "other", "connection authenticated", ""),
        ("connection received: host=127.0.0.1 port=1", "other", "connection received", ""),
        (f"disconnection: session time: 0:00:25.026 user={_GRANT} database=postgres host=::1",
         "session.closed", "disconnection", "postgres"),
        ('AUDIT: SESSION,1,1,DDL,CREATE TABLE,,,"create table accounts(id int, v text)",<not logged>',
         "statement", "CREATE TABLE", "accounts"),
        ("AUDIT: SESSION,2,1,ROLE,GRANT,,,grant select on accounts to app_ro,<not logged>",
         "access.changed", "GRANT", "app_ro"),
        ("AUDIT: SESSION,1,1,ROLE,CREATE ROLE,,,create role backdoor login superuser password <REDACTED>,<not logged>",
         "access.changed", "CREATE ROLE", "backdoor"),
        ("AUDIT: SESSION,1,1,ROLE,DROP ROLE,,,<previously logged>,<previously logged>",
         "access.changed", "DROP ROLE", ""),
        ("AUDIT: OBJECT,1,1,READ,SELECT,TABLE,public.accounts,select 1,<none>",
         "statement", "SELECT", "public.accounts"),
        ("AUDIT: SESSION,1,1,MISC,SET,,,set pgaudit.log = 'none',<none>",
         "logging.changed", "SET", "pgaudit.log"),
        ("AUDIT: SESSION,1,1,MISC,SET,,,set role app_rw,<none>", "elevated", "SET ROLE", "app_rw"),
        ("AUDIT: garbage", "other", "AUDIT", ""),
        ("statement: select 1; drop role bo", "access.changed", "DROP ROLE", "bo"),
        ("duration: 1.25 ms  statement: update t set a = 1", "statement", "UPDATE", ""),
        ("duration: 0.031 ms", "other", "duration", ""),
        ("duration: 0.031 ms  parse s1: select 1", "other", "parse", ""),
        ("checkpoint starting: time", "other", "LOG", ""),
    ],
)  # fmt: skip
def test_every_kind_of_message_has_its_type(
    message: str, type: str, action: str, object: str
) -> None:
    found = read(message=message)
    assert (found.type, found.action, found.object) == (type, action, object)


@pytest.mark.parametrize(
    ("fields", "type", "action"),
    [
        ({"error_severity": "FATAL", "state_code": "57P01"}, "session.killed", "57P01"),
        ({"error_severity": "FATAL", "state_code": "57P05"}, "session.killed", "57P05"),
        ({"error_severity": "FATAL", "state_code": "28P01"}, "session.refused", "28P01"),
        ({"error_severity": "FATAL", "state_code": "53300"}, "session.refused", "53300"),
        ({"error_severity": "FATAL", "state_code": "08006"}, "error", "08006"),
        ({"error_severity": "ERROR", "state_code": "57P01"}, "error", "57P01"),
        ({"error_severity": "ERROR", "state_code": "42501", "statement": "drop table t"},
         "error", "DROP TABLE"),
        ({"error_severity": "WARNING", "message": "careful"}, "other", "WARNING"),
        ({"error_severity": "NOTICE", "message": "AUDIT: SESSION,1,1,READ,SELECT,,,select 1,<none>"},
         "statement", "SELECT"),
    ],
)  # fmt: skip
def test_what_failed_is_told_from_what_was_ended(
    fields: dict[str, object], type: str, action: str
) -> None:
    found = read(**fields)
    assert (found.type, found.action) == (type, action)
    assert found.failed == (type in ("error", "session.refused"))


def test_an_expired_password_is_said_to_be_one() -> None:
    found = read(
        error_severity="FATAL",
        state_code="28P01",
        message=f'password authentication failed for user "{_GRANT}"',
        detail=f'User "{_GRANT}" has an expired password.',
    )
    assert found.type == "session.refused"
    assert "expired" in found.detail


@pytest.mark.parametrize(
    "message",
    [
        f"connection authorized: user={_GRANT} database=postgres",
        f"disconnection: session time: 0:00:25.026 user={_GRANT} database=postgres host=::1",
        "AUDIT: SESSION,1,1,ROLE,CREATE ROLE,,,create role eve,<not logged>",
        "statement: create role eve",
    ],
)
def test_what_a_function_raised_is_nothing_that_the_server_said(message: str) -> None:
    assert read(message=message, context="PL/pgSQL function f() line 1 at RAISE").type == "other"


def test_a_login_that_names_somebody_else_is_none() -> None:
    assert read(message="connection authorized: user=eve database=postgres").type == "other"


@pytest.mark.parametrize(
    ("ps", "message", "type", "object"),
    [
        ("SELECT", "execute s1: select 1", "statement", ""),
        ("idle", "execute s1: drop role bo", "access.changed", "bo"),
        ("DROP ROLE", "execute x: select 1; --: drop role bo", "access.changed", "bo"),
        ("GRANT ROLE", "execute x: y: z: grant a to b", "access.changed", "b"),
        ("INSERT", "execute s1: insert into t values ('a: create role eve')", "statement", ""),
    ],
)
def test_the_name_of_a_prepared_statement_hides_nothing(
    ps: str, message: str, type: str, object: str
) -> None:
    found = read(ps=ps, message=message)
    assert (found.type, found.object) == (type, object)


def test_only_an_account_that_was_made_for_a_grant_is_a_key() -> None:
    for name in ("postgres", f"x {_GRANT}", f"{_GRANT}a", _GRANT.upper(), _GRANT.replace("_", "-")):
        assert read(user=name).keys == ()


def test_what_the_client_calls_itself_is_no_key() -> None:
    assert read(user="postgres", application_name=_GRANT).keys == ()


def test_a_setting_of_the_log_that_was_reloaded_is_seen() -> None:
    said = 'parameter "log_statement" changed to "none"'
    assert read(user=None, message=said).type == "logging.changed"
    assert read(message=said).type == "other"  # only the server itself says so, in no session
    assert read(user=None, message='parameter "work_mem" changed to "1MB"').type == "other"


def test_local_time_is_understood_through_the_session_id() -> None:
    found = read(timestamp="2026-11-22 05:29:32.748 ACDT", session_start="2026-11-22 05:29:07 ACDT")
    assert found.at.isoformat() == "2026-11-21T18:59:32.748000+00:00"


def test_a_session_that_outlives_a_change_of_the_clocks_is_put_right_by_another() -> None:
    lines = PostgresJson(_SETTINGS)
    winter = {"session_start": "2026-11-21 19:59:07 CET"}
    summer = {"session_start": "2026-11-21 20:59:07 CEST", "timestamp": "2026-11-21 20:59:08 CEST"}
    lines.read(line(**summer))
    found = lines.read(line(**winter, timestamp="2027-04-01 12:00:00 CEST"))
    assert found.at.isoformat() == "2027-04-01T10:00:00+00:00"


@pytest.mark.parametrize(
    "fields",
    [
        {"timestamp": "yesterday"},
        {"timestamp": None},
        {"session_id": "?"},
        {"session_id": "f" * 40},
        {"session_start": "2001-01-01 00:00:00 UTC"},
        {"timestamp": "0001-01-01 00:00:00 ACDT", "session_start": "2026-11-22 05:29:07 ACDT"},
        {"error_severity": 7},
        {"error_severity": None},
    ],
)
def test_a_line_without_its_moment_is_unreadable(fields: dict[str, object]) -> None:
    with pytest.raises(Unreadable):
        read(**fields)


def test_a_byte_that_is_no_text_hides_no_line() -> None:
    found = PostgresJson(_SETTINGS).read(_CAPTURED.replace("select v", "select \ud8ff").encode(
        "utf-8", "surrogatepass"))  # fmt: skip
    assert found.account == _GRANT
    assert "\ufffd" in found.detail


def test_names_keep_no_tricks_and_are_cut() -> None:
    assert read(user="bo\u202e\x00\n").account == "bo\ufffd\ufffd\ufffd"
    assert len(read(user="b" * 9999).account) == 256


# --- csvlog


def csv(**fields: str) -> bytes:
    row = {
        "timestamp": "2026-11-21 18:59:32.748 UTC", "user": f'"{_GRANT}"', "dbname": '"postgres"',
        "pid": "24680", "remote": '"127.0.0.1:49480"', "session_id": "6b01e9fb.6068",
        "line_num": "6", "ps": '"SELECT"', "session_start": "2026-11-21 18:59:07 UTC",
        "vxid": "3/12", "txid": "0", "severity": "LOG", "state": "00000",
        "message": '"statement: select 1"', "detail": "", "hint": "", "iq": "", "ip": "",
        "context": "", "statement": "", "cursor": "", "location": "", "application_name": '"psql"',
        "backend_type": '"client backend"', "leader": "", "query_id": "0",
    }  # fmt: skip
    return ",".join((row | fields).values()).encode()


def test_a_line_of_csvlog_is_read_as_the_same_line_of_jsonlog() -> None:
    message = "AUDIT: SESSION,3,1,READ,SELECT,,,select v from accounts,<not logged>"
    found = PostgresCsv(_SETTINGS).read(csv(message=f'"{message}"'))
    assert found == PostgresJson(_SETTINGS).read(_CAPTURED.encode())


@pytest.mark.parametrize(
    ("remote", "client"),
    [("[local]", "[local]"), ("::1:5432", "::1"), ("10.0.0.1:1", "10.0.0.1"), ("", ""),
     ("db.example:77", "db.example")],
)  # fmt: skip
def test_a_client_has_no_port(remote: str, client: str) -> None:
    assert PostgresCsv(_SETTINGS).read(csv(remote=f'"{remote}"')).client == client


def forged() -> str:
    return csv(user='"eve"').decode().replace('"', '""')


def test_a_statement_of_many_lines_is_one_record() -> None:
    statement = f'"statement: select 1\n{forged()}\n""x"""'
    data = csv(message=statement) + b"\n" + csv() + b"\n"
    for size in (1, 7, 100, len(data)):
        made = PostgresCsv(_SETTINGS)
        records: list[bytes] = []
        rest = b""
        for at in range(0, len(data), size):
            found, rest = made.cut(rest + data[at : at + size])
            records += found
        assert records == [csv(message=statement), csv()]
        assert rest == b""
    assert PostgresCsv(_SETTINGS).unpack(data[:-1]) == records


def test_nothing_inside_a_record_that_is_too_long_is_read_as_another() -> None:
    line = f"\n{forged()}"
    long = csv(message=f'"statement: select 1{line * (3 * MAX_RECORD // len(line))}"')
    data = long + b"\n" + csv() + b"\n"
    for restart in (False, True):
        made, accounts, rest, rejected = PostgresCsv(_SETTINGS), [], b"", 0
        for at in range(0, len(data), 65_536):
            found, rest = made.cut(rest + data[at : at + 65_536])
            for each in found:
                if len(each) > MAX_RECORD:
                    rejected += 1
                    # whoever stops here goes on with what was left
                    made = PostgresCsv(_SETTINGS) if restart else made
                else:
                    accounts.append(made.read(each).account)
        assert (accounts, rejected, rest) == ([_GRANT], 1, b"")


@pytest.mark.parametrize(
    "record",
    [b"", b"\xff", csv()[:200], csv(message='"a'), csv(message='"a"b'), csv(message='a"b"'),
     b"," * 40, b"x" * (MAX_RECORD + 1), b'"' * 5000],
)  # fmt: skip
def test_what_is_no_line_of_csvlog_is_unreadable(record: bytes) -> None:
    with pytest.raises(Unreadable):
        PostgresCsv(_SETTINGS).read(record)


def test_options_that_there_are_not_are_refused_by_name() -> None:
    for kind in ("postgresql-json", "postgresql-csv"):
        with pytest.raises(ConfigInvalid, match="no option `colour`"):
            reader(kind, ReaderSettings(prefix="mun", options={"colour": "red"}))


def test_a_reader_that_there_is_not_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        ConfigInvalid, match=r"there is no reader `x`; there are: .*postgresql-json"
    ):
        reader("x", _SETTINGS)
