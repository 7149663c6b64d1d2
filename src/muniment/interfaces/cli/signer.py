"""`muniment signer`: a log's signing key in a process of its own."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from muniment.interfaces.signer.folder import SignerFolder

folder_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group("signer")
def signer_command() -> None:
    """Keep a signing key apart from the service: it never signs two histories."""


@signer_command.command("init")
@folder_argument
@click.option("--origin", required=True, help="Name of the log: `installation.origin`.")
@json_option
def signer_init(folder: Path, origin: str, *, as_json: bool) -> None:
    """Make a key in DIR that has signed nothing yet."""
    vkey = _folder(folder).make(origin).verifier.vkey
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "key": vkey}))
        return
    click.echo(f"made {folder}: signer.key, signer.state")
    click.echo("\nnext: muniment signer serve, and in the service's `muniment.toml`:")
    click.echo(f'\n[signer]\nsocket = "…"\nkey = "{vkey}"')


@signer_command.command("serve")
@folder_argument
@click.option(
    "--socket",
    "path",
    required=True,
    type=click.Path(path_type=Path),
    help="Where to listen: a Unix socket, in a folder that is yours alone.",
)
@click.option(
    "--client",
    type=click.IntRange(min=0),
    metavar="UID",
    help="The user that the service runs as, where it is another.",
)
def signer_serve(folder: Path, path: Path, client: int | None) -> None:
    """Sign checkpoints, until SIGTERM."""
    from muniment.interfaces.signer.serving import serve

    serve(_folder(folder), path, client)


@signer_command.command("status")
@folder_argument
@json_option
def signer_status(folder: Path, *, as_json: bool) -> None:
    """What was signed last; not while it serves."""
    place = _folder(folder)
    key, state = place.key().verifier, place.state()
    memory = state.read()
    state.close()
    told = {
        "key": key.vkey,
        "confirmed": {"size": memory.confirmed.size, "root": memory.confirmed.root.hex()},
        "newest": {"size": memory.newest.size, "root": memory.newest.root.hex()},
    }
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(f"signer {key.vkey}")
    if not memory.newest.size:
        click.echo("it has signed nothing yet")
        return
    click.echo(f"signed last: size {memory.newest.size}, root {memory.newest.root.hex()}")
    click.echo(f"which went on from size {memory.confirmed.size}")


def _folder(path: Path) -> "SignerFolder":
    from muniment.interfaces.signer.folder import SignerFolder

    return SignerFolder(path)
