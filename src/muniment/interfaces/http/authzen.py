"""
OpenID AuthZEN Authorization API 1.0 and its Access Request and Approval Profile, draft 1.

The parts that one request on one resource needs. Unknown fields are ignored, as the texts say.
Our mapping: `resource.id` is the resource, `action.name` the role, `subject` the caller.
"""

from datetime import datetime, timedelta
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from muniment.access.case import AccessCase
from muniment.errors import Conflict, Malformed, NotFound
from muniment.evidence import moment
from muniment.interfaces.http.binding import Binding
from muniment.interfaces.http.cases import bind, decided, find, named
from muniment.interfaces.http.context import CallerDep, ServiceDep, get_caller, get_service
from muniment.interfaces.http.problems import ProfileProblem
from muniment.operations import explain, permit, preview, request, withdraw
from muniment.operations.facts import Reason
from muniment.operations.request import AccessAsk, IdempotencyKey
from muniment.operations.service import Caller, Service

DRAFT = "2026-06-11"
_PROBLEM = "urn:openid:authzen:access-request:error:"
_PROBLEMS = {
    "not_requestable": 400,
    "expired_denial": 410,
    "invalid_denial_binding": 400,
    "duplicate_request": 409,
    "unknown_task": 404,
    "task_expired": 410,
    "invalid_task_state": 409,
}
#: how long a denial may be turned into a request
FRESH = timedelta(minutes=15)
#: case states to the profile's task states
TASK = {
    "pending": "pending",
    "denied": "denied",
    "refused": "denied",
    "withdrawn": "cancelled",
    "lapsed": "expired",
}
POLL_SECONDS = 2
MAX_KEY = 200

router = APIRouter(tags=["AuthZEN"])


class Lenient(BaseModel):
    """AuthZEN: unknown members are ignored."""

    model_config = ConfigDict(extra="ignore")


class Subject(Lenient):
    type: str = Field(max_length=64)
    id: str = Field(max_length=128)


class Resource(Lenient):
    type: str = Field(max_length=64)
    id: str = Field(max_length=64)


class Action(Lenient):
    name: str = Field(max_length=64)


class Context(Lenient):
    """What authorisation depends on, and what only people read."""

    seconds: int = Field(default=1800, gt=0, le=366 * 86_400)
    ticket: str = Field(default="", max_length=64)
    incident: str = Field(default="", max_length=64)
    emergency: bool = False
    business_justification: str = Field(default="", max_length=4000)
    approval: "Approval | None" = None


class Approval(Lenient):
    id: str = Field(max_length=128)


class Evaluation(Lenient):
    subject: Subject
    resource: Resource
    action: Action
    context: Context = Context()


class RequestedAccess(Lenient):
    requested_until: datetime | None = None
    emergency: bool = False


class Denial(Lenient):
    evaluation_id: str = Field(default="", max_length=4000)
    binding_token: str = Field(default="", max_length=4000)
    expires_at: datetime


class AccessRequest(Lenient):
    subject: Subject
    resource: Resource | None = None
    action: Action | None = None
    items: list[Any] | None = None
    context: Context = Context()
    requested_access: RequestedAccess = RequestedAccess()
    denial: Denial | None = None


class Cancellation(Lenient):
    reason: str = Field(default="", max_length=64)
    comment: str = Field(default="", max_length=4000)


@router.get("/.well-known/authzen-configuration")
async def metadata(http: Request) -> dict[str, Any]:
    base = base_url(http)
    return {
        "policy_decision_point": base,
        "access_evaluation_endpoint": f"{base}/access/v1/evaluation",
        "access_request_endpoint": f"{base}/access/v1/requests",
        "capabilities": ["urn:openid:authzen:capability:access-request"],
        "access_request_profile_draft": DRAFT,
    }


@router.post("/access/v1/evaluation")
async def evaluate(
    service: ServiceDep, caller: CallerDep, http: Request, body: Evaluation
) -> dict[str, Any]:
    """Is access there now? If not, how to ask for it, and what the policy would say."""
    caller = _subject(service, caller, body.subject)
    now, ask = service.now(), _ask(body.resource, body.action, body.context)
    if body.context.approval is not None:
        return _evaluate_approved(service, caller, body)
    try:
        seen = preview.preview(service, caller, ask)
    except NotFound as error:
        return {"decision": False, "context": {"reason": "not_requestable", "detail": str(error)}}
    expires = now + FRESH
    token = _binding(http).seal(_bound(caller, body), expires)
    return {
        "decision": False,
        "context": {
            "evaluation_id": token,
            "evaluated_at": moment.text(now),
            "reason": "approval_required",
            "outlook": decided(seen.decision),
            "access_request": {
                "endpoint": f"{base_url(http)}/access/v1/requests",
                "expires_at": moment.text(expires),
            },
        },
    }


@router.post("/access/v1/requests")
async def submit(
    service: ServiceDep,
    caller: CallerDep,
    http: Request,
    body: AccessRequest,
    idempotency_key: Annotated[str | None, Header(max_length=MAX_KEY)] = None,
) -> Response:
    """Recorded with its decision, whatever that is: 201 when it is decided already, 202 if not."""
    caller = _subject(service, caller, body.subject)
    if body.resource is None or body.action is None or body.items is not None:
        raise _profile("not_requestable", "this service takes one resource and action a request")
    evaluation = Evaluation(
        subject=body.subject, resource=body.resource, action=body.action, context=body.context
    )
    _check_denial(service, caller, http, body.denial, evaluation)
    key = _key(idempotency_key, body)
    ask = _ask(body.resource, body.action, body.context)
    ask = _with_access(service, ask, body.requested_access)
    try:
        asked = await request.request(service, caller, ask, key)
    except Conflict as error:
        raise _profile("duplicate_request", str(error)) from error
    except NotFound as error:
        raise _profile("not_requestable", str(error)) from error
    answer = task(service, asked.case, base_url(http))
    if asked.decision is not None:
        answer["task"]["decision"] = decided(asked.decision)
    # the hot route: written at once, past the framework's encoder
    return Response(
        orjson.dumps(answer),
        status_code=202 if asked.case.state == "pending" else 201,
        headers={"Location": answer["task"]["status_endpoint"]},
        media_type="application/json",
    )


async def submit_directly(http: Request) -> Response:
    """
    The hot route: `submit` as a plain Starlette route, past the framework's dependency injection.

    `submit` itself stays registered, for the OpenAPI document.
    """
    caller = await get_caller(http)
    key = http.headers.get("idempotency-key")
    if key is not None and len(key) > MAX_KEY:
        raise Malformed(f"an Idempotency-Key has at most {MAX_KEY} characters")
    try:
        body = AccessRequest.model_validate_json(await http.body())
    except ValidationError as error:
        lines = [{**trouble, "loc": ("body", *trouble["loc"])} for trouble in error.errors()]
        raise RequestValidationError(lines) from error
    return await submit(await get_service(http), caller, http, body, key)


@router.get("/access/v1/requests/{case_id}")
async def poll(
    service: ServiceDep, caller: CallerDep, http: Request, response: Response, case_id: str
) -> dict[str, Any]:
    case = _own_case(service, caller, case_id)
    if case.state == "pending":
        response.headers["Retry-After"] = str(POLL_SECONDS)
    return task(service, case, base_url(http))


@router.post("/access/v1/requests/{case_id}/cancel")
async def cancel(
    service: ServiceDep,
    caller: CallerDep,
    http: Request,
    case_id: str,
    _body: Cancellation | None = None,
) -> dict[str, Any]:
    own = _own_case(service, caller, case_id)
    try:
        case = await withdraw.withdraw(service, caller, own.id)
    except Conflict as error:
        raise _profile("invalid_task_state", str(error)) from error
    return task(service, case, base_url(http))


# --- from a case to a task --------------------------------------------------------------------


def task(service: Service, case: AccessCase, base: str) -> dict[str, Any]:
    """The profile's task object for a case, and its result once it is approved."""
    status = TASK.get(case.state, "approved")
    here = f"{base}/access/v1/requests/{case.id}"
    handle: dict[str, Any] = {"id": case.id, "status": status, "status_endpoint": here}
    if case.state in ("pending", "approved") and case.ask is not None and case.ask.deadline:
        handle["expires_at"] = moment.text(case.ask.deadline)
    if case.state in withdraw.WITHDRAWABLE:
        handle["links"] = {"cancel": f"{here}/cancel"}
    if status == "pending":
        handle["progress"] = {
            "total_steps": sum((case.current.required or {}).values()),
            "current_step": len(case.current.approvals) + 1,
            "awaiting": explain.asked_to_approve(service, case),
        }
    handle["case"] = {"state": case.state, "waits_for": case.waits_for}
    answer: dict[str, Any] = {"task": handle}
    if status == "approved":
        answer["result"] = {"mode": "reevaluate", "approval": _approval(case)}
    return named(service, answer)


def _approval(case: AccessCase) -> dict[str, Any]:
    ends = case.until or (case.ask.deadline if case.ask is not None else None)
    return {"id": case.id, "approved_until": moment.text(ends) if ends is not None else None}


def _evaluate_approved(service: Service, caller: Caller, body: Evaluation) -> dict[str, Any]:
    """Re-evaluation: true only while a live grant of this subject, resource and role stands."""
    approval = body.context.approval
    try:
        case, _ = service.read(approval.id if approval is not None else "")
    except NotFound:
        return _no("approval_unverifiable", "none")
    wanted = (caller.principal.id, body.resource.id, body.action.name)
    asked = case.requested
    if (asked.requester, asked.resource, asked.role) != wanted:
        return _no("approval_unverifiable", "none")
    if case.state == "approved":
        return {**_no("grant_pending", "retry"), "retry_after": POLL_SECONDS}
    live = case.state == "issued" and case.until is not None and service.now() < case.until
    if not live:
        return _no("approval_expired", "none")
    return {"decision": True, "context": {"approval": _approval(case)}}


def _no(reason: str, action: str) -> dict[str, Any]:
    return {"decision": False, "context": {"reason": reason, "next_action": action}}


# --- from a body to an ask --------------------------------------------------------------------


def _subject(service: Service, caller: Caller, subject: Subject) -> Caller:
    """The subject is the caller, unless the caller may ask about others."""
    if subject.id in (caller.principal.id, _login(service, caller)):
        return caller
    permit.require(service, caller, "evaluate")
    raise NotFound("asking on behalf of somebody else is not offered yet; ask as yourself")


def _login(service: Service, caller: Caller) -> str | None:
    identity = service.identity(caller.principal.id)
    return identity["login"] if identity is not None else None


def _ask(resource: Resource, action: Action, context: Context) -> AccessAsk:
    return AccessAsk(
        resource=resource.id,
        role=action.name,
        seconds=context.seconds,
        reason=Reason(
            text=context.business_justification,
            ticket=context.ticket,
            incident=context.incident,
        ),
        emergency=context.emergency,
    )


def _with_access(service: Service, ask: AccessAsk, wanted: RequestedAccess) -> AccessAsk:
    seconds = ask.seconds
    if wanted.requested_until is not None:
        if wanted.requested_until.tzinfo is None:
            raise Malformed("`requested_until` lacks its time zone")
        seconds = int((wanted.requested_until - service.now()).total_seconds())
        if seconds <= 0:
            raise Malformed("`requested_until` is in the past")
    return AccessAsk(
        resource=ask.resource,
        role=ask.role,
        seconds=seconds,
        reason=ask.reason,
        emergency=ask.emergency or wanted.emergency,
    )


def _key(key: str | None, body: AccessRequest) -> IdempotencyKey | None:
    """Bound to what is asked: the denial that led here may be a fresh one."""
    return bind(key, body.model_dump(mode="json", exclude={"denial"}))


def _own_case(service: Service, caller: Caller, case_id: str) -> AccessCase:
    try:
        case, _ = service.read(find(service, case_id))
        permit.require(service, caller, "read", case)
    except NotFound as error:
        raise _profile("unknown_task", str(error)) from error
    return case


# --- the denial that a request is bound to ----------------------------------------------------


def _binding(http: Request) -> Binding:
    binding: Binding = http.app.state.binding
    return binding


def _bound(caller: Caller, body: Evaluation) -> dict[str, Any]:
    """What authorisation depends on: a request must be about the same."""
    return {
        "principal": caller.principal.id,
        "resource": body.resource.id,
        "action": body.action.name,
        "seconds": body.context.seconds,
        "ticket": body.context.ticket,
        "incident": body.context.incident,
        "emergency": body.context.emergency,
    }


def _check_denial(
    service: Service, caller: Caller, http: Request, denial: Denial | None, body: Evaluation
) -> None:
    if denial is None or not (denial.evaluation_id or denial.binding_token):
        raise _profile("invalid_denial_binding", "evaluate first, and send what the denial said")
    opened = _binding(http).open(denial.evaluation_id or denial.binding_token)
    if opened is None or opened[0] != _bound(caller, body):
        raise _profile("invalid_denial_binding", "the denial is about something else")
    if service.now() > opened[1]:
        raise _profile("expired_denial", "the denial is too old; evaluate again")


def _profile(name: str, detail: str) -> ProfileProblem:
    return ProfileProblem(_PROBLEM + name, _PROBLEMS[name], detail)


def base_url(http: Request) -> str:
    configured = http.app.state.opened.settings.server.public_url
    return (configured or str(http.base_url)).rstrip("/")
