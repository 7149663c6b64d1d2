"""Consider: all that somebody has to see before approving or refusing. Nothing is recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from muniment.access import records
from muniment.access.case import AccessCase, Ask
from muniment.access.registry import Principal, Role
from muniment.errors import NotFound
from muniment.evidence.store import Entry
from muniment.operations import permit
from muniment.operations.facts import Reason, approval_facts, at_best
from muniment.operations.service import Caller, Service, record_of
from muniment.policy.decide import Decision, ask_approve
from muniment.ports import CaseRow

#: how many other cases of the requester are told of
RECENT = 5
_ASKED = (records.AccessRequested.KIND, records.ExtensionRequested.KIND)

#: whether an approval of this caller would count: so, not as he is signed in now, or never
Standing: TypeAlias = Literal["counts", "needs-fresh-sign-in", "does-not-count"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """An approval or refusal that was given."""

    entry: Entry
    record: records.ApprovalGiven | records.ApprovalRefused
    note: str


@dataclass(frozen=True, kw_only=True)
class Considered:
    """A case as its approvers have to see it."""

    case: AccessCase
    #: what is asked now: the request, or an extension of its grant
    ask: Ask
    #: who asked for that, and how that was authenticated
    actor: records.Actor
    #: None where it was erased
    reason: Reason | None
    #: the session in which it was asked; None for a static token
    session: records.SessionOpened | None
    #: the newest decision on it, as recorded; None where it was erased
    decision: dict[str, Any] | None
    verdicts: tuple[Verdict, ...]
    #: the requester's other cases that the caller may read, newest first
    recent: tuple[CaseRow, ...]
    #: how many more of the newest there are which he may not
    hidden: int
    #: None where nothing waits for approval
    standing: Standing | None
    #: the policy's words, or ours, where the approval would not count
    why: tuple[str, ...] = ()


def consider(service: Service, caller: Caller, case_id: str) -> Considered:
    """Raises `NotFound` for what there is not, or is not the caller's to see."""
    case, entries = service.read(case_id)
    permit.require(service, caller, "read", case)
    asked = next(entry for entry in reversed(entries) if entry.header.kind in _ASKED)
    actor = record_of(asked).actor
    recent, hidden = _recent(service, caller, case)
    standing, why = _standing(service, caller, case) if case.waits_for else (None, ())
    reason = service.section(asked, "reason")
    return Considered(
        case=case,
        ask=case.current,
        actor=actor,
        reason=Reason.read(reason) if reason is not None else None,
        session=_session(service, actor),
        decision=_decision(service, entries),
        verdicts=tuple(_verdicts(service, entries)),
        recent=recent,
        hidden=hidden,
        standing=standing,
        why=why,
    )


def _standing(
    service: Service, caller: Caller, case: AccessCase
) -> tuple[Standing, tuple[str, ...]]:
    """What the policy would say to an approval by this caller, now and at his best."""
    approver = service.registry.principals[caller.principal.id]
    role = service.registry.role(case.requested.resource, case.requested.role)
    if role is None:
        return "does-not-count", ("the role was withdrawn",)
    if not set(case.waits_for) & approver.groups:
        return "does-not-count", (f"it waits for {', '.join(case.waits_for)}, and you are in none",)
    now = _asked(service, case, approver, role, caller.sign_in)
    if now.outcome == "permit":
        return "counts", ()
    best = _asked(service, case, approver, role, at_best(service.now()))
    return ("needs-fresh-sign-in" if best.outcome == "permit" else "does-not-count"), now.why


def _asked(
    service: Service,
    case: AccessCase,
    approver: Principal,
    role: Role,
    signed_in: records.SignIn | None,
) -> Decision:
    facts = approval_facts(
        service, case, case.current, approver, role, service.now(), signed_in=signed_in
    )
    return ask_approve(service.policy(), facts)


def _session(service: Service, actor: records.Actor) -> records.SessionOpened | None:
    if actor.sign_in is None:
        return None
    record = record_of(service.log.read_case(actor.sign_in.session)[0])
    return record if isinstance(record, records.SessionOpened) else None


def _decision(service: Service, entries: Sequence[Entry]) -> dict[str, Any] | None:
    """What the policy last said to the access itself, not to those who approve it."""
    for entry in reversed(entries):
        record = record_of(entry)
        if isinstance(record, records.DecisionEvaluated) and record.question != "approve":
            return service.section(entry, "decision")
    return None


def _verdicts(service: Service, entries: Sequence[Entry]) -> list[Verdict]:
    found = []
    for entry in entries:
        record = record_of(entry)
        if isinstance(record, records.ApprovalGiven | records.ApprovalRefused):
            note = (service.section(entry, "note") or {}).get("text", "")
            found.append(Verdict(entry=entry, record=record, note=note))
    return found


def _recent(service: Service, caller: Caller, case: AccessCase) -> tuple[tuple[CaseRow, ...], int]:
    rows = service.projections.cases(requester=case.requested.requester, limit=RECENT + 1)
    others = [row for row in rows if row.case != case.id][:RECENT]
    seen = tuple(row for row in others if _readable(service, caller, row.case))
    return seen, len(others) - len(seen)


def _readable(service: Service, caller: Caller, case_id: str) -> bool:
    try:
        case, _ = service.read(case_id)
    except NotFound:
        return False  # its batch is durable, and not yet under a head that anybody was shown
    return permit.ask(service, caller, "read", case).outcome == "permit"
