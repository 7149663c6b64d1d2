"""`POST /access/v1/requests`: one resource and action, or several items in one batch."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Request, Response

from muniment.errors import Conflict, Malformed, NotFound, NotPermitted
from muniment.interfaces.http.authzen import chain, denial, structure, tasks
from muniment.interfaces.http.authzen.evaluation import asked
from muniment.interfaces.http.authzen.messages import (
    AccessRequest,
    Action,
    Client,
    Denial,
    RequestedAccess,
    Resource,
)
from muniment.interfaces.http.authzen.profile import POLL_SECONDS, base_url, problem
from muniment.interfaces.http.context import CallerDep, ServiceDep
from muniment.interfaces.http.problems import ProfileProblem
from muniment.operations import batch, callback, evaluate, request, request_together
from muniment.operations.request import AccessAsk, IdempotencyKey, Submission
from muniment.operations.request_together import Item
from muniment.operations.service import Caller, Service, content

router = APIRouter()
MAX_KEY = 200


@router.post("/access/v1/requests")
async def submit(
    service: ServiceDep,
    caller: CallerDep,
    http: Request,
    body: AccessRequest,
    idempotency_key: Annotated[str | None, Header(max_length=MAX_KEY)] = None,
) -> Response:
    """Recorded with its decision, whatever that is: 201 when it is decided already, 202 if not."""
    _check_subject(service, caller, body.subject.id)
    if body.client is not None and body.client.actor is not None:
        chain.check(service, caller, body.client.actor, base_url(http))
    if body.callback is not None:
        await _check_callback(service, caller, body)
    key = _key(idempotency_key, body)
    try:
        if body.items is not None:
            answer = await _several(service, caller, http, body, key)
        else:
            answer = await _one(service, caller, http, body, key)
    except Conflict as error:
        raise problem("duplicate_request", str(error)) from error
    except NotFound as error:
        raise problem("not_requestable", str(error)) from error
    except ProfileProblem:
        # a retry finds what it had asked for, also when its denial is too old by now, or used
        answer = await _before(service, caller, http, key)
        if not answer:
            raise
    pending = answer["task"]["status"] == "pending"
    headers = {"Location": answer["task"]["status_endpoint"]}
    if pending:
        headers["Retry-After"] = str(POLL_SECONDS)
    # the hot route: written at once, past the framework's encoder
    return Response(
        orjson.dumps(answer),
        status_code=202 if pending else 201,
        headers=headers,
        media_type="application/json",
    )


async def _one(
    service: Service,
    caller: Caller,
    http: Request,
    body: AccessRequest,
    key: IdempotencyKey | None,
) -> dict[str, Any]:
    if body.resource is None or body.action is None:
        raise Malformed("`resource` and `action` are required")
    came = _came(service, caller, http, body, body.resource, body.action, body.denial)
    ask = _with_access(
        service, asked(body.resource, body.action, body.context), body.requested_access
    )
    done = await request.request(service, caller, ask, key, came)
    return tasks.task(service, [done.case], base_url(http), done.decision)


async def _several(
    service: Service,
    caller: Caller,
    http: Request,
    body: AccessRequest,
    key: IdempotencyKey | None,
) -> dict[str, Any]:
    items = []
    for each in body.items or ():
        shown = each.denial or body.denial
        wanted = {**body.requested_access.sent()}
        if each.requested_access is not None:
            wanted |= each.requested_access.sent()
        ask = asked(each.resource, each.action, body.context)
        came = _came(service, caller, http, body, each.resource, each.action, shown)
        ask = _with_access(service, ask, RequestedAccess.model_validate(wanted))
        items.append(Item(ask=ask, came=came))
    tokens = [item.came.token for item in items if item.came.token]
    if len(set(tokens)) < len(tokens):
        raise problem("invalid_denial_binding", "a binding token is good for one item only")
    done = await request_together.request_together(service, caller, items, key)
    return tasks.task(service, done.cases, base_url(http))


async def _before(
    service: Service, caller: Caller, http: Request, key: IdempotencyKey | None
) -> dict[str, Any]:
    """What was answered under this key; empty if nothing was."""
    first = None if key is None else await request.answered(service, caller, "request", key)
    if first is None:
        return {}
    return tasks.task(service, batch.cases_of(service, first), base_url(http))


# --- from a body to what is asked for ---------------------------------------------------------


def _check_subject(service: Service, caller: Caller, id: str) -> None:
    """A request is an act: everybody asks for himself, with a credential of his own."""
    subject = evaluate.subject(service, caller, id)
    if subject is None or subject.id != caller.principal.id:
        raise NotPermitted("ask for access as yourself; whom you speak for has to ask himself")


async def _check_callback(service: Service, caller: Caller, body: AccessRequest) -> None:
    if body.callback is None:
        return
    if unknown := set(body.callback.events) - set(callback.EVENTS):
        raise Malformed(f"`callback.events`: there is no event `{min(unknown)}`")
    await callback.check_callback(service, caller, body.callback.endpoint)


def _came(
    service: Service,
    caller: Caller,
    http: Request,
    body: AccessRequest,
    resource: Resource,
    action: Action,
    shown: Denial | None,
) -> Submission:
    """The denial behind it, and what else is kept. Raises the profile's problems for a bad one."""
    what = denial.bound(body.subject, resource, action, body.context)
    found = denial.check(service, caller, http, shown, what)
    sections = {}
    kept: dict[str, Any] = {}
    if body.client is not None:
        kept["client"] = _plain(body.client)
    if body.items is not None:
        kept["item"] = structure.encode({"resource": what["resource"], "action": what["action"]})
        kept["item"] = kept["item"].decode()
    if kept:
        sections["submission"] = content(kept)
    if body.callback is not None:
        wanted = {
            "endpoint": body.callback.endpoint,
            "events": sorted(set(body.callback.events)),
            "task": f"{base_url(http)}/access/v1/requests",
        }
        if body.callback.state is not None:
            wanted["state"] = body.callback.state
        sections["callback"] = content(wanted)
    return Submission(evaluation=found.evaluation, token=found.token, sections=sections)


def _plain(client: Client) -> str:
    """As text: its chain may hold numbers and names that our canonical form does not."""
    return structure.encode(client.sent()).decode()


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
    if key is None:
        return None
    asked_for = body.model_dump(
        mode="json", exclude={"denial": True, "items": {"__all__": {"denial"}}}
    )
    return IdempotencyKey(key=key, body=structure.encode(asked_for))
