"""Take one's own request back; and let lapse what nobody decided or picked up in time."""

from collections.abc import Sequence

from muniment.access import records
from muniment.access.case import AccessCase
from muniment.errors import Conflict
from muniment.evidence.record import Draft
from muniment.operations import permit
from muniment.operations.attempts import until_it_stands
from muniment.operations.service import Caller, Service, close

WITHDRAWABLE = ("pending", "approved")


async def withdraw(service: Service, caller: Caller, case: str) -> AccessCase:
    """Raises `Conflict` once there is a grant: that is ended, not withdrawn."""
    withdrawn: AccessCase = await until_it_stands(lambda: _withdraw(service, caller, case))
    return withdrawn


async def _withdraw(service: Service, caller: Caller, case_id: str) -> AccessCase:
    case, _ = service.read(case_id)
    permit.require(service, caller, "read", case)
    permit.require(service, caller, "withdraw", case)
    if case.state not in WITHDRAWABLE:
        raise Conflict(f"the case is {case.state}; only what waits can be withdrawn")
    if not set(service.actor(caller).persons) & set(case.requested.actor.persons):
        raise Conflict("only who asked, or answers for it, can withdraw; refuse or revoke it")
    now = service.now()
    record = records.AccessWithdrawn(actor=service.actor(caller))
    drafts = close([record.draft(case.id, now)], case.id, case.length, now)
    after, _ = await service.propose(drafts, {}, case, gives=False, urgent=True)
    return after


async def lapse(service: Service, case: str) -> None:
    """By the worker: the time for approvals, or for the pick-up, is over."""
    now = service.now()

    def build(state: AccessCase) -> Sequence[Draft]:
        waiting = state.ask.deadline if state.ask is not None else None
        if state.state not in WITHDRAWABLE or waiting is None or service.log.clock.due() < waiting:
            return ()
        lapsed = records.AccessLapsed(actor=records.SERVICE).draft(case, now)
        return close([lapsed], case, state.length, now)

    await service.conclude(case, build)
