"""Approve or refuse what somebody else asked for."""

import contextlib
from dataclasses import dataclass, replace
from datetime import datetime

from muniment.access import records
from muniment.access.case import AccessCase, Ask
from muniment.access.registry import Principal
from muniment.errors import Conflict, Unavailable
from muniment.evidence.append import Appended
from muniment.evidence.record import Draft
from muniment.operations import delegation, permit
from muniment.operations.attempts import until_it_stands
from muniment.operations.decision import decision_draft
from muniment.operations.extend import carry_out
from muniment.operations.facts import approval_facts
from muniment.operations.request import IdempotencyKey, answer, answered, check_text
from muniment.operations.service import Caller, Service, close, content
from muniment.policy.decide import Decision, ask_approve


@dataclass(frozen=True, kw_only=True)
class Voted:
    """What became of an approval or refusal. `given` is False where the policy denied it."""

    case: AccessCase
    decision: Decision
    given: bool
    appended: Appended


async def approve(
    service: Service,
    caller: Caller,
    case: str,
    note: str = "",
    key: IdempotencyKey | None = None,
    *,
    terms: bytes | None = None,
) -> Voted:
    """
    Approve a case as it stands now, or the extension that it waits for.

    Whether the caller may is the policy's to say, and recorded either way. `terms` is the hash of
    those that he was shown. Raises `NotFound`, and `Conflict` when nothing waits for approval,
    these terms no longer do, or the key was used before.
    """
    check_text(note, "note")
    voted: Voted = await until_it_stands(
        lambda: _vote(service, caller, case, note, key, terms, yes=True)
    )
    if voted.given and voted.case.extension is not None:
        # the approval stands whatever the target says; what it leaves undone is due work
        with contextlib.suppress(Conflict, Unavailable):
            return replace(voted, case=await carry_out(service, case))
    return voted


async def refuse(
    service: Service,
    caller: Caller,
    case: str,
    note: str = "",
    key: IdempotencyKey | None = None,
    *,
    terms: bytes | None = None,
) -> Voted:
    """Refuse a case: one refusal by somebody who could approve ends it. See `approve`."""
    check_text(note, "note")
    voted: Voted = await until_it_stands(
        lambda: _vote(service, caller, case, note, key, terms, yes=False)
    )
    return voted


async def _vote(
    service: Service,
    caller: Caller,
    case_id: str,
    note: str,
    key: IdempotencyKey | None,
    terms: bytes | None,
    *,
    yes: bool,
) -> Voted:
    operation = "approve" if yes else "refuse"
    if key is not None and await answered(service, caller, operation, key) is not None:
        raise Conflict("this was answered already; `muniment show` tells what became of it")
    case, _ = service.read(case_id)
    permit.require(service, caller, "read", case)
    ask = _waiting(case)
    if terms not in (None, ask.terms):
        raise Conflict("what is asked for has changed since you were shown it; look again")
    now, approver = service.now(), service.registry.principals[caller.principal.id]
    role = service.role(case.requested.resource, case.requested.role)
    # heads before facts: see `request`
    actor, grounds = (
        service.actor(caller),
        service.rests_on(approver, role=role, session=caller.session),
    )
    delegation.check_stands(service, caller)
    facts = approval_facts(service, case, ask, approver, role, now, signed_in=caller.sign_in)
    decision = ask_approve(service.policy(), facts)
    groups = tuple(sorted((ask.required or {}).keys() & approver.groups))
    drafts = [
        decision_draft(
            decision, case.id, now, actor=actor, question="approve", follows=grounds.follows
        )
    ]
    given = decision.outcome == "permit" and (bool(groups) or not yes)
    if given:
        drafts.append(_verdict(approver, actor, case, ask, groups, note, now, yes=yes))
        if not yes and case.state == "pending":
            drafts = close(drafts, case.id, case.length, now)
    also = [answer(caller, operation, key, case.id, now)] if key is not None else []
    after, appended = await service.propose(
        drafts, grounds.reads, case, gives=given and yes, also=also
    )
    return Voted(case=after, decision=decision, given=given, appended=appended)


def _waiting(case: AccessCase) -> Ask:
    if case.state == "pending" and case.ask is not None:
        return case.ask
    if case.extension is not None and case.extension.required is not None:
        return case.extension
    raise Conflict(f"the case is {case.state}; nothing waits for approval")


def _verdict(
    who: Principal,
    actor: records.Actor,
    case: AccessCase,
    ask: Ask,
    groups: tuple[str, ...],
    note: str,
    now: datetime,
    *,
    yes: bool,
) -> Draft:
    sections = {"note": content({"text": note})} if note else {}
    if not yes:
        refusal = records.ApprovalRefused(
            actor=actor, approver=who.id, person=who.person, terms=ask.terms
        )
        return refusal.draft(case.id, now, follows=(who.leaf,), sections=sections)
    approval = records.ApprovalGiven(
        actor=actor, approver=who.id, person=who.person, groups=groups, terms=ask.terms
    )
    return approval.draft(case.id, now, follows=(who.leaf,), sections=sections)
