"""What an operator asks of the running service."""

from collections.abc import Iterator

import click

from muniment.interfaces.cli import screen
from muniment.interfaces.cli.client import asking
from muniment.interfaces.cli.screen import json_option


@click.group("projections")
def projections_command() -> None:
    """The lists that are made from the log."""


@projections_command.command("rebuild")
@json_option
def projections_rebuild(*, as_json: bool) -> None:
    """Compare the lists with the log, say what differs, and build them anew."""
    with asking() as api:
        answer = api.post("/v1/projections/rebuild")

    def lines() -> Iterator[str]:
        for case in answer["wrong"]:
            yield screen.paint(f"was not as the log says: {case}", "red")
        cases = screen.counted(answer["cases"], "case")
        yield f"built anew from the log: {cases}; {len(answer['wrong']) or 'none'} had been wrong"

    screen.show(answer, lines(), as_json=as_json)


@click.group("clock")
def clock_command() -> None:
    """The wall clock, as the service sees it."""


@clock_command.command("accept")
@json_option
def clock_accept(*, as_json: bool) -> None:
    """Vouch for a wall clock that moved, on the record; then access is granted again."""
    with asking() as api:
        answer = api.post("/v1/clock/acceptance")
    step = answer["step_ms"] / 1000
    said = f"recorded: you vouch for a clock that moved by {step:+.3f} s"
    screen.show(answer, [said], as_json=as_json)
