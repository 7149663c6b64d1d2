"""Pages of findings: `/findings`, what there is; `/findings/<id>`, one of them, and the answer."""

import re
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Form, Query, Request, Response

from muniment.access.finding import OPEN, RESOLUTIONS
from muniment.interfaces.console.browser import PersonDep, require_own_form
from muniment.interfaces.console.pages import PageRoute, page, redirect
from muniment.interfaces.console.sign_in import FormToken
from muniment.interfaces.http.cases import find
from muniment.interfaces.http.context import ServiceDep
from muniment.operations import answer_finding, findings, permit, reading
from muniment.operations.service import Caller, Service

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_PRINCIPAL: Final = re.compile(r"prn_[a-z2-7]{26}", re.ASCII)
#: for how many days the same may be kept quiet, as the form offers it
QUIET: Final = (0, 7, 30, 90)
_SEVERITIES: Final = ("critical", "high", "medium", "low", "info")
#: why nothing ended, in words
_WHY: Final = {
    "no-access": "there was no access to end",
    "no-detector": "none: the rule has no enrolled workload that acts for it",
    "not-permitted": "none: the policy does not let its workload revoke it",
}


@router.get("/findings")
async def show_all(
    request: Request,
    service: ServiceDep,
    person: PersonDep,
    everything: bool = False,
    severity: Annotated[Literal["critical", "high", "medium", "low", "info", ""], Query()] = "",
    before: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """The open ones, or all, the newest first."""
    wanted = findings.Wanted(
        states=() if everything else OPEN, severities=(severity,) if severity else ()
    )
    rows, more = findings.listed(service, person, wanted, before)
    query = {"all": everything, "severity": severity}
    await reading.note(service, person, "findings", query=query, count=len(rows))
    return page(
        request,
        "findings.html",
        person=person,
        rows=[{**row, "with": _who(service, row["assigned"])} for row in rows],
        everything=everything,
        severity=severity,
        severities=_SEVERITIES,
        before=before,
        more=more,
    )


@router.get("/findings/{finding}")
async def show(request: Request, service: ServiceDep, person: PersonDep, finding: str) -> Response:
    """What it says, by which rule, what came of it, and the forms of whoever may answer it."""
    found = findings.show(service, person, find(service, finding))
    await reading.note(service, person, "finding", about=found["finding"], count=1)
    detail = _newest_detail(found)
    why = answer_finding.objection(service, person, findings.read(service, found["finding"])[0])
    return page(
        request,
        "finding.html",
        person=person,
        found=found,
        summary=_in_words(service, detail.get("summary", "")),
        detail=detail,
        subjects=[_who(service, each) for each in found["subjects"]],
        assigned=_who(service, found["assigned"]),
        owner=_who(service, found["owner"]),
        why_nothing_ended=_WHY.get(found["why_not"], ""),
        history=[_told(service, line) for line in found["timeline"]],
        why_not_yours=_in_words(service, why),
        own_login=_who(service, person.principal.id)["login"],
        resolutions=RESOLUTIONS,
        quiet=QUIET,
    )


@router.post("/findings/{finding}")
async def answer(
    request: Request,
    service: ServiceDep,
    person: PersonDep,
    finding: str,
    form: FormToken,
    act: Annotated[Literal["acknowledge", "assign", "close"], Form()],
    to: Annotated[str, Form(max_length=200)] = "",
    resolution: Annotated[str, Form(max_length=20)] = "",
    reason: Annotated[str, Form(max_length=4000)] = "",
    owner: Annotated[str, Form(max_length=200)] = "",
    quiet: Annotated[int, Form(ge=0, le=366)] = 0,
) -> Response:
    """Once it is recorded, back to its page."""
    require_own_form(request, form)
    found = find(service, finding)
    if act == "acknowledge":
        await answer_finding.acknowledge(service, person, found)
    elif act == "assign":
        await answer_finding.assign(service, person, found, to.strip())
    else:
        until = service.now() + timedelta(days=quiet) if quiet else None
        # browsers end the lines of a form's text with CR LF (HTML, "constructing the entry list")
        said = reason.replace("\r\n", "\n").strip()
        await answer_finding.close_finding(
            service, person, found, resolution, said, owner=owner.strip(), until=until
        )
    return redirect(request, f"/findings/{found}#history")


def count_open(service: Service, person: Caller) -> int | None:
    """How many findings nobody has closed; None for whoever may not see them."""
    if permit.ask(service, person, "read", None).outcome != "permit":
        return None
    return len(service.projections.cases(kind="finding", closed=False, limit=1000))


# --- what a page says -----------------------------------------------------------------------------


def _who(service: Service, principal: str) -> dict[str, str]:
    """Name, login and id; what was erased is empty."""
    identity = service.identity(principal) or {}
    return {
        "id": principal,
        "login": identity.get("login", ""),
        "name": identity.get("name", ""),
    }


def _newest_detail(found: dict[str, Any]) -> dict[str, Any]:
    """Of the last record that says anything; `erased` where that is gone."""
    said = (line["sections"].get("detail") for line in reversed(found["timeline"]))
    return next((detail for detail in said if detail), {})


def _told(service: Service, line: dict[str, Any]) -> dict[str, Any]:
    """One record for the history: what happened, by whom, and what was said."""
    record, note = line["record"], line["sections"].get("note") or {}
    actor = record["actor"]["principal"]
    what = {
        "finding:raised": "Raised",
        "finding:seen": f"Seen {record.get('count')} times more",
        "finding:acknowledged": "Acknowledged",
        "finding:assigned": "Assigned",
        "finding:closed": f"Closed: {record.get('resolution')}",
        "case:closed": "",
    }
    return {
        "what": what[line["kind"]],
        "by": None if actor == "service" else _who(service, actor),
        "to": _who(service, record["to"]) if "to" in record else None,
        "at": line["at"],
        "ends": record.get("ends", ()),
        "note": note.get("text", ""),
        "erased": note.get("erased", ""),
        "index": line["index"],
        "leaf": line["leaf"],
    }


def _in_words(service: Service, words: str) -> str:
    """Whoever reads this knows logins, not ids."""

    def login(found: re.Match[str]) -> str:
        return _who(service, found[0])["login"] or found[0]

    return _PRINCIPAL.sub(login, words)
