"""`muniment evidence health`: what would not stand up, of which grants, and what to do about it."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from muniment.errors import Unavailable
from muniment.interfaces.cli import screen
from muniment.interfaces.cli.client import asking
from muniment.interfaces.cli.screen import json_option

if TYPE_CHECKING:
    from muniment.interfaces.cli.api import Api

Json = dict[str, Any]
PATH: Final = "/v1/evidence/health"
#: seconds that are waited for a service that reads its log for the first time, and between asking
PATIENCE, APART = 300.0, 1.0
_COLOURS = {"medium": "yellow", "high": "red", "critical": "red"}
#: cases that are named of each kind, and measurements that are printed
_NAMED, _SHOWN = 3, 30
_BARS = "▁▂▃▄▅▆▇█"


@click.command("health")
@click.argument("case", required=False, callback=screen.beginning)
@click.option("--trend", is_flag=True, help="Each daily measurement, instead of how it is now.")
@json_option
def evidence_health(case: str | None, *, trend: bool, as_json: bool) -> None:
    """
    What would not stand up, of CASE or of all grants, and what to do about it.

    Counted are grants; `last 30 days` are those that were asked for within that time.
    """
    if case is not None and trend:
        raise click.UsageError("--trend is about all grants; leave CASE out")
    path = PATH if case is None else f"{PATH}/{case}"
    with asking() as api:
        answer = _patiently(api, path)
    tell = _of_grant if case is not None else _trend if trend else _overall
    screen.show(answer, tell(answer), as_json=as_json)


def _patiently(api: "Api", path: str) -> Json:
    """A service that just started reads a long log first: it says how far it is."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return api.get(path)
        except Unavailable as error:
            if "is being read" not in str(error) or time.monotonic() > until:
                raise
            click.echo(screen.faint(str(error)), err=True)
            time.sleep(APART)


# --- of one grant -----------------------------------------------------------------------------


def _of_grant(answer: Json) -> Iterator[str]:
    yield screen.paint(answer["case"], bold=True)
    if not answer["granted"]:
        yield "  nothing was ever granted under it: there is no access to give evidence of"
        return
    if not answer["weaknesses"]:
        yield screen.paint("  all of its evidence stands up", "green")
    for each in answer["weaknesses"]:
        yield ""
        yield from _weakness(each, answer["names"])
    yield from _of_the_log(answer)


def _weakness(each: Json, names: screen.Names) -> Iterator[str]:
    yield f"  {_severity(each['severity'])}  {screen.paint(each['title'], bold=True)}"
    yield f"    {screen.faint(each['kind'])}  {screen.sentence(names, each['says'])}"
    yield from screen.hanging(each["meaning"], 4)
    yield from screen.hanging(f"to do: {each['advice']}", 4)


def _of_the_log(answer: Json) -> Iterator[str]:
    for each in answer["log"]:
        yield ""
        yield f"  {_severity(each['severity'])}  {screen.paint(each['title'], bold=True)}"
        yield from screen.hanging(each["meaning"], 4)
        yield from screen.hanging(f"to do: {each['advice']}", 4)


def _severity(word: str) -> str:
    return screen.paint(f"{word:<6}", _COLOURS.get(word))


def glance(judged: Json, case: str) -> Iterator[str]:
    """For those who look at a case: in a line whether its evidence stands up, and where to look."""
    if not judged["granted"]:
        return
    slight = f" (slight: {', '.join(judged['slight'])})" if judged["slight"] else ""
    if judged["weaknesses"]:
        weak = ", ".join(judged["weaknesses"])
        yield f"{screen.paint('its evidence is weak', 'red')}: {weak}{slight}"
    else:
        yield screen.paint("its evidence stands up", "green") + slight
    if judged["weaknesses"] or slight:
        yield screen.faint(f"what to do: muniment evidence health {screen.short(case)}")


# --- of all of them ---------------------------------------------------------------------------


def _overall(answer: Json) -> Iterator[str]:
    recent, found = answer["recent"], [each for each in answer["weaknesses"] if each["count"]]
    yield (
        f"{screen.counted(answer['grants'], 'grant')}, {answer['weak']} with weak evidence (medium "
        f"or worse); of {recent['grants']} in the last {recent['days']} days {recent['weak']}"
    )
    if found:
        yield ""
        yield from screen.table(
            ("SEVERITY", "WEAKNESS", "GRANTS", f"LAST {recent['days']} DAYS", "NEWEST"),
            [_row(each) for each in found],
        )
    for each in found:
        yield ""
        yield f"  {screen.paint(each['kind'], bold=True)}  {each['title']}"
        yield from screen.hanging(f"to do: {each['advice']}", 4)
    yield from _of_the_log(answer)
    if found:
        newest = screen.short(found[0]["cases"][0]["case"])
        yield ""
        yield screen.faint(f"look:   muniment evidence health {newest}")


def _row(each: Json) -> tuple[str, ...]:
    cases = ", ".join(screen.short(case["case"]) for case in each["cases"][:_NAMED])
    return (
        _severity(each["severity"]).rstrip(),
        each["kind"],
        str(each["count"]),
        str(each["recent"]),
        cases,
    )


# --- how it went ------------------------------------------------------------------------------


def _trend(answer: Json) -> Iterator[str]:
    points = answer["trend"][-_SHOWN:]
    if answer["measurements"] is None:
        yield "what is measured is about all grants, and you see those of some roles"
        return
    if not points:
        yield "nothing was measured yet: that is done once a day"
        return
    yield from screen.table(
        ("MEASURED", "GRANTS", "WEAK", f"LAST {points[-1]['days']} DAYS", "WEAK"),
        [
            (
                f"{point['at'][:16].replace('T', ' ')} UTC",
                str(point["grants"]),
                str(point["weak"]),
                str(point["recent_grants"]),
                str(point["recent_weak"]),
            )
            for point in points
        ],
    )
    kinds = sorted({kind for point in points for kind in point["recent"]})
    if kinds:
        yield ""
        yield screen.faint(f"weak grants of the {points[-1]['days']} days before, by kind")
    for kind in kinds:
        counts = [point["recent"].get(kind, 0) for point in points]
        yield f"  {kind:<24} {_bars(counts)}  {counts[0]} to {counts[-1]}"
    yield ""
    yield screen.faint(
        f"with all proofs: muniment evidence export {answer['measurements']} -o FILE"
    )


def _bars(counts: list[int]) -> str:
    most = max(counts) or 1
    return "".join(_BARS[(len(_BARS) - 1) * count // most] for count in counts)
