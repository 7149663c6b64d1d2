"""Every question of `docs/auditor.md` is answered by its own command, in an archive, with nothing else."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from little_history import Desk, History, cast_with_security, live
from markdown_it import MarkdownIt
from scenario_api import ScenarioApi

from muniment.interfaces.verifier import single_file
from muniment.testing.scenario import Scenario

PAGE = Path(__file__).parents[3] / "docs" / "auditor.md"
TOOLS = ("bash", "sha256sum", "sed", "grep", "head")


def questions() -> dict[int, str]:
    """The commands, by the number in the heading above them."""
    found: dict[int, str] = {}
    number = 0
    for token in MarkdownIt("commonmark").parse(PAGE.read_text("utf-8")):
        number = 0 if token.type == "heading_open" else number
        if token.type == "inline" and (heading := re.match(r"(\d+)\. .*\?$", token.content)):
            number = int(heading[1])
        if token.type == "fence" and number and token.info == "sh":
            found[number] = found.get(number, "") + token.content
    return found


@dataclass(frozen=True)
class Taken:
    """An archive of the little history, on a machine that has nothing of Muniment."""

    folder: Path
    history: History

    def ask(self, number: int, case: str = "") -> str:
        """What the page's command answers."""
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", questions()[number]],
            cwd=self.folder / "archive",
            env={
                "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
                "KEY": str(self.folder / "log.vkey"),
                "CASE": case,
                "PYTHONUTF8": "1",
                "LC_ALL": "C.UTF-8",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, (number, done.stdout, done.stderr)
        return done.stdout


@pytest.fixture
async def taken(tmp_path: Path) -> Taken:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        assert not os.environ.get("MUNIMENT_REQUIRE_TARGETS"), missing
        pytest.skip(f"not installed: {', '.join(missing)}")
    (tmp_path / "service").mkdir()
    async with cast_with_security(Scenario(tmp_path / "service", checking=False)) as scenario:
        api = ScenarioApi(scenario, tmp_path)
        await api.enrol("aud")
        history = await live(scenario)
        await Desk(scenario, api, tmp_path).take("aud")
        (tmp_path / "log.vkey").write_text(scenario.key.verifier.vkey, "utf-8")
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python3"
    # isolated: nothing of this project is on its path
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I "$@"\n', "utf-8")
    python.chmod(0o755)
    return Taken(tmp_path, history)


def test_the_page_asks_twenty_questions() -> None:
    assert sorted(questions()) == list(range(1, 21))


@pytest.mark.deep  # some forty programs, one after the other
async def test_each_question_is_answered_from_the_folder_alone(taken: Taken) -> None:
    history = taken.history
    answers = {
        1: ("", ["unchanged"]),
        2: ("", [single_file.digest(single_file.build())]),
        3: ("", ["THE ARCHIVE HOLDS: 8 cases", "they were NOT replayed"]),
        4: ("", ["✓  5", "8 cases opened in them"]),
        5: ("", ["log:started", "key:added"]),
        6: ("", [history.granted, history.glass, "6 of 8 cases"]),
        7: (history.granted, ["asked by     ana", "ticket OPS-1 (typed, not looked up)"]),
        8: (history.granted, ["rule require.prod, policies/30-require.cedar:12", "permit ("]),
        9: (history.granted, [history.first_policy, "policies/30-require.cedar: OK"]),
        10: (history.granted, ["cy for sre-leads, by token (no second factor)"]),
        11: ("", ["own approvals: none"]),
        12: (history.denied, ["dan: readwrite on orders-prod", "forbid.prod-without-ticket"]),
        13: (history.glass, ["bo: readwrite", "justified by aud", "the incident was real"]),
        14: ("", ["later than a minute: none"]),
        15: (history.granted, ["0 of 8 cases", "seen gone", "at fake"]),
        16: (history.revoked, ["revoked", "by admin (by a person)", "note: not needed any more"]),
        17: (history.granted, ["3 events, 1 actions, link strong", "SELECT 1"]),
        18: (history.finding, ["account shadow", "remedied by sec", "the account was dropped"]),
        19: ("", [history.first_policy, history.second_policy, "source file"]),
        20: ("", ["archive:exported", "evidence:read", f"about {history.granted}", "(token)"]),
    }  # fmt: skip
    for number, (case, said) in answers.items():
        answer = taken.ask(number, case)
        for words in said:
            assert words in answer, (number, words, answer)


async def test_the_answers_are_about_the_case_and_not_the_same_for_all(taken: Taken) -> None:
    history = taken.history
    assert history.second_policy in taken.ask(9, history.revoked)
    assert "asked by     dan" in taken.ask(7, history.revoked)
    assert history.denied not in taken.ask(13, history.glass)
    assert history.granted not in taken.ask(16, history.revoked)
