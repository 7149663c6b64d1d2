"""All that is known of one case, in order; one answer for API, CLI and console."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from muniment.access import records
from muniment.access.case import ENDS, LIVE, AccessCase, Ask
from muniment.access.fields import to_json
from muniment.errors import NotFound
from muniment.evidence import moment
from muniment.evidence.store import Entry
from muniment.operations import delegation, permit
from muniment.operations.facts import approval_facts, at_best
from muniment.operations.service import Caller, Service, record_of
from muniment.policy.decide import ask_approve
from muniment.ports import CaseRow


def show(service: Service, caller: Caller, case_id: str) -> dict[str, Any]:
    """A case with its timeline: each record with its index and leaf, and what its sections say."""
    case, entries = service.read(case_id)
    permit.require(service, caller, "read", case)
    return {
        **summary(service, case),
        "timeline": [line(service, entry) for entry in entries],
        "review": service.registry.reviews.get(case_id),
        "checkpoint": service.log.checkpoint.decode(),
    }


def summary(service: Service, case: AccessCase) -> dict[str, Any]:
    """What a case is now."""
    request = case.requested
    return {
        "case": case.id,
        "state": case.state,
        "closed": case.closed,
        "requester": request.requester,
        "resource": request.resource,
        "role": request.role,
        "environment": request.environment,
        "seconds": request.seconds,
        "emergency": request.emergency,
        "marked": marked(service, case),
        "waits_for": case.waits_for,
        "could_approve": who_could_approve(service, case) if case.waits_for else [],
        "approved_by": _approvers(case.ask),
        "extension": _extension(case.extension),
        "starts": _moment(case.starts),
        "until": _moment(case.until),
        "deadline": _moment(case.ask.deadline if case.ask is not None else None),
        "removal": case.removal,
        "account": case.credential.account if case.credential is not None else None,
        "records": case.length,
    }


def _approvers(ask: Ask | None) -> list[str]:
    return [given.approver for given in ask.approvals] if ask is not None else []


def _extension(ask: Ask | None) -> dict[str, Any] | None:
    """The extension that waits for approvals, beside the live grant."""
    if ask is None:
        return None
    return {
        "seconds": ask.seconds,
        "max_seconds": ask.max_seconds,
        "deadline": _moment(ask.deadline),
        "approved_by": _approvers(ask),
    }


def marked(service: Service, case: AccessCase) -> bool:
    """Broken glass stays marked until somebody else has closed its review."""
    return case.break_glass and unreviewed(service, case.id)


def unreviewed(service: Service, case_id: str) -> bool:
    """Whether the review of this case still waits for its answer."""
    review = service.registry.reviews.get(case_id)
    return review is None or len(service.log.read_case(review)) < 2  # noqa: PLR2004 (opened, answered)


def asked_to_approve(service: Service, case: AccessCase) -> list[str]:
    """Members of the groups that are waited for, outside the actor chain: whom to turn to."""
    missing, chain = set(case.waits_for), set(case.requested.actor.persons)
    return sorted(
        principal.id
        for principal in list(service.registry.principals.values())
        if principal.type == "human"
        and principal.active
        and missing & principal.groups
        and principal.person not in chain
    )


def who_could_approve(service: Service, case: AccessCase) -> list[str]:
    """Those whose approval the policy would count now, if they sign in as well as they can."""
    now = service.now()
    role = service.registry.role(case.requested.resource, case.requested.role)
    if role is None:
        return []
    return sorted(
        id_
        for id_ in asked_to_approve(service, case)
        if ask_approve(
            service.policy(),
            approval_facts(
                service,
                case,
                case.current,
                service.registry.principals[id_],
                role,
                now,
                signed_in=at_best(now),
            ),
        ).outcome
        == "permit"
    )


def whois(service: Service, caller: Caller, text: str) -> dict[str, Any]:
    """From a role name, a key id or a line of a target's log to the case that explains it."""
    for found in re.findall(rf"{re.escape(service.prefix)}_[a-z2-7]{{26}}", text, re.ASCII):
        try:
            return show(service, caller, found)
        except NotFound:
            continue  # not ours, not to be seen, or no access case: the next may be
    raise NotFound("nothing in this text names a grant of this installation")


def mine(
    service: Service, caller: Caller, *, everyone: bool, states: Sequence[str], before: str | None
) -> list[CaseRow]:
    """The caller's cases; with `everyone`, all of them, where the policy lets him read all."""
    if everyone:
        permit.require(service, caller, "read")
    requester = None if everyone else caller.principal.id
    rows = service.projections.cases(requester=requester, states=states, before=before)
    return told_rows(service, caller, rows)


def told_rows(service: Service, caller: Caller, rows: Iterable[CaseRow]) -> list[CaseRow]:
    """Those of these lines that are about what the caller may be told of."""
    return [
        replace(row, marked=row.marked and unreviewed(service, row.case))
        for row in rows
        if delegation.covers(caller, row.resource, row.role)
    ]


def waiting_for(service: Service, caller: Caller) -> list[AccessCase]:
    """Cases that wait for an approval which the policy would count if this caller gave it."""
    principal = service.registry.principals[caller.principal.id]
    found = []
    for row in service.projections.cases(closed=False, waiting=True, limit=10_000):
        if not set(row.groups) & principal.groups:
            continue
        try:
            case, _ = service.read(row.case)
        except NotFound:
            continue  # its batch is durable, and not yet under a head that anybody was shown
        if principal.id in who_could_approve(service, case):
            found.append(case)
    return found


def reason(service: Service, case_id: str) -> dict[str, Any] | None:
    """Why it was asked for last, as typed; None when that was erased."""
    asks = (records.AccessRequested.KIND, records.ExtensionRequested.KIND)
    entries = [entry for entry in service.log.read_case(case_id) if entry.header.kind in asks]
    return service.section(entries[-1], "reason")


def overdue(service: Service) -> list[CaseRow]:
    """Grants that had to end, whatever ended them, and were not yet seen gone; the oldest first."""
    now = moment.text(service.log.clock.due())
    rows = service.projections.cases(states=(*LIVE, *ENDS), closed=False, limit=10_000)
    late = [row for row in rows if row.state in ENDS or (row.until or now) < now]
    return sorted(late, key=lambda row: min(row.until or now, row.changed_at))


def line(service: Service, entry: Entry) -> dict[str, Any]:
    """One record, with what its sections say."""
    header = entry.header
    return {
        "index": entry.index,
        "leaf": entry.leaf.hex(),
        "id": header.id,
        "kind": header.kind,
        "at": moment.text(header.at),
        "observed": _moment(header.observed),
        "record": to_json(record_of(entry)),
        "sections": {
            name: service.section(entry, name)
            if name not in (erased := service.log.store.erased(entry.index))
            else {"erased": erased[name]}
            for name in header.sections
        },
    }


def _moment(at: Any) -> str | None:
    return None if at is None else moment.text(at)
