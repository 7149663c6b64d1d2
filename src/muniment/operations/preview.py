"""What would happen if somebody asked, who could approve, and why; nothing is recorded."""

from dataclasses import dataclass

from muniment.access.records import SignIn
from muniment.access.registry import Principal
from muniment.evidence import moment
from muniment.operations.facts import access_facts, at_best, mfa, principal_facts, role_facts
from muniment.operations.request import AccessAsk
from muniment.operations.service import Caller, Service
from muniment.policy.decide import Decision, ask_request, who_could_approve
from muniment.policy.questions import ApprovalFacts


@dataclass(frozen=True, kw_only=True)
class Preview:
    decision: Decision
    #: principals whose approval would count
    could_approve: tuple[str, ...]


def foresee(
    service: Service, principal: Principal, ask: AccessAsk, signed_in: SignIn | None
) -> Decision:
    """
    What the policy would say to somebody who is signed in so.

    Raises `NotFound` for an unknown role.
    """
    facts = access_facts(
        service,
        principal,
        service.role(ask.resource, ask.role),
        seconds=ask.seconds,
        emergency=ask.emergency,
        reason=ask.reason,
        now=service.now(),
        signed_in=signed_in,
    )
    return ask_request(service.policy(), facts)


def preview(service: Service, caller: Caller, ask: AccessAsk) -> Preview:
    """Raises `NotFound` for an unknown role."""
    now, role = service.now(), service.role(ask.resource, ask.role)
    principal = service.registry.principals[caller.principal.id]
    decision = foresee(service, principal, ask, caller.sign_in)
    asked = ApprovalFacts(
        approver=principal_facts(service, principal),
        requester=principal.id,
        persons=frozenset(service.registry.persons(principal)),
        approver_groups=frozenset(decision.approvals),
        already_approved_by=frozenset(),
        role=role_facts(role),
        now=moment.text(now),
        mfa=mfa(at_best(now), now),
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
