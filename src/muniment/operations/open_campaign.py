"""Open a campaign: what the log gives at one size becomes items, and somebody looks at each."""

import asyncio
import json
from datetime import timedelta
from hashlib import sha256
from typing import Any

from muniment.access import records
from muniment.access.campaign import Campaign
from muniment.access.counters import campaign_counter
from muniment.errors import Conflict, Stale
from muniment.evidence.append import Proposal
from muniment.operations import campaigns, permit, review_room
from muniment.operations.campaign_population import Made, Progress, make
from muniment.operations.service import Caller, Grounds, Service, close
from muniment.oversight.campaigns import Rule, rule_of


def _nobody(_done: int, _total: int) -> None:
    """Nobody is told how far it came."""


async def open_campaign(
    service: Service, caller: Caller, name: str, *, progress: Progress = _nobody
) -> str:
    """
    A person opens it; returns its case id.

    Raises `NotFound`, `NotPermitted`, `FoldInvalid` for more items than a campaign can hold, and
    `Conflict` where nobody is there who could review, or nothing that could be.
    """
    permit.require(service, caller, "review")
    rule = campaigns.rule(service, name)
    grounds = service.rests_on(caller.principal)
    made = await population(service, rule, progress)
    return await record(service, rule, made, grounds, caller=caller)


async def open_by_itself(service: Service, rule: Rule, started: str, occasion: str) -> str | None:
    """
    By the worker: a schedule, a finding or broken glass started it. Once for each occasion.

    None where it was opened before. Where there is nothing to review it is closed in the same
    breath: that it came, and was of nothing, is recorded, and it does not come again.
    """
    if (rule.name, occasion) in service.registry.campaigns.started:
        return None
    made = await population(service, rule, _nobody)
    try:
        return await record(service, rule, made, Grounds(), started=started, occasion=occasion)
    except Stale:
        return None  # another node did


async def population(service: Service, rule: Rule, progress: Progress) -> Made:
    """What it is over, at this moment. In a thread: others are served meanwhile."""
    shown = service.log.keys.recognise(service.log.checkpoint)
    made = await asyncio.to_thread(make, service, rule, shown.size, shown.root, progress)
    if rule.silence == "revoke":
        await asyncio.to_thread(review_room.check_silence, made.sheets)
    return made


async def record(
    service: Service,
    rule: Rule,
    made: Made,
    grounds: Grounds,
    *,
    caller: Caller | None = None,
    started: str = "person",
    occasion: str = "",
) -> str:
    """That it is open: the first record of its case. Returns the case id."""
    if not made.items and caller is not None:
        where = f" on {', '.join(rule.resources)}" if rule.resources else ""
        raise Conflict(f"there is nothing to review by `{rule.name}`{where}")
    if made.items and not made.reviewers:
        raise Conflict(f"nobody active is in `{rule.reviewers}`, who are to review `{rule.name}`")
    case, now, document = service.new_case(campaigns.CAMPAIGNS), service.now(), rule.document()
    opened = records.CampaignOpened(
        actor=records.SERVICE if caller is None else service.actor(caller),
        rule=rule.name,
        definition=sha256(document).digest(),
        started=started,
        occasion=occasion,
        size=made.size,
        root=made.root,
        items=made.items,
        items_root=made.items_root,
        sheets=tuple(sha256(sheet).digest() for sheet in made.sheets),
        completeness=sha256(made.completeness).digest(),
        targets=made.targets,
        unseen=made.unseen,
        seed=made.seed,
        due=now + timedelta(days=rule.days),
        silence=rule.silence,
        reviewers=rule.reviewers,
        fallback=rule.fallback,
        sign_off=rule.sign_off,
        resources=rule.resources,
    ).draft(
        case,
        now,
        follows=() if caller is None else (caller.principal.leaf,),
        documents=(document, made.completeness, *made.sheets),
    )
    drafts = (opened,) if made.items else tuple(close([opened], case, 0, now))
    reads: dict[str, bytes | None] = {**grounds.reads, case: None}
    if occasion:
        reads[campaign_counter(rule.name, occasion)] = None
    await service.append(
        Proposal(
            drafts=drafts,
            reads=reads,
            gives=False,
            companions=lambda placed: campaigns.companions(service, Campaign(), placed),
        )
    )
    return case


async def recompute(service: Service, caller: Caller, case: str) -> dict[str, Any]:
    """
    Make the population of a campaign once more from the log, and say whether it is the same.

    So whoever reads the log sees that nothing was left out. Raises `NotFound` and `NotPermitted`.
    """
    permit.require(service, caller, "read")
    found, _ = campaigns.read(service, case)
    opened = found.campaign.opened
    rule = rule_of(json.loads(service.document(opened.definition)))
    made = await asyncio.to_thread(make, service, rule, opened.size, opened.root)
    return {
        "campaign": case,
        "size": made.size,
        "root": made.root.hex(),
        "items": made.items,
        "items_root": made.items_root.hex(),
        "same": _recorded(made) == _recorded(opened),
    }


def _recorded(of: Made | records.CampaignOpened) -> tuple[object, ...]:
    """What is recorded of a population."""
    counted = sha256(of.completeness).digest() if isinstance(of, Made) else of.completeness
    return of.root, of.items, of.items_root, counted, of.targets, of.unseen, of.seed
