"""What is known of drift: the newest scan of each target, what was ordered, what is not proved."""

from datetime import datetime
from typing import Any

from muniment.access.case import ENDS, LIVE
from muniment.access.scans import Ordered, Scan
from muniment.errors import NotFound
from muniment.evidence import moment
from muniment.operations import findings
from muniment.operations.drift_look import finding_of, report_key, told_by
from muniment.operations.service import Service, record_of
from muniment.oversight.difference import STANDING, Difference


def overview(service: Service, resource: str | None = None) -> dict[str, Any]:
    """Of each resource, or of one: how it was found last, and what was ordered since."""
    names = sorted({*service.connectors, *service.registry.scans.targets})
    if resource is not None and resource not in names:
        known = ", ".join(f"`{each}`" for each in names) or "none"
        raise NotFound(f"there is no resource `{resource}`; there are: {known}")
    wanted = names if resource is None else [resource]
    return {"resources": [_resource(service, each) for each in wanted]}


def _resource(service: Service, resource: str) -> dict[str, Any]:
    newest = service.registry.scans.of(resource)
    orders = [_order(service, each) for each in service.registry.scans.orders(resource)]
    if newest is None:
        return {"resource": resource, "scan": None, "differences": [], "removals": orders}
    told = told_by(service, newest.told)
    return {
        "resource": resource,
        "scan": {**_scan(newest, told), "standing": _report(service, resource, newest)},
        "differences": [
            line
            for each in (told or {}).get("differences", ())
            if (line := _line(service, difference_of(resource, each))) is not None
        ],
        "removals": orders,
    }


def _scan(newest: Scan, told: dict[str, Any] | None) -> dict[str, Any]:
    record = newest.record
    return {
        "case": newest.entry.header.case,
        "at": moment.text(newest.entry.header.at),
        "target": record.target,
        "first": record.first,
        "accounts": record.accounts,
        "sessions": record.sessions,
        "privileges": record.privileges,
        "differences": record.differences,
        "erased": told is None,
        "forgotten": (told or {}).get("forgotten", 0),
        "unlisted": sum(record.differences.values()) - len((told or {}).get("differences", ())),
    }


def _report(service: Service, resource: str, newest: Scan) -> str:
    """The finding that lists what stood there before anybody looked; empty where there is none."""
    key = report_key(resource, newest.record.target)
    number = findings.newest_of(service, STANDING.id, key)
    return "" if number is None else findings.case_of(service, STANDING.id, key, number)


def difference_of(resource: str, told: dict[str, Any]) -> Difference:
    """A difference as the section of a scan has it."""
    since = told["since"]
    return Difference(
        key=told["key"],
        kind=told["kind"],
        what=told["what"],
        resource=resource,
        account=told["account"],
        severity=told["severity"],
        objects=tuple(told["objects"]),
        count=told["count"],
        grant=told["grant"],
        persons=tuple(told["persons"]),
        since=None if since is None else moment.parse(since),
    )


def _line(service: Service, difference: Difference) -> dict[str, Any] | None:
    """None for what somebody has explained or adopted since."""
    finding = finding_of(service, difference)
    if finding is not None and finding.mutes(service.now()):
        return None
    return {
        "kind": difference.kind,
        "what": difference.what,
        "account": difference.account,
        "severity": difference.severity,
        "objects": list(difference.objects),
        "count": difference.count,
        "grant": difference.grant,
        "since": None if difference.since is None else moment.text(difference.since),
        "summary": difference.summary,
        "finding": "" if finding is None else finding.id,
        "state": "" if finding is None else finding.state,
    }


def find(service: Service, resource: str, account: str) -> Difference:
    """The account without a grant that the newest scan saw. Raises `NotFound`."""
    newest = service.registry.scans.of(resource)
    told = told_by(service, newest.told) if newest is not None else None
    for each in (told or {}).get("differences", ()):
        found = difference_of(resource, each)
        if found.account == account and found.kind in (
            "account-without-grant",
            "privileged-account",
        ):
            return found
    raise NotFound(
        f"the newest scan of `{resource}` has seen no such account without a grant; "
        f"`muniment drift {resource}` looks again"
    )


def _order(service: Service, order: Ordered) -> dict[str, Any]:
    header = order.entry.header
    wanted = service.section(order.entry, "order") or {}
    return {
        "removal": header.case,
        "finding": order.record.about,
        "account": wanted.get("account", ""),
        "statements": wanted.get("statements", []),
        "ordered_by": order.record.actor.principal,
        "ordered_at": moment.text(header.at),
        "age": int((service.now() - header.at).total_seconds()),
    }


def unproven(service: Service) -> list[dict[str, Any]]:
    """Access that is over and was not yet seen gone, the oldest first, and why not."""
    now = service.log.clock.due()
    grants = list(service.registry.grants.values())
    found = [
        _unproven(service, each.case, now) for each in grants if each.ended or each.until < now
    ]
    return sorted((each for each in found if each is not None), key=lambda each: -each["age"])


def _unproven(service: Service, case_id: str, now: datetime) -> dict[str, Any] | None:
    case, entries = service.read(case_id)
    over = case.until if case.state in LIVE else case.ended_at
    if case.closed or over is None or case.state not in (*LIVE, *ENDS) or over > now:
        return None
    troubles = [
        view.trouble
        for entry in entries[-1:]
        for view in getattr(record_of(entry), "endpoints", ())
        if view.trouble
    ]
    return {
        "case": case.id,
        "state": case.state,
        "requester": case.requested.requester,
        "resource": case.requested.resource,
        "role": case.requested.role,
        "over": moment.text(moment.whole(over)),
        "age": int((now - over).total_seconds()),
        "removal": case.removal,
        "reason": case.unverified_reason,
        "troubles": troubles,
        "looked_at": None if case.unverified_at is None else moment.text(case.unverified_at),
    }
