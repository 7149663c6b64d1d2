"""A denial that can be turned into a request: made by an evaluation, shown again at submission."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import Request

from muniment.access.registry import Principal
from muniment.errors import Malformed
from muniment.evidence import moment
from muniment.interfaces.http.authzen import structure
from muniment.interfaces.http.authzen.messages import Action, Context, Denial, Resource, Subject
from muniment.interfaces.http.authzen.profile import FRESH, base_url, binding, problem
from muniment.interfaces.http.binding import BINDING
from muniment.operations import request
from muniment.operations.service import Caller, Service

#: ARAP section 4: the context that authorisation depends on; whatever else stands there does not
BOUND_CONTEXT = ("emergency", "incident", "seconds", "ticket")
#: longer than anybody's properties need; without a token the evaluation id binds alone
MAX_TOKEN = 16_000


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A denial that was found to be ours, about this very request, and fresh."""

    evaluation: str
    #: id of the binding token, if there was one: it works once
    token: str = ""


def bound(subject: Subject, resource: Resource, action: Action, context: Context) -> dict[str, Any]:
    """
    What a request must have in common with the denial that led to it.

    ARAP section 21.1.4: the actor within a subject is left out, as it may move to `client.actor`.
    """
    who = subject.sent()
    if "act" in who.get("properties", {}):
        who["properties"] = {k: v for k, v in who["properties"].items() if k != "act"}
        if not who["properties"]:
            del who["properties"]
    return {
        "subject": who,
        "resource": resource.sent(),
        "action": action.sent(),
        "context": {name: getattr(context, name) for name in BOUND_CONTEXT},
    }


def requestable(
    http: Request, principal: Principal, what: dict[str, Any], now: datetime
) -> dict[str, Any]:
    """Members of the decision's context: with these, and until then, access can be asked for."""
    here, made = base_url(http), binding(http)
    expires = (now + FRESH).replace(microsecond=0)
    evaluation = made.seal(_digest(principal, what), expires)
    token = made.sign(
        BINDING,
        {
            "iss": here,
            "aud": here,
            "sub": principal.id,
            "iat": int(now.timestamp()),
            "exp": int(expires.timestamp()),
            "jti": secrets.token_hex(16),
            "denial_expires_at": moment.text(expires),
            "evaluation_id": evaluation,
            "binding_context_members": list(BOUND_CONTEXT),
            **what,
        },
    )
    return {
        "evaluation_id": evaluation,
        "evaluated_at": moment.text(now),
        "access_request": {
            "endpoint": f"{here}/access/v1/requests",
            "expires_at": moment.text(expires),
            **({"binding_token": token} if len(token) <= MAX_TOKEN else {}),
        },
    }


def check(
    service: Service, caller: Caller, http: Request, denial: Denial | None, what: dict[str, Any]
) -> Shown:
    """Raises the profile's problems for a denial that is none, not about this, or too old."""
    if denial is None or not (denial.evaluation_id or denial.binding_token):
        raise problem("invalid_denial_binding", "evaluate first, and send what the denial said")
    if denial.expires_at.tzinfo is None:
        raise Malformed("`denial.expires_at` lacks its time zone")
    if denial.binding_token:
        shown, expires = _by_token(service, caller, http, denial, what)
    else:
        shown, expires = _by_evaluation(caller, http, denial, what)
    if service.now() > min(expires, denial.expires_at):
        raise problem("expired_denial", "the denial is too old; evaluate again")
    return shown


def _by_evaluation(
    caller: Caller, http: Request, denial: Denial, what: dict[str, Any]
) -> tuple[Shown, datetime]:
    opened = binding(http).open(denial.evaluation_id)
    if opened is None or opened.digest != _digest(caller.principal, what):
        raise problem("invalid_denial_binding", "the denial is about something else")
    return Shown(evaluation=opened.id), opened.expires


def _by_token(
    service: Service, caller: Caller, http: Request, denial: Denial, what: dict[str, Any]
) -> tuple[Shown, datetime]:
    """ARAP section 21.1.4, steps 1 to 5 (the last by whoever called)."""
    here, opened = base_url(http), binding(http)
    claims = opened.claims(BINDING, denial.binding_token)
    if claims is None or (claims["iss"], claims["aud"]) != (here, here):
        raise problem("invalid_denial_binding", "the binding token is not one of ours")
    about = {name: claims[name] for name in what}
    if claims["sub"] != caller.principal.id or structure.encode(about) != structure.encode(what):
        raise problem("invalid_denial_binding", "the denial is about something else")
    if denial.evaluation_id not in ("", claims["evaluation_id"]):
        raise problem("invalid_denial_binding", "the denial's two parts do not belong together")
    expires = moment.parse(claims["denial_expires_at"])
    if denial.expires_at != expires:
        raise problem("invalid_denial_binding", "`denial.expires_at` is not what the denial said")
    if request.was_used(service, caller, claims["jti"]):
        raise problem("invalid_denial_binding", "this binding token was used already")
    evaluated = opened.open(claims["evaluation_id"])
    evaluation = evaluated.id if evaluated is not None else ""
    return Shown(evaluation=evaluation, token=claims["jti"]), expires


def _digest(principal: Principal, what: dict[str, Any]) -> bytes:
    return structure.digest({"principal": principal.id, **what})
