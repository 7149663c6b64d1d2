"""JSON by a table, CloudEvents, OCSF, deployments and incidents."""

import base64
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import orjson
import pytest

from muniment.errors import ConfigInvalid, Unreadable
from muniment.oversight import readers
from muniment.oversight.event import Event, Key, ReaderSettings
from muniment.oversight.readers import reader

_GRANT = "mun_" + "e4" * 13
_AT = "2026-11-21T12:00:00Z"
_SECONDS = 1795262400


def made(kind: str, **options: Any) -> Any:
    return reader(kind, ReaderSettings(prefix="mun", options=options))


def read(kind: str, record: Any, **options: Any) -> Event:
    found: Event = made(kind, **options).read(orjson.dumps(record))
    return found


# --- by a table

_TABLE: dict[str, Any] = {
    "fields": {"at": "when", "type": "what", "account": "who.name", "client": "who.ips.0",
               "failed": "result", "detail": ["x.y", "text"], "resource": "system"},
    "types": {"login": "session.opened", "7": "session.closed"},
    "keys": {"token": "who.token", "header": "headers.x-grant"},
    "resources": {"db-7": "orders"},
}  # fmt: skip


def test_a_table_says_which_of_its_values_is_which_of_ours() -> None:
    record = {
        "when": _AT, "what": "login", "result": "Failure", "system": "db-7",
        "who": {"name": "bo", "ips": ["10.0.0.1"], "token": 77},
        "x.y": {"text": "hello"}, "headers": {"x-grant": _GRANT},
    }  # fmt: skip
    found = read("json", record, **_TABLE)
    assert (found.type, found.account, found.client) == ("session.opened", "bo", "10.0.0.1")
    assert (found.failed, found.detail, found.resource) == (True, "hello", "orders")
    assert found.keys == (Key("token", "77"), Key("header", _GRANT))


def test_what_the_table_does_not_know_is_other() -> None:
    assert read("json", {"when": _AT, "what": "x"}, **_TABLE).type == "other"
    assert read("json", {"when": _AT}, **_TABLE).type == "other"
    assert read("json", {"when": _AT, "what": 7}, **_TABLE).type == "session.closed"
    known = read("json", {"when": _AT, "what": "x"}, **_TABLE, constants={"type": "call"})
    assert known.type == "call"


@pytest.mark.parametrize(
    ("time", "value"),
    [("iso", _AT), ("s", _SECONDS), ("s", str(_SECONDS)), ("s", float(_SECONDS)),
     ("ms", _SECONDS * 1000)],
)  # fmt: skip
def test_a_moment_may_be_written_in_several_ways(time: str, value: Any) -> None:
    options = {"fields": {"at": "t"}, "constants": {"type": "call", "action": "x"}, "time": time}
    found = read("json", {"t": value}, **options)
    assert found.at.timestamp() == _SECONDS
    assert found.action == "x"


@pytest.mark.parametrize("value", [None, True, "soon", 1e300, [], "9" * 50])
def test_a_moment_that_is_none_is_unreadable(value: Any) -> None:
    for time in ("iso", "s", "ms"):
        options = {"fields": {"at": "t"}, "constants": {"type": "call"}, "time": time}
        with pytest.raises(Unreadable):
            read("json", {"t": value}, **options)


def test_a_posted_body_may_hold_its_records_in_a_list() -> None:
    body = b'{"next":null,"events":[{"a":1},{"a":2}]}'
    assert made("json", **_TABLE, list="events").unpack(body) == [b'{"a":1}', b'{"a":2}']
    assert made("json", **_TABLE).unpack(body) == [body]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "where the time is"),
        ({"fields": {"at": "t"}}, "what the records are"),
        ({"fields": {"at": "t", "type": "x"}}, "what the records are"),
        ({"fields": {"at": "t", "colour": "x"}}, "`fields` has `colour`, which there is not"),
        ({"fields": {"at": ""}}, "a place in `fields` is written"),
        ({"fields": {"at": 7}}, "a place in `fields` is written"),
        ({"fields": {"at": ["a", 7]}}, "a place in `fields` is written"),
        ({"fields": "t"}, "`fields` of a reader `json` is a table"),
        ({"fields": {"at": "t"}, "constants": {"type": "login"}}, "`types` has `login`"),
        ({"fields": {"at": "t"}, "constants": {"at": "x", "type": "call"}}, "`constants` has `at`"),
        ({"fields": {"at": "t", "type": "x"}, "types": {"a": "b"}}, "there are: session.opened"),
        ({"fields": {"at": "t"}, "constants": {"type": "call"}, "keys": {"name": "x"}},
         "`keys` has `name`"),
        ({"fields": {"at": "t"}, "constants": {"type": "call"}, "time": "us"}, "is one of"),
        ({"fields": {"at": "t"}, "constants": {"type": 7}}, "maps names to names"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_refused_by_what_is_wrong(options: Any, message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        made("json", **options)


# --- CloudEvents and OCSF

_LOGIN = {
    "class_uid": 3002, "activity_id": 1, "status_id": 1, "time": _SECONDS * 1000,
    "user": {"name": "bo", "credential_uid": "crd_1"}, "src_endpoint": {"ip": "10.0.0.1"},
    "session": {"uid": "ses_1"}, "dst_endpoint": {"hostname": "db1"},
}  # fmt: skip
_ENVELOPE = {"specversion": "1.0", "id": "1", "source": "/x", "type": "login", "time": _AT}


def test_a_cloud_event_is_read_by_a_table_that_begins_at_its_envelope() -> None:
    record = {**_ENVELOPE, "subject": "db1", "data": {"user": "bo"}}
    options = {"fields": {"account": "data.user"}, "types": {"login": "session.opened"}}
    found = read("cloudevents", record, **options)
    assert (found.type, found.account, found.object) == ("session.opened", "bo", "db1")


def test_a_cloud_event_may_carry_ocsf_as_text_or_in_base64() -> None:
    encoded = base64.b64encode(orjson.dumps(_LOGIN)).decode()
    for data in ({"data": _LOGIN}, {"data_base64": encoded}):
        found = read("cloudevents", {**_ENVELOPE, **data}, data="ocsf")
        assert found == read("ocsf", _LOGIN)


def test_a_batch_of_cloud_events_is_taken_apart() -> None:
    one = orjson.dumps(_ENVELOPE)
    assert made("cloudevents", data="ocsf").unpack(b"[" + one + b"," + one + b"]") == [one, one]


@pytest.mark.parametrize(
    "record",
    [{}, {**_ENVELOPE, "specversion": "0.3"}, {**_ENVELOPE, "id": ""}, {**_ENVELOPE, "source": 1},
     _ENVELOPE, {**_ENVELOPE, "data": []}, {**_ENVELOPE, "data_base64": "é"},
     {**_ENVELOPE, "data_base64": "AAAA"}],
)  # fmt: skip
def test_what_is_no_cloud_event_is_unreadable(record: Any) -> None:
    with pytest.raises(Unreadable):
        read("cloudevents", record, data="ocsf")


def test_a_login_of_ocsf_leads_on_by_its_credential() -> None:
    found = read("ocsf", _LOGIN)
    assert (found.type, found.account, found.session) == ("session.opened", "bo", "ses_1")
    assert (found.client, found.object) == ("10.0.0.1", "db1")
    assert found.keys == (Key("token", "crd_1"),)
    assert found.at.timestamp() == _SECONDS


@pytest.mark.parametrize(
    ("fields", "type"),
    [
        ({"status_id": 2}, "session.refused"),
        ({"activity_id": 2}, "session.closed"),
        ({"activity_id": 3}, "other"),
        ({"class_uid": 3001}, "access.changed"),
        ({"class_uid": 3003}, "elevated"),
        ({"class_uid": 3004}, "call"),
        ({"class_uid": 3005}, "access.changed"),
        ({"class_uid": 3006}, "access.changed"),
        ({"class_uid": 6003}, "call"),
        ({"class_uid": 6003, "status_id": 2}, "error"),
        ({"class_uid": 2004}, "other"),
    ],
)
def test_every_class_of_ocsf_has_its_type(fields: dict[str, Any], type: str) -> None:
    assert read("ocsf", _LOGIN | fields).type == type


def test_of_a_change_the_user_is_who_was_changed() -> None:
    actor = {"user": {"name": _GRANT, "credential_uid": "crd_2"}, "session": {"uid": "ses_2"}}
    record = _LOGIN | {"class_uid": 3005, "actor": actor, "cloud": {"account": {"uid": "1"}}}
    found = read("ocsf", record, resources={"1": "orders"})
    assert (found.account, found.object, found.session) == (_GRANT, "bo", "ses_2")
    assert found.keys == (Key("account", _GRANT), Key("token", "crd_2"))
    assert found.resource == "orders"


def test_a_call_of_ocsf_names_service_and_operation() -> None:
    api = {"operation": "CreateUser", "service": {"name": "iam.amazonaws.com"}}
    assert read("ocsf", _LOGIN | {"class_uid": 6003, "api": api}).action == "iam:CreateUser"


# --- deployments and incidents

_HOOK: dict[str, Any] = {
    "action": "created",
    "repository": {"full_name": "example/orders"},
    "deployment": {"id": 7, "ref": "v1", "sha": "abc", "environment": "production",
                   "created_at": _AT, "creator": {"login": "bo"}},
}  # fmt: skip


def test_a_deployment_of_github_counts_when_it_is_through() -> None:
    assert read("github-deployments", _HOOK).type == "other"
    for state, type, failed in (
        ("in_progress", "other", False),
        ("success", "deployment", False),
        ("failure", "deployment", True),
    ):
        status = {"state": state, "created_at": _AT, "updated_at": "2026-11-21T12:05:00Z",
                  "creator": {"login": "ana"}}  # fmt: skip
        found = read("github-deployments", {**_HOOK, "deployment_status": status})
        assert (found.type, found.failed, found.account) == (type, failed, "ana")
        assert (found.object, found.action) == ("example/orders#7", f"deployment {state}")
        assert found.at.minute == 5
        assert found.detail == "v1 (abc) to production"


def test_a_deployment_belongs_to_the_resource_of_its_environment() -> None:
    resources = {"example/orders/production": "orders", "example/orders": "elsewhere"}
    assert read("github-deployments", _HOOK, resources=resources).resource == "orders"
    del resources["example/orders/production"]
    assert read("github-deployments", _HOOK, resources=resources).resource == "elsewhere"
    assert read("github-deployments", _HOOK).resource == ""


def test_a_deployment_in_the_small_form_needs_an_id_and_a_moment() -> None:
    found = read("deployments", {"id": "7", "service": "orders", "at": _AT, "by": "bo",
                                 "environment": "production", "url": "https://ci.example/7"},
                 resources={"orders/production": "db"})  # fmt: skip
    assert (found.type, found.object, found.account) == ("deployment", "7", "bo")
    assert (found.resource, found.detail) == ("db", "orders production https://ci.example/7")
    assert read("deployments", {"id": 7, "at": _AT}).object == "7"


def test_an_incident_of_pagerduty_opens_and_closes() -> None:
    for kind, type in (
        ("incident.triggered", "incident.opened"),
        ("incident.acknowledged", "other"),
        ("incident.resolved", "incident.closed"),
        ("incident.reopened", "incident.opened"),
    ):
        event = {"event_type": kind, "occurred_at": _AT, "agent": {"summary": "Bo"},
                 "data": {"id": "PGR0VU2", "title": "slow\u202e", "service": {"summary": "Orders"}}}  # fmt: skip
        found = read("pagerduty", {"event": event}, resources={"Orders": "orders"})
        assert (found.type, found.object, found.resource) == (type, "PGR0VU2", "orders")
        assert (found.detail, found.account) == ("slow\ufffd", "Bo")


def test_an_incident_in_the_small_form_opens_and_closes() -> None:
    for status, type in (
        ("opened", "incident.opened"),
        ("closed", "incident.closed"),
        ("acknowledged", "other"),
    ):
        record = {"id": "7", "status": status, "at": _AT, "service": "orders", "title": "slow"}
        found = read("incidents", record, resources={"orders": "db"})
        assert (found.type, found.object, found.resource) == (type, "7", "db")


@pytest.mark.parametrize("kind", ["github-deployments", "deployments", "pagerduty", "incidents"])
def test_what_is_no_such_message_is_unreadable(kind: str) -> None:
    records: list[Any] = [{}, [], {"event": []}, {"id": "7"}]
    for record in (*records, {"id": "7", "status": "opened", "at": "x"}):
        with pytest.raises(Unreadable):
            read(kind, record)


# --- readers of others


class Foreign:
    kind = "foreign"

    def __init__(self, settings: ReaderSettings) -> None:
        self.settings = settings


def test_a_reader_of_another_package_is_found_by_its_entry_point(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def points(**_: str) -> list[EntryPoint]:
        return [
            EntryPoint("foreign", f"{__name__}:Foreign", readers.GROUP),
            EntryPoint("broken", f"{__name__}:Absent", readers.GROUP),
        ]

    monkeypatch.setattr(readers, "entry_points", points)
    assert isinstance(made("foreign"), Foreign)
    with pytest.raises(ConfigInvalid, match="the reader `broken` does not load"):
        made("broken")
    with pytest.raises(ConfigInvalid, match=r"there are: broken, .*foreign"):
        made("absent")


def test_the_page_about_readers_names_every_one() -> None:
    page = (Path(__file__).parents[4] / "docs/how-to/add-a-reader.md").read_text("utf-8")
    assert [kind for kind in readers.BUILT_IN if f"`{kind}`" not in page] == []
