"""
Who was given what of a case: that is where no erasure of ours reaches.

Bundles of it, raw events of it, and what was told of a person as his own copy; and to which mirrors
and SIEMs the headers of the log went by the configurations that were in force since the case began.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from muniment.access import records
from muniment.access.fields import to_json
from muniment.evidence import moment
from muniment.evidence.record import Header
from muniment.evidence.store import Entry
from muniment.operations import permit, reading
from muniment.operations.retain import document, proved, walk
from muniment.operations.service import Caller, Service

_NUMBERS: Final = re.compile(r"([0-9]{1,15})(?:-([0-9]{1,15}))?", re.ASCII)


async def reach(service: Service, caller: Caller, case: str) -> dict[str, Any]:
    """
    What was given away of a case before something of it was erased: that is out of our reach.

    Of a case that is in the lists a unique beginning of its id will do. Raises `NotFound`.
    """
    permit.require(service, caller, "audit")
    if service.log.head(case) is None:
        case = service.find_case(case)
    found = await walk(service, _reach, case)
    await reading.note(service, caller, "reads", about=case, count=len(found["given"]))
    return found


def _reach(service: Service, case: str) -> dict[str, Any]:
    principal = service.registry.principals.get(case)
    reached = _Reach(service, case, principal.person if principal is not None else "")
    for entry in proved(service):
        reached.take(entry)
    return reached.told()


@dataclass(frozen=True, slots=True)
class _Batch:
    record: str
    source: str
    start: int
    count: int


@dataclass
class _Reach:
    """Advanced by every entry of the log, in order."""

    service: Service
    case: str
    #: where the case is a principal: his
    person: str
    _persons: dict[str, set[str]] = field(default_factory=dict)
    #: by index in the log
    _batches: dict[int, _Batch] = field(default_factory=dict)
    #: sources of its sessions, with the first and the last batch
    _spans: list[tuple[str, int, int]] = field(default_factory=list)
    #: raw events that went, and that were taken by their numbers alone: whose is known at the end
    _events_gone: list[tuple[int, Header]] = field(default_factory=list)
    _by_number: list[Entry] = field(default_factory=list)
    _erased: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    _given: list[tuple[int, Header]] = field(default_factory=list)
    _configuration: Header | None = None
    #: by kind and name, since when
    _copies: dict[tuple[str, str], str] = field(default_factory=dict)

    def take(self, entry: Entry) -> None:
        header, body = entry.header, entry.header.body
        first = header.case == self.case and header.case not in self._persons
        self._persons.setdefault(header.case, set()).update(body["actor"]["persons"])
        match header.kind:
            case records.ConfigChanged.KIND:
                self._configuration = header
                first = first or self.case in self._persons
            case records.EventsReceived.KIND:
                batch = _Batch(header.id, body["source"], body["start"], body["count"])
                self._batches[entry.index] = batch
            case records.SessionObserved.KIND if body["about"] == self.case and body["batches"]:
                span = (body["source"], min(body["batches"]), max(body["batches"]))
                self._spans.append(span)
            case records.RecordErased.KIND if body["record"].startswith(f"{self.case}/"):
                said = _erased(header, body["record"], body["section"])
                self._erased.append((entry.index, said))
            case records.EventsErased.KIND:
                self._events_gone.append((entry.index, header))
            case records.EvidenceRead.KIND if body["what"] == "events" and not body["about"]:
                self._by_number.append(entry)
            case _ if self._is_given(header):
                self._given.append((entry.index, header))
            case _:
                pass
        if first and self._configuration is not None:
            self._copied(self._configuration)

    def _is_given(self, header: Header) -> bool:
        body = header.body
        match header.kind:
            case records.EvidenceExported.KIND:
                about = body["about"]
                own = bool(self.person) and self.person in self._persons.get(about, ())
                return about == self.case or own
            case records.PersonExported.KIND:
                named = self._persons.get(self.case, ())
                return body["person"] == self.person or body["person"] in named
            case records.EvidenceRead.KIND:
                return bool(body["what"] == "events" and body["about"] == self.case)
            case _:
                return False

    def _copied(self, header: Header) -> None:
        """What it says of those who get the headers of the log."""
        said = json.loads(document(self.service, bytes.fromhex(header.body["configuration"])))
        for kind, section in (("mirror", "mirrors"), ("siem", "siem")):
            for name in said.get(section) or ():
                self._copies.setdefault((kind, name), moment.text(header.at))

    # --- what came of it -------------------------------------------------------------------------

    def told(self) -> dict[str, Any]:
        batches = list(self._of_sessions())
        erased, given = list(self._erased), list(self._given)
        named = {batch.record for batch in batches}
        for index, header in self._events_gone:
            if header.body["batch"] in named:
                said = _erased(header, header.body["batch"], "events")
                erased.append((index, {**said, "kept": header.body["kept"]}))
        given += [
            (entry.index, entry.header)
            for entry in self._by_number
            if batches and self._may_be_of(entry, batches)
        ]
        return {
            "case": self.case,
            "erased": [said for _, said in sorted(erased, key=_place)],
            "given": [_given(header) for _, header in sorted(given, key=_place)],
            "copies": [
                {"kind": kind, "name": name, "since": since}
                for (kind, name), since in sorted(self._copies.items())
            ],
        }

    def _of_sessions(self) -> Iterator[_Batch]:
        """Batches that its sessions have events in; in between there may be some without."""
        for index, batch in self._batches.items():
            spans = (span for span in self._spans if span[0] == batch.source)
            if any(first <= index <= last for _, first, last in spans):
                yield batch

    def _may_be_of(self, entry: Entry, batches: list[_Batch]) -> bool:
        """Whether what was taken by source and number lies in one; where that is erased, yes."""
        query = self.service.section(entry, "query")
        found = _NUMBERS.fullmatch(str(query.get("number", ""))) if query else None
        if query is None or found is None:
            return True
        first, last = int(found[1]), int(found[2] or found[1])
        return any(
            batch.source == query.get("source")
            and first < batch.start + batch.count
            and batch.start <= last
            for batch in batches
        )


def _place(each: tuple[int, Any]) -> int:
    return each[0]


def _erased(header: Header, record: str, section: str) -> dict[str, Any]:
    rule, at = header.body["rule"], moment.text(header.at)
    return {"record": record, "section": section, "rule": rule, "at": at}


def _given(header: Header) -> dict[str, Any]:
    by, what = header.body["actor"]["principal"], to_json(records.parse(header))
    at = moment.text(header.at)
    return {"record": header.id, "kind": header.kind, "at": at, "by": by, "what": what}
