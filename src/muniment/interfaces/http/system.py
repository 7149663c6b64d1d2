"""Health, metrics, who am I, what can be asked for; reload and the clock."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from muniment import __version__
from muniment.interfaces.http.cases import named
from muniment.interfaces.http.context import CallerDep, ServiceDep, get_opened
from muniment.interfaces.http.sign_in import described
from muniment.operations import explain, forward, heartbeat, permit, publish, sweep, watched
from muniment.runtime import wiring

router = APIRouter(tags=["system"])
#: what every node answers, a mere worker too
health = APIRouter(tags=["system"])


@health.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok", "version": __version__}


@health.get(
    "/readyz", responses={503: {"description": "nothing can be granted; `troubles` says why"}}
)
async def readyz(service: ServiceDep) -> JSONResponse:
    """Access can be granted: log, clock and disk allow it, and this node's files are in force."""
    troubles = service.troubles()
    return JSONResponse(
        {"ready": not troubles, "troubles": troubles}, status_code=503 if troubles else 200
    )


@health.get("/metrics", response_class=PlainTextResponse)
async def metrics(service: ServiceDep, request: Request) -> Response:
    """Prometheus text. Counts only: nothing about anybody."""
    overseeing = get_opened(request).overseeing
    lines = [
        "# TYPE muniment_log_size counter",
        f"muniment_log_size {service.log.size}",
        "# TYPE muniment_log_writable gauge",
        f"muniment_log_writable {int(service.log.trouble is None)}",
        "# TYPE muniment_clock_steady gauge",
        f"muniment_clock_steady {int(service.log.clock.trouble is None)}",
        "# TYPE muniment_files_in_force gauge",
        f"muniment_files_in_force {int(service.outdated is None)}",
        "# TYPE muniment_disk_free_bytes gauge",
        f"muniment_disk_free_bytes {service.free_disk()}",
        "# TYPE muniment_disk_reserve_bytes gauge",
        f"muniment_disk_reserve_bytes {service.reserve}",
        "# TYPE muniment_overdue_grants gauge",
        f"muniment_overdue_grants {len(explain.overdue(service))}",
        "# TYPE muniment_spooled_ends gauge",
        f"muniment_spooled_ends {len(service.spool.waiting())}",
        *(
            line
            for name, value in publish.gauges(service).items()
            for line in (f"# TYPE {name} gauge", f"{name} {value}")
        ),
        *forward.metrics(service),
        *await asyncio.to_thread(list, watched.metrics(service)),
        *(overseeing.sources.metrics() if overseeing is not None else ()),
        "# TYPE muniment_unrecorded_total counter",
        *(
            f'muniment_unrecorded_total{{reason="{reason}"}} {count}'
            for reason, count in sorted(service.unrecorded.items())
        ),
    ]
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


#: both of them
PARTS = (health, router)


@router.get("/v1/whoami")
async def whoami(service: ServiceDep, caller: CallerDep) -> dict[str, Any]:
    """The caller as the log knows him: principal, groups, sponsor, and how he was authenticated."""
    who = caller.principal
    return named(
        service,
        {
            "principal": who.id,
            "type": who.type,
            "groups": sorted(who.groups),
            "sponsor": who.sponsor,
            "assurance": caller.assurance,
            "session": described(caller),
        },
    )


@router.get("/v1/roles")
async def roles(service: ServiceDep, _caller: CallerDep) -> dict[str, Any]:
    """What can be asked for."""
    return {
        "roles": [
            {
                "resource": role.resource,
                "role": role.role,
                "tier": role.tier,
                "environment": role.environment,
                "data": role.data,
                "connector": role.connector,
            }
            for role in service.registry.roles.values()
            if not role.withdrawn
        ]
    }


@router.post("/v1/reload")
async def reload(service: ServiceDep, caller: CallerDep, request: Request) -> dict[str, Any]:
    """Take changed files into the log; an invalid change leaves everything as it was."""
    permit.require(service, caller, "configure")
    changes = await wiring.reload(
        get_opened(request), request.app.state.folder, service.actor(caller)
    )
    return {"changes": changes}


@router.post("/v1/clock/acceptance")
async def accept_clock(service: ServiceDep, caller: CallerDep) -> dict[str, Any]:
    """An operator vouches for a wall clock that had moved."""
    return {"step_ms": await heartbeat.accept_clock(service, caller)}


@router.post("/v1/projections/rebuild")
async def rebuild(service: ServiceDep, caller: CallerDep) -> dict[str, Any]:
    """Compare every projection with the log, drop them, build them anew."""
    permit.require(service, caller, "configure")
    wrong = await asyncio.to_thread(sweep.wrong_rows, service)
    return {"wrong": wrong, "cases": await asyncio.to_thread(sweep.rebuild, service)}
