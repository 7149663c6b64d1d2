"""Keep a live grant longer: asked, decided and approved like a request; then the window moves."""

from dataclasses import dataclass
from datetime import timedelta

from muniment.access import records
from muniment.access.case import AccessCase
from muniment.errors import Conflict, Malformed, MunimentError
from muniment.evidence.record import Draft
from muniment.operations import delegation, permit
from muniment.operations.attempts import until_it_stands
from muniment.operations.decision import decision_draft
from muniment.operations.facts import Reason, access_facts
from muniment.operations.request import LONGEST, check_text
from muniment.operations.service import Caller, Service, content
from muniment.operations.target_time import answered_within, target_clock
from muniment.policy.decide import Decision, ask_request


@dataclass(frozen=True, kw_only=True)
class Extended:
    case: AccessCase
    decision: Decision


async def extend(
    service: Service, caller: Caller, case: str, seconds: int, reason: Reason
) -> Extended:
    """
    Ask for a window of `seconds` in all, counted from its start.

    What the policy allows without approval takes effect at once; else the extension waits for its
    approvals while the grant goes on to its present end. Raises `Conflict` where nothing is live.
    """
    check_text(reason.text, "reason")
    if not 0 < seconds <= LONGEST.total_seconds():
        raise Malformed("ask for a window of more than no time and less than a year")
    extended: Extended = await until_it_stands(lambda: _ask(service, caller, case, seconds, reason))
    if _ready(extended.case):
        return Extended(case=await carry_out(service, case), decision=extended.decision)
    return extended


async def _ask(
    service: Service, caller: Caller, case_id: str, seconds: int, reason: Reason
) -> Extended:
    case, entries = service.read(case_id)
    permit.require(service, caller, "read", case)
    permit.require(service, caller, "extend", case)
    wanted = case.requested
    delegation.within(service, caller, wanted.resource, wanted.role, seconds, asked=case)
    _must_be_extendable(service, case, caller, seconds)
    connector = service.connector(case.requested.resource)
    if not connector.capabilities.extends_live:
        raise Conflict("this target cannot extend a live grant; end it and ask anew")
    now, request = service.now(), case.requested
    principal = service.registry.principals[request.requester]
    role = service.role(request.resource, request.role)
    # heads before facts: see `request`
    grounds = service.rests_on(principal, role=role, session=caller.session)
    reads = {**grounds.reads, **service.files_in_force()}
    delegation.check_stands(service, caller)
    actor = service.actor(caller)
    first = service.section(entries[0], "reason")
    facts = access_facts(
        service,
        principal,
        role,
        seconds=seconds,
        emergency=case.break_glass,
        reason=_merged(reason, first),
        now=now,
        signed_in=caller.sign_in,
        glass_before=case.opened_at,
    )
    decision = ask_request(service.policy(), facts)
    asked = records.ExtensionRequested(actor=actor, seconds=seconds)
    drafts: list[Draft] = [
        asked.draft(case_id, now, sections={"reason": content(reason.json())}),
        decision_draft(
            decision,
            case_id,
            now,
            actor=actor,
            question="extend",
            follows=grounds.follows,
            deadline=case.until,
        ),
    ]
    after, _ = await service.propose(drafts, reads, case)
    return Extended(case=after, decision=decision)


def _must_be_extendable(service: Service, case: AccessCase, caller: Caller, seconds: int) -> None:
    if case.state != "issued":
        raise Conflict(f"the case is {case.state}; only a live grant can be extended")
    if case.extension is not None:
        raise Conflict("an extension of this grant waits for its approvals already")
    if case.requested.requester != caller.principal.id:
        raise Conflict("only its holder can ask for more time")
    if case.starts is None or case.until is None:
        raise Conflict("there is no window to extend")
    if service.log.clock.due() >= case.until:
        raise Conflict("the window of this grant is over; ask anew")
    if case.starts + timedelta(seconds=seconds) <= case.until:
        raise Malformed("the extended window would not end later than the present one")


def _merged(reason: Reason, first: dict[str, str] | None) -> Reason:
    """References of the request hold for its extension, unless others are given."""
    before = Reason.read(first) if first is not None else Reason()
    return Reason(
        text=reason.text,
        ticket=reason.ticket or before.ticket,
        incident=reason.incident or before.incident,
    )


def _ready(case: AccessCase) -> bool:
    return case.extension is not None and case.extension.ready


async def carry_out(service: Service, case_id: str) -> AccessCase:
    """
    Move the window of a live grant whose extension has its approvals.

    The intent is recorded first. If the target cannot be reached the grant still ends no later
    than recorded: the target's own expiry is only the second line. What a crash, or a target that
    does not answer, leaves undone is due work.
    """
    case: AccessCase = await until_it_stands(lambda: _carry_out(service, case_id))
    return case


async def _carry_out(service: Service, case_id: str) -> AccessCase:
    case, _ = service.read(case_id)
    extension = case.extension
    if not _ready(case) or extension is None or case.starts is None or case.until is None:
        return case
    if service.log.clock.due() >= case.until:
        return case  # too late: what is over ends
    files = service.files_in_force()
    connector = service.connector(case.requested.resource)
    until = case.starts + timedelta(seconds=min(extension.seconds, extension.max_seconds))
    deadline = await target_clock(connector) + service.limits.order_timeout
    record = records.GrantExtended(
        actor=records.SERVICE,
        terms=extension.terms,
        until=until,
        deadline=deadline,
        satisfied=extension.satisfied,
    )
    after, _ = await service.propose([record.draft(case_id, service.now())], files, case)
    try:
        await answered_within(
            service.limits.order_timeout, connector.extend(case_id, until, deadline)
        )
    except (TimeoutError, MunimentError) as error:
        raise Conflict(
            "the window is extended, but the target did not move its own expiry; pick up again"
        ) from error
    return after
