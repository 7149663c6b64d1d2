"""
Pages of what is kept from erasure, and of what is erased.

`/holds`: both lists; `/holds/<id>`: one hold, and letting go of it; `/erasures/<id>`: one run.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Request, Response

from muniment.access.holding import Hold, Run
from muniment.errors import NotPermitted
from muniment.interfaces.console.browser import PersonDep, require_own_form
from muniment.interfaces.console.pages import PageRoute, page, redirect
from muniment.interfaces.console.sign_in import FormToken
from muniment.interfaces.http.context import ServiceDep
from muniment.operations import erase_run, hold, permit, reading
from muniment.operations.service import Caller, Service

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/holds")
async def show_all(
    request: Request, service: ServiceDep, person: PersonDep, everything: bool = False
) -> Response:
    """Holds that stand, or all; and the runs, as far as the reader may see either."""
    may_see = _may(service, person, "hold") or _may(service, person, "audit")
    may_read = _may(service, person, "read")
    if not may_read:
        permit.require_one(service, person, "hold", "audit")
    holds = hold.listed(service, person, everything=everything) if may_see else []
    runs = erase_run.listed(service, person) if may_read else []
    await reading.note(service, person, "holds", count=len(holds))
    return page(
        request,
        "holds.html",
        person=person,
        holds=holds,
        runs=runs,
        everything=everything,
        may_see=may_see,
    )


@router.get("/holds/{hold_id}")
async def show(request: Request, service: ServiceDep, person: PersonDep, hold_id: str) -> Response:
    """What it holds, for what, and the form of whoever may let go of it."""
    permit.require_one(service, person, "hold", "audit")
    found = hold.find(service, hold_id)
    told = hold.summary(service, found)
    await reading.note(service, person, "holds", about=found.id, count=1)
    return page(
        request,
        "hold.html",
        person=person,
        found=told,
        people=[_who(service, each) for each in told["people"]],
        by=_who(service, told["placed_by"]),
        release=[{**each, "who": _who(service, each["by"])} for each in told["release"]],
        why_not_yours=_why_not(service, person, found),
    )


@router.post("/holds/{hold_id}")
async def answer(
    request: Request,
    service: ServiceDep,
    person: PersonDep,
    hold_id: str,
    form: FormToken,
    act: Annotated[Literal["release", "confirm"], Form()],
    said: Annotated[str, Form(max_length=4000)] = "",
) -> Response:
    """Once it is recorded, back to its page."""
    require_own_form(request, form)
    # browsers end the lines of a form's text with CR LF
    words = said.replace("\r\n", "\n").strip()
    if act == "release":
        done = await hold.ask_release(service, person, hold_id, words)
    else:
        done = await hold.release(service, person, hold_id, words)
    return redirect(request, f"/holds/{done.id}")


@router.get("/erasures/{run_id}")
async def show_run(
    request: Request, service: ServiceDep, person: PersonDep, run_id: str
) -> Response:
    """Who wanted it, what was on its list, and how much of it is gone."""
    permit.require(service, person, "read")
    found = erase_run.find(service, run_id)
    await reading.note(service, person, "retention")
    told = erase_run.summary(found)
    wanted = [_who(service, each) for each in _wanted_by(service, found)]
    by_itself = told["proposed_by"] == "service"
    return page(
        request,
        "erasure.html",
        person=person,
        found=told,
        by=None if by_itself else _who(service, told["proposed_by"]),
        wanted=wanted,
        approves=_approves(service, person, found),
    )


@router.post("/erasures/{run_id}")
async def approve(
    request: Request, service: ServiceDep, person: PersonDep, run_id: str, form: FormToken
) -> Response:
    """Want the same; then it begins."""
    require_own_form(request, form)
    run = await erase_run.approve(service, person, run_id)
    return redirect(request, f"/erasures/{run.id}")


# --- what a page says -----------------------------------------------------------------------------


def _may(service: Service, person: Caller, operation: str) -> bool:
    return permit.ask(service, person, operation, None).outcome == "permit"


def _why_not(service: Service, person: Caller, found: Hold) -> str:
    """Why the reader can do nothing about it now; empty where he can."""
    if not found.stands():
        return "it was released"
    if not _may(service, person, "hold"):
        return "holds are for others to release"
    if found.asked_by == person.principal.person:
        return "somebody else has to confirm the release that you asked for"
    try:
        hold.check_of_others(service, found, service.actor(person))
    except NotPermitted as error:
        return str(error)
    return ""


def _approves(service: Service, person: Caller, found: Run) -> bool:
    return (
        found.state == "proposed"
        and not found.closed
        and person.principal.person not in found.persons
        and _may(service, person, "erase")
    )


def _wanted_by(service: Service, found: Run) -> list[str]:
    """One principal for each person."""
    known = list(service.registry.principals.values())
    by_person = {each.person: each.id for each in known if each.type == "human"}
    return [by_person.get(each, each) for each in found.persons]


def _who(service: Service, principal: str) -> dict[str, Any]:
    """Name, login and id; what was erased is empty."""
    identity = service.identity(principal) or {}
    return {
        "id": principal,
        "login": identity.get("login", ""),
        "name": identity.get("name", ""),
    }
