"""`/v1/cases`: approve, refuse, pick up, extend, end, revoke; and look."""

import asyncio
import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from muniment.access.case import AccessCase
from muniment.evidence import canonical, moment
from muniment.interfaces.http.context import CallerDep, ServiceDep
from muniment.interfaces.http.problems import problem
from muniment.operations import (
    approve,
    end,
    explain,
    extend,
    health,
    issue,
    permit,
    preview,
    reading,
    request,
    review,
    scope,
    story,
    withdraw,
)
from muniment.operations.facts import Reason
from muniment.operations.request import AccessAsk, IdempotencyKey
from muniment.operations.service import Service
from muniment.policy.decide import Decision

router = APIRouter(prefix="/v1", tags=["cases"])


KeyHeader = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]


def bind(key: str | None, body: dict[str, Any]) -> IdempotencyKey | None:
    """The caller's key, bound to what he asked with it."""
    return None if key is None else IdempotencyKey(key=key, body=canonical.encode(body))


#: by the server itself, before the application sees anything
_TOO_LONG = {"description": "the address is too long to be read", "content": {"text/plain": {}}}
_PRINCIPAL = re.compile(r"prn_[a-z2-7]{26}", re.ASCII)
PAGE = 100


class Body(BaseModel):
    """Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Note(Body):
    note: str = Field(default="", max_length=4000)


class ExtensionAsk(Body):
    #: length of the whole window, counted from its start
    seconds: int = Field(gt=0, le=366 * 86_400)
    reason: str = Field(default="", max_length=4000)
    ticket: str = Field(default="", max_length=64)
    incident: str = Field(default="", max_length=64)


class Question(Body):
    resource: str = Field(max_length=64)
    role: str = Field(max_length=64)
    seconds: int = Field(gt=0, le=366 * 86_400)
    ticket: str = Field(default="", max_length=64)
    incident: str = Field(default="", max_length=64)
    emergency: bool = False


class Wish(Question):
    reason: str = Field(default="", max_length=4000)


class Verdict(Body):
    verdict: str = Field(max_length=20)
    note: str = Field(default="", max_length=4000)


def find(service: Service, case: str) -> str:
    """Any unique beginning of a case id will do."""
    return case if service.projections.case_row(case) is not None else service.find_case(case)


def named(service: Service, answer: dict[str, Any]) -> dict[str, Any]:
    """The names behind the principal ids in an answer: from sealed sections, where still there."""
    found: dict[str, str | None] = {}

    def look(value: Any) -> None:
        if isinstance(value, dict):
            for item in value.values():
                look(item)
        elif isinstance(value, list | tuple):
            for item in value:
                look(item)
        elif isinstance(value, str):
            for id_ in _PRINCIPAL.findall(value):
                identity = service.identity(id_)
                found[id_] = identity["login"] if identity is not None else None

    look(answer)
    return {**answer, "names": found}


def state(service: Service, case: AccessCase, decision: Decision | None = None) -> dict[str, Any]:
    answer = explain.summary(service, case)
    if decision is not None:
        answer["decision"] = decided(decision)
    return named(service, answer)


def decided(decision: Decision) -> dict[str, Any]:
    """A decision in words: its outcome, and every rule with its place and text."""
    return {
        "outcome": decision.outcome,
        "why": list(decision.why),
        "rules": [
            {"id": r.id, "title": r.title, "file": r.file, "line": r.line, "text": r.text}
            for r in decision.rules
        ],
        "approvals": decision.approvals,
        "max_seconds": decision.max_seconds,
        "requires": list(decision.requires),
        "notifies": list(decision.notifies),
        "bundle": decision.bundle,
    }


@router.get("/cases")
async def list_cases(
    service: ServiceDep,
    caller: CallerDep,
    everyone: bool = False,
    state: Annotated[list[str], Query(max_length=20)] = [],  # noqa: B006 (FastAPI copies it)
    before: str | None = None,
) -> dict[str, Any]:
    """
    One's own cases, newest first, a page at a time; `next` is the `before` of the next page.

    With `everyone` those of everybody that one may read; `beyond` is how many were left out.
    """
    if everyone:
        found = await asyncio.to_thread(scope.everyones, service, caller, state, before)
        query = {"state": " ".join(state)}  # further pages are the same reading
        await reading.note(service, caller, "cases", query=query, count=len(found.rows))
        answer = {"cases": [vars(row) for row in found.rows], "beyond": found.beyond}
        return named(service, {**answer, "next": found.next})
    rows = explain.mine(service, caller, everyone=False, states=state, before=before)
    more = rows[-1].case if len(rows) == PAGE else None
    return named(service, {"cases": [vars(row) for row in rows], "next": more})


@router.post("/cases", status_code=201)
async def ask(
    service: ServiceDep, caller: CallerDep, body: Wish, key: KeyHeader = None
) -> dict[str, Any]:
    """Ask for access without a denial in one's hands: also beside a grant that still stands."""
    wanted = AccessAsk(
        resource=body.resource,
        role=body.role,
        seconds=body.seconds,
        reason=Reason(text=body.reason, ticket=body.ticket, incident=body.incident),
        emergency=body.emergency,
    )
    asked = await request.request(service, caller, wanted, bind(key, body.model_dump()))
    return state(service, asked.case, asked.decision)


@router.get("/cases/{case}")
async def show(service: ServiceDep, caller: CallerDep, case: str) -> dict[str, Any]:
    """
    A case as a timeline: each record, its place in the log, and what its sealed sections say.

    `observed` is what sources of events say of its grant, and how far that can be relied upon;
    `health` are the kinds of weakness of its evidence, null while a long log is still read for it.
    """
    found = find(service, case)
    shown = explain.show(service, caller, found)
    case_read = service.read(found)[0]
    observed = await asyncio.to_thread(story.observed, service, case_read)
    await reading.of_case(service, caller, case_read)
    judged = await asyncio.to_thread(health.glance, service, found)
    return named(service, {**shown, "observed": observed, "health": judged})


@router.post("/cases/{case}/approval")
async def give_approval(
    service: ServiceDep,
    caller: CallerDep,
    case: str,
    body: Note,
    http: Request,
    key: KeyHeader = None,
) -> Any:
    """Recorded either way: a 403 is a denial that stands in the log."""
    found = find(service, case)
    bound = bind(key, {"case": found, "note": body.note})
    return _voted(service, await approve.approve(service, caller, found, body.note, bound), http)


@router.post("/cases/{case}/refusal")
async def give_refusal(
    service: ServiceDep,
    caller: CallerDep,
    case: str,
    body: Note,
    http: Request,
    key: KeyHeader = None,
) -> Any:
    """One refusal by somebody who could approve ends a case, or the extension that waits."""
    found = find(service, case)
    bound = bind(key, {"case": found, "note": body.note})
    return _voted(service, await approve.refuse(service, caller, found, body.note, bound), http)


def _voted(service: Service, voted: approve.Voted, request: Request) -> Any:
    if voted.given:
        return state(service, voted.case, voted.decision)
    record = voted.appended.entries[0].header.id
    why = "; ".join(voted.decision.why)
    if voted.decision.outcome == "permit":
        why = (
            f"you are in none of the groups that are waited for: {', '.join(voted.case.waits_for)}"
        )
    answer = named(service, {"decision": decided(voted.decision), "why": why})
    return problem(
        "urn:muniment:error:not-permitted", 403, f"{why} (recorded as {record})", request, **answer
    )


@router.post("/cases/{case}/credential")
async def pick_up(
    service: ServiceDep, caller: CallerDep, case: str, response: Response, key: KeyHeader = None
) -> dict[str, Any]:
    """The secret is in this answer and nowhere else; asking again makes a new one."""
    response.headers["Cache-Control"] = "no-store"
    found = find(service, case)
    picked = await issue.pick_up(service, caller, found, bind(key, {"case": found}))
    answer = state(service, picked.case, picked.decision)
    if picked.issued is None or picked.receipt is None:
        return {**answer, "credential": None}
    issued = picked.issued
    return {
        **answer,
        "credential": {
            "account": issued.account,
            "secret": issued.secret.reveal(),
            "connector": service.connector(picked.case.requested.resource).kind,
            "connection": dict(issued.connection),
            "native_expiry": _text(issued.native_expiry),
            "until": _text(picked.case.until),
        },
        "receipt": picked.receipt.format().decode(),
    }


@router.post("/cases/{case}/extension")
async def extend_grant(
    service: ServiceDep, caller: CallerDep, case: str, body: ExtensionAsk
) -> dict[str, Any]:
    """Ask for a longer window of a live grant: decided, and approved if need be, like a request."""
    reason = Reason(text=body.reason, ticket=body.ticket, incident=body.incident)
    extended = await extend.extend(service, caller, find(service, case), body.seconds, reason)
    return state(service, extended.case, extended.decision)


@router.post("/cases/{case}/end")
async def end_grant(service: ServiceDep, caller: CallerDep, case: str) -> dict[str, Any]:
    """Give one's own access back before its time; answers when its removal was tried once."""
    return state(service, await end.end(service, caller, find(service, case)))


@router.post("/cases/{case}/withdrawal")
async def withdraw_request(service: ServiceDep, caller: CallerDep, case: str) -> dict[str, Any]:
    """Take one's own request back, also one that was approved and is not picked up yet."""
    return state(service, await withdraw.withdraw(service, caller, find(service, case)))


@router.post("/cases/{case}/revocation")
async def revoke_grant(
    service: ServiceDep, caller: CallerDep, case: str, body: Note
) -> dict[str, Any]:
    """Take away access, or an approval that was not picked up yet; the removal was tried once."""
    return state(service, await end.revoke(service, caller, find(service, case), body.note))


@router.get("/approvals")
async def approvals(service: ServiceDep, caller: CallerDep) -> dict[str, Any]:
    """What waits for an approval that would count if the caller gave it."""
    waiting = [explain.summary(service, case) for case in explain.waiting_for(service, caller)]
    for each in waiting:
        each["reason"] = explain.reason(service, each["case"])
    return named(service, {"cases": waiting})


@router.get("/whois", responses={400: _TOO_LONG})
async def whois(
    service: ServiceDep, caller: CallerDep, text: Annotated[str, Query(max_length=8000)]
) -> dict[str, Any]:
    """From an account, a grant id or a line of a target's log to the case that it belongs to."""
    found = explain.whois(service, caller, text)
    await reading.of_case(service, caller, service.read(found["case"])[0])
    return named(service, found)


@router.get("/overdue")
async def overdue(service: ServiceDep, caller: CallerDep) -> dict[str, Any]:
    """Grants that had to end and were not yet seen gone."""
    permit.require(service, caller, "read")
    rows = explain.overdue(service)
    await reading.note(service, caller, "overdue", count=len(rows))
    return named(service, {"cases": [vars(row) for row in rows]})


@router.post("/explanation")
async def explanation(service: ServiceDep, caller: CallerDep, body: Question) -> dict[str, Any]:
    """What would happen if the caller asked this; nothing is recorded."""
    ask = AccessAsk(
        resource=body.resource,
        role=body.role,
        seconds=body.seconds,
        reason=Reason(ticket=body.ticket, incident=body.incident),
        emergency=body.emergency,
    )
    seen = preview.preview(service, caller, ask)
    return named(
        service, {"decision": decided(seen.decision), "could_approve": list(seen.could_approve)}
    )


@router.get("/reviews")
async def reviews(
    service: ServiceDep, caller: CallerDep, everything: bool = False
) -> dict[str, Any]:
    """Those that wait for an answer; with `everything`, the answered ones too."""
    permit.require(service, caller, "read")
    rows = service.projections.cases(kind="review", closed=None if everything else False)
    await reading.note(service, caller, "reviews", count=len(rows))
    return named(service, {"reviews": [vars(row) for row in rows]})


@router.post("/reviews/{review_id}/answer")
async def answer_review(
    service: ServiceDep, caller: CallerDep, review_id: str, body: Verdict
) -> dict[str, Any]:
    """Close the review of broken glass with a verdict; whoever broke it cannot."""
    permit.require(service, caller, "review")
    found = find(service, review_id)
    about = await review.answer_review(service, caller, found, body.verdict, body.note)
    return state(service, service.read(about)[0])


def _text(at: Any) -> str | None:
    return None if at is None else moment.text(at)
