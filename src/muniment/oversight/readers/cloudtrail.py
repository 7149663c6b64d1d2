"""
Reads CloudTrail: what an assumed role did, who changed rights, who turned the trail away.

The name of a role's session is chosen by whoever takes the role on. Somebody with a grant may take
on a second role under another's name: so where the caller is known to be a grant's, that counts,
and the source identity, which goes along from role to role, counts before any name.
"""

import re
from collections.abc import Iterable
from typing import Any, ClassVar, Final

import orjson

from muniment.errors import Unreadable
from muniment.oversight.event import Event, Key, ReaderSettings
from muniment.oversight.readers.border import (
    DocumentReader,
    moment,
    plain,
    prose,
    table,
    text_within,
    within,
)
from muniment.oversight.readers.options import Options

_READS = ("Get", "List", "Describe", "Generate", "Simulate", "Lookup", "BatchGet", "Search")
#: services whose writes change who may do what
_RIGHTS: Final = frozenset(("iam", "sso", "sso-directory", "identitystore", "rolesanywhere"))
_RIGHTS_ELSEWHERE: Final = frozenset((
    "PutBucketPolicy", "DeleteBucketPolicy", "PutBucketAcl", "PutKeyPolicy", "CreateGrant",
    "PutResourcePolicy", "AddPermission", "SetRepositoryPolicy", "AttachPolicy", "DetachPolicy",
))  # fmt: skip
#: writes outside of CloudTrail that change what is logged, or who hears of it
_TRAILS: Final = frozenset((
    "DeleteLogGroup", "DeleteLogStream", "PutRetentionPolicy", "PutSubscriptionFilter",
    "DeleteSubscriptionFilter", "DeleteFlowLogs", "PutBucketLogging", "DeleteAlarms",
    "StopConfigurationRecorder", "DeleteConfigurationRecorder", "PutConfigurationRecorder",
    "DeleteDeliveryChannel", "DeleteDetector", "UpdateDetector", "DisableSecurityHub",
))  # fmt: skip
#: what gives out temporary credentials
_ISSUES: Final = frozenset((
    "AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "AssumeRoot",
    "GetSessionToken", "GetFederationToken",
))  # fmt: skip
_ABOUT = (
    "userName", "roleName", "groupName", "policyArn", "policyName", "instanceProfileName",
    "roleArn", "name", "trailName", "bucketName", "keyId", "functionName", "logGroupName",
)  # fmt: skip


class CloudTrail(DocumentReader):
    """`resources` says which account of AWS is which resource."""

    kind: ClassVar[str] = "cloudtrail"
    LISTS: ClassVar[tuple[str, ...]] = ("Records",)

    def __init__(self, settings: ReaderSettings) -> None:
        super().__init__()
        options = Options(self.kind, settings)
        self._resources = options.names("resources")
        options.end()
        self._own = re.compile(
            rf"(?:^|[^a-z0-9_]){re.escape(settings.prefix)}_[a-z2-7]{{26}}(?:$|[^a-z0-9_])"
        )

    def read(self, record: bytes) -> Event:
        entry = table(record)
        service = text_within(entry, "eventSource").removesuffix(".amazonaws.com")
        name = text_within(entry, "eventName")
        if not service or not name:
            raise Unreadable("it is no event of CloudTrail")
        error = text_within(entry, "errorCode")
        type = _type(entry, service, name, error)
        issued = type == "credential.issued"
        return Event(
            type=type,
            at=moment(entry.get("eventTime")),
            account=_account(entry),
            session=plain(_issued(entry) if issued else _session(entry)),
            client=text_within(entry, "sourceIPAddress"),
            action=plain(f"{service}:{name}"),
            object=_object(entry),
            failed=bool(error) or type == "session.refused",
            detail=_detail(entry, type, error),
            keys=self._issue_keys(entry) if issued else _caller_keys(entry),
            resource=plain(self._resources.get(text_within(entry, "recipientAccountId"), "")),
        )

    def _issue_keys(self, entry: dict[str, Any]) -> tuple[Key, ...]:
        """
        By whom the credential was taken on, and the credential.

        The caller's own key is not among them: what issues credentials for all grants has one, too.
        """
        own = [key for key in _caller_names(entry) if self._own.search(key.value)]
        return (*(own or _taken_on(entry)), *_keys("access-key", [_issued(entry)]))


def _type(entry: dict[str, Any], service: str, name: str, error: str) -> str:
    if name == "ConsoleLogin":
        let_in = within(entry, "responseElements", "ConsoleLogin") == "Success"
        return "session.opened" if let_in and not error else "session.refused"
    if error:
        return "error"
    if service == "sts" and name in _ISSUES and _issued(entry):
        return "credential.issued"
    if service == "signin" and name == "SwitchRole":
        return "elevated"
    reads = entry.get("readOnly") is True or name.startswith(_READS)
    return "call" if reads else _type_of_write(service, name)


def _type_of_write(service: str, name: str) -> str:
    if service == "cloudtrail" or name in _TRAILS:
        return "logging.changed"
    return "access.changed" if service in _RIGHTS or name in _RIGHTS_ELSEWHERE else "call"


def _issued(entry: dict[str, Any]) -> str:
    return text_within(entry, "responseElements", "credentials", "accessKeyId")


def _account(entry: dict[str, Any]) -> str:
    """As AWS names who did it: a user by name, a session by its ARN, a service by its address."""
    who = entry.get("userIdentity")
    for field in ("userName", "arn", "invokedBy", "principalId", "type"):
        if (field != "userName" or within(who, "type") == "IAMUser") and (
            found := text_within(who, field)
        ):
            return found
    return ""


def _session(entry: dict[str, Any]) -> str:
    """A session has a temporary key of its own."""
    key = text_within(entry, "userIdentity", "accessKeyId")
    return key if _session_name(text_within(entry, "userIdentity", "arn")) else ""


def _session_name(arn: str) -> str:
    """The last part of `arn:aws:sts::…:assumed-role/ROLE/NAME`, or of a federated user."""
    kind, _, rest = arn.rpartition(":")[2].partition("/")
    if kind == "assumed-role":
        return rest.partition("/")[2]
    return rest if kind == "federated-user" else ""


def _keys(kind: str, values: Iterable[str]) -> list[Key]:
    return [Key(kind, value) for value in values if value]


def _caller_names(entry: dict[str, Any]) -> list[Key]:
    who = entry.get("userIdentity")
    source = text_within(who, "sessionContext", "sourceIdentity")
    return _keys("session-name", [source, _session_name(text_within(who, "arn"))])


def _caller_keys(entry: dict[str, Any]) -> tuple[Key, ...]:
    key = text_within(entry, "userIdentity", "accessKeyId")
    return (*_caller_names(entry), *_keys("access-key", [key]))


def _taken_on(entry: dict[str, Any]) -> list[Key]:
    """Under which names a credential was taken on."""
    given, asked = entry.get("responseElements"), entry.get("requestParameters")
    source = text_within(given, "sourceIdentity") or text_within(asked, "sourceIdentity")
    name = (
        _session_name(text_within(given, "assumedRoleUser", "arn"))
        or _session_name(text_within(given, "federatedUser", "arn"))
        or text_within(asked, "roleSessionName")
    )
    return _keys("session-name", [source, name])


def _object(entry: dict[str, Any]) -> str:
    asked = entry.get("requestParameters")
    return next((found for name in _ABOUT if (found := text_within(asked, name))), "")


def _detail(entry: dict[str, Any], type: str, error: str) -> str:
    """What went wrong, or how rights and logging were changed; a call may carry what is secret."""
    if error:
        return prose(f"{error}: {text_within(entry, 'errorMessage')}")
    if type in ("access.changed", "logging.changed"):
        return prose(orjson.dumps(entry.get("requestParameters")).decode())
    return ""
