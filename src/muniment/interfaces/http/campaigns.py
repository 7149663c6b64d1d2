"""`/v1/campaigns`: reviews of access, item by item; and giving back what a review took."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from muniment.interfaces.http.cases import Body, find, named
from muniment.interfaces.http.context import CallerDep, ServiceDep
from muniment.operations import (
    campaigns,
    decide_review,
    open_campaign,
    permit,
    review_time,
    sign_review,
)
from muniment.operations.decide_review import Verdict
from muniment.operations.service import Caller, Service

router = APIRouter(prefix="/v1", tags=["campaigns"])

_Number = Annotated[int, Field(strict=True, ge=0, le=10_000_000)]
_Numbers = Annotated[list[_Number], Field(min_length=1, max_length=decide_review.MOST)]


class Opening(Body):
    #: of the rule in the configuration
    name: str = Field(max_length=40)


class Said(Body):
    #: numbers of the items that this is said of
    items: _Numbers
    verdict: Literal["keep", "revoke", "reduce", "abstain"]
    #: needed for whatever is not kept
    reason: str = Field(default="", max_length=4000)
    #: of `reduce`: a smaller role of the resource, or the longest time: `15m`, or in seconds
    to: str = Field(default="", max_length=128)


class Decisions(Body):
    verdicts: list[Said] = Field(min_length=1, max_length=1000)
    #: what came with the items: it says how long somebody looked; of several pages, with blanks
    #: between
    shown: str = Field(default="", max_length=review_time.MOST)


class Reassignment(Body):
    items: _Numbers
    #: login or principal id
    to: str = Field(max_length=200)
    reason: str = Field(max_length=4000)


class Signature(Body):
    note: str = Field(default="", max_length=4000)


class Closing(Body):
    note: str = Field(default="", max_length=4000)
    #: close it though something is outstanding; takes a note
    leave: bool = False


class Restoration(Body):
    #: login or principal id
    principal: str = Field(max_length=200)
    resource: str = Field(max_length=128)
    role: str = Field(max_length=128)
    reason: str = Field(max_length=4000)


@router.get("/campaigns")
async def list_campaigns(service: ServiceDep, caller: CallerDep) -> dict[str, Any]:
    """
    Those that the caller may see, newest first; the rules that there are; and what is being opened.
    """
    sees = permit.ask(service, caller, "review", None).outcome == "permit"
    return named(
        service,
        {
            "campaigns": campaigns.listed(service, caller),
            "rules": sorted(campaigns.rules(service)) if sees else [],
            "opening": dict(service.registry.campaigns.making) if sees else {},
        },
    )


@router.post("/campaigns")
async def open_(service: ServiceDep, caller: CallerDep, body: Opening) -> dict[str, Any]:
    """Open a review by its rule, over all that the log gives at this moment."""
    making = service.registry.campaigns.making

    def progress(done: int, total: int) -> None:
        making[body.name] = (done, total)

    try:
        case = await open_campaign.open_campaign(service, caller, body.name, progress=progress)
    finally:
        making.pop(body.name, None)
    return _state(service, case)


@router.get("/campaigns/{campaign}")
async def show(service: ServiceDep, caller: CallerDep, campaign: str) -> dict[str, Any]:
    """How a review stands, who looked how, and each record of it."""
    case = find(service, campaign)
    found = campaigns.show(service, caller, case)
    await campaigns.note_reading(service, caller, case)
    return named(service, found)


@router.get("/campaigns/{campaign}/items")
async def items(
    service: ServiceDep,
    caller: CallerDep,
    campaign: str,
    mine: bool = False,
    outcome: Annotated[str, Query(max_length=20)] = "",
    after: Annotated[int, Query(ge=-1, le=10_000_000)] = -1,
) -> dict[str, Any]:
    """Its items in order; `next` is the `after` of the next page. Hand `shown` in with verdicts."""
    case = find(service, campaign)
    page = campaigns.items_of(service, caller, case, mine=mine, outcome=outcome, after=after)
    await campaigns.note_reading(service, caller, case)
    return named(service, page)


@router.get("/campaigns/{campaign}/recomputation")
async def recompute(service: ServiceDep, caller: CallerDep, campaign: str) -> dict[str, Any]:
    """Make its population once more from the log, and say whether it is the same."""
    return await open_campaign.recompute(service, caller, find(service, campaign))


@router.post("/campaigns/{campaign}/decisions")
async def decide(
    service: ServiceDep, caller: CallerDep, campaign: str, body: Decisions
) -> dict[str, Any]:
    """Say what is to become of one's own items. A later verdict stands for an earlier one."""
    case = find(service, campaign)
    verdicts = [
        Verdict(item=item, verdict=said.verdict, reason=said.reason, to=said.to)
        for said in body.verdicts
        for item in said.items
    ]
    tallies = await decide_review.decide(service, caller, case, verdicts, body.shown)
    return {"campaign": case, "decided": dict(tallies), **_left(service, caller, case)}


@router.post("/campaigns/{campaign}/reassignment")
async def reassign(
    service: ServiceDep, caller: CallerDep, campaign: str, body: Reassignment
) -> dict[str, Any]:
    """Hand items to somebody else of those who review, whom they are not about."""
    case = find(service, campaign)
    moved = await decide_review.reassign(service, caller, case, body.items, body.to, body.reason)
    return {"campaign": case, "items": moved}


@router.post("/campaigns/{campaign}/signature")
async def sign(
    service: ServiceDep, caller: CallerDep, campaign: str, body: Signature
) -> dict[str, Any]:
    """Management has seen how it came out: somebody who decided nothing in it."""
    case = find(service, campaign)
    await sign_review.sign(service, caller, case, body.note)
    return _state(service, case)


@router.post("/campaigns/{campaign}/closing")
async def close(
    service: ServiceDep, caller: CallerDep, campaign: str, body: Closing
) -> dict[str, Any]:
    """Close it once it was signed, and what was decided has come to pass."""
    case = find(service, campaign)
    await sign_review.close_campaign(service, caller, case, body.note, leave=body.leave)
    return _state(service, case)


@router.post("/eligibility/restoration")
async def restore(service: ServiceDep, caller: CallerDep, body: Restoration) -> dict[str, Any]:
    """Let somebody ask again for what a review took; by another person than the reviewer."""
    case = await decide_review.restore(
        service, caller, body.principal, body.resource, body.role, body.reason
    )
    return {"case": case}


def _state(service: Service, case: str) -> dict[str, Any]:
    return named(service, campaigns.summary(campaigns.glance(service, case)))


def _left(service: Service, caller: Caller, case: str) -> dict[str, int]:
    found = campaigns.glance(service, case)
    mine = [each for each in found.items.items if each.reviewer == caller.principal.id]
    return {"mine": len(mine), "waiting": sum(each.said is None for each in mine)}
