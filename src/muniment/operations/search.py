"""Who has access to what at this moment: every answer is one that an evaluation permits."""

from muniment.access.registry import Principal
from muniment.operations import permit
from muniment.operations.evaluate import evaluate, live
from muniment.operations.service import Caller, Service


def subjects(service: Service, caller: Caller, type: str, resource: str, role: str) -> list[str]:
    """
    Principals of a type that have this role now, in a fixed order.

    Asking who else has access is asking about others: raises `NotPermitted` without that right.
    """
    permit.require(service, caller, "evaluate")
    held = {g.requester for g in live(service) if (g.resource, g.role) == (resource, role)}
    known = [service.registry.principals[id_] for id_ in sorted(held)]
    return [
        each.id
        for each in known
        if each.type == type and evaluate(service, each, resource, role).granted
    ]


def resources(service: Service, principal: Principal, role: str) -> list[str]:
    """Resources on which this principal has a role of this name now, in a fixed order."""
    held = {g.resource for g in live(service) if (g.requester, g.role) == (principal.id, role)}
    return [each for each in sorted(held) if evaluate(service, principal, each, role).granted]


def roles(service: Service, principal: Principal, resource: str) -> list[str]:
    """Roles that this principal has on a resource now, in a fixed order."""
    held = {g.role for g in live(service) if (g.requester, g.resource) == (principal.id, resource)}
    return [each for each in sorted(held) if evaluate(service, principal, resource, each).granted]
