"""
What reviewers decided comes to pass: access ends, and somebody may not ask any more.

A decision and its application are two facts. What is to be done is read from the log on every look,
never remembered; it counts as applied once it was seen: a grant's removal at its target, a recorded
withdrawal under which nothing is left, or a directory or a policy that does not allow it any more.
What only people can change (who is in a group, what a rule says) is outstanding until they have.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from muniment.access import counters, records
from muniment.access.campaign_check import Replayed
from muniment.access.campaign_items import Item, Said
from muniment.errors import MunimentError, NotFound, Stale, Unavailable
from muniment.evidence.append import Proposal
from muniment.evidence.store import Entry
from muniment.operations import campaigns
from muniment.operations.attempts import until_it_stands
from muniment.operations.campaign_population import at_any_hour, facts_at_best
from muniment.operations.end import end_what_rested
from muniment.operations.service import Service

#: begins the ids of the cases of what was withdrawn
WITHDRAWALS: Final = "elg"
#: items that one record names, and records that it follows
NAMED: Final = 40
FOLLOWED: Final = 120
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Done:
    """What shows that an item was applied."""

    item: int
    #: what it was done by; None: by the end of the time
    said: Said | None
    how: str
    about: str = ""
    #: of `withdrawn`: what was held under it when the review was opened
    gone: tuple[str, ...] = ()
    follows: tuple[bytes, ...] = ()


async def settle(service: Service) -> int:
    """
    Say how much of its time each open campaign has used, and do what was decided.

    Returns how many items were seen applied. A bug in one campaign stops no other.
    """
    applied = 0
    for case in list(service.registry.campaigns.open):
        try:
            await until_it_stands(partial(_say_the_time, service, case))
            applied += await apply(service, case)
        except Stale:
            continue  # somebody decided something meanwhile: the next look sees it
        except (Unavailable, NotFound):
            raise
        except MunimentError:
            _log.exception("what was decided in campaign %s cannot be applied", case)
    return applied


async def _say_the_time(service: Service, case: str) -> None:
    now = service.now()
    if not campaigns.glance(service, case).campaign.shares_due(now):
        return
    found, entries = campaigns.read(service, case)
    for share in found.campaign.shares_due(now):
        said = records.ReviewEscalated(
            actor=records.SERVICE, share=share, open=len(found.items.open)
        )
        await service.append(
            Proposal(
                drafts=(said.draft(case, now),),
                reads={case: entries[-1].leaf},
                gives=False,
                companions=lambda placed: campaigns.companions(service, found.campaign, placed),
            )
        )


async def apply(service: Service, case: str) -> int:
    """Order what is not ordered yet, and record what was seen done."""
    if not campaigns.glance(service, case).items.owed:
        return 0
    found, entries = campaigns.read(service, case)
    if found.campaign.state not in ("open", "signed"):
        return 0
    done = list[_Done]()
    for item, said in [(item, item.said) for item in found.items.owed]:
        if item.said is said:  # somebody else may have decided it meanwhile
            seen = await _look_at(service, found, entries, item)
            done += [] if seen is None else [seen]
        await asyncio.sleep(0)  # others are served, too
    by_how = defaultdict[str, list[_Done]](list)
    for each in done:
        by_how[each.how].append(each)
    for how, these in by_how.items():
        for part in _parts(these):
            await _record(service, case, how, part)
    return len(done)


def _parts(these: Sequence[_Done]) -> Iterator[list[_Done]]:
    """As many as one record has room for."""
    part, followed = list[_Done](), 0
    for each in these:
        if len(part) == NAMED or (part and followed + len(each.follows) > FOLLOWED):
            yield part
            part, followed = [], 0
        part.append(each)
        followed += len(each.follows)
    yield part


async def _record(service: Service, case: str, how: str, these: Sequence[_Done]) -> None:
    async def attempt() -> None:
        found, entries = campaigns.read(service, case)
        owed = {(item.number, item.said) for item in found.items.owed}
        still = [each for each in these if (each.item, each.said) in owed]
        still = [each for each in still if _is_not_restored(service, each)]
        if not still or found.campaign.state not in ("open", "signed"):
            return
        leaves = [leaf for each in still for leaf in each.follows]
        record = records.ReviewApplied(
            actor=records.SERVICE,
            items=tuple(each.item for each in still),
            how=how,
            about=tuple(each.about for each in still),
            gone=tuple(dict.fromkeys(case for each in still for case in each.gone)),
        )
        draft = record.draft(case, service.now(), follows=tuple(dict.fromkeys(leaves)))
        await service.append(
            Proposal(
                drafts=(draft,),
                reads={case: entries[-1].leaf, **dict(map(_head, filter(_is_withdrawn, still)))},
                gives=False,
                companions=lambda placed: campaigns.companions(service, found.campaign, placed),
            )
        )

    await until_it_stands(attempt)


def _is_withdrawn(done: _Done) -> bool:
    return done.how == "withdrawn"


def _head(done: _Done) -> tuple[str, bytes]:
    """Of the case of a withdrawal, which nobody has given back."""
    return done.about, done.follows[0]


def _is_not_restored(service: Service, done: _Done) -> bool:
    return not _is_withdrawn(done) or service.log.head(done.about) == done.follows[0]


def _decision(entries: Sequence[Entry], item: Item) -> bytes:
    """The record that says so: of the reviewer, or that the time was over."""
    if item.said is not None:
        return entries[item.said.position].leaf
    over = (e.leaf for e in reversed(entries) if e.header.kind == records.ReviewEscalated.KIND)
    return next(over)


# --- one item ---------------------------------------------------------------------------------


async def _look_at(
    service: Service, found: Replayed, entries: Sequence[Entry], item: Item
) -> _Done | None:
    """What shows that it was done; where nothing does, it is ordered, if that can be."""
    told = item.told()
    if item.what == "grant":
        return await _grant(service, entries, item, str(told["case"]))
    if item.what == "access":
        return await _access(service, found, entries, item)
    if item.what == "approver":
        who = service.registry.principals.get(str(told["principal"]))
        still = who is not None and told["group"] in who.groups  # whoever is on leave comes back
        return None if still else _Done(item=item.number, said=item.said, how="not-allowed")
    rule = service.policy().by_id.get(str(told["rule"]))
    still = rule is not None and rule.sha256 == told["sha256"]
    return None if still else _Done(item=item.number, said=item.said, how="not-allowed")


async def _grant(service: Service, entries: Sequence[Entry], item: Item, case: str) -> _Done | None:
    state, records_of = service.read(case)
    if not state.closed:
        await end_what_rested(service, state, "review", (_decision(entries, item),))
        return None
    return _Done(
        item=item.number,
        said=item.said,
        how="ended",
        about=case,
        follows=(_removal(records_of),),
    )


def _removal(entries: Sequence[Entry]) -> bytes:
    """The record that saw a grant gone: whatever was handed out is closed only after one."""
    seen = (e.leaf for e in reversed(entries) if e.header.kind == records.RemovalVerified.KIND)
    return next(seen)


async def _access(
    service: Service, found: Replayed, entries: Sequence[Entry], item: Item
) -> _Done | None:
    told = item.told()
    who, resource, role = (str(told[name]) for name in ("principal", "resource", "role"))
    withdrawn = service.log.head(counters.WITHDRAWALS)  # before it is looked at what was
    taken = service.registry.campaigns.taken(who, resource, role)
    if taken is not None:
        if _holds_something(service, who, resource, role):
            return None
        gone = tuple(str(each) for each in told["held"])
        removed = (_removal(service.read(each)[1]) for each in gone)
        return _Done(
            item=item.number,
            said=item.said,
            how="withdrawn",
            about=taken.case,
            gone=gone,
            follows=(taken.leaf, *removed),
        )
    if item.said is None or item.said.verdict == "revoke":
        # though it may not be allowed at this moment: who is on leave comes back
        await _withdraw(service, found.campaign.id, entries, item, withdrawn)
        return None
    if not _is_allowed(service, item, who, resource, role):
        held = _holds_something(service, who, resource, role)
        return None if held else _Done(item=item.number, said=item.said, how="not-allowed")
    return None


def _is_allowed(service: Service, item: Item, who: str, resource: str, role: str) -> bool:
    """By directory and policy, also to who is on leave; for longer than it was reduced to."""
    registry = service.registry
    principal, defined = registry.principals.get(who), registry.role(resource, role)
    if principal is None or defined is None:
        return False
    asking = facts_at_best(registry, principal, defined, service.now())
    decision, *_ = at_any_hour(service.policy(), asking)
    if decision.outcome == "deny":
        return False
    to = "" if item.said is None else item.said.to
    return not to.isdecimal() or decision.max_seconds is None or decision.max_seconds > int(to)


def _holds_something(service: Service, who: str, resource: str, role: str) -> bool:
    """An open case of his, or of somebody who acts for him."""
    registry = service.registry
    return any(
        (res, name) == (resource, role)
        and who in {link.id for link in registry.chain(registry.principals[requester])}
        for res, name, requester in list(registry.open_cases.values())
    )


async def _withdraw(
    service: Service,
    campaign: str,
    entries: Sequence[Entry],
    item: Item,
    withdrawn: bytes | None,
) -> None:
    """
    Recorded; the cascade ends what he holds under it.

    Raises `Stale` where anything was `withdrawn` since: it may have been this.
    """
    told = item.told()
    case = service.new_case(WITHDRAWALS)
    record = records.EligibilityWithdrawn(
        actor=records.SERVICE,
        principal=str(told["principal"]),
        resource=str(told["resource"]),
        role=str(told["role"]),
        about=campaign,
        item=item.number,
    )
    draft = record.draft(case, service.now(), follows=(_decision(entries, item),))
    reads = {case: None, campaign: entries[-1].leaf, counters.WITHDRAWALS: withdrawn}
    await service.append(Proposal(drafts=(draft,), reads=reads, gives=False))
