"""
Hand out a credential: ask everything again, record the intent, and only then touch the target.

1. Fold the case from records that were just proved to be in the log.
2. Ask the policy again, about today's directory; leave out approvals that no longer count.
3. Read the target's clock, so that the target itself can refuse an order that comes too late.
4. Append decision and `grant:authorized`. Durable and under a signed checkpoint before step 5.
5. Give the order to the target.
6. Append the outcome. Only with its receipt is the credential handed out.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from muniment.access import quorum, records
from muniment.access.case import LIVE, AccessCase, Ask
from muniment.access.registry import Principal, Role
from muniment.errors import (
    Conflict,
    LogUnavailable,
    MunimentError,
    OrderLate,
    TargetUnavailable,
    Unavailable,
)
from muniment.evidence.append import Appended
from muniment.evidence.proof import Receipt
from muniment.evidence.record import Draft
from muniment.evidence.store import Entry
from muniment.operations import delegation, permit, publish
from muniment.operations.attempts import until_it_stands
from muniment.operations.decision import decision_draft
from muniment.operations.end import ATTEMPT
from muniment.operations.facts import Reason, access_facts, approval_facts
from muniment.operations.projection import newest_order, order_over
from muniment.operations.quota import within_quota
from muniment.operations.request import IdempotencyKey, answer, answered
from muniment.operations.service import Caller, Service
from muniment.operations.target_time import answered_within, target_clock
from muniment.policy.decide import Decision, ask_approve, ask_request
from muniment.policy.questions import AccessFacts
from muniment.ports import Connector, GrantOrder, Issued

_UNDER_WAY = "a credential for this case is being made at this moment"
_ANSWERED = "this pick-up was answered, and secrets are never kept: pick up anew"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PickedUp:
    """What a pick-up came to. Without `issued` the requirement is no longer met."""

    case: AccessCase
    decision: Decision
    issued: Issued | None = None
    #: proof that the issue stands in the log
    receipt: Receipt | None = None


async def pick_up(
    service: Service, caller: Caller, case: str, key: IdempotencyKey | None = None
) -> PickedUp:
    """
    Make a credential for the requester of an approved case; again, it rotates the secret.

    Goes on to its end also if whoever asked has gone away. Raises `NotFound`, `Conflict` when there
    is nothing to pick up, `TooMany` above the quota, `TargetUnavailable` when the target did not do
    it, `OrderLate` when it was asked too late, `LogUnavailable` when it could not be recorded: in
    all of them nothing is handed out.
    """
    if key is not None and await answered(service, caller, "pick-up", key) is not None:
        raise Conflict(_ANSWERED)
    task = asyncio.create_task(_pick_up(service, caller, case, key), name="pick-up")
    return await asyncio.shield(task)


async def _pick_up(
    service: Service, caller: Caller, case_id: str, key: IdempotencyKey | None
) -> PickedUp:
    if case_id in service.ordering:
        raise Conflict(_UNDER_WAY)
    if not service.read(case_id)[0].break_glass:
        # each pick-up is recorded, also one that is denied
        within_quota(service, caller.principal.id)
    service.ordering.add(case_id)
    try:
        authorized: _Authorized = await until_it_stands(
            lambda: _authorize(service, caller, case_id, key)
        )
        if authorized.order is None:
            return PickedUp(case=authorized.case, decision=authorized.decision)
        return await _carry_out(service, authorized, authorized.order)
    finally:
        service.ordering.discard(case_id)
        service.wake.set()


@dataclass(frozen=True, kw_only=True)
class _Authorized:
    case: AccessCase
    decision: Decision
    connector: Connector
    order: GrantOrder | None
    #: so many entries have to be cosigned where witnesses are required
    size: int = 0


# --- steps 1 to 4 -----------------------------------------------------------------------------


async def _authorize(
    service: Service, caller: Caller, case_id: str, key: IdempotencyKey | None
) -> _Authorized:
    if (
        service.shared
        and key is not None
        and await answered(service, caller, "pick-up", key) is not None
    ):
        raise Conflict(_ANSWERED)  # by another node, since we looked
    case, entries = service.read(case_id)
    permit.require(service, caller, "read", case)
    permit.require(service, caller, "pick-up", case)
    wanted = case.requested
    delegation.within(service, caller, wanted.resource, wanted.role, wanted.seconds)
    if case.picked_up_anew(service.now()):
        raise Conflict(
            "the order before failed, and what it may have left is being taken back; pick up again "
            "shortly"
        )
    if _is_under_way_elsewhere(service, case):
        raise Conflict(_UNDER_WAY)
    if case.state not in ("approved", "issued"):
        raise Conflict(f"the case is {case.state}; there is nothing to pick up")
    if case.until is not None and service.log.clock.due() >= case.until:
        raise Conflict("the window of this grant is over; ask anew")
    if case.requested.requester != caller.principal.id:
        raise Conflict("only who asked can pick up")
    now, request = service.now(), case.requested
    requester = service.registry.principals[request.requester]
    role = service.role(request.resource, request.role)
    if role.definition != request.definition:
        raise Conflict("the role was redefined since it was asked for; withdraw and ask anew")
    connector = service.connector(request.resource)
    approvers = [
        service.registry.principals[given.approver]
        for given in (case.ask.approvals if case.ask is not None else ())
    ]
    # heads before facts: see `request`
    grounds = service.rests_on(requester, *approvers, role=role, session=caller.session)
    reads = {**grounds.reads, **service.files_in_force()}
    delegation.check_stands(service, caller)
    decision = ask_request(
        service.policy(), _facts_again(service, case, entries, requester, role, now)
    )
    standing = _standing(service, case, role, approvers, now)
    decided = decision_draft(
        decision,
        case.id,
        now,
        actor=service.actor(caller),
        question="issue",
        follows=grounds.follows,
        deadline=now + service.limits.approval_window if case.state != "issued" else None,
        standing=standing,
    )
    ask = _again(case, decision, standing)
    if decision.outcome == "deny" or ask.missing:
        after, _ = await service.propose([decided], reads, case, gives=False)
        return _Authorized(case=after, decision=decision, connector=connector, order=None)
    clock = await target_clock(connector)
    intent = _intent(service, caller, case, ask, connector, now, clock)
    after, appended = await service.propose(
        [decided, intent.draft(case.id, now)],
        reads,
        case,
        urgent=case.break_glass,
        also=[answer(caller, "pick-up", key, case.id, now)] if key is not None else [],
    )
    order = _order(service, after, intent, appended.entries[-1].leaf)
    size = appended.entries[-1].index + 1
    return _Authorized(case=after, decision=decision, connector=connector, order=order, size=size)


def _is_under_way_elsewhere(service: Service, case: AccessCase) -> bool:
    """Whether another node may still be at an order. If it is not, a worker undoes it soon."""
    over = order_over(case) if service.shared and case.order_open else None
    return over is not None and service.log.clock.due() <= over


def _facts_again(
    service: Service,
    case: AccessCase,
    entries: Sequence[Entry],
    requester: Principal,
    role: Role,
    now: datetime,
) -> AccessFacts:
    reason = service.section(entries[0], "reason")
    if reason is None:
        raise Conflict("the reason of this request was erased; ask anew")
    return access_facts(
        service,
        requester,
        role,
        seconds=case.requested.seconds,
        emergency=case.break_glass,
        reason=Reason.read(reason),
        now=now,
        signed_in=case.requested.actor.sign_in,
        acted_at=case.opened_at,
        glass_before=case.opened_at,
    )


def _standing(
    service: Service, case: AccessCase, role: Role, approvers: Sequence[Principal], now: datetime
) -> tuple[str, ...]:
    """Persons whose approvals the policy still counts, asked about each as of today."""
    ask, standing = case.ask, []
    if ask is None:
        return ()
    for given, approver in zip(ask.approvals, approvers, strict=True):
        facts = approval_facts(
            service, case, ask, approver, role, now, signed_in=given.sign_in, given=given
        )
        in_groups = set(given.groups) <= approver.groups
        if in_groups and ask_approve(service.policy(), facts).outcome == "permit":
            standing.append(given.person)
    return tuple(standing)


def _again(case: AccessCase, decision: Decision, standing: tuple[str, ...]) -> Ask:
    """The ask as the fold will have it after this decision: the stricter requirement of both."""
    ask = case.ask
    if ask is None:
        raise Conflict("a case without a request")
    return Ask(
        terms=ask.terms,
        seconds=ask.seconds,
        required=quorum.stricter(ask.required or {}, decision.approvals),
        max_seconds=min(ask.max_seconds, decision.max_seconds or 0),
        approvals=tuple(given for given in ask.approvals if given.person in standing),
    )


def _intent(
    service: Service,
    caller: Caller,
    case: AccessCase,
    ask: Ask,
    connector: Connector,
    now: datetime,
    clock: datetime,
) -> records.GrantAuthorized:
    starts = case.starts or now
    until = case.until or now + timedelta(seconds=min(ask.seconds, ask.max_seconds))
    return records.GrantAuthorized(
        actor=service.actor(caller),
        terms=ask.terms,
        definition=case.requested.definition,
        connector=connector.kind,
        starts=starts,
        until=until,
        deadline=clock + service.limits.order_timeout,
        offset_ms=int((clock - service.now()).total_seconds() * 1000),
        satisfied=ask.satisfied,
    )


def _order(
    service: Service, case: AccessCase, intent: records.GrantAuthorized, authorization: bytes
) -> GrantOrder:
    return GrantOrder(
        grant=case.id,
        authorization=authorization.hex(),
        role=service.definition(intent.definition)["role"],
        until=intent.until,
        deadline=intent.deadline,
    )


# --- steps 5 and 6 ----------------------------------------------------------------------------


async def _carry_out(service: Service, authorized: _Authorized, order: GrantOrder) -> PickedUp:
    connector, case = authorized.connector, authorized.case
    ours = bytes.fromhex(order.authorization)
    witnessed = await _witnessed(service, authorized, ours)
    try:
        issued = await answered_within(service.limits.order_timeout, connector.issue(order))
    except (TimeoutError, MunimentError) as error:
        # Crash from step 4 to here: the order is open in the log, and the worker undoes it.
        reason, kind = _why_not(error)
        await _record_failure(service, case.id, reason, ours)
        raise kind(
            f"the target did not make the credential: {_in_words(error)}; nothing was handed out "
            "and no approval used up; pick up again shortly"
        ) from error
    record = records.CredentialIssued(
        actor=records.SERVICE,
        account=issued.account,
        target=issued.target,
        fingerprint=bytes.fromhex(issued.fingerprint),
        native_expiry=issued.native_expiry,
        capabilities=connector.capabilities,
    )
    now = service.now()
    try:
        after, appended = await service.conclude(
            case.id,
            lambda state: (
                [record.draft(case.id, now, follows=witnessed)] if _waits_for(state) else []
            ),
            order=ours,
        )
    except MunimentError:
        # No proof, no privilege: the account goes again, and the secret with it.
        await _take_back(connector, case.id)
        raise LogUnavailable("the credential could not be recorded, so it was taken back") from None
    if not appended.entries and newest_order(service.log.read_case(case.id)) != ours:
        # what it made has another secret by now, or will have
        raise Conflict("another credential was asked for while this one was being made")
    if not appended.entries:
        await _take_back(connector, case.id)
        raise Conflict("access ended while the credential was being made")
    if service.log.clock.due() >= (after.until or order.until):
        raise Conflict("the window of this grant is over; ask anew")  # its record took so long
    entry = appended.entries[-1]
    return PickedUp(
        case=after,
        decision=authorized.decision,
        issued=issued,
        receipt=prove(service, entry, appended),
    )


async def _witnessed(service: Service, authorized: _Authorized, order: bytes) -> tuple[bytes, ...]:
    """
    The record of the quorum over the intent, where the resource issues nothing without it.

    Broken glass waits for no witness. Raises `Unavailable`, or `Conflict` where access has ended
    meanwhile; then nothing was asked of the target.
    """
    case, rules = authorized.case, service.publishing.rules
    if case.break_glass or not _requires_witnesses(service, case.requested.resource):
        return ()
    leaf = None
    if rules is not None and rules.text == _witness_policy(service, rules.text):
        leaf = await publish.witnessed(service, authorized.size)
    if leaf is None:
        await _record_failure(service, case.id, "witnesses-missing", order)
        raise Unavailable(
            f"`{case.requested.resource}` issues nothing without its witnesses, and too few of "
            "them cosigned; no approval was used up; pick up again shortly"
        )
    if not _waits_for(service.read(case.id)[0]):
        # nothing was asked of the target: there is nothing to take back
        raise Conflict("access ended while its witnesses were asked")
    return (leaf,)


def _requires_witnesses(service: Service, resource: str) -> bool:
    """As the log has it, or stricter: files that were refused take nothing away."""
    rules, found = service.publishing.rules, _configured(service).get("resources", {})
    strict = found.get(resource, {}).get("issue") == "require-witnesses"
    return strict or (rules is not None and resource in rules.required)


def _witness_policy(service: Service, otherwise: str) -> str:
    """The policy on witnesses that the log's configuration holds, word for word."""
    found: str = (_configured(service).get("witnesses") or {}).get("policy", otherwise)
    return found


def _configured(service: Service) -> Mapping[str, Any]:
    in_force = service.registry.configuration
    return {} if in_force is None else service.definition(in_force.digest)


def _waits_for(state: AccessCase) -> bool:
    """Whether the outcome of an order is still to be recorded: not once access has ended."""
    return state.order_open and state.state in LIVE


def _why_not(error: Exception) -> tuple[str, type[Unavailable]]:
    """What is recorded of a failed order, and as what it is told: whether it is the target's."""
    if isinstance(error, OrderLate):
        return "late", OrderLate
    return "timeout" if isinstance(error, TimeoutError) else "target-unavailable", TargetUnavailable


def _in_words(error: Exception) -> str:
    return "it took too long" if isinstance(error, TimeoutError) else str(error)


def prove(service: Service, entry: Entry, appended: Appended) -> Receipt:
    """Index, inclusion proof and checkpoint: what its holder keeps."""
    hashes = service.log.inclusion(entry.index, appended.size)
    return Receipt(entry.index, tuple(hashes), appended.checkpoint)


async def _record_failure(
    service: Service, case: str, reason: str, order: bytes | None = None
) -> None:
    """
    `credential:failed`; a grant that never had a credential is undone, by the normal path.

    With an `order`, the record that authorised it, only while no later one was authorised. Once
    nothing of it is left at the target it is approved again, while its pick-up may still come.
    """
    now = service.now()
    failed = records.CredentialFailed(actor=records.SERVICE, reason=reason)

    def build(state: AccessCase) -> Sequence[Draft]:
        if not _waits_for(state):
            return ()
        drafts = [failed.draft(case, now)]
        if state.credential is None:
            drafts.append(records.GrantUndone(actor=records.SERVICE).draft(case, now))
        return drafts

    try:
        await service.conclude(case, build, order=order)
    except MunimentError:
        _log.warning("the failed order of case %s is not recorded yet; the worker will", case)


async def _take_back(connector: Connector, case: str) -> None:
    try:
        await asyncio.wait_for(connector.revoke(case), ATTEMPT.total_seconds())
    except (TimeoutError, MunimentError):
        _log.warning("an unrecorded credential of case %s is still at its target", case)


async def undo(service: Service, case: str) -> None:
    """By the worker: an order that nobody is carrying out any more has no outcome on record."""
    if case not in service.ordering:
        await _record_failure(service, case, "target-unavailable")
