"""`/v1/…` about the log itself: bundles, proofs, checkpoints, erasure."""

from typing import Annotated, Any

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from pydantic import Field

from muniment.errors import NotFound
from muniment.evidence.proof import Receipt
from muniment.interfaces.http.cases import Body, find
from muniment.interfaces.http.context import CallerDep, ServiceDep
from muniment.operations import carry_away, permit, reading
from muniment.operations.erase import RUNS
from muniment.operations.hold import HOLDS
from muniment.operations.service import Service

router = APIRouter(prefix="/v1", tags=["evidence"])

#: a bound is what makes it text: a plain `str` would let half of a surrogate pair pass
Head = Annotated[str, Field(max_length=16_384)]


class ExportAsk(Body):
    #: checkpoints that the reader keeps: the bundle will show that it extends them
    heads: list[Head] = Field(default=[], max_length=16)


class ErasureAsk(Body):
    section: str = Field(max_length=40)
    rule: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")


@router.post("/cases/{case}/evidence")
async def export(service: ServiceDep, caller: CallerDep, case: str, body: ExportAsk) -> Response:
    """The bundle's exact bytes: a file for `muniment verify`."""
    heads = [head.encode() for head in body.heads]
    data = await carry_away.export(service, caller, _whole(service, case), heads)
    return Response(data, media_type="application/json")


def _whole(service: Service, case: str) -> str:
    """Of what is in a list a unique beginning will do; ids of scans and removals are whole."""
    if service.log.head(case) is not None:
        return case
    holding = service.erasures.holding
    for prefix, known in ((HOLDS, holding.holds), (RUNS, holding.runs)):
        if case.startswith(f"{prefix}_"):
            found = [each for each in list(known) if each.startswith(case)]
            # whoever may not see them is told so, whatever there is
            return found[0] if len(found) == 1 else case
    return find(service, case)


@router.post("/records/{case}/{position}/erasure")
async def erase(
    service: ServiceDep, caller: CallerDep, case: str, position: int, body: ErasureAsk
) -> dict[str, Any]:
    """Erase one sealed section for good, under a rule that is recorded; every proof stays."""
    record = f"{find(service, case) if not case.startswith('prn_') else case}/{position}"
    await carry_away.erase(service, caller, record, body.section, body.rule)
    return {"record": record, "section": body.section, "rule": body.rule}


@router.get("/log/checkpoint", response_class=PlainTextResponse)
async def checkpoint(service: ServiceDep, _caller: CallerDep) -> Response:
    """The newest signed checkpoint (a C2SP signed note): keep it, and hold later evidence to it."""
    return Response(service.log.checkpoint, media_type="text/plain; charset=utf-8")


@router.get("/log/key", response_class=PlainTextResponse)
async def key(service: ServiceDep, _caller: CallerDep) -> Response:
    """The log's public key, as this service says it: an auditor has it from somebody he trusts."""
    return Response(service.log.verifier.vkey + "\n", media_type="text/plain; charset=utf-8")


@router.get("/log/proof/{index}", response_class=PlainTextResponse)
async def proof(service: ServiceDep, caller: CallerDep, index: int) -> Response:
    """A C2SP tlog-proof of one entry under the newest checkpoint."""
    permit.require(service, caller, "audit")
    await reading.note(service, caller, "log")
    size, note = service.log.size, service.log.checkpoint
    if not 0 <= index < size:
        raise NotFound(f"the log has {size} entries; there is no entry {index}")
    receipt = Receipt(index, tuple(service.log.inclusion(index, size)), note)
    return Response(receipt.format(), media_type="text/plain; charset=utf-8")
