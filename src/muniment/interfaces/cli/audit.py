"""
`muniment audit`: hold a whole log against its public key, where it lies or as it is served.

A database is only read: it is not created, not migrated, and nothing beside a file is written.
While an audit of a running service reads a file, erasures there wait for it. Of tiles, in a folder
or at an address, the newest head that held is remembered, and the next audit goes on there.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from cryptography.x509 import Certificate

from muniment.access.window import seconds
from muniment.errors import ConfigInvalid, LogInvalid, LogUnavailable
from muniment.evidence import audit
from muniment.evidence.audit import SUBTREE, Audited
from muniment.evidence.audit_tiles import AuditedTiles, Established
from muniment.evidence.checkpoint import Checkpoint
from muniment.evidence.keys import ReadersKeys
from muniment.evidence.merkle import Frontier
from muniment.evidence.note import VerifierKey
from muniment.evidence.publishing import CHECKPOINT
from muniment.evidence.store import LogStore
from muniment.evidence.tree import StoredTree
from muniment.evidence.verdict import headline, not_proved, proves, seen
from muniment.evidence.witness_policy import WitnessPolicy
from muniment.interfaces.cli import tile_audit
from muniment.interfaces.cli.remembered import RememberedHead, default_path
from muniment.interfaces.cli.tile_audit import Examined, examine
from muniment.interfaces.cli.tile_sources import Source, TileFolder
from muniment.interfaces.cli.trust import FILE, reader, trusting
from muniment.interfaces.cli.verify import LOG_KEY, read_head
from muniment.interfaces.verifier.outcome import (
    compared_json,
    mark,
    styled,
    vouched_json,
    words,
)
from muniment.stores.read_only import ReadOnlyStore

if TYPE_CHECKING:
    from muniment.runtime.store_section import StoreSection

#: where `init` puts the database, below the folder that it was given
_PLACES = ("muniment.db", "data/muniment.db")
#: below this many subtrees a second process costs more than it brings
_WORTH_SPREADING = 4
#: bytes of a file that may hold so many
_LARGE = 64 << 20


@click.command("audit")
@click.argument("log")
@LOG_KEY
@click.option(
    "--head", "heads", multiple=True, type=FILE, help="A checkpoint or receipt that you kept."
)
@trusting
@click.option(
    "--full", is_flag=True, help="Read every record, section and document, not only hash them."
)
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the newest head that held is remembered (of tiles also without this option).",
)
@click.option("--from-start", is_flag=True, help="Hash again what an earlier audit hashed.")
@click.option("--follow", is_flag=True, help="Go on until SIGTERM, as a monitor; tiles only.")
@click.option("--every", default="60s", show_default=True, help="How often a monitor checks.")
@click.option("--metrics", metavar="HOST:PORT", help="Where a monitor serves /metrics.")
@click.option(
    "--on-alert",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A program that a monitor runs, with the alert as JSON on its standard input.",
)
@click.option("--go-on", is_flag=True, help="Do not end the monitor when the log does not hold.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object; a monitor, one for each check."
)
@click.pass_context
def audit_command(
    ctx: click.Context,
    log: str,
    log_key: tuple[VerifierKey, ...],
    heads: tuple[Path, ...],
    witnesses: WitnessPolicy | None,
    own_witnesses: tuple[VerifierKey, ...],
    tsa_roots: tuple[Certificate, ...],
    *,
    full: bool,
    state: Path | None,
    from_start: bool,
    follow: bool,
    every: str,
    metrics: str | None,
    on_alert: Path | None,
    go_on: bool,
    as_json: bool,
) -> None:
    """
    Audit a whole log: a database, a mirror, or what a service serves.

    LOG is a database file, the folder that `init` made (its log may lie in PostgreSQL), a folder of
    tiles, or the address of tiles, `https://…/log`; the token for it is that of the other commands.
    """
    notes = [read_head(head) for head in heads]
    whom = reader(log_key, witnesses, own_witnesses, tsa_roots)
    source = tiles_at(log)
    if follow and (source is None or full or from_start):
        raise click.UsageError(
            "--follow is for tiles, and goes on from the remembered head: neither --full nor"
            " --from-start goes with it"
        )
    if not follow and (metrics or on_alert or go_on):
        raise click.UsageError("--metrics, --on-alert and --go-on are for --follow")
    if source is None:
        with _database(Path(log)) as lies:
            found = _audit_database(lies, log_key, notes, full=full, state=state)
        name, more = lies.name, None
    else:
        remembered = RememberedHead(state or _state(source, log_key), log_key)
        with contextlib.closing(source), remembered.held():
            if follow:
                from muniment.interfaces.cli import follow as monitoring

                monitor = monitoring.Monitor(
                    source=source,
                    key=log_key,
                    remembered=remembered,
                    heads=notes,
                    reader=whom,
                    every=max(1, seconds(every)),
                    stop=source.stop,
                    on_alert=on_alert,
                    go_on=go_on,
                    say=monitoring.say_json if as_json else monitoring.say_line,
                )
                ctx.exit(monitoring.follow(monitor, metrics))
            more = examine(
                source,
                log_key,
                remembered,
                notes,
                full=full,
                from_start=from_start,
                cores=os.cpu_count() or 1,
                progress=_progress,
            )
        name, found = source.name, more.found
    found = audit.graded(found, log_key, whom)
    if as_json:
        click.echo(json.dumps(_json(name, found, more), indent=2))
    else:
        for line in _lines(name, found, more):
            click.echo(line)
    ctx.exit(0 if found.holds else 1)


def tiles_at(log: str) -> Source | None:
    """Where tiles are read from; None for a database."""
    if log.startswith(("http://", "https://")):
        from muniment.interfaces.cli import api
        from muniment.interfaces.cli.tile_address import TileAddress

        return TileAddress(log, api.token_for(log.rstrip("/").removesuffix("/log")))
    if not Path(log).exists():
        raise click.BadParameter(f"`{log}` does not exist")
    if (Path(log) / CHECKPOINT).is_file():
        return TileFolder(Path(log))
    return None


def _state(source: Source, key: ReadersKeys) -> Path:
    # a mirror may lag behind, and is no smaller log for that
    return default_path(key, str(source.folder.resolve()) if isinstance(source, TileFolder) else "")


def _audit_database(
    lies: "_Database", key: ReadersKeys, heads: Sequence[bytes], *, full: bool, state: Path | None
) -> Audited:
    store = lies.store
    try:
        if state is None:
            return _audit_store(lies, key, heads, full=full)
        remembered = RememberedHead(state, key)
        with remembered.held():
            known = remembered.read()
            kept = heads if known is None else (known.note, *heads)
            found = _audit_store(lies, key, kept, full=full)
            if found.holds and found.checkpoint is not None:
                remembered.keep(_established(store, found.note, found.checkpoint))
            elif found.checkpoint is not None and known is not None:
                remembered.keep_evidence(known.note, found.note)
            return found
    except LogUnavailable as error:
        if lies.path is None:
            raise
        raise LogInvalid(
            f"`{lies.name}` is not a log that this program can read: {error}"
        ) from error


def _audit_store(
    lies: "_Database", key: ReadersKeys, heads: Sequence[bytes], *, full: bool
) -> Audited:
    roots = lies.roots if _is_worth_spreading(lies.store) else None
    return audit.audit(lies.store, key, heads, full=full, progress=_progress, roots=roots)


def _established(store: LogStore, note: bytes, checkpoint: Checkpoint) -> Established:
    """Raises `LogInvalid` where the tiles beside the entries are not theirs."""
    frontier = Frontier.at(checkpoint.size, StoredTree(store).at(checkpoint.size).node)
    established = Established(note, frontier.peaks)
    established.frontier(checkpoint)
    return established


@dataclass(frozen=True)
class _Database:
    """A log that is read where its service writes it."""

    name: str
    store: LogStore
    #: None where it is no file
    path: Path | None
    #: hashes ranges of it on every core
    roots: audit.Roots | None = None


@contextlib.contextmanager
def _database(log: Path) -> Iterator[_Database]:
    if log.is_dir() and (section := in_postgresql(log)) is not None:
        from muniment.runtime.log_stores import open_postgresql

        with contextlib.closing(open_postgresql(log, section)) as stores:
            yield _Database(f"the database of `store.log` in {log}", stores.database, None)
        return
    path = database_file(log)
    # the processes first: an open database does not survive a fork
    with _hashers(path) as roots, contextlib.closing(ReadOnlyStore(path)) as store:
        yield _Database(str(path), store, path, roots)


def in_postgresql(folder: Path) -> "StoreSection | None":
    """Where the settings in a folder say that its log lies, if that is no file."""
    from muniment.runtime.settings import FILE, read_settings

    if not (folder / FILE).is_file():
        return None
    try:
        return read_settings(folder).store
    except ConfigInvalid:
        return None  # an audit of what lies there does not hang on the settings


def database_file(log: Path) -> Path:
    if not log.is_dir():
        return log
    for place in _PLACES:
        if (log / place).is_file():
            return log / place
    raise click.BadParameter(
        f"no log in `{log}`: neither {' nor '.join(_PLACES)}, nor a `{CHECKPOINT}` above tiles"
    )


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\r" if done < total else "\r\033[K"
        click.echo(f"{done:,} of {total:,} entries{end}", nl=False, err=True)


# --- hashing on every core --------------------------------------------------------------------


def _is_worth_spreading(store: LogStore) -> bool:
    tail = store.tail()
    return tail is not None and tail.size >= _WORTH_SPREADING * SUBTREE


@contextlib.contextmanager
def _hashers(path: Path) -> Iterator[audit.Roots | None]:
    """A process for each core, for a database that may be worth it; they open it themselves."""
    cores = os.cpu_count() or 1
    if cores == 1 or not path.is_file() or path.stat().st_size < _LARGE:
        yield None
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # a new interpreter for each would take as long as half a million entries
    method = "fork" if sys.platform == "linux" else "spawn"
    with ProcessPoolExecutor(cores, mp_context=get_context(method)) as pool:
        pool.submit(os.getpid).result()  # now they are there
        yield lambda ranges: pool.map(partial(_root, path), ranges)


@cache
def _opened(path: Path) -> ReadOnlyStore:
    return ReadOnlyStore(path)


def _root(path: Path, place: tuple[int, int]) -> bytes:
    return audit.subtree_root(_opened(path), *place)


# --- how it looks -----------------------------------------------------------------------------


def _lines(name: str, found: Audited, more: Examined | None) -> Iterator[str]:
    yield name
    yield ""
    for sign, text in (*_facts(found), *(tile_audit.facts(more) if more is not None else ())):
        yield f"  {mark(sign)}  {text}"
    yield ""
    if found.bad is not None:
        yield f"{styled(found.verdict)}: {found.bad}"
        yield "Not proved: anything that rests on this entry or a later one."
        return
    yield styled(found.verdict, found.vouched)
    yield from words(found.verdict, found.vouched, _not_proved(found))


def _facts(found: Audited) -> Iterator[tuple[str, str]]:
    newest = found.checkpoint
    if newest is not None:
        yield "✓", f"the newest checkpoint of `{newest.origin}` is signed, at size {newest.size:,}"
    if found.bad is not None:
        yield "✗", str(found.bad)
        return
    # a fork of tiles is proved by signed roots alone: then no entry was hashed
    if newest is not None and (found.holds or not isinstance(found, AuditedTiles)):
        yield "✓", f"{newest.size:,} entries give exactly the signed root {newest.root.hex()[:16]}…"
    for one in found.compared:
        if one.shown is None:
            yield "✗", f"your head of size {one.kept.size:,} is ahead of this log: entries are gone"
        elif one.agrees:
            yield "✓", f"your head of size {one.kept.size:,} is a beginning of it"
        else:
            yield "✗", f"your head of size {one.kept.size:,} has root {one.kept.root.hex()}"
            yield "✗", f"this log has there         root {one.shown.hex()}"
    for line in seen(found.vouched) if found.vouched is not None else ():
        yield "·", line
    if found.full:
        yield "✓", f"{found.cases:,} cases without a gap; what records follow is earlier in the log"
        if not isinstance(found, AuditedTiles):
            yield from _full_facts(found)


def _full_facts(found: Audited) -> Iterator[tuple[str, str]]:
    yield "✓", f"{found.checkpoints:,} kept checkpoints are signed and agree"
    yield "✓", "hashes and tiles beside the log are those of its entries"
    yield "✓", f"{found.sections:,} sections, {found.erased:,} of them erased by a record"
    yield "✓", f"{found.documents:,} documents are there, unchanged"
    if found.indexes:
        yield "✓", f"{found.indexes:,} indexes of cases leave none out"
    if found.lost:
        text = "sections are not in this copy: it was restored from a mirror, which has none"
        yield "·", f"{found.lost:,} {text}"
    for record, name in found.unfinished:
        yield "·", f"section `{name}` of {record} is recorded as erased, and still there"


def _not_proved(found: Audited) -> Iterable[str]:
    yield from not_proved(found.verdict, found.vouched)
    size, vouched = found.checkpoint.size if found.checkpoint is not None else 0, found.vouched
    if vouched is not None and vouched.anybody and vouched.size < size:
        yield f"that anybody else vouches for what came after size {vouched.size:,}"
    if isinstance(found, AuditedTiles):
        yield from tile_audit.not_proved(found)
    elif not found.full:
        yield "that records, sections and documents hold (--full reads them)"
    yield "that everything that happened was recorded (compare the targets' own logs)"


def _json(name: str, found: Audited, more: Examined | None) -> dict[str, Any]:
    newest, bad = found.checkpoint, found.bad
    return {
        "log": name,
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
        "lost": found.lost,
        "indexes": found.indexes,
        "documents": found.documents,
        "unfinished": [{"record": record, "section": name} for record, name in found.unfinished],
        "grade": headline(found.verdict, found.vouched),
        **(vouched_json(found.vouched) if found.vouched is not None else {}),
        "proved": list(proves(found.verdict, found.vouched)),
        "not_proved": list(_not_proved(found)) if found.holds else ["anything"],
        **(tile_audit.as_json(more) if more is not None else {}),
    }
