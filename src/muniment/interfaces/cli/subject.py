"""`muniment evidence subject`: all that is recorded about one person, in a file for him."""

import json
from pathlib import Path
from urllib.parse import quote

import click

from muniment.interfaces.cli import screen
from muniment.interfaces.cli.client import asking
from muniment.interfaces.cli.screen import json_option


@click.command("subject")
@click.argument("person", metavar="PERSON")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE")
@json_option
def evidence_subject(person: str, output: Path, *, as_json: bool) -> None:
    """
    Write all that is recorded about PERSON into one file: a login, or an id of the log.

    For the person himself, or for an auditor. That it was taken is recorded.
    """
    from muniment.interfaces.cli.evidence import _new_file  # it makes this one of its commands

    with _new_file(output) as file, asking() as api:
        data = api.post_for_bytes(f"/v1/people/{quote(person, safe='')}/evidence", {})
        file.write(data)
    summary = json.loads(data)["summary"]
    answer = {"file": str(output), "bytes": len(data), **summary}
    sections = screen.counted(summary["given"], "sealed section")
    lines = [
        f"wrote {output}: {screen.counted(summary['records'], 'record')}, {len(data):,} bytes",
        f"with {sections}; withheld, as they are somebody else's: {summary['withheld']}",
    ]
    # a service of an older version counts neither
    if summary.get("reviewed"):
        lines.append(f"with {screen.counted(summary['reviewed'], 'line')} of reviews of many")
    if summary.get("events"):
        events = screen.counted(summary["events"], "raw event")
        lines.append(f"{events} not in it: under `events` the file says how each is had")
    screen.show(answer, lines, as_json=as_json)
