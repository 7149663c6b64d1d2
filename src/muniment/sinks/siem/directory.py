"""Who and what there is, and the log itself, in the words of OCSF."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from muniment.access import records
from muniment.sinks.siem.shapes import (
    ACCOUNT,
    ACTIVATE,
    AUTHENTICATION,
    CREATE,
    DELETE,
    ENTITY,
    EVENT_LOG,
    FAILURE,
    GROUP,
    HIGH,
    INFORMATIONAL,
    LOW,
    MEDIUM,
    OTHER,
    SUCCESS,
    UPDATE,
    Seen,
    Told,
    entity,
    milliseconds,
    user,
)

_SERVICE: Final = {"service": {"name": "muniment"}}


# --- people, programs, their tokens and sessions ----------------------------------------------


def _enrolled(seen: Seen, record: records.PrincipalEnrolled) -> Told:
    new, was = not seen.header.position, seen.case.active
    if not record.active:
        activity, named, what = 5, "", "is disabled"
    elif new:
        activity, named, what = 1, "", "is enrolled"
    elif not was:
        activity, named, what = 2, "", "is enabled again"
    else:
        activity, named, what = OTHER, "Update", "has changed"
    groups = [{"name": name} for name in record.groups]
    who = user(seen.header.case, record.type, **({"groups": groups} if groups else {}))
    return Told(
        ocsf=ACCOUNT,
        activity=activity,
        named=named,
        message=f"{record.type} {seen.header.case} {what}, says {record.source}",
        fields={"user": who},
    )


def _group(seen: Seen, record: records.GroupDefined) -> Told:
    gone, new = not record.active, not seen.header.position
    what = "is gone" if gone else "is there" if new else "has changed"
    return Told(
        ocsf=GROUP,
        activity=5 if gone else 6 if new else OTHER,
        named="" if gone or new else "Update",
        message=f"group {record.name} {what}, says {record.source}",
        fields={"group": {"uid": seen.header.case, "name": record.name}},
    )


def _token(seen: Seen, record: records.TokenEnrolled | records.TokenRevoked) -> Told:
    gone = isinstance(record, records.TokenRevoked)
    return Told(
        ocsf=ACCOUNT,
        activity=OTHER,
        named="Remove Programmatic Credential" if gone else "Add Programmatic Credential",
        message=f"a token of {seen.header.case} {'holds no more' if gone else 'holds from now on'}",
        severity=INFORMATIONAL if gone else LOW,
        fields={"user": {**_owner(seen), **_credential(record.token)}},
    )


def _owner(seen: Seen) -> dict[str, Any]:
    first = seen.case.opened
    type = first.type if isinstance(first, records.PrincipalEnrolled) else ""
    return user(seen.header.case, type)


def _credential(token: bytes) -> dict[str, Any]:
    """By the hash of a random token, as the log names it."""
    return {
        "credential_uid": token.hex(),
        "programmatic_credentials": [{"uid": token.hex(), "type": "token"}],
    }


def _session_opened(seen: Seen, record: records.SessionOpened) -> Told:
    return Told(
        ocsf=AUTHENTICATION,
        activity=1,
        message=f"{record.principal} signed in by {record.method}, says {record.provider}",
        fields={
            **_SERVICE,
            "user": user(record.principal, record.actor.type, has_mfa=bool(record.mfa)),
            "is_mfa": bool(record.mfa),
            "session": {
                "uid": seen.header.case,
                "issuer": record.provider,
                "is_mfa": bool(record.mfa),
                "created_time": milliseconds(record.authenticated_at),
                "expiration_time": milliseconds(record.expires),
                "credential_uid": record.token.hex(),
            },
        },
    )


def _session_closed(seen: Seen, record: records.SessionClosed) -> Told:
    first = seen.case.opened
    who = first.principal if isinstance(first, records.SessionOpened) else seen.header.case
    taken = record.reason not in ("signed-out", "parent-closed", "task-closed")
    return Told(
        ocsf=AUTHENTICATION,
        activity=2,
        message=f"a session of {who} is over: {record.reason}",
        severity=LOW if taken else INFORMATIONAL,
        fields={
            **_SERVICE,
            "user": user(who),
            "session": {"uid": seen.header.case, "expiration_reason": record.reason},
            "status_detail": record.reason,
        },
    )


# --- roles, configuration, policy -------------------------------------------------------------


def _role(seen: Seen, record: records.RoleDefined) -> Told:
    name = f"{record.resource}/{record.role}"
    return Told(
        ocsf=ENTITY,
        activity=UPDATE if seen.header.position else CREATE,
        message=f"role {name} can be asked for as it is defined now",
        severity=LOW,
        fields={"entity": entity(seen.header.case, "role", name=name)},
    )


def _role_withdrawn(seen: Seen, _: records.RoleWithdrawn) -> Told:
    first = seen.case.opened
    known = isinstance(first, records.RoleDefined)
    name = f"{first.resource}/{first.role}" if isinstance(first, records.RoleDefined) else ""
    return Told(
        ocsf=ENTITY,
        activity=DELETE,
        message=f"role {name or seen.header.case} can be asked for no more",
        fields={"entity": entity(seen.header.case, "role", **({"name": name} if known else {}))},
    )


def _configured(_: Seen, record: records.ConfigChanged) -> Told:
    return Told(
        ocsf=ENTITY,
        activity=UPDATE,
        message=f"another configuration is in force, from {record.source}",
        severity=LOW,
        fields={"entity": entity(record.configuration.hex(), "configuration")},
    )


def _policy(_: Seen, record: records.PolicyActivated) -> Told:
    return Told(
        ocsf=ENTITY,
        activity=ACTIVATE,
        message=f"policy {record.bundle.hex()[:12]} is in force, from {record.source}",
        severity=MEDIUM if record.previous is not None else LOW,
        fields={
            "entity": {
                "uid": record.bundle.hex(),
                "type_id": 5,
                "type": "Policy",
                "policy": {"uid": record.bundle.hex(), "name": "policy bundle", "is_applied": True},
            }
        },
    )


# --- the log itself ---------------------------------------------------------------------------


def _of_log(seen: Seen, named: str, message: str, severity: int = INFORMATIONAL) -> Told:
    return Told(
        ocsf=EVENT_LOG,
        activity=OTHER,
        named=named,
        message=message,
        severity=severity,
        fields=_log(seen),
    )


def _log(seen: Seen) -> dict[str, Any]:
    return {"log_name": seen.origin, "log_provider": "muniment", "log_type_id": 2}


def _started(seen: Seen, record: records.LogStarted) -> Told:
    return Told(
        ocsf=EVENT_LOG,
        activity=6,
        message=f"the log {record.origin} begins",
        fields=_log(seen),
    )


def _heartbeat(seen: Seen, record: records.LogHeartbeat) -> Told:
    count = sum(record.unrecorded.values())
    return _of_log(seen, "Heartbeat", f"the service lives; {count} answers were not recorded")


def _indexed(seen: Seen, record: records.LogIndexed) -> Told:
    return _of_log(seen, "Index", f"the log of {record.size} entries has {record.cases} cases")


def _witnessed(seen: Seen, record: records.LogWitnessed) -> Told:
    what = "is there" if record.quorum else "is missing"
    return Told(
        ocsf=EVENT_LOG,
        activity=OTHER,
        named="Witness",
        message=f"the quorum of witnesses {what} at size {record.size}",
        severity=INFORMATIONAL if record.quorum else HIGH,
        status=SUCCESS if record.quorum else FAILURE,
        fields=_log(seen),
    )


def _key_added(_: Seen, record: records.KeyAdded) -> Told:
    return Told(
        ocsf=ENTITY,
        activity=CREATE,
        message="one more key signs the log",
        severity=MEDIUM,
        fields={"entity": entity(record.key, "log key")},
    )


def _key_retired(_: Seen, record: records.KeyRetired) -> Told:
    return Told(
        ocsf=ENTITY,
        activity=DELETE,
        message=f"a key of the log signs no more: {record.reason}",
        severity=HIGH if record.reason == "compromised" else MEDIUM,
        fields={"entity": entity(record.key, "log key"), "status_detail": record.reason},
    )


def _clock(seen: Seen, record: records.ClockStepped) -> Told:
    return _of_log(
        seen,
        "Clock Step",
        f"an operator vouches for a clock that moved {record.step_ms} ms",
        MEDIUM,
    )


KINDS: Final[Mapping[type[records.Record], Callable[..., Told]]] = {
    records.PrincipalEnrolled: _enrolled,
    records.GroupDefined: _group,
    records.TokenEnrolled: _token,
    records.TokenRevoked: _token,
    records.SessionOpened: _session_opened,
    records.SessionClosed: _session_closed,
    records.RoleDefined: _role,
    records.RoleWithdrawn: _role_withdrawn,
    records.ConfigChanged: _configured,
    records.PolicyActivated: _policy,
    records.LogStarted: _started,
    records.LogHeartbeat: _heartbeat,
    records.LogIndexed: _indexed,
    records.LogWitnessed: _witnessed,
    records.KeyAdded: _key_added,
    records.KeyRetired: _key_retired,
    records.ClockStepped: _clock,
}
