"""What is kept and what goes, in the words of OCSF."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from muniment.access import records
from muniment.sinks.siem.shapes import (
    CREATE,
    DELETE,
    ENTITY,
    EVENT_LOG,
    LOW,
    MEDIUM,
    UPDATE,
    Seen,
    Told,
    entity,
    tags,
)


def _hold(seen: Seen, activity: int, severity: int, what: str) -> Told:
    return Told(
        ocsf=ENTITY,
        activity=activity,
        message=f"a hold {what}",
        severity=severity,
        fields={"entity": entity(seen.header.case, "hold")},
    )


def _placed(seen: Seen, _: records.HoldPlaced) -> Told:
    return _hold(seen, CREATE, LOW, "keeps records from erasure")


def _release_requested(seen: Seen, _: records.HoldReleaseRequested) -> Told:
    return _hold(seen, UPDATE, LOW, "is to be released, somebody says")


def _released(seen: Seen, _: records.HoldReleased) -> Told:
    return _hold(seen, DELETE, MEDIUM, "was released by two")


def _proposed(seen: Seen, record: records.ErasureProposed) -> Told:
    return Told(
        ocsf=ENTITY,
        activity=CREATE,
        message=(
            f"{record.sections} sections and {record.batches} batches of events have come to the"
            f" end of their time; it takes {record.people} to erase them"
        ),
        severity=MEDIUM if record.people > 1 else LOW,
        fields={"entity": entity(seen.header.case, "erasure", **_rules(record))},
    )


def _rules(record: records.ErasureProposed) -> dict[str, Any]:
    found = tags(**{rule: str(count) for rule, count in record.rules.items()})
    return {"data": {"rules": found}}


def _approved(seen: Seen, _: records.ErasureApproved) -> Told:
    return Told(
        ocsf=ENTITY,
        activity=UPDATE,
        message="somebody approves an erasure",
        severity=LOW,
        fields={"entity": entity(seen.header.case, "erasure")},
    )


def _events_erased(_: Seen, record: records.EventsErased) -> Told:
    gone = record.count - record.kept
    return Told(
        ocsf=ENTITY,
        activity=DELETE,
        message=f"{gone} raw events of {record.source} were erased under {record.rule}",
        severity=LOW,
        fields={"entity": entity(record.batch, "batch of events", name=record.source)},
    )


def _person_exported(_: Seen, record: records.PersonExported) -> Told:
    return Told(
        ocsf=EVENT_LOG,
        activity=3,
        message=f"all that is recorded about {record.person} was carried away",
        severity=LOW,
        fields={"log_provider": "muniment", "log_type_id": 2},
    )


KINDS: Final[Mapping[type[records.Record], Callable[..., Told]]] = {
    records.HoldPlaced: _placed,
    records.HoldReleaseRequested: _release_requested,
    records.HoldReleased: _released,
    records.ErasureProposed: _proposed,
    records.ErasureApproved: _approved,
    records.EventsErased: _events_erased,
    records.PersonExported: _person_exported,
}
