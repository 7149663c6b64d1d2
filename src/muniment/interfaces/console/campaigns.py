"""Pages of access reviews: `/reviews`, what there is; `/reviews/<id>`, one of them, its items."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Form, Query, Request, Response

from muniment.access.campaign_items import VERDICTS
from muniment.errors import Conflict, Malformed
from muniment.interfaces.console.browser import PersonDep, require_own_form
from muniment.interfaces.console.pages import PageRoute, page, redirect
from muniment.interfaces.console.sign_in import FormToken
from muniment.interfaces.http.cases import find
from muniment.interfaces.http.context import ServiceDep
from muniment.operations import campaigns, sign_review
from muniment.operations.decide_review import UnfitVerdict, Verdict, decide
from muniment.operations.service import Caller, Service

router = APIRouter(include_in_schema=False, route_class=PageRoute)

#: items of one form: what somebody looks at together
SHOWN: Final = 20
#: why somebody should look twice, in words
_WHY: Final = {
    "break-glass": "glass was broken",
    "finding": "a finding is about it",
    "removal-unverified": "its end was not seen at the target",
    "outside-window": "it was used outside its window",
    "unused": "not used for long",
}
_ADVICE: Final = {
    "look": "look twice",
    "keep": "nothing speaks against it",
    "revoke": "seems not needed",
}


@router.get("/reviews")
async def show_all(request: Request, service: ServiceDep, person: PersonDep) -> Response:
    """Those that somebody has a part in, or may see."""
    rows = campaigns.listed(service, person)
    return page(request, "reviews.html", person=person, rows=rows)


@router.get("/reviews/{review}")
async def show(
    request: Request,
    service: ServiceDep,
    person: PersonDep,
    review: str,
    again: bool = False,
    after: Annotated[int, Query(ge=-1, le=10_000_000)] = -1,
) -> Response:
    """How it stands, and the items that wait for whoever asks; with `again` those he decided."""
    return await _review(request, service, person, find(service, review), _View(again, after))


@router.post("/reviews/{review}")
async def answer(
    request: Request,
    service: ServiceDep,
    person: PersonDep,
    review: str,
    form: FormToken,
    act: Annotated[Literal["save", "keep-all", "sign", "close"], Form()],
    again: Annotated[bool, Form()] = False,
    after: Annotated[int, Form(ge=-1, le=10_000_000)] = -1,
    numbers: Annotated[str, Form(max_length=1000)] = "",
    shown: Annotated[str, Form(max_length=1000)] = "",
    note: Annotated[str, Form(max_length=4000)] = "",
    leave: Annotated[bool, Form()] = False,
) -> Response:
    """Once it is recorded, back to its page: to what waits next; else the page as it was filled."""
    require_own_form(request, form)
    case = find(service, review)
    said = note.replace("\r\n", "\n").strip()
    typed = {name: str(value) for name, value in (await request.form()).items()}
    try:
        if act == "sign":
            await sign_review.sign(service, person, case, said)
        elif act == "close":
            await sign_review.close_campaign(service, person, case, said, leave=leave)
        else:
            items = [int(each) for each in numbers.split(",") if each.isdecimal()][:SHOWN]
            verdicts = _verdicts(items, typed, all_kept=act == "keep-all")
            await decide(service, person, case, verdicts, shown)
    except (Malformed, Conflict) as error:
        view = _View(again, after, typed, error)
        return await _review(request, service, person, case, view)
    return redirect(request, f"/reviews/{case}#items")


@dataclass(frozen=True)
class _View:
    """Which items somebody looks at; and what he had typed there that could not be recorded."""

    again: bool
    after: int
    typed: Mapping[str, str] = field(default_factory=dict)
    wrong: Malformed | Conflict | None = None

    @property
    def status(self) -> int:
        if self.wrong is None:
            return HTTPStatus.OK
        unfit = isinstance(self.wrong, Malformed)
        return HTTPStatus.UNPROCESSABLE_ENTITY if unfit else HTTPStatus.CONFLICT

    @property
    def unfit(self) -> int | None:
        """The item that is wrong."""
        return self.wrong.item if isinstance(self.wrong, UnfitVerdict) else None


async def _review(
    request: Request, service: Service, person: Caller, case: str, view: _View
) -> Response:
    found = campaigns.show(service, person, case)
    outcome = "" if view.again else "not-reviewed"
    mine = campaigns.items_of(
        service, person, case, mine=True, outcome=outcome, after=view.after, most=SHOWN
    )
    items, left = mine["items"], mine["left"]
    await campaigns.note_reading(service, person, case)
    return page(
        request,
        "review.html",
        person=person,
        status=view.status,
        found=found,
        items=[_item(service, each, view.typed) for each in items],
        numbers=[each["item"] for each in items if not each["settled"]],
        left=left,
        next=mine["next"],
        again=view.again,
        after=view.after,
        # of what is still there, he began to look when he saw it first
        shown=view.typed.get("shown") or mine["shown"],
        wrong="" if view.wrong is None else str(view.wrong),
        unfit=view.unfit,
        note=view.typed.get("note", ""),
        signs=_may_sign(service, person, found),
        reviewers=[{**row, "who": _who(service, row["reviewer"])} for row in found["reviewers"]],
        history=[_told(service, line) for line in found["timeline"]],
    )


def _verdicts(items: list[int], given: Mapping[str, str], *, all_kept: bool) -> list[Verdict]:
    said = [_verdict(item, given, all_kept=all_kept) for item in items]
    found = [verdict for verdict in said if verdict is not None]
    if not found:
        raise Malformed("say of one item at least what is to become of it")
    return found


def _verdict(item: int, given: Mapping[str, str], *, all_kept: bool) -> Verdict | None:
    if all_kept:
        return Verdict(item=item, verdict="keep")
    verdict = given.get(f"verdict-{item}", "")
    if verdict not in VERDICTS:
        return None
    return Verdict(
        item=item,
        verdict=verdict,
        # browsers end the lines of a form's text with CR LF
        reason=given.get(f"reason-{item}", "").replace("\r\n", "\n").strip(),
        to=given.get(f"to-{item}", "").strip() if verdict == "reduce" else "",
    )


def count_waiting(service: Service, person: Caller) -> int | None:
    """Items that wait for somebody; None where he has no part in any review."""
    mine = [row for row in campaigns.listed(service, person) if row["state"] != "closed"]
    return sum(row["waiting"] for row in mine) if mine else None


# --- what a page says -----------------------------------------------------------------------------


def _may_sign(service: Service, person: Caller, found: dict[str, Any]) -> bool:
    principal = service.registry.principals[person.principal.id]
    return found["sign_off"] in principal.groups


def _who(service: Service, principal: str) -> dict[str, str]:
    """Name, login and id; what was erased is empty."""
    identity = service.identity(principal) or {}
    return {
        "id": principal,
        "login": identity.get("login", ""),
        "name": identity.get("name", ""),
    }


def _item(service: Service, item: dict[str, Any], typed: Mapping[str, str]) -> dict[str, Any]:
    policy, number = item["what"] == "policy", item["item"]
    return {
        **item,
        "chosen": typed.get(f"verdict-{number}", item["outcome"]),
        "to": typed.get(f"to-{number}", item["to"]),
        "reason": typed.get(f"reason-{number}", ""),
        **(_text(service, item) if policy else {"title": "", "text": ""}),
        "who": _who(service, item["principal"]) if "principal" in item else None,
        "reasons": [_WHY.get(each, each) for each in item["why"]],
        # of a rule nothing is known that would speak for it or against it
        "advised": "" if policy else _ADVICE.get(item["advice"], item["advice"]),
    }


def _text(service: Service, item: dict[str, Any]) -> dict[str, str]:
    """A rule in words and as it is written; empty if another stands under its id by now."""
    rule = service.policy().by_id.get(item["rule"])
    if rule is None or rule.sha256 != item["sha256"]:
        return {"title": "", "text": ""}
    return {"title": rule.title or rule.place, "text": rule.text}


def _told(service: Service, line: dict[str, Any]) -> dict[str, Any]:
    """One record for the history: what happened, by whom, and what was said."""
    record, note = line["record"], line["sections"].get("note") or {}
    actor = record["actor"]["principal"]
    return {
        "what": _what(line["kind"], record),
        "by": None if actor == "service" else _who(service, actor),
        "at": line["at"],
        "note": note.get("text", ""),
        "erased": note.get("erased", ""),
        "index": line["index"],
    }


_SAID: Final = {
    "campaign:opened": "Opened: {items} items",
    "review:decided": "Decided: {said}",
    "review:reassigned": "{items} items went to somebody else",
    "review:escalated": "{share} % of the time is over, {open} not reviewed",
    "review:applied": "Carried out for {count} items: {how}",
    "campaign:signed": "Signed",
    "campaign:closed": "Closed",
    "case:closed": "",
}


def _what(kind: str, record: dict[str, Any]) -> str:
    items = record.get("items")
    words = {
        **record,
        "said": ", ".join(f"{n} {word}" for word, n in record.get("tallies", {}).items())
        + (", in bulk" if record.get("bulk") else ""),
        "count": len(items) if isinstance(items, list) else items,
    }
    return _SAID[kind].format_map(words)
