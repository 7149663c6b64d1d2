"""
What one question shows to the engine: the entities it may look at, the resource and the context.

The slice is closed: it holds what the principal, the resource and the context refer to, so that
the answer is the same as on the whole directory. Groups and resources have no attributes, so that
naming them as parents is enough. The one exception is an agent's `sponsor`, there to be compared:
if it is not also `context.onBehalfOf`, a rule that looks inside it errs, and so denies.
"""

from dataclasses import dataclass
from typing import Any

from muniment.policy.questions import (
    AccessFacts,
    ApprovalFacts,
    CaseFacts,
    Facts,
    Mfa,
    OperateFacts,
    PrincipalFacts,
    RoleFacts,
)

Json = dict[str, Any]

# Ids go in as values, never pasted into `Type::"…"` text: what a user chose is not syntax.
_TYPES = {"human": "Muniment::Human", "workload": "Muniment::Workload", "agent": "Muniment::Agent"}


@dataclass(frozen=True, slots=True)
class Snapshot:
    resource: Json
    context: Json
    entities: list[Json]


def uid(type_: str, id: str) -> Json:
    return {"type": f"Muniment::{type_}", "id": id}


def principal_uid(principal: PrincipalFacts) -> Json:
    return {"type": _TYPES[principal.kind], "id": principal.id}


def of(facts: Facts) -> Snapshot:
    match facts:
        case AccessFacts():
            return _access(facts)
        case ApprovalFacts():
            return _approval(facts)
        case OperateFacts():
            return _operation(facts)


def _access(facts: AccessFacts) -> Snapshot:
    context: Json = {
        "now": _extension("datetime", facts.now),
        "duration": _extension("duration", f"{facts.seconds}s"),
        "businessHours": facts.business_hours,
        "breakGlassLast30d": facts.break_glass_last_30d,
        **_factor(facts.mfa),
    }
    if facts.ticket is not None:
        ticket = facts.ticket
        context["ticket"] = {"id": ticket.id, "state": ticket.state, "source": ticket.source}
    if facts.incident is not None:
        incident = facts.incident
        context["incident"] = {
            "id": incident.id,
            "severity": incident.severity,
            "open": incident.open,
            "source": incident.source,
        }
    entities = [_principal(facts.requester), _role(facts.role)]
    if facts.sponsor is not None:
        context["onBehalfOf"] = principal_uid(facts.sponsor)
        entities.append(_principal(facts.sponsor))
    return Snapshot(_role_uid(facts.role), context, entities)


def _approval(facts: ApprovalFacts) -> Snapshot:
    resource = uid("AccessRequest", "case")
    request = {
        "uid": resource,
        "attrs": {
            "requester": facts.requester,
            "persons": sorted(facts.persons),
            "approverGroups": _groups(facts.approver_groups),
            "alreadyApprovedBy": sorted(facts.already_approved_by),
            "role": _role_uid(facts.role),
        },
        "parents": [],
    }
    context = {"now": _extension("datetime", facts.now), **_factor(facts.mfa)}
    return Snapshot(resource, context, [_principal(facts.approver), _role(facts.role), request])


def _operation(facts: OperateFacts) -> Snapshot:
    context = {
        "now": _extension("datetime", facts.now),
        "operation": uid("Operation", facts.operation),
        **_factor(facts.mfa),
    }
    entities = [_principal(facts.principal)]
    if facts.case is None:
        resource = uid("Installation", "installation")
        return Snapshot(resource, context, [*entities, _bare(resource)])
    if facts.case.role is not None:
        entities.append(_role(facts.case.role))
    return Snapshot(uid("Case", "case"), context, [*entities, _case(facts.case)])


def _principal(principal: PrincipalFacts) -> Json:
    attributes: Json = {
        "id": principal.id,
        "person": principal.person,
        "active": principal.active,
    }
    if principal.kind != "human":
        attributes["attested"] = principal.attested
    if principal.kind == "agent" and principal.sponsor is not None:
        attributes["sponsor"] = uid("Human", principal.sponsor)
    return {
        "uid": principal_uid(principal),
        "attrs": attributes,
        "parents": _groups(principal.groups),
    }


def _role(role: RoleFacts) -> Json:
    return {
        "uid": _role_uid(role),
        "attrs": {
            "tier": uid("Tier", role.tier),
            "environment": role.environment,
            "data": role.data,
            "kind": role.kind,
        },
        "parents": [uid("Resource", role.resource)],
    }


def _case(case: CaseFacts) -> Json:
    attributes: Json = {
        "requester": case.requester,
        "persons": sorted(case.persons),
        "approverGroups": _groups(case.approver_groups),
    }
    if case.role is not None:
        attributes["role"] = _role_uid(case.role)
    for name, at in (("opened", case.opened), ("closed", case.closed)):
        if at is not None:
            attributes[name] = _extension("datetime", at)
    return {"uid": uid("Case", "case"), "attrs": attributes, "parents": []}


def _bare(uid_: Json) -> Json:
    return {"uid": uid_, "attrs": {}, "parents": []}


def _role_uid(role: RoleFacts) -> Json:
    return uid("Role", role.id)


def _groups(groups: frozenset[str]) -> list[Json]:
    return [uid("Group", group) for group in sorted(groups)]


def _extension(function: str, argument: str) -> Json:
    return {"__extn": {"fn": function, "arg": argument}}


def _factor(mfa: Mfa | None) -> Json:
    if mfa is None:
        return {}
    return {"mfa": {"ageSeconds": mfa.age_seconds, "phishingResistant": mfa.phishing_resistant}}
