"""
`muniment verify` and `replay`: a file and a public key; nothing else.

This module and `replay.py` reach errors, evidence, access and policy only, and open only the files
that their arguments name: no network, no database, no clock.
"""

import json
from pathlib import Path

import click
from cryptography.x509 import Certificate

from muniment.access.check import Checked
from muniment.errors import NoteInvalid
from muniment.evidence import verdict as grades
from muniment.evidence.keys import named
from muniment.evidence.note import VerifierKey
from muniment.evidence.witness_policy import WitnessPolicy
from muniment.interfaces.cli.trust import FILE, as_parameter, parse_key, reader, trusting
from muniment.interfaces.verifier import given
from muniment.interfaces.verifier.outcome import examine, meets

#: what a reader can demand beyond consistency
REQUIRABLE = (*grades.REQUIRABLE, "complete", "replay")


def log_keys(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> tuple[VerifierKey, ...]:
    try:
        return named([parse_key(value) for value in values])
    except NoteInvalid as error:
        raise click.BadParameter(str(error)) from error


def read_head(path: Path) -> bytes:
    """A checkpoint, or the one inside a receipt that came with a credential."""
    with as_parameter():
        return given.read_head(path)


LOG_KEY = click.option(
    "--log-key",
    required=True,
    multiple=True,
    callback=log_keys,
    metavar="VKEY|PATH",
    help="Public key of the log, or a file with it; each, if you were given several.",
)


@click.command("verify")
@click.argument("file", type=FILE)
@LOG_KEY
@click.option(
    "--head",
    "heads",
    multiple=True,
    type=FILE,
    help="A checkpoint or receipt that you kept; the bundle must not contradict it.",
)
@trusting
@click.option(
    "--require",
    "required",
    multiple=True,
    type=click.Choice(REQUIRABLE),
    help="Fail unless this holds as well.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def verify_command(
    ctx: click.Context,
    file: Path,
    log_key: tuple[VerifierKey, ...],
    heads: tuple[Path, ...],
    witnesses: WitnessPolicy | None,
    own_witnesses: tuple[VerifierKey, ...],
    tsa_roots: tuple[Certificate, ...],
    required: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Verify an evidence bundle offline: FILE against the log's public key."""
    whom = reader(log_key, witnesses, own_witnesses, tsa_roots)
    with as_parameter():
        outcome = examine(file, log_key, heads, whom)
    unmet = [name for name in required if not meets(outcome, name, _replays)]
    if as_json:
        click.echo(json.dumps(outcome.json(unmet), indent=2))
    else:
        for line in outcome.lines(unmet):
            click.echo(line)
    ctx.exit(0 if outcome.holds and not unmet else 1)


@click.command("replay")
@click.argument("file", type=FILE)
@LOG_KEY
@click.option("--head", "heads", multiple=True, type=FILE, help="As with `verify`.")
@click.option(
    "--require",
    "required",
    multiple=True,
    type=click.Choice(["replay"]),
    help="Fail as well if a decision cannot be recomputed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def replay_command(
    ctx: click.Context,
    file: Path,
    log_key: tuple[VerifierKey, ...],
    heads: tuple[Path, ...],
    required: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Recompute the decisions of an evidence bundle from the policy inside it."""
    from muniment.interfaces.cli import replay

    with as_parameter():
        outcome = examine(file, log_key, heads)
    decisions = replay.replay_all(outcome.checked) if outcome.checked is not None else []
    if as_json:
        click.echo(json.dumps(replay.as_json(outcome, decisions), indent=2))
    else:
        for line in replay.lines(outcome, decisions):
            click.echo(line)
    holds = outcome.holds and not any(each.contradicts for each in decisions)
    if required:
        holds = holds and all(each.replayed for each in decisions)
    ctx.exit(0 if holds else 1)


def _replays(checked: Checked) -> bool:
    # only here does verification need the policy engine
    from muniment.interfaces.cli.replay import replay_all

    return all(decision.replayed for decision in replay_all(checked))
