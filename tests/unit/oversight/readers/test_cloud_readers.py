"""Events of CloudTrail and of Kubernetes' audit log. The ones with a grant's id are made up."""

import gzip
from typing import Any

import orjson
import pytest

from muniment.errors import Unreadable
from muniment.oversight.event import Event, Key, ReaderSettings
from muniment.oversight.readers import reader

_GRANT, _OTHER = "mun_" + "c5" * 13, "mun_" + "d6" * 13
_ROLE = "arn:aws:sts::111122223333:assumed-role/OrdersWrite"


def trail(name: str, source: str = "iam", **fields: Any) -> dict[str, Any]:
    return {
        "eventVersion": "1.09",
        "eventTime": "2026-11-21T12:00:00Z",
        "eventSource": f"{source}.amazonaws.com",
        "eventName": name,
        "sourceIPAddress": "198.51.100.7",
        "recipientAccountId": "111122223333",
        "userIdentity": {
            "type": "AssumedRole",
            "arn": f"{_ROLE}/{_GRANT}",
            "accessKeyId": "ASIAHOLDER",
        },
        **fields,
    }


def read(kind: str, record: Any, **options: Any) -> Event:
    return reader(kind, ReaderSettings(prefix="mun", options=options)).read(orjson.dumps(record))


def issue(caller: dict[str, Any], name: str = _GRANT, **fields: Any) -> dict[str, Any]:
    """An `AssumeRole` that went well."""
    return trail(
        "AssumeRole",
        "sts",
        userIdentity=caller,
        readOnly=True,
        requestParameters={"roleArn": "arn:aws:iam::111122223333:role/OrdersWrite",
                           "roleSessionName": name},
        responseElements={
            "credentials": {"accessKeyId": "ASIANEW", "expiration": "Nov 21, 2026, 1:00:00 PM"},
            "assumedRoleUser": {"arn": f"{_ROLE}/{name}"},
            **fields,
        },
    )  # fmt: skip


_CONNECTOR = {"type": "AssumedRole", "arn": "arn:aws:sts::111122223333:assumed-role/Muniment/i-0",
              "accessKeyId": "ASIACONNECTOR"}  # fmt: skip


def test_a_call_of_an_assumed_role_leads_to_its_grant_by_name_and_by_key() -> None:
    found = read("cloudtrail", trail("GetObject", "s3"), resources={"111122223333": "orders"})
    assert (found.type, found.action, found.client) == ("call", "s3:GetObject", "198.51.100.7")
    assert (found.account, found.session) == (f"{_ROLE}/{_GRANT}", "ASIAHOLDER")
    assert found.keys == (Key("session-name", _GRANT), Key("access-key", "ASIAHOLDER"))
    assert (found.resource, found.failed) == ("orders", False)
    assert found.at.isoformat() == "2026-11-21T12:00:00+00:00"


def test_taking_on_a_role_joins_its_name_and_the_key_that_was_given_out() -> None:
    found = read("cloudtrail", issue(_CONNECTOR))
    assert (found.type, found.session) == ("credential.issued", "ASIANEW")
    # and not the connector's own key, which would stand for every grant
    assert found.keys == (Key("session-name", _GRANT), Key("access-key", "ASIANEW"))


def test_whoever_has_a_grant_takes_on_no_role_in_the_name_of_another() -> None:
    caller = {"type": "AssumedRole", "arn": f"{_ROLE}/{_GRANT}", "accessKeyId": "ASIAHOLDER"}
    found = read("cloudtrail", issue(caller, _OTHER))
    assert found.keys == (Key("session-name", _GRANT), Key("access-key", "ASIANEW"))


def test_a_source_identity_counts_before_a_name_that_was_chosen() -> None:
    caller = {"type": "AssumedRole", "arn": f"{_ROLE}/{_OTHER}", "accessKeyId": "A",
              "sessionContext": {"sourceIdentity": _GRANT}}  # fmt: skip
    assert read("cloudtrail", trail("GetObject", "s3", userIdentity=caller)).keys[0] == Key(
        "session-name", _GRANT
    )
    given = read("cloudtrail", issue(_CONNECTOR, _OTHER, sourceIdentity=_GRANT))
    assert given.keys[0] == Key("session-name", _GRANT)


@pytest.mark.parametrize(
    ("entry", "type", "object"),
    [
        (trail("CreateUser", requestParameters={"userName": "eve"}), "access.changed", "eve"),
        (trail("AttachRolePolicy", requestParameters={"roleName": "r"}), "access.changed", "r"),
        (trail("ListUsers"), "call", ""),
        (trail("CreateUser", errorCode="AccessDenied", errorMessage="no"), "error", ""),
        (trail("PutBucketPolicy", "s3", requestParameters={"bucketName": "b"}), "access.changed",
         "b"),
        (trail("StopLogging", "cloudtrail", requestParameters={"name": "t"}), "logging.changed",
         "t"),
        (trail("DeleteTrail", "cloudtrail"), "logging.changed", ""),
        (trail("PutEventSelectors", "cloudtrail"), "logging.changed", ""),
        (trail("DescribeTrails", "cloudtrail"), "call", ""),
        (trail("DeleteFlowLogs", "ec2"), "logging.changed", ""),
        (trail("AssumeRole", "sts", errorCode="AccessDenied"), "error", ""),
        (trail("SwitchRole", "signin"), "elevated", ""),
        (trail("ConsoleLogin", "signin", responseElements={"ConsoleLogin": "Success"}),
         "session.opened", ""),
        (trail("ConsoleLogin", "signin", responseElements={"ConsoleLogin": "Failure"}),
         "session.refused", ""),
        (trail("PutItem", "dynamodb"), "call", ""),
    ],
)  # fmt: skip
def test_every_kind_of_call_has_its_type(entry: dict[str, Any], type: str, object: str) -> None:
    found = read("cloudtrail", entry)
    assert (found.type, found.object) == (type, object)
    assert found.failed == (type in ("error", "session.refused"))


def test_users_and_services_are_named_as_aws_does() -> None:
    for who, name in (
        ({"type": "IAMUser", "userName": "bo", "arn": "arn:aws:iam::1:user/bo"}, "bo"),
        ({"type": "AWSService", "invokedBy": "ec2.amazonaws.com"}, "ec2.amazonaws.com"),
        ({"type": "Root", "arn": "arn:aws:iam::1:root"}, "arn:aws:iam::1:root"),
        (None, ""),
    ):
        found = read("cloudtrail", trail("ListUsers", userIdentity=who))
        assert (found.account, found.keys) == (name, ())


def test_a_file_gives_its_records_as_they_were() -> None:
    made = reader("cloudtrail", ReaderSettings(prefix="mun"))
    records = [
        b'{"a": 1.50, "b":[ ]}',
        b'{ "n": 123456789012345678901234567890 }',
        b'{"u":"\\u00e9"}',
    ]
    body = b'{"Records" :[' + b" , ".join(records) + b'] , "x":{}}\n'
    assert made.unpack(body) == records
    assert made.unpack(gzip.compress(body, mtime=0)) == records
    assert made.unpack(b"[" + b",".join(records) + b"]") == records
    assert made.unpack(b"\n".join(records)) == records
    assert made.unpack(records[0]) == [records[0]]
    assert made.unpack(b'{"Records":[]}') == made.unpack(b"[]") == made.unpack(b"") == []


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b'{"Records":[',
        b"\x1f\x8bx",
        gzip.compress(b"{}", mtime=0)[:-4],
        gzip.compress(bytes(1 << 27), mtime=0),
    ],
)
def test_a_body_of_another_kind_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        reader("cloudtrail", ReaderSettings(prefix="mun")).unpack(body)


@pytest.mark.parametrize(
    "record",
    [{}, [], trail("GetObject", eventTime="Nov 21, 2026, 1:00:00 PM"), trail(""),
     trail("GetObject", eventTime="2026-11-21T12:00:00"), trail("GetObject", eventSource=None)],
)  # fmt: skip
def test_what_is_no_event_of_cloudtrail_is_unreadable(record: Any) -> None:
    with pytest.raises(Unreadable):
        read("cloudtrail", record)


# --- Kubernetes

_USER: dict[str, Any] = {"username": "bo", "groups": ["system:authenticated"]}


def audit(verb: str, resource: str, **fields: Any) -> dict[str, Any]:
    about = {"resource": resource, "namespace": "orders", "name": "x"}
    part = fields.pop("subresource", None)
    return {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "auditID": "5c6f001b",
        "stage": "ResponseComplete",
        "requestURI": f"/api/v1/{resource}",
        "verb": verb,
        "user": _USER,
        "sourceIPs": ["10.0.0.1", "10.0.0.2"],
        "objectRef": about | ({"subresource": part} if part else {}),
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": "2026-11-21T12:00:00.000000Z",
        "stageTimestamp": "2026-11-21T12:00:01.123456789Z",
        **fields,
    }


@pytest.mark.parametrize(
    ("entry", "type", "action"),
    [
        (audit("get", "pods"), "call", "get pods"),
        (audit("create", "pods", subresource="exec"), "statement", "create pods/exec"),
        (audit("create", "pods", subresource="exec", stage="ResponseStarted"), "statement",
         "create pods/exec"),
        (audit("create", "pods", subresource="portforward"), "statement", "create pods/portforward"),
        (audit("create", "clusterrolebindings"), "access.changed", "create clusterrolebindings"),
        (audit("list", "clusterrolebindings"), "call", "list clusterrolebindings"),
        (audit("update", "certificatesigningrequests", subresource="approval"), "access.changed",
         "update certificatesigningrequests/approval"),
        (audit("create", "serviceaccounts", subresource="token"), "credential.issued",
         "create serviceaccounts/token"),
        (audit("create", "roles", responseStatus={"code": 403}), "error", "create roles"),
        (audit("create", "roles", stage="RequestReceived"), "other", "create roles"),
        (audit("get", "", objectRef=None), "call", "get"),
    ],
)  # fmt: skip
def test_every_request_has_its_type(entry: dict[str, Any], type: str, action: str) -> None:
    found = read("kubernetes", entry)
    assert (found.type, found.action) == (type, action)
    assert found.failed == (type == "error")


def test_a_request_says_who_where_and_when() -> None:
    found = read("kubernetes", audit("get", "secrets"))
    assert (found.account, found.client, found.object) == ("bo", "10.0.0.1", "orders/x")
    assert found.detail == "/api/v1/secrets"
    assert found.at.isoformat() == "2026-11-21T12:00:01.123456+00:00"


@pytest.mark.parametrize(
    ("user", "keys"),
    [
        (_USER, ()),
        ({"username": _GRANT}, (Key("account", _GRANT),)),
        ({"username": f"system:serviceaccount:orders:{_GRANT}"}, (Key("account", _GRANT),)),
        ({"username": f"x-{_GRANT}"}, ()),
        ({"username": "bo", "extra": {"sessionName": [_GRANT], "accessKeyId": ["ASIA1"]}},
         (Key("session-name", _GRANT), Key("access-key", "ASIA1"))),
        ({"username": "bo",
          "extra": {"authentication.kubernetes.io/credential-id": ["JTI=7"], "arn": ["x"]}},
         (Key("token", "JTI=7"),)),
        ({"username": "bo", "extra": {"sessionName": [], "accessKeyId": "ASIA1"}}, ()),
    ],
)  # fmt: skip
def test_what_the_cluster_says_of_a_user_leads_to_a_grant(
    user: dict[str, Any], keys: tuple[Key, ...]
) -> None:
    assert read("kubernetes", audit("get", "pods", user=user)).keys == keys


_GATEWAY = {"username": "system:serviceaccount:access:gateway",
            "extra": {"authentication.kubernetes.io/credential-id": ["JTI=gateway"]}}  # fmt: skip


def test_a_gateway_acts_under_the_grant_that_it_impersonates() -> None:
    entry = audit("get", "pods", user=_GATEWAY, impersonatedUser={"username": _GRANT})
    for options in ({}, {"impersonators": [_GATEWAY["username"]]}):
        found = read("kubernetes", entry, **options)
        assert (found.account, found.keys) == (_GRANT, (Key("account", _GRANT),))
    # Somebody who is not believed still is who they are.
    assert read("kubernetes", entry, impersonators=["x"]).keys == (Key("token", "JTI=gateway"),)


def test_whoever_has_a_grant_does_not_act_under_another() -> None:
    entry = audit("get", "pods", user={"username": _GRANT}, impersonatedUser={"username": _OTHER})
    assert read("kubernetes", entry).keys == (Key("account", _GRANT),)


def test_a_token_that_was_issued_is_joined_to_whom_it_is_for() -> None:
    issued = {"authentication.kubernetes.io/issued-credential-id": "JTI=new"}
    about = {"resource": "serviceaccounts", "subresource": "token", "name": _GRANT}
    for user in (_USER, _GATEWAY):
        entry = audit("create", "", user=user, objectRef=about, annotations=issued)
        assert read("kubernetes", entry).keys == (Key("account", _GRANT), Key("token", "JTI=new"))
    entry = audit("create", "", user={"username": _OTHER}, objectRef=about, annotations=issued)
    assert read("kubernetes", entry).keys == (Key("account", _OTHER), Key("token", "JTI=new"))


def test_a_list_of_events_is_taken_apart() -> None:
    made = reader("kubernetes", ReaderSettings(prefix="mun"))
    events = [orjson.dumps(audit("get", "pods")), orjson.dumps(audit("get", "nodes"))]
    body = b'{"kind":"EventList","items":[' + b",".join(events) + b"]}"
    assert made.unpack(body) == events


def test_the_envelope_of_aks_is_opened() -> None:
    inner = audit("create", "pods", subresource="exec")
    entry = {"category": "kube-audit", "time": "2026-11-21T12:00:00Z",
             "properties": {"log": orjson.dumps(inner).decode()}}  # fmt: skip
    assert read("kubernetes", entry) == read("kubernetes", inner)


def test_the_envelope_of_gke_is_opened() -> None:
    def google(method: str, **fields: Any) -> dict[str, Any]:
        return {
            "timestamp": "2026-11-21T12:00:00Z",
            "protoPayload": {
                "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
                "methodName": method,
                "resourceName": "core/v1/namespaces/orders/pods/x/exec",
                "authenticationInfo": {"principalEmail": "bo@example.com"},
                "requestMetadata": {"callerIp": "10.0.0.1"},
                **fields,
            },
        }

    found = read("kubernetes", google("io.k8s.core.v1.pods.exec.create"))
    assert (found.type, found.action) == ("statement", "create pods/exec")
    assert (found.account, found.client) == ("bo@example.com", "10.0.0.1")
    bound = read("kubernetes", google("io.k8s.authorization.rbac.v1.clusterrolebindings.create"))
    assert (bound.type, bound.action) == ("access.changed", "create clusterrolebindings")
    denied = read("kubernetes", google("io.k8s.core.v1.pods.list", status={"code": 7}))
    assert (denied.type, denied.action, denied.failed) == ("error", "list pods", True)
    with pytest.raises(Unreadable):
        read("kubernetes", google("google.container.v1.ClusterManager.GetCluster"))


@pytest.mark.parametrize(
    "record",
    [{}, {"verb": "get"}, audit("get", "pods", stageTimestamp="?"), audit("get", "pods", user="x"),
     {"properties": {"log": "x"}}, {"properties": {"log": "[]"}}, {"protoPayload": {}}],
)  # fmt: skip
def test_what_is_no_audit_event_is_unreadable(record: Any) -> None:
    with pytest.raises(Unreadable):
        read("kubernetes", record)
