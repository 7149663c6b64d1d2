"""What the log knows of looks at targets: the newest of each, and what somebody wants gone."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from muniment.access import records
from muniment.evidence.store import Entry

if TYPE_CHECKING:
    from muniment.access.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The newest scan of one target."""

    entry: Entry
    record: records.DriftScanned
    #: the newest that says in its section what was seen: this one, or one that saw the same
    told: Entry | None


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """A removal that nobody has seen done yet."""

    entry: Entry
    record: records.RemovalOrdered


@dataclass
class Scans:
    """Part of the registry."""

    #: by resource and identity of the target
    newest: dict[tuple[str, str], Scan] = field(default_factory=dict)
    #: by resource: the identity that was seen last
    targets: dict[str, str] = field(default_factory=dict)
    #: by case id
    ordered: dict[str, Ordered] = field(default_factory=dict)

    def of(self, resource: str) -> Scan | None:
        """The newest of this resource, whichever target answered."""
        target = self.targets.get(resource)
        return None if target is None else self.newest[resource, target]

    def orders(self, resource: str) -> Iterator[Ordered]:
        for each in list(self.ordered.values()):
            if each.record.resource == resource:
                yield each


def scanned(registry: "Registry", entry: Entry, record: records.DriftScanned) -> None:
    scans, place = registry.scans, (record.resource, record.target)
    before = scans.newest.get(place)
    tells = "seen" in entry.header.sections
    told = entry if tells else (before.told if before is not None else None)
    scans.newest[place] = Scan(entry=entry, record=record, told=told)
    scans.targets[record.resource] = record.target


def ordered(registry: "Registry", entry: Entry, record: records.RemovalOrdered) -> None:
    registry.scans.ordered[entry.header.case] = Ordered(entry=entry, record=record)
