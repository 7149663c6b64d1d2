"""`/v1/findings`: what detectors say should worry somebody, and what people say of it."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from muniment.access.finding import Finding
from muniment.interfaces.http.cases import Body, find, named
from muniment.interfaces.http.context import CallerDep, ServiceDep
from muniment.operations import answer_finding, findings, reading
from muniment.operations.service import Service

router = APIRouter(prefix="/v1/findings", tags=["findings"])

_Text = Annotated[str, Query(max_length=128)]
_Texts = Annotated[list[str], Query(max_length=20)]


class Assignment(Body):
    #: login or principal id
    to: str = Field(max_length=200)


class Closing(Body):
    #: `remedied`, `explained`, `adopted`, `false-alarm`
    resolution: str = Field(max_length=20)
    reason: str = Field(max_length=4000)
    #: of what is adopted, login or principal id of who answers for it from now on
    owner: str = Field(default="", max_length=200)
    #: until when the same raises no new finding
    until: datetime | None = None


def _state(service: Service, finding: Finding) -> dict[str, Any]:
    return named(service, findings.summary(service, finding))


@router.get("")
async def list_findings(
    service: ServiceDep,
    caller: CallerDep,
    state: _Texts = [],  # noqa: B006 (FastAPI copies it)
    severity: _Texts = [],  # noqa: B006 (likewise)
    rule: _Text = "",
    resource: _Text = "",
    about: _Text = "",
    before: _Text | None = None,
) -> dict[str, Any]:
    """
    Newest first; `about` is an access case, or a unique beginning of its id.

    `next` is the `before` of the next page.
    """
    asked = findings.Wanted(
        states=state, severities=severity, rule=rule, resource=resource, about=about
    )
    wanted = findings.meant(service, caller, asked)
    rows, more = findings.listed(service, caller, wanted, before)
    query = {
        "state": " ".join(state),
        "severity": " ".join(severity),
        "rule": rule,
        "resource": resource,
        "about": wanted.about,
    }
    await reading.note(service, caller, "findings", query=query, count=len(rows))
    return named(service, {"findings": rows, "next": more})


@router.get("/{finding}")
async def show(service: ServiceDep, caller: CallerDep, finding: str) -> dict[str, Any]:
    """A finding: its rule, what it is about, and each record with what its sections say."""
    shown = findings.show(service, caller, find(service, finding))
    await reading.note(service, caller, "finding", about=shown["finding"], count=1)
    return named(service, shown)


@router.post("/{finding}/acknowledgement")
async def acknowledge(service: ServiceDep, caller: CallerDep, finding: str) -> dict[str, Any]:
    """Say that one has read it. Nobody answers a finding about himself."""
    found = find(service, finding)
    return _state(service, await answer_finding.acknowledge(service, caller, found))


@router.post("/{finding}/assignment")
async def assign(
    service: ServiceDep, caller: CallerDep, finding: str, body: Assignment
) -> dict[str, Any]:
    """Say who is to deal with it: somebody whom it is not about."""
    found = find(service, finding)
    return _state(service, await answer_finding.assign(service, caller, found, body.to))


@router.post("/{finding}/closing")
async def close(
    service: ServiceDep, caller: CallerDep, finding: str, body: Closing
) -> dict[str, Any]:
    """Say what it was, and why: the same seen later is another finding."""
    closed = await answer_finding.close_finding(
        service,
        caller,
        find(service, finding),
        body.resolution,
        body.reason,
        owner=body.owner,
        until=body.until,
    )
    return _state(service, closed)
