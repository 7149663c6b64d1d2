"""`muniment migrate`: from the files that `init` made to PostgreSQL."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muniment.errors import ConfigInvalid

if TYPE_CHECKING:
    from muniment.runtime.migrate import Moved

PAGE = "docs/how-to/several-nodes.md"


@click.command("migrate")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    envvar="MUNIMENT_DIR",
    default=Path(),
    show_default="the current directory, or MUNIMENT_DIR",
    help="Configuration folder.",
)
@click.option(
    "--sql",
    "kind",
    type=click.Choice(["log", "heads", "events"]),
    help="Print what makes that database, or brings it up to date; run it there as its owner.",
)
@click.option(
    "--user", default="muniment", show_default=True, help="With --sql: the role of the service."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def migrate_command(folder: Path, kind: Any, user: str, *, as_json: bool) -> None:
    """
    Move the log to PostgreSQL, for several nodes; prove that it is the same.

    The service must not run. `[store]` in the settings says where to; what stays behind in the
    files signs nothing any more.
    """
    if kind is not None:
        click.echo(_sql(kind, user), nl=False)
        return
    from muniment.runtime.migrate import migrate

    moved = migrate(folder)
    if as_json:
        click.echo(json.dumps(_json(moved), indent=2))
        return
    for line in _lines(moved):
        click.echo(line)


def _sql(kind: Any, user: str) -> str:
    try:
        from muniment.stores.postgresql.setup import setup_sql
    except ImportError as error:
        raise ConfigInvalid(
            f"this needs `{error.name}`: pip install 'muniment[postgresql]'"
        ) from error
    return setup_sql(kind, user)


def _json(moved: "Moved") -> dict[str, Any]:
    found = moved.audited
    return {
        "log_id": moved.log_id.hex(),
        "checkpoint": moved.note.decode(),
        "size": moved.size,
        "copied": dict(moved.copied),
        "read_again": {
            "checkpoints": found.checkpoints,
            "cases": found.cases,
            "sections": found.sections,
            "erased": found.erased,
            "documents": found.documents,
        },
        "events": moved.events.events if moved.events is not None else None,
        "remembered": moved.remembered.size if moved.remembered is not None else None,
        "files_say": str(moved.left),
    }


def _lines(moved: "Moved") -> Iterator[str]:
    found = moved.audited
    did = f"{sum(moved.copied.values()):,} rows were copied" if moved.copied else "it was there"
    yield f"the log lies in PostgreSQL ({did}), and it is the same log:"
    yield f"  log id {moved.log_id.hex()}"
    yield f"  {moved.size:,} entries give the root that was signed before; the checkpoint:"
    for line in moved.note.decode().rstrip().split("\n"):
        yield f"    {line}" if line else ""
    yield (
        f"  {found.cases:,} cases, {found.checkpoints:,} checkpoints, {found.sections:,} sections "
        f"({found.erased:,} erased) and {found.documents:,} documents were read there and hold"
    )
    if moved.events is not None:
        yield (
            f"what {moved.events.sources:,} sources said, {moved.events.events:,} events, lies in "
            "`store.events`; nothing is erased from the file any more: delete it"
        )
    yield f"the head store of `store.heads` remembers size {moved.size:,}"
    yield f"the files sign nothing any more, and never again: `{moved.left}` says so"
    yield f"next: muniment serve, on this folder and on copies of it; see {PAGE}"
