"""
Reads the audit log of Kubernetes: as it is, from GKE, and from AKS.

A gateway may act in the name of others; so may somebody with a grant, where the cluster lets them.
What a request says of whom it impersonates leads to a grant only if the caller is none of ours.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from muniment.errors import Unreadable
from muniment.oversight.event import Event, Key, ReaderSettings
from muniment.oversight.readers.border import (
    DocumentReader,
    document,
    moment,
    plain,
    prose,
    table,
    text_within,
    within,
)
from muniment.oversight.readers.options import Options, OwnAccounts

_WRITES: Final = frozenset((
    "create", "update", "patch", "delete", "deletecollection", "bind", "escalate", "approve",
))  # fmt: skip
_RIGHTS: Final = frozenset((
    "roles", "rolebindings", "clusterroles", "clusterrolebindings", "serviceaccounts",
    "certificatesigningrequests",
))  # fmt: skip
_SESSIONS: Final = frozenset(("exec", "attach", "portforward", "proxy", "ephemeralcontainers"))
_NAMES_OF_EXTRA: Final[Mapping[str, str]] = {
    "sessionName": "session-name",
    "accessKeyId": "access-key",
    "authentication.kubernetes.io/credential-id": "token",
}
_ISSUED: Final = "authentication.kubernetes.io/issued-credential-id"
_FIRST_ERROR: Final = 400
#: stages of a request that another one of the same request follows
_EARLY: Final = ("RequestReceived", "ResponseStarted")
_VERSION = re.compile(r"v\d{1,3}(?:(?:alpha|beta)\d{1,3})?")
_GROUP_OF_GOOGLE: Final = "io.k8s."


class Kubernetes(DocumentReader):
    """`impersonators` are the accounts whose impersonation is believed; without it, all are."""

    kind: ClassVar[str] = "kubernetes"
    LISTS: ClassVar[tuple[str, ...]] = ("items", "records", "entries")

    def __init__(self, settings: ReaderSettings) -> None:
        super().__init__()
        options = Options(self.kind, settings)
        self._impersonators = options.texts("impersonators")
        options.end()
        self._own = OwnAccounts(settings.prefix)

    def read(self, record: bytes) -> Event:
        entry: Mapping[str, Any] = table(record)
        if isinstance(entry.get("protoPayload"), dict):
            return self._google(entry)
        inner = within(entry, "properties", "log")
        if isinstance(inner, str):
            entry = _object_in(inner)
        elif isinstance(inner, dict):
            entry = inner
        return self._event(entry)

    def _event(self, entry: Mapping[str, Any]) -> Event:
        verb, about = text_within(entry, "verb"), entry.get("objectRef")
        if not verb or not isinstance(entry.get("user"), dict):
            raise Unreadable("it is no event of Kubernetes' audit log")
        resource, part = text_within(about, "resource"), text_within(about, "subresource")
        code = within(entry, "responseStatus", "code")
        failed = isinstance(code, int) and code >= _FIRST_ERROR
        type = _type(verb, resource, part, failed=failed)
        if type != "error" and text_within(entry, "stage") in _EARLY and part not in _SESSIONS:
            type = "other"
        who = entry["impersonatedUser" if _impersonates(entry) else "user"]
        return Event(
            type=type,
            at=moment(entry.get("stageTimestamp") or entry.get("requestReceivedTimestamp")),
            account=text_within(who, "username"),
            session=next((key.value for key in _extra(who) if key.kind == "token"), ""),
            client=_first(entry.get("sourceIPs")),
            action=plain(f"{verb} {resource}/{part}" if part else f"{verb} {resource}".strip()),
            object=_place(text_within(about, "namespace"), text_within(about, "name")),
            failed=failed,
            detail=prose(_text(entry.get("requestURI"))),
            keys=self._keys(entry, issued=type == "credential.issued"),
        )

    def _keys(self, entry: Mapping[str, Any], *, issued: bool) -> tuple[Key, ...]:
        caller = entry["user"]
        own = self._account(text_within(caller, "username"))
        keys = [*own, *_extra(caller)]
        if _impersonates(entry) and not own and self._believed(text_within(caller, "username")):
            other = entry["impersonatedUser"]
            keys = [*self._account(text_within(other, "username")), *_extra(other)]
        if not issued:
            return tuple(keys)
        # The caller's token must not come to stand for the grant that it issues one for.
        named = [key for key in keys if key.kind not in ("token", "access-key")]
        named = named or list(self._own.keys(text_within(entry, "objectRef", "name")))
        token = text_within(entry, "annotations", _ISSUED)
        return (*named, Key("token", token)) if token else tuple(named)

    def _account(self, username: str) -> tuple[Key, ...]:
        """`mun_…` by itself, or as the last part of a service account or of a mapped user."""
        tail = username.replace("/", ":").rpartition(":")[2]
        return self._own.keys(tail)

    def _believed(self, caller: str) -> bool:
        return not self._impersonators or caller in self._impersonators

    # --- GKE

    def _google(self, entry: Mapping[str, Any]) -> Event:
        """The audit log of Google Cloud has the same in other words."""
        said = entry["protoPayload"]
        method = text_within(said, "methodName")
        if not method.startswith(_GROUP_OF_GOOGLE):
            raise Unreadable("it is no event of Kubernetes' audit log")
        resource, part, verb = _method(method)
        code = within(said, "status", "code")
        failed = isinstance(code, int) and code != 0
        account = text_within(said, "authenticationInfo", "principalEmail")
        return Event(
            type=_type(verb, resource, part, failed=failed),
            at=moment(entry.get("timestamp")),
            account=account,
            client=text_within(said, "requestMetadata", "callerIp"),
            action=plain(f"{verb} {resource}/{part}" if part else f"{verb} {resource}"),
            object=text_within(said, "resourceName"),
            failed=failed,
            detail=prose(text_within(said, "status", "message")),
            keys=self._account(account),
        )


def _method(name: str) -> tuple[str, str, str]:
    """Resource, subresource and verb of `io.k8s.core.v1.pods.exec.create`."""
    parts = name.split(".")
    versions = [number for number, part in enumerate(parts) if _VERSION.fullmatch(part)]
    rest = parts[versions[0] + 1 :] if versions else parts[-2:]
    return (rest[0], rest[1] if len(rest) > 2 else "", rest[-1]) if rest else ("", "", "")  # noqa: PLR2004 - all three


def _object_in(text: str) -> Mapping[str, Any]:
    value = document(text.encode("utf-8", "replace"))
    if isinstance(value, dict):
        return value
    raise Unreadable("its log is no JSON object")


def _type(verb: str, resource: str, part: str, *, failed: bool) -> str:
    if failed:
        return "error"
    if part in _SESSIONS:
        return "statement"
    if verb in _WRITES:
        if (resource, part) == ("serviceaccounts", "token"):
            return "credential.issued"
        if resource == "auditsinks":
            return "logging.changed"
        if resource in _RIGHTS and part != "status":
            return "access.changed"
    return "call"


def _impersonates(entry: Mapping[str, Any]) -> bool:
    return isinstance(entry.get("impersonatedUser"), dict)


def _extra(who: object) -> list[Key]:
    """What the cluster adds to a user; each value is a list."""
    extra = within(who, "extra")
    return [
        Key(kind, value)
        for name, kind in _NAMES_OF_EXTRA.items()
        if (value := _first(within(extra, name)))
    ]


def _first(values: object) -> str:
    return plain(values[0]) if isinstance(values, list) and values else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _place(namespace: str, name: str) -> str:
    return plain(f"{namespace}/{name}" if namespace else name)
