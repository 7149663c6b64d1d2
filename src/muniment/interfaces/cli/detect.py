"""`muniment detect`: which rules there are, and how often each would have fired."""

import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muniment.interfaces.cli import screen
from muniment.interfaces.cli.screen import json_option
from muniment.interfaces.cli.server import folder_option

if TYPE_CHECKING:
    from muniment.oversight.detector import Rule
    from muniment.oversight.watch import Backtest, Result
    from muniment.runtime.settings import Settings

#: hits of one rule that are shown
EXAMPLES = 3


@click.command("detect")
@click.option("--list", "listing", is_flag=True, help="The rules, and how they are set here.")
@click.option("--backtest", is_flag=True, help="How often each would have fired on this log.")
@click.option("--rule", "only", metavar="RULE", help="This rule alone.")
@folder_option
@json_option
def detect_command(
    folder: Path, only: str | None, *, listing: bool, backtest: bool, as_json: bool
) -> None:
    """
    Which rules watch over access, and what they would have found.

    A backtest reads the log and what sources said, beside a running service, and changes nothing.
    """
    from muniment.runtime.settings import read_settings

    if listing == backtest:
        raise click.UsageError("say --list or --backtest")
    settings = read_settings(folder)
    if listing:
        rules = [each for each in _rules(settings, folder) if only in (None, each["id"])]
        _require(rules, only)
        screen.show({"rules": rules}, _listed(rules, whole=only is not None), as_json=as_json)
        return
    found, names = _backtest(folder, settings)
    results = [each for id_, each in found.results.items() if only in (None, id_)]
    _require(results, only)
    answer = {**_answer(found, results), "names": names}
    screen.show(answer, _told(answer), as_json=as_json)


def _require(found: list[Any], only: str | None) -> None:
    if not found:
        raise click.UsageError(f"there is no rule `{only}` here; --list names those there are")


# --- the rules --------------------------------------------------------------------------------


def _rules(settings: "Settings", folder: Path) -> list[dict[str, Any]]:
    from muniment.runtime.detecting import known, rule_sets

    sets = rule_sets(settings, folder)
    return [
        {
            **_of_rule(each.rule),
            "enabled": each.rule.id in sets,
            "ends_access": each.rule.id in sets and sets[each.rule.id].ends,
            "thresholds": {
                name: {
                    "value": sets[each.rule.id].thresholds[name]
                    if each.rule.id in sets
                    else threshold.default,
                    "default": threshold.default,
                    "unit": threshold.unit,
                    "meaning": threshold.meaning,
                }
                for name, threshold in each.rule.thresholds.items()
            },
        }
        for each in known(settings, folder)
    ] + [
        {**_of_rule(each), "enabled": True, "ends_access": False, "thresholds": {}}
        for each in _of_drift()
    ]


def _of_drift() -> "Iterator[Rule]":
    """Rules that the scan of a target applies by itself."""
    from muniment.oversight.detectors import SCANNED
    from muniment.oversight.difference import RULES

    yield from (rule for rule in RULES if rule.id not in SCANNED)


def _of_rule(rule: "Rule") -> dict[str, Any]:
    return {
        "id": rule.id,
        "title": rule.title,
        "advice": rule.advice,
        "severity": rule.severity,
        "kind": rule.kind,
        "needs": list(rule.needs),
        "samples": rule.samples,
        "horizon_days": rule.horizon.days,
        "expected_percent": rule.expected / 100,
        "references": list(rule.references),
        "sigma": rule.sigma,
    }


def _listed(rules: list[dict[str, Any]], *, whole: bool) -> Iterator[str]:
    if not whole:
        yield from screen.table(
            ("RULE", "SEVERITY", "KIND", "WHAT IT MEANS"),
            [
                (
                    rule["id"] if rule["enabled"] else screen.faint(f"{rule['id']} (off)"),
                    rule["severity"],
                    rule["kind"],
                    rule["title"],
                )
                for rule in rules
            ],
        )
        yield screen.faint("all of one: muniment detect --list --rule RULE")
        return
    for rule in rules:
        yield from _whole(rule)


def _whole(rule: dict[str, Any]) -> Iterator[str]:
    yield screen.paint(rule["id"], bold=True) + ("" if rule["enabled"] else " (off)")
    yield from screen.fields(
        [
            ("means", rule["title"]),
            ("then", rule["advice"]),
            ("severity", f"{rule['severity']}, {rule['kind']}"),
            ("reads", ", ".join(rule["needs"])),
            ("waits for", f"{rule['samples']} earlier ones" if rule["samples"] else ""),
            ("ends access", "as far as policy permits" if rule["ends_access"] else ""),
            ("expected", f"on {rule['expected_percent']:g} % of ordinary life"),
            ("after", "; ".join(rule["references"])),
        ]
    )
    for name, threshold in rule["thresholds"].items():
        words = f"{name} = {threshold['value']} ({threshold['unit']}): {threshold['meaning']}"
        yield from screen.hanging(words, 4)
    if rule["sigma"]:
        yield ""
        yield from rule["sigma"].rstrip().splitlines()


# --- what they would have found ---------------------------------------------------------------


def _backtest(folder: Path, settings: "Settings") -> tuple["Backtest", dict[str, str]]:
    """And logins by principal id."""
    from muniment.runtime.detecting import backtest
    from muniment.runtime.past import looking_back

    with looking_back(folder, settings) as service:
        found = backtest(service, settings, folder, _progress)
        return found, {id_: login for login, id_ in service.names.items()}


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty() and (done % 1000 == 0 or done == total):
        end = "\r" if done < total else "\r\033[K"
        click.echo(f"{done:,} of {total:,} records{end}", nl=False, err=True)


def _answer(found: "Backtest", results: "list[Result]") -> dict[str, Any]:
    return {
        "facts": dict(found.facts),
        "first": _text(found.first),
        "last": _text(found.last),
        "rules": [_result(each) for each in results],
        "silences": [
            {"rule": each.rule, "about": each.about, "seen": each.seen, "needed": each.needed}
            for each in found.silences
            if each.rule in {result.rule.id for result in results}
        ],
    }


def _result(result: "Result") -> dict[str, Any]:
    return {
        "rule": result.rule.id,
        "severity": result.rule.severity,
        "hits": result.hits,
        "findings": result.findings,
        "of": result.of,
        "percent": round(100 * result.rate, 3),
        "expected_percent": result.rule.expected / 100,
        "noisy": result.is_noisy,
        "first": _text(result.first),
        "last": _text(result.last),
        "examples": [
            {
                "at": _text(hit.at),
                "summary": hit.summary,
                "cases": list(hit.cases),
                "evidence": list(hit.evidence),
            }
            for hit in result.examples[:EXAMPLES]
        ],
    }


def _told(answer: dict[str, Any]) -> Iterator[str]:
    if answer["first"] is None:
        yield "nothing has happened yet: there is nothing to try the rules on"
        return
    count = sum(answer["facts"].values())
    yield f"{count:,} facts from {_day(answer['first'])} to {_day(answer['last'])}"
    yield ""
    yield from screen.table(
        ("RULE", "SEVERITY", "FINDINGS", "HITS", "OF", "SHARE", "EXPECTED"),
        [
            (
                rule["rule"],
                rule["severity"],
                f"{rule['findings']:,}",
                f"{rule['hits']:,}",
                f"{rule['of']:,}",
                screen.paint(f"{rule['percent']:.2f} %", "yellow" if rule["noisy"] else None),
                f"{rule['expected_percent']:.2f} %",
            )
            for rule in answer["rules"]
        ],
    )
    yield ""
    for rule in answer["rules"]:
        for example in rule["examples"]:
            yield screen.faint(f"{rule['rule']}, {example['at'][:19].replace('T', ' ')}")
            yield from screen.hanging(screen.sentence(answer["names"], example["summary"]), 2)
    yield from _silent(answer)


def _silent(answer: dict[str, Any]) -> Iterator[str]:
    by_rule: dict[str, int] = {}
    for silence in answer["silences"]:
        by_rule[silence["rule"]] = by_rule.get(silence["rule"], 0) + 1
    for rule, times in by_rule.items():
        yield screen.faint(f"{rule} has seen too little to judge {times:,} of those it watches")


def _text(at: datetime | None) -> str | None:
    from muniment.evidence import moment

    return None if at is None else moment.text(at)


def _day(at: str) -> str:
    return at[:10]
