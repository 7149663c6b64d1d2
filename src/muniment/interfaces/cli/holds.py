"""Holds: keep records from erasure, and let go of them by two."""

from collections.abc import Callable, Iterator
from typing import Any

import click

from muniment.errors import Malformed
from muniment.interfaces.cli import screen
from muniment.interfaces.cli.client import asking, now, reason_option
from muniment.interfaces.cli.period import a_moment
from muniment.interfaces.cli.screen import json_option

_hold_argument = click.argument("hold", metavar="HOLD", callback=screen.beginning)


def _moment(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else a_moment(value)
    except Malformed as error:
        raise click.BadParameter(str(error)) from error


def _moment_option(name: str, help: str) -> Callable[[Any], Any]:
    return click.option(name, metavar="MOMENT", callback=_moment, help=help)


@click.group("holds")
def holds_command() -> None:
    """What is kept from erasure, and until two say that it need not be."""


@holds_command.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that were released as well.")
@json_option
def holds_list(*, everything: bool, as_json: bool) -> None:
    """Holds that stand, the newest first."""
    with asking() as api:
        answer = api.get("/v1/holds", everything=everything)

    def lines() -> Iterator[str]:
        if not answer["holds"]:
            yield "no holds"
        for each in answer["holds"]:
            yield from _lines(each, answer["names"])

    screen.show(answer, lines(), as_json=as_json)


@holds_command.command("place")
@click.option("--case", "cases", multiple=True, metavar="CASE", help="A case.")
@click.option("--person", "people", multiple=True, metavar="LOGIN", help="Whatever is about him.")
@click.option("--resource", "resources", multiple=True, help="Whatever is about it.")
@_moment_option("--since", "Only what lies after: 2026-01-01, or 2026-01-01T08:00Z.")
@_moment_option("--until", "Only what lies before; of a day its beginning, in UTC.")
@click.option("--matter", required=True, help="What it is for; sealed, as the reason is.")
@click.option("--reason", default="", help="Why, for whoever reads it later.")
@json_option
def holds_place(*, as_json: bool, **asked: Any) -> None:
    """Keep from erasure whatever one of these names, from now on."""
    body = {
        name: list(value) if isinstance(value, tuple) else value for name, value in asked.items()
    }
    with asking() as api:
        answer = api.post("/v1/holds", body)
    lines = ["recorded: nothing of this is erased from now on", *_lines(answer, answer["names"])]
    screen.show(answer, lines, as_json=as_json)


@holds_command.command("release")
@_hold_argument
@reason_option
@json_option
def holds_release(hold: str, reason: str, *, as_json: bool) -> None:
    """Say that HOLD is needed no more. It holds until somebody else confirms it."""
    with asking() as api:
        answer = api.post(f"/v1/holds/{hold}/release", {"reason": reason})
    id_ = screen.short(answer["hold"])
    lines = [
        f"recorded: {id_} is to be released, and holds until somebody else says so, too",
        screen.faint(f"somebody else: muniment holds confirm {id_}"),
    ]
    screen.show(answer, lines, as_json=as_json)


@holds_command.command("confirm")
@_hold_argument
@click.option("--note", default="", help="For whoever reads it later; sealed.")
@json_option
def holds_confirm(hold: str, note: str, *, as_json: bool) -> None:
    """Confirm a release that somebody else asked for."""
    with asking() as api:
        answer = api.post(f"/v1/holds/{hold}/confirmation", {"note": note})
    lines = [f"recorded: {screen.short(answer['hold'])} is released"]
    screen.show(answer, lines, as_json=as_json)


def _lines(hold: dict[str, Any], names: screen.Names) -> Iterator[str]:
    matter = hold["matter"] or {}
    said = matter.get("erased") or matter.get("matter", "")
    title = screen.paint(screen.short(hold["hold"]), bold=True)
    yield f"{title}  {hold['state']}  {screen.clean(said)}"
    placed = screen.moment(hold["placed_at"], now())
    yield from screen.fields(
        [
            ("cases", ", ".join(hold["cases"])),
            ("people", screen.people(names, hold["people"])),
            ("resources", ", ".join(map(screen.clean, hold["resources"]))),
            ("period", _period(hold)),
            ("placed", f"{placed} by {screen.who(names, hold['placed_by'])}"),
        ]
    )


def _period(hold: dict[str, Any]) -> str:
    if not (hold["since"] or hold["until"]):
        return ""
    return f"{hold['since'] or 'the beginning'} to {hold['until'] or 'for ever'}"
