"""Say what is to become of items, hand items to somebody else, restore what a review took."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Final

from muniment.access import records, window
from muniment.access.campaign_items import VERDICTS, Item, Items
from muniment.access.registry import Principal
from muniment.errors import Conflict, FoldInvalid, Malformed, NotFound
from muniment.evidence import canonical
from muniment.evidence.append import Proposal
from muniment.evidence.record import MAX_SECTION
from muniment.evidence.store import Entry
from muniment.operations import campaigns, permit, review_room
from muniment.operations.attempts import until_it_stands
from muniment.operations.request import check_text
from muniment.operations.review_time import seconds_looked
from muniment.operations.service import Caller, Service, close, content, record_of

#: verdicts that are handed in at once
MOST: Final = 10_000
_TO: Final = 128


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a reviewer says of one item."""

    item: int
    verdict: str
    reason: str = ""
    #: of `reduce`: a smaller role of the resource, or the longest time: `15m`, or in seconds
    to: str = ""


class UnfitVerdict(Malformed):
    """One of those that were handed in cannot be recorded, and so none of them is."""

    def __init__(self, item: int, why: str) -> None:
        super().__init__(f"item {item}: {why}")
        self.item = item


async def decide(
    service: Service, caller: Caller, case: str, verdicts: Sequence[Verdict], shown: str = ""
) -> Counter[str]:
    """
    A reviewer says what is to become of his items; returns how often he said what.

    `shown` is what came with the items, from each page of them: it says how long he looked at
    which. Raises `NotFound`, `NotPermitted`, `Malformed` (`UnfitVerdict` where it is one of them),
    and `Conflict` for what is not his to say, or too late.
    """
    verdicts = [replace(each, to=_in_seconds(each.to)) for each in verdicts]
    for each in verdicts:
        try:
            _check(each)
        except Malformed as error:
            raise UnfitVerdict(each.item, str(error)) from error
    if not 0 < len(verdicts) <= MOST:
        raise Malformed(f"hand in 1 to {MOST:,} verdicts at once")
    tallies: Counter[str] = await until_it_stands(
        lambda: _decide(service, caller, case, verdicts, shown)
    )
    return tallies


def _in_seconds(to: str) -> str:
    """A length of time, as it is recorded; a role stays as it is."""
    try:
        return str(window.seconds(to))
    except Malformed:
        return to


def _check(verdict: Verdict) -> None:
    if verdict.verdict not in VERDICTS:
        raise Malformed(f"a verdict is one of {', '.join(VERDICTS)}")
    if (verdict.verdict == "reduce") != bool(verdict.to):
        raise Malformed("say to what it is reduced, a role or seconds; and of nothing else")
    if len(verdict.to) > _TO or not verdict.to.isascii() or not verdict.to.isprintable():
        raise Malformed("what it is reduced to is a role, or a number of seconds")
    if verdict.verdict != "keep" and not verdict.reason.strip():
        raise Malformed(f"`{verdict.verdict}` takes a reason")
    check_text(verdict.reason, "reason")


async def _decide(
    service: Service, caller: Caller, case: str, verdicts: Sequence[Verdict], shown: str
) -> Counter[str]:
    found, entries = campaigns.read_open(service, case)
    grounds = service.rests_on(caller.principal)  # before what is decided on them
    principal = service.registry.principals[caller.principal.id]
    _check_reviews(service, principal, found.campaign.opened)
    numbers, since = [each.item for each in verdicts], _last_answer(principal, entries)
    review_room.check_handed_in(found, principal.id, numbers)
    revoked = [each.item for each in verdicts if each.verdict == "revoke"]
    if revoked:
        review_room.check_taken(found, revoked)
    seconds = seconds_looked(service, caller, case, numbers, shown, since)
    lines = _lines(verdicts, seconds)
    _check_reductions(service, found.items, verdicts)
    actor, now = service.actor(caller), service.now()
    try:
        tallies = found.items.decide(
            lines, principal.id, actor.persons, len(entries), try_only=True
        )
    except FoldInvalid as error:
        raise Conflict(str(error)) from error
    decided = records.ReviewDecided(
        actor=actor,
        reviewer=principal.id,
        person=principal.person,
        lines=sha256(lines).digest(),
        items=len(verdicts),
        tallies=dict(sorted(tallies.items())),
        seconds=sum(seconds),
        bulk=_is_bulk(verdicts),
    ).draft(
        case,
        now,
        follows=(caller.principal.leaf,),
        sections=_reasons(verdicts),
        documents=(lines,),
    )
    await service.append(
        Proposal(
            drafts=(decided,),
            reads={**grounds.reads, case: entries[-1].leaf},
            gives=False,
            companions=lambda placed: campaigns.companions(service, found.campaign, placed),
        )
    )
    return tallies


def _check_reductions(service: Service, items: Items, verdicts: Sequence[Verdict]) -> None:
    """To less than there is, of what there is. Whatever else is wrong the fold says."""
    for each in verdicts:
        known = 0 <= each.item < len(items.items)
        if each.verdict != "reduce" or not known or items.items[each.item].what != "access":
            continue
        told = items.items[each.item].told()
        if each.to.isdecimal():
            longest = int(told["max_seconds"])
            if not 0 < int(each.to) < (longest or 1 << 31):
                most = f"shorter than {window.text(longest)}" if longest else "of a second or more"
                raise UnfitVerdict(each.item, f"the time that it is reduced to is {most}")
            continue
        role = service.registry.role(str(told["resource"]), each.to)
        if role is None or role.withdrawn or each.to == told["role"]:
            raise UnfitVerdict(
                each.item,
                f"`{each.to}` is no other role of `{told['resource']}`; name one, or a time",
            )


def _check_reviews(service: Service, principal: Principal, opened: records.CampaignOpened) -> None:
    """He is still one of those who may, whoever had given him the items."""
    may = {opened.reviewers, opened.fallback} & principal.groups
    if principal.type != "human" or not principal.active or not may:
        raise campaigns.not_permitted(
            service, f"only people in `{opened.reviewers}` or `{opened.fallback}` review this"
        )


def _last_answer(principal: Principal, entries: Sequence[Entry]) -> datetime | None:
    """When this reviewer handed in something before."""
    own = (
        entry.header.at
        for entry in reversed(entries)
        if entry.header.kind == records.ReviewDecided.KIND
        and entry.header.body["reviewer"] == principal.id
    )
    return next(own, None)


def _lines(verdicts: Sequence[Verdict], seconds: Sequence[int]) -> bytes:
    """A line per item."""
    written = []
    for verdict, looked in zip(verdicts, seconds, strict=True):
        value = {
            "item": verdict.item,
            "verdict": verdict.verdict,
            "seconds": looked,
            **({"to": verdict.to} if verdict.to else {}),
        }
        written.append(canonical.encode(value) + b"\n")
    return b"".join(written)


def _is_bulk(verdicts: Sequence[Verdict]) -> bool:
    alike = {(each.verdict, each.reason, each.to) for each in verdicts}
    return len(verdicts) > 1 and len(alike) == 1


def _reasons(verdicts: Sequence[Verdict]) -> dict[str, bytes]:
    """One for all of them, or one each; sealed."""
    said = {str(each.item): each.reason for each in verdicts if each.reason.strip()}
    if not said:
        return {}
    texts = {*said.values()}
    one = len(texts) == 1 and len(said) == len(verdicts)
    told = content({"text": min(texts)} if one else {"items": said})
    if len(told) > MAX_SECTION:
        raise Malformed("more reasons than are kept of one handing in: hand in fewer items at once")
    return {"reasons": told}


def _human(service: Service, named: str) -> Principal:
    found = service.registry.principals.get(service.names.get(named, named))
    if found is None or found.type != "human" or not found.active:
        raise Malformed(f"`{named:.80}` is nobody who could review: name an active human")
    return found


async def reassign(
    service: Service, caller: Caller, case: str, items: Sequence[int], to: str, reason: str
) -> int:
    """
    Somebody else is to look at these. By whoever has them, or whoever may `review` here.

    Raises `NotFound`, `NotPermitted`, `Malformed`, and `Conflict` where he may not look at them.
    """
    if not reason.strip():
        raise Malformed("to hand items on takes a reason")
    check_text(reason, "reason")
    if not 0 < len(items) <= MOST:
        raise Malformed(f"name 1 to {MOST:,} items")
    whom = _human(service, to)
    moved: int = await until_it_stands(
        lambda: _reassign(service, caller, case, items, whom, reason)
    )
    return moved


async def _reassign(
    service: Service, caller: Caller, case: str, items: Sequence[int], whom: Principal, reason: str
) -> int:
    found, entries = campaigns.read_open(service, case)
    grounds = service.rests_on(caller.principal, whom)
    known = {item.number: item.reviewer for item in found.items.items}
    if any(known.get(number) != caller.principal.id for number in items):
        permit.require(service, caller, "review")
    opened = found.campaign.opened
    _check_reviews(service, service.registry.principals[whom.id], opened)
    review_room.check_handed_on(found, items)
    lines = canonical.encode(sorted({*items}))
    actor = service.actor(caller)
    try:
        moved = found.items.reassign(lines, whom.id, whom.person, actor.persons, try_only=True)
    except FoldInvalid as error:
        raise Conflict(str(error)) from error
    record = records.ReviewReassigned(
        actor=actor,
        lines=sha256(lines).digest(),
        items=moved,
        to=whom.id,
        person=whom.person,
    ).draft(
        case,
        service.now(),
        follows=(caller.principal.leaf,),
        sections={"note": content({"text": reason})},
        documents=(lines,),
    )
    await service.append(
        Proposal(
            drafts=(record,),
            reads={**grounds.reads, case: entries[-1].leaf},
            gives=False,
            companions=lambda placed: campaigns.companions(service, found.campaign, placed),
        )
    )
    return moved


async def restore(
    service: Service, caller: Caller, login: str, resource: str, role: str, reason: str
) -> str:
    """
    Somebody may ask again for what a review took from him; returns the case of the withdrawal.

    By another person than himself and than the reviewer. Raises `NotFound`, `NotPermitted`,
    `Malformed`, and `Conflict` while it is still being taken.
    """
    if not reason.strip():
        raise Malformed("to restore takes a reason")
    check_text(reason, "reason")
    case: str = await until_it_stands(
        lambda: _restore(service, caller, login, resource, role, reason)
    )
    return case


async def _restore(
    service: Service, caller: Caller, login: str, resource: str, role: str, reason: str
) -> str:
    grounds = service.rests_on(caller.principal)
    permit.require(service, caller, "review")
    principal = service.registry.principals.get(service.names.get(login, login))
    taken = None
    if principal is not None:
        taken = service.registry.campaigns.taken(principal.id, resource, role)
    if principal is None or taken is None:
        raise NotFound(f"no review took `{resource}/{role}` from `{login:.80}`")
    actor, now = service.actor(caller), service.now()
    found, entries = campaigns.read(service, taken.record.about)
    item = found.items.items[taken.record.item]
    if found.campaign.state in ("open", "signed") and found.items.is_owed(item):
        raise Conflict("it is still being taken away: restore it once the review has that applied")
    concerned = {*service.registry.persons(principal), *_reviewers(item, entries)}
    if actor.type != "human" or set(actor.persons) & concerned:
        raise campaigns.not_permitted(
            service, "somebody else than he, and than who reviewed it, has to restore this"
        )
    restored = records.EligibilityRestored(actor=actor, person=caller.principal.person).draft(
        taken.case,
        now,
        follows=(caller.principal.leaf,),
        sections={"note": content({"text": reason})},
    )
    await service.append(
        Proposal(
            drafts=tuple(close([restored], taken.case, 1, now)),
            reads={**grounds.reads, taken.case: taken.leaf},
            gives=True,
        )
    )
    return taken.case


def _reviewers(item: Item, entries: Sequence[Entry]) -> tuple[str, ...]:
    """Persons of who decided on the item; nobody where its time was over."""
    if item.said is None:
        return ()
    return record_of(entries[item.said.position]).actor.persons
