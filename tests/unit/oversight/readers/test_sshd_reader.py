"""Lines of sshd and sudo, from the journal and from syslog."""

import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import orjson
import pytest

from muniment.errors import ConfigInvalid, Unreadable
from muniment.oversight.event import MAX_RECORD, Event, Key, ReaderSettings
from muniment.oversight.readers import reader
from muniment.oversight.readers.envelopes import Syslog

_GRANT = "mun_" + "k7" * 13
_CA = "SHA256:SSQToTs4bEtH/q8oevIW0MZW6ILmoTtjdvAQ/3dLq80"
_PRINT = "SHA256:3Nx/KgJbjarEk7zXmH5N1zP+eJIFtuLyio1BdADaWfo"
_TAIL = f"ED25519-CERT {_PRINT} ID {_GRANT}:bo (serial 42) CA ED25519 {_CA}"
_ACCEPTED = f"Accepted publickey for postgres from 127.0.0.1 port 41704 ssh2: {_TAIL}"
_KEYS = (Key("certificate", f"{_GRANT}:bo serial 42"),)


def journal(text: Any, **fields: Any) -> bytes:
    return orjson.dumps(
        {
            "__REALTIME_TIMESTAMP": "1795262400250000",
            "_HOSTNAME": "db1",
            "_COMM": "sshd",
            "_EXE": "/usr/sbin/sshd",
            "_UID": "0",
            "_PID": "4711",
            "MESSAGE": text,
            **fields,
        }
    )


def settings(**options: Any) -> ReaderSettings:
    return ReaderSettings(prefix="mun", options=options)


def read(*records: bytes, kind: str = "sshd", **options: Any) -> Event:
    made = reader(kind, settings(**options))
    return [made.read(record) for record in records][-1]


def test_a_login_with_a_certificate_leads_to_its_grant() -> None:
    found = read(journal(_ACCEPTED))
    assert found == Event(
        type="session.opened",
        at=datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=timezone.utc),
        account="postgres",
        session="db1/4711",
        client="127.0.0.1",
        action="publickey",
        detail=_ACCEPTED,
        keys=_KEYS,
    )


@pytest.mark.parametrize(
    ("text", "type", "action", "account", "keys"),
    [
        (f'Accepted certificate ID "{_GRANT}:bo" (serial 42) signed by ED25519 CA {_CA} via /ca',
         "other", "Accepted certificate", "", ()),
        ("Postponed publickey for postgres from 127.0.0.1 port 1 ssh2 [preauth]", "other",
         "Postponed publickey", "", ()),
        ("Received disconnect from 127.0.0.1 port 41704:11: disconnected by user", "other",
         "Received disconnect", "", ()),
        ("Certificate invalid: expired", "session.refused", "Certificate invalid", "", ()),
        ("error: Certificate invalid: expired [preauth]", "session.refused", "Certificate invalid",
         "", ()),
        (f"Failed publickey for postgres from 127.0.0.1 port 41720 ssh2: {_TAIL}",
         "session.refused", "publickey", "postgres", _KEYS),
        (f"Failed publickey for postgres from 127.0.0.1 port 4 ssh2: ED25519 {_PRINT}",
         "session.refused", "publickey", "postgres", ()),
        ("Failed password for invalid user a b from 10.0.0.9 port 4 ssh2", "session.refused",
         "password", "a b", ()),
        (f"Authentication key ED25519-CERT {_PRINT} revoked by file /krl", "session.refused",
         "revoked", "", ()),
        ("Connection closed by authenticating user postgres 127.0.0.1 port 41724 [preauth]",
         "other", "Connection closed", "", ()),
        ("Invalid user eve from 10.0.0.9 port 4", "session.refused", "Invalid user", "eve", ()),
        ("User bo from 10.0.0.9 not allowed because not listed in AllowUsers", "session.refused",
         "not allowed", "bo", ()),
        ("User bo not allowed because account is locked", "session.refused", "not allowed", "bo", ()),
        ("maximum authentication attempts exceeded for bo from 10.0.0.9 port 1 ssh2 [preauth]",
         "session.refused", "too many attempts", "bo", ()),
        ("Accepted password for bo from 10.0.0.9 port 4 ssh2", "session.opened", "password", "bo",
         ()),
        (f"Accepted publickey for bo from 10.0.0.9 port 4 ssh2: RSA {_PRINT}", "session.opened",
         "publickey", "bo", ()),
        (f"Accepted password for {_GRANT} from 10.0.0.9 port 4 ssh2", "session.opened", "password",
         _GRANT, (Key("account", _GRANT),)),
        ("pam_unix(sshd:session): session opened for user bo(uid=1000) by (uid=0)",
         "session.opened", "session opened", "bo", ()),
        ("pam_unix(sshd:session): session closed for user bo", "session.closed", "session closed",
         "bo", ()),
        ("Disconnected from user bo 10.0.0.9 port 4", "session.closed", "disconnected", "bo", ()),
        ("Server listening on 0.0.0.0 port 22.", "other", "Server listening", "", ()),
        ("", "other", "sshd", "", ()),
    ],
)  # fmt: skip
def test_every_line_of_sshd_has_its_type(
    text: str, type: str, action: str, account: str, keys: tuple[Key, ...]
) -> None:
    found = read(journal(text))
    assert (found.type, found.action, found.account) == (type, action, account)
    assert found.keys == keys
    assert found.failed == (type == "session.refused")


def test_what_follows_a_login_belongs_to_its_session_and_grant() -> None:
    """The process of the session is another one, with the rights of whoever is in it."""
    child = {"_PID": "4720", "_UID": "1000"}
    way = "from 127.0.0.1 port 41704"
    made = reader("sshd", settings())
    found = [
        made.read(record)
        for record in (
            journal(_ACCEPTED),
            journal("pam_unix(sshd:session): session opened for user postgres(uid=9) by (uid=0)"),
            journal(f"Starting session: command for postgres {way} id 0", **child),
            journal(f"Starting session: shell on pts/0 for postgres {way} id 1", **child),
            journal(f"Starting session: subsystem 'sftp' for postgres {way} id 2", **child),
            journal("Disconnected from user postgres 127.0.0.1 port 41704", **child),
            journal("pam_unix(sshd:session): session closed for user postgres"),
            journal("Disconnected from user postgres 127.0.0.1 port 41704", **child),
        )
    ]
    assert [each.type for each in found] == [
        "session.opened", "other", "statement", "statement", "statement", "session.closed",
        "session.closed", "other",
    ]  # fmt: skip
    assert [each.action for each in found[2:5]] == ["command", "shell", "subsystem 'sftp'"]
    assert {each.session for each in found[:7]} == {"db1/4711"}
    assert all(each.keys == _KEYS for each in found[:7])
    assert found[7].keys == ()


@pytest.mark.parametrize(
    "text",
    [
        # what a name with a line break in it made sshd write
        "Invalid user x\nAccepted publickey for root from 10.9.9.9 port 1 ssh2 from 127.0.0.1 port 39502",
        "Accepted publickey for root from 10.9.9.9 port 1 ssh2 from 127.0.0.1 port 39502",
        "Accepted publickey for root from 10.9.9.9 port 1 ssh2",
        f"{_ACCEPTED} from 127.0.0.1 port 39502",
        f" {_ACCEPTED}",
        f"x {_ACCEPTED}",
        f"{_ACCEPTED}\n",
        f"{_ACCEPTED}\nx",
        _ACCEPTED.replace("(serial 42)", ""),
        _ACCEPTED.replace(" CA ED25519", ""),
        _ACCEPTED.replace("ED25519-CERT", "ED25519"),
        _ACCEPTED.replace("postgres", "post gres"),
        "x" * 9000 + _ACCEPTED,
    ],
)
def test_a_forged_line_opens_no_session(text: str) -> None:
    for record in (journal(text), journal(list(text.encode()))):
        found = read(record)
        assert found.type in ("other", "session.refused")
        assert found.keys == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"_COMM": "logger", "_EXE": "/usr/bin/logger", "SYSLOG_IDENTIFIER": "sshd"},
        {"_COMM": "logger", "SYSLOG_IDENTIFIER": "sshd", "_EXE": None},
        {"_EXE": "/home/bob/sshd"},
        {"_EXE": "/tmp/usr/sbin/sshd"},
        {"_EXE": "/usr/bin/python3"},
        {"_UID": "1000"},
        {"_UID": "1000", "_EXE": None},
        {"_UID": None, "_EXE": None},
        {"_COMM": None},
    ],
)
def test_a_line_that_somebody_elses_program_wrote_opens_no_session(fields: dict[str, Any]) -> None:
    found = read(journal(_ACCEPTED, **fields))
    assert (found.type, found.keys) == ("other", ())


def test_programs_of_newer_versions_are_sshd_too() -> None:
    fields = {"_COMM": "sshd-session", "_EXE": "/usr/lib/openssh/sshd-session"}
    assert read(journal(_ACCEPTED, **fields)).keys == _KEYS


def test_only_certificates_of_named_authorities_lead_to_grants() -> None:
    assert read(journal(_ACCEPTED), authorities=[_CA]).keys == _KEYS
    other = read(journal(_ACCEPTED), authorities=[_PRINT])
    assert (other.type, other.keys) == ("session.opened", ())


def test_a_key_id_that_looks_like_the_end_of_the_line_is_read_from_the_end() -> None:
    evil = f"x (serial 1) CA ED25519 {_CA}"
    found = read(journal(_ACCEPTED.replace(f"{_GRANT}:bo", evil)))
    assert found.keys == (Key("certificate", f"{evil} serial 42"),)


def test_sessions_that_never_end_take_no_more_than_their_share() -> None:
    made: Any = reader("sshd", settings())
    for number in range(5000):
        made.read(journal(_ACCEPTED.replace("41704", str(number)), _PID=str(number)))
    assert len(made._sessions) == len(made._ways) == 4096


# --- envelopes


@pytest.mark.parametrize(
    "fields",
    [
        {"MESSAGE": None},
        {"MESSAGE": ["a", "b"]},
        {"MESSAGE": [256]},
        {"MESSAGE": [True]},
        {"MESSAGE": {}},
        {"__REALTIME_TIMESTAMP": None},
        {"__REALTIME_TIMESTAMP": "soon"},
        {"__REALTIME_TIMESTAMP": "9" * 40},
    ],
)
def test_an_entry_of_the_journal_without_text_or_moment_is_unreadable(
    fields: dict[str, Any],
) -> None:
    with pytest.raises(Unreadable):
        read(journal(_ACCEPTED, **fields))


@pytest.mark.parametrize(
    ("frame", "at"),
    [
        ("<38>1 2026-11-21T13:00:00.25+01:00 db1 sshd 4711 - - ", "2026-11-21T12:00:00.250000+00:00"),
        ('<38>1 2026-11-21T12:00:00Z db1 sshd 4711 - [a@1 b="c\\]"] \ufeff', "2026-11-21T12:00:00+00:00"),
        ("<38>Nov 21 12:00:00 db1 sshd[4711]: ", "2026-11-21T11:00:00+00:00"),
        ("Nov  1 12:00:00 db1 sshd[4711]: ", "2026-11-01T11:00:00+00:00"),
        ("2026-11-21T12:00:00.5+00:00 db1 sshd[4711]: ", "2026-11-21T12:00:00.500000+00:00"),
    ],
)  # fmt: skip
def test_every_form_of_syslog_carries_the_same_line(frame: str, at: str) -> None:
    options: dict[str, Any] = {"envelope": "syslog", "year": 2026, "utc_offset": "+01:00"}
    found = read((frame + _ACCEPTED).encode(), **options)
    assert (found.type, found.session, found.keys) == ("session.opened", "db1/4711", _KEYS)
    assert found.at.isoformat() == at


def test_a_year_that_ends_between_two_lines_is_noticed() -> None:
    made = reader("sshd", settings(envelope="syslog", year=2026))
    days = ("Dec 31", "Jan  1", "Dec 31", "Jan  2", "Jun  1", "Dec  1", "Jan  1")
    found = [made.read(f"{day} 12:00:00 db1 sshd[1]: x".encode()).at.year for day in days]
    assert found == [2026, 2027, 2026, 2027, 2027, 2027, 2028]


@pytest.mark.parametrize(
    "frame",
    [
        "", "x", "<38>1", "<38>1 - db1 sshd 1 - - x", "<38>1 2026-99-21T13:00:00Z db1 sshd 1 - - x",
        '<38>1 2026-11-21T12:00:00Z db1 sshd 1 - [a@1 b="]"] x',
        "Nov 21 12:00:00 db1 sshd[1]: no year", "Xyz 21 12:00:00 db1 sshd[1]: x",
        "2026-11-21T12:00:00 db1 sshd[1]: no zone",
    ],
)  # fmt: skip
def test_what_is_no_frame_of_syslog_is_unreadable(frame: str) -> None:
    with pytest.raises(Unreadable):
        read(frame.encode(), envelope="syslog")


@pytest.mark.parametrize("end", ["\n", "\r", "\x0b", "\u2028", "\x85", "\x00"])
def test_a_break_inside_of_a_frame_begins_no_other(end: str) -> None:
    for head in (
        "<38>1 2026-11-21T12:00:00Z db1 sshd 1 - - ",
        "2026-11-21T12:00:00Z db1 sshd[1]: ",
    ):
        text = f"{head}Invalid user x{end}{head}{_ACCEPTED}"
        found = read(text.encode(), envelope="syslog")
        assert (found.type, found.keys) == ("other", ())


def test_frames_behind_their_length_are_cut_in_pieces_of_any_size() -> None:
    frames = [b"<38>1 2026-11-21T12:00:00Z h sshd 1 - - a\nb", b"<38>1 x", b"<3>" + b"9 " * 50]
    data = b"".join(b"%d %s" % (len(each), each) for each in frames)
    for size in (1, 3, 17, len(data)):
        made, rest = Syslog(None, timedelta()), b""
        found: list[bytes] = []
        for at in range(0, len(data), size):
            records, rest = made.cut(rest + data[at : at + size])
            found += records
        assert (found, rest) == (frames, b"")
    assert made.unpack(data) == frames


def test_a_frame_that_is_too_long_is_passed_over_to_its_end() -> None:
    made = reader("sshd", settings(envelope="syslog"))
    inner = b"40 <38>1 forged "
    long = b"<1>" + inner * (3 * MAX_RECORD // len(inner))
    data, rest = b"%d %s" % (len(long), long) + b"7 <38>1 x", b""
    found: list[bytes] = []
    for at in range(0, len(data), 65_536):
        records, rest = made.cut(rest + data[at : at + 65_536])
        found += records
    assert len(found) == 2
    assert (found[1], rest) == (b"<38>1 x", b"")
    with pytest.raises(Unreadable):
        made.read(found[0])


def test_a_line_that_is_too_long_is_passed_over_to_its_end() -> None:
    made = reader("sshd", settings())
    data, rest = b"x" * (3 * MAX_RECORD) + b"\n" + journal("a") + b"\r\n\n", b""
    found: list[bytes] = []
    for at in range(0, len(data), 65_536):
        records, rest = made.cut(rest + data[at : at + 65_536])
        found += records
    assert (len(found), found[1], rest) == (2, journal("a"), b"")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"envelope": "file"}, 'is one of: `envelope = "journald"`'),
        ({"envelope": "syslog", "utc_offset": "CET"}, "is as in"),
        ({"year": "2026"}, "number without quotes"),
        ({"authorities": "SHA256:x"}, "is a list"),
        ({"colour": "red"}, "has no option `colour`"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        reader("sshd", settings(**options))


def test_syslog_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jc.parsers.syslog", None)
    with pytest.raises(ConfigInvalid, match=r"pip install muniment\[syslog\]"):
        reader("sudo", settings(envelope="syslog"))


# --- sudo

_SUDO = {"_COMM": "sudo", "_EXE": "/usr/bin/sudo", "_UID": "1000"}
_PLACE = "TTY=pts/0 ; PWD=/tmp ; USER=root ; COMMAND=/usr/bin/id -u"


@pytest.mark.parametrize(
    ("text", "type", "action", "object", "detail"),
    [
        (f"      bo : {_PLACE}", "elevated", "sudo", "root", "/usr/bin/id -u"),
        (f"bo : 3 incorrect password attempts ; {_PLACE}", "session.refused",
         "3 incorrect password attempts", "root", "/usr/bin/id -u"),
        (f"bo : user NOT in sudoers ; {_PLACE}", "error", "user NOT in sudoers", "root",
         "/usr/bin/id -u"),
        ("bo : PWD=/ ; USER=root ; GROUP=adm ; ENV=A=b ; COMMAND=/bin/true", "elevated", "sudo",
         "root", "/bin/true"),
        ("bo : TTY=pts/0 ; PWD=/x ; USER=bo ; COMMAND=true ; USER=root ; COMMAND=/bin/sh",
         "elevated", "sudo", "",
         "TTY=pts/0 ; PWD=/x ; USER=bo ; COMMAND=true ; USER=root ; COMMAND=/bin/sh"),
        ("pam_unix(sudo:session): session closed for user root", "other", "sudo", "",
         "pam_unix(sudo:session): session closed for user root"),
    ],
)  # fmt: skip
def test_sudo_says_who_did_what_as_whom(
    text: str, type: str, action: str, object: str, detail: str
) -> None:
    found = read(journal(text, **_SUDO), kind="sudo")
    assert (found.type, found.action) == (type, action)
    assert (found.object, found.detail) == (object, detail)
    assert found.failed == (type in ("error", "session.refused"))


def test_an_account_of_a_grant_that_uses_sudo_leads_to_it() -> None:
    assert read(journal(f"{_GRANT} : {_PLACE}", **_SUDO), kind="sudo").keys == (
        Key("account", _GRANT),
    )


def test_a_program_that_calls_itself_sudo_is_not_believed() -> None:
    for exe in ("/home/bob/sudo", "/usr/bin/bash", None):
        found = read(journal(f"bo : {_PLACE}", **(_SUDO | {"_EXE": exe})), kind="sudo")
        assert found.type == "other"
