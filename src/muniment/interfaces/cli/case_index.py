"""
`muniment completeness`: prove from the daily index that a case went no further, or never was.

`check` reaches errors and evidence only, and opens only the files that its arguments name.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from muniment.errors import NotCanonical
from muniment.evidence import case_proof, moment, verify
from muniment.evidence.bundle import MAX_BUNDLE
from muniment.evidence.case_proof import MAX_PROOF_FILE, Completeness, Shown
from muniment.evidence.note import VerifierKey
from muniment.evidence.record import check_case_id
from muniment.interfaces.cli.trust import FILE
from muniment.interfaces.cli.verify import LOG_KEY
from muniment.interfaces.verifier.given import read
from muniment.interfaces.verifier.outcome import mark, wrapped

NOT_PROVED = (
    "that the index leaves out no record (`audit --full` makes each index anew)",
    "anything about what was appended after it",
    "that the log showed everybody this history",
)
_WORDS = {
    Completeness.COMPLETE: "the bundle has every record that the case had then",
    Completeness.CUT: "the case had later records by then, and the bundle does not have them",
    Completeness.NEWER: "the bundle goes on after the index, which says nothing about its end: "
    "have it proved again once there is a newer index",
}


def _whole_id(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """What does not exist has no unique beginning."""
    try:
        return check_case_id(value)
    except NotCanonical as error:
        raise click.BadParameter(f"write the whole id of a case: {error}") from error


@click.group("completeness")
def completeness_command() -> None:
    """Prove that a case went no further, or never was, as of the last daily index of all cases."""


@completeness_command.command("prove")
@click.argument("case", callback=_whole_id)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def completeness_prove(case: str, output: Path, *, as_json: bool) -> None:
    """
    Write the proof about CASE into a new file. CASE is a whole id: it need not exist.

    Whoever may export a case may have it proved; about all others, who may audit.
    """
    from muniment.interfaces.cli.client import asking
    from muniment.stores.backup import write_file

    with asking() as api:
        data = api.text(f"/v1/evidence/index/{case}").encode()
    write_file(output, data)
    if as_json:
        click.echo(json.dumps({"case": case, "file": str(output), "bytes": len(data)}))
    else:
        click.echo(f"wrote {output}: muniment completeness check {output} --log-key KEY")


@completeness_command.command("check")
@click.argument("file", type=FILE)
@LOG_KEY
@click.option("--bundle", type=FILE, help="A bundle of the case: does it have every record?")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def completeness_check(
    ctx: click.Context,
    file: Path,
    log_key: tuple[VerifierKey, ...],
    bundle: Path | None,
    *,
    as_json: bool,
) -> None:
    """Check a proof offline: FILE, and perhaps a bundle, against the log's public key."""
    shown = case_proof.verify(read(file, MAX_PROOF_FILE), log_key)
    completeness = None
    if bundle is not None:
        proved = verify.verify(read(bundle, MAX_BUNDLE), log_key)
        completeness = case_proof.compare(shown, proved)
    if as_json:
        click.echo(json.dumps(_json(file, shown, completeness), indent=2))
    else:
        for line in _lines(file, shown, completeness):
            click.echo(line)
    ctx.exit(0 if completeness in (None, Completeness.COMPLETE) else 1)


def _lines(file: Path, shown: Shown, completeness: Completeness | None) -> Iterator[str]:
    newest, place, at = shown.checkpoint, shown.place, moment.text(shown.at)
    yield f"{file}"
    yield ""
    yield f"  {mark('✓')}  `{newest.origin}` signed its checkpoint at size {newest.size:,}"
    yield f"  {mark('✓')}  its index of the {shown.cases:,} cases at size {shown.size:,} is in it"
    if place is None:
        yield f"  {mark('✓')}  {shown.case} is not among them"
    else:
        yield f"  {mark('✓')}  {shown.case} ended there with record {place.position}"
    if completeness is not None:
        sign = "✓" if completeness is Completeness.COMPLETE else "✗"
        yield f"  {mark(sign)}  {_WORDS[completeness]}"
    yield ""
    verdict = completeness or ("ABSENT" if place is None else "PRESENT")
    yield f"{verdict} as of log size {shown.size:,}; recorded {at}, in entry {shown.index:,}"
    yield wrapped(f"Not proved: {'; '.join(_not_proved(shown))}.")


def _not_proved(shown: Shown) -> Iterator[str]:
    if (between := shown.index - shown.size) > 0:
        yield f"anything about the {between:,} entries between that size and the record"
    yield from NOT_PROVED


def _json(file: Path, shown: Shown, completeness: Completeness | None) -> dict[str, Any]:
    place = shown.place
    return {
        "file": str(file),
        "case": shown.case,
        "present": place is not None,
        "position": place.position if place is not None else None,
        "leaf": place.leaf.hex() if place is not None else None,
        "as_of": shown.size,
        "at": moment.text(shown.at),
        "index": shown.index,
        "cases": shown.cases,
        "bundle": completeness,
        "log": {
            "origin": shown.checkpoint.origin,
            "size": shown.checkpoint.size,
            "root": shown.checkpoint.root.hex(),
        },
        "not_proved": list(_not_proved(shown)),
    }
