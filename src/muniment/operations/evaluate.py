"""
Is access there now? Yes only while a live grant stands that today's policy would still give.

An approval is a hint where to look, and never an answer: what decides is the grant that came of it,
folded from records that were just proved to be in the log, and the policy asked anew. Nothing is
recorded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from muniment.access import quorum
from muniment.access.case import LIVE, AccessCase
from muniment.access.registry import OpenGrant, Principal
from muniment.errors import NotFound
from muniment.evidence.store import Entry
from muniment.operations import permit
from muniment.operations.facts import Reason, access_facts
from muniment.operations.service import Caller, Service
from muniment.policy.decide import Decision, ask_request


@dataclass(frozen=True, kw_only=True)
class Access:
    """Whether access is there, and if not why."""

    granted: bool
    #: the grant, or the approval that was looked at
    case: AccessCase | None = None
    #: why not: a word of the access request profile; empty where nothing stands at all
    reason: str = ""


NONE = Access(granted=False)


def subject(service: Service, caller: Caller, id: str) -> Principal | None:
    """
    Who is asked about, by login or principal id; None for somebody nobody knows.

    Raises `NotPermitted` for anybody but oneself without the right to ask about others.
    """
    mine = service.identity(caller.principal.id)
    if id == caller.principal.id or (mine is not None and id == mine["login"]):
        return service.registry.principals[caller.principal.id]
    permit.require(service, caller, "evaluate")
    return service.registry.principals.get(service.names.get(id, id))


def evaluate(service: Service, principal: Principal, resource: str, role: str) -> Access:
    """By whatever grants the subject holds on this role."""
    held = [g for g in live(service) if _names(g, principal, resource, role)]
    found = [_stands(service, *service.read(grant.case)) for grant in held]
    return next((each for each in found if each.granted), found[0] if found else NONE)


def evaluate_approval(
    service: Service, principal: Principal, approval: str, resource: str, role: str
) -> Access:
    """By one approval that the caller shows, which may be swapped, replayed or made up."""
    try:
        case, entries = service.read(approval)
    except NotFound:
        return Access(granted=False, reason="approval_unverifiable")
    asked = case.requested
    if asked.requester != principal.id or case.approved_at is None:
        return Access(granted=False, reason="approval_unverifiable")
    if (asked.resource, asked.role) != (resource, role):
        return Access(granted=False, case=case, reason="out_of_scope")
    return _stands(service, case, entries)


def live(service: Service) -> Iterator[OpenGrant]:
    """Grants whose window is open, as the log's checked entries say."""
    now = service.now()
    # the log's writer may add one at any moment: look at a copy
    for grant in list(service.registry.grants.values()):
        if not grant.ended and now < grant.until:
            yield grant


def _names(grant: OpenGrant, principal: Principal, resource: str, role: str) -> bool:
    wanted = (principal.id, resource, role)
    return (grant.requester, grant.resource, grant.role) == wanted


def _stands(service: Service, case: AccessCase, entries: Sequence[Entry]) -> Access:
    if case.state in ("approved", "authorized"):
        return Access(granted=False, case=case, reason="grant_pending")
    if case.state == "pending":
        return Access(granted=False, case=case, reason="policy_denied")
    if case.state not in LIVE or case.until is None or service.now() >= case.until:
        return Access(granted=False, case=case, reason="approval_expired")
    decision = decide_again(service, case, entries)
    if decision is None or not bears(case, decision):
        return Access(granted=False, case=case, reason="policy_denied")
    return Access(granted=True, case=case)


def decide_again(service: Service, case: AccessCase, entries: Sequence[Entry]) -> Decision | None:
    """What today's policy says about today's directory; None where it cannot be asked any more."""
    request, reason = case.requested, service.section(entries[0], "reason")
    role = service.registry.role(request.resource, request.role)
    if role is None or reason is None:
        return None  # what cannot be asked again is denied
    facts = access_facts(
        service,
        service.registry.principals[request.requester],
        role,
        seconds=request.seconds,
        emergency=case.break_glass,
        reason=Reason.read(reason),
        now=service.now(),
        signed_in=request.actor.sign_in,
        acted_at=case.opened_at,
        glass_before=case.opened_at,
    )
    return ask_request(service.policy(), facts)


def bears(case: AccessCase, decision: Decision) -> bool:
    """
    Whether a case may stay as it is under this decision.

    What is not handed out yet may wait for more approvals than before; what is, has to have them.
    """
    given = [approval.groups for approval in (case.ask.approvals if case.ask is not None else ())]
    missing = case.state in LIVE and quorum.missing(decision.approvals, given)
    return decision.outcome != "deny" and not missing
