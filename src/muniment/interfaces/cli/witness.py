"""`muniment witness`: remember the heads of logs, and cosign what continues them."""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from muniment.evidence.witness import Evidence
    from muniment.interfaces.witness.folder import WitnessFolder

folder_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("witness")
def witness_command() -> None:
    """Run a witness: it cosigns the heads of logs, and never two histories of one."""


@witness_command.command("init")
@folder_argument
@click.option(
    "--name", required=True, help="Name of the witness: a URL without scheme that you control."
)
@json_option
def witness_init(folder: Path, name: str, *, as_json: bool) -> None:
    """Make a witness in DIR: a key, an empty memory, and no logs yet."""
    vkey = _folder(folder).make(name).verifier.vkey
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "name": name, "key": vkey}))
        return
    click.echo(f"made {folder}: witness.key, witness.db, witness.toml")
    click.echo(f"the witness's public key, for auditors: {vkey}")
    click.echo(f"\nnext: muniment witness add {folder} LOG_KEY; muniment witness serve {folder}")


@witness_command.command("add")
@folder_argument
@click.argument("log_key", metavar="VKEY_OR_FILE")
@click.option("--origin", help="Origin of the log, where it is not the name of its key.")
@json_option
def witness_add(folder: Path, log_key: str, origin: str | None, *, as_json: bool) -> None:
    """
    Trust this key of a log: from now on its checkpoints are cosigned.

    A log that changes its key has both known here while it signs with either.
    """
    from muniment.interfaces.witness.folder import read_vkey

    path = Path(log_key)
    is_file = "+" not in log_key or path.is_file()
    key = read_vkey(_text(path) if is_file else log_key)
    origin = origin if origin is not None else key.name
    _folder(folder).add(origin, key)
    if as_json:
        click.echo(json.dumps({"origin": origin, "key": key.vkey}))
        return
    click.echo(f"the log `{printable(origin)}` is known, with the key {printable(key.vkey)}")


@witness_command.command("remove")
@folder_argument
@click.argument("origin")
@json_option
def witness_remove(folder: Path, origin: str, *, as_json: bool) -> None:
    """Cosign no more for the log of this origin. What was cosigned stays remembered."""
    _folder(folder).remove(origin)
    if as_json:
        click.echo(json.dumps({"origin": origin}))
        return
    click.echo(f"the log `{printable(origin)}` is not cosigned any more")


@witness_command.command("serve")
@folder_argument
@click.option(
    "--listen", metavar="HOST:PORT", default="127.0.0.1:8418", show_default=True, help="Address."
)
@click.option("--tls-certificate", type=FILE, help="Certificate chain, PEM.")
@click.option("--tls-key", type=FILE, help="Its key, PEM.")
@click.option("--behind-proxy", is_flag=True, help="A proxy in front speaks TLS.")
def witness_serve(
    folder: Path,
    listen: str,
    tls_certificate: Path | None,
    tls_key: Path | None,
    *,
    behind_proxy: bool,
) -> None:
    """Answer `add-checkpoint`, until SIGTERM."""
    from muniment.interfaces.witness.serving import Listening, serve

    serve(_folder(folder), Listening(listen, tls_certificate, tls_key, behind_proxy))


@witness_command.command("status")
@folder_argument
@json_option
def witness_status(folder: Path, *, as_json: bool) -> None:
    """What is remembered of each log."""
    from muniment.evidence.witness import Cosigned, Outcome

    place = _folder(folder)
    key, logs = place.key().verifier, place.logs()
    store = place.store(key)
    try:
        heads, kept, dropped = store.heads(), store.kept(), store.dropped()
    finally:
        store.close()
    told = []
    for origin in sorted({*logs, *heads}):
        note = heads.get(origin)
        head = Cosigned.open(note, origin, key) if note is not None else None
        told.append(
            {
                "origin": origin,
                "known": origin in logs,
                "size": head and head.checkpoint.size,
                "root": head and base64.b64encode(head.checkpoint.root).decode(),
                "cosigned_at": head and _moment(head.at),
                "forked": kept.get((origin, Outcome.FORKED), 0),
                "unproven": kept.get((origin, Outcome.UNPROVEN), 0),
                "dropped": dropped.get(origin, 0),
            }
        )
    if as_json:
        click.echo(json.dumps({"name": key.name, "key": key.vkey, "logs": told}, indent=2))
        return
    click.echo(f"witness {key.vkey}")
    for log in told:
        click.echo("\n".join(_log_lines(log)))
    if not told:
        click.echo("it knows no log yet")


@witness_command.command("evidence")
@folder_argument
@json_option
def witness_evidence(folder: Path, *, as_json: bool) -> None:
    """
    Print the refused requests that speak against a log.

    `forked`: the log's key signed two roots for one size, and both notes are here: proof for
    anybody. `unproven`: a larger checkpoint came with a proof that does not reach it; ask the log.
    """
    place = _folder(folder)
    store = place.store(place.key().verifier)
    try:
        found, dropped = store.evidence(), store.dropped()
    finally:
        store.close()
    if as_json:
        told = [_evidence_json(evidence) for evidence in found]
        click.echo(json.dumps({"evidence": told, "dropped": dropped}, indent=2))
        return
    for evidence in found:
        click.echo("\n".join(_evidence_lines(evidence)))
    if not found:
        click.echo("nothing was refused that a known log had signed")


def _folder(path: Path) -> "WitnessFolder":
    from muniment.interfaces.witness.folder import WitnessFolder

    return WitnessFolder(path)


def _text(path: Path) -> str:
    from muniment.errors import ConfigInvalid

    try:
        with path.open(encoding="utf-8") as file:
            return file.read(4096)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"`{path}` is neither a key nor a file that holds one") from error


# --- how it looks -----------------------------------------------------------------------------


def printable(text: str) -> str:
    """Without what would steer a terminal; an origin and a note say what their log likes."""
    return "".join(char if char.isprintable() else "�" for char in text)


def _moment(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _log_lines(log: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield f"{printable(log['origin'])}{'' if log['known'] else ' (not cosigned any more)'}"
    if log["size"] is None:
        yield "  never cosigned"
    else:
        yield f"  cosigned at {log['cosigned_at']}: size {log['size']}, root {log['root']}"
    if log["forked"]:
        yield click.style(f"  {log['forked']} × two roots for one size: it has forked", fg="red")
    if log["unproven"]:
        yield click.style(f"  {log['unproven']} × a checkpoint without its proof", fg="yellow")
    if log["dropped"]:
        yield f"  {log['dropped']} more were refused so, and not kept"
    if log["forked"] or log["unproven"]:
        yield "  see `muniment witness evidence`"


def _evidence_lines(evidence: "Evidence") -> Iterator[str]:
    yield f"{evidence.outcome} at size {evidence.size}, refused at {_moment(evidence.at)}"
    yield f"  the log signed, and sent with a proof from size {evidence.old}:"
    yield from _note_lines(evidence.note)
    if evidence.cosigned is not None:
        yield "  the log signed, and this witness cosigned:"
        yield from _note_lines(evidence.cosigned)
    yield ""


def _note_lines(note: bytes) -> Iterator[str]:
    yield from (f"    {printable(line)}" for line in note.decode().split("\n"))


def _evidence_json(evidence: "Evidence") -> dict[str, Any]:
    return {
        "origin": evidence.origin,
        "outcome": evidence.outcome,
        "refused_at": _moment(evidence.at),
        "size": evidence.size,
        "root": base64.b64encode(evidence.root).decode(),
        "request": evidence.request.decode(),
        "cosigned": evidence.cosigned and evidence.cosigned.decode(),
    }
