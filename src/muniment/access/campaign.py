"""
The life of a campaign: a fold over its records, by one table of allowed transitions.

    open ─→ signed ─→ closed

While it is open people decide, items change hands, and it is said how much of the time is over.
What was decided is applied until it is closed. One that has no item is closed as soon as it is
opened. Headers are enough for all this; what stands in the lines of items is held to it by
`campaign_items`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from muniment.access import records
from muniment.access.campaign_items import NOT_REVIEWED, OUTCOMES, VERDICTS
from muniment.access.case import replace
from muniment.access.folding import move, require
from muniment.errors import FoldInvalid
from muniment.evidence.record import Header

#: hundredths of the time after which it is said who has not looked yet
SHARES: Final = (50, 80, 100)
SILENCES: Final = ("revoke", "none")
STARTED: Final = ("person", "schedule", "finding", "break-glass")
_HOW: Final = ("ended", "withdrawn", "not-allowed")


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """What a campaign is, at one of its records."""

    id: str = ""
    #: `open`, `signed`, `closed`
    state: str = ""
    length: int = 0
    head: bytes = b""
    opened_at: datetime | None = None
    changed_at: datetime | None = None
    record: records.CampaignOpened | None = None
    #: the largest share of the time that was said to be over
    share: int = 0
    #: everybody who decided something
    deciders: frozenset[str] = frozenset()
    decisions: int = 0
    #: numbers of items that were applied
    applied: frozenset[int] = frozenset()
    signed: records.CampaignSigned | None = None
    ended: records.CampaignClosed | None = None
    closed: bool = False

    @property
    def opened(self) -> records.CampaignOpened:
        if self.record is None:
            raise FoldInvalid("a campaign that nobody opened")
        return self.record

    @property
    def over(self) -> bool:
        """Whether its time is, as was recorded."""
        return self.share == SHARES[-1]

    def shares_due(self, at: datetime) -> list[int]:
        """What is to be said now of the time that is over: the largest share only."""
        if self.opened_at is None or self.state != "open":
            return []
        whole, gone = self.opened.due - self.opened_at, at - self.opened_at
        over = [share for share in SHARES if share > self.share and 100 * gone >= share * whole]
        return over[-1:]

    def may_be_signed_by(self, actor: records.Actor) -> bool:
        """By a human who decided nothing in it; in which group he is is asked elsewhere."""
        return actor.type == "human" and not set(actor.persons) & self.deciders


def fold(entries: Iterable[tuple[Header, bytes]]) -> Campaign:
    """The state of a campaign from its records (header and leaf hash), from position 0."""
    campaign = Campaign()
    for header, leaf in entries:
        campaign = advance(campaign, header, leaf)
    return campaign


def advance(campaign: Campaign, header: Header, leaf: bytes) -> Campaign:
    """One record further. Raises `FoldInvalid` if the table or an invariant forbids it."""
    record = records.parse(header)
    moves = move(TRANSITIONS, campaign, header, "campaign")
    return replace(
        moves(campaign, header, record),
        id=header.case,
        length=header.position + 1,
        head=leaf,
        opened_at=campaign.opened_at or header.at,
        changed_at=header.at,
    )


# --- one function for each kind ---------------------------------------------------------------


def _opened(campaign: Campaign, header: Header, record: records.CampaignOpened) -> Campaign:
    named = {record.definition, record.completeness, *record.sheets}
    require(named == {*header.documents}, "a campaign with other documents than it names")
    require(record.size > 0 and record.items >= 0, "a campaign over no log")
    require(record.due > header.at, "a campaign without time")
    require(record.silence in SILENCES, f"`{record.silence}` on silence")
    require(record.started in STARTED, f"`{record.started}` as what started it")
    require(bool(record.occasion) == (record.started != "person"), "started by nothing, or two")
    require(0 <= record.unseen <= record.targets, "more targets unseen than there are")
    return replace(campaign, state="open", record=record)


def _reassigned(campaign: Campaign, header: Header, record: records.ReviewReassigned) -> Campaign:
    require(record.actor.type == "human", "reassigned by nobody")
    require({record.lines} == {*header.documents}, "reassigned without saying what")
    require(0 < record.items <= campaign.opened.items, "more items than there are")
    return campaign


def _escalated(campaign: Campaign, header: Header, record: records.ReviewEscalated) -> Campaign:
    require(record.share in SHARES and record.share > campaign.share, "said twice")
    require(record.share < SHARES[-1] or header.at >= campaign.opened.due, "over before its time")
    require(0 <= record.open <= campaign.opened.items, "more items than there are")
    return replace(campaign, share=record.share)


def _decided(campaign: Campaign, header: Header, record: records.ReviewDecided) -> Campaign:
    actor = record.actor
    require(actor.type == "human", "decided by nobody")
    require(
        (record.reviewer, (record.person,)) == (actor.principal, actor.persons[:1]),
        "decided in the name of somebody else",
    )
    require({record.lines} == {*header.documents}, "decided without saying what")
    require(record.tallies.keys() <= {*VERDICTS}, "a verdict that there is not")
    require(sum(record.tallies.values()) == record.items > 0, "verdicts that are miscounted")
    require(record.items <= campaign.opened.items and record.seconds >= 0, "impossible numbers")
    return replace(
        campaign,
        deciders=campaign.deciders | {*actor.persons},
        decisions=campaign.decisions + 1,
    )


def _applied(campaign: Campaign, _header: Header, record: records.ReviewApplied) -> Campaign:
    require(record.how in _HOW, f"`{record.how}` as how it was applied")
    require(len(record.items) == len(record.about) > 0, "applied without saying what")
    asked = record.how == "not-allowed"
    require(all(bool(each) != asked for each in record.about), "applied without what shows it")
    require(record.how == "withdrawn" or not record.gone, "something else is gone than was said")
    require(len({*record.items}) == len(record.items), "an item is applied twice")
    require(not campaign.applied & {*record.items}, "an item is applied twice")
    return replace(campaign, applied=campaign.applied | {*record.items})


def _signed(campaign: Campaign, _header: Header, record: records.CampaignSigned) -> Campaign:
    require(campaign.may_be_signed_by(record.actor), "signed by a reviewer of it, or by nobody")
    require(record.person in record.actor.persons, "signed in the name of somebody else")
    _check_tallies(campaign, record.tallies)
    require(
        campaign.over or not record.tallies[NOT_REVIEWED],
        "signed before its time is over, with items that nobody looked at",
    )
    return replace(campaign, state="signed", signed=record)


def _ended(campaign: Campaign, _header: Header, record: records.CampaignClosed) -> Campaign:
    require(record.actor.type == "human", "closed by nobody")
    require(record.person in record.actor.persons, "closed in the name of somebody else")
    signed = campaign.signed
    require(signed is not None and signed.tallies == record.tallies, "closed otherwise than signed")
    require(record.applied == len(campaign.applied), "miscounts what was applied")
    require(record.outstanding >= 0, "less than nothing outstanding")
    return replace(campaign, state="closed", ended=record)


def _closed(campaign: Campaign, header: Header, record: records.CaseClosed) -> Campaign:
    require(record.records == header.position + 1, f"`{header.id}` miscounts its campaign")
    return replace(campaign, closed=True)


def _of_nothing(campaign: Campaign, header: Header, record: records.CaseClosed) -> Campaign:
    require(not campaign.opened.items, "closed before anybody looked at its items")
    return replace(_closed(campaign, header, record), state="closed")


def _check_tallies(campaign: Campaign, tallies: Mapping[str, int]) -> None:
    require(tallies.keys() == {*OUTCOMES}, "other outcomes than there are")
    require(min(tallies.values()) >= 0, "less than none")
    require(sum(tallies.values()) == campaign.opened.items, "not every item has one outcome")


_Move = Callable[[Campaign, Header, Any], Campaign]
#: the only steps there are: (state, kind of record) to what follows from it
TRANSITIONS: Final[dict[tuple[str, str], _Move]] = {
    ("", "campaign:opened"): _opened,
    ("open", "review:reassigned"): _reassigned,
    ("open", "review:escalated"): _escalated,
    ("open", "review:decided"): _decided,
    ("open", "review:applied"): _applied,
    ("signed", "review:applied"): _applied,
    ("open", "campaign:signed"): _signed,
    ("open", "case:closed"): _of_nothing,
    ("signed", "campaign:closed"): _ended,
    ("closed", "case:closed"): _closed,
}
