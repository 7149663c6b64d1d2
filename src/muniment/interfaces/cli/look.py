"""Look: lists, one case with its timeline, and from a log line to the case behind it."""

import re
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from muniment.access.window import seconds
from muniment.errors import Malformed
from muniment.interfaces.cli import health, screen, story
from muniment.interfaces.cli.client import asking, now
from muniment.interfaces.cli.period import a_moment
from muniment.interfaces.cli.screen import json_option

if TYPE_CHECKING:
    from muniment.interfaces.cli.api import Api

#: how many lines `list` prints, unless told
LISTED = 50
#: how many stories `show` prints, unless told
STORIES = 10
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
        if answer["beyond"]:
            yield screen.faint(f"{answer['beyond']:,} more are beyond what you may read")

    screen.show(answer, lines(), as_json=as_json)


def _pages(api: "Api", states: tuple[str, ...], limit: int, *, everyone: bool) -> dict[str, Any]:
    query: dict[str, Any] = {"everyone": everyone, "state": list(states)}
    rows: list[dict[str, Any]] = []
    names: dict[str, str | None] = {}
    beyond = 0
    while True:
        page = api.get("/v1/cases", **query)
        rows += page["cases"]
        beyond += page.get("beyond", 0)
        names |= page["names"]
        if len(rows) > limit or page["next"] is None:
            break
        query["before"] = page["next"]
    more = rows[limit - 1]["case"] if len(rows) > limit else page["next"]
    return {"cases": rows[:limit], "next": more, "names": names, "beyond": beyond}


def _case_row(row: dict[str, Any], names: screen.Names) -> tuple[str, ...]:
    at = now()
    return (
        screen.short(row["case"]),
        screen.state(row["state"]),
        screen.who(names, row["requester"]),
        f"{row['resource']} {row['role']}"
        + (screen.paint(" (emergency)", "red") if row["marked"] else ""),
        screen.moment(row["opened_at"], at),
        _ends(row, at),
    )


def _ends(row: dict[str, Any], at: datetime) -> str:
    if row["groups"] and row["state"] == "pending":
        return f"waits for {', '.join(row['groups'])}"
    if row["state"] in ("issued", "authorized") and row["until"]:
        return screen.until(row["until"], at)
    over = row["state"] in ("expired", "revoked", "ended", "undone")
    return screen.paint("not yet seen gone", "red") if over and not row["closed"] else ""


@click.command("show")
@click.argument("case", required=False, callback=screen.beginning)
@click.option("--since", metavar="TIME", help="Those asked for since then: 2026-11-01, or 7d.")
@click.option("--who", metavar="LOGIN", help="Those that this person asked for.")
@click.option("--resource", metavar="RESOURCE", help="Those for this resource.")
@click.option("--limit", type=click.IntRange(1, 1000), default=STORIES, show_default=True)
@json_option
def show_command(
    case: str | None,
    since: str | None,
    who: str | None,
    resource: str | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """
    One case with its whole timeline, or those of many.

    CASE is its id, or any beginning of it that no other has. Without it, all cases that fit are
    shown: what was asked, decided and done, and who says so.
    """
    if case is not None:
        if since or who or resource:
            raise click.UsageError("CASE says already which one; leave the rest out")
        with asking() as api:
            answer = api.get(f"/v1/cases/{case}")
        screen.show(answer, _story(answer), as_json=as_json)
        return
    if not (since or who or resource):
        raise click.UsageError("say which case, or --since, --who or --resource")
    with asking() as api:
        answer = _stories(api, limit, since=_since(since), who=who, resource=resource)
    screen.show(answer, _each(answer, limit), as_json=as_json)


def _since(typed: str | None) -> str | None:
    """A moment as the service reads it, from a date, a moment, or how long ago it was."""
    if typed is None:
        return None
    try:
        return (now() - timedelta(seconds=seconds(typed))).isoformat()
    except Malformed:
        pass
    try:
        return a_moment(typed)
    except Malformed as error:
        raise click.UsageError(f"--since: {error}, or how long ago it was, as in 7d") from None


def _stories(api: "Api", limit: int, **wanted: str | None) -> dict[str, Any]:
    query = {name: value for name, value in wanted.items() if value is not None}
    found: list[dict[str, Any]] = []
    names: dict[str, str | None] = {}
    before: str | None = None
    while len(found) < limit:
        more = {"before": before} if before is not None else {}
        page = api.get("/v1/stories", limit=min(limit - len(found), 50), **query, **more)
        found += page["stories"]
        names |= page["names"]
        before = page["next"]
        if before is None:
            break
    return {"stories": found, "names": names, "next": before}


def _each(answer: dict[str, Any], limit: int) -> Iterator[str]:
    if not answer["stories"]:
        yield "no case fits"
        return
    for number, each in enumerate(answer["stories"]):
        if number:
            yield ""
        yield from _story({**each, "names": answer["names"]})
    if answer["next"]:
        yield ""
        yield screen.faint(f"the newest {limit}; more with --limit")


def _story(case: dict[str, Any]) -> Iterator[str]:
    """Its records, what sources say of it, and what is known of that."""
    observed, judged = case.get("observed"), case.get("health")
    yield from screen.case_lines(case, now(), story.between(observed))
    yield from story.coverage(observed)
    if judged is not None:
        yield from health.glance(judged, case["case"])


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
    screen.show(answer, _story(answer), as_json=as_json)


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
