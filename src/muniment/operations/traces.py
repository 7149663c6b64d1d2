"""
What is kept about one person where no record names him: raw events, and lines in reviews of many.

Of events it is said how many there are and how they are had: their text may be about others. Of a
review he gets his lines and what became of each. The reason is the reviewer's, and is withheld.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from muniment.access import campaign_check, records
from muniment.access.campaign_items import Item, Items, lines_of, unpacked
from muniment.evidence import moment
from muniment.evidence.store import Entry
from muniment.operations.retain import document
from muniment.operations.service import Service
from muniment.oversight.event_store import EventStore

#: of a line, what it says of findings: that somebody looks into what he did is for others to tell
_OF_FINDINGS: Final = frozenset(("findings", "advice", "why"))
#: the section of `review:decided` with what a reviewer wrote
_REASONS: Final = "reasons"


@dataclass(kw_only=True)
class Reviews:
    """Reviews of many with lines about him. Advanced by every entry of the log, in order."""

    service: Service
    person: str
    #: whether it is he who asks: then what a finding started is left out
    himself: bool
    _entries: dict[str, list[Entry]] = field(default_factory=dict)

    def take(self, entry: Entry) -> None:
        header = entry.header
        if header.kind == records.CampaignOpened.KIND and self._is_in(header.body):
            self._entries[header.case] = []
        if header.case in self._entries:
            self._entries[header.case].append(entry)

    def _is_in(self, body: Mapping[str, Any]) -> bool:
        if self.himself and body["started"] == "finding":
            return False
        needle = self.person.encode()
        sheets = (document(self.service, bytes.fromhex(each)) for each in body["sheets"])
        return any(needle in line for sheet in sheets for line in lines_of(unpacked(sheet)))

    def lines(self) -> Iterator[dict[str, Any]]:
        """Each that is about him, with its outcome."""
        for case, entries in self._entries.items():
            items = campaign_check.replay(entries, _Documents(self.service)).items
            for item in self._of_him(items):
                yield {"review": case, **self._told(case, item)}

    def _of_him(self, items: Items) -> Iterator[Item]:
        # whoever it is about is among those who may not decide on it
        barred = (item for item in items.items if self.person in item.barred)
        return (item for item in barred if self.person in item.told().get("persons", ()))

    def _told(self, case: str, item: Item) -> dict[str, Any]:
        line = item.told()
        if self.himself:
            line = {name: value for name, value in line.items() if name not in _OF_FINDINGS}
        told: dict[str, Any] = {"line": line, "outcome": item.outcome, "applied": item.applied}
        if item.said is not None:
            record = f"{case}/{item.said.position}"
            rule = self.service.erasures.rule_of(record, _REASONS)
            told["record"] = record
            told["reason"] = (
                {"erased": rule} if rule is not None else {"withheld": "it is the reviewer's"}
            )
        return told


class _Documents(Mapping[bytes, bytes]):
    """Those that the log has, each read when it is asked for: together they are long."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def __getitem__(self, name: bytes) -> bytes:
        return document(self._service, name)

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def __len__(self) -> int:
        return 0


@dataclass(slots=True)
class _Count:
    """Events of one source."""

    first: datetime
    last: datetime
    events: int = 0


def events(service: Service, cases: Iterable[str]) -> Iterator[dict[str, Any]]:
    """By case and source: how many raw events are left that are linked to it, and of what time."""
    store = service.observing.store
    if store is None:
        return
    for case in cases:
        for source, found in sorted(_counted(store, case).items()):
            yield {
                "case": case,
                "source": source,
                "events": found.events,
                "first": moment.text(found.first),
                "last": moment.text(found.last),
                "had_by": f"muniment events prove --case {case} -o FILE",
            }


def _counted(store: EventStore, case: str) -> dict[str, _Count]:
    counted, row = dict[str, _Count](), 0
    while some := store.of_grant(case, after=row):
        row = some[-1].row
        for each in some:
            if each.event is None:
                continue
            at = each.event.at
            found = counted.setdefault(each.source, _Count(at, at))
            found.first, found.last = min(found.first, at), max(found.last, at)
            found.events += 1
    return counted
