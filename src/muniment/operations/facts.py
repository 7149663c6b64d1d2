"""From what the log knows to what the policy is asked on; what a caller typed is labelled so."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from muniment.access.case import AccessCase, Approval, Ask
from muniment.access.records import PHISHING_RESISTANT, SignIn
from muniment.access.registry import GLASS_WINDOW, Principal, Registry, Role
from muniment.evidence import moment
from muniment.operations.service import Service
from muniment.policy.questions import (
    AccessFacts,
    ApprovalFacts,
    CaseFacts,
    Incident,
    Mfa,
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


def principal_facts(
    service: Service, principal: Principal, signed_in: SignIn | None = None
) -> PrincipalFacts:
    """`signed_in` is how the principal showed who it is when it acted; None shows nothing."""
    return PrincipalFacts(
        id=principal.id,
        kind=principal.type,  # type: ignore[arg-type]  # one of three, checked when it was enrolled
        person=principal.person,
        active=all(link.active for link in service.registry.chain(principal)),
        groups=principal.groups,
        attested=signed_in is not None and signed_in.attested,
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
    signed_in: SignIn | None,
    acted_at: datetime | None = None,
    glass_before: datetime | None = None,
) -> AccessFacts:
    """
    `signed_in` is how the requester had shown who he is when he asked, at `acted_at` (else now).

    `glass_before` leaves out the case's own breaking of glass when it is asked again.
    """
    sponsor = service.registry.principals.get(principal.sponsor or "")
    agent = principal.type == "agent"
    return AccessFacts(
        requester=principal_facts(service, principal, signed_in),
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
        mfa=mfa(signed_in, acted_at or now),
        withdrawn=is_withdrawn(service.registry, principal, role) or None,
    )


def is_withdrawn(registry: Registry, principal: Principal, role: Role) -> bool:
    """Whether a review took this role from him, or from whoever stands behind him."""
    taken = registry.campaigns.taken
    return any(taken(link.id, role.resource, role.role) for link in registry.chain(principal))


def at_best(now: datetime) -> SignIn:
    """What somebody could show at the most who signs in now: for saying who could act."""
    return SignIn(session="", at=now, mfa=PHISHING_RESISTANT, attested=False)


def mfa(signed_in: SignIn | None, at: datetime) -> Mfa | None:
    """The second factor that an authenticator saw, and how old that was when it was made use of."""
    if signed_in is None or not signed_in.mfa:
        return None
    age = max(0, int((at - signed_in.at).total_seconds()))
    return Mfa(age_seconds=age, phishing_resistant=signed_in.mfa == PHISHING_RESISTANT)


def approval_facts(
    service: Service,
    case: AccessCase,
    ask: Ask,
    approver: Principal,
    role: Role,
    now: datetime,
    *,
    signed_in: SignIn | None,
    given: Approval | None = None,
) -> ApprovalFacts:
    """`given` is the approver's own earlier approval, where it is being asked about again."""
    acted_at = given.at if given is not None else now
    return ApprovalFacts(
        approver=principal_facts(service, approver),
        requester=case.requested.requester,
        persons=frozenset(case.requested.actor.persons),
        approver_groups=frozenset(ask.required or {}),
        already_approved_by=frozenset(
            each.person for each in ask.approvals if given is None or each.person != given.person
        ),
        role=role_facts(role),
        now=moment.text(now),
        mfa=mfa(signed_in, acted_at),
    )


def case_facts(service: Service, case: AccessCase) -> CaseFacts:
    role = service.registry.roles.get((case.requested.resource, case.requested.role))
    asks = [ask.required or {} for ask in (case.ask, case.extension) if ask is not None]
    return CaseFacts(
        requester=case.requested.requester,
        persons=frozenset(case.requested.actor.persons),
        approver_groups=frozenset(group for required in asks for group in required),
        role=role_facts(role) if role is not None else None,
        opened=moment.text(case.opened_at) if case.opened_at is not None else None,
        closed=moment.text(case.changed_at) if case.closed and case.changed_at else None,
    )


def _glass(service: Service, principal: Principal, now: datetime, before: datetime | None) -> int:
    """How often whoever of the chain did it most has broken glass lately."""
    registry, since = service.registry, now - GLASS_WINDOW
    counts = [registry.glass_since(p, since, before) for p in registry.persons(principal)]
    return max(counts, default=0)
