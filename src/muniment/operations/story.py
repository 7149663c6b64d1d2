"""
What happened around one grant: its sessions and what they did, deployments, incidents, findings.

And what is known of that knowledge: which sources speak of the target, from when on, with which
gaps. Without a source nothing is said to have been done; that is not the same as nothing done.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from muniment.access.case import AccessCase
from muniment.access.source_seen import SourceSeen
from muniment.evidence import moment
from muniment.operations.observe_sessions import case_of
from muniment.operations.observing import Source
from muniment.operations.seals import sealed_by
from muniment.operations.service import Service
from muniment.oversight.event_store import EventStore, Kept
from muniment.oversight.sessions import SessionSeen, assemble

#: events of one grant that are looked at: whoever asks waits for it, and beyond them it is said
#: that there are more; and lines of one session that are shown, beyond which they are counted
MOST_EVENTS, MOST_LINES = 2000, 200
#: findings that are looked through for those about several cases
MOST_FINDINGS: Final = 1000
#: so long before and after a grant a deployment or an incident counts as near
NEAR: Final = timedelta(hours=1)
_AROUND: Final = ("deployment", "incident.opened", "incident.closed")
_MOST_AROUND: Final = 200


def observed(service: Service, case: AccessCase) -> dict[str, Any]:
    """What sources say of a grant, and what came of it. Empty lists where nothing is observed."""
    store = service.observing.store
    kept = [] if store is None else store.of_grant(case.id, limit=MOST_EVENTS + 1)
    shown = kept[:MOST_EVENTS]
    return {
        "sessions": [] if store is None else _sessions(service, store, shown),
        "cut": len(kept) > len(shown),
        "around": [] if store is None else _around(store, case),
        "findings": _findings(service, case),
        "coverage": coverage(service, case.requested.resource, case.starts, case.ended_at),
    }


def _sessions(service: Service, store: EventStore, kept: list[Kept]) -> list[dict[str, Any]]:
    by_place = {(each.source, each.number): each for each in kept}
    return [
        _session(service, store, session, [by_place[session.source, n] for n in session.numbers])
        for session in assemble(kept)
    ]


def _session(
    service: Service, store: EventStore, session: SessionSeen, kept: list[Kept]
) -> dict[str, Any]:
    recorded, shown = case_of(service, session), kept[:MOST_LINES]
    indexes = sealed_by(store, session.source, [each.number for each in shown])
    return {
        "source": session.source,
        "session": session.session,
        "account": session.account,
        "clients": list(session.clients),
        "opened": _text(session.opened),
        "closed": _text(session.closed),
        "first": moment.text(session.first),
        "last": moment.text(session.last),
        "killed": session.killed,
        "strength": session.strength,
        "reason": session.reason,
        "standing": session.standing,
        "actions": session.actions,
        "failed": session.failed,
        "events": len(kept),
        "lines": [_line(each, index) for each, index in zip(shown, indexes, strict=True)],
        "record": f"{recorded}/0" if service.log.head(recorded) is not None else None,
    }


def _line(kept: Kept, index: int | None) -> dict[str, Any]:
    """One event, with the index of the log's entry that has its commitment; None: not yet."""
    line: dict[str, Any] = {
        "source": kept.source,
        "number": kept.number,
        "index": index,
    }
    if kept.event is None:
        return {**line, "erased": True}
    event = kept.event
    return {
        **line,
        "at": moment.text(event.at),
        "type": event.type,
        "action": event.action,
        "object": event.object,
        "detail": event.detail,
        "failed": event.failed,
        "client": event.client,
        "standing": kept.link.standing,
    }


def _around(store: EventStore, case: AccessCase) -> list[dict[str, Any]]:
    """Deployments and incidents inside the window or near it, on this target or on none known."""
    start = case.starts or case.opened_at
    end = case.ended_at or case.until or case.changed_at
    if start is None or end is None:
        return []
    # asked for apart: what happens elsewhere may be more than is shown
    found = sorted(
        (each.event.at, each.row, each)
        for resource in {"", case.requested.resource}
        for each in store.between(
            start - NEAR, end + NEAR, resource=resource, types=_AROUND, limit=_MOST_AROUND
        )
        if each.event is not None
    )
    return [
        {
            **_line(each, store.sealed_by(each.source, each.number)),
            "resource": each.resource,
            "near": _near(each, start, end),
        }
        for _, _, each in found
    ]


def _near(kept: Kept, start: datetime, end: datetime) -> str:
    if kept.event is None or start <= kept.event.at <= end:
        return "inside"
    return "before" if kept.event.at < start else "after"


def _findings(service: Service, case: AccessCase) -> list[dict[str, Any]]:
    """Those that are about this case alone, and of the newest those about others, too."""
    alone = service.projections.cases(kind="finding", about=case.id)
    newest = service.projections.cases(kind="finding", limit=MOST_FINDINGS)
    several = [row for row in newest if " " in row.about and case.id in row.about.split(" ")]
    return [
        {"finding": row.case, "rule": row.role, "state": row.state, "at": row.opened_at}
        for row in sorted((*alone, *several), key=lambda row: row.opened_at)
    ]


# --- what is covered --------------------------------------------------------------------------


def coverage(
    service: Service, resource: str, start: datetime | None, end: datetime | None
) -> list[dict[str, Any]]:
    """Which sources speak of a resource, from when on, and what was missed in this time."""
    sources = service.observing.sources.values()
    return [
        _coverage(service, source, start, end)
        for source in sources
        if source.resource in ("", resource)
    ]


def _coverage(
    service: Service, source: Source, start: datetime | None, end: datetime | None
) -> dict[str, Any]:
    seen = service.registry.sources.get(source.name)
    store = service.observing.store
    state = store.state(source.name) if store is not None else None
    types = dict(state.types) if state is not None else {}
    return {
        "source": source.name,
        "resource": source.resource,
        "since": moment.text(seen.since) if seen is not None else None,
        "covers": seen is not None and (start is None or seen.since <= start),
        "silent": seen is not None and seen.is_silent,
        "received": state.next if state is not None else 0,
        "rejected": state.rejected if state is not None else 0,
        "types": types,
        "never_came": sorted(set(source.expects) - types.keys()),
        "gaps": list(_gaps(seen, start, end)) if seen is not None else [],
    }


def _gaps(
    seen: SourceSeen, start: datetime | None, end: datetime | None
) -> Iterable[dict[str, Any]]:
    """What was missed of a source while the grant was live; the newest last."""
    for at, gap in seen.missed(start, end):
        yield {
            "why": gap.why,
            "since": moment.text(gap.since),
            "recorded": moment.text(at),
            "count": gap.count,
        }


def _text(at: datetime | None) -> str | None:
    return None if at is None else moment.text(at)
