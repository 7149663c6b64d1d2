"""`/access/v1/evaluation` and `/access/v1/evaluations`: is access there now?"""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from muniment.access.registry import Principal
from muniment.errors import Malformed, NotFound, Refused
from muniment.interfaces.http.authzen import denial
from muniment.interfaces.http.authzen.approval import approval, is_ours
from muniment.interfaces.http.authzen.messages import (
    Action,
    Context,
    Evaluation,
    Evaluations,
    Resource,
)
from muniment.interfaces.http.authzen.profile import POLL_SECONDS
from muniment.interfaces.http.cases import decided
from muniment.interfaces.http.context import CallerDep, ServiceDep
from muniment.operations import evaluate, preview
from muniment.operations.facts import Reason
from muniment.operations.request import AccessAsk
from muniment.operations.service import Caller, Service

router = APIRouter()
#: why access is not there, as far as the policy's outlook says it
_REASONS = {
    "deny": "policy_denied",
    "needs_approvals": "approval_required",
    "auto_approve": "request_required",
    "break_glass": "request_required",
}
#: ARAP section 12: what to do about an approval that did not help
_NEXT = {
    "approval_expired": "request",
    "out_of_scope": "request",
    "grant_pending": "retry",
    "policy_denied": "none",
    "approval_unverifiable": "none",
}
#: the semantics that stop early, and at which decision
_STOPS = {"deny_on_first_deny": False, "permit_on_first_permit": True}


@router.post("/access/v1/evaluation")
async def evaluate_one(
    service: ServiceDep, caller: CallerDep, http: Request, body: Evaluation
) -> dict[str, Any]:
    """Is access there now? If not, how to ask for it, and what the policy would say."""
    return decide(service, caller, http, body)


@router.post("/access/v1/evaluations")
async def evaluate_several(
    service: ServiceDep, caller: CallerDep, http: Request, body: Evaluations
) -> dict[str, Any]:
    """Several evaluations in one message, all or up to the first denial or permission."""
    defaults = {
        name: value
        for name in ("subject", "resource", "action", "context")
        if (value := getattr(body, name)) is not None
    }
    if not body.evaluations:
        return decide(service, caller, http, _evaluation(defaults))
    answers: list[dict[str, Any]] = []
    for item in body.evaluations:
        answers.append(_decide_item(service, caller, http, {**defaults, **item}))
        if answers[-1]["decision"] is _STOPS.get(body.options.evaluations_semantic):
            break
        await asyncio.sleep(0)  # others are waiting, too
    return {"evaluations": answers}


def _evaluation(value: dict[str, Any]) -> Evaluation:
    try:
        return Evaluation.model_validate(value)
    except ValidationError as error:
        lines = [{**trouble, "loc": ("body", *trouble["loc"])} for trouble in error.errors()]
        raise RequestValidationError(lines) from error


def _decide_item(
    service: Service, caller: Caller, http: Request, value: dict[str, Any]
) -> dict[str, Any]:
    """AuthZEN section 7.2.1: an error in one evaluation denies this one and no other."""
    try:
        return decide(service, caller, http, _evaluation(value))
    except (RequestValidationError, Malformed):
        return _error(400, "this is no evaluation: a member is missing, or not of its type")
    except Refused as error:
        return _error(403, str(error))


def _error(status: int, message: str) -> dict[str, Any]:
    return {"decision": False, "context": {"error": {"status": status, "message": message}}}


def decide(service: Service, caller: Caller, http: Request, body: Evaluation) -> dict[str, Any]:
    """A decision with its context. Raises `NotPermitted` without the right to ask about others."""
    principal = evaluate.subject(service, caller, body.subject.id)
    if principal is None:
        return _no("not_requestable", detail="nobody knows this subject")
    resource, role, shown = body.resource.id, body.action.name, body.context.approval
    if shown is None:
        access = evaluate.evaluate(service, principal, resource, role)
    elif is_ours(http, shown, principal):
        access = evaluate.evaluate_approval(service, principal, shown.id, resource, role)
    else:
        access = evaluate.Access(granted=False, reason="approval_unverifiable")
    if access.granted and access.case is not None:
        return {"decision": True, "context": {"approval": approval(access.case)}}
    if shown is None:
        return _requestable(service, caller, http, principal, body)
    next_action = _NEXT[access.reason]
    if next_action == "request":
        return _again(_requestable(service, caller, http, principal, body), access.reason)
    wait = {"retry_after": POLL_SECONDS} if next_action == "retry" else {}
    return _no(access.reason, next_action=next_action, **wait)


def _requestable(
    service: Service, caller: Caller, http: Request, principal: Principal, body: Evaluation
) -> dict[str, Any]:
    """A denial that can be turned into a request, if the role is there to be asked for."""
    ask = asked(body.resource, body.action, body.context)
    try:
        # how somebody else would sign in is not known
        signed_in = caller.sign_in if principal.id == caller.principal.id else None
        outlook = preview.foresee(service, principal, ask, signed_in)
    except NotFound as error:
        return _no("not_requestable", detail=str(error))
    what = denial.bound(body.subject, body.resource, body.action, body.context)
    how = denial.requestable(http, principal, what, service.now())
    return _no(_REASONS[outlook.outcome], outlook=decided(outlook), **how)


def _again(denied: dict[str, Any], reason: str) -> dict[str, Any]:
    """ARAP section 12: whoever is told to request is given what a request needs."""
    context = denied["context"]
    next_action = "request" if "access_request" in context else "none"
    return {**denied, "context": {**context, "reason": reason, "next_action": next_action}}


def _no(reason: str, **context: Any) -> dict[str, Any]:
    return {"decision": False, "context": {"reason": reason, **context}}


def asked(resource: Resource, action: Action, context: Context) -> AccessAsk:
    """Raises `Malformed` for what cannot be asked for."""
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
