"""`muniment detect`: the rules as they are set here, and what they would have found."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from muniment.interfaces.cli.detect import detect_command
from muniment.interfaces.cli.server import init_command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An installation that was never started."""
    done = CliRunner().invoke(init_command, [str(tmp_path / "inst")])
    assert done.exit_code == 0, done.output
    return tmp_path / "inst"


def detect(folder: Path, *options: str) -> Any:
    return CliRunner().invoke(detect_command, ["--dir", str(folder), *options])


def rules(folder: Path, *options: str) -> dict[str, Any]:
    done = detect(folder, "--list", "--json", *options)
    assert done.exit_code == 0, done.output
    return {rule["id"]: rule for rule in json.loads(done.output)["rules"]}


def set_here(folder: Path, text: str) -> None:
    path = folder / "muniment.toml"
    path.write_text(f"{path.read_text()}\n{text}\n")


def test_every_rule_is_listed_also_those_of_drift(folder: Path) -> None:
    found = rules(folder)
    assert {"break-glass-used", "use-outside-window", "privilege-beyond-role"} <= found.keys()
    assert all(rule["enabled"] for rule in found.values())
    assert "burst" in detect(folder, "--list").output


def test_one_rule_is_told_whole_with_its_thresholds(folder: Path) -> None:
    told = detect(folder, "--list", "--rule", "burst").output
    assert "different ones, of one requester in an hour" in told
    assert rules(folder, "--rule", "burst").keys() == {"burst"}
    nobody = detect(folder, "--list", "--rule", "brust")
    assert (nobody.exit_code, "there is no rule `brust`" in nobody.output) == (2, True)


def test_a_rule_is_set_and_switched_off_in_the_configuration(folder: Path) -> None:
    name = next(iter(rules(folder, "--rule", "burst")["burst"]["thresholds"]))
    set_here(
        folder, f"[detect.rules.burst]\n{name} = 9\n[detect.rules.never-used]\nenabled = false"
    )
    found = rules(folder)
    assert found["burst"]["thresholds"][name]["value"] == 9
    assert not found["never-used"]["enabled"]


def test_a_log_whose_heart_beats_slowly_is_not_held_to_be_silent(folder: Path) -> None:
    def gap() -> int:
        found = rules(folder, "--rule", "control-changed")["control-changed"]
        value: int = found["thresholds"]["gap"]["value"]
        return value

    assert gap() == 2 * 3600
    set_here(folder, '[log]\nheartbeat = "4h"')
    assert gap() == 8 * 3600
    set_here(folder, "[detect.rules.control-changed]\ngap = 9000")
    assert gap() == 9000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[detect.rules.brust]\nenabled = true", "`detect.rules.brust` is no rule"),
        (
            "[detect.rules.burst]\nlouder = 3",
            "`detect.rules.burst.louder` is no threshold; there are:",
        ),
        ("[detect.rules.burst]\nends_access = true", "set `detect.workload`"),
    ],
)
def test_what_cannot_be_set_is_refused_with_what_can(folder: Path, text: str, said: str) -> None:
    set_here(folder, text)
    done = detect(folder, "--list")
    assert done.exit_code == 1
    assert said in str(done.exception)


def test_on_a_log_without_a_past_there_is_nothing_to_try(folder: Path) -> None:
    done = detect(folder, "--backtest")
    assert (done.exit_code, "nothing has happened yet" in done.output) == (0, True)


def test_it_is_to_be_said_what_is_wanted(folder: Path) -> None:
    for options in ((), ("--list", "--backtest")):
        done = detect(folder, *options)
        assert (done.exit_code, "say --list or --backtest" in done.output) == (2, True)
