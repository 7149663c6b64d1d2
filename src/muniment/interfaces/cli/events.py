"""
`muniment events`: have what sources sent shown unchanged, and check it offline.

`check` reaches errors, evidence and access only, and opens only the files of its arguments.
"""

import json
import re
from pathlib import Path
from typing import Final

import click

from muniment.evidence import event_evidence
from muniment.evidence.event_evidence import MAX_EVIDENCE
from muniment.evidence.note import VerifierKey
from muniment.interfaces.cli.screen import beginning
from muniment.interfaces.cli.trust import FILE
from muniment.interfaces.cli.verify import LOG_KEY
from muniment.interfaces.verifier import event_words
from muniment.interfaces.verifier.given import read

_NUMBERS: Final = re.compile(r"[0-9]{1,15}(-[0-9]{1,15})?", re.ASCII)
_SOURCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,255}", re.ASCII)


@click.group("events")
def events_command() -> None:
    """Have what sources sent shown unchanged, and check it offline."""


def _source(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is not None and _SOURCE.fullmatch(value) is None:
        raise click.BadParameter("that is no name of a source")
    return value


def _numbers(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is not None and _NUMBERS.fullmatch(value) is None:
        raise click.BadParameter("write a number, or the first and the last: `12`, `12-40`")
    return value


@events_command.command("prove")
@click.argument("source", required=False, callback=_source)
@click.argument("number", required=False, callback=_numbers)
@click.option("--case", callback=beginning, help="All events that are linked to this case.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def events_prove(
    source: str | None, number: str | None, case: str | None, output: Path, *, as_json: bool
) -> None:
    """
    Write events into a new file: event NUMBER of SOURCE (or `12-40`), or those of a case, or both.

    Whoever may export a case names it; whoever may audit need not.
    """
    from muniment.interfaces.cli.client import asking
    from muniment.stores.backup import write_file

    if (source is None) != (number is None) or (source is None and case is None):
        raise click.UsageError("name a SOURCE and a NUMBER, or a --case, or all of them")
    path = "/v1/evidence/events" if source is None else f"/v1/evidence/events/{source}/{number}"
    with asking() as api:
        answer = api.file(path, **({} if case is None else {"case": case}))
    write_file(output, answer.content)
    waiting = int(answer.headers.get("Muniment-Waiting", "0"))
    if as_json:
        told = {"file": str(output), "bytes": len(answer.content), "waiting": waiting}
        click.echo(json.dumps(told))
        return
    click.echo(f"wrote {output}: muniment events check {output} --log-key KEY")
    if waiting:
        click.echo(f"{waiting:,} more came just now: have them proved in a few seconds")


@events_command.command("check")
@click.argument("file", type=FILE)
@LOG_KEY
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def events_check(file: Path, log_key: tuple[VerifierKey, ...], *, as_json: bool) -> None:
    """Check events offline: FILE against the log's public key."""
    shown = event_evidence.verify(read(file, MAX_EVIDENCE), log_key)
    if as_json:
        click.echo(json.dumps(event_words.as_json(file, shown), indent=2))
        return
    for line in event_words.lines(file, shown):
        click.echo(line)
