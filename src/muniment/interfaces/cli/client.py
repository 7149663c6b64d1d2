"""The everyday commands: ask, decide, look. They speak to the service and decide nothing."""

import contextlib
import re
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muniment.access.window import text as length
from muniment.errors import Conflict, Malformed, NotPermitted, Refused, Unavailable
from muniment.interfaces.cli import screen
from muniment.interfaces.cli.screen import case_argument, json_option, length_option

if TYPE_CHECKING:
    from muniment.interfaces.cli.api import Api

#: seconds between looks at a case that waits: the service's own advice at first, then less often
FIRST_LOOK, LONGEST_LOOK = 2.0, 10.0
#: how many lines `list` prints, unless told
LISTED = 50
STATES = (
    "pending",
    "approved",
    "authorized",
    "issued",
    "expired",
    "revoked",
    "ended",
    "undone",
    "denied",
    "refused",
    "withdrawn",
    "lapsed",
)

resource_argument = click.argument("resource")
role_argument = click.argument("role")
note_option = click.option("--note", default="", help="For the record.")
ticket_option = click.option("--ticket", default="", metavar="ID", help="Ticket this is about.")
incident_option = click.option("--incident", default="", metavar="ID", help="Incident, likewise.")
emergency_option = click.option(
    "--emergency", is_flag=True, help="Break glass: no approval first, a review afterwards."
)
reason_option = click.option("--reason", required=True, metavar="TEXT", help="Why, for people.")


@contextlib.contextmanager
def asking() -> Iterator["Api"]:
    """The service; what it refuses is said in the reader's own terms."""
    from muniment.interfaces.cli.api import Api

    api = Api.from_environment()
    try:
        yield api
    except Refused as error:
        if "prn_" not in str(error):
            raise
        raise type(error)(_to_reader(api, str(error))) from error
    finally:
        api.close()


def _to_reader(api: "Api", message: str) -> str:
    """A refusal is about who asked: his own id becomes `you`."""
    try:
        own = api.get("/v1/whoami")["principal"]
    except (Refused, Unavailable):
        return message
    return screen.sentence({own: "you"}, message)


def now() -> datetime:
    from muniment.runtime import clock

    return clock.now()


# --- ask ------------------------------------------------------------------------------------------


@click.command("whoami")
@json_option
def whoami_command(*, as_json: bool) -> None:
    """Who the service takes you for."""
    with asking() as api:
        me, url = api.get("/v1/whoami"), api.url

    def lines() -> Iterator[str]:
        names = me["names"]
        yield f"{screen.paint(screen.who(names, me['principal']), bold=True)}, {me['type']}"
        yield from screen.fields(
            (
                ("groups", ", ".join(me["groups"]) or "none"),
                ("sponsor", screen.who(names, me["sponsor"]) if me["sponsor"] else ""),
                ("known by", me["assurance"]),
                ("in the log", me["principal"]),
                ("service", url),
            )
        )

    screen.show(me, lines(), as_json=as_json)


@click.command("roles")
@json_option
def roles_command(*, as_json: bool) -> None:
    """What can be asked for."""
    with asking() as api:
        answer = api.get("/v1/roles")

    def lines() -> Iterator[str]:
        roles = sorted(answer["roles"], key=lambda role: (role["resource"], role["role"]))
        if not roles:
            yield "nothing can be asked for: the service has no roles"
            return
        columns = ("resource", "role", "tier", "environment", "data", "connector")
        yield from screen.table(
            [name.upper() for name in columns], [[role[name] for name in columns] for role in roles]
        )
        first = roles[0]
        yield ""
        yield screen.faint(
            f"what it takes: muniment policy explain {first['resource']} {first['role']} --for 30m"
        )

    screen.show(answer, lines(), as_json=as_json)


@click.command("request")
@resource_argument
@role_argument
@length_option("--for", "seconds", "30m")
@reason_option
@ticket_option
@incident_option
@emergency_option
@click.option("--wait", is_flag=True, help="Until it is decided.")
@json_option
def request_command(
    resource: str,
    role: str,
    seconds: int,
    reason: str,
    ticket: str,
    incident: str,
    *,
    emergency: bool,
    wait: bool,
    as_json: bool,
) -> int:
    """Ask for ROLE on RESOURCE; `muniment roles` lists them."""
    context = ask_context(seconds, reason, ticket, incident, emergency=emergency)
    with asking() as api:
        case = ask(api, resource, role, context)
        if wait and case["state"] == "pending":
            for line in [] if as_json else pending_lines(case):
                click.echo(line, err=True)
            case = wait_for_decision(api, case["case"])
    screen.show(case, requested_lines(case), as_json=as_json)
    return 0 if case["state"] in ("pending", "approved", "authorized", "issued") else 1


def ask_context(
    seconds: int, reason: str, ticket: str, incident: str, *, emergency: bool
) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "business_justification": reason,
        "ticket": ticket,
        "incident": incident,
        "emergency": emergency,
    }


def ask(api: "Api", resource: str, role: str, context: dict[str, Any]) -> dict[str, Any]:
    """The case that a request became, and the policy's decision beside it."""
    task = api.ask(resource, role, context)["task"]
    return {**_case(api, task["id"]), "decision": task.get("decision")}


def _case(api: "Api", case: str) -> dict[str, Any]:
    """What a case is, without how it came to be."""
    found = api.get(f"/v1/cases/{case}")
    return {name: found[name] for name in found if name not in ("timeline", "checkpoint")}


def requested_lines(case: dict[str, Any]) -> Iterator[str]:
    """What became of a request, and what to do next."""
    id_ = screen.short(case["case"])
    if case["state"] == "denied":
        yield f"{screen.state('denied')} by the policy"
        if case["decision"]:
            yield from screen.denial(case["decision"], case["names"])
        yield ""
        yield f"recorded as {id_}: muniment show {id_}"
    elif case["state"] == "pending":
        yield from pending_lines(case)
    elif case["state"] == "approved":
        yield from _approved_lines(case)
    else:
        yield f"{id_} is {screen.standing(case, now())}: muniment show {id_}"


def pending_lines(case: dict[str, Any]) -> Iterator[str]:
    names, id_ = case["names"], screen.short(case["case"])
    yield f"{screen.state('pending')}: {id_} waits for {screen.groups(case['waits_for'])}"
    able = screen.people(names, case["could_approve"])
    rules = screen.decisive(case["decision"]) if case.get("decision") else []
    yield from screen.fields(
        (
            ("you asked", f"{screen.wanted(case)} for {length(case['seconds'])}"),
            ("can approve", able or screen.paint("nobody: ask who runs Muniment", "red")),
            ("lapses", screen.until(case["deadline"], now()) if case["deadline"] else ""),
            ("by", ", ".join(rule["id"] for rule in rules)),
        )
    )
    yield "next"
    yield from screen.fields(
        (
            ("they", f"muniment approve {id_}"),
            ("then you", f"muniment credential {id_}"),
        )
    )


def _approved_lines(case: dict[str, Any]) -> Iterator[str]:
    names, id_ = case["names"], screen.short(case["case"])
    by = screen.people(names, case["approved_by"])
    glass = case["emergency"] and case["marked"]
    how = "glass broken, to be reviewed by somebody else" if glass else "no approval needed"
    yield f"{screen.state('approved')}: {id_}, {f'by {by}' if by else how}"
    yield from screen.fields(
        (
            ("you get", f"{screen.wanted(case)} for {length(case['seconds'])}"),
            ("pick up by", screen.until(case["deadline"], now()) if case["deadline"] else ""),
            ("next", f"muniment credential {id_}"),
        )
    )


def wait_for_decision(api: "Api", case: str, most: float | None = None) -> dict[str, Any]:
    """
    Look until the case is no longer pending, or `most` seconds have passed.

    A service that is away for a while is waited for like a decision, when there is a limit.
    """
    begun, pause = time.monotonic(), FIRST_LOOK
    while True:
        left = None if most is None else most - (time.monotonic() - begun)
        try:
            found = _case(api, case)
        except Unavailable:
            if left is None or left <= 0:
                raise
            found = None
        if found is not None and (found["state"] != "pending" or (left is not None and left <= 0)):
            return {**found, "decision": None}
        time.sleep(pause if left is None else max(min(pause, left), 0.05))
        pause = min(pause * 1.25, LONGEST_LOOK)


@click.command("withdraw")
@case_argument
@json_option
def withdraw_command(case: str, *, as_json: bool) -> None:
    """Take back a request that was not picked up."""
    with asking() as api:
        answer = withdraw(api, case)
    id_ = screen.short(answer["task"]["id"])
    screen.show(answer, [f"withdrawn: {id_}"], as_json=as_json)


def withdraw(api: "Api", case: str) -> dict[str, Any]:
    """The profile's own way of cancelling takes whole ids only."""
    whole = api.get(f"/v1/cases/{case}")["case"]
    return api.post(f"/access/v1/requests/{whole}/cancel")


@click.command("credential")
@case_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(["env", "pgpass", "json"]),
    default="env",
    show_default=True,
    help="Lines for a shell, a line for ~/.pgpass, or everything.",
)
@click.option("--receipt", type=click.Path(path_type=Path), help="Keep the receipt in this file.")
@click.option("--json", "as_json", is_flag=True, help="As `--format json`.")
def credential_command(case: str, form: str, receipt: Path | None, *, as_json: bool) -> int:
    """
    Pick up the credential of an approved case. Again: a new secret, the old one dies.

    \b
    eval "$(muniment credential CASE)" && psql
    """  # noqa: D301 (click's mark for lines that are not to be wrapped)
    from muniment.interfaces.cli import run

    if receipt is not None and receipt.exists():
        raise Conflict(f"`{receipt}` exists already; choose another file")
    with asking() as api:
        answer = api.post(f"/v1/cases/{case}/credential")
    if receipt is not None and answer["credential"] is not None:
        receipt.write_text(answer["receipt"], "utf-8")
    if as_json or form == "json":
        screen.show(answer, (), as_json=True)
        return 0 if answer["credential"] else 1
    if answer["credential"] is None:
        for line in not_any_more_lines(answer):
            click.echo(line, err=True)
        return 1
    lines = (
        run.exports(answer["credential"]) if form == "env" else [run.pgpass(answer["credential"])]
    )
    for line in lines:
        click.echo(line)
    id_ = screen.short(answer["case"])
    ends = screen.until(answer["until"], now())
    click.echo(f"# access until {ends}; give it back with: muniment end {id_}", err=True)
    return 0


def not_any_more_lines(answer: dict[str, Any]) -> Iterator[str]:
    """At the pick-up everything is asked again, and the answer can be another."""
    yield f"not handed out: today's policy and directory do not bear {screen.short(answer['case'])}"
    if answer["decision"]["outcome"] == "deny":
        yield from screen.denial(answer["decision"], answer["names"])
    if answer["state"] == "pending":
        yield from pending_lines(answer)


@click.command("extend")
@case_argument
@length_option("--for", "seconds", None, "Length of the whole window, from its start.")
@reason_option
@ticket_option
@incident_option
@json_option
def extend_command(
    case: str, seconds: int, reason: str, ticket: str, incident: str, *, as_json: bool
) -> int:
    """Ask to keep a live grant for longer."""
    body = {"seconds": seconds, "reason": reason, "ticket": ticket, "incident": incident}
    with asking() as api:
        answer = api.post(f"/v1/cases/{case}/extension", body)
    denied = answer["decision"]["outcome"] == "deny"

    def lines() -> Iterator[str]:
        id_, ends = screen.short(answer["case"]), screen.until(answer["until"], now())
        if denied:
            yield f"{screen.state('denied')} by the policy; {id_} goes on until {ends}"
            yield from screen.denial(answer["decision"], answer["names"])
        elif answer["waits_for"]:
            able = screen.people(answer["names"], answer["could_approve"])
            yield f"{screen.state('pending')}: waits for {screen.groups(answer['waits_for'])}"
            pairs = (
                ("can approve", able),
                ("they", f"muniment approve {id_}"),
                ("until then", ends),
            )
            yield from screen.fields(pairs)
        else:
            yield f"extended: {id_} until {ends}"

    screen.show(answer, lines(), as_json=as_json)
    return 1 if denied else 0


@click.command("end")
@case_argument
@json_option
def end_command(case: str, *, as_json: bool) -> int:
    """Give access back before its time."""
    with asking() as api:
        answer = api.post(f"/v1/cases/{case}/end")
    screen.show(answer, [over_line(answer)], as_json=as_json)
    return 0 if answer["closed"] else 1


def over_line(case: dict[str, Any]) -> str:
    return f"{screen.short(case['case'])}: {screen.standing(case, now())}"


# --- decide ---------------------------------------------------------------------------------------


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
    """Broken glass that somebody else must look at."""
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


# --- look -----------------------------------------------------------------------------------------


@click.command("list")
@click.option("--all", "everyone", is_flag=True, help="Everybody's, where the policy lets you.")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), metavar="STATE")
@click.option("--limit", type=click.IntRange(1), default=LISTED, show_default=True)
@json_option
def list_command(states: tuple[str, ...], limit: int, *, everyone: bool, as_json: bool) -> None:
    """Your cases, the newest first."""
    with asking() as api:
        answer = _pages(api, states, limit, everyone=everyone)

    def lines() -> Iterator[str]:
        if not answer["cases"]:
            yield "no cases" if states or everyone else "you have no cases; muniment request …"
            return
        yield from screen.table(
            ("CASE", "STATE", "WHO", "ACCESS", "ASKED", "ENDS"),
            [_case_row(row, answer["names"]) for row in answer["cases"]],
        )
        if answer["next"]:
            yield screen.faint(f"the newest {limit}; more with --limit")

    screen.show(answer, lines(), as_json=as_json)


def _pages(api: "Api", states: tuple[str, ...], limit: int, *, everyone: bool) -> dict[str, Any]:
    query: dict[str, Any] = {"everyone": everyone, "state": list(states)}
    rows: list[dict[str, Any]] = []
    names: dict[str, str | None] = {}
    while True:
        page = api.get("/v1/cases", **query)
        rows += page["cases"]
        names |= page["names"]
        if len(rows) > limit or page["next"] is None:
            break
        query["before"] = page["next"]
    more = rows[limit - 1]["case"] if len(rows) > limit else page["next"]
    return {"cases": rows[:limit], "next": more, "names": names}


def _case_row(row: dict[str, Any], names: screen.Names) -> tuple[str, ...]:
    at = now()
    return (
        screen.short(row["case"]),
        screen.state(row["state"]),
        screen.who(names, row["requester"]),
        f"{row['resource']} {row['role']}" + (screen.paint(" !", "red") if row["marked"] else ""),
        screen.moment(row["opened_at"], at),
        _ends(row, at),
    )


def _ends(row: dict[str, Any], at: datetime) -> str:
    if row["groups"] and row["state"] == "pending":
        return f"waits for {', '.join(row['groups'])}"
    if row["state"] in ("issued", "authorized") and row["until"]:
        return screen.until(row["until"], at)
    over = row["state"] in ("expired", "revoked", "ended", "undone")
    return screen.paint("not yet seen gone", "red") if over and row["about"] != "closed" else ""


@click.command("show")
@case_argument
@json_option
def show_command(case: str, *, as_json: bool) -> None:
    """One case with its whole timeline."""
    with asking() as api:
        answer = api.get(f"/v1/cases/{case}")
    screen.show(answer, screen.case_lines(answer, now()), as_json=as_json)


@click.command("whois")
@click.argument("text")
@json_option
def whois_command(text: str, *, as_json: bool) -> None:
    """
    From an account's name or a log line to its case.

    TEXT is whatever holds the name of a grant; `-` reads it from standard input.
    """
    if text == "-":
        text = sys.stdin.read()
    if re.search(r"\w", text) is None:
        raise Malformed("there is nothing to look for")
    with asking() as api:
        answer = api.get("/v1/whois", text=text)
    screen.show(answer, screen.case_lines(answer, now()), as_json=as_json)


@click.command("overdue")
@json_option
def overdue_command(*, as_json: bool) -> int:
    """
    Access that had to end and was not yet seen gone.

    The exit code is 1 if there is any.
    """
    with asking() as api:
        answer = api.get("/v1/overdue")

    def lines() -> Iterator[str]:
        if not answer["cases"]:
            yield "nothing is overdue: every access that had to end was seen gone"
            return
        at = now()
        yield from screen.table(
            ("CASE", "STATE", "WHO", "ACCESS", "HAD TO END"),
            [
                (
                    screen.short(row["case"]),
                    screen.state(row["state"]),
                    screen.who(answer["names"], row["requester"]),
                    f"{row['resource']} {row['role']}",
                    screen.paint(screen.until(row["until"], at), "red"),
                )
                for row in answer["cases"]
            ],
        )

    screen.show(answer, lines(), as_json=as_json)
    return 1 if answer["cases"] else 0
