"""
OpenID AuthZEN Authorization API 1.0 and its Access Request and Approval Profile, draft 1.

Unknown members are ignored, as the texts say. Our mapping: `resource.id` is the resource,
`action.name` the role, `subject.id` a login or a principal id. `docs/reference/authzen.md` says
where each demand of the two texts is tested.
"""

from fastapi import APIRouter

from muniment.interfaces.http.authzen.direct import evaluate_directly, submit_directly
from muniment.interfaces.http.authzen.evaluation import router as evaluation_router
from muniment.interfaces.http.authzen.metadata import router as metadata_router
from muniment.interfaces.http.authzen.requests import router as requests_router
from muniment.interfaces.http.authzen.search import router as search_router
from muniment.interfaces.http.authzen.tasks import router as tasks_router

__all__ = ["PARTS", "evaluate_directly", "router", "submit_directly"]

PARTS = (metadata_router, evaluation_router, search_router, requests_router, tasks_router)
router = APIRouter(tags=["AuthZEN"])
for _part in PARTS:
    router.include_router(_part)
