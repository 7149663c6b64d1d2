"""`/v1/drift`: what a target has that the log does not say, and the other way round."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from muniment.interfaces.http.cases import Body, find, named
from muniment.interfaces.http.context import CallerDep, ServiceDep
from muniment.operations import drift, drift_told, permit, reading
from muniment.operations.order_removal import order_removal, single_out

router = APIRouter(prefix="/v1/drift", tags=["drift"])

_Resource = Annotated[str, Query(max_length=128)]
_Account = Annotated[str, Field(min_length=1, max_length=256)]


class Singled(Body):
    #: as the target names it
    account: _Account


class RemovalAsk(Body):
    #: as the target names it
    account: _Account
    #: about this account, and acknowledged or assigned by somebody else
    finding: str = Field(max_length=64)
    reason: str = Field(max_length=4000)


@router.get("")
async def look(
    service: ServiceDep, caller: CallerDep, resource: _Resource | None = None
) -> dict[str, Any]:
    """Of each resource its newest scan: when it was, what differs, and what is to be removed."""
    permit.require(service, caller, "read")
    await reading.note(service, caller, "drift", query={"resource": resource})
    return named(service, await asyncio.to_thread(drift_told.overview, service, resource))


@router.get("/unproven")
async def unproven(service: ServiceDep, caller: CallerDep) -> dict[str, Any]:
    """Access that is over and was not yet seen gone, the oldest first, each with its age."""
    permit.require(service, caller, "read")
    found = await asyncio.to_thread(drift_told.unproven, service)
    await reading.note(service, caller, "overdue", count=len(found))
    return named(service, {"cases": found})


@router.post("/{resource}")
async def scan(service: ServiceDep, caller: CallerDep, resource: str) -> dict[str, Any]:
    """Look at the target now, record it, and raise what differs. Nothing is taken away."""
    drift.check_may_look(service, caller)
    done = await drift.scan(service, resource)
    told = await asyncio.to_thread(drift_told.overview, service, resource)
    return named(service, {**told, "removed": list(done.removed)})


@router.post("/{resource}/finding")
async def make_finding(
    service: ServiceDep, caller: CallerDep, resource: str, body: Singled
) -> dict[str, Any]:
    """Of an account that the newest scan saw, so that it can be answered by itself."""
    return {"finding": await single_out(service, caller, resource, body.account)}


@router.post("/{resource}/removals")
async def remove(
    service: ServiceDep, caller: CallerDep, resource: str, body: RemovalAsk
) -> dict[str, Any]:
    """
    Say that an account is to go, after somebody else has looked. Nothing is done by it.

    `statements` are for an administrator of the target; the next scan says whether it is gone.
    """
    ordered = await order_removal(
        service, caller, resource, body.account, find(service, body.finding), body.reason
    )
    return {"removal": ordered.case, "statements": list(ordered.statements)}
