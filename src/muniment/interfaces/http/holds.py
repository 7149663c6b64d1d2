"""`/v1/holds`: what is kept from erasure, and by whom."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from muniment.interfaces.http.cases import Body, find, named
from muniment.interfaces.http.context import CallerDep, ServiceDep
from muniment.operations import hold, permit, reading

router = APIRouter(prefix="/v1/holds", tags=["retention"])

_Id = Annotated[str, Field(min_length=4, max_length=200)]


class HoldAsk(Body):
    """At least one of the first five; whatever one of the first three names is held."""

    #: case ids
    cases: list[_Id] = Field(default=[], max_length=hold.MOST)
    #: logins, principal ids or person ids
    people: list[Annotated[str, Field(max_length=200)]] = Field(default=[], max_length=hold.MOST)
    resources: list[Annotated[str, Field(max_length=64)]] = Field(default=[], max_length=hold.MOST)
    #: what lies in this period alone
    since: datetime | None = None
    until: datetime | None = None
    #: what it is for, and why; both are sealed
    matter: str = Field(min_length=1, max_length=4000)
    reason: str = Field(default="", max_length=4000)


class Reason(Body):
    reason: str = Field(max_length=4000)


class Confirmation(Body):
    note: str = Field(default="", max_length=4000)


@router.get("")
async def list_holds(
    service: ServiceDep, caller: CallerDep, everything: bool = False
) -> dict[str, Any]:
    """Those that stand, the newest first; with `everything` the released ones as well."""
    holds = hold.listed(service, caller, everything=everything)
    await reading.note(service, caller, "holds", count=len(holds))
    return named(service, {"holds": holds})


@router.post("")
async def place(service: ServiceDep, caller: CallerDep, body: HoldAsk) -> dict[str, Any]:
    """Keep all of this from erasure, at once. It takes two to let go of it."""
    permit.require(service, caller, "hold")
    scope = hold.Scope(
        cases=[each if "_" not in each else _whole(service, each) for each in body.cases],
        people=body.people,
        resources=body.resources,
        since=body.since,
        until=body.until,
    )
    placed = await hold.place(service, caller, scope, body.matter, body.reason)
    return named(service, hold.summary(service, placed))


def _whole(service: ServiceDep, case: str) -> str:
    """Of a case that is in the lists a beginning will do; others have to be whole."""
    return case if service.log.head(case) is not None else find(service, case)


@router.get("/{hold_id}")
async def show(service: ServiceDep, caller: CallerDep, hold_id: str) -> dict[str, Any]:
    """One hold, with what its sections say."""
    permit.require_one(service, caller, "hold", "audit")
    found = hold.summary(service, hold.find(service, hold_id))
    await reading.note(service, caller, "holds", about=found["hold"], count=1)
    return named(service, found)


@router.post("/{hold_id}/release")
async def ask_release(
    service: ServiceDep, caller: CallerDep, hold_id: str, body: Reason
) -> dict[str, Any]:
    """Say that it is needed no more. It holds until somebody else confirms that."""
    asked = await hold.ask_release(service, caller, hold_id, body.reason)
    return named(service, hold.summary(service, asked))


@router.post("/{hold_id}/confirmation")
async def confirm(
    service: ServiceDep, caller: CallerDep, hold_id: str, body: Confirmation
) -> dict[str, Any]:
    """Confirm a release that somebody else asked for: it holds no more."""
    released = await hold.release(service, caller, hold_id, body.note)
    return named(service, hold.summary(service, released))
