"""
What the documents of a proved campaign say, held to its records: steps 13 to 17 of verification.

Steps 11 and 12 folded its headers. Here its sheets are read, and every record is done once more on
the items themselves:

13. the sheets give as many items as were recorded, in lines with the recorded root: none was left
    out, put in or changed; they are of the kind and the resources that the rule reviews; the count
    against the targets counts them; the root is that of the log at the recorded size, and a sample
    was drawn by it;
14. every item has exactly one outcome, from whoever it was given to; nobody decided on what is
    about himself, on what he had approved or what he had enrolled; what reviewers said adds up to
    what their records count, and what was signed and closed counts the same;
15. every reviewer was an active human in one of the groups that review; groups, time and what
    silence means are those of the rule;
16. somebody who reviewed nothing signed it, in the group that has to;
17. whatever counts as carried out is seen in records that lie here, of the very case, person and
    role: a grant's removal at its target, a withdrawal and the removal of what was held under it;
    how much was only asked, and seen by the service alone, is counted.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from muniment.access import campaign, campaign_grounds, records
from muniment.access.campaign import Campaign
from muniment.access.campaign_items import Item, Items
from muniment.errors import FoldInvalid
from muniment.evidence.steps import failing_as, require
from muniment.evidence.store import Entry

STEPS: Final[Mapping[int, str]] = {
    13: "the sheets are those that were recorded: no item is missing",
    14: "every item has one outcome, and the counts agree",
    15: "reviewers are in the groups that review",
    16: "somebody who reviewed nothing signed it",
    17: "what was carried out is seen in the records that say so",
}


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """A campaign with its items, each as its records left it."""

    campaign: Campaign
    items: Items


def replay(entries: Sequence[Entry], documents: Mapping[bytes, bytes]) -> Replayed:
    """
    Do every record once more, on the items. `documents` are those that the records name.

    Raises `FoldInvalid` where records and items do not agree.
    """
    stands = campaign.fold((entry.header, entry.leaf) for entry in entries)
    opened = stands.opened
    items = Items.read((_document(documents, each) for each in opened.sheets), opened.silence)
    _require(len(items.items) == opened.items, "there are other items than were recorded")
    _require(items.root == opened.items_root, "the lines are not those of the root")
    for entry in entries[1:]:
        step(items, records.parse(entry.header), entry.header.position, documents)
    return Replayed(campaign=stands, items=items)


def step(
    items: Items, record: records.Record, position: int, documents: Mapping[bytes, bytes]
) -> None:
    """One record further. Raises `FoldInvalid`."""
    match record:
        case records.ReviewReassigned():
            lines = _document(documents, record.lines)
            count = items.reassign(lines, record.to, record.person, record.actor.persons)
            _require(count == record.items, "miscounts what was reassigned")
        case records.ReviewDecided():
            lines = _document(documents, record.lines)
            tallies = items.decide(lines, record.reviewer, record.actor.persons, position)
            _require(dict(tallies) == dict(Counter(record.tallies)), "miscounts the verdicts")
        case records.ReviewEscalated():
            _require(len(items.open) == record.open, "miscounts what nobody has looked at")
            items.over = items.over or record.share == campaign.SHARES[-1]
        case records.ReviewApplied():
            items.apply(record.items)
        case records.CampaignSigned():
            _require(items.tallies() == record.tallies, "signed other counts than there are")
        case records.CampaignClosed():
            _require(items.tallies() == record.tallies, "closed with other counts than there are")
            _require(items.applied == record.applied, "miscounts what was applied")
            _require(len(items.owed) == record.outstanding, "miscounts what is outstanding")
        case _:
            pass


def check(
    case: Sequence[Entry],
    entries: Sequence[Entry],
    documents: Mapping[bytes, bytes],
    heads: Mapping[int, bytes],
) -> list[tuple[int, str]]:
    """
    Steps 13 to 17: what was seen, by number. `heads` are proved roots of the log, by size.

    Raises `BundleInvalid`.
    """
    with failing_as(13):
        opened = records.parse(case[0].header)
        if not isinstance(opened, records.CampaignOpened):
            raise FoldInvalid("no campaign")
        items = Items.read((_document(documents, each) for each in opened.sheets), opened.silence)
    require(13, len(items.items) == opened.items, "there are other items than were recorded")
    require(13, items.root == opened.items_root, "the lines are not those of the root")
    with failing_as(13):
        rule = campaign_grounds.rule_of(_document(documents, opened.definition))
        campaign_grounds.check_log(rule, case[0], opened, heads)
        sheets = (_document(documents, each) for each in opened.sheets)
        counted = _document(documents, opened.completeness)
        campaign_grounds.check_items(rule, opened, sheets, counted)
    with failing_as(14):
        for entry in case[1:]:
            step(items, records.parse(entry.header), entry.header.position, documents)
    with failing_as(15):
        campaign_grounds.check_rule(rule, case[0], opened)
    reviewers = _check_reviewers(case, entries, rule)
    signer = _check_signer(case, entries, rule)
    tallies = ", ".join(f"{count} {word}" for word, count in items.tallies().items() if count)
    return [
        (13, f"{len(items.items):,} items in {len(opened.sheets)} sheets"),
        (14, tallies or "no items"),
        (15, f"{reviewers} reviewers"),
        (16, signer),
        (17, _check_applied(case, entries, items, opened.size)),
    ]


def _check_reviewers(
    case: Sequence[Entry], entries: Sequence[Entry], rule: Mapping[str, Any]
) -> int:
    """That none of them was barred was seen with the items; here, that he was whom he says."""
    seen = set[str]()
    for entry in case:
        record = records.parse(entry.header)
        if isinstance(record, records.ReviewDecided):
            enrolled = _enrolled(entry, entries, record.reviewer, 15)
            may = {rule.get("reviewers"), rule.get("fallback")} & {*enrolled.groups}
            require(15, bool(may), f"`{entry.header.id}`: the reviewer is in no group that reviews")
            same = enrolled.person == record.person
            require(15, same, f"`{entry.header.id}`: the reviewer is enrolled as somebody else")
            seen.add(record.person)
    return len(seen)


def _check_signer(case: Sequence[Entry], entries: Sequence[Entry], rule: Mapping[str, Any]) -> str:
    for entry in case:
        record = records.parse(entry.header)
        if isinstance(record, records.CampaignSigned):
            enrolled = _enrolled(entry, entries, record.actor.principal, 16)
            in_group = rule.get("sign_off") in enrolled.groups
            require(16, in_group, "whoever signed is not in the group that signs")
            require(16, enrolled.person == record.person, "whoever signed is somebody else")
            return f"`{record.actor.principal}`, by {record.actor.assurance}"
    opened = records.parse(case[0].header)
    empty = isinstance(opened, records.CampaignOpened) and not opened.items
    return "nobody: there was nothing to review" if empty else "nobody has yet"


def _enrolled(
    entry: Entry, entries: Sequence[Entry], principal: str, number: int
) -> records.PrincipalEnrolled:
    """As the record follows it: an active human."""
    for each in entries:
        if each.leaf in entry.header.follows and each.header.case == principal:
            enrolled = records.parse(each.header)
            if isinstance(enrolled, records.PrincipalEnrolled):
                holds = enrolled.active and enrolled.type == "human"
                require(number, holds, f"`{entry.header.id}` is by no active human")
                return enrolled
    require(number, False, f"`{entry.header.id}` does not follow its actor's enrolment")
    raise AssertionError


# --- what was carried out ---------------------------------------------------------------------


def asked_only(case: Sequence[Entry]) -> int:
    """How many items count as carried out because the service asked, and nothing else shows it."""
    applied = (records.parse(entry.header) for entry in case)
    return sum(
        len(record.items)
        for record in applied
        if isinstance(record, records.ReviewApplied) and record.how == "not-allowed"
    )


def _check_applied(case: Sequence[Entry], entries: Sequence[Entry], items: Items, size: int) -> str:
    """Each item that was carried out; what was there when the population was made ended later."""
    later = {entry.leaf: entry for entry in entries if entry.index >= size}
    counted = Counter[str]()
    for entry in case:
        record = records.parse(entry.header)
        if not isinstance(record, records.ReviewApplied):
            continue
        followed = [later[leaf] for leaf in entry.header.follows if leaf in later]
        shown = _Shown(
            gone=frozenset(
                each.header.case
                for each in followed
                if each.header.kind == records.RemovalVerified.KIND
            ),
            withdrawn={each.header.case: records.parse(each.header) for each in followed},
        )
        for number, about in zip(record.items, record.about, strict=True):
            holds = _HOLDS[record.how](items.items[number], about, shown)
            why = f"`{entry.header.id}`: nothing here shows that item {number} is {record.how}"
            require(17, holds, why)
        counted[record.how] += len(record.items)
    return _told(counted)


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """What a record of the application follows."""

    #: cases whose removal was seen
    gone: frozenset[str]
    #: by case id
    withdrawn: Mapping[str, records.Record]


def _is_ended(item: Item, about: str, shown: _Shown) -> bool:
    """Its own removal: a grant that was handed out has one only, and ends by it."""
    return item.what == "grant" and item.told().get("case") == about and about in shown.gone


def _is_withdrawn(item: Item, about: str, shown: _Shown) -> bool:
    told, record = item.told(), shown.withdrawn.get(about)
    held = told.get("held", [])
    return (
        item.what == "access"
        and isinstance(record, records.EligibilityWithdrawn)
        and told.get("principal") == record.principal
        and (told.get("resource"), told.get("role")) == (record.resource, record.role)
        and isinstance(held, list)
        and all(isinstance(each, str) and each in shown.gone for each in held)
    )


def _is_not_allowed(item: Item, _about: str, _shown: _Shown) -> bool:
    """What only people can take: whoever was to lose all that he may ask for has a withdrawal."""
    reduced = item.said is not None and item.said.verdict == "reduce"
    return item.what in ("approver", "policy") or (item.what == "access" and reduced)


_HOLDS: Final[Mapping[str, Callable[[Item, str, _Shown], bool]]] = {
    "ended": _is_ended,
    "withdrawn": _is_withdrawn,
    "not-allowed": _is_not_allowed,
}


def _told(counted: Mapping[str, int]) -> str:
    shown = [f"{counted[how]} {how}" for how in ("ended", "withdrawn") if how in counted]
    asked = counted.get("not-allowed", 0)
    only = [f"{asked} not allowed any more, seen by the service alone"] if asked else []
    return ", ".join([*shown, *only]) or "nothing was"


def _document(documents: Mapping[bytes, bytes], name: bytes) -> bytes:
    found = documents.get(name)
    if found is None:
        raise FoldInvalid(f"the document `{name.hex()}` is not here")
    return found


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise FoldInvalid(otherwise)
