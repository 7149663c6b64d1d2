"""
A trial of each question before a bundle is taken: does its schema accept the facts we state?

An author may add rules freely and optional attributes to the schema. If a *required* attribute is
added, or one of ours is taken away, the engine would answer `NoDecision`, which denies everything.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from muniment.policy import engine, snapshot
from muniment.policy.questions import (
    LATER,
    OPERATIONS,
    AccessFacts,
    ApprovalFacts,
    CaseFacts,
    Facts,
    Incident,
    Mfa,
    OperateFacts,
    PrincipalFacts,
    Reference,
    RoleFacts,
)

_NOW = "2026-11-21T10:00:00.000Z"
_MFA = Mfa(age_seconds=1, phishing_resistant=True)
_HUMAN = PrincipalFacts(
    id="prn_a", kind="human", person="per_a", active=True, groups=frozenset(("a",))
)
_WORKLOAD = replace(_HUMAN, kind="workload", attested=True)
_AGENT = replace(_HUMAN, id="prn_b", kind="agent", attested=True, sponsor="prn_a")
_ROLE = RoleFacts(resource="a", role="a", tier="dev", environment="a", data="a", kind="a")
_CASE = CaseFacts(
    requester="prn_a",
    persons=frozenset(("per_a",)),
    approver_groups=frozenset(("a",)),
    role=_ROLE,
)


def refusals(schema: engine.Schema, slices: Mapping[str, engine.Slice], text: str) -> list[str]:
    """
    Which questions the schema does not accept, and the engine's reason; empty if all is well.

    `text` is the schema as it was written: it need not name an operation that came later.
    """
    found = {}
    later = {operation for operation in LATER if f'"{operation}"' not in text}
    for actions, principal, facts in _trials():
        if isinstance(facts, OperateFacts) and facts.operation in later:
            continue
        shown = snapshot.of(facts)
        questions = [
            (action, slices[action], snapshot.principal_uid(principal)) for action in actions
        ]
        steps = engine.ask(schema, shown.entities, shown.resource, shown.context, questions)
        for step in steps:
            if step.decision == "NoDecision":
                why = " ".join(step.errors)
                found[
                    f"does not accept the facts of `{step.action}` by a {principal.kind}: {why}"
                ] = 1
    return list(found)


def dates_cases(schema: engine.Schema, slices: Mapping[str, engine.Slice]) -> bool:
    """Whether the schema says when a case was opened and closed: those from before do not."""
    dated = replace(_CASE, opened=_NOW, closed=_NOW)
    shown = snapshot.of(_operation(_HUMAN, dated, OPERATIONS[0]))
    question = ("operate", slices["operate"], snapshot.principal_uid(_HUMAN))
    steps = engine.ask(schema, shown.entities, shown.resource, shown.context, [question])
    return all(step.decision != "NoDecision" for step in steps)


def _trials() -> Iterator[tuple[tuple[str, ...], PrincipalFacts, Facts]]:
    for principal in (_HUMAN, _WORKLOAD, _AGENT):
        for facts in _accesses(principal):
            yield ("request", "require", "breakGlass"), principal, facts
        for case in (None, _CASE, replace(_CASE, role=None)):
            yield ("operate",), principal, _operation(principal, case, OPERATIONS[0])
    for operation in OPERATIONS:
        yield ("operate",), _HUMAN, _operation(_HUMAN, None, operation)
    yield ("approve",), _HUMAN, _approval(_MFA)
    yield ("approve",), _HUMAN, _approval(None)


def _accesses(principal: PrincipalFacts) -> Iterator[AccessFacts]:
    bare = AccessFacts(
        requester=principal,
        sponsor=_HUMAN if principal.kind == "agent" else None,
        role=_ROLE,
        seconds=60,
        now=_NOW,
        business_hours=True,
        emergency=False,
        break_glass_last_30d=0,
    )
    yield bare
    yield replace(
        bare,
        mfa=_MFA,
        ticket=Reference(id="a", state="claimed", source="claimed"),
        incident=Incident(id="a", severity=0, open=False, source="claimed"),
    )
    for tier in ("staging", "prod"):
        yield replace(bare, role=replace(_ROLE, tier=tier))


def _approval(mfa: Mfa | None) -> ApprovalFacts:
    return ApprovalFacts(
        approver=_HUMAN,
        requester="prn_b",
        persons=frozenset(("per_b",)),
        approver_groups=frozenset(("a",)),
        already_approved_by=frozenset(("per_c",)),
        role=_ROLE,
        now=_NOW,
        mfa=mfa,
    )


def _operation(principal: PrincipalFacts, case: CaseFacts | None, operation: str) -> OperateFacts:
    return OperateFacts(principal=principal, operation=operation, case=case, now=_NOW, mfa=_MFA)
