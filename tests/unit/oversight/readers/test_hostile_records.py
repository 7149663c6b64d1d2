"""Whatever the bytes are: an event within its bounds, or `Unreadable`; and soon."""

import re
import time
from datetime import timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.errors import Unreadable
from muniment.oversight.event import (
    KEYS,
    MAX_DETAIL,
    MAX_KEYS,
    MAX_NAME,
    MAX_RECORD,
    TYPES,
    Event,
    Reader,
    ReaderSettings,
)
from muniment.oversight.readers import BUILT_IN, reader

_OPTIONS: dict[str, dict[str, Any]] = {
    "json": {"fields": {"at": "time", "type": "type", "account": "user.name", "detail": "message"},
             "types": {"x": "call"}, "keys": {"token": "user.id"}},
    "cloudevents": {"types": {"x": "call"}},
    "sshd": {"envelope": "syslog", "year": 2026},
}  # fmt: skip
_MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "sshd, journald": ("sshd", {}),
    "sudo, syslog": ("sudo", {"envelope": "syslog"}),
    "json, seconds": (
        "json",
        {"fields": {"at": "time"}, "constants": {"type": "call"}, "time": "s"},
    ),
    "cloudevents, ocsf": ("cloudevents", {"data": "ocsf"}),
}
_READERS = {kind: (kind, _OPTIONS.get(kind, {})) for kind in BUILT_IN} | _MORE
#: names and values that lead into the readers
_WORDS = (
    "time", "type", "user", "name", "message", "MESSAGE", "eventTime", "eventSource", "eventName",
    "userIdentity", "arn", "verb", "objectRef", "impersonatedUser", "extra", "stageTimestamp",
    "protoPayload", "properties", "log", "class_uid", "activity_id", "actor", "specversion", "1.0",
    "id", "source", "data", "data_base64", "event", "event_type", "occurred_at", "deployment",
    "repository", "full_name", "created_at", "at", "status", "error_severity", "LOG", "FATAL",
    "timestamp", "session_id", "session_start", "6b01e9fb.6068", "2026-11-21 18:59:07 UTC",
    "2026-11-21T18:59:07Z", "0001-01-01T00:00:00+23:59", "__REALTIME_TIMESTAMP", "_COMM", "sshd",
    "_UID", "0", "methodName", "io.k8s.core.v1.pods.list", "responseElements", "credentials",
    "accessKeyId", "Records", "items", "AUDIT: SESSION,1,1,ROLE,GRANT,,,grant a to b,<none>",
    "statement: alter role a password 'x", "execute a: b: c", "\x00\u202e", "sts.amazonaws.com",
    "AssumeRole", "requestParameters", "annotations", "resources", "service",
)  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
    | st.sampled_from(_WORDS) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(_WORDS), inner, max_size=12),
    max_leaves=30,
)  # fmt: skip
_OBJECTS = st.dictionaries(st.sampled_from(_WORDS), _JSON, max_size=20)
_TRICKS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


_WHO = {"username": "a", "groups": [], "extra": {"sessionName": ["x"], "accessKeyId": ["y"]}}
_ARN = "arn:aws:sts::1:assumed-role/r/s"
#: whole records, of which a part is replaced
_SEEDS: dict[str, dict[str, Any]] = {
    "cloudtrail": {
        "eventTime": "2026-11-21T12:00:00Z", "eventSource": "sts.amazonaws.com",
        "eventName": "AssumeRole", "recipientAccountId": "1", "sourceIPAddress": "::1",
        "userIdentity": {"type": "AssumedRole", "arn": _ARN, "accessKeyId": "A",
                         "sessionContext": {"sourceIdentity": "x"}},
        "requestParameters": {"roleSessionName": "s", "userName": "x"},
        "responseElements": {"credentials": {"accessKeyId": "B"}, "assumedRoleUser": {"arn": _ARN}},
    },
    "kubernetes": {
        "verb": "create", "stage": "ResponseComplete", "requestURI": "/api", "user": _WHO,
        "impersonatedUser": _WHO, "sourceIPs": ["::1"], "responseStatus": {"code": 201},
        "objectRef": {"resource": "serviceaccounts", "subresource": "token", "name": "x"},
        "annotations": {"authentication.kubernetes.io/issued-credential-id": "JTI=1"},
        "stageTimestamp": "2026-11-21T12:00:00Z", "properties": {},
    },
    "ocsf": {
        "class_uid": 3005, "activity_id": 1, "status_id": 1, "time": 1_795_262_400_000,
        "actor": {"user": {"name": "a", "credential_uid": "c"}, "session": {"uid": "s"}},
        "user": {"name": "b"}, "src_endpoint": {"ip": "::1"}, "resources": [{"name": "r"}],
        "api": {"operation": "o", "service": {"name": "s"}}, "cloud": {"account": {"uid": "1"}},
    },
    "github-deployments": {
        "action": "created", "repository": {"full_name": "o/r"},
        "deployment": {"id": 1, "ref": "main", "sha": "a", "environment": "production"},
        "deployment_status": {"state": "success", "created_at": "2026-11-21T12:00:00Z",
                              "creator": {"login": "bo"}},
    },
    "pagerduty": {"event": {
        "event_type": "incident.triggered", "occurred_at": "2026-11-21T12:00:00Z",
        "agent": {"summary": "x"}, "data": {"id": "P", "title": "t", "service": {"summary": "s"}},
    }},
    "postgresql-json": {
        "timestamp": "2026-11-21 18:59:32.748 UTC", "user": "bo", "session_id": "6b01e9fb.6068",
        "session_start": "2026-11-21 18:59:07 UTC", "error_severity": "LOG", "ps": "SELECT",
        "message": "execute a: select 1", "context": "", "statement": "", "state_code": "",
        "remote_host": "::1", "detail": "", "dbname": "x",
    },
    "sshd, journald": {
        "__REALTIME_TIMESTAMP": "1795262400250000", "_HOSTNAME": "h", "_COMM": "sshd",
        "_EXE": "/usr/sbin/sshd", "_UID": "0", "_PID": "1",
        "MESSAGE": "Accepted password for bo from ::1 port 4 ssh2",
    },
}  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every part of a value is."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(place for name, each in inner for place in places(each, (*path, name)))]


def with_at(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """A copy with something else in one place."""
    if not path:
        return other
    copy = value.copy()
    copy[path[0]] = with_at(copy[path[0]], path[1:], other)
    return copy


@pytest.mark.parametrize("name", _SEEDS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_record_with_one_part_that_is_something_else_is_read_or_refused(
    name: str, data: st.DataObject
) -> None:
    record = _SEEDS[name]
    check(made(name).read(orjson.dumps(record)))
    place = data.draw(st.sampled_from(places(record)))
    attempt(made(name), orjson.dumps(with_at(record, place, data.draw(_JSON))))


def made(name: str) -> Reader:
    kind, options = _READERS[name]
    return reader(kind, ReaderSettings(prefix="mun", options=options))


def check(found: Event) -> None:
    assert found.type in TYPES
    assert found.at.utcoffset() == timedelta()
    names = (found.account, found.session, found.client, found.action, found.object, found.resource)
    for text in (*names, *(key.value for key in found.keys)):
        assert len(text) <= MAX_NAME
        assert not _TRICKS.search(text)
    assert len(found.detail) <= MAX_DETAIL
    assert not _TRICKS.search(found.detail.replace("\n", "").replace("\t", ""))
    assert len(found.keys) <= MAX_KEYS
    assert all(key.kind in KEYS and key.value for key in found.keys)


def attempt(one: Reader, record: bytes) -> None:
    try:
        found = one.read(record)
    except Unreadable as refused:
        said = str(refused)
    else:
        said = ""
        check(found)
    assert len(said) < 120


@pytest.mark.parametrize("name", _READERS)
@settings(max_examples=60, deadline=None)
@given(record=st.binary(max_size=300) | _OBJECTS.map(orjson.dumps) | _JSON.map(orjson.dumps))
def test_no_bytes_make_a_reader_raise_anything_else(name: str, record: bytes) -> None:
    one = made(name)
    attempt(one, record)
    records, rest = one.cut(record)
    assert sum(map(len, records)) + len(rest) <= len(record)
    try:
        records = one.unpack(record)
    except Unreadable:
        return
    for each in records:
        attempt(one, each)


@pytest.mark.parametrize("name", [name for name in _READERS if "csv" not in name])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_stream_is_cut_the_same_in_pieces_of_any_size(name: str, data: st.DataObject) -> None:
    lines = data.draw(
        st.lists(st.text(st.characters(codec="ascii", categories=["L", "N", "P"])), max_size=6)
    )
    stream = "".join(f"{line}\n" for line in lines).encode()
    whole, one = made(name).cut(stream), made(name)
    found: list[bytes] = []
    rest, at = b"", 0
    while at < len(stream):
        size = data.draw(st.integers(1, 9))
        records, rest = one.cut(rest + stream[at : at + size])
        found += records
        at += size
    assert (found, rest) == whole


_HOSTILE = {
    "ten megabytes": b'{"a":"' + b"x" * 10_000_000 + b'"}',
    "deep lists": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 500 + b"1" + b"}" * 500,
    "just too deep": b'{"a":' + b"[" * 65 + b"]" * 65 + b"}",
    "wide": b'{"a":[' + b"[]," * 300_000 + b"[]]}",
    "NUL": b"\x00" * 1000,
    "a long number": b'{"time":' + b"9" * 900_000 + b"}",
    "quotes": b'"' * MAX_RECORD,
    "commas": b"," * MAX_RECORD,
    "blanks": b" " * MAX_RECORD,
    "backslashes": b"\\" * MAX_RECORD,
    "a long frame": b"<38>1 2026-11-21T12:00:00Z h sshd 1 - " + b"[a" * 400_000,
    "a long line": b"2026-11-21T12:00:00Z h sshd[1]: Failed x for "
    + b" from a port 1 ssh2" * 50_000,
    "a long command": b"2026-11-21T12:00:00Z h sudo[1]: a : PWD="
    + b" ; USER=a ; COMMAND=" * 50_000,
    "a long reason": b"2026-11-21T12:00:00Z h sudo[1]: a : " + b" ; " * 300_000,
}


@pytest.mark.parametrize("name", _READERS)
@pytest.mark.parametrize("hostile", _HOSTILE)
def test_hostile_bytes_cost_little(name: str, hostile: str) -> None:
    one = made(name)
    began = time.process_time()  # other work of the machine is no cost of theirs
    attempt(one, _HOSTILE[hostile])
    one.cut(_HOSTILE[hostile])
    assert time.process_time() - began < 2


@pytest.mark.parametrize("name", _READERS)
def test_what_is_too_deep_or_too_long_is_refused(name: str) -> None:
    for hostile in ("ten megabytes", "deep lists", "deep objects", "just too deep"):
        with pytest.raises(Unreadable):
            made(name).read(_HOSTILE[hostile])


@pytest.mark.parametrize("kind", BUILT_IN)
def test_a_reader_is_built_by_its_name_in_the_configuration(kind: str) -> None:
    assert made(kind).kind == kind
