"""From a case, or a batch of them, to the profile's task; poll and cancel."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from muniment.access.case import AccessCase
from muniment.errors import Conflict, NotFound
from muniment.evidence import moment
from muniment.interfaces.http.authzen.approval import approval, signed
from muniment.interfaces.http.authzen.messages import Cancellation
from muniment.interfaces.http.authzen.profile import POLL_SECONDS, base_url, problem
from muniment.interfaces.http.cases import decided, named
from muniment.interfaces.http.context import CallerDep, ServiceDep
from muniment.operations import batch, callback, explain, permit, withdraw
from muniment.operations.service import Caller, Service
from muniment.policy.decide import Decision

router = APIRouter(prefix="/access/v1/requests")
#: ARAP section 15.2: members of our own are named by URN, and stand where members may be added
CASE, DECISION, NAMES = "urn:muniment:case", "urn:muniment:decision", "urn:muniment:names"


@router.get("/{case_id}")
async def poll(
    service: ServiceDep, caller: CallerDep, http: Request, response: Response, case_id: str
) -> dict[str, Any]:
    """How far a request has come, for whoever may read it; `Retry-After` while it waits."""
    cases = _readable(service, caller, case_id)
    answer = task(service, cases, base_url(http))
    if answer["task"]["status"] == "pending":
        response.headers["Retry-After"] = str(POLL_SECONDS)
    return with_states(http, cases, answer)


@router.post("/{case_id}/cancel")
async def cancel(
    service: ServiceDep,
    caller: CallerDep,
    http: Request,
    case_id: str,
    _body: Cancellation | None = None,
) -> dict[str, Any]:
    """Withdraw what is still pending; what was decided stays as it is."""
    cases = _readable(service, caller, case_id)
    pending = [case for case in cases if batch.status(case) == "pending"]
    if not pending:
        raise problem("invalid_task_state", "the request was decided; there is nothing to cancel")
    for case in pending:
        permit.require(service, caller, "withdraw", case)
    for case in pending:
        try:
            await withdraw.withdraw(service, caller, case.id)
        except Conflict as error:
            if len(cases) == 1:
                raise problem("invalid_task_state", str(error)) from error
    return task(service, _readable(service, caller, case_id), base_url(http))


def _readable(service: Service, caller: Caller, task_id: str) -> list[AccessCase]:
    """The cases behind a handle, each of which the caller may read."""
    try:
        cases = batch.cases_of(service, task_id)
        for case in cases:
            permit.require(service, caller, "read", case)
    except NotFound as error:
        raise problem("unknown_task", "there is no such task that you may see") from error
    return cases


def task(
    service: Service, cases: Sequence[AccessCase], base: str, decision: Decision | None = None
) -> dict[str, Any]:
    """The profile's task object, and its result once it is approved."""
    request = cases[0].requested
    here = f"{base}/access/v1/requests/{request.batch or cases[0].id}"
    status = batch.together([batch.status(case) for case in cases])
    handle: dict[str, Any] = {
        "id": request.batch or cases[0].id,
        "status": status,
        "status_endpoint": here,
    }
    if status == "pending":
        handle["links"] = {"cancel": f"{here}/cancel"}
        handle["progress"] = _progress(service, cases)
    answer: dict[str, Any] = {"task": handle}
    if request.batch:
        handle["items"] = [_item(service, case) for case in cases]
    elif status == "approved":
        answer["result"] = _result(cases[0])
    handle["display"] = _display(service, cases, answer, decision)
    return answer


def with_states(
    http: Request, cases: Sequence[AccessCase], answer: dict[str, Any]
) -> dict[str, Any]:
    """Each approval with a state that can be checked without asking the log."""
    results = [answer, *answer["task"].get("items", ())]
    by_id = {case.id: case for case in cases}
    for each in results:
        if "result" in each:
            case = by_id[each["result"]["approval"]["id"]]
            each["result"] = {**each["result"], "approval": signed(http, case)}
    return answer


def _result(case: AccessCase) -> dict[str, Any]:
    return {"mode": "reevaluate", "approval": approval(case)}


def _item(service: Service, case: AccessCase) -> dict[str, Any]:
    status = batch.status(case)
    told = {**callback.item(service, case), "status": status}
    return {**told, "result": _result(case)} if status == "approved" else told


def _progress(service: Service, cases: Sequence[AccessCase]) -> dict[str, Any]:
    """Approvals that were given and are still to come, over all items."""
    pending = [case for case in cases if batch.status(case) == "pending"]
    awaiting = {id_ for case in pending for id_ in explain.asked_to_approve(service, case)}
    return {
        "total_steps": sum(sum((case.current.required or {}).values()) for case in pending),
        "current_step": sum(len(case.current.approvals) for case in pending) + 1,
        "awaiting": sorted(awaiting),
    }


def _display(
    service: Service, cases: Sequence[AccessCase], answer: dict[str, Any], decision: Decision | None
) -> dict[str, Any]:
    """What is ours to say: how each case stands, what the policy said, and the names behind ids."""
    shown: dict[str, Any] = {CASE: [_case(case) for case in cases]}
    if decision is not None:
        shown[DECISION] = decided(decision)
    shown[NAMES] = named(service, {**answer, **shown})["names"]
    return shown


def _case(case: AccessCase) -> dict[str, Any]:
    deadline = case.ask.deadline if case.ask is not None else None
    return {
        "case": case.id,
        "state": case.state,
        "waits_for": case.waits_for,
        "deadline": None if deadline is None else moment.text(deadline),
    }
