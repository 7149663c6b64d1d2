"""`/v1/retention`: what is kept for how long, and what goes; and a person's own copy."""

from typing import Any

from fastapi import APIRouter, Response

from muniment.interfaces.http.cases import named
from muniment.interfaces.http.context import CallerDep, ServiceDep
from muniment.operations import erase_run, permit, reading, retain, subject
from muniment.operations import reach as given

router = APIRouter(prefix="/v1", tags=["retention"])


@router.get("/retention")
async def classes(service: ServiceDep, caller: CallerDep) -> dict[str, Any]:
    """The classes in force, how much each covers, and what has come to its end."""
    found = await retain.overview(service, caller)
    await reading.note(service, caller, "retention")
    return found


@router.get("/retention/plan")
async def plan(service: ServiceDep, caller: CallerDep) -> dict[str, Any]:
    """What would go at this moment, and under which rule. Nothing is recorded."""
    found = await erase_run.dry_run(service, caller)
    await reading.note(service, caller, "retention")
    return {**retain.summary(found), "lines": retain.lines(found)}


@router.get("/retention/runs")
async def runs(service: ServiceDep, caller: CallerDep) -> dict[str, Any]:
    """The newest first."""
    runs = erase_run.listed(service, caller)
    await reading.note(service, caller, "retention")
    return named(service, {"runs": runs})


@router.post("/retention/runs")
async def propose(service: ServiceDep, caller: CallerDep) -> dict[str, Any]:
    """
    Find what has come to its end and want it erased. `run` is null where nothing has.

    What has begun is carried out by the service; above the threshold it begins when somebody else
    has approved.
    """
    proposed = await erase_run.propose(service, caller)
    run = None if proposed.run is None else erase_run.summary(proposed.run)
    lines = retain.lines(proposed.plan)
    return named(service, {"plan": retain.summary(proposed.plan), "lines": lines, "run": run})


@router.get("/retention/runs/{run_id}")
async def show(service: ServiceDep, caller: CallerDep, run_id: str) -> dict[str, Any]:
    """How far a run is."""
    permit.require(service, caller, "read")
    await reading.note(service, caller, "retention")
    return named(service, erase_run.summary(erase_run.find(service, run_id)))


@router.post("/retention/runs/{run_id}/approval")
async def approve(service: ServiceDep, caller: CallerDep, run_id: str) -> dict[str, Any]:
    """Want the same: the list is found anew, and has to be the one that was proposed."""
    run = await erase_run.approve(service, caller, run_id)
    return named(service, erase_run.summary(run))


@router.get("/retention/reach/{case_id}")
async def reach(service: ServiceDep, caller: CallerDep, case_id: str) -> dict[str, Any]:
    """What was given away of a case: no erasure reaches it there."""
    return named(service, await given.reach(service, caller, case_id))


@router.post("/people/{person}/evidence")
async def own_copy(service: ServiceDep, caller: CallerDep, person: str) -> Response:
    """All that is recorded about one person, for himself or for an auditor. That is recorded."""
    taken = await subject.export(service, caller, person)
    return Response(
        taken.data,
        media_type="application/json",
        headers={
            "X-Muniment-Record": taken.record,
            "X-Muniment-Records": str(taken.records),
            "X-Muniment-Withheld": str(taken.withheld),
        },
    )
