"""`muniment evidence`: carry the evidence of a case away, for whoever checks it elsewhere."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from muniment.errors import Conflict, Malformed, NotFound, Unavailable
from muniment.interfaces.cli import screen
from muniment.interfaces.cli.client import asking
from muniment.interfaces.cli.health import evidence_health
from muniment.interfaces.cli.screen import json_option
from muniment.interfaces.cli.subject import evidence_subject

if TYPE_CHECKING:
    from muniment.interfaces.cli.api import Api


@click.group("evidence")
def evidence_command() -> None:
    """Take the evidence of a case, or a head of the log, out of the service."""


evidence_command.add_command(evidence_health)
evidence_command.add_command(evidence_subject)


@evidence_command.command("head")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A new file; without it the checkpoint is printed.",
)
@json_option
def evidence_head(output: Path | None, *, as_json: bool) -> None:
    """
    Keep the newest signed checkpoint, where the log's operator cannot reach it.

    `verify --head FILE` and `audit --head FILE` hold what they are given later against it.
    """
    with _new_file(output) if output is not None else contextlib.nullcontext() as file:
        with asking() as api:
            note = api.text("/v1/log/checkpoint")
        origin, size = _head_of(note)
        if file is not None:
            file.write(note.encode())
    answer = {
        "file": str(output) if output is not None else None,
        "origin": origin,
        "size": size,
        "checkpoint": note,
    }
    wrote = f"wrote {output}: the head of `{origin}` at size {size:,}"
    screen.show(answer, [note.rstrip("\n") if output is None else wrote], as_json=as_json)


def _head_of(note: str) -> tuple[str, int]:
    """Name and size of the log. C2SP tlog-checkpoint: the first lines are origin, size, root."""
    origin, _, rest = note.partition("\n")
    size = rest.partition("\n")[0]
    if not origin or not (size.isascii() and size.isdecimal()):
        raise Unavailable("what answered is not Muniment: no checkpoint came")
    return screen.clean(origin), int(size)


@evidence_command.command("export")
@click.argument("case", required=False, callback=screen.beginning)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE|FOLDER"
)
@click.option(
    "--period",
    metavar="PERIOD",
    help="All cases opened in 2026, 2026-Q3, 2026-07 or 2026-01-01..2026-06-30; UTC.",
)
@click.option(
    "--resource", "resources", multiple=True, help="With a period: those of this resource alone."
)
@click.option(
    "--head",
    "heads",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A checkpoint or receipt that you kept: the bundle will show that it extends it.",
)
@json_option
def evidence_export(
    case: str | None,
    output: Path,
    period: str | None,
    resources: tuple[str, ...],
    heads: tuple[Path, ...],
    *,
    as_json: bool,
) -> None:
    """
    Write everything about CASE into one file, or about all cases of a period into a new folder.

    That you took it is recorded. The folder has all that it takes to read and to check it, and a
    verifier that needs nothing of Muniment. A run that was broken off goes on where it was.
    """
    if (case is None) == (period is None):
        raise click.UsageError("name a CASE or a --period, and not both")
    if period is not None:
        _export_period(output, period, resources, heads, as_json=as_json)
        return
    if resources:
        raise click.UsageError("--resource goes with --period")
    from muniment.interfaces.cli.verify import read_head

    notes = [read_head(path).decode("utf-8", "replace") for path in heads]
    with _new_file(output) as file, asking() as api:
        whole = _whole(api, case or "")
        data = api.post_for_bytes(f"/v1/cases/{whole}/evidence", {"heads": notes})
        file.write(data)
        key = api.text("/v1/log/key").strip()
    answer = {"case": whole, "file": str(output), "bytes": len(data), "log_key": key}

    def lines() -> Iterator[str]:
        yield f"wrote {output}: {len(data):,} bytes, for your eyes only (mode 0600)"
        yield from screen.fields(
            (
                ("check it", f"muniment verify {output} --log-key KEY"),
                ("KEY", "the log's public key, from somebody you trust; this service says"),
                ("", key),
            )
        )

    screen.show(answer, lines(), as_json=as_json)


def _export_period(
    folder: Path,
    period: str,
    resources: tuple[str, ...],
    heads: tuple[Path, ...],
    *,
    as_json: bool,
) -> None:
    from muniment.interfaces.cli import archive
    from muniment.interfaces.cli.period import whole_days
    from muniment.interfaces.cli.verify import read_head

    since, until = whole_days(period)
    notes = [read_head(path).decode("utf-8", "replace") for path in heads]
    with asking() as api:
        taking = archive.Taking(
            api=api,
            folder=folder,
            since=since,
            until=until,
            resources=resources,
            heads=notes,
            progress=_progress,
        )
        record = taking.take().record
    answer = {
        "folder": str(folder),
        "cases": record.cases,
        "beyond": record.beyond,
        "notes": taking.notes,
    }

    def lines() -> Iterator[str]:
        yield f"wrote {folder}: {record.cases:,} cases, for your eyes only; begin with index.html"
        if record.beyond:
            yield f"{record.beyond:,} more cases of the period are not for you, and not in it"
        yield from taking.notes
        yield f"check it: cd {folder} && python3 muniment-verify.pyz verify . --log-key KEY"

    screen.show(answer, lines(), as_json=as_json)


def _progress(what: str, done: int, total: int) -> None:
    """On a terminal, one line that is written over."""
    if sys.stderr.isatty() and (done % 10 == 0 or done == total):
        of = f" of {total:,}" if total else ""
        end = "\n" if done == total else ""
        click.echo(f"\r{what}: {done:,}{of}   {end}", err=True, nl=False)


@evidence_command.command("reads")
@click.option("--by", default="", metavar="WHO", help="Login of the reader.")
@click.option("--case", callback=screen.beginning, help="Of this case alone.")
@json_option
def evidence_reads(by: str, case: str | None, *, as_json: bool) -> None:
    """List who read what is others', by right of audit. That you look is recorded, too."""
    with asking() as api:
        answer = api.get("/v1/evidence/reads", by=by, case=case or "")

    def lines() -> Iterator[str]:
        for each in answer["reads"]:
            typed = ", ".join(
                f"{name} {screen.clean(v)}" for name, v in (each["query"] or {}).items()
            )
            who = screen.who(answer["names"], each["by"])
            about = " ".join(word for word in (each["what"], each["case"], typed) if word)
            yield f"{each['at'][:19]}  {who:<12}  {about}"
        if not answer["reads"]:
            yield "nobody has read anything by right of audit"
        elif answer["next"] is not None:
            yield screen.faint("there are more: --by or --case, or the log itself")

    screen.show(answer, lines(), as_json=as_json)


@evidence_command.command("verifier")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="A new file.")
@json_option
def evidence_verifier(output: Path | None, *, as_json: bool) -> None:
    """
    Write the verifier that a bare Python runs, or say its digest.

    The same version gives the same bytes everywhere: compare it with the one that you were given.
    """
    from muniment.interfaces.verifier import single_file

    data = single_file.build()
    name = single_file.digest(data)
    if output is not None:
        with _new_file(output) as file:
            file.write(data)
    answer = {"file": None if output is None else str(output), "sha256": name, "bytes": len(data)}
    screen.show(answer, [f"{name}  {output or 'muniment-verify.pyz'}"], as_json=as_json)


def _whole(api: "Api", case: str) -> str:
    """The whole id of an access case; whatever else there is goes by what was typed."""
    try:
        return str(api.get(f"/v1/cases/{case}")["case"])
    except NotFound:
        return case


@evidence_command.command("erase")
@click.argument("record", metavar="RECORD")
@click.argument("section")
@click.option("--rule", required=True, help="Under which rule, such as gdpr-17; it is recorded.")
@json_option
def evidence_erase(record: str, section: str, rule: str, *, as_json: bool) -> None:
    """Erase one sealed SECTION of RECORD (`CASE/0`) for good; every proof stays as it is."""
    case, _, position = record.partition("/")
    if not position.isdecimal():
        raise Malformed(f"`{record}` is no record; `muniment show` names them, such as {case}/0")
    with asking() as api:
        body = {"section": section, "rule": rule}
        answer = api.post(f"/v1/records/{case}/{position}/erasure", body)
    lines = [f"erased `{section}` of {answer['record']} under {rule}; what is left is its proof"]
    screen.show(answer, lines, as_json=as_json)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """Made before anything is asked, never over another file; only its owner reads it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Conflict(f"`{path}` exists already; choose another file") from error
    except OSError as error:
        raise Malformed(f"`{path}` cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
