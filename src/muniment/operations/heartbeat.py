"""The log about itself: silence made visible, and an operator who vouches for a clock."""

from muniment.access import records
from muniment.evidence.append import Outcome
from muniment.operations import permit
from muniment.operations.service import Caller, Service


async def beat(service: Service) -> None:
    """`log:heartbeat`, with what was answered without a record since the last one."""
    counted, service.unrecorded = service.unrecorded, {}
    record = records.LogHeartbeat(actor=records.SERVICE, unrecorded=dict(sorted(counted.items())))
    draft = record.draft(service.registry.log_case, service.now())
    await service.append(Outcome(case=draft.case, build=lambda _: ((draft,), lambda _: ())))


async def accept_clock(service: Service, caller: Caller) -> int:
    """`clock:stepped`: an operator vouches for the wall clock; returns the step in milliseconds."""
    permit.require(service, caller, "configure")
    step = service.log.clock.accept()
    milliseconds = int(step.total_seconds() * 1000)
    record = records.ClockStepped(actor=service.actor(caller), step_ms=milliseconds)
    draft = record.draft(service.registry.log_case, service.now())
    await service.append(Outcome(case=draft.case, build=lambda _: ((draft,), lambda _: ())))
    return milliseconds
