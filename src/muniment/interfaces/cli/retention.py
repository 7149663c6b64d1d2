"""Retention: what is kept for how long, what has come to its end, and having it erased."""

import time
from collections.abc import Iterator
from typing import Any, Final

import click

from muniment.access.window import text as length
from muniment.errors import Unavailable
from muniment.interfaces.cli import screen
from muniment.interfaces.cli.client import asking, now
from muniment.interfaces.cli.screen import json_option
from muniment.oversight.retention_presets import PRESETS

#: seconds between two looks at a run that is being carried out, and for how long
LOOK: Final = 0.3
PATIENCE: Final = 600.0
#: lines of a plan that are printed
PRINTED: Final = 50


@click.group("retention")
def retention_command() -> None:
    """What is kept for how long, and what goes."""


@retention_command.command("list")
@click.option("--presets", is_flag=True, help="The floors that others ask for, with their source.")
@json_option
def retention_list(*, presets: bool, as_json: bool) -> None:
    """The classes in force, how much each covers, and what has come to its end."""
    if presets:
        known = {name: _preset(name) for name in sorted(PRESETS)}
        rows = [(name, *map(str, each.values())) for name, each in known.items()]
        table = screen.table(("PRESET", "AT LEAST", "SOURCE", "STATUS", "WHAT IT SAYS"), rows)
        screen.show({"presets": known}, table, as_json=as_json)
        return
    with asking() as api:
        answer = api.get("/v1/retention")

    def lines() -> Iterator[str]:
        if not answer["classes"]:
            yield "no classes: nothing ever goes (`[retention]` in muniment.toml)"
        else:
            yield from screen.table(
                ("CLASS", "AT LEAST", "AT MOST", "ABOUT", "COVERS", "FROM"),
                [_row(each) for each in answer["classes"]],
            )
        yield ""
        yield from _totals(answer)

    screen.show(answer, lines(), as_json=as_json)


def _preset(name: str) -> dict[str, str]:
    preset = PRESETS[name]
    return {
        "floor": _length(None if preset.floor is None else int(preset.floor.total_seconds())),
        "source": preset.source,
        "status": preset.status,
        "note": preset.note,
    }


def _length(seconds: int | None) -> str:
    return "" if seconds is None else length(seconds)


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    about = [
        f"{name} {', '.join(each[name])}"
        for name in ("kinds", "sections", "resources", "environments", "data", "sources")
        if each[name]
    ]
    return (
        each["name"],
        _length(each["floor"]),
        _length(each["ceiling"]),
        screen.clean("; ".join(about) or "every section"),
        str(each["covers"]),
        screen.clean(each["origin"]),
    )


def _totals(found: dict[str, Any]) -> Iterator[str]:
    if "sections" in found:
        kept = screen.counted(found["sections"], "sealed section")
        yield f"{kept} kept, {found['for_ever']} of them and of events for ever"
        yield (
            f"one person erases up to {found['two_people_above']:,} sections and batches of events "
            f"at once, and up to {found['two_people_above_events']:,} events; more takes two"
        )
    for each in found["conflicts"]:
        yield screen.paint(
            f"conflict: `{each['kept_by']}` keeps {each['count']} for longer than "
            f"`{each['goes_by']}` lets them stay; they stay",
            "yellow",
        )
    for hold, count in found["held"].items():
        yield f"held by {screen.short(hold)}: {count} that would go"
    sections = screen.counted(found["sections_due"], "section")
    batches = f"{found['batches_due']} batch{'' if found['batches_due'] == 1 else 'es'} of events"
    yield f"has come to its end: {sections}, {batches}"
    for rule, count in found["rules"].items():
        yield f"  {count:>7,}  under {screen.clean(rule)}"


@retention_command.command("run")
@click.option("--dry-run", is_flag=True, help="Say what would go, and record nothing.")
@json_option
def retention_run(*, dry_run: bool, as_json: bool) -> None:
    """
    Have what has come to its end erased.

    Up to a threshold one person is enough; above it somebody else has to approve.
    """
    with asking() as api:
        if dry_run:
            plan = api.get("/v1/retention/plan")
            screen.show(plan, _plan_lines(plan, plan["lines"]), as_json=as_json)
            return
        answer = api.post("/v1/retention/runs")
        run = answer["run"]
        if run is not None and run["state"] != "proposed":
            run = answer["run"] = _watched(api, run["run"])

    def lines() -> Iterator[str]:
        yield from _plan_lines(answer["plan"], answer["lines"])
        if run is None:
            yield "nothing to erase"
        else:
            yield from _run_lines(run)

    screen.show(answer, lines(), as_json=as_json)


def _plan_lines(plan: dict[str, Any], lines: list[dict[str, Any]]) -> Iterator[str]:
    if lines:
        rows = [_line(each) for each in lines[:PRINTED]]
        yield from screen.table(("RECORD", "WHAT", "SINCE", "RULE"), rows)
        if len(lines) > PRINTED:
            yield screen.faint(f"the first {PRINTED}; all of them with --json")
        yield ""
    yield from _totals(plan)


def _line(each: dict[str, Any]) -> tuple[str, ...]:
    if "section" in each:
        since = screen.moment(each["since"], now())
        return each["record"], f"{each['kind']} {each['section']}", since, each["rule"]
    what = f"{each['events']} events of {screen.clean(each['source'])}"
    return each["record"], what, "", each["rule"]


def _run_lines(run: dict[str, Any]) -> Iterator[str]:
    id_ = screen.short(run["run"])
    if run["state"] == "proposed":
        yield f"recorded: {id_} waits for {screen.counted(run['missing'], 'more person')}"
        yield screen.faint(f"somebody else: muniment retention approve {id_}")
        return
    sections = screen.counted(run["erased"], "section")
    events = screen.counted(run["events_erased"], "event")
    yield f"{id_} is {run['state']}: {sections} and {events} erased"


@retention_command.command("approve")
@click.argument("run", metavar="RUN", callback=screen.beginning)
@json_option
def retention_approve(run: str, *, as_json: bool) -> None:
    """Want the same as who proposed RUN; then it begins."""
    with asking() as api:
        answer = api.post(f"/v1/retention/runs/{run}/approval")
        if answer["state"] != "proposed":
            answer = _watched(api, answer["run"])
    screen.show(answer, _run_lines(answer), as_json=as_json)


@retention_command.command("runs")
@json_option
def retention_runs(*, as_json: bool) -> None:
    """What was proposed, and what became of it."""
    with asking() as api:
        answer = api.get("/v1/retention/runs")
    rows = [
        (
            screen.short(each["run"]),
            each["state"],
            screen.moment(each["proposed_at"], now()),
            screen.who(answer["names"], each["proposed_by"]),
            f"{each['erased']} of {each['sections']}",
            str(each["events_erased"]),
        )
        for each in answer["runs"]
    ]
    head = ("RUN", "STATE", "PROPOSED", "BY", "SECTIONS", "EVENTS")
    screen.show(answer, screen.table(head, rows) if rows else ["no runs"], as_json=as_json)


@retention_command.command("reach")
@click.argument("case", metavar="CASE")
@json_option
def retention_reach(case: str, *, as_json: bool) -> None:
    """
    What was given away of CASE, which no erasure reaches.

    CASE is a case, or a principal by its whole id.
    """
    with asking() as api:
        answer = api.get(f"/v1/retention/reach/{case}")

    def lines() -> Iterator[str]:
        for each in answer["erased"]:
            where = f"`{each['section']}` of {each['record']}"
            left = f" but for {screen.counted(each['kept'], 'event')}" if each.get("kept") else ""
            yield f"erased: {where}{left} under {screen.clean(each['rule'])}, {each['at']}"
        for each in answer["given"]:
            by = screen.who(answer["names"], each["by"])
            yield f"given:  {each['kind']} by {by}, {each['at']}  {each['record']}"
        if not answer["given"]:
            yield "no bundle of it was ever taken"
        for each in answer.get("copies", ()):
            name = screen.clean(each["name"])
            yield f"copied: the headers of the log, to the {each['kind']} `{name}`"
        yield screen.faint(
            "mirrors, backups and SIEMs hold no section; a backup of the database "
            "does, until it is overwritten or restored"
        )

    screen.show(answer, lines(), as_json=as_json)


def _watched(api: Any, run: str) -> dict[str, Any]:
    """Until the service has carried it out."""
    end = time.monotonic() + PATIENCE
    while True:
        answer: dict[str, Any] = api.get(f"/v1/retention/runs/{run}")
        if answer["closed"]:
            return answer
        if time.monotonic() > end:
            raise Unavailable(
                f"{run} goes on by itself; its end is not seen yet: `muniment retention runs`"
            )
        time.sleep(LOOK)
