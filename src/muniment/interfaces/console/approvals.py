"""Pages to decide: `/`, what waits; `/approve/<case>`, exactly what is asked, and the answer."""

import re
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Form, Request, Response

from muniment.access.case import LIVE, AccessCase
from muniment.access.records import ApprovalGiven
from muniment.access.terms import short_code
from muniment.evidence.proof import Receipt
from muniment.interfaces.console import campaigns, findings
from muniment.interfaces.console.browser import PersonDep, require_own_form
from muniment.interfaces.console.pages import PageRoute, page, redirect, trouble
from muniment.interfaces.console.sign_in import FormToken
from muniment.interfaces.http.cases import find
from muniment.interfaces.http.context import ServiceDep
from muniment.operations import approve, explain
from muniment.operations.consider import Considered, Verdict, consider
from muniment.operations.service import Service
from muniment.policy.decide import Decision

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_SHOWN: Final = 20
_PRINCIPAL: Final = re.compile(r"prn_[a-z2-7]{26}", re.ASCII)


@router.get("/")
async def home(request: Request, service: ServiceDep, person: PersonDep) -> Response:
    """What waits for the reader, what access he has, and what he asked for."""
    mine = explain.mine(service, person, everyone=False, states=(), before=None)
    live = [row for row in mine if row.state in LIVE]
    waiting = explain.waiting_for(service, person)
    return page(
        request,
        "home.html",
        person=person,
        waiting=[_line(service, case) for case in waiting],
        live=live,
        found=findings.count_open(service, person),
        reviews=campaigns.count_waiting(service, person),
        asked=[row for row in mine if row.state not in LIVE][:_SHOWN],
    )


def _line(service: Service, case: AccessCase) -> dict[str, Any]:
    return {
        "id": case.id,
        "requester": _who(service, case.requested.requester),
        "resource": case.requested.resource,
        "role": case.requested.role,
        "seconds": case.current.seconds,
        "emergency": case.requested.emergency,
        "extension": case.extension is not None,
        "deadline": case.current.deadline,
    }


@router.get("/approve/{case}")
async def show(request: Request, service: ServiceDep, person: PersonDep, case: str) -> Response:
    """All that an approver has to see, and his answer's receipt once he has given it."""
    seen = consider(service, person, find(service, case))
    return page(
        request,
        "approve.html",
        person=person,
        seen=seen,
        chain=_chain(service, seen),
        code=short_code(seen.ask.terms),
        rules=_rules(seen),
        demanded=_demanded(seen),
        verdicts=[_verdict(service, verdict) for verdict in seen.verdicts],
        why=[_in_words(service, words) for words in seen.why],
    )


@router.post("/approve/{case}")
async def answer(
    request: Request,
    service: ServiceDep,
    person: PersonDep,
    case: str,
    form: FormToken,
    verdict: Annotated[Literal["approve", "refuse"], Form()],
    terms: Annotated[str, Form(pattern=r"^[0-9a-f]{64}$")],
    comment: Annotated[str, Form(max_length=4000)] = "",
) -> Response:
    """Recorded either way. Only on the terms that the form was about."""
    require_own_form(request, form)
    found = find(service, case)
    # browsers end the lines of a form's text with CR LF (HTML, "constructing the entry list")
    note = comment.replace("\r\n", "\n").strip()
    decide = approve.approve if verdict == "approve" else approve.refuse
    voted = await decide(service, person, found, note, terms=bytes.fromhex(terms))
    if voted.given:
        return redirect(request, f"/approve/{found}#answers")
    record = voted.appended.entries[0]
    words = _not_counted(service, voted.decision, voted.case)
    return trouble(
        request, 403, f"{words}. That you tried stands in the log, as entry {record.index}."
    )


def _not_counted(service: Service, decision: Decision, case: AccessCase) -> str:
    if decision.outcome == "permit":
        return f"You are in none of the groups that are waited for: {', '.join(case.waits_for)}"
    return _in_words(service, "; ".join(decision.why))


# --- what a page says -----------------------------------------------------------------------------


def _who(service: Service, principal: str) -> dict[str, str]:
    """Name, login and id; what was erased is empty."""
    identity = service.identity(principal) or {}
    return {
        "id": principal,
        "login": identity.get("login", ""),
        "name": identity.get("name", ""),
    }


def _chain(service: Service, seen: Considered) -> list[dict[str, Any]]:
    """Who asked, and everybody behind: the delegates, an agent's sponsor, a workload's owner."""
    actor, session = seen.actor, seen.session
    links = [(actor.principal, actor.type, "asked")]
    delegation = session.delegation if session is not None else None
    if delegation is not None:
        links += [(id_, _type(service, id_), "handed it on") for id_ in delegation.chain[1:-1]]
    if actor.sponsor is not None:
        part = "answers for it" if actor.type == "workload" else "on whose behalf"
        links.append((actor.sponsor, _type(service, actor.sponsor), part))
    return [{**_who(service, id_), "type": type_, "part": part} for id_, type_, part in links]


def _type(service: Service, principal: str) -> str:
    known = service.registry.principals.get(principal)
    return known.type if known is not None else ""


def _demanded(seen: Considered) -> list[dict[str, Any]]:
    """Group by group: how many, how many of them are there, and the rule that says so."""
    said = (seen.decision or {}).get("obligations", {}).get("approvals", {})
    missing = seen.ask.missing
    return [
        {
            "group": group,
            "count": count,
            "given": count - missing.get(group, 0),
            "rule": said.get(group, {}).get("rule", ""),
        }
        for group, count in sorted((seen.ask.required or {}).items())
    ]


def _rules(seen: Considered) -> list[dict[str, Any]]:
    """The rules of the recorded decision, those that demand the approvals first."""
    decision = seen.decision or {}
    demanding = {each["rule"] for each in _demanded(seen)}
    rules = [{**rule, "demands": rule["id"] in demanding} for rule in decision.get("rules", ())]
    return sorted(rules, key=lambda rule: not rule["demands"])


def _verdict(service: Service, verdict: Verdict) -> dict[str, Any]:
    """An answer that was given, with the place in the log that proves it."""
    entry, log = verdict.entry, service.log
    size, note = log.size, log.checkpoint
    receipt = Receipt(entry.index, tuple(log.inclusion(entry.index, size)), note)
    return {
        "yes": isinstance(verdict.record, ApprovalGiven),
        "who": _who(service, verdict.record.approver),
        "at": entry.header.at,
        "note": verdict.note,
        "index": entry.index,
        "leaf": entry.leaf.hex(),
        "terms": short_code(verdict.record.terms),
        "receipt": receipt.format().decode(),
    }


def _in_words(service: Service, words: str) -> str:
    """The policy names people by their ids; whoever reads this knows logins."""

    def login(found: re.Match[str]) -> str:
        return _who(service, found[0])["login"] or found[0]

    return _PRINCIPAL.sub(login, words)
