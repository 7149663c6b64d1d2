"""
What OCSF 1.8.0 calls things: its classes, activities and objects, as far as we use them.

People and programs stand here by their pseudonymous ids. Names, addresses, reasons and whatever
else is sealed never does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from muniment.access.records import Actor, Record
from muniment.evidence.record import Header
from muniment.sinks.siem.case_so_far import CaseSoFar

INFORMATIONAL: Final = 1
LOW: Final = 2
MEDIUM: Final = 3
HIGH: Final = 4
CRITICAL: Final = 5
SEVERITIES: Final[Mapping[int, str]] = {
    0: "Unknown",
    INFORMATIONAL: "Informational",
    LOW: "Low",
    MEDIUM: "Medium",
    HIGH: "High",
    CRITICAL: "Critical",
}
SUCCESS: Final = (1, "Success")
FAILURE: Final = (2, "Failure")
ALLOWED: Final = (1, "Allowed")
DENIED: Final = (2, "Denied")


@dataclass(frozen=True, kw_only=True, slots=True)
class EventClass:
    """One class of OCSF."""

    uid: int
    #: as the schema is called
    name: str
    caption: str
    category: tuple[int, str]
    activities: Mapping[int, str]
    #: whether an event of it can say who acted
    has_actor: bool = True
    profiles: tuple[str, ...] = ("datetime", "security_control")


_IAM: Final = (3, "Identity & Access Management")
_FINDINGS: Final = (2, "Findings")
_SYSTEM: Final = (1, "System Activity")
OTHER: Final = 99
_FINDING: Final = {1: "Create", 2: "Update", 3: "Close"}

ACCOUNT: Final = EventClass(
    uid=3001,
    name="account_change",
    caption="Account Change",
    category=_IAM,
    activities={1: "Create", 2: "Enable", 4: "Password Reset", 5: "Disable", 6: "Delete"},
)
AUTHENTICATION: Final = EventClass(
    uid=3002,
    name="authentication",
    caption="Authentication",
    category=_IAM,
    activities={1: "Logon", 2: "Logoff"},
)
SESSION: Final = EventClass(
    uid=3003,
    name="authorize_session",
    caption="Authorize Session",
    category=_IAM,
    activities={1: "Assign Privileges"},
)
ENTITY: Final = EventClass(
    uid=3004,
    name="entity_management",
    caption="Entity Management",
    category=_IAM,
    activities={1: "Create", 3: "Update", 4: "Delete", 10: "Activate", 11: "Deactivate"},
)
USER_ACCESS: Final = EventClass(
    uid=3005,
    name="user_access",
    caption="User Access Management",
    category=_IAM,
    activities={1: "Assign Privileges", 2: "Revoke Privileges"},
)
GROUP: Final = EventClass(
    uid=3006,
    name="group_management",
    caption="Group Management",
    category=_IAM,
    activities={5: "Delete", 6: "Create"},
)
COMPLIANCE: Final = EventClass(
    uid=2003,
    name="compliance_finding",
    caption="Compliance Finding",
    category=_FINDINGS,
    activities=_FINDING,
    has_actor=False,
)
DETECTION: Final = EventClass(
    uid=2004,
    name="detection_finding",
    caption="Detection Finding",
    category=_FINDINGS,
    activities=_FINDING,
    has_actor=False,
    profiles=("datetime", "incident", "security_control"),
)
EVENT_LOG: Final = EventClass(
    uid=1008,
    name="event_log_actvity",  # as OCSF has it
    caption="Event Log Activity",
    category=_SYSTEM,
    activities={3: "Export", 6: "Start", 7: "Stop"},
)
BASE: Final = EventClass(
    uid=0,
    name="base_event",
    caption="Base Event",
    category=(0, "Uncategorized"),
    activities={},
    has_actor=False,
)

#: activities by what they are called above
CREATE, UPDATE, DELETE, ACTIVATE, DEACTIVATE = 1, 3, 4, 10, 11
RAISE, AMEND, CLOSE = 1, 2, 3
ASSIGN, REVOKE = 1, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A record, and what its case was before it."""

    header: Header
    record: Record
    case: CaseSoFar
    #: of the log
    origin: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a record is in the words of OCSF."""

    ocsf: EventClass
    activity: int
    #: one line for people
    message: str
    #: of activity 99: what it is called
    named: str = ""
    severity: int = INFORMATIONAL
    status: tuple[int, str] = SUCCESS
    #: a decision: its action, and the disposition
    action: tuple[int, str] | None = None
    #: what its class has besides
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def activity_name(self) -> str:
        return self.named or self.ocsf.activities[self.activity]


_USER_TYPES: Final = {
    "human": (1, "User"),
    "workload": (4, "Service"),
    "agent": (OTHER, "AI Agent"),
    "service": (3, "System"),
}


def milliseconds(at: datetime) -> int:
    """Since 1970: what OCSF calls a timestamp."""
    return round(at.timestamp() * 1000)


def user(principal: str, type: str = "", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"uid": principal, **more}
    if type in _USER_TYPES:
        found["type_id"], found["type"] = _USER_TYPES[type]
    return found


def actor(of: Actor) -> dict[str, Any]:
    who = user(of.principal, of.type)
    found: dict[str, Any] = {"user": who}
    if of.principal == "service":
        found["app_name"] = "muniment"
    if of.sign_in is not None:
        mfa = bool(of.sign_in.mfa)
        who["has_mfa"] = mfa
        found["session"] = {
            "uid": of.sign_in.session,
            "is_mfa": mfa,
            "created_time": milliseconds(of.sign_in.at),
        }
    return found


def requester(seen: Seen) -> dict[str, Any]:
    """Whom the access of this case is for."""
    asked = seen.case.asked
    if asked is None:
        return user(seen.record.actor.principal, seen.record.actor.type)
    type = asked.actor.type if asked.actor.principal == asked.requester else ""
    return user(asked.requester, type)


def privilege(seen: Seen) -> str:
    """What this case is about, as Cedar names it."""
    asked = seen.case.asked
    return f"{asked.resource}/{asked.role}" if asked is not None else seen.header.case


def resources(seen: Seen) -> list[dict[str, Any]]:
    asked = seen.case.asked
    if asked is None:
        return []
    return [
        {
            "uid": f"{asked.resource}/{asked.role}",
            "name": asked.resource,
            "type": "resource",
            "labels": [f"environment:{asked.environment}"],
            "role_id": 1,
            "role": "Target",
        }
    ]


def resource(name: str) -> list[dict[str, Any]]:
    return [{"uid": name, "name": name, "type": "resource", "role_id": 1, "role": "Target"}]


def entity(uid: str, type: str, **more: Any) -> dict[str, Any]:
    return {"uid": uid, "type_id": OTHER, "type": type, **more}


def tags(**values: str | Sequence[str]) -> list[dict[str, Any]]:
    """What has a value, as pairs; one with several values has them as a list."""
    return [
        {"name": name, "value": value}
        if isinstance(value, str)
        else {"name": name, "values": list(value)}
        for name, value in values.items()
        if value
    ]
