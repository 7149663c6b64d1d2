"""`/.well-known/authzen-configuration` and the keys by which what we sign can be checked."""

from typing import Any

from fastapi import APIRouter, Request, Response

from muniment.interfaces.http.authzen.profile import CAPABILITY, DRAFT, base_url, binding

router = APIRouter()
_CACHED = "public, max-age=300"


@router.get("/.well-known/authzen-configuration")
async def metadata(http: Request, response: Response) -> dict[str, Any]:
    """The endpoints of the decision point, and the day of the draft that it follows."""
    response.headers["Cache-Control"] = _CACHED
    here = base_url(http)
    return {
        "policy_decision_point": here,
        "access_evaluation_endpoint": f"{here}/access/v1/evaluation",
        "access_evaluations_endpoint": f"{here}/access/v1/evaluations",
        "search_subject_endpoint": f"{here}/access/v1/search/subject",
        "search_resource_endpoint": f"{here}/access/v1/search/resource",
        "search_action_endpoint": f"{here}/access/v1/search/action",
        "access_request_endpoint": f"{here}/access/v1/requests",
        "jwks_uri": f"{here}/access/v1/jwks",
        "capabilities": [CAPABILITY],
        "access_request_profile_draft": DRAFT,
    }


@router.get("/access/v1/jwks")
async def jwks(http: Request, response: Response) -> dict[str, Any]:
    """The JWK set for binding tokens and the states of approvals."""
    response.headers["Cache-Control"] = _CACHED
    return binding(http).keys
