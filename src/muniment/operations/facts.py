"""From what the log knows to what the policy is asked on; what a caller typed is labelled so."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from muniment.access.case import AccessCase, Ask
from muniment.access.registry import GLASS_WINDOW, Principal, Role
from muniment.evidence import moment
from muniment.operations.service import Service
from muniment.policy.questions import (
    AccessFacts,
    ApprovalFacts,
    CaseFacts,
    Incident,
    PrincipalFacts,
    Reference,
    RoleFacts,
)

CLAIMED = "claimed"


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why access is asked for, as the caller typed it: sealed, and `claimed` in every use."""

    text: str = ""
    ticket: str = ""
    incident: str = ""

    def json(self) -> dict[str, str]:
        return {"incident": self.incident, "text": self.text, "ticket": self.ticket}

    @classmethod
    def read(cls, value: dict[str, Any]) -> "Reason":
        return cls(text=value["text"], ticket=value["ticket"], incident=value["incident"])


def principal_facts(service: Service, principal: Principal) -> PrincipalFacts:
    return PrincipalFacts(
        id=principal.id,
        kind=principal.type,  # type: ignore[arg-type]  # one of three, checked when it was enrolled
        person=principal.person,
        active=all(link.active for link in service.registry.chain(principal)),
        groups=principal.groups,
        attested=principal.attested,
        sponsor=principal.sponsor if principal.type == "agent" else None,
    )


def role_facts(role: Role) -> RoleFacts:
    return RoleFacts(
        resource=role.resource,
        role=role.role,
        tier=role.tier,  # type: ignore[arg-type]  # one of three, checked when it was defined
        environment=role.environment,
        data=role.data,
        kind=role.connector,
    )


def access_facts(
    service: Service,
    principal: Principal,
    role: Role,
    *,
    seconds: int,
    emergency: bool,
    reason: Reason,
    now: datetime,
    glass_before: datetime | None = None,
) -> AccessFacts:
    """`glass_before` leaves out the case's own breaking of glass when it is asked again."""
    sponsor = service.registry.principals.get(principal.sponsor or "")
    agent = principal.type == "agent"
    return AccessFacts(
        requester=principal_facts(service, principal),
        sponsor=principal_facts(service, sponsor) if agent and sponsor is not None else None,
        role=role_facts(role),
        seconds=seconds,
        now=moment.text(now),
        business_hours=service.business_hours(now),
        emergency=emergency,
        break_glass_last_30d=_glass(service, principal, now, glass_before),
        ticket=Reference(id=reason.ticket, state=CLAIMED, source=CLAIMED)
        if reason.ticket
        else None,
        incident=(
            Incident(id=reason.incident, severity=0, open=False, source=CLAIMED)
            if reason.incident
            else None
        ),
    )


def approval_facts(
    service: Service,
    case: AccessCase,
    ask: Ask,
    approver: Principal,
    role: Role,
    now: datetime,
    *,
    leaving_out: str | None = None,
) -> ApprovalFacts:
    """`leaving_out` is the person whose own earlier approval is being asked about again."""
    return ApprovalFacts(
        approver=principal_facts(service, approver),
        requester=case.requested.requester,
        persons=frozenset(case.requested.actor.persons),
        approver_groups=frozenset(ask.required or {}),
        already_approved_by=frozenset(
            given.person for given in ask.approvals if given.person != leaving_out
        ),
        role=role_facts(role),
        now=moment.text(now),
    )


def case_facts(service: Service, case: AccessCase) -> CaseFacts:
    role = service.registry.roles.get((case.requested.resource, case.requested.role))
    asks = [ask.required or {} for ask in (case.ask, case.extension) if ask is not None]
    return CaseFacts(
        requester=case.requested.requester,
        persons=frozenset(case.requested.actor.persons),
        approver_groups=frozenset(group for required in asks for group in required),
        role=role_facts(role) if role is not None else None,
    )


def _glass(service: Service, principal: Principal, now: datetime, before: datetime | None) -> int:
    since = now - GLASS_WINDOW
    counts = [
        sum(
            since <= at and (before is None or at < before)
            for at in service.registry.broken_glass.get(p, ())
        )
        for p in service.registry.persons(principal)
    ]
    return max(counts, default=0)
