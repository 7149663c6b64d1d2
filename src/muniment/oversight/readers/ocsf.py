"""
Reads events of OCSF: logins, changes of accounts and rights, calls of an API.

Classes of other categories are readable, and none of ours.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from muniment.errors import Unreadable
from muniment.oversight.event import Event, Key, ReaderSettings
from muniment.oversight.readers.border import (
    DocumentReader,
    moment_since_epoch,
    plain,
    prose,
    table,
    text_within,
    within,
)
from muniment.oversight.readers.options import Options, OwnAccounts

_AUTHENTICATION, _AUTHORIZE_SESSION, _API = 3002, 3003, 6003
_TYPES: Final[Mapping[int, str]] = {
    3001: "access.changed",  # Account Change
    3003: "elevated",  # Authorize Session
    3004: "call",  # Entity Management
    3005: "access.changed",  # User Access Management
    3006: "access.changed",  # Group Management
    3007: "access.changed",  # User Management, from 1.9 on
    3008: "access.changed",  # Role Management, from 1.9 on
    6003: "call",  # API Activity
}
_LOGON, _LOGOFF = 1, 2
_FAILURE: Final = 2
_CHANGED = ("user", "group", "iam_role", "entity")


class OcsfEvents:
    """From an OCSF object to an event."""

    def __init__(self, options: Options, prefix: str) -> None:
        self._resources = options.names("resources")
        self._own = OwnAccounts(prefix)

    def event(self, value: Mapping[str, Any]) -> Event:
        number, activity = value.get("class_uid"), value.get("activity_id")
        if not isinstance(number, int) or not isinstance(activity, int):
            raise Unreadable("it is no event of OCSF")
        failed = value.get("status_id") == _FAILURE
        # Of a login the user is who comes; of a change it is who was changed.
        who = within(value, "user") if number == _AUTHENTICATION else None
        who = who or within(value, "actor", "user") or within(value, "user")
        account = text_within(who, "name") or text_within(who, "uid")
        cloud = text_within(value, "cloud", "account", "uid")
        return Event(
            type=_type(number, activity, failed=failed),
            at=moment_since_epoch(value.get("time"), 1000),
            account=account,
            session=text_within(value, "actor", "session", "uid")
            or text_within(value, "session", "uid"),
            client=text_within(value, "src_endpoint", "ip"),
            action=_action(value),
            object=_object(value, number),
            failed=failed,
            detail=prose(_message(value)),
            keys=(*self._own.keys(account), *_tokens(value, number)),
            resource=plain(self._resources.get(cloud, "")),
        )


def _type(number: int, activity: int, *, failed: bool) -> str:
    if number == _AUTHENTICATION:
        if failed:
            return "session.refused"
        return {_LOGON: "session.opened", _LOGOFF: "session.closed"}.get(activity, "other")
    type = _TYPES.get(number, "other")
    return "error" if failed and type != "other" else type


def _action(value: Mapping[str, Any]) -> str:
    operation = text_within(value, "api", "operation")
    service = text_within(value, "api", "service", "name").removesuffix(".amazonaws.com")
    if operation:
        return plain(f"{service}:{operation}" if service else operation)
    return text_within(value, "activity_name") or text_within(value, "class_name")


def _object(value: Mapping[str, Any], number: int) -> str:
    if number in (_AUTHENTICATION, _AUTHORIZE_SESSION):
        return text_within(value, "dst_endpoint", "hostname") or text_within(
            value, "service", "name"
        )
    resources = value.get("resources")
    places = [value.get(name) for name in _CHANGED]
    places += resources[:1] if isinstance(resources, list) else []
    for place in places:
        if found := text_within(place, "name") or text_within(place, "uid"):
            return found
    return ""


def _message(value: Mapping[str, Any]) -> str:
    said = value.get("message") or value.get("status_detail")
    return said if isinstance(said, str) else ""


def _tokens(value: Mapping[str, Any], number: int) -> list[Key]:
    """The credential of who did it; that of the user only where the user is who did it."""
    places = [("actor", "user"), ("actor", "session"), ("session",)]
    if number in (_AUTHENTICATION, _AUTHORIZE_SESSION):
        places.append(("user",))
    found = (text_within(value, *place, "credential_uid") for place in places)
    return [Key("token", each) for each in dict.fromkeys(found) if each]


class Ocsf(DocumentReader):
    """`resources` says which account of a cloud is which resource."""

    kind: ClassVar[str] = "ocsf"

    def __init__(self, settings: ReaderSettings) -> None:
        super().__init__()
        options = Options(self.kind, settings)
        self._events = OcsfEvents(options, settings.prefix)
        options.end()

    def read(self, record: bytes) -> Event:
        return self._events.event(table(record))
