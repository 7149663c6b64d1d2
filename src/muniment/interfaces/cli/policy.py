"""`muniment policy`: check and test a bundle on this machine; ask the service what would happen."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muniment.access.window import text as length
from muniment.errors import NotFound, PolicyInvalid
from muniment.interfaces.cli import client, screen
from muniment.interfaces.cli.screen import json_option, length_option
from muniment.interfaces.verifier.outcome import mark

if TYPE_CHECKING:
    from muniment.policy.bundle import Bundle
    from muniment.policy.cases import Result

_SETTINGS = "muniment.toml"

folder_argument = click.argument(
    "folder",
    metavar="[DIR]",
    envvar="MUNIMENT_DIR",
    default=Path(),
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)


@click.group("policy")
def policy_command() -> None:
    """Policy as code: check it, test it, ask it."""


# --- on this machine ------------------------------------------------------------------------------


@policy_command.command("check")
@folder_argument
@json_option
def policy_check(folder: Path, *, as_json: bool) -> int:
    """
    Load a bundle: syntax, types, annotations, groups.

    DIR is a policy folder, or a configuration folder; by default MUNIMENT_DIR or this one.
    """
    try:
        bundle, files = _load(folder)
    except PolicyInvalid as error:
        wrong = str(error).splitlines()
        lines = [screen.paint(line, "red") for line in wrong]
        screen.show({"valid": False, "wrong": wrong}, lines, as_json=as_json)
        return 1
    rules = [{"id": rule.id, "place": rule.place, "title": rule.title} for rule in bundle.rules]
    answer = {"valid": True, "digest": bundle.digest, "rules": rules}
    said = (
        f"{mark('✓')} {screen.counted(len(rules), 'rule')} in {files} hold; digest {bundle.digest}"
    )
    screen.show(answer, [said], as_json=as_json)
    return 0


@policy_command.command("test")
@folder_argument
@json_option
def policy_test(folder: Path, *, as_json: bool) -> int:
    """
    Run the cases beside the rules: `cases/*.json` in the policy folder.

    DIR as with `check`. The exit code is 1 if one case fails.
    """
    from muniment.policy import cases

    bundle, _ = _load(folder)
    place = _policy_folder(folder)
    paths = sorted((place / "cases").rglob("*.json"))
    if not paths:
        raise NotFound(f"there are no cases in `{place / 'cases'}`")
    found = {
        path.relative_to(place).as_posix(): cases.run(bundle, path.name, path.read_bytes())
        for path in paths
    }
    failed = sum(not result.passed for results in found.values() for result in results)
    screen.show(_results_json(found, failed), _result_lines(found, failed), as_json=as_json)
    return 1 if failed else 0


def _load(folder: Path) -> tuple["Bundle", Path]:
    from muniment.policy.bundle import load
    from muniment.runtime.files import read_policy

    place = _policy_folder(folder)
    return load(read_policy(place), groups=_groups(folder)), place


def _policy_folder(folder: Path) -> Path:
    if not (folder / _SETTINGS).exists():
        return folder
    from muniment.runtime.settings import read_settings

    return folder / read_settings(folder).paths.policy


def _groups(folder: Path) -> frozenset[str] | None:
    """Those that somebody is in; None where there is only a policy folder."""
    if not (folder / _SETTINGS).exists():
        return None
    from muniment.runtime.settings import read_settings

    settings = read_settings(folder)
    everybody = (settings.people, settings.workloads, settings.agents)
    return frozenset(g for some in everybody for each in some.values() for g in each.groups)


def _result_lines(found: dict[str, tuple["Result", ...]], failed: int) -> Iterator[str]:
    for file, results in found.items():
        yield file
        for result in results:
            yield f"  {mark('✓' if result.passed else '✗')} {screen.clean(result.name)}"
            yield from (f"      {line}" for line in result.differences)
            for rule in result.decision.rules if not result.passed else ():
                yield screen.faint(f"      decided by {rule.id}  {rule.place}")
    count = sum(len(results) for results in found.values())
    if failed:
        yield screen.paint(f"{failed} of {screen.counted(count, 'case')} failed", "red")
    else:
        yield screen.paint(f"{screen.counted(count, 'case')} passed", "green")


def _results_json(found: dict[str, tuple["Result", ...]], failed: int) -> dict[str, Any]:
    return {
        "passed": not failed,
        "cases": [
            {
                "file": file,
                "name": result.name,
                "passed": result.passed,
                "outcome": result.decision.outcome,
                "rules": [rule.id for rule in result.decision.rules],
                "differences": list(result.differences),
            }
            for file, results in found.items()
            for result in results
        ],
    }


# --- at the service -------------------------------------------------------------------------------


@policy_command.command("explain")
@client.resource_argument
@client.role_argument
@length_option("--for", "seconds", "30m")
@client.ticket_option
@client.incident_option
@client.emergency_option
@json_option
def policy_explain(
    resource: str,
    role: str,
    seconds: int,
    ticket: str,
    incident: str,
    *,
    emergency: bool,
    as_json: bool,
) -> int:
    """What would happen if you asked, who could approve, and why. Nothing is recorded."""
    body = {"resource": resource, "role": role, "seconds": seconds, "ticket": ticket}
    with client.asking() as api:
        answer = api.post("/v1/explanation", {**body, "incident": incident, "emergency": emergency})
        me = api.get("/v1/whoami")
    names = {**me["names"], **answer["names"]}
    decision = answer["decision"]

    def lines() -> Iterator[str]:
        yield f"if you asked now for {role} on {resource} for {length(seconds)}"
        yield from _outlook(answer, names)
        yield ""
        yield screen.faint("nothing was asked for or recorded")

    screen.show(answer, lines(), as_json=as_json)
    return 1 if decision["outcome"] == "deny" else 0


def _outlook(answer: dict[str, Any], names: screen.Names) -> Iterator[str]:
    decision = answer["decision"]
    if decision["outcome"] == "deny":
        yield f"{screen.state('denied')} by the policy"
        yield from screen.denial(decision, names)
        return
    able = screen.people(names, answer["could_approve"])
    yield from screen.fields(
        (
            ("outcome", screen.outcome(decision)),
            ("can approve", able if decision["approvals"] else ""),
            ("afterwards", ", ".join(decision["requires"])),
            ("to be told", ", ".join(decision["notifies"])),
        )
    )
    if decision["approvals"] and not able:
        yield screen.paint("  nobody could approve it at the moment", "red")
    yield ""
    yield from screen.rule_rows(decision["rules"], 2)
