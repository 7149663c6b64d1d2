"""From an evaluation of the policy to its record."""

from datetime import datetime, timedelta

from muniment.access.records import Actor, DecisionEvaluated
from muniment.evidence.record import Draft
from muniment.policy.decide import Decision


def decision_draft(
    decision: Decision,
    case: str,
    at: datetime,
    *,
    actor: Actor,
    question: str,
    follows: list[bytes],
    deadline: datetime | None = None,
    pickup: timedelta = timedelta(0),
    standing: tuple[str, ...] = (),
) -> Draft:
    """`decision:evaluated` with the complete evaluation in its section."""
    record = DecisionEvaluated(
        actor=actor,
        question=question,
        outcome=decision.outcome,
        bundle=bytes.fromhex(decision.bundle),
        engine=str(decision.header()["engine"]),
        rules=tuple(rule.id for rule in decision.rules),
        approvals=decision.approvals if decision.outcome != "deny" else {},
        max_seconds=decision.max_seconds or 0,
        requires=decision.requires,
        notifies=decision.notifies,
        deadline=deadline,
        pickup_seconds=int(pickup.total_seconds()),
        standing=standing,
    )
    sections = {"decision": decision.content()}
    return record.draft(case, at, follows=tuple(follows), sections=sections)
