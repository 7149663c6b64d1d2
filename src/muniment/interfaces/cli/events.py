"""
`muniment events`: have what sources sent shown unchanged, and check it offline.

`check` reaches errors, evidence and access only, and opens only the files of its arguments.
"""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from muniment.evidence import event_evidence, moment
from muniment.evidence.event_evidence import MAX_EVIDENCE, Shown, ShownEvent
from muniment.evidence.note import VerifierKey
from muniment.interfaces.cli.screen import beginning, clean
from muniment.interfaces.cli.trust import FILE
from muniment.interfaces.cli.verify import LOG_KEY
from muniment.interfaces.verifier.given import read
from muniment.interfaces.verifier.outcome import mark, wrapped

NOT_PROVED: Final = (
    "that the source told the truth: who can write into it can lie in it",
    "that no events were held back, from the log or from this file",
    "to whose access they belong, beyond what they say themselves",
    "that the log showed everybody this history",
)
_ERASED: Final = "that an event which is called erased is gone everywhere"
_NUMBERS: Final = re.compile(r"[0-9]{1,15}(-[0-9]{1,15})?", re.ASCII)
_SOURCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,255}", re.ASCII)
#: characters of one event on the screen; a program takes `--json`
_MOST_SHOWN: Final = 2_000


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
        click.echo(json.dumps(_json(file, shown), indent=2))
        return
    for line in _lines(file, shown):
        click.echo(line)


def _lines(file: Path, shown: Shown) -> Iterator[str]:
    newest = shown.checkpoint
    records = len({event.index for event in shown.events})
    there = [event for event in shown.events if event.raw is not None]
    gone = len(shown.events) - len(there)
    yield f"{file}"
    yield ""
    yield f"  {mark('✓')}  `{newest.origin}` signed its checkpoint at size {newest.size:,}"
    yield f"  {mark('✓')}  its records of events are in it: {records:,}"
    yield f"  {mark('✓')}  events that are under the roots of these records: {len(there):,}"
    if gone:
        yield f"  {mark('✓')}  and erased ones, by their commitments alone: {gone:,}"
    for event in sorted(shown.events, key=lambda one: (one.index, one.number)):
        yield ""
        yield from _event(event)
    yield ""
    yield wrapped(
        "Proved: each event is, bit for bit, what was received under its number before the time "
        "of its record, by the log's clock."
    )
    yield wrapped(f"Not proved: {'; '.join(_not_proved(shown))}.")


def _event(event: ShownEvent) -> Iterator[str]:
    at = moment.text(event.at)
    yield f"  {clean(event.source)} {event.number}, recorded {at} in entry {event.index:,}"
    if event.raw is None:
        yield "    erased: what it said is gone, and nothing else can be put in its place"
        return
    text = event.raw.decode("utf-8", "replace")
    yield f"    {clean(text[:_MOST_SHOWN])}"
    if len(text) > _MOST_SHOWN:
        yield f"    … and {len(text) - _MOST_SHOWN:,} more characters: see --json"


def _not_proved(shown: Shown) -> Iterator[str]:
    yield from NOT_PROVED
    if any(event.raw is None for event in shown.events):
        yield _ERASED


def _json(file: Path, shown: Shown) -> dict[str, Any]:
    return {
        "file": str(file),
        "events": [_event_json(event) for event in shown.events],
        "log": {
            "origin": shown.checkpoint.origin,
            "id": shown.log_id.hex(),
            "size": shown.checkpoint.size,
            "root": shown.checkpoint.root.hex(),
        },
        "not_proved": list(_not_proved(shown)),
    }


def _event_json(event: ShownEvent) -> dict[str, Any]:
    return {
        "source": event.source,
        "number": event.number,
        "text": None if event.raw is None else event.raw.decode("utf-8", "replace"),
        "raw": None if event.raw is None else base64.b64encode(event.raw).decode(),
        "erased": event.raw is None,
        "record": event.record,
        "index": event.index,
        "at": moment.text(event.at),
    }
