"""`/v1/evidence/index/…`: where a case ended, or that there is none, out of the daily index."""

from fastapi import APIRouter, Response

from muniment.interfaces.http.context import CallerDep, ServiceDep
from muniment.operations import index_cases, reading

router = APIRouter(prefix="/v1", tags=["evidence"])


@router.get("/evidence/index/{case}")
async def prove(service: ServiceDep, caller: CallerDep, case: str) -> Response:
    """
    The proof's exact bytes: a file for `muniment completeness check`.

    Of a case that is not there too, for whoever may audit: that is what it proves then.
    """
    proof = await index_cases.prove(service, caller, case)
    await reading.of_index(service, caller, case)
    return Response(proof, media_type="application/json")
