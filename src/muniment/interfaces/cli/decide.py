"""Decide: approve, refuse, revoke, and look at broken glass afterwards."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from muniment.access.window import text as length
from muniment.errors import NotPermitted
from muniment.interfaces.cli import screen
from muniment.interfaces.cli.client import asking, note_option, now, over_line
from muniment.interfaces.cli.screen import case_argument, json_option

if TYPE_CHECKING:
    from muniment.interfaces.cli.api import Api


@click.command("approvals")
@json_option
def approvals_command(*, as_json: bool) -> None:
    """What waits for you."""
    with asking() as api:
        answer = api.get("/v1/approvals")
        for case in answer["cases"]:
            if case["state"] == "issued":
                case.update(_extension(api, case["case"]))

    def lines() -> Iterator[str]:
        if not answer["cases"]:
            yield "nothing waits for your approval"
        for number, case in enumerate(answer["cases"]):
            yield from [""] if number else []
            yield from _approval_lines(case, answer["names"])

    screen.show(answer, lines(), as_json=as_json)


def _extension(api: "Api", case: str) -> dict[str, Any]:
    """An approver of an extension approves its length and reason, not those of the request."""
    timeline = api.get(f"/v1/cases/{case}")["timeline"]
    last = next(line for line in reversed(timeline) if line["kind"] == "extension:requested")
    reason = last["sections"].get("reason")
    return {"extends": True, "seconds": last["record"]["seconds"], "reason": reason}


def _approval_lines(case: dict[str, Any], names: screen.Names) -> Iterator[str]:
    id_, by = screen.short(case["case"]), screen.who(names, case["requester"])
    wish, time_ = screen.wanted(case), length(case["seconds"])
    ask = f"to keep {wish} for {time_} in all" if case.get("extends") else f"for {wish}, {time_}"
    yield f"{screen.paint(id_, bold=True)}  {screen.paint(by, bold=True)} asks {ask}"
    due = case["until"] if case.get("extends") else case["deadline"]
    yield from screen.fields(
        (
            *screen.reason_fields(case["reason"]),
            ("needs", screen.groups(case["waits_for"])),
            ("lapses", screen.until(due, now()) if due else ""),
            ("decide", f"muniment approve {id_}    or    muniment refuse {id_}"),
        )
    )


@click.command("approve")
@case_argument
@note_option
@json_option
def approve_command(case: str, note: str, *, as_json: bool) -> int:
    """Approve what somebody else asked for."""
    return _vote(case, "approval", note, as_json=as_json)


@click.command("refuse")
@case_argument
@note_option
@json_option
def refuse_command(case: str, note: str, *, as_json: bool) -> int:
    """Refuse it; one refusal ends a request."""
    return _vote(case, "refusal", note, as_json=as_json)


def _vote(case: str, verdict: str, note: str, *, as_json: bool) -> int:
    with asking() as api:
        try:
            answer = api.post(f"/v1/cases/{case}/{verdict}", {"note": note})
        except NotPermitted as error:
            denied = _recorded_denial(api, case)
            if denied is None:
                raise
            screen.show({"denied": str(error), **denied}, _not_yours(denied), as_json=as_json)
            return 1
    screen.show(answer, _voted_lines(answer, verdict), as_json=as_json)
    return 0


def _recorded_denial(api: "Api", case: str) -> dict[str, Any] | None:
    """The policy's denial of a vote stands at the end of the case, with its rules."""
    found = api.get(f"/v1/cases/{case}")
    last = found["timeline"][-1]
    decision = last["sections"].get("decision")
    if last["kind"] != "decision:evaluated" or not decision or "erased" in decision:
        return None
    return {
        "record": last["id"],
        "index": last["index"],
        "decision": decision,
        "names": found["names"],
    }


def _not_yours(denied: dict[str, Any]) -> Iterator[str]:
    yield f"{screen.state('denied')} by the policy: this is not yours to decide"
    yield from screen.denial(denied["decision"], denied["names"])
    yield ""
    case, _, _ = denied["record"].partition("/")
    yield f"recorded as entry #{denied['index']}: muniment show {screen.short(case)}"


def _voted_lines(case: dict[str, Any], verdict: str) -> Iterator[str]:
    names, id_ = case["names"], screen.short(case["case"])
    asker = screen.who(names, case["requester"])
    what = f"{screen.wanted(case)} for {asker}"
    if verdict == "refusal":
        yield f"refused: {id_}, {what}"
    elif case["waits_for"]:
        yield f"your approval counts; {id_} still waits for {screen.groups(case['waits_for'])}"
        yield from screen.fields((("can approve", screen.people(names, case["could_approve"])),))
    elif case["state"] == "issued":
        yield f"extended: {id_}, {what}, until {screen.until(case['until'], now())}"
    else:
        yield f"{screen.state('approved')}: {id_}, {what}, {length(case['seconds'])}"
        yield f"  next, {asker}: muniment credential {id_}"


@click.command("revoke")
@case_argument
@note_option
@json_option
def revoke_command(case: str, note: str, *, as_json: bool) -> int:
    """Take somebody's access away, now."""
    with asking() as api:
        answer = api.post(f"/v1/cases/{case}/revocation", {"note": note})
    screen.show(answer, [over_line(answer)], as_json=as_json)
    return 0 if answer["closed"] else 1


@click.group("reviews", invoke_without_command=True)
@click.option("--all", "everything", is_flag=True, help="Those that are closed as well.")
@json_option
@click.pass_context
def reviews_command(ctx: click.Context, *, everything: bool, as_json: bool) -> None:
    """
    Reviews of broken glass that somebody else must look at, and of access.

    Without a command those of broken glass are listed; `list` shows reviews of access.
    """
    if ctx.invoked_subcommand is not None:
        return
    with asking() as api:
        answer = api.get("/v1/reviews")
    if not everything:
        answer["reviews"] = [row for row in answer["reviews"] if row["state"] == "open"]

    def lines() -> Iterator[str]:
        if not answer["reviews"]:
            yield "nothing is to be reviewed"
            return
        yield from screen.table(
            ("REVIEW", "STATE", "ABOUT", "OPENED", "DUE"),
            [_review_row(row) for row in answer["reviews"]],
        )
        id_ = screen.short(answer["reviews"][0]["case"])
        yield ""
        yield screen.faint("look:    muniment show ABOUT")
        yield screen.faint(f"answer:  muniment reviews answer {id_} --verdict justified --note …")

    screen.show(answer, lines(), as_json=as_json)


def _review_row(row: dict[str, Any]) -> tuple[str, ...]:
    at = now()
    late = row["state"] == "open" and datetime.fromisoformat(row["until"]) < at
    due = screen.until(row["until"], at) if row["state"] == "open" else ""
    return (
        screen.short(row["case"]),
        row["state"],
        screen.short(row["about"]),
        screen.moment(row["opened_at"], at),
        screen.paint(due, "red") if late else due,
    )


@reviews_command.command("answer")
@case_argument
@click.option("--verdict", type=click.Choice(["justified", "not-justified"]), required=True)
@note_option
@json_option
def reviews_answer(case: str, verdict: str, note: str, *, as_json: bool) -> None:
    """Close a review. CASE is the review, or the case that it is about."""
    with asking() as api:
        review = _review_of(api, case)
        answer = api.post(f"/v1/reviews/{review}/answer", {"verdict": verdict, "note": note})
    about = screen.short(answer["case"])
    screen.show(answer, [f"recorded: {about} was {verdict}; the review is closed"], as_json=as_json)


def _review_of(api: "Api", case: str) -> str:
    rows = api.get("/v1/reviews")["reviews"]
    found = [row["case"] for row in rows if row["about"].startswith(case)]
    return found[0] if len(found) == 1 else case
