"""The everyday commands: ask for access, pick it up, give it back; and how all clients ask."""

import contextlib
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muniment.access.window import text as length
from muniment.errors import Conflict, MunimentError, Refused, Unavailable
from muniment.interfaces.cli import screen
from muniment.interfaces.cli.screen import case_argument, json_option, length_option

if TYPE_CHECKING:
    from muniment.interfaces.cli.api import Api

#: seconds between looks at a case that waits: the service's own advice at first, then less often
FIRST_LOOK, LONGEST_LOOK = 2.0, 10.0

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
                *_session_fields(me.get("session")),
                ("in the log", me["principal"]),
                ("service", url),
            )
        )

    screen.show(me, lines(), as_json=as_json)


def _session_fields(session: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    """By whom, how and until when somebody is signed in; nothing for a static token."""
    if session is not None:
        yield "signed in", f"by {session['provider']} ({session['method']})"
        yield "authenticated", screen.moment(session["authenticated_at"], now())
        yield "second factor", session["second_factor"] or "none"
        yield "until", screen.until(session["expires"], now())


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
            f"what it takes: muniment policy explain {first['resource']} {first['role']} "
            "--for 30m --ticket ID"
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
    asked = api.ask(resource, role, context)
    return {**_case(api, asked["task"]["id"]), "decision": asked.get("decision")}


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
    screen.show(answer, [f"withdrawn: {screen.short(answer['case'])}"], as_json=as_json)


def withdraw(api: "Api", case: str) -> dict[str, Any]:
    """Also what was approved: the profile's own way of cancelling ends there."""
    return api.post(f"/v1/cases/{case}/withdrawal")


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
    try:
        with asking() as api:
            answer = api.post(f"/v1/cases/{case}/credential")
    except MunimentError:
        _fail_in_shell(form, as_json=as_json)
        raise
    if receipt is not None and answer["credential"] is not None:
        receipt.write_text(answer["receipt"], "utf-8")
    if as_json or form == "json":
        screen.show(answer, (), as_json=True)
        return 0 if answer["credential"] else 1
    if answer["credential"] is None:
        for line in not_any_more_lines(answer):
            click.echo(line, err=True)
        _fail_in_shell(form, as_json=as_json)
        return 1
    lines = (
        run.exports(answer["credential"]) if form == "env" else [run.pgpass(answer["credential"])]
    )
    for line in lines:
        click.echo(line)
    id_ = screen.short(answer["case"])
    ends = screen.until(answer["until"], now())
    click.echo(f"# access until {ends}; give it back with: muniment end {id_}", err=True)
    if receipt is None:  # whoever keeps this line, too, can tell a rewritten log
        click.echo(f"# the log's head: {_head(answer['receipt'])}", err=True)
    return 0


def _head(receipt: str) -> str:
    """Size and root of the checkpoint in a receipt."""
    from muniment.evidence.proof import Receipt

    _, size, root, *_ = Receipt.parse(receipt.encode()).checkpoint.decode().split("\n")
    return f"{size} {root}"


def _fail_in_shell(form: str, *, as_json: bool) -> None:
    """What is to be evaluated by a shell fails there too: `eval ""` would succeed, and go on."""
    if form == "env" and not as_json:
        click.echo("false")


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
