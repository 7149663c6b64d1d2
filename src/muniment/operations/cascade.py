"""
Cascade: access ends when what it rested on ends.

Whenever something moved that access may rest on (a principal, a session, a token, a signal about
somebody, a finding), the sessions and the open cases of everybody concerned are looked at: does all
that they rest on still stand? What to end is read from the log, never remembered: after a start
everything has moved, so that an end which a crash left undone is found again.

Here ends are declared, each with its reason and the record that it follows; the worker takes away.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from muniment.access import records
from muniment.access.campaigns_seen import Withdrawn
from muniment.access.case import LIVE, AccessCase
from muniment.access.registry import Principal
from muniment.evidence.record import Draft
from muniment.evidence.store import Entry
from muniment.operations import delegation, end, evaluate, sign_in
from muniment.operations.decision import decision_draft
from muniment.operations.service import SESSIONS, Service, record_of

#: name of this work among what is due: no case has such an id
CASCADE = "cascade"
#: states in which something is still to be had
OPEN = ("pending", "approved", *LIVE)
#: closed sessions that say themselves why what rested on them ends
_SAID = {
    "principal-disabled": "principal-disabled",
    "signal": "signal",
    "task-closed": "task-closed",
}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Why something no longer stands, as records have it, and the records that say so."""

    reason: str
    follows: tuple[bytes, ...]
    #: of `no-longer-allowed`: what the policy says today
    drafts: tuple[Draft, ...] = ()


def is_due(service: Service) -> bool:
    """Whether anything moved since it was last looked at."""
    return bool(service.registry.moved)


async def settle(service: Service) -> None:
    """End whatever lost what it rested on; also what loses it by these very ends."""
    while service.registry.moved:
        # both ends of this are atomic: the log's writer may add to it at any moment
        moved = [service.registry.moved.popitem()[0] for _ in range(len(service.registry.moved))]
        again = frozenset(moved)
        try:
            again, failed = await _settle(service, again)
        finally:  # also where a crash, or a stop, came between
            service.registry.moved.update(dict.fromkeys(again))
        if failed is not None:
            raise failed


async def _settle(
    service: Service, moved: frozenset[str]
) -> tuple[frozenset[str], Exception | None]:
    """Of whom something could not be ended, and why; the others' ends do not wait for these."""
    registry = service.registry
    again: set[str] = set()
    failed: Exception | None = None
    for session in list(registry.sessions.values()):
        opened = session.opened
        chain = opened.delegation.chain if opened.delegation is not None else (opened.principal,)
        concerned = moved & {*chain} if opened.expires > service.now() else frozenset()
        if concerned and (reason := delegation.broken(service, session)):
            try:
                await sign_in.close_sessions(service, [session], reason, records.SERVICE)
            except Exception as error:  # noqa: BLE001 (a bug in one end stops no other)
                again |= concerned
                failed = error
    for case_id, (_, _, requester) in list(registry.open_cases.items()):
        concerned = moved & {link.id for link in registry.chain(registry.principals[requester])}
        if not concerned:
            continue
        try:
            await _look_at(service, case_id)
        except Exception as error:  # noqa: BLE001 (a bug in one case must not stop the others' ends)
            again |= concerned
            failed = error
        await asyncio.sleep(0)
    return frozenset(again), failed


async def _look_at(service: Service, case_id: str) -> None:
    """May raise `NotFound`: a batch may be durable, and not yet under a head."""
    case, entries = service.read(case_id)
    if case.state not in OPEN:
        return
    ended = why(service, case, entries)
    if ended is not None:
        await end.end_what_rested(service, case, ended.reason, ended.follows, ended.drafts)


def why(service: Service, case: AccessCase, entries: Sequence[Entry]) -> Ended | None:
    """Why a case no longer stands; None while it does."""
    requester = service.registry.principals[case.requested.requester]
    return (
        _by_directory(service, case, requester)
        or _by_session(service, case)
        or _by_signal(service, requester, entries)
        or _by_finding(service, case)
        or _by_policy(service, case, entries, requester)
    )


def _by_directory(service: Service, case: AccessCase, requester: Principal) -> Ended | None:
    if not requester.active:
        return Ended(reason="principal-disabled", follows=(requester.leaf,))
    if requester.sponsor != case.requested.actor.sponsor:
        return Ended(reason="sponsor-changed", follows=(requester.leaf,))
    for link in service.registry.chain(requester):
        if not link.active:
            return Ended(reason="sponsor-disabled", follows=(link.leaf,))
    return None


def _by_session(service: Service, case: AccessCase) -> Ended | None:
    """Somebody's own session may end and his access go on; a delegation takes it along."""
    shown = case.requested.actor.sign_in
    return next(_over(service, shown.session), None) if shown is not None else None


def _over(service: Service, session: str) -> Iterator[Ended]:
    """Of a delegation, and of all that it came from: what was closed, or is revoked."""
    for opened in delegation.lineage(service, session):
        record = record_of(opened)
        handed = record.delegation if isinstance(record, records.SessionOpened) else None
        if handed is None:
            return  # his own session; where it was the parent of another, it was looked at there
        for name in (opened.header.case, handed.parent, handed.credential):
            yield from _end_of(service, name)


def _end_of(service: Service, name: str) -> Iterator[Ended]:
    """Of a session, or of a static token by its hash. Neither ends access by expiring."""
    if not name.startswith(SESSIONS):
        leaf = service.registry.revocations.get(bytes.fromhex(name))
        if leaf is not None:
            yield Ended(reason="session-closed", follows=(leaf,))
        return
    for closed in service.log.read_case(name)[1:2]:
        record = record_of(closed)
        if isinstance(record, records.SessionClosed):
            reason = _SAID.get(record.reason, "session-closed")
            yield Ended(reason=reason, follows=(closed.leaf,))


def _by_signal(service: Service, requester: Principal, entries: Sequence[Entry]) -> Ended | None:
    # whoever acts for a human counts as the same person
    signal = service.registry.signalled.get(requester.person)
    if signal is None or entries[0].index >= signal.access:
        return None
    return Ended(reason="signal", follows=(signal.leaf,))


def _by_finding(service: Service, case: AccessCase) -> Ended | None:
    """Whether the detector may was asked when it was raised; here it is done."""
    leaf = service.registry.condemned.get(case.id)
    return None if leaf is None else Ended(reason="finding", follows=(leaf,))


def _by_policy(
    service: Service, case: AccessCase, entries: Sequence[Entry], requester: Principal
) -> Ended | None:
    """Asked again where the directory says something else than when it was last decided."""
    chain = list(service.registry.chain(requester))
    decided = [entry.index for entry in entries if _is_decision(entry)]
    taken = [each for link in chain if (each := _taken(service, case, link)) is not None]
    moved = [*(link.index for link in chain), *(each.index for each in taken)]
    if max(moved) < max(decided, default=-1):
        return None
    decision = evaluate.decide_again(service, case, entries)
    if decision is not None and evaluate.bears(case, decision):
        return None
    leaves = (*(link.leaf for link in chain), *(each.leaf for each in taken))
    follows = tuple(dict.fromkeys(leaves))
    if decision is None or case.state == "authorized":  # an order is out: nothing is decided then
        return Ended(reason="no-longer-allowed", follows=follows)
    role = service.registry.role(case.requested.resource, case.requested.role)
    draft = decision_draft(
        decision,
        case.id,
        service.now(),
        actor=records.SERVICE,
        question="stand",
        follows=service.rests_on(requester, role=role).follows,
    )
    return Ended(reason="no-longer-allowed", follows=follows, drafts=(draft,))


def _taken(service: Service, case: AccessCase, link: Principal) -> Withdrawn | None:
    """What a review says of one link of the chain."""
    asked = case.requested
    return service.registry.campaigns.taken(link.id, asked.resource, asked.role)


def _is_decision(entry: Entry) -> bool:
    """On the access itself: who may approve it is another question."""
    record = record_of(entry)
    return isinstance(record, records.DecisionEvaluated) and record.question != "approve"
