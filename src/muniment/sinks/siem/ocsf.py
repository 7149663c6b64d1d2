"""
One record of the log as one OCSF 1.8.0 event.

An event is made of the record's header, of what its case was before it, and of nothing else: the
same record gives the same event, whenever it is asked for, byte for byte. Nothing that is sealed
can get into it, as nothing that is sealed is read.

What OCSF has no word for stands under `unmapped.muniment`: the place of the record in the log, so
that its proof can be asked for, and the record's own fields.
"""

import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from muniment import __version__
from muniment.access import records
from muniment.access.records import Record
from muniment.errors import MunimentError
from muniment.evidence import moment
from muniment.evidence.store import Entry
from muniment.oversight.siem import SiemEvent
from muniment.sinks.siem import (
    campaigns,
    carried_away,
    directory,
    grants,
    reports,
    retention,
    watching,
)
from muniment.sinks.siem.case_so_far import CaseSoFar, case_of, further
from muniment.sinks.siem.shapes import BASE, OTHER, SEVERITIES, Seen, Told, actor, milliseconds

OCSF: Final = "1.8.0"
#: what made an event: raised with every change to what an event says of the same record
MAPPER: Final = f"ocsf-{OCSF}/1"
#: each kind of record in the words of OCSF
KINDS: Final[Mapping[type[Record], Callable[..., Told]]] = {
    **grants.KINDS,
    **watching.KINDS,
    **retention.KINDS,
    **campaigns.KINDS,
    **carried_away.KINDS,
    **reports.KINDS,
    **directory.KINDS,
}
#: their cases are never closed, and an event says nothing of what came before in them
ALONE: Final = frozenset(
    kind.KIND
    for kind in (
        records.EventsReceived,
        records.EventsMissed,
        records.ConfigChanged,
        records.PolicyActivated,
        records.LogStarted,
        records.LogHeartbeat,
        records.LogIndexed,
        records.LogWitnessed,
        records.KeyAdded,
        records.KeyRetired,
        records.ClockStepped,
    )
)
#: so many cases are remembered; of others the log is asked again
MOST_CASES: Final = 4096
_log = logging.getLogger(__name__)


class OcsfDescriber:
    """`oversight.siem.Describer` for one sink. Not to be used by two threads at once."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._cases: OrderedDict[str, CaseSoFar] = OrderedDict()

    def event(
        self,
        entry: Entry,
        *,
        log_id: bytes,
        previous: int | None,
        read_case: Callable[[str], Sequence[Entry]],
    ) -> SiemEvent:
        record, case = records.parse(entry.header), self._case(entry, read_case)
        seen = Seen(header=entry.header, record=record, case=case, origin=self._origin)
        told = tell(seen)
        body = ocsf_event(seen, told, entry, log_id, previous)
        return SiemEvent(
            index=entry.index,
            previous=previous,
            id=entry.header.id,
            case=entry.header.case,
            kind=entry.header.kind,
            leaf=entry.leaf,
            at=entry.header.at,
            severity=told.severity,
            schema=told.ocsf.name,
            body=json.dumps(body, separators=(",", ":"), sort_keys=True).encode("ascii"),
        )

    def _case(self, entry: Entry, read_case: Callable[[str], Sequence[Entry]]) -> CaseSoFar:
        """The case before this record."""
        header = entry.header
        if header.kind in ALONE:
            return CaseSoFar(length=header.position)
        known = self._cases.get(header.case)
        if not header.position:
            known = CaseSoFar()
        elif known is None or known.length != header.position:
            before = read_case(header.case)[: header.position]
            known = case_of(records.parse(each.header) for each in before)
        self._cases[header.case] = further(known, records.parse(header))
        self._cases.move_to_end(header.case)
        if len(self._cases) > MOST_CASES:
            self._cases.popitem(last=False)
        return known


def tell(seen: Seen) -> Told:
    """Of a kind without words of its own too: that a record is there is never left out."""
    words = KINDS.get(type(seen.record))
    if words is not None:
        try:
            return words(seen, seen.record)
        except MunimentError:
            raise
        except Exception:  # noqa: BLE001 (a bug in the words for one must not stop what follows)
            _log.exception("record %s has no words in OCSF", seen.header.id)
    return Told(ocsf=BASE, activity=OTHER, named=seen.header.kind, message=seen.header.kind)


def ocsf_event(
    seen: Seen, told: Told, entry: Entry, log_id: bytes, previous: int | None
) -> dict[str, Any]:
    """OCSF's own attributes, those of the class, and what OCSF has no word for."""
    header = seen.header
    happened = header.observed or header.at
    ocsf, (category_uid, category) = told.ocsf, told.ocsf.category
    event: dict[str, Any] = {
        "class_uid": ocsf.uid,
        "class_name": ocsf.caption,
        "category_uid": category_uid,
        "category_name": category,
        "activity_id": told.activity,
        "activity_name": told.activity_name,
        "type_uid": ocsf.uid * 100 + told.activity,
        "type_name": f"{ocsf.caption}: {told.activity_name}",
        "time": milliseconds(happened),
        "time_dt": moment.text(happened),
        "timezone_offset": 0,
        "severity_id": told.severity,
        "severity": SEVERITIES[told.severity],
        "status_id": told.status[0],
        "status": told.status[1],
        "message": told.message,
        "metadata": _metadata(seen, told, entry),
        **told.fields,
        "unmapped": {"muniment": _unmapped(seen, entry, log_id, previous)},
    }
    if told.action is not None:
        event["action_id"], event["action"] = told.action
    if ocsf.has_actor:
        event["actor"] = actor(seen.record.actor)
    return event


def _metadata(seen: Seen, told: Told, entry: Entry) -> dict[str, Any]:
    header = seen.header
    return {
        "version": OCSF,
        "profiles": list(told.ocsf.profiles),
        "product": {
            "name": "Muniment",
            "vendor_name": "Muniment",
            "version": __version__,
            "feature": {"name": header.kind.partition(":")[0]},
        },
        "uid": header.id,
        "correlation_uid": header.case,
        "sequence": entry.index,
        "event_code": header.kind,
        "log_name": seen.origin,
        "log_provider": "muniment",
        "log_version": f"fold {header.fold}",
        "logged_time": milliseconds(header.at),
        "original_time": moment.text(header.observed or header.at),
        "transformation_info_list": [{"name": "muniment", "uid": MAPPER}],
    }


def _unmapped(seen: Seen, entry: Entry, log_id: bytes, previous: int | None) -> dict[str, Any]:
    header, asked = seen.header, seen.case.asked
    found: dict[str, Any] = {
        "mapper": MAPPER,
        "log": {
            "origin": seen.origin,
            "id": log_id.hex(),
            "index": entry.index,
            "leaf": entry.leaf.hex(),
            #: index of what this sink was sent before; null for the first
            "previous": previous,
        },
        "kind": header.kind,
        "case": header.case,
        "position": header.position,
        "record": dict(header.body),
    }
    if header.follows:
        found["follows"] = [leaf.hex() for leaf in header.follows]
    if asked is not None:
        found["access"] = {
            "requester": asked.requester,
            "resource": asked.resource,
            "role": asked.role,
            "environment": asked.environment,
            "emergency": asked.emergency,
        }
        if seen.case.until is not None:
            found["access"]["until"] = moment.text(seen.case.until)
    return found
