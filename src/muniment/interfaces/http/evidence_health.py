"""`/v1/evidence/health`: what would not stand up of the evidence, and what to do about it."""

import asyncio
from typing import Any

from fastapi import APIRouter

from muniment.interfaces.http.cases import find, named
from muniment.interfaces.http.context import CallerDep, ServiceDep
from muniment.operations import health, reading

router = APIRouter(prefix="/v1/evidence/health", tags=["evidence"])


@router.get("")
async def overall(service: ServiceDep, caller: CallerDep) -> dict[str, Any]:
    """
    Every kind of weakness: how many grants have it, the newest of them, and what to do about it.

    `trend` are the daily measurements. While a long log is read for the first time the answer is
    503, and says how far that is.
    """
    told = await asyncio.to_thread(health.overall, service, caller)
    await reading.note(service, caller, "health")
    return named(service, told)


@router.get("/{case}")
async def of_grant(service: ServiceDep, caller: CallerDep, case: str) -> dict[str, Any]:
    """What would not stand up of the evidence of one access case."""
    found = find(service, case)
    told = await asyncio.to_thread(health.of_grant, service, caller, found)
    await reading.of_case(service, caller, service.read(found)[0])
    return named(service, told)
