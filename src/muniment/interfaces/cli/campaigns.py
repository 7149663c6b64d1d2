"""Reviews of access: open them, look at items, say what is to become of each, sign and close."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from muniment.errors import Unavailable
from muniment.interfaces.cli import looking, screen
from muniment.interfaces.cli.client import asking, now, reason_option
from muniment.interfaces.cli.decide import reviews_command
from muniment.interfaces.cli.screen import case_argument, json_option

if TYPE_CHECKING:
    from muniment.interfaces.cli.api import Api

__all__ = ["reviews_command"]

OUTCOMES: Final = ("keep", "revoke", "reduce", "abstain", "not-reviewed")
#: items that are handed in at once
MOST: Final = 10_000
#: seconds between two looks at how far the opening has come
_LOOK: Final = 0.3
_COLOURS: Final = {"keep": "green", "revoke": "red", "reduce": "yellow", "not-reviewed": "yellow"}
_ADVICE: Final = {"look": "yellow", "revoke": "red"}


@reviews_command.command("list")
@json_option
def reviews_list(*, as_json: bool) -> None:
    """Reviews of access that you have a part in, or may see; the newest first."""
    with asking() as api:
        answer = api.get("/v1/campaigns")

    def lines() -> Iterator[str]:
        rows = answer["campaigns"]
        if rows:
            yield from screen.table(
                ("REVIEW", "RULE", "STATE", "OPENED", "DUE", "YOURS", "WAITING"),
                [_row(row) for row in rows],
            )
            id_ = screen.short(rows[0]["campaign"])
            yield ""
            yield screen.faint(f"look:    muniment reviews show {id_}")
        else:
            yield "no reviews of access"
        if answer["rules"]:
            yield screen.faint(f"open:    muniment reviews open {answer['rules'][0]}")

    screen.show(answer, lines(), as_json=as_json)


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    at = now()
    return (
        screen.short(row["campaign"]),
        row["rule"],
        row["state"] + (screen.paint(" (outstanding)", "red") if row["outstanding"] else ""),
        screen.moment(row["opened_at"], at),
        screen.until(row["due"], at) if row["state"] == "open" else "",
        str(row["mine"]),
        str(row["waiting"]),
    )


@reviews_command.command("open")
@click.argument("name")
@json_option
def reviews_open(name: str, *, as_json: bool) -> None:
    """Open the review NAME of the configuration, over all that the log gives now."""
    with asking() as api:
        answer = _with_progress(api, name, partial(_opened, api, name))
    id_ = screen.short(answer["campaign"])
    items, due = screen.counted(answer["items"], "item"), screen.until(answer["due"], now())
    look = screen.faint(f"look:    muniment reviews show {id_}")
    screen.show(answer, [f"open: {id_}, {items}, due {due}", look], as_json=as_json)


def _opened(api: "Api", name: str) -> dict[str, Any]:
    """Also where making it takes longer than an answer is waited for."""
    try:
        return api.post("/v1/campaigns", {"name": name})
    except Unavailable:
        if name not in api.get("/v1/campaigns")["opening"]:
            raise
    while name in (seen := api.get("/v1/campaigns"))["opening"]:
        time.sleep(_LOOK)
    newest = next(row for row in seen["campaigns"] if row["rule"] == name)
    return api.get(f"/v1/campaigns/{newest['campaign']}")


def _with_progress(api: "Api", name: str, work: Callable[[], Any]) -> Any:
    """What takes a while says on a terminal how far it has come."""
    done: list[Any] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 (it is raised where it is waited for)
            done.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_LOOK)
    if thread.is_alive() and sys.stderr.isatty():
        _draw(api, name, thread)
    thread.join()
    if isinstance(done[0], BaseException):
        raise done[0]
    return done[0]


def _draw(api: "Api", name: str, thread: threading.Thread) -> None:
    with click.progressbar(length=100, label=f"making `{name}`", file=sys.stderr) as bar:
        while thread.is_alive():
            done, total = api.get("/v1/campaigns")["opening"].get(name, (0, 0))
            bar.update(max(0, (100 * done // total if total else 0) - bar.pos))
            thread.join(_LOOK)
        bar.update(100 - bar.pos)


@reviews_command.command("show")
@case_argument
@click.option("--mine", is_flag=True, help="The items that are yours.")
@click.option("--items", "wanted", is_flag=True, help="Every item.")
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Items of this outcome only.")
@click.option("--recompute", is_flag=True, help="Make the population again from the log.")
@json_option
def reviews_show(
    case: str, *, mine: bool, wanted: bool, outcome: str | None, recompute: bool, as_json: bool
) -> int:
    """One review of access: how it stands, who looked how, and its items."""
    with asking() as api:
        if recompute:
            answer = api.get(f"/v1/campaigns/{case}/recomputation")
            same = "the same" if answer["same"] else screen.paint("NOT the same", "red")
            line = f"{answer['items']:,} items at log size {answer['size']}: {same}"
            screen.show(answer, [line], as_json=as_json)
            return 0 if answer["same"] else 1
        if mine or wanted or outcome:
            answer = _pages(api, case, mine=mine, outcome=outcome or "")
            looking.keep(answer["campaign"], answer["shown"])
            screen.show(answer, _item_lines(answer, mine=mine), as_json=as_json)
            return 0
        answer = api.get(f"/v1/campaigns/{case}")
    screen.show(answer, _lines(answer), as_json=as_json)
    return 0


def _pages(api: "Api", case: str, *, mine: bool, outcome: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    after = -1
    while True:
        page = api.get(
            f"/v1/campaigns/{case}/items",
            mine=str(mine).lower(),
            **({"outcome": outcome} if outcome else {}),
            after=after,
        )
        if not found:
            found = page
        else:
            found["items"] += page["items"]
            found["shown"] += f" {page['shown']}"
            found["names"] |= page["names"]
        if page["next"] is None:
            return {**found, "next": None, "left": 0}
        after = page["next"]


def _item_lines(answer: dict[str, Any], *, mine: bool) -> Iterator[str]:
    if not answer["items"]:
        yield "no such items"
        return
    names = answer["names"]
    yield from screen.table(
        ("ITEM", "WHAT", "WHO", "WHERE", "ADVICE", "BECAUSE", "OUTCOME"),
        [
            (
                str(item["item"]),
                item["what"]
                + (" (broke glass)" if item["what"] == "grant" and item["glass"] else ""),
                screen.who(names, item["principal"]) if "principal" in item else "",
                _where(item),
                screen.paint(item["advice"], _ADVICE.get(item["advice"])),
                ", ".join(item["why"]),
                _outcome(item),
            )
            for item in answer["items"]
        ],
    )
    # only who has items decides, and only while it is open
    if mine and answer["state"] == "open":
        review = screen.short(answer["campaign"])
        yield ""
        yield screen.faint(f"decide:  muniment reviews decide {review} ITEM… --keep|--revoke …")


def _where(item: dict[str, Any]) -> str:
    if "resource" in item:
        return screen.clean(f"{item['resource']}/{item['role']}")
    return screen.clean(str(item.get("group", item.get("rule", ""))))


def _outcome(item: dict[str, Any]) -> str:
    word = screen.paint(item["outcome"], _COLOURS.get(item["outcome"]))
    to = f" to {screen.clean(item['to'])}" if item["to"] else ""
    done = " (applied)" if item["applied"] else " (outstanding)" if item["owed"] else ""
    return f"{word}{to}{done}"


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield screen.paint(found["campaign"], bold=True)
    yield from screen.fields(_facts(found))
    if found["reviewers"]:
        yield ""
        yield from screen.table(
            ("REVIEWER", "ITEMS", "DECIDED", "KEPT", "MEDIAN", "≤ 1 s", "AT ONCE"),
            [_reviewer_row(row, found["names"]) for row in found["reviewers"]],
        )
    if found["completeness"]:
        yield ""
        yield from screen.table(
            ("TARGET", "LISTED", "LIVE", "SEEN THERE", "UNEXPLAINED", "LOOKED AT"),
            [_target_row(row) for row in found["completeness"]],
        )
    day = ""
    for line in found["timeline"]:
        yield from [""] if not day else []
        if line["at"][:10] != day:
            day = line["at"][:10]
            yield screen.faint(f"  {day}, times are UTC; # is the entry in the log")
        by = screen.who(found["names"], line["record"]["actor"]["principal"])
        number = screen.faint(f"#{line['index']:<5}")
        told = _told(line["kind"], line["record"])
        yield f"  {number} {line['at'][11:23]}  {line['kind']:<20}  {by}{told}"


def _told(kind: str, record: dict[str, Any]) -> str:
    if kind == "review:decided":
        said = ", ".join(f"{count} {verdict}" for verdict, count in record["tallies"].items())
        return f": {said}" + (" in bulk" if record["bulk"] else "")
    if kind == "review:escalated":
        return f": {record['share']} % of the time is over, {record['open']} not reviewed"
    if kind == "review:applied":
        return f": {screen.counted(len(record['items']), 'item')} {record['how']}"
    return ""


def _reviewer_row(row: dict[str, Any], names: screen.Names) -> tuple[str, ...]:
    stamped = screen.paint(" (stamped?)", "red") if row["stamped"] else ""
    median = "" if row["median_seconds"] is None else f"{row['median_seconds']} s"
    return (
        screen.who(names, row["reviewer"]) + stamped,
        str(row["items"]),
        str(row["decided"]),
        str(row["kept"]),
        median,
        str(row["within_a_second"]),
        str(row["largest_at_once"]),
    )


def _target_row(row: dict[str, Any]) -> tuple[str, ...]:
    """What is listed of a target beside what its newest scan before the opening counted there."""
    own, scan = (row["resource"], str(row["listed"]), str(row["live_grants"])), row["scan"]
    if scan is None:
        return (*own, "", "", screen.paint("never", "yellow"))
    different = sum(scan["differences"].values())
    return (
        *own,
        screen.counted(scan["accounts"], "account"),
        screen.paint(str(different), "yellow") if different else "0",
        screen.moment(scan["at"], now()),
    )


def _facts(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    at, rule = now(), found["definition"]
    yield "state", found["state"] + (" and over" if found["over"] == 100 else "")  # noqa: PLR2004 (all of its time)
    yield "review", f"{found['rule']} of {rule['what']}"
    opened = "" if found["started"] == "person" else f", by {found['started']}"
    yield "opened", screen.moment(found["opened_at"], at) + opened
    yield "due", screen.until(found["due"], at)
    yield "on silence", found["silence"]
    yield "population", f"{found['items']:,} items of the log at size {found['size']}"
    yield "root", found["items_root"]
    yield (
        "outcomes",
        ", ".join(f"{count} {word}" for word, count in found["tallies"].items() if count),
    )
    if found["unassigned"]:
        yield "unassigned", f"{found['unassigned']} items that nobody may look at"
    yield "applied", f"{found['applied']}, outstanding {found['outstanding']}"
    unseen = f", {found['unseen']} of them never looked at" if found["unseen"] else ""
    yield "targets", f"{found['targets']}{unseen}"
    yield "signs off", found["sign_off"]


@reviews_command.command("decide")
@case_argument
@click.argument("items", nargs=-1, required=True)
@click.option("--keep", is_flag=True, help="It is as it should be.")
@click.option("--revoke", is_flag=True, help="It is taken away.")
@click.option("--abstain", is_flag=True, help="You cannot say.")
@click.option("--reduce", metavar="ROLE|TIME", help="Less would do: a smaller role, or 15m.")
@click.option("--reason", default="", metavar="TEXT", help="Why; only keeping needs none.")
@json_option
def reviews_decide(
    case: str,
    items: tuple[str, ...],
    *,
    reason: str,
    as_json: bool,
    **verdicts: bool | str | None,
) -> None:
    """
    Say what is to become of your ITEMS: numbers, and ranges as in `3-7`.

    How long you looked is recorded: from when `reviews show` listed these, or from your last
    verdicts, to now.
    """
    given = [name for name, value in verdicts.items() if value not in (None, False)]
    if len(given) != 1:
        raise click.UsageError("one of --keep, --revoke, --reduce and --abstain")
    wanted, to = numbers(items), verdicts["reduce"]
    said = {
        "items": wanted,
        "verdict": given[0],
        "reason": reason,
        "to": to or "",
    }
    with asking() as api:
        asked = {"verdicts": [said], "shown": looking.recall(case, wanted)}
        answer = api.post(f"/v1/campaigns/{case}/decisions", asked)
    counted = ", ".join(f"{count} {word}" for word, count in answer["decided"].items())
    line = f"recorded: {counted}; {answer['waiting']} of your {answer['mine']} items wait"
    screen.show(answer, [line], as_json=as_json)


def numbers(items: tuple[str, ...]) -> list[int]:
    """Numbers and ranges. Raises `UsageError`."""
    found: dict[int, None] = {}
    for each in items:
        first, dash, last = each.partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and len(last) < 9):  # noqa: PLR2004 (more than any review has)
            raise click.UsageError(f"`{each}` is no number of an item, and no range of them")
        if int(last) < int(first):
            raise click.UsageError(f"`{each}` ends before it begins: write `{last}-{first}`")
        if int(last) - int(first) >= MOST:
            raise click.UsageError(f"hand in at most {MOST:,} items at once")
        found |= dict.fromkeys(range(int(first), int(last) + 1))
    return list(found)


@reviews_command.command("reassign")
@case_argument
@click.argument("items", nargs=-1, required=True)
@click.option("--to", required=True, metavar="LOGIN", help="Who is to look at them.")
@reason_option
@json_option
def reviews_reassign(
    case: str, items: tuple[str, ...], to: str, reason: str, *, as_json: bool
) -> None:
    """Hand ITEMS to somebody else of those who review."""
    body = {"items": numbers(items), "to": to, "reason": reason}
    with asking() as api:
        answer = api.post(f"/v1/campaigns/{case}/reassignment", body)
    line = f"recorded: {screen.counted(answer['items'], 'item')} went to {to}"
    screen.show(answer, [line], as_json=as_json)


@reviews_command.command("sign")
@case_argument
@click.option("--note", default="", help="For the record.")
@json_option
def reviews_sign(case: str, note: str, *, as_json: bool) -> None:
    """Say that you have seen how it came out; who decided something in it cannot."""
    with asking() as api:
        answer = api.post(f"/v1/campaigns/{case}/signature", {"note": note})
    screen.show(answer, [f"signed: {screen.short(answer['campaign'])}"], as_json=as_json)


@reviews_command.command("close")
@case_argument
@click.option("--note", default="", help="For the record.")
@click.option("--leave", is_flag=True, help="Though something is outstanding; takes a note.")
@json_option
def reviews_close(case: str, note: str, *, leave: bool, as_json: bool) -> None:
    """Close it: signed, and all that was decided has come to pass."""
    with asking() as api:
        answer = api.post(f"/v1/campaigns/{case}/closing", {"note": note, "leave": leave})
    id_ = screen.short(answer["campaign"])
    left = f", {answer['outstanding']} outstanding" if answer["outstanding"] else ""
    screen.show(
        answer,
        [f"closed: {id_}{left}", screen.faint(f"prove:   muniment evidence export {id_} -o FILE")],
        as_json=as_json,
    )


@reviews_command.command("restore")
@click.argument("login")
@click.argument("resource")
@click.argument("role")
@reason_option
@json_option
def reviews_restore(login: str, resource: str, role: str, reason: str, *, as_json: bool) -> None:
    """Let LOGIN ask again for what a review took; by another person than the reviewer."""
    body = {"principal": login, "resource": resource, "role": role, "reason": reason}
    with asking() as api:
        answer = api.post("/v1/eligibility/restoration", body)
    screen.show(answer, [f"recorded: {login} may ask again for {resource}/{role}"], as_json=as_json)
