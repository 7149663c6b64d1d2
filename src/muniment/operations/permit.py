"""The policy's `operate` question: who may read, revoke, export, review, hold, configure."""

from muniment.access.case import AccessCase
from muniment.access.finding import Finding
from muniment.errors import NotFound, NotPermitted
from muniment.evidence import moment
from muniment.operations import delegation
from muniment.operations.facts import case_facts, mfa, principal_facts
from muniment.operations.service import Caller, Service
from muniment.policy.decide import Decision, ask_operate
from muniment.policy.questions import CaseFacts, OperateFacts


def ask(service: Service, caller: Caller, operation: str, case: AccessCase | None) -> Decision:
    facts = case_facts(service, case) if case is not None else None
    return _ask(service, caller, operation, facts)


def _ask(service: Service, caller: Caller, operation: str, about: CaseFacts | None) -> Decision:
    principal, now = service.registry.principals[caller.principal.id], service.now()
    facts = OperateFacts(
        principal=principal_facts(service, principal, caller.sign_in),
        operation=operation,
        case=about,
        now=moment.text(now),
        mfa=mfa(caller.sign_in, now),
    )
    return ask_operate(service.policy(), facts)


def ask_on_finding(service: Service, caller: Caller, operation: str, finding: Finding) -> Decision:
    """Nobody asked for a finding: rules know it by the persons whom it is about."""
    about = CaseFacts(
        requester="", persons=frozenset(finding.subjects), approver_groups=frozenset()
    )
    return _ask(service, caller, operation, about)


def refusal(decision: Decision) -> str:
    """Why it is not permitted, for whoever asked: the policy's own words, where a rule said so."""
    if not any(step.rules or step.errors for step in decision.steps):
        return (
            "no rule of the policy permits it to you; ask whoever answers for the policy "
            "(`muniment whoami` shows your groups)"
        )
    # who may not do what was said before
    return "; ".join(each.partition(" may not operate: ")[2] or each for each in decision.why)


def _handed(caller: Caller, case: AccessCase) -> bool:
    return delegation.covers(caller, case.requested.resource, case.requested.role)


def require_one(service: Service, caller: Caller, *operations: str) -> None:
    """Any of them will do. Raises `NotPermitted` about the first."""
    first, *others = operations
    if not any(ask(service, caller, each, None).outcome == "permit" for each in others):
        require(service, caller, first)


def require(
    service: Service, caller: Caller, operation: str, case: AccessCase | None = None
) -> None:
    """Raises `NotPermitted` with the policy's own words; counted, not recorded."""
    decision = ask(service, caller, operation, case)
    handed = case is None or _handed(caller, case)
    if decision.outcome != "permit" or not handed:
        service.count("not-permitted")
        if operation == "read" and case is not None:
            raise NotFound(f"there is no access case `{case.id}` that you may see")
        where = "" if case is None else " on this case"
        why = refusal(decision) if handed else "it is about what was not delegated to you"
        raise NotPermitted(f"you may not `{operation}`{where}: {why}")
