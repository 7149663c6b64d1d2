"""`muniment report`: what the evidence shows of the controls of a framework; and checking one."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from cryptography.x509 import Certificate

from muniment.errors import BundleInvalid, Malformed, NoteInvalid, NotFound
from muniment.evidence import verdict as grades
from muniment.evidence.checkpoint import from_decimal
from muniment.evidence.keys import named
from muniment.evidence.note import VerifierKey
from muniment.evidence.verdict import Verdict
from muniment.evidence.witness_policy import WitnessPolicy
from muniment.interfaces.cli import screen
from muniment.interfaces.cli.screen import json_option
from muniment.interfaces.cli.trust import FILE, parse_key, reader, trusting
from muniment.interfaces.cli.verify import read_head
from muniment.interfaces.verifier import given
from muniment.interfaces.verifier.outcome import (
    compared_json,
    mark,
    styled,
    vouched_json,
    words,
)

if TYPE_CHECKING:
    from muniment.interfaces.cli.api import Api
    from muniment.interfaces.cli.report_files import CheckedReport
    from muniment.interfaces.cli.report_making import Asked, Made

#: bundles of exceptions that are fetched, unless more are asked for
BUNDLES: Final = 20
#: seconds until the newest records are shown to others
PATIENCE: Final = 60.0
#: what no check of a report can prove
NOT_PROVED: Final = (
    "that everything that happened was recorded (compare the targets' own logs)",
    "that a control is met",
)


def _keys(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> tuple[VerifierKey, ...]:
    try:
        return named([parse_key(value) for value in values]) if values else ()
    except NoteInvalid as error:
        raise click.BadParameter(str(error)) from error


@click.command("report")
@click.option("--list", "listing", is_flag=True, help="The frameworks, and what speaks to them.")
@click.option(
    "--issued", is_flag=True, help="The reports that were made of this log, newest first."
)
@click.option("--framework", metavar="NAME", help="One of those that --list names.")
@click.option(
    "--period", metavar="PERIOD", help="2026, 2026-Q3, 2026-07 or 2026-01-01..2026-06-30; UTC."
)
@click.option("--resource", "resources", multiple=True, metavar="RESOURCE", help="On these alone.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="A new folder."
)
@click.option(
    "--log",
    metavar="LOG",
    help="Read this log, as `audit` does, and ask no service: nothing is recorded then.",
)
@click.option(
    "--bundles",
    type=click.IntRange(0, 10_000),
    default=BUNDLES,
    show_default=True,
    help="For how many exceptions the evidence is attached.",
)
@click.option(
    "--map",
    "map_file",
    type=FILE,
    help="A control map of your own, in place of the one that comes with Muniment.",
)
@click.option("--oscal", is_flag=True, help="As OSCAL assessment results, too.")
@click.option(
    "--check",
    "checked",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Compute a report again from what is attached to it, offline.",
)
@click.option(
    "--without-pages",
    is_flag=True,
    help="With --check: do not compare the page, which you then do not read.",
)
@click.option(
    "--log-key",
    multiple=True,
    callback=_keys,
    metavar="VKEY|PATH",
    help="Public key of the log, or a file with it; the service says its own if you name none.",
)
@click.option(
    "--head",
    "heads",
    multiple=True,
    type=FILE,
    help="With --check: a checkpoint or receipt that you kept.",
)
@trusting
@json_option
@click.pass_context
def report_command(
    ctx: click.Context,
    framework: str | None,
    period: str | None,
    resources: tuple[str, ...],
    output: Path | None,
    log: str | None,
    bundles: int,
    map_file: Path | None,
    checked: Path | None,
    log_key: tuple[VerifierKey, ...],
    heads: tuple[Path, ...],
    witnesses: WitnessPolicy | None,
    own_witnesses: tuple[VerifierKey, ...],
    tsa_roots: tuple[Certificate, ...],
    *,
    listing: bool,
    issued: bool,
    oscal: bool,
    without_pages: bool,
    as_json: bool,
) -> None:
    """
    What the evidence of a period shows of the controls of a framework.

    Every request of the period is tested, and the excerpt of the log that lies beside the report
    proves that none was left out. It certifies nothing.
    """
    if sum((listing, issued, checked is not None, framework is not None)) != 1:
        raise click.UsageError("say one of --list, --issued, --framework NAME and --check DIR")
    if issued:
        answer = _all_issued()
        screen.show(answer, _told_issued(answer), as_json=as_json)
        return
    if listing:
        frameworks = _frameworks(_map(map_file))
        screen.show({"frameworks": frameworks}, _listed(frameworks), as_json=as_json)
        return
    if checked is not None:
        if not log_key:
            raise click.UsageError("--check needs --log-key: from whom you trust, not from DIR")
        whom = reader(log_key, witnesses, own_witnesses, tsa_roots)
        pages = {"without_pages": without_pages, "as_json": as_json}
        ctx.exit(_check(checked, log_key, heads, whom, **pages))
    if framework is None or period is None or output is None:
        raise click.UsageError("a report needs --framework, --period and -o DIR")
    if log is not None and not log_key:
        raise click.UsageError("--log needs --log-key")
    vouching = (*(witnesses.witness_keys if witnesses is not None else ()), *own_witnesses)
    from muniment.interfaces.cli import report_making
    from muniment.interfaces.cli.client import now
    from muniment.interfaces.cli.period import whole_days

    start, stop = whole_days(period)
    if start > now():
        raise Malformed(f"the period `{period:.40}` has not begun")
    asked = report_making.Asked(
        framework=framework,
        start=start,
        stop=stop,
        resources=tuple(sorted(set(resources))),
        bundles=bundles,
        oscal=oscal,
        map_data=_map(map_file),
    )
    made, recorded = _make(asked, output, log, log_key, tuple(vouching))
    answer = _answer(output, made, recorded)
    screen.show(answer, _told(answer, made), as_json=as_json)


# --- which there are --------------------------------------------------------------------------


def _map(file: Path | None) -> bytes:
    from muniment.oversight import control_map

    return control_map.shipped() if file is None else given.read(file, control_map.MAX_MAP)


def _frameworks(map_data: bytes) -> list[dict[str, Any]]:
    from muniment.oversight import control_map
    from muniment.oversight.controls import TESTS

    known = control_map.parse(map_data, TESTS)
    return [
        {
            "id": each.id,
            "title": each.title,
            "publication": each.publication,
            "checked": each.checked,
            "controls": [
                {"id": control.id, "words": control.words, "tests": list(control.tests)}
                for control in each.controls
            ],
        }
        for each in known.frameworks.values()
    ]


def _listed(frameworks: list[dict[str, Any]]) -> Iterator[str]:
    yield from screen.table(
        ("FRAMEWORK", "CONTROLS", "TESTS", "PUBLICATION"),
        [
            (
                each["id"],
                str(len(each["controls"])),
                str(len({test for control in each["controls"] for test in control["tests"]})),
                each["publication"],
            )
            for each in frameworks
        ],
    )
    yield screen.faint("tests say what was found; none of them certifies anything")


# --- which were made --------------------------------------------------------------------------


def _all_issued() -> dict[str, Any]:
    from muniment.interfaces.cli.client import asking

    found: dict[str, Any] = {"reports": [], "names": {}}
    with asking() as api:
        before: str | None = ""
        while before is not None:
            page = api.get("/v1/reports", **({"before": before} if before else {}))
            found["reports"] += page["reports"]
            found["names"] |= page["names"]
            before = page["next"]
    return found


def _told_issued(answer: dict[str, Any]) -> Iterator[str]:
    if not answer["reports"]:
        yield "no report was made of this log"
        return
    yield from screen.table(
        ("REPORT", "FRAMEWORK", "PERIOD", "BY", "MADE", "LOG SIZE", "ROOT", "SHA-256"),
        [
            (
                screen.short(each["report"]),
                screen.clean(each["framework"]),
                f"{each['since'][:10]}..{_last_day(each['until'])}",
                screen.who(answer["names"], each["by"]),
                f"{each['at'][:16].replace('T', ' ')} UTC",
                f"{each['size']:,}",
                f"{each['root'][:16]}…",
                f"{each['digest'][:16]}…",
            )
            for each in answer["reports"]
        ],
    )
    yield screen.faint("in full: --json; the SHA-256 is that of its report.json")


def _last_day(until: str) -> str:
    """A period ends before this moment."""
    return (
        date.fromisoformat(until[:10]) - timedelta(days=until[11:23] == "00:00:00.000")
    ).isoformat()


# --- making -----------------------------------------------------------------------------------


def _make(
    asked: "Asked",
    output: Path,
    log: str | None,
    log_key: tuple[VerifierKey, ...],
    witnesses: tuple[VerifierKey, ...],
) -> tuple["Made", str]:
    """The report, and the case in which the service recorded it; empty where none was asked."""
    from muniment.interfaces.cli import report_making
    from muniment.interfaces.cli.report_sources import opened

    stop = asked.stop
    if log is not None:
        with opened(log, stop) as lies:
            made = report_making.make(output, lies, log_key, asked, witnesses=witnesses)
            return made, ""
    from muniment.interfaces.cli.client import asking

    with asking() as api:
        keys = log_key or named([parse_key(api.text("/v1/log/key").strip())])
        _await_published(api)
        with opened(f"{api.url}/log", stop) as tiles:
            lies = replace(tiles, document=partial(_document, api))
            made = report_making.make(output, lies, keys, asked, witnesses=witnesses, api=api)
        recorded = api.post("/v1/reports", _issued(made))
    return made, str(recorded["case"])


def _document(api: "Api", digest: bytes) -> bytes | None:
    try:
        return api.file(f"/v1/documents/{digest.hex()}").content
    except NotFound:
        return None


def _await_published(api: "Api") -> None:
    """What the log has now is shown to others a little later; not for ever, if it never is."""
    newest, until = _size(api.text("/v1/log/checkpoint")), time.monotonic() + PATIENCE
    while _published(api) < newest and time.monotonic() < until:
        time.sleep(1)


def _published(api: "Api") -> int:
    try:
        return _size(api.text("/log/checkpoint"))
    except NotFound:
        return 0


def _size(note: str) -> int:
    """C2SP tlog-checkpoint: the second line."""
    return from_decimal((note.splitlines()[1:2] or ["0"])[0]) or 0


def _issued(made: "Made") -> dict[str, Any]:
    value = made.value
    return {
        "framework": value["framework"]["id"],
        "since": value["period"]["from"],
        "until": value["period"]["to"],
        "resources": value["resources"],
        "size": value["log"]["size"],
        "report": made.digest,
    }


def _answer(output: Path, made: "Made", recorded: str) -> dict[str, Any]:
    value = made.value
    return {
        "folder": str(output),
        "framework": value["framework"]["id"],
        "period": value["period"],
        "population": value["population"],
        "controls": [{"id": each["id"], "state": each["state"]} for each in value["controls"]],
        "exceptions": sum(test["exceptions"] for test in value["tests"]),
        "report": made.digest,
        "recorded": recorded or None,
        "refused": dict(made.refused),
    }


def _told(answer: dict[str, Any], made: "Made") -> Iterator[str]:
    yield f"wrote {answer['folder']}: open report.html, for your eyes only (mode 0600)"
    yield ""
    yield from _states(made.value)
    for case, why in list(answer["refused"].items())[:BUNDLES]:
        yield screen.faint(f"no bundle of {case}: {screen.clean(why)}")
    yield ""
    yield from screen.fields(
        (
            ("check it", f"muniment report --check {answer['folder']} --log-key KEY"),
            ("recorded", answer["recorded"] or "no: no service was asked"),
            ("report.json", f"sha256:{answer['report']}"),
        )
    )


def _states(value: dict[str, Any]) -> Iterator[str]:
    from muniment.interfaces.cli.report_page import came_to

    colours = {"satisfied": "green", "exceptions": "red"}
    failed = {test["id"]: test["exceptions"] for test in value["tests"]}
    yield from screen.table(
        ("CONTROL", "CAME TO", "EXCEPTIONS", "ASKS"),
        [
            (
                control["id"],
                screen.paint(came_to(control), colours.get(control["state"], "yellow")),
                f"{sum(failed[test] for test in control['tests']):,}",
                screen.clean(control["words"]),
            )
            for control in value["controls"]
        ],
    )
    people = value["population"]
    yield screen.faint(
        f"{screen.counted(people['requests'], 'request')} and"
        f" {screen.counted(people['grants'], 'grant')}: all of the period,"
        f" as of {value['as_of'][:19].replace('T', ' ')} UTC"
    )


# --- checking ---------------------------------------------------------------------------------


def _check(
    folder: Path,
    keys: tuple[VerifierKey, ...],
    heads: tuple[Path, ...],
    whom: grades.Reader,
    *,
    without_pages: bool,
    as_json: bool,
) -> int:
    from muniment.interfaces.cli import report_files
    from muniment.interfaces.cli.report_making import bar

    notes = [read_head(head) for head in heads]
    try:
        found = report_files.check_report(
            folder, keys, heads=notes, reader=whom, without_pages=without_pages,
            progress=bar("counting"),
        )  # fmt: skip
    except BundleInvalid as failed:
        reason = str(failed).partition(": ")[2]
        answer = {"folder": str(folder), "holds": False, "failed_step": failed.step}
        if as_json:
            click.echo(json.dumps({**answer, "reason": reason}, indent=2))
        else:
            click.echo(
                f"{folder}\n\n  {mark('✗')} {failed.step:2}  {report_files.STEPS[failed.step]}"
            )
            click.echo(f"         {screen.clean(reason)}\n")
            click.echo(f"{styled(Verdict.INVALID)}: the report does not hold")
        return 1
    if as_json:
        click.echo(json.dumps(_as_json(folder, found), indent=2))
    else:
        for line in _lines(folder, found):
            click.echo(line)
    return 0 if found.holds else 1


def _lines(folder: Path, found: "CheckedReport") -> Iterator[str]:
    from muniment.interfaces.cli.report_files import STEPS

    yield f"{folder}"
    yield ""
    for number, title in STEPS.items():
        sign = "✓" if number in found.steps else "·" if number == max(STEPS) else "✗"
        yield f"  {mark(sign)} {number:2}  {title:<72}  {found.steps.get(number, '')}".rstrip()
    yield ""
    yield from _states(found.value)
    yield ""
    for kept in found.proved.not_shown:
        yield screen.paint(
            f"NOT SHOWN: nothing here is proved about your head of size {kept.size:,}", "red"
        )
    yield styled(found.proved.verdict, found.proved.vouched)
    yield from words(found.proved.verdict, found.proved.vouched, _not_proved(found))


def _not_proved(found: "CheckedReport") -> list[str]:
    proved = found.proved
    return [*grades.not_proved(proved.verdict, proved.vouched), *found.doubts, *NOT_PROVED]


def _as_json(folder: Path, found: "CheckedReport") -> dict[str, Any]:
    from muniment.interfaces.cli.report_files import STEPS

    proved, value = found.proved, found.value
    return {
        "folder": str(folder),
        "holds": found.holds,
        "verdict": proved.verdict.value,
        "grade": grades.headline(proved.verdict, proved.vouched),
        "framework": value["framework"]["id"],
        "period": value["period"],
        "population": value["population"],
        "controls": [{"id": each["id"], "state": each["state"]} for each in value["controls"]],
        "log": value["log"],
        "heads": [compared_json(one) for one in proved.compared],
        **vouched_json(proved.vouched),
        "steps": [
            {"step": number, "title": STEPS[number], "detail": detail}
            for number, detail in sorted(found.steps.items())
        ],
        "proved": list(grades.proves(proved.verdict, proved.vouched)),
        "not_proved": _not_proved(found),
    }
