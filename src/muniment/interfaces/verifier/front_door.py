"""
`muniment-verify.pyz`: what an auditor runs who installs nothing of ours.

A bare Python and `cryptography` are enough. It opens the files of its arguments and nothing else in
the world: no network, no database, no clock, no settings. It says what `muniment verify` says, by
the same steps and with the same exit codes: 0 it holds, 1 it does not, 2 it was called wrongly.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from muniment import __version__
from muniment.access.check import Checked
from muniment.errors import EvidenceError, Malformed, MunimentError
from muniment.evidence import event_evidence
from muniment.evidence import verdict as grades
from muniment.evidence.event_evidence import MAX_EVIDENCE
from muniment.evidence.excerpt_proof import verify_excerpt
from muniment.evidence.keys import named
from muniment.evidence.note import VerifierKey
from muniment.evidence.record import Header
from muniment.evidence.verdict import Reader
from muniment.interfaces.verifier import (
    event_words,
    folder_check,
    given,
    record_words,
    rows,
    told,
)
from muniment.interfaces.verifier.outcome import examine, meets
from muniment.interfaces.verifier.rows import Row

NAME: Final = "muniment-verify"
HOLDS, DOES_NOT_HOLD, USAGE = 0, 1, 2
#: no policy engine comes along: decisions are shown with the rules that they name, not recomputed
NO_REPLAY: Final = (
    "policy decisions were NOT replayed: this verifier has no policy engine "
    "(`muniment replay FILE` recomputes them)"
)
_VERIFY: Final = "Verify bundles, or a whole archive, against the log's key."
_REQUIRABLE: Final = (*grades.REQUIRABLE, "complete", folder_check.EVENTS)
_COLOUR: Final = re.compile("\x1b\\[[0-9]+m", re.ASCII)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parsed = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = parsed.run
    try:
        return run(parsed)
    except EvidenceError as error:
        print(f"{NAME}: {error}", file=sys.stderr)  # noqa: T201 (this is a command line)
        return DOES_NOT_HOLD
    except (Malformed, OSError) as error:
        print(f"{NAME}: {error}", file=sys.stderr)  # noqa: T201 (as above)
        return USAGE
    except MunimentError as error:
        print(f"{NAME}: {error}", file=sys.stderr)  # noqa: T201 (as above)
        return DOES_NOT_HOLD


def say(lines: Iterable[str]) -> None:
    """In colour on a terminal, plain elsewhere; never what its encoding cannot show."""
    coloured = sys.stdout.isatty()
    encoding = sys.stdout.encoding or "ascii"
    for line in lines:
        text = line if coloured else _COLOUR.sub("", line)
        shown = text.encode(encoding, "replace").decode(encoding)
        print(shown)  # noqa: T201 (as above)


# --- the commands -----------------------------------------------------------------------------


def _verify(asked: argparse.Namespace) -> int:
    keys = _keys(asked.log_key)
    reader = _reader(asked, keys)
    if any(path.is_dir() for path in asked.path):
        return _verify_folder(asked, keys, reader)
    if folder_check.EVENTS in asked.require:
        raise Malformed("`--require events` is for a folder: a bundle has none")
    held = True
    values: list[dict[str, Any]] = []
    for number, path in enumerate(asked.path):
        outcome = examine(path, keys, asked.head, reader)
        unmet = [name for name in asked.require if not meets(outcome, name, _no_replay)]
        held = held and outcome.holds and not unmet
        if asked.json:
            values.append(outcome.json(unmet))
            continue
        if number:
            say([""])
        say(outcome.lines(unmet))
    if asked.json:
        whole: Any = values[0] if len(values) == 1 else {"holds": held, "files": values}
        say([json.dumps(whole, indent=2)])
    else:
        say(["", f"Note: {NO_REPLAY}."])
    return HOLDS if held else DOES_NOT_HOLD


def _verify_folder(asked: argparse.Namespace, keys: tuple[VerifierKey, ...], reader: Reader) -> int:
    if len(asked.path) > 1:
        raise Malformed("verify one folder at a time, and files apart from it")
    found = folder_check.check(
        asked.path[0], keys, reader,
        heads=asked.head, required=asked.require, without_pages=asked.without_pages,
        progress=_progress,
    )  # fmt: skip
    say([json.dumps(found.json(), indent=2)] if asked.json else found.lines())
    return HOLDS if found.holds else DOES_NOT_HOLD


def _progress(done: int, total: int) -> None:
    """On a terminal, one line that is written over."""
    if sys.stderr.isatty() and (done % 50 == 0 or done == total):
        end = "\n" if done == total else ""
        print(f"\r{done:,} of {total:,} ", end=end, file=sys.stderr)  # noqa: T201 (as above)


def _no_replay(_checked: Checked) -> bool:
    return False


def _show(asked: argparse.Namespace) -> int:
    keys = _keys(asked.log_key)
    outcome = examine(asked.path, keys, (), _reader(asked, keys))
    if outcome.checked is None:
        say(outcome.lines())
        return DOES_NOT_HOLD
    say(told.lines(told.tell(outcome.checked)))
    say(["", *outcome.closing_lines(())])
    return HOLDS if outcome.holds else DOES_NOT_HOLD


def _events(asked: argparse.Namespace) -> int:
    if not asked.path.is_file():
        raise Malformed(
            f"there is no `{asked.path}`: a folder has none of a case of which no source spoke; "
            "`verify` says whether one that should be there is missing"
        )
    shown = event_evidence.verify(given.read(asked.path, MAX_EVIDENCE), _keys(asked.log_key))
    if asked.json:
        say([json.dumps(event_words.as_json(asked.path, shown), indent=2)])
    else:
        say(event_words.lines(asked.path, shown))
    return HOLDS


def _index(asked: argparse.Namespace) -> int:
    keys = _keys(asked.log_key)
    found = folder_check.check(
        asked.path, keys, _reader(asked, keys), without_pages=asked.without_pages,
        progress=_progress,
    )  # fmt: skip
    shown = [row for row in found.rows if _wanted(row, asked)]
    if asked.json:
        say([json.dumps({"holds": found.holds, "cases": [row.json() for row in shown]}, indent=2)])
    else:
        say(rows.lines(shown))
        say(["", f"{len(shown):,} of {len(found.rows):,} cases"])
        say(found.lines() if not found.holds else [])
    return HOLDS if found.holds else DOES_NOT_HOLD


def _wanted(row: Row, asked: argparse.Namespace) -> bool:
    """Every `--where NAME=TEXT` has to be in that field, whatever its case."""
    said = row.json() | {"worries": row.worries}
    for name, text in asked.where:
        if name not in said:
            raise Malformed(f"`{name}` is none of {', '.join(said)}")
        if text.lower() not in said[name].lower() or (not text and said[name]):
            return False
    return True


def _log(asked: argparse.Namespace) -> int:
    keys = _keys(asked.log_key)
    reader = _reader(asked, keys)

    def see(index: int, header: Header) -> None:
        if not asked.kind or header.kind in asked.kind:
            say(record_words.entry_lines(index, header))

    # first all of it, and shown when it holds: it is not kept, however long it is
    verify_excerpt(given.pieces(asked.path), keys, reader=reader)
    proved = verify_excerpt(given.pieces(asked.path), keys, reader=reader, see=see)
    say(["", *(f"  ✓ {number:2}  {detail}" for number, detail in proved.steps.items())])
    say([f"{proved.verdict.value}: {proved.shown:,} entries shown, {proved.hidden:,} not"])
    return HOLDS


# --- its arguments ----------------------------------------------------------------------------


def _keys(values: Sequence[str]) -> tuple[VerifierKey, ...]:
    try:
        return named([given.parse_key(value) for value in values])
    except EvidenceError as error:
        raise Malformed(str(error)) from error


def _reader(asked: argparse.Namespace, keys: tuple[VerifierKey, ...]) -> Reader:
    witnesses = None if asked.witnesses is None else given.read_witnesses(asked.witnesses)
    return given.trusted(
        keys,
        witnesses,
        given.witness_keys(asked.own_witness),
        given.authority_roots(asked.tsa_root),
    )


def _where(value: str) -> tuple[str, str]:
    name, equals, text = value.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"`{value}` is not NAME=TEXT, such as state=denied")
    return name, text


def _there(value: str) -> Path:
    path = Path(value)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"`{value}` is not there")
    return path


def _folder(value: str) -> Path:
    path = Path(value)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"`{value}` is no folder")
    return path


def _file(value: str) -> Path:
    path = Path(value)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"`{value}` is no file")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=NAME, description="Verify evidence of Muniment offline, with nothing of it installed."
    )
    parser.add_argument("--version", action="version", version=f"{NAME} {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    verify = _command(commands, "verify", _verify, _VERIFY)
    verify.add_argument("path", nargs="+", type=_there, metavar="BUNDLE|FOLDER")
    verify.add_argument(
        "--head", action="append", default=[], type=_file, metavar="FILE",
        help="a checkpoint or receipt that you kept; the bundle must not contradict it",
    )  # fmt: skip
    verify.add_argument(
        "--require", action="append", default=[], choices=_REQUIRABLE,
        help="fail unless this holds as well",
    )  # fmt: skip
    _without_pages(verify)
    verify.add_argument("--json", action="store_true", help="print one JSON object")

    show = _command(commands, "show", _show, "Verify one bundle, and show its case in plain text.")
    show.add_argument("path", type=_file, metavar="BUNDLE")

    events = _command(commands, "events", _events, "Check events against the log's key.")
    events.add_argument("path", type=Path, metavar="FILE")
    events.add_argument("--json", action="store_true", help="print one JSON object")

    index = _command(commands, "index", _index, "Check an archive, and list its cases.")
    index.add_argument("path", type=_folder, metavar="FOLDER")
    index.add_argument(
        "--where", action="append", default=[], type=_where, metavar="NAME=TEXT",
        help="only cases that have this text there, such as state=denied; each, if given several",
    )  # fmt: skip
    _without_pages(index)
    index.add_argument("--json", action="store_true", help="print one JSON object")

    log = _command(commands, "log", _log, "Check an excerpt of the log, and show its entries.")
    log.add_argument("path", type=_file, metavar="EXCERPT")
    log.add_argument(
        "--kind", action="append", default=[], metavar="KIND",
        help="only entries of this kind, such as policy:activated; each, if given several",
    )  # fmt: skip
    return parser


def _without_pages(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--without-pages", action="store_true",
        help="of a folder: do not compare its pages and tables, which you then do not read",
    )  # fmt: skip


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], words: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=words, description=words)
    command.set_defaults(run=run)
    command.add_argument(
        "--log-key", action="append", required=True, metavar="VKEY|PATH",
        help="public key of the log, or a file with it; each, if you were given several",
    )  # fmt: skip
    command.add_argument(
        "--witnesses", type=_file, metavar="POLICY",
        help="witnesses that you trust, and your quorum: a C2SP tlog-policy file",
    )  # fmt: skip
    command.add_argument(
        "--own-witness", action="append", default=[], metavar="VKEY|PATH",
        help="a witness that whoever runs the log runs, too: it never counts for the quorum",
    )  # fmt: skip
    command.add_argument(
        "--tsa-root", action="append", default=[], type=_file, metavar="PEM",
        help="root certificate of a time-stamp authority that you trust",
    )  # fmt: skip
    return command
