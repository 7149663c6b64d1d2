"""Management signs how a review came out, and it is closed."""

from muniment.access import records
from muniment.access.campaign_items import NOT_REVIEWED
from muniment.errors import Conflict, Malformed
from muniment.evidence.append import Proposal
from muniment.operations import campaigns, permit
from muniment.operations.attempts import until_it_stands
from muniment.operations.request import check_text
from muniment.operations.service import Caller, Service, close, content


async def sign(service: Service, caller: Caller, case: str, note: str = "") -> None:
    """
    Somebody of the group that signs, who decided nothing in it, has seen how it came out.

    Raises `NotFound`, `NotPermitted`, and `Conflict` while items wait and their time is not over.
    """
    check_text(note, "note")
    await until_it_stands(lambda: _sign(service, caller, case, note))


async def _sign(service: Service, caller: Caller, case: str, note: str) -> None:
    found, entries = campaigns.read_open(service, case)
    grounds = service.rests_on(caller.principal)
    actor, opened = service.actor(caller), found.campaign.opened
    principal = service.registry.principals[caller.principal.id]
    if opened.sign_off not in principal.groups or not found.campaign.may_be_signed_by(actor):
        raise campaigns.not_permitted(
            service, f"somebody in `{opened.sign_off}` who decided nothing in this review signs it"
        )
    tallies = found.items.tallies()
    if tallies[NOT_REVIEWED] and not found.campaign.over:
        raise Conflict(
            f"{tallies[NOT_REVIEWED]} of the items wait for their reviewers, until "
            f"{opened.due:%Y-%m-%d %H:%M} UTC"
        )
    signed = records.CampaignSigned(actor=actor, person=principal.person, tallies=tallies).draft(
        case,
        service.now(),
        follows=(caller.principal.leaf,),
        sections={"note": content({"text": note})} if note else {},
    )
    await service.append(
        Proposal(
            drafts=(signed,),
            reads={**grounds.reads, case: entries[-1].leaf},
            gives=False,
            companions=lambda placed: campaigns.companions(service, found.campaign, placed),
        )
    )


async def close_campaign(
    service: Service, caller: Caller, case: str, note: str = "", *, leave: bool = False
) -> None:
    """
    It is over. What is outstanding stays so, and only where `leave` says that this is meant.

    Raises `NotFound`, `NotPermitted`, `Malformed`, and `Conflict` before it was signed.
    """
    check_text(note, "note")
    if leave and not note.strip():
        raise Malformed("to leave something outstanding takes a reason")
    await until_it_stands(lambda: _close(service, caller, case, note, leave=leave))


async def _close(service: Service, caller: Caller, case: str, note: str, *, leave: bool) -> None:
    found, entries = campaigns.read(service, case)
    grounds = service.rests_on(caller.principal)
    campaign = found.campaign
    principal = service.registry.principals[caller.principal.id]
    if principal.type != "human":
        raise campaigns.not_permitted(service, "a human closes a review")
    if campaign.opened.sign_off not in principal.groups:
        permit.require(service, caller, "review")
    if campaign.state != "signed":
        raise Conflict(
            "it was closed already"
            if campaign.closed
            else "it has to be signed before it is closed"
        )
    owed = found.items.owed
    if owed and not leave:
        raise Conflict(
            f"{len(owed)} items are outstanding; the first is item {owed[0].number}. Wait until "
            "they are applied, or say that they are to be left"
        )
    now = service.now()
    ended = records.CampaignClosed(
        actor=service.actor(caller),
        person=principal.person,
        tallies=found.items.tallies(),
        applied=found.items.applied,
        outstanding=len(owed),
    ).draft(
        case,
        now,
        follows=(caller.principal.leaf,),
        sections={"note": content({"text": note})} if note else {},
    )
    await service.append(
        Proposal(
            drafts=tuple(close([ended], case, len(entries), now)),
            reads={**grounds.reads, case: entries[-1].leaf},
            gives=False,
            companions=lambda placed: campaigns.companions(service, campaign, placed),
        )
    )
