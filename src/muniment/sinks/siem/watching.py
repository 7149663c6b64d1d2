"""
What was found, looked at and told, in the words of OCSF: findings, reviews, sources, notices.

A finding is a Detection Finding from its first record to its last, under one id. That something of
a source is missing is Event Log Activity: a SIEM has rules for logs that stop.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from muniment.access import records
from muniment.sinks.siem.shapes import (
    AMEND,
    CLOSE,
    COMPLIANCE,
    CREATE,
    CRITICAL,
    DELETE,
    DETECTION,
    ENTITY,
    EVENT_LOG,
    FAILURE,
    HIGH,
    INFORMATIONAL,
    LOW,
    MEDIUM,
    OTHER,
    RAISE,
    SESSION,
    SUCCESS,
    UPDATE,
    Seen,
    Told,
    entity,
    milliseconds,
    resource,
    tags,
    user,
)

_SEVERITY: Final = {
    "info": INFORMATIONAL,
    "low": LOW,
    "medium": MEDIUM,
    "high": HIGH,
    "critical": CRITICAL,
}
_NATURE: Final = {"deterministic": (1, "Rule"), "baseline": (2, "Behavioral")}
_NEW, _IN_PROGRESS = (1, "New"), (2, "In Progress")
_SUPPRESSED, _RESOLVED = (3, "Suppressed"), (4, "Resolved")
_VERDICTS: Final = {
    "remedied": (2, "True Positive"),
    "explained": (5, "Benign"),
    "adopted": (OTHER, "Adopted"),
    "false-alarm": (1, "False Positive"),
}
_UNKNOWN = 0


# --- findings ---------------------------------------------------------------------------------


def _finding(seen: Seen, activity: int, status: tuple[int, str], what: str, **more: Any) -> Told:
    """As its first record has it; `what` happened now."""
    first = seen.case.raised
    if isinstance(seen.record, records.FindingRaised):
        first = seen.record
    if first is None:
        info: dict[str, Any] = {"uid": seen.header.case}
        severity, rule = _UNKNOWN, "a finding"
    else:
        info, severity, rule = _info(seen, first), _SEVERITY[first.severity], first.rule
        if first.resource:
            more["resources"] = resource(first.resource)
    return Told(
        ocsf=DETECTION,
        activity=activity,
        message=f"{rule}: {what}",
        severity=severity,
        status=status,
        fields={"finding_info": info, "is_alert": activity == RAISE, **more},
    )


def _info(seen: Seen, first: records.FindingRaised) -> dict[str, Any]:
    type_id, type = _NATURE.get(first.nature, (OTHER, first.nature))
    last = getattr(seen.record, "seen", first.seen)
    return {
        "uid": seen.header.case,
        "title": first.rule,
        "types": [first.nature],
        "analytic": {
            "uid": first.rule,
            "name": first.rule,
            "version": first.definition.hex(),
            "type_id": type_id,
            "type": type,
        },
        "first_seen_time": milliseconds(first.seen),
        "last_seen_time": milliseconds(last),
        "related_events": [
            {"uid": case, "type": "access case"} for case in getattr(seen.record, "about", ())
        ],
    }


def _raised(seen: Seen, record: records.FindingRaised) -> Told:
    where = f" on {record.resource}" if record.resource else ""
    return _finding(seen, RAISE, _NEW, f"found{where}")


def _seen_again(seen: Seen, record: records.FindingSeen) -> Told:
    return _finding(seen, AMEND, _NEW, "seen again", count=max(record.count, 1))


def _acknowledged(seen: Seen, _: records.FindingAcknowledged) -> Told:
    return _finding(seen, AMEND, _IN_PROGRESS, "somebody has read it")


def _assigned(seen: Seen, record: records.FindingAssigned) -> Told:
    assignee = user(record.to)
    return _finding(seen, AMEND, _IN_PROGRESS, "somebody is to deal with it", assignee=assignee)


def _found_closed(seen: Seen, record: records.FindingClosed) -> Told:
    verdict_id, verdict = _VERDICTS.get(record.resolution, (OTHER, record.resolution))
    return _finding(
        seen,
        CLOSE,
        _SUPPRESSED if record.until is not None else _RESOLVED,
        f"closed as {record.resolution}",
        verdict_id=verdict_id,
        verdict=verdict,
        status_detail=record.resolution,
    )


def _scanned(seen: Seen, record: records.DriftScanned) -> Told:
    found = sum(record.differences.values())
    status = (1, "Pass") if not found else (2, "Warning") if record.first else (3, "Fail")
    return Told(
        ocsf=COMPLIANCE,
        activity=RAISE,
        message=f"{record.resource} was held against the log: {found} differences",
        severity=INFORMATIONAL if not found else LOW,
        status=_RESOLVED if not found else _NEW,
        fields={
            "finding_info": {
                "uid": seen.header.case,
                "title": f"drift scan of {record.resource}",
                "types": ["drift"],
            },
            "compliance": {
                "control": "no access without a record",
                "status_id": status[0],
                "status": status[1],
                "control_parameters": tags(
                    **{kind: str(count) for kind, count in record.differences.items()}
                ),
            },
            "resources": resource(record.resource),
        },
    )


def _removal_ordered(seen: Seen, record: records.RemovalOrdered) -> Told:
    return Told(
        ocsf=ENTITY,
        activity=CREATE,
        message=f"an account without a grant on {record.resource} is to go",
        severity=MEDIUM,
        fields={"entity": entity(seen.header.case, "removal order", name=record.resource)},
    )


# --- reviews ----------------------------------------------------------------------------------


def _review_opened(seen: Seen, record: records.ReviewOpened) -> Told:
    return Told(
        ocsf=ENTITY,
        activity=CREATE,
        message=f"a review of {record.about} is due by {record.due:%Y-%m-%dT%H:%M:%SZ}",
        severity=MEDIUM,
        fields={"entity": entity(seen.header.case, "review", name=record.about)},
    )


def _review_answered(seen: Seen, record: records.ReviewAnswered) -> Told:
    justified = record.verdict == "justified"
    return Told(
        ocsf=ENTITY,
        activity=UPDATE,
        message=f"a review found the access {record.verdict}",
        severity=INFORMATIONAL if justified else HIGH,
        status=SUCCESS if justified else FAILURE,
        fields={
            "entity": entity(seen.header.case, "review"),
            "status_detail": record.verdict,
        },
    )


# --- what sources say -------------------------------------------------------------------------


def _received(_: Seen, record: records.EventsReceived) -> Told:
    return Told(
        ocsf=EVENT_LOG,
        activity=OTHER,
        named="Receive",
        message=f"{record.count} events came from {record.source}",
        severity=LOW if record.rejected else INFORMATIONAL,
        fields={
            **_source(record.source),
            **({"count": record.count} if record.count else {}),
            "start_time": milliseconds(record.first),
            "end_time": milliseconds(record.last),
        },
    )


def _missed(_: Seen, record: records.EventsMissed) -> Told:
    back, silent = record.why == "resumed", record.why == "silence"
    what = {
        "resumed": "speaks again",
        "silence": "is silent",
        "count": "says that it sent more than came",
        "cursor": "goes on elsewhere than it was left",
    }.get(record.why, f"has lost events: {record.why}")
    return Told(
        ocsf=EVENT_LOG,
        activity=6 if back else 7 if silent else OTHER,
        named="" if back or silent else "Lose",
        message=f"source {record.source} {what}",
        severity=LOW if back else MEDIUM if silent else HIGH,
        status=SUCCESS if back else FAILURE,
        fields={
            **_source(record.source),
            **({"count": record.count} if record.count else {}),
            "start_time": milliseconds(record.since),
            "status_detail": record.why,
        },
    )


def _source(name: str) -> dict[str, Any]:
    return {"log_name": name, "log_provider": "muniment", "log_type_id": 2}


def _observed(seen: Seen, record: records.SessionObserved) -> Told:
    worrying = record.standing not in ("within", "known")
    times = {"start_time": record.opened, "end_time": record.closed}
    return Told(
        ocsf=SESSION,
        activity=1,
        message=(
            f"a session of {record.about} on {record.resource}: {record.actions} actions,"
            f" {record.standing}"
        ),
        severity=HIGH if worrying else INFORMATIONAL,
        fields={
            "user": {"uid": record.about, "credential_uid": record.about},
            "privileges": [record.resource],
            "session": {"uid": seen.header.case, "issuer": record.source},
            "status_detail": record.standing,
            **{name: milliseconds(at) for name, at in times.items() if at is not None},
        },
    )


# --- telling and carrying away ----------------------------------------------------------------


def _exported(_: Seen, record: records.EvidenceExported) -> Told:
    return Told(
        ocsf=EVENT_LOG,
        activity=3,
        message=f"evidence of {record.about} was carried away",
        severity=LOW,
        fields={"log_provider": "muniment", "log_type_id": 2},
    )


def _erased(_: Seen, record: records.RecordErased) -> Told:
    return Told(
        ocsf=ENTITY,
        activity=DELETE,
        message=f"section `{record.section}` of {record.record} was erased under {record.rule}",
        severity=LOW,
        fields={"entity": entity(f"{record.record}/{record.section}", "sealed section")},
    )


def _notice(seen: Seen, record: records.NoticeSettled | records.CallbackSettled) -> Told:
    """Somebody was told, or is not going to be."""
    lost = record.outcome in ("abandoned", "refused", "forgotten")
    return Told(
        ocsf=ENTITY,
        activity=CREATE,
        message=f"word of `{record.event}` on {record.about}: {record.outcome}",
        severity=LOW if lost else INFORMATIONAL,
        status=FAILURE if lost else SUCCESS,
        fields={
            "entity": entity(seen.header.case, "notice", name=record.event),
            "status_detail": record.outcome,
        },
    )


def _signal(seen: Seen, record: records.SignalReceived) -> Told:
    acts = record.action != "none"
    what = record.action if acts else f"nothing: {record.why}"
    return Told(
        ocsf=ENTITY,
        activity=UPDATE,
        message=f"{record.provider} says `{record.event}` of an account; what follows is {what}",
        severity=MEDIUM if acts else LOW,
        fields={
            "entity": entity(
                record.about or seen.header.case,
                "principal" if record.about else "signal",
                **({"user": user(record.about)} if record.about else {}),
            ),
            "status_detail": record.why or record.action,
        },
    )


def _measured(seen: Seen, record: records.EvidenceMeasured) -> Told:
    weak = record.recent_weak or record.log
    status = (2, "Warning") if weak else (1, "Pass")
    return Told(
        ocsf=COMPLIANCE,
        activity=RAISE,
        message=f"of {record.grants} grants {record.weak} have weak evidence",
        severity=LOW if weak else INFORMATIONAL,
        status=_NEW if weak else _RESOLVED,
        fields={
            "finding_info": {
                "uid": seen.header.id,
                "title": "evidence health",
                "types": ["evidence"],
            },
            "compliance": {
                "control": "evidence that stands up",
                "status_id": status[0],
                "status": status[1],
                "control_parameters": tags(
                    **{kind: str(count) for kind, count in record.counts.items()}
                ),
            },
        },
    )


KINDS: Final[Mapping[type[records.Record], Callable[..., Told]]] = {
    records.FindingRaised: _raised,
    records.FindingSeen: _seen_again,
    records.FindingAcknowledged: _acknowledged,
    records.FindingAssigned: _assigned,
    records.FindingClosed: _found_closed,
    records.DriftScanned: _scanned,
    records.RemovalOrdered: _removal_ordered,
    records.ReviewOpened: _review_opened,
    records.ReviewAnswered: _review_answered,
    records.EventsReceived: _received,
    records.EventsMissed: _missed,
    records.SessionObserved: _observed,
    records.EvidenceExported: _exported,
    records.EvidenceMeasured: _measured,
    records.RecordErased: _erased,
    records.NoticeSettled: _notice,
    records.CallbackSettled: _notice,
    records.SignalReceived: _signal,
}
