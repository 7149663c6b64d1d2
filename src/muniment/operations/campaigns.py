"""Campaigns: their rules and their state from the log, their line in the lists, looking at them."""

import json
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from muniment.access import campaign as life
from muniment.access import campaign_check, records
from muniment.access.campaign import Campaign
from muniment.access.campaign_check import Replayed
from muniment.access.campaign_items import Item, Items
from muniment.access.registry import Principal
from muniment.errors import Conflict, LogInvalid, NotFound, NotPermitted
from muniment.evidence import moment
from muniment.evidence.store import Entry
from muniment.operations import explain, permit, reading, review_time
from muniment.operations.owed import owed
from muniment.operations.service import Caller, Service, record_of
from muniment.oversight.campaigns import Rule, rule_of, signs
from muniment.ports import CaseRow, Due

#: begins the ids of campaigns
CAMPAIGNS: Final = "rev"
#: items that are shown at once
PAGE: Final = 200
LISTED: Final = 1000


def rules(service: Service) -> dict[str, Rule]:
    """Those of the configuration that the log has in force, by name."""
    in_force = service.registry.configuration
    if in_force is None:
        return {}
    known = service.registry.campaigns
    if known.rules[0] != in_force.digest:
        document = json.loads(service.document(in_force.digest))
        found = [rule_of(each) for each in document.get("campaigns", ())]
        known.rules = in_force.digest, {rule.name: rule for rule in found}
    read: dict[str, Rule] = known.rules[1]
    return read


def rule(service: Service, name: str) -> Rule:
    found = rules(service)
    if name not in found:
        known = ", ".join(f"`{each}`" for each in sorted(found)) or "none"
        raise NotFound(
            f"no campaign is called `{name:.80}` in the configuration; there are: {known}"
        )
    return found[name]


# --- its state --------------------------------------------------------------------------------


@dataclass(kw_only=True)
class _Read:
    """What was made of a campaign's records, and they themselves."""

    items: Items
    entries: list[Entry] = field(default_factory=list)
    campaign: Campaign = field(default_factory=Campaign)

    def take(self, service: Service, entry: Entry) -> None:
        """One record further. Raises `FoldInvalid`."""
        self.campaign = life.advance(self.campaign, entry.header, entry.leaf)
        if self.entries:
            record = records.parse(entry.header)
            documents = {each: service.document(each) for each in entry.header.documents}
            campaign_check.step(self.items, record, entry.header.position, documents)
        self.entries.append(entry)


def read(service: Service, case: str) -> tuple[Replayed, list[Entry]]:
    """
    A campaign, folded from records that were proved to be in the log when they were read.

    While it is open it is read once, and then followed by what the log hears of it: a review has
    thousands of records. Whoever gets its items changes nothing.
    """
    kept = _read(service, case)
    return Replayed(campaign=kept.campaign, items=kept.items), [*kept.entries]


def glance(service: Service, case: str) -> Replayed:
    """The same without its records."""
    kept = _read(service, case)
    return Replayed(campaign=kept.campaign, items=kept.items)


def _read(service: Service, case: str) -> _Read:
    known = service.registry.campaigns
    kept: _Read | None = known.read.pop(case, None)
    # whatever cannot be followed is read anew: what is kept is put back when it is right
    if kept is None or not _follow(service, case, kept):
        kept = _read_anew(service, case)
    if case in known.open:
        known.read[case] = kept
    return kept


def _read_anew(service: Service, case: str) -> _Read:
    known = service.registry.campaigns
    if case in known.open:
        known.heard.setdefault(case, deque())  # first, so that nothing is missed meanwhile
    entries = service.log.read_case(case)
    if not entries or entries[0].header.kind != records.CampaignOpened.KIND:
        raise NotFound(f"there is no campaign `{case}`")
    kept = _Read(items=_items(service, fold(entries[:1]).opened))
    for entry in entries:
        kept.take(service, entry)
    return kept


def _follow(service: Service, case: str, kept: _Read) -> bool:
    """Take what the log heard since; False where that does not lead to its head."""
    head, heard = service.log.head(case), service.registry.campaigns.heard.get(case, deque())
    due = [each for each in [*heard] if each.header.position >= kept.campaign.length]
    for entry in due if kept.campaign.head != head else ():
        if entry.header.prev != kept.campaign.head:
            return False
        kept.take(service, entry)
        if entry.leaf == head:
            break  # what is above it is not signed yet
    while heard and heard[0].header.position < kept.campaign.length:
        heard.popleft()
    return kept.campaign.head == head


def _items(service: Service, opened: records.CampaignOpened) -> Items:
    items = Items.read(map(service.document, opened.sheets), opened.silence)
    if len(items.items) != opened.items or items.root != opened.items_root:
        raise LogInvalid("the items of a campaign are not those that were recorded")
    return items


def read_open(service: Service, case: str) -> tuple[Replayed, list[Entry]]:
    """Raises `Conflict` for one that is not open any more."""
    found, entries = read(service, case)
    if found.campaign.state != "open":
        raise Conflict(f"this review is {found.campaign.state} already")
    return found, entries


def of_group(service: Service, group: str) -> list[Principal]:
    """Active humans in it."""
    registry = service.registry
    return [
        each
        for each in list(registry.principals.values())
        if each.type == "human" and each.active and group in each.groups
    ]


def awaited(service: Service, case: str) -> set[str]:
    """Principal ids of those who have not looked at all of theirs."""
    return {item.reviewer for item in glance(service, case).items.open if item.reviewer}


def has_unassigned(service: Service, case: str) -> bool:
    """Whether there is something that none of those who review may look at."""
    return any(not item.reviewer for item in glance(service, case).items.open)


# --- its line in the lists --------------------------------------------------------------------


def fold(entries: Iterable[Entry]) -> Campaign:
    return life.fold((entry.header, entry.leaf) for entry in entries)


def advance(campaign: Campaign, placed: Iterable[Entry]) -> Campaign:
    """By those of these records that are its own."""
    for entry in placed:
        if entry.header.case == campaign.id or (
            not campaign.id and entry.header.kind == records.CampaignOpened.KIND
        ):
            campaign = life.advance(campaign, entry.header, entry.leaf)
    return campaign


def companions(service: Service, before: Campaign, placed: Sequence[Entry]) -> Iterable[Any]:
    """The writes beside records that follow on this state. Raises what refuses the records."""
    ways = service.ways.of(service.log, service.registry.configuration)
    return (*project(advance(before, placed)), *owed(ways, before, placed))


def project(campaign: Campaign) -> tuple[CaseRow, Due]:
    """
    The line in the lists, and that no worker has to look at it: open ones are looked at anyway.

    It has no role and no requester: in their place stand its rule and who signs.
    """
    opened = campaign.opened
    row = CaseRow(
        case=campaign.id,
        kind="campaign",
        state=campaign.state,
        requester="",
        resource="",
        role=opened.rule,
        groups=(opened.sign_off,),
        marked=campaign.ended is not None and campaign.ended.outstanding > 0,
        opened_at="" if campaign.opened_at is None else moment.text(campaign.opened_at),
        changed_at="" if campaign.changed_at is None else moment.text(campaign.changed_at),
        until=moment.text(opened.due),
        about=opened.occasion,
        records=campaign.length,
        closed=campaign.closed,
    )
    return row, Due(case=campaign.id, at=None)


# --- looking ----------------------------------------------------------------------------------


def listed(service: Service, caller: Caller) -> list[dict[str, Any]]:
    """Every campaign that the caller may see, newest first."""
    sees_all = permit.ask(service, caller, "read", None).outcome == "permit"
    rows = service.projections.cases(kind="campaign", limit=LISTED)
    found = []
    for row in rows:
        told = _listed(row)
        # whoever sees a part only is told of those that he has a part in
        if row.case in service.registry.campaigns.open:
            mine = _mine(caller, glance(service, row.case).items)
            told["mine"] = len(mine)
            told["waiting"] = sum(item.said is None for item in mine)
        if sees_all or told.get("mine") or _signs(service, caller, row.groups[0]):
            found.append(told)
    return found


def _listed(row: CaseRow) -> dict[str, Any]:
    return {
        "campaign": row.case,
        "rule": row.role,
        "state": row.state,
        "opened_at": row.opened_at,
        "due": row.until,
        "occasion": row.about,
        "outstanding": row.marked,
        "mine": 0,
        "waiting": 0,
    }


def _mine(caller: Caller, items: Items) -> list[Item]:
    return [item for item in items.items if item.reviewer == caller.principal.id]


def _signs(service: Service, caller: Caller, group: str) -> bool:
    return group in service.registry.principals[caller.principal.id].groups


def show(service: Service, caller: Caller, case: str) -> dict[str, Any]:
    """A campaign: how it stands, who looked how, and its history."""
    found, entries = read(service, case)
    _check_may_see(service, caller, found)
    opened = found.campaign.opened
    return {
        **summary(found),
        "definition": json.loads(service.document(opened.definition)),
        "completeness": json.loads(service.document(opened.completeness)),
        "reviewers": _reviewers(found.items),
        "timeline": [_line(service, caller, found, entry) for entry in entries],
        "checkpoint": service.log.checkpoint.decode(),
    }


def _line(service: Service, caller: Caller, found: Replayed, entry: Entry) -> dict[str, Any]:
    """One record; why others decided as they did is not for those who only have items of it."""
    told = explain.line(service, entry)
    record = record_of(entry)
    if isinstance(record, records.ReviewDecided) and record.reviewer != caller.principal.id:
        signs = _signs(service, caller, found.campaign.opened.sign_off)
        if not signs and permit.ask(service, caller, "read", None).outcome != "permit":
            told["sections"] = {}
    return told


def summary(found: Replayed) -> dict[str, Any]:
    campaign, items = found.campaign, found.items
    opened = campaign.opened
    return {
        "campaign": campaign.id,
        "state": campaign.state,
        "rule": opened.rule,
        "started": opened.started,
        "occasion": opened.occasion,
        "opened_at": "" if campaign.opened_at is None else moment.text(campaign.opened_at),
        "due": moment.text(opened.due),
        "over": campaign.share,
        "silence": opened.silence,
        "size": opened.size,
        "root": opened.root.hex(),
        "items": opened.items,
        "items_root": opened.items_root.hex(),
        "seed": None if opened.seed is None else opened.seed.hex(),
        "targets": opened.targets,
        "unseen": opened.unseen,
        "tallies": items.tallies(),
        "unassigned": sum(not item.reviewer for item in items.items),
        "applied": items.applied,
        "outstanding": len(items.owed),
        "sign_off": opened.sign_off,
        "signed": None if campaign.signed is None else campaign.signed.person,
        "closed": campaign.closed,
    }


def _reviewers(items: Items) -> list[dict[str, Any]]:
    given = Counter(item.reviewer for item in items.items if item.reviewer)
    said = [item.said for item in items.items if item.said is not None]
    seen = {
        each.reviewer: each
        for each in signs((s.reviewer, s.verdict, s.seconds, s.position) for s in said)
    }
    return [
        {
            "reviewer": reviewer,
            "items": count,
            "decided": 0 if (one := seen.get(reviewer)) is None else one.items,
            "kept": 0 if one is None else one.kept,
            "median_seconds": None if one is None else one.median_seconds,
            "within_a_second": 0 if one is None else one.at_once,
            "largest_at_once": 0 if one is None else one.largest,
            "stamped": one is not None and one.stamped,
        }
        for reviewer, count in sorted(given.items())
    ]


def items_of(
    service: Service,
    caller: Caller,
    case: str,
    *,
    mine: bool = False,
    outcome: str = "",
    after: int = -1,
    most: int = PAGE,
) -> dict[str, Any]:
    """A page of items, and what says later that they were shown, and when."""
    found = glance(service, case)
    if not mine:
        _check_may_see(service, caller, found)
    chosen = [
        item
        for item in found.items.items[after + 1 :]
        if (not mine or item.reviewer == caller.principal.id)
        and (not outcome or item.outcome == outcome)
    ]
    page = chosen[:most]
    return {
        "campaign": case,
        "state": found.campaign.state,
        "items": [_told(found.items, item) for item in page],
        "next": page[-1].number if len(chosen) > most else None,
        "left": len(chosen) - len(page),
        "shown": review_time.shown(service, caller, case, (item.number for item in page)),
    }


def _told(items: Items, item: Item) -> dict[str, Any]:
    said = item.said
    return {
        **item.told(),
        "reviewer": item.reviewer,
        "person": item.person,
        "outcome": item.outcome,
        "to": "" if said is None else said.to,
        "seconds": None if said is None else said.seconds,
        "applied": item.applied,
        "owed": items.is_owed(item),
        "settled": items.is_settled(item),
    }


def _check_may_see(service: Service, caller: Caller, found: Replayed) -> None:
    if not _has_part(service, caller, found):
        permit.require(service, caller, "read")


def _has_part(service: Service, caller: Caller, found: Replayed) -> bool:
    mine = any(item.reviewer == caller.principal.id for item in found.items.items)
    return mine or _signs(service, caller, found.campaign.opened.sign_off)


async def note_reading(service: Service, caller: Caller, case: str) -> None:
    """That a review is read by right of audit; nothing where the reader has a part in it."""
    if not _has_part(service, caller, glance(service, case)):
        await reading.note(service, caller, "review", about=case, count=1)


def check_may_export(service: Service, caller: Caller, case: str) -> None:
    """Whoever signs it takes it away, and whoever may `export` here."""
    found, _ = read(service, case)
    if not _signs(service, caller, found.campaign.opened.sign_off):
        permit.require(service, caller, "read")
        permit.require(service, caller, "export")


def not_permitted(service: Service, why: str) -> NotPermitted:
    """Counted, and not recorded."""
    service.count("not-permitted")
    return NotPermitted(why)
