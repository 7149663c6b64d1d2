"""What would happen if somebody asked, who could approve, and why; nothing is recorded."""

from dataclasses import dataclass

from muniment.evidence import moment
from muniment.operations.facts import access_facts, principal_facts, role_facts
from muniment.operations.request import AccessAsk
from muniment.operations.service import Caller, Service
from muniment.policy.decide import Decision, ask_request, who_could_approve
from muniment.policy.questions import ApprovalFacts


@dataclass(frozen=True, kw_only=True)
class Preview:
    decision: Decision
    #: principals whose approval would count
    could_approve: tuple[str, ...]


def preview(service: Service, caller: Caller, ask: AccessAsk) -> Preview:
    """Raises `NotFound` for an unknown role."""
    now, role = service.now(), service.role(ask.resource, ask.role)
    principal = service.registry.principals[caller.principal.id]
    facts = access_facts(
        service,
        principal,
        role,
        seconds=ask.seconds,
        emergency=ask.emergency,
        reason=ask.reason,
        now=now,
    )
    decision = ask_request(service.policy(), facts)
    asked = ApprovalFacts(
        approver=principal_facts(service, principal),
        requester=principal.id,
        persons=frozenset(service.registry.persons(principal)),
        approver_groups=frozenset(decision.approvals),
        already_approved_by=frozenset(),
        role=role_facts(role),
        now=moment.text(now),
    )
    humans = [
        principal_facts(service, other)
        for other in list(service.registry.principals.values())
        if other.type == "human" and other.groups & decision.approvals.keys()
    ]
    able = who_could_approve(service.policy(), asked, humans)
    return Preview(
        decision=decision,
        could_approve=tuple(sorted(who.id for who, said in able if said.outcome == "permit")),
    )
