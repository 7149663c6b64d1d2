"""`/v1/evidence/events/…`: what sources sent, as files for `muniment events check`."""

import re
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from muniment.errors import Malformed
from muniment.evidence.event_evidence import MAX_EVENTS
from muniment.interfaces.http.cases import find
from muniment.interfaces.http.context import CallerDep, ServiceDep
from muniment.operations import prove_events, reading
from muniment.operations.prove_events import EventsProved

router = APIRouter(prefix="/v1", tags=["evidence"])

#: how many events of the case are not in the file, because the log has no record of them yet
WAITING: Final = "Muniment-Waiting"
_NUMBERS: Final = re.compile(r"([0-9]{1,15})(?:-([0-9]{1,15}))?", re.ASCII)
_CASE: Final = Query(max_length=40)


@router.get("/evidence/events")
async def prove_case(
    service: ServiceDep, caller: CallerDep, case: Annotated[str, _CASE]
) -> Response:
    """
    All that sources sent of a grant, as far as the log has a record of it.

    For whoever may export the case. `Muniment-Waiting` says how many events it has no record of
    yet. 409 where it is too much for one file, or nothing is recorded yet.
    """
    found = find(service, case)
    proved = await prove_events.prove_of_case(service, caller, found)
    await reading.of_events(service, caller, found, proved.events)
    return _answer(proved)


@router.get("/evidence/events/{source}/{number}")
async def prove(
    service: ServiceDep,
    caller: CallerDep,
    source: str,
    number: str,
    case: Annotated[str | None, _CASE] = None,
) -> Response:
    """
    One event of a source, or several (`12-40`); with a case those that are linked to it.

    Whoever may export a case names it; whoever may audit need not. 409 where the log has no record
    of an event yet: try again in a few seconds.
    """
    whole = find(service, case) if case is not None else None
    proved = await prove_events.prove(service, caller, source, _numbers(number), whole)
    query = {"source": source, "number": number}
    await reading.of_events(service, caller, whole, proved.events, query)
    return _answer(proved)


def _numbers(text: str) -> range:
    found = _NUMBERS.fullmatch(text)
    if found is None:
        raise Malformed("name events by number, as `12`, or by the first and the last, as `12-40`")
    first, last = int(found[1]), int(found[2] or found[1])
    if not first <= last < first + MAX_EVENTS:
        raise Malformed(f"`{text}` is not a run of 1 to {MAX_EVENTS} events")
    return range(first, last + 1)


def _answer(proved: EventsProved) -> Response:
    headers = {WAITING: str(proved.waiting)}
    return Response(proved.data, media_type="application/json", headers=headers)
