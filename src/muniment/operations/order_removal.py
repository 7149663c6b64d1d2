"""
An account that no grant covers is to go: one person says so, another had looked before.

Nothing is taken away here. The connector's own account may remove what it made, and nothing else;
what a stranger made, an administrator of the target removes. The next scan says whether it is gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from muniment.access import records
from muniment.access.counters import removal_counter
from muniment.access.finding import Finding
from muniment.errors import Conflict, Malformed, NotPermitted
from muniment.evidence.append import Proposal
from muniment.evidence.store import Entry
from muniment.operations import findings, permit
from muniment.operations.answer_finding import concerned
from muniment.operations.attempts import until_it_stands
from muniment.operations.drift import hit_of
from muniment.operations.drift_look import finding_of
from muniment.operations.drift_told import find
from muniment.operations.raise_finding import raise_finding
from muniment.operations.request import check_text
from muniment.operations.service import Caller, Service, content, record_of
from muniment.oversight.difference import rule_of
from muniment.ports import TellsRemovals

#: begins the ids of removals
REMOVALS = "rmv"


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What was ordered."""

    case: str
    #: what an administrator has to run at the target; empty where the connector cannot say
    statements: tuple[str, ...]


async def single_out(service: Service, caller: Caller, resource: str, account: str) -> str:
    """
    Make an account that stood there before a finding of its own; returns its case id.

    So it can be adopted, explained or removed by itself. Raises `NotFound` and `NotPermitted`.
    """
    permit.require(service, caller, "review")
    difference = find(service, resource, account)
    found = finding_of(service, difference)
    if found is not None and not found.closed:
        return found.id
    newest = service.registry.scans.of(resource)
    case = newest.entry.header.case if newest is not None else ""
    hit = hit_of(difference, service.now(), case)
    return await raise_finding(service, rule_of(difference), {}, hit)


async def order_removal(
    service: Service, caller: Caller, resource: str, account: str, finding: str, reason: str
) -> Removal:
    """
    Record that it is to go, and say how.

    Raises `NotFound`, `NotPermitted`, `Malformed`, and `Conflict` while nobody else has looked at
    the finding, or where it was ordered already.
    """
    if not reason.strip():
        raise Malformed("a removal takes a reason")
    check_text(reason, "reason")
    removal: Removal = await until_it_stands(
        lambda: _order(service, caller, resource, account, finding, reason)
    )
    return removal


async def _order(
    service: Service, caller: Caller, resource: str, account: str, finding: str, reason: str
) -> Removal:
    grounds = service.rests_on(caller.principal)  # before what is decided on them
    orders = removal_counter(finding)
    grounds.reads[orders] = service.log.head(orders)
    permit.require(service, caller, "revoke")
    difference = find(service, resource, account)
    found, entries = findings.read(service, finding)
    known = finding_of(service, difference)
    if known is None or known.id != found.id:
        raise Conflict(f"`{finding}` is not the newest finding about this account")
    seconded, looked = _second(service, caller, found, entries)
    _check_new(service, resource, finding)
    statements = _statements(service, resource, account)
    newest = service.registry.scans.of(resource)
    case, now = service.new_case(REMOVALS), service.now()
    ordered = records.RemovalOrdered(
        actor=service.actor(caller),
        about=found.id,
        resource=resource,
        target=newest.record.target if newest is not None else "",
        person=caller.principal.person,
        seconded=seconded,
    ).draft(
        case,
        now,
        follows=tuple(dict.fromkeys((caller.principal.leaf, looked, found.head))),
        sections={
            "order": content({"account": account, "reason": reason, "statements": list(statements)})
        },
    )
    reads = {**grounds.reads, found.id: found.head, case: None}
    await service.append(Proposal(drafts=(ordered,), reads=reads, gives=False))
    return Removal(case=case, statements=statements)


def _second(
    service: Service, caller: Caller, found: Finding, entries: Sequence[Entry]
) -> tuple[str, bytes]:
    """Person id of somebody else who has said that he looked, and the leaf of where he did."""
    actor = service.actor(caller)
    if actor.type != "human" or concerned(service, found) & set(actor.persons):
        raise NotPermitted("a removal is ordered by a human whom the finding is not about")
    if found.state == "closed":
        raise Conflict("this finding was closed already")
    for entry in reversed(entries):
        record = record_of(entry)
        looked = isinstance(record, records.FindingAcknowledged | records.FindingAssigned)
        if looked and not set(record.actor.persons) & set(actor.persons):
            return record.actor.persons[0], entry.leaf
    raise Conflict(
        "it takes two: somebody else has to look first, and say so: "
        f"`muniment findings acknowledge {found.id}`"
    )


def _check_new(service: Service, resource: str, finding: str) -> None:
    for order in service.registry.scans.orders(resource):
        if order.record.about == finding:
            case = order.entry.header.case
            raise Conflict(f"`{case}` orders this already; it ends when a scan sees it gone")


def _statements(service: Service, resource: str, account: str) -> tuple[str, ...]:
    connector = service.connector(resource)
    if not isinstance(connector, TellsRemovals):
        return ()
    return connector.removal_of(account)
