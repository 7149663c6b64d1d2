"""What the log knows of campaigns now: which are open, what started them, what they took away."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from muniment.access import records
from muniment.evidence.store import Entry

if TYPE_CHECKING:
    from muniment.access.registry import Registry


@dataclass(frozen=True, kw_only=True)
class OpenCampaign:
    """A campaign that is not closed."""

    case: str
    at: datetime
    record: records.CampaignOpened


@dataclass(frozen=True, kw_only=True)
class Withdrawn:
    """That somebody may ask for a role was taken away."""

    case: str
    leaf: bytes
    index: int
    record: records.EligibilityWithdrawn


@dataclass(frozen=True, kw_only=True)
class Happened:
    """Something that may start a campaign: a finding, or that glass was broken."""

    case: str
    at: datetime
    index: int


@dataclass
class Campaigns:
    """Part of the registry."""

    #: by case id
    open: dict[str, OpenCampaign] = field(default_factory=dict)
    #: by rule, and what started it: so that nothing starts the same twice
    started: dict[tuple[str, str], str] = field(default_factory=dict)
    #: by rule: how much of the log its newest population was made of
    covered: dict[str, int] = field(default_factory=dict)
    #: by what starts a campaign, as its rule names that: the newest
    happened: dict[str, Happened] = field(default_factory=dict)
    #: by principal, resource and role
    withdrawn: dict[tuple[str, str, str], Withdrawn] = field(default_factory=dict)
    #: by case id: what was made of its records, and is only made again for what is new
    read: dict[str, Any] = field(default_factory=dict)
    #: by case id, of those that somebody reads: its records since
    heard: dict[str, deque[Entry]] = field(default_factory=dict)
    #: the rules of the configuration with this digest, as they were read last
    rules: tuple[bytes, Any] = (b"", None)
    #: by rule: how far the making of its population has come, of how much
    making: dict[str, tuple[int, int]] = field(default_factory=dict)

    def taken(self, principal: str, resource: str, role: str) -> Withdrawn | None:
        return self.withdrawn.get((principal, resource, role))

    def note(self, entry: Entry, record: records.Record) -> None:
        """That something happened by which campaigns may be started."""
        words: tuple[str, ...] = ()
        match record:
            case records.ReviewOpened():
                words = ("break-glass",)
            case records.FindingRaised(rule=rule, severity=severity):
                words = (f"finding:{rule}", f"finding:{severity}")
            case _:
                pass
        found = Happened(case=entry.header.case, at=entry.header.at, index=entry.index)
        self.happened |= dict.fromkeys(words, found)


def _opened(registry: "Registry", entry: Entry, record: records.CampaignOpened) -> None:
    campaigns, case = registry.campaigns, entry.header.case
    if record.items:  # one of nothing is closed in the next record
        campaigns.open[case] = OpenCampaign(case=case, at=entry.header.at, record=record)
    campaigns.covered[record.rule] = max(record.size, campaigns.covered.get(record.rule, 0))
    if record.occasion:
        campaigns.started[record.rule, record.occasion] = case


def _glass(registry: "Registry", entry: Entry, record: records.ReviewOpened) -> None:
    registry.reviews[record.about] = entry.header.case
    registry.campaigns.note(entry, record)


def _ended(registry: "Registry", entry: Entry, _record: Any) -> None:
    registry.campaigns.open.pop(entry.header.case, None)
    registry.campaigns.read.pop(entry.header.case, None)
    registry.campaigns.heard.pop(entry.header.case, None)


def _withdrawn(registry: "Registry", entry: Entry, record: records.EligibilityWithdrawn) -> None:
    place = (record.principal, record.resource, record.role)
    registry.campaigns.withdrawn[place] = Withdrawn(
        case=entry.header.case, leaf=entry.leaf, index=entry.index, record=record
    )
    registry.moved[record.principal] = None
    for principal in list(registry.principals.values()):
        if principal.sponsor == record.principal:
            registry.moved[principal.id] = None


def _restored(registry: "Registry", entry: Entry, _record: Any) -> None:
    taken = registry.campaigns.withdrawn
    for place, each in list(taken.items()):
        if each.case == entry.header.case:
            del taken[place]


def _went_on(registry: "Registry", entry: Entry, _record: Any) -> None:
    """Whoever has read it goes on from there."""
    heard = registry.campaigns.heard.get(entry.header.case)
    if heard is not None:
        heard.append(entry)


MOVES: Final[Mapping[str, Callable[["Registry", Entry, Any], None]]] = {
    records.ReviewOpened.KIND: _glass,
    records.CampaignOpened.KIND: _opened,
    records.CampaignClosed.KIND: _ended,
    records.ReviewDecided.KIND: _went_on,
    records.ReviewReassigned.KIND: _went_on,
    records.ReviewEscalated.KIND: _went_on,
    records.ReviewApplied.KIND: _went_on,
    records.CampaignSigned.KIND: _went_on,
    records.EligibilityWithdrawn.KIND: _withdrawn,
    records.EligibilityRestored.KIND: _restored,
}
#: what ends of access, and what is applied, rest on
FOLLOWED: Final = (
    records.ReviewDecided.KIND,
    records.ReviewEscalated.KIND,
    records.EligibilityWithdrawn.KIND,
)
