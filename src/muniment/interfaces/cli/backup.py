"""`muniment backup` and `restore`: copies of an installation, and the way back from one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muniment.evidence.note import VerifierKey
from muniment.interfaces.cli.trust import parse_key

if TYPE_CHECKING:
    from muniment.runtime.backup import Manifest
    from muniment.runtime.restore import Restored

PAGE = "docs/how-to/back-up-and-restore.md"
#: exit code of a restore that is whole, of a log that has to stay refused
STAYS_REFUSED = 4
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def _key(_ctx: click.Context, _param: click.Parameter, value: str | None) -> VerifierKey | None:
    return None if value is None else parse_key(value)


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@click.command("backup")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="A new folder for the copy.",
)
@json_option
def backup_command(folder: Path, output: Path, *, as_json: bool) -> None:
    """
    Copy the installation in DIR, also while it runs: log, sections, settings, policy.

    The signing key, the head store and the erasure ledger are left out on purpose.
    """
    from muniment.runtime.backup import LEFT_OUT, make_backup

    made = make_backup(folder, output)
    if as_json:
        click.echo(json.dumps({**_made(output, made), "left_out": list(LEFT_OUT)}, indent=2))
        return
    click.echo(f"wrote {output}, for its owner only:")
    click.echo(f"  the log of `{made.origin}` at size {made.size:,}, with sections and documents")
    click.echo(f"  {len(made.files) - 1} files: settings, policy, hashes of tokens, public key")
    click.echo("not in it:")
    for what, why in LEFT_OUT.items():
        click.echo(f"  {what}: {why}")


@click.command("restore")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--from", "backup", type=FOLDER, metavar="FOLDER", help="What `muniment backup` made."
)
@click.option(
    "--from-mirror",
    "mirror",
    type=FOLDER,
    metavar="FOLDER",
    help="A mirror of the log, for the rest.",
)
@click.option(
    "--log-key",
    "key",
    callback=_key,
    metavar="VKEY|PATH",
    help="Public key of the log; without it the installation's own, or the backup's.",
)
@json_option
def restore_command(
    folder: Path,
    backup: Path | None,
    mirror: Path | None,
    key: VerifierKey | None,
    *,
    as_json: bool,
) -> int:
    """
    Put a backup back into DIR: an empty folder, or its own installation without the database.

    Nothing is written over, and nothing is signed. A log that is older than the head in the head
    store stays refused until a mirror has given what is missing: the exit code is 4 then, and
    where there is no head store.
    """
    if backup is None and mirror is None:
        raise click.UsageError("say what from: --from BACKUP, --from-mirror MIRROR, or both")
    from muniment.runtime.restore import restore
    from muniment.stores.tile_directory import TileDirectory

    tiles = TileDirectory(mirror) if mirror is not None else None
    found = restore(folder, backup=backup, mirror=tiles, key=key)
    if as_json:
        click.echo(json.dumps(_restored(found), indent=2))
    else:
        for line in _lines(found):
            click.echo(line)
    return STAYS_REFUSED if _stays_refused(found) else 0


def _stays_refused(found: "Restored") -> bool:
    """As far as the folder knows: a server that keeps the head says so itself."""
    if _goes_on_in_postgresql(found.folder):
        return False
    return found.remembered is None or found.behind > 0


def _goes_on_in_postgresql(folder: Path) -> bool:
    from muniment.runtime.settings import read_settings

    return read_settings(folder).store is not None


def _made(output: Path, made: "Manifest") -> dict[str, Any]:
    return {
        "backup": str(output),
        "origin": made.origin,
        "size": made.size,
        "checkpoint": made.checkpoint.decode(),
        "files": {path: digest.hex() for path, digest in made.files.items()},
    }


def _restored(found: "Restored") -> dict[str, Any]:
    return {
        "folder": str(found.folder),
        "written": [str(path) for path in found.written],
        "size": found.size,
        "taken_from_mirror": found.mirrored,
        "sections_lost": found.audited.lost,
        "remembered": found.remembered,
        "behind": found.behind,
        "missing": [str(path) for path in found.missing],
        "key_from": found.key,
    }


def _lines(found: "Restored") -> Iterator[str]:
    for path in found.written:
        yield f"wrote {path}"
    yield f"the log holds at size {found.size:,}, held against {found.key} public key"
    if found.mirrored:
        yield f"  {found.mirrored:,} entries came from the mirror"
    if found.audited.lost:
        yield (
            f"  {found.audited.lost:,} sealed sections are lost: no mirror has them. Evidence of "
            "them stays; names, reasons and inputs in them do not"
        )
    for path in found.missing:
        yield f"missing, put it back: {path}"
    if _goes_on_in_postgresql(found.folder):
        yield "the head store of `[store]` decides whether the log may go on: muniment migrate"
    elif found.remembered is None:
        yield from _without_heads()
    elif found.behind:
        yield from _behind(found.behind)
    else:
        yield f"the head store remembers size {found.remembered:,}: the log may go on"


def _behind(entries: int) -> Iterator[str]:
    yield f"THE LOG STAYS REFUSED: the head store remembers {entries:,} entries more."
    yield "  what a mirror has: muniment restore DIR --from-mirror MIRROR"
    yield from _new_log("if no mirror has them")


def _without_heads() -> Iterator[str]:
    yield "THE LOG STAYS REFUSED: there is no head store, so nobody knows what was signed last."
    yield "  put the head store back as it was last, never an older copy of it"
    yield from _new_log("if it is lost")


def _new_log(when: str) -> Iterator[str]:
    yield f"  {when}: begin a new log with another name, and keep this one to read: {PAGE}"
