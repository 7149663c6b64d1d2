"""The result of an approved request, and what comes back of it at a later evaluation."""

from typing import Any

from fastapi import Request

from muniment.access.case import AccessCase
from muniment.access.registry import Principal
from muniment.evidence import moment
from muniment.interfaces.http.authzen.messages import Approval
from muniment.interfaces.http.authzen.profile import base_url, binding
from muniment.interfaces.http.binding import APPROVAL


def approval(case: AccessCase) -> dict[str, Any]:
    """ARAP section 12: which approval it is, and until when it may be shown."""
    ends = case.until or (case.ask.deadline if case.ask is not None else None)
    told = {"id": case.id}
    if case.approved_at is not None:
        told["approved_at"] = moment.text(case.approved_at)
    if ends is not None:
        told["approved_until"] = moment.text(ends)
    return told


def signed(http: Request, case: AccessCase) -> dict[str, Any]:
    """The same with a `state` that any decision point with our keys can check."""
    here, told = base_url(http), approval(case)
    ends = moment.parse(told["approved_until"])
    request = case.requested
    claims = {
        "iss": here,
        "aud": here,
        "sub": request.requester,
        "exp": int(ends.timestamp()),
        "approval_id": case.id,
        "task_id": request.batch or case.id,
        "evaluation_id": request.evaluation,
        "resource": request.resource,
        "action": request.role,
    }
    return {**told, "state": binding(http).sign(APPROVAL, claims)}


def is_ours(http: Request, shown: Approval, principal: Principal) -> bool:
    """Whether the state that was shown, if any, is ours, of this approval and this subject."""
    if shown.state is None:
        return True  # then the log alone says what there is to say
    if not isinstance(shown.state, str):
        return False
    here = base_url(http)
    claims = binding(http).claims(APPROVAL, shown.state)
    expected = (here, here, principal.id, shown.id)
    return claims is not None and expected == tuple(
        claims[name] for name in ("iss", "aud", "sub", "approval_id")
    )
