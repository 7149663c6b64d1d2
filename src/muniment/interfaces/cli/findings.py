"""Findings: look at what detectors say, and answer it."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import click

from muniment.evidence import moment
from muniment.interfaces.cli import screen
from muniment.interfaces.cli.client import asking, now, reason_option
from muniment.interfaces.cli.screen import case_argument, json_option, length_option

#: how many lines the list prints, unless told
LISTED = 50
OPEN = ("open", "acknowledged", "assigned")
STATES = (*OPEN, "closed")
SEVERITIES = ("info", "low", "medium", "high", "critical")
RESOLUTIONS = ("remedied", "explained", "adopted", "false-alarm")
_COLOURS = {"medium": "yellow", "high": "red", "critical": "red"}
#: why access did not end, in words
_WHY = {
    "not-asked": "",
    "no-access": "there was no access to end",
    "no-detector": "none: the rule has no enrolled workload that acts for it",
    "not-permitted": "none: the policy does not let its workload revoke it",
}


@click.group("findings", invoke_without_command=True)
@click.option("--all", "everything", is_flag=True, help="Those that are closed as well.")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), metavar="STATE")
@click.option(
    "--severity", "severities", multiple=True, type=click.Choice(SEVERITIES), metavar="SEVERITY"
)
@click.option("--rule", default="", help="Of this detector.")
@click.option("--resource", default="", help="About this resource.")
@click.option("--about", metavar="CASE", callback=screen.beginning, help="About this access case.")
@click.option("--limit", type=click.IntRange(1), default=LISTED, show_default=True)
@json_option
@click.pass_context
def findings_command(
    ctx: click.Context,
    /,
    *,
    everything: bool,
    states: tuple[str, ...],
    severities: tuple[str, ...],
    limit: int,
    as_json: bool,
    **wanted: str | None,
) -> None:
    """What detectors say should worry somebody, the newest first."""
    if ctx.invoked_subcommand is not None:
        return
    shown = states or (() if everything else OPEN)
    query = {"state": list(shown), "severity": list(severities), **wanted}
    answer = _pages({name: value for name, value in query.items() if value}, limit)

    def lines() -> Iterator[str]:
        if not answer["findings"]:
            yield "no findings"
            if wanted["rule"]:
                yield screen.faint("which rules there are:  muniment detect --list")
            return
        yield from screen.table(
            ("FINDING", "STATE", "SEVERITY", "RULE", "WHERE", "FOUND", "WITH"),
            [_row(row, answer["names"]) for row in answer["findings"]],
        )
        newest = screen.short(answer["findings"][0]["finding"])
        yield ""
        if answer["next"]:
            yield screen.faint(f"the newest {limit}; more with --limit")
        yield screen.faint(f"look:   muniment findings show {newest}")
        if waiting := [each for each in answer["findings"] if each["state"] in OPEN]:
            id_ = screen.short(waiting[0]["finding"])
            yield screen.faint(f"close:  muniment findings close {id_} --as explained --reason …")

    screen.show(answer, lines(), as_json=as_json)


def _pages(query: dict[str, Any], limit: int) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    names: dict[str, str | None] = {}
    with asking() as api:
        while True:
            page = api.get("/v1/findings", **query)
            rows += page["findings"]
            names |= page["names"]
            if len(rows) > limit or page["next"] is None:
                break
            query["before"] = page["next"]
    more = rows[limit - 1]["finding"] if len(rows) > limit else page["next"]
    return {"findings": rows[:limit], "next": more, "names": names}


def _row(row: dict[str, Any], names: screen.Names) -> tuple[str, ...]:
    return (
        screen.short(row["finding"]),
        row["state"],
        _severity(row["severity"]),
        row["rule"] + (screen.paint(" (access ended)", "red") if row["ended_access"] else ""),
        row["resource"],
        screen.moment(row["opened_at"], now()),
        screen.who(names, row["assigned"]) if row["assigned"] else "",
    )


def _severity(word: str) -> str:
    return screen.paint(word, _COLOURS.get(word))


@findings_command.command("show")
@case_argument
@json_option
def findings_show(case: str, *, as_json: bool) -> None:
    """One finding: its rule, what it is about, and its history."""
    with asking() as api:
        answer = api.get(f"/v1/findings/{case}")
    screen.show(answer, _lines(answer), as_json=as_json)


def _lines(found: dict[str, Any]) -> Iterator[str]:
    names, rule = found["names"], found["definition"]
    yield screen.paint(found["finding"], bold=True)
    yield from screen.fields(_facts(found))
    yield ""
    yield f"  {screen.paint(rule['id'], bold=True)}  {screen.clean(rule['title'])}"
    yield from screen.hanging(screen.clean(rule["advice"]), 4)
    day = ""
    for line in found["timeline"]:
        yield from [""] if not day else []
        if line["at"][:10] != day:
            day = line["at"][:10]
            yield screen.faint(f"  {day}, times are UTC; # is the entry in the log")
        yield from _record_lines(line, names)
    if not found["closed"]:
        yield ""
        id_ = screen.short(found["finding"])
        yield screen.faint(f"close:  muniment findings close {id_} --as explained --reason …")


def _facts(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    names, at = found["names"], now()
    yield "state", _standing(found)
    yield "severity", f"{_severity(found['severity'])}, {found['nature']}"
    yield "what", screen.sentence(names, _detail(found["timeline"]))
    yield "where", found["resource"]
    yield "who", screen.people(names, found["subjects"])
    yield "cases", ", ".join(map(screen.short, found["about"]))
    yield (
        "ends access",
        ", ".join(map(screen.short, found["ends"])) or _WHY.get(found["why_not"], found["why_not"]),
    )
    first, last = (screen.moment(found[name], at) for name in ("first_seen", "last_seen"))
    yield "seen", first if found["count"] == 1 else f"{found['count']} times, {first} to {last}"


def _detail(timeline: list[dict[str, Any]]) -> str:
    """The newest sentence about it that was not erased."""
    for line in reversed(timeline):
        said = line["sections"].get("detail")
        if said is not None:
            return f"ERASED under rule {said['erased']}" if "erased" in said else said["summary"]
    return ""


def _standing(found: dict[str, Any]) -> str:
    names, state = found["names"], found["state"]
    if state == "assigned":
        return f"assigned to {screen.who(names, found['assigned'])}"
    if state != "closed":
        return str(state)
    owner = f" by {screen.who(names, found['owner'])}" if found["owner"] else ""
    quiet = found["muted_until"]
    until = f"; the same is quiet until {screen.until(quiet, now())}" if quiet else ""
    return f"closed: {found['resolution']}{owner}{until}"


def _record_lines(line: dict[str, Any], names: screen.Names) -> Iterator[str]:
    record, sections = line["record"], line["sections"]
    by = screen.who(names, record["actor"]["principal"])
    number = screen.faint(f"#{line['index']:<5}")
    yield f"  {number} {line['at'][11:23]}  {line['kind']:<20}  {by}"
    told = []
    if line["kind"] == "finding:seen":
        told.append(f"{record['count']} more")
    if line["kind"] == "finding:assigned":
        told.append(f"to {screen.who(names, record['to'])}")
    if record.get("ends"):
        told.append(f"ends access of {', '.join(map(screen.short, record['ends']))}")
    for name in ("detail", "note"):
        told += _section_lines(sections.get(name), names)
    for words in told:
        yield from screen.hanging(words, 24)


def _section_lines(said: dict[str, Any] | None, names: screen.Names) -> Iterator[str]:
    if said is None:
        return
    if "erased" in said:
        yield f"ERASED under rule {said['erased']}"
        return
    words = (said.get("summary", ""), said.get("detail", ""), said.get("text", ""))
    yield from (screen.sentence(names, each) for each in words if each)
    if said.get("evidence"):
        yield f"shown by {', '.join(map(screen.clean, said['evidence']))}"


@findings_command.command("acknowledge")
@case_argument
@json_option
def findings_acknowledge(case: str, *, as_json: bool) -> None:
    """Say that you have read it."""
    _answer(case, "acknowledgement", {}, as_json=as_json)


@findings_command.command("assign")
@case_argument
@click.argument("login")
@json_option
def findings_assign(case: str, login: str, *, as_json: bool) -> None:
    """Say who is to deal with it."""
    _answer(case, "assignment", {"to": login}, as_json=as_json)


@findings_command.command("close")
@case_argument
@click.option("--as", "resolution", type=click.Choice(RESOLUTIONS), required=True)
@reason_option
@click.option("--owner", default="", metavar="LOGIN", help="Who answers for what is adopted.")
@length_option("--quiet", "quiet", "0s", "How long the same raises no finding, as in 30d.")
@json_option
def findings_close(
    case: str, resolution: str, reason: str, owner: str, quiet: int, *, as_json: bool
) -> None:
    """
    Say what it was, and why.

    `remedied`: it is not so any more. `explained`: it is meant to be so. `adopted`: somebody
    answers for it from now on. Or `false-alarm`.
    """
    until = moment.text(now() + timedelta(seconds=quiet)) if quiet else None
    body = {"resolution": resolution, "reason": reason, "owner": owner, "until": until}
    _answer(case, "closing", body, as_json=as_json)


def _answer(case: str, what: str, body: dict[str, Any], *, as_json: bool) -> None:
    with asking() as api:
        answer = api.post(f"/v1/findings/{case}/{what}", body)
    line = f"recorded: {screen.short(answer['finding'])} is {_standing(answer)}"
    screen.show(answer, [line], as_json=as_json)
