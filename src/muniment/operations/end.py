"""
Take access away: expiry, revocation and early end are three records and one way of doing it.

Taking away never waits for the log: where the log is down the target is cleaned all the same, and
the outcome is spooled. A grant is closed only by a separate look at every endpoint of its target.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from muniment.access import records
from muniment.access.case import ENDS, LIVE, AccessCase
from muniment.access.records import EndpointView, Record
from muniment.access.registry import OpenGrant
from muniment.errors import Conflict, EvidenceError, LogUnavailable, MunimentError, Unavailable
from muniment.evidence import moment
from muniment.evidence.record import Draft
from muniment.operations import permit
from muniment.operations.projection import order_over
from muniment.operations.request import check_text
from muniment.operations.service import Caller, Service, close, content
from muniment.ports import Connector, Probe, Revoked

#: a removal that stays unseen is recorded when what is seen changes, and at most this often
UNVERIFIED_EVERY = timedelta(days=1)
#: a target must answer within this, else the attempt counts as failed
ATTEMPT = timedelta(seconds=30)
_log = logging.getLogger(__name__)


async def end(service: Service, caller: Caller, case: str) -> AccessCase:
    """Its holder gives access back. Returns when the removal was tried once."""
    state, _ = service.read(case)
    permit.require(service, caller, "read", state)
    permit.require(service, caller, "end", state)
    _must_be_live(state)
    actor = service.actor(caller)
    # whoever the policy lets end what is not his takes it away from its holder
    holds = bool(set(actor.persons) & set(state.requested.actor.persons))
    record = records.GrantEnded(actor=actor) if holds else records.GrantRevoked(actor=actor)
    return await _declare_and_remove(service, state, record.draft(case, service.now()))


async def revoke(service: Service, caller: Caller, case: str, note: str = "") -> AccessCase:
    """Somebody takes it away. Also what was approved and not picked up yet."""
    check_text(note, "note")
    state, _ = service.read(case)
    permit.require(service, caller, "read", state)
    permit.require(service, caller, "revoke", state)
    if state.state != "approved":
        _must_be_live(state)
    record = records.GrantRevoked(actor=service.actor(caller))
    sections = {"note": content({"text": note})} if note else {}
    draft = record.draft(case, service.now(), follows=(caller.principal.leaf,), sections=sections)
    return await _declare_and_remove(service, state, draft)


async def end_what_rested(
    service: Service,
    state: AccessCase,
    reason: str,
    follows: Sequence[bytes],
    before: Sequence[Draft] = (),
) -> None:
    """
    By the service: what this rested on is over. Declared here; the worker takes it away.

    What waits lapses, what was given is revoked. `before` says what was found, where that was
    decided; it stands only if nothing has happened to the case since.
    """
    now = service.now()
    lapsed = records.AccessLapsed(actor=records.SERVICE, reason=reason)
    revoked = records.GrantRevoked(actor=records.SERVICE, reason=reason)
    waits = lapsed.draft(state.id, now, follows=tuple(follows))
    given = revoked.draft(state.id, now, follows=tuple(follows))

    def build(current: AccessCase) -> Sequence[Draft]:
        found = list(before) if current.head == state.head else []
        if current.state == "pending":
            return close([*found, waits], state.id, current.length, now)
        if current.state == "approved":
            return close([*found, given], state.id, current.length, now)
        return [*found, given] if current.state in LIVE else ()

    try:
        await service.conclude(state.id, build)
    except Unavailable:
        if state.state not in LIVE:
            raise  # there is nothing to take away
        await _end_unrecorded(service, state, given, build)


async def expire(service: Service, case: str) -> AccessCase:
    """By the worker, at the end of the window: its intent stands in `grant:authorized`."""
    state, _ = service.read(case)
    if state.state not in LIVE or state.until is None or service.log.clock.due() < state.until:
        return state
    expired = records.GrantExpired(actor=records.SERVICE, due=state.until)
    seen = await _take_away(service, state)
    return await _record(service, state, seen, expired)


async def expire_unread(service: Service, grant: OpenGrant) -> None:
    """
    Where not even the database can be read: take away what memory says is over, and spool it.

    What was seen at the target is looked for again once the log is back.
    """
    connector = service.connector(grant.resource)
    await asyncio.wait_for(connector.revoke(grant.case), ATTEMPT.total_seconds())
    expired = records.GrantExpired(actor=records.SERVICE, due=grant.until)
    await _spool(service, expired.draft(grant.case, service.now()))


async def finish(service: Service, case: str) -> AccessCase:
    """By the worker: an end that was declared and not yet seen."""
    state, _ = service.read(case)
    if state.state not in ENDS or state.closed:
        return state
    return await _record(service, state, await _take_away(service, state), None)


def _must_be_live(state: AccessCase) -> None:
    if state.state not in LIVE:
        raise Conflict(f"the case is {state.state}; there is no access to end")


async def _declare_and_remove(service: Service, state: AccessCase, draft: Draft) -> AccessCase:
    """The intent first; where it cannot be written the removal is done all the same."""
    build = _declaring(draft)
    service.ending.add(state.id)
    try:
        try:
            state, _ = await service.conclude(state.id, build)
        except Unavailable:
            return await _end_unrecorded(service, state, draft, build)
        if state.state not in ENDS:
            raise Conflict(f"the case is {state.state}; there is no access to end")
        if state.closed:
            return state
        return await _record(service, state, await _take_away(service, state), None)
    finally:
        service.ending.discard(draft.case)
        service.wake.set()


def _declaring(draft: Draft) -> Callable[[AccessCase], Sequence[Draft]]:
    """A revocation, or an early end, on whatever state the case is in."""

    def build(current: AccessCase) -> Sequence[Draft]:
        if current.state not in (*LIVE, "approved"):
            return ()
        if current.state == "approved":
            return close([draft], draft.case, current.length, draft.at)
        return (draft,)

    return build


async def _end_unrecorded(
    service: Service,
    state: AccessCase,
    draft: Draft,
    build: Callable[[AccessCase], Sequence[Draft]],
) -> AccessCase:
    """Taking away never waits for the log, nor for its spool; only the answer has to."""
    try:
        await _spool(service, draft)
    except Unavailable:
        # kept in memory, as the disk takes nothing: the worker spools or records it later
        service.unspooled.append(_spooled(draft))
        _log.critical("the end of case %s cannot even be spooled; it is done first", state.id)
    seen = await _take_away(service, state)
    try:
        declared, _ = await service.conclude(state.id, build)  # the log may be back
        return await _record(service, declared, seen, None)
    except Unavailable as error:
        raise LogUnavailable(
            "the log cannot be written; access is being taken away all the same, and its end is "
            "recorded as soon as that is possible"
        ) from error


# --- at the target ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What one attempt to take access away did, and what the look afterwards saw."""

    at: datetime
    #: by when, as ends are judged, it was begun
    begun: datetime
    #: when access had to end
    due: datetime
    revoked: Revoked
    endpoints: tuple[EndpointView, ...]
    #: empty when the removal is verified
    trouble: str


async def _take_away(service: Service, state: AccessCase) -> _Seen:
    resource, begun = state.requested.resource, service.log.clock.due()
    due = state.ended_at or state.until or service.log.clock.due()
    revoked, probe = Revoked(accounts=0, sessions=0), Probe(endpoints=())
    try:
        connector = service.connector(resource)
        revoked = await asyncio.wait_for(connector.revoke(state.id), ATTEMPT.total_seconds())
        probe = await asyncio.wait_for(connector.probe(state.id), ATTEMPT.total_seconds())
        trouble = _trouble(state, connector, probe)
    except (TimeoutError, MunimentError):
        trouble = "target-unavailable"
    return _Seen(
        at=service.now(),
        begun=begun,
        due=due,
        revoked=revoked,
        endpoints=probe.endpoints,
        trouble=trouble,
    )


def _trouble(state: AccessCase, connector: Connector, probe: Probe) -> str:
    """Why this look does not show that access is gone; empty when it does."""
    views = probe.endpoints
    if any(view.trouble or not view.saw_itself for view in views):
        return "blind"
    if not probe.shows_nothing_left:
        return "still-there"
    if tuple(view.endpoint for view in views) != _endpoints(state, connector):
        return "other-endpoints"
    if state.credential is not None and views[0].target != state.credential.target:
        return "other-target"
    return ""


def _endpoints(state: AccessCase, connector: Connector) -> tuple[str, ...]:
    if state.credential is not None:
        return state.credential.capabilities.endpoints
    return connector.capabilities.endpoints


# --- the outcome ------------------------------------------------------------------------------


async def _record(
    service: Service, state: AccessCase, seen: _Seen, declared: Record | None
) -> AccessCase:
    """Append what was seen; where the log is down, spool that access was taken away."""

    def build(current: AccessCase) -> Sequence[Draft]:
        return _outcome(service, current, seen, declared)

    try:
        state, _ = await service.conclude(state.id, build)
    except Unavailable:
        if declared is not None:
            await _spool(service, declared.draft(state.id, seen.at))
        raise
    return state


def _outcome(
    service: Service, current: AccessCase, seen: _Seen, declared: Record | None
) -> list[Draft]:
    drafts: list[Draft] = []
    if declared is not None and current.state in LIVE:
        if seen.due != current.until:
            return []  # extended at the last moment; what was taken away is to be picked up anew
        drafts.append(declared.draft(current.id, seen.at))
    elif current.state not in ENDS or current.closed:
        return []
    if not seen.trouble and _order_may_come(service, current, seen):
        return drafts
    if not seen.trouble:
        drafts.append(_verified(seen).draft(current.id, seen.at))
        if current.picked_up_anew(seen.at):
            return drafts  # approved again, and not over
        return close(drafts, current.id, current.length, seen.at)
    if _worth_saying(service, current, seen):
        drafts.append(_unverified(seen).draft(current.id, seen.at))
    return drafts


def _worth_saying(service: Service, current: AccessCase, seen: _Seen) -> bool:
    """When what was seen changes, and at most once a day, however often the worker retries."""
    if service.outdated is not None and current.requested.resource not in service.connectors:
        return False  # no more than that: other nodes have files that name it
    last = current.unverified_at
    return (
        last is None
        or current.unverified_reason != seen.trouble
        or service.now() - last >= UNVERIFIED_EVERY
    )


def _order_may_come(service: Service, current: AccessCase, seen: _Seen) -> bool:
    """
    A stalled order could still create what was seen to be absent: then the look counts for nothing,
    and is repeated once the target would reject the order.
    """
    over = order_over(current)
    return over is not None and seen.begun <= over + service.limits.order_timeout


def _verified(seen: _Seen) -> records.RemovalVerified:
    return records.RemovalVerified(
        actor=records.SERVICE,
        endpoints=seen.endpoints,
        accounts_removed=seen.revoked.accounts,
        sessions_killed=seen.revoked.sessions,
        lag_ms=max(0, int((seen.at - seen.due).total_seconds() * 1000)),
    )


def _unverified(seen: _Seen) -> records.RemovalUnverified:
    return records.RemovalUnverified(
        actor=records.SERVICE, endpoints=seen.endpoints, reason=seen.trouble
    )


# --- the spool --------------------------------------------------------------------------------


async def _spool(service: Service, draft: Draft) -> None:
    """Once for each end, however often it is tried."""
    line = _spooled(draft)
    async with service.spooling:
        if all((w["case"], w["kind"]) != (draft.case, draft.kind) for w in service.spool.waiting()):
            await asyncio.to_thread(service.spool.add, line)
            _log.warning("the end of case %s is spooled: the log cannot be written", draft.case)


def _spooled(draft: Draft) -> dict[str, Any]:
    """An end as it waits for the log: its header fields only, and when it happened."""
    return {
        "case": draft.case,
        "kind": draft.kind,
        "at": moment.text(draft.at),
        "body": dict(draft.body),
    }


async def unspool(service: Service) -> int:
    """
    Append the ends that were done while the log was down, each with the time it happened.

    One that does not fold is kept behind the others, and holds nobody up. Returns how many stand.
    """
    recorded = await _record_unspooled(service)
    for line in service.spool.waiting():
        try:
            await service.conclude(line["case"], _late(line, service.now()))
        except EvidenceError:
            _log.critical("the spooled end of case %s does not fold", line["case"], exc_info=True)
            await asyncio.to_thread(service.spool.add, line)
        else:
            recorded += 1
            _log.warning("the end of case %s is recorded late", line["case"])
        # Crash here: the end stands twice, in the log and in the spool; then it is not repeated.
        await asyncio.to_thread(service.spool.clear, 1)
    return recorded


async def _record_unspooled(service: Service) -> int:
    """Ends that the disk did not even take into the spool: nothing but this process knows them."""
    recorded = 0
    while service.unspooled:
        line = service.unspooled[0]
        await service.conclude(line["case"], _late(line, service.now()))
        service.unspooled.remove(line)
        recorded += 1
        _log.warning("the end of case %s is recorded late", line["case"])
    return recorded


def _late(line: dict[str, Any], now: datetime) -> Callable[[AccessCase], Sequence[Draft]]:
    """Appended now, and it says when it was observed."""
    draft = Draft(
        case=line["case"],
        kind=line["kind"],
        fold=records.FOLD,
        at=now,
        observed=moment.parse(line["at"]),
        body=line["body"],
    )

    def build(current: AccessCase) -> Sequence[Draft]:
        if current.state == "approved" and draft.kind == records.GrantRevoked.KIND:
            return close([draft], draft.case, current.length, draft.at)
        expired = draft.kind == records.GrantExpired.KIND
        due = moment.text(current.until) if current.until is not None else ""
        if current.state not in LIVE or (expired and draft.body["due"] != due):
            return ()
        return (draft,)

    return build
