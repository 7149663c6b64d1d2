"""
`muniment audit`: hold a whole log against its public key, where it lies.

The database is opened for reading only: it is not created, not migrated, and nothing beside it is
written. While an audit of a running service reads, erasures there wait for it.
"""

import json
import os
import sqlite3
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import click

from muniment.errors import LogInvalid, LogUnavailable
from muniment.evidence import audit
from muniment.evidence.audit import SUBTREE, Audited
from muniment.evidence.note import VerifierKey
from muniment.evidence.verify import Verdict
from muniment.interfaces.cli.verify import (
    FILE,
    LOG_KEY,
    compared_json,
    mark,
    read_head,
    styled,
    wrapped,
)
from muniment.stores.sqlite import SQLiteStore

#: where `init` puts the database, below the folder that it was given
_PLACES = ("muniment.db", "data/muniment.db")
#: below this many subtrees a second process costs more than it brings
_WORTH_SPREADING = 4


class ReadOnlyStore(SQLiteStore):
    """The log of one SQLite file, as it stood when it was opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._generation = 0
        try:
            tables = self._connection().execute("SELECT name FROM sqlite_schema").fetchall()
        except sqlite3.Error as error:
            raise LogInvalid(f"`{path}` cannot be read as a database: {error}") from error
        if ("log_state",) not in tables:
            raise LogInvalid(f"`{path}` is a database, but holds no log")

    def _connection(self) -> sqlite3.Connection:
        if getattr(self._local, "connection", None) is None:
            # Without a write-ahead log nobody has it open, and then it is read as a plain file:
            # SQLite would else make files beside it. With one, its owner's files are used.
            live = Path(f"{self.path}-wal").exists()
            uri = f"{self.path.absolute().as_uri()}?mode=ro{'' if live else '&immutable=1'}"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None)
            connection.execute("PRAGMA cache_size = -65536")
            connection.execute("BEGIN")  # one snapshot for the whole audit
            self._local.connection = connection
        found: sqlite3.Connection = self._local.connection
        return found

    def close(self) -> None:
        if (connection := getattr(self._local, "connection", None)) is not None:
            connection.close()
            self._local.connection = None


@click.command("audit")
@click.argument("log", type=click.Path(exists=True, path_type=Path))
@LOG_KEY
@click.option(
    "--head", "heads", multiple=True, type=FILE, help="A checkpoint or receipt that you kept."
)
@click.option(
    "--full", is_flag=True, help="Read every record, section and document, not only hash them."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def audit_command(
    ctx: click.Context,
    log: Path,
    log_key: VerifierKey,
    heads: tuple[Path, ...],
    *,
    full: bool,
    as_json: bool,
) -> None:
    """Audit a whole log: LOG is a database file, or the folder that `init` made."""
    path = _database(log)
    store = ReadOnlyStore(path)
    notes = [read_head(head) for head in heads]
    try:
        found = audit.audit(
            store, log_key, notes, full=full, progress=_progress, roots=_roots(store, path)
        )
    except LogUnavailable as error:
        raise LogInvalid(f"`{path}` is not a log that this program can read: {error}") from error
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps(_json(path, found), indent=2))
    else:
        for line in _lines(path, found):
            click.echo(line)
    ctx.exit(0 if found.holds else 1)


def _database(log: Path) -> Path:
    if not log.is_dir():
        return log
    for place in _PLACES:
        if (log / place).is_file():
            return log / place
    raise click.BadParameter(f"no log in `{log}`: neither {' nor '.join(_PLACES)}")


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\r" if done < total else "\r\033[K"
        click.echo(f"{done:,} of {total:,} entries{end}", nl=False, err=True)


# --- hashing on every core --------------------------------------------------------------------


def _roots(store: ReadOnlyStore, path: Path) -> audit.Roots | None:
    tail = store.tail()
    cores = os.cpu_count() or 1
    if cores == 1 or tail is None or tail.size < _WORTH_SPREADING * SUBTREE:
        return None
    return partial(_spread, path, cores)


def _spread(path: Path, cores: int, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # spawned and not forked: an open database does not survive a fork
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        yield from pool.map(partial(_root, path), ranges)


@cache
def _opened(path: Path) -> ReadOnlyStore:
    return ReadOnlyStore(path)


def _root(path: Path, place: tuple[int, int]) -> bytes:
    return audit.subtree_root(_opened(path), *place)


# --- how it looks -----------------------------------------------------------------------------


def _lines(path: Path, found: Audited) -> Iterator[str]:
    yield f"{path}"
    yield ""
    for sign, text in _facts(found):
        yield f"  {mark(sign)}  {text}"
    yield ""
    if found.bad is not None:
        yield f"{styled(found.verdict)}: {found.bad}"
        yield "Not proved: anything that rests on this entry or a later one."
    elif found.verdict is Verdict.DIVERGED:
        yield styled(found.verdict)
        yield "Not proved: anything. This log and the head that you kept are not of one history."
    else:
        yield styled(found.verdict)
        yield wrapped(f"Not proved: {'; '.join(_not_proved(found))}.")


def _facts(found: Audited) -> Iterator[tuple[str, str]]:
    newest = found.checkpoint
    if newest is not None:
        yield "✓", f"the newest checkpoint of `{newest.origin}` is signed, at size {newest.size:,}"
    if found.bad is not None:
        yield "✗", str(found.bad)
        return
    if newest is not None:
        yield "✓", f"{newest.size:,} entries give exactly the signed root {newest.root.hex()[:16]}…"
    for one in found.compared:
        if one.shown is None:
            yield "✗", f"your head of size {one.kept.size:,} is ahead of this log: entries are gone"
        elif one.agrees:
            yield "✓", f"your head of size {one.kept.size:,} is a beginning of it"
        else:
            yield "✗", f"your head of size {one.kept.size:,} has root {one.kept.root.hex()}"
            yield "✗", f"this log has there         root {one.shown.hex()}"
    if found.full:
        yield from _full_facts(found)


def _full_facts(found: Audited) -> Iterator[tuple[str, str]]:
    yield "✓", f"{found.checkpoints:,} kept checkpoints are signed and agree"
    yield "✓", f"{found.cases:,} cases without a gap; what records follow is earlier in the log"
    yield "✓", "hashes and tiles beside the log are those of its entries"
    yield "✓", f"{found.sections:,} sections, {found.erased:,} of them erased by a record"
    yield "✓", f"{found.documents:,} documents are there, unchanged"
    for record, name in found.unfinished:
        yield "·", f"section `{name}` of {record} is recorded as erased, and still there"


def _not_proved(found: Audited) -> Iterable[str]:
    if found.verdict is Verdict.UNANCHORED:
        yield "that the log showed everybody this history (give a head that you kept with --head)"
    if not found.full:
        yield "that records, sections and documents hold (--full reads them)"
    yield "that everything that happened was recorded (compare the targets' own logs)"


def _json(path: Path, found: Audited) -> dict[str, Any]:
    newest, bad = found.checkpoint, found.bad
    return {
        "log": str(path),
        "verdict": found.verdict.value,
        "holds": found.holds,
        "origin": newest.origin if newest is not None else None,
        "size": newest.size if newest is not None else None,
        "root": newest.root.hex() if newest is not None else None,
        "bad": None
        if bad is None
        else {"index": bad.index, "record": bad.record, "what": bad.what},
        "heads": [compared_json(one) for one in found.compared],
        "full": found.full,
        "checkpoints": found.checkpoints,
        "cases": found.cases,
        "sections": found.sections,
        "erased": found.erased,
        "documents": found.documents,
        "unfinished": [{"record": record, "section": name} for record, name in found.unfinished],
        "not_proved": list(_not_proved(found)) if bad is None else ["anything"],
    }
