"""The log about itself: silence made visible, and an operator who vouches for a clock."""

from muniment.access import records
from muniment.errors import MunimentError
from muniment.evidence.append import Outcome
from muniment.operations import permit
from muniment.operations.service import Caller, Service


async def beat(service: Service) -> None:
    """`log:heartbeat`, with what was answered without a record since the last one."""
    counted, service.unrecorded = service.unrecorded, {}
    try:
        await _append(service, counted)
    except MunimentError:
        for reason, count in counted.items():
            service.unrecorded[reason] = service.unrecorded.get(reason, 0) + count
        raise


async def _append(service: Service, counted: dict[str, int]) -> None:
    record = records.LogHeartbeat(actor=records.SERVICE, unrecorded=dict(sorted(counted.items())))
    draft = record.draft(service.registry.log_case, service.now())
    await service.append(Outcome(case=draft.case, build=lambda _: ((draft,), lambda _: ())))


async def accept_clock(service: Service, caller: Caller) -> int:
    """`clock:stepped`: an operator vouches for the wall clock; returns the step in milliseconds."""
    permit.require(service, caller, "configure")
    clock = service.log.clock
    milliseconds = int((clock.now() - clock.due()).total_seconds() * 1000)
    record = records.ClockStepped(actor=service.actor(caller), step_ms=milliseconds)
    draft = record.draft(service.registry.log_case, service.now())
    await service.append(Outcome(case=draft.case, build=lambda _: ((draft,), lambda _: ())))
    # not before it stands: what is not recorded nobody has vouched for
    clock.accept()
    return milliseconds
