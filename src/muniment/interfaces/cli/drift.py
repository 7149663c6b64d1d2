"""Drift: hold targets against the log, and say what is to become of what differs."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import click

from muniment.evidence import moment
from muniment.interfaces.cli import screen
from muniment.interfaces.cli.client import asking, now, reason_option, resource_argument
from muniment.interfaces.cli.screen import json_option, length_option

_COLOURS = {"medium": "yellow", "high": "red", "critical": "red"}
#: what stood there before anybody looked is listed, and is no alarm
_STANDING = "standing"


class _Resources(click.Group):
    """What is not the name of a command is that of a resource."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = args[0] if args else ""
        if named not in self.commands and named not in ctx.help_option_names:
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group("drift", cls=_Resources)
def drift_command() -> None:
    """
    What targets have that the log does not say, and the other way round.

    `muniment drift RESOURCE` looks at a target now; `muniment drift` shows how all were found last.
    """


account_argument = click.argument("account")


@drift_command.command("show")
@click.argument("resource", required=False)
@click.option("--last", is_flag=True, help="As it was found last; do not look now.")
@click.option("--unproven", is_flag=True, help="Access that is over and was not yet seen gone.")
@json_option
def drift_show(resource: str | None, *, last: bool, unproven: bool, as_json: bool) -> int:
    """
    Look at a target now, or show how it was found last. `show` may be left out.

    The exit code is 1 if something differs that did not stand there before anybody looked.
    """
    if unproven:
        return _unproven(resource, as_json=as_json)
    with asking() as api:
        if resource is not None and not last:
            answer = api.post(f"/v1/drift/{resource}")
        else:
            answer = api.get("/v1/drift", **({} if resource is None else {"resource": resource}))
    screen.show(answer, _lines(answer), as_json=as_json)
    found = [each for one in answer["resources"] for each in one["differences"]]
    return 1 if any(each["what"] != _STANDING for each in found) else 0


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    if not answer["resources"]:
        yield "there are no resources: muniment.toml names them"
    for number, one in enumerate(answer["resources"]):
        yield from [""] if number else []
        yield from _of_resource(one, answer["names"])
    for removed in answer.get("removed", ()):
        yield screen.paint(f"seen gone, as was ordered: {screen.short(removed)}", "green")


def _of_resource(one: dict[str, Any], names: screen.Names) -> Iterator[str]:
    scan, resource = one["scan"], one["resource"]
    if scan is None:
        yield f"{screen.paint(resource, bold=True)}  was never looked at: muniment drift {resource}"
        return
    first = ", for the first time" if scan["first"] else ""
    seen = f"{screen.counted(scan['accounts'], 'account')}, "
    seen += screen.counted(scan["sessions"], "session")
    when = screen.moment(scan["at"], now())
    yield f"{screen.paint(resource, bold=True)}  looked at {when}{first}: {seen}"
    if scan["erased"]:
        yield screen.paint("  what was seen was erased", "yellow")
    if scan["forgotten"]:
        more = screen.counted(scan["forgotten"], "account")
        yield screen.paint(f"  {more} did not fit: none of them counts as new", "yellow")
    if one["differences"]:
        yield from screen.table(
            ("WHAT", "ACCOUNT", "SEVERITY", "SINCE", "FINDING"),
            [_row(each, scan) for each in one["differences"]],
        )
        if scan["unlisted"]:
            yield screen.faint(f"{scan['unlisted']} more, which the list had no room for")
        yield from _ways_out(resource, one["differences"])
    elif not scan["erased"]:
        yield f"  {screen.paint('it is as the log says', 'green')}"
    for each in one["removals"]:
        yield from _removal(each, names)


def _row(each: dict[str, Any], scan: dict[str, Any]) -> tuple[str, ...]:
    # what stood there before is in one finding, until it has one of its own
    finding = each["finding"] or (scan["standing"] if each["what"] == _STANDING else "")
    named = ", ".join(map(screen.clean, each["objects"]))
    more = each["count"] - len(each["objects"])
    named += f" and {more} more" if more > 0 else ""
    return (
        f"{each['kind']}, {each['what']}",
        screen.clean(each["account"]) + (f" ({named})" if named else ""),
        screen.paint(each["severity"], _COLOURS.get(each["severity"])),
        screen.moment(each["since"] or scan["at"], now()),
        screen.short(finding) if finding else "",
    )


def _ways_out(resource: str, differences: list[dict[str, Any]]) -> Iterator[str]:
    """What to do, with the first account that it can be done about."""
    found = [
        each for each in differences if each["kind"].split("-")[0] in ("account", "privileged")
    ]
    if not found:
        return
    account = screen.clean(found[0]["account"])
    own = screen.short(found[0]["finding"]) if found[0]["finding"] else ""
    about = f"{resource} {account}"
    yield ""
    yield screen.faint(f"adopt:    muniment drift adopt {about} --owner … --for 90d --reason …")
    yield screen.faint(f"explain:  muniment drift explain {about} --for 90d --reason …")
    if own:
        yield screen.faint(f"remove:   muniment drift remove {about} --finding {own} --reason …")
    else:
        yield screen.faint(f"remove:   muniment drift raise {about}    # and then what it says")


def _removal(each: dict[str, Any], names: screen.Names) -> Iterator[str]:
    who = screen.who(names, each["ordered_by"])
    when = screen.moment(each["ordered_at"], now())
    account = screen.clean(each["account"])
    yield screen.paint(f"  {account} is to go, says {who} since {when}; still there", "yellow")


def _unproven(resource: str | None, *, as_json: bool) -> int:
    with asking() as api:
        answer = api.get("/v1/drift/unproven")
    cases = [each for each in answer["cases"] if resource in (None, each["resource"])]
    answer = {**answer, "cases": cases}

    def lines() -> Iterator[str]:
        if not cases:
            yield "nothing is unproven: every access that is over was seen gone"
            return
        yield from screen.table(
            ("CASE", "STATE", "WHO", "ACCESS", "OVER SINCE", "WHY NOT"),
            [
                (
                    screen.short(row["case"]),
                    screen.state(row["state"]),
                    screen.who(answer["names"], row["requester"]),
                    f"{row['resource']} {row['role']}",
                    screen.paint(screen.until(row["over"], now()), "red"),
                    "; ".join(map(screen.clean, row["troubles"])) or row["reason"] or "not looked",
                )
                for row in cases
            ],
        )

    screen.show(answer, lines(), as_json=as_json)
    return 1 if cases else 0


@drift_command.command("adopt")
@resource_argument
@account_argument
@click.option("--owner", required=True, metavar="LOGIN", help="Who answers for it from now on.")
@length_option("--for", "seconds", None, "Until when, as in 90d: then it is looked at again.")
@reason_option
@json_option
def drift_adopt(
    resource: str, account: str, owner: str, seconds: int, reason: str, *, as_json: bool
) -> None:
    """Somebody answers for an account that no grant explains."""
    body = {"resolution": "adopted", "owner": owner, "reason": reason}
    _answer(resource, account, body, seconds, as_json=as_json)


@drift_command.command("explain")
@resource_argument
@account_argument
@length_option("--for", "seconds", None, "Until when, as in 90d: then it is looked at again.")
@reason_option
@json_option
def drift_explain(resource: str, account: str, seconds: int, reason: str, *, as_json: bool) -> None:
    """An account that no grant explains is meant to be there: say why."""
    _answer(
        resource, account, {"resolution": "explained", "reason": reason}, seconds, as_json=as_json
    )


def _answer(
    resource: str, account: str, body: dict[str, Any], seconds: int, *, as_json: bool
) -> None:
    until = moment.text(now() + timedelta(seconds=seconds))
    with asking() as api:
        found = api.post(f"/v1/drift/{resource}/finding", {"account": account})["finding"]
        answer = api.post(f"/v1/findings/{found}/closing", {**body, "until": until})
    line = f"recorded: {screen.clean(account)} is {body['resolution']} ({screen.short(found)})"
    screen.show(answer, [f"{line}, until {screen.until(until, now())}"], as_json=as_json)


@drift_command.command("raise")
@resource_argument
@account_argument
@json_option
def drift_raise(resource: str, account: str, *, as_json: bool) -> None:
    """
    Make an account that stood there before a finding of its own: then it can be removed.

    One that has an open finding keeps that.
    """
    with asking() as api:
        answer = api.post(f"/v1/drift/{resource}/finding", {"account": account})
    id_, about = screen.short(answer["finding"]), f"{resource} {screen.clean(account)}"
    lines = [
        f"recorded: {id_} is about {screen.clean(account)} alone",
        screen.faint(f"one:      muniment findings acknowledge {id_}"),
        screen.faint(f"another:  muniment drift remove {about} --finding {id_} --reason …"),
    ]
    screen.show(answer, lines, as_json=as_json)


@drift_command.command("remove")
@resource_argument
@account_argument
@click.option("--finding", required=True, metavar="FINDING", help="About it, and acknowledged.")
@reason_option
@json_option
def drift_remove(resource: str, account: str, finding: str, reason: str, *, as_json: bool) -> None:
    """
    Say that an account is to go. It takes two: somebody else has acknowledged its finding.

    Muniment removes only what it made: this prints what an administrator of the target has to run.
    The next look at the target says whether it is gone.
    """
    body = {"account": account, "finding": finding, "reason": reason}
    with asking() as api:
        answer = api.post(f"/v1/drift/{resource}/removals", body)

    def lines() -> Iterator[str]:
        yield f"recorded: {screen.clean(account)} is to go ({screen.short(answer['removal'])})"
        yield "nothing was done at the target yet; an administrator runs there:"
        yield ""
        yield from (f"  {screen.clean(each)}" for each in answer["statements"])
        if not answer["statements"]:
            yield "  (this connector cannot say how)"
        yield ""
        yield screen.faint(f"then:  muniment drift {resource}")

    screen.show(answer, lines(), as_json=as_json)
