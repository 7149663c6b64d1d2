"""Decisions out of evidence bundles, replayed by Cedar's own WebAssembly build under Node."""

import asyncio
import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from muniment.testing.cast import policy_with
from muniment.testing.scenario import Scenario

pytestmark = pytest.mark.deep

SOURCE: Final = Path(__file__).parent / "judges" / "cedar"
OLDEST_NODE: Final = 18

#: a second group approves what is restricted; and a rule that overflows for whoever broke glass
RULES: Final = """
@id("t.owners")
@title("Restricted data takes one of its owners, too")
@approvals("owners:1, sre-leads:1")
permit (principal, action == Muniment::Action::"require", resource)
when { resource.data == "restricted" };

@id("t.overflow")
forbid (principal, action == Muniment::Action::"request", resource)
when { context.breakGlassLast30d + 9223372036854775807 < 0 };
"""
STRICTER: Final = """
@id("t.two-leads")
@approvals("sre-leads:2")
permit (principal, action == Muniment::Action::"require", resource);
"""

# --- the judge ----------------------------------------------------------------------------------


class Missing(Exception):
    """The judge cannot be had here; the message says why."""


def installed(place: Path) -> list[str]:
    """The command that judges: the program beside what its lock names. Raises `Missing`."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Missing("node and npm are not installed; Debian's packages are nodejs and npm")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        raise Missing(f"node {version.stdout.strip()} is too old: the judge needs {OLDEST_NODE}")
    shutil.copytree(SOURCE, place)
    install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(
        install, cwd=place, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode != 0:
        raise Missing(f"npm could not install the judge: {done.stderr[-500:]}")
    return [node, str(place / "judge.mjs")]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Gives the verdict on bundles; skips where it is missing, or fails where nothing may be."""
    try:
        command = installed(tmp_path_factory.mktemp("judge") / "cedar")
    except Missing as missing:
        required = os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1"
        (pytest.fail if required else pytest.skip)(str(missing))

    def judge_bundles(*bundles: Path) -> str:
        done = subprocess.run(
            [*command, *map(str, bundles)], capture_output=True, text=True, timeout=120, check=False
        )
        verdict = "refused: " if done.returncode else "accepted: "
        assert done.stderr == "", "the judge broke"
        assert done.stdout.startswith(verdict)
        return done.stdout.strip()

    return judge_bundles


# --- the story ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the real operations exported, by what became of the case."""
    place = tmp_path_factory.mktemp("bundles")
    exported = asyncio.run(story(tmp_path_factory.mktemp("scenario")))
    for name, data in exported.items():
        (place / name).write_bytes(data)
    return {name: place / name for name in exported}


async def story(folder: Path) -> dict[str, bytes]:
    # every step is checked by the tests of the operations
    async with Scenario(folder, checking=False) as scenario:
        await scenario.change("dan", groups=("engineering", "owners"))
        await scenario.activate(policy_with(RULES))
        cases: dict[str, Any] = {}

        cases["denied"] = await scenario.ask("ana", ticket="")
        cases["too long"] = await scenario.ask("ana", seconds=3601)
        cases["no rule"] = await scenario.ask("aud")

        two = cases["two groups"] = await scenario.ask("ana", "orders-prod/personal", seconds=900)
        await scenario.approve("ana", two)
        await scenario.approve("dan", two)
        await scenario.approve("cy", two)
        await scenario.pick_up("ana", two)
        await scenario.extend("ana", two, 1500, ticket="OPS-2")
        await scenario.approve("cy", two)
        await scenario.approve("dan", two)
        await scenario.end("ana", two)

        refused = cases["refused"] = await scenario.ask("bo")
        await scenario.approve("bo", refused)
        await scenario.refuse("cy", refused)

        agent = cases["agent"] = await scenario.ask("robo", seconds=600)
        await scenario.approve("cy", agent)
        await scenario.pick_up("robo", agent)
        await scenario.revoke("admin", agent)
        cases["agent denied"] = await scenario.ask("robo", "orders-prod/personal", seconds=600)
        workload = cases["workload"] = await scenario.ask("ci", "orders-staging/readwrite")
        await scenario.pick_up("ci", workload)
        await scenario.advance(timedelta(minutes=31))

        glass = cases["glass"] = await scenario.ask("bo", incident="INC-7", emergency=True)
        await scenario.pick_up("bo", glass)
        await scenario.end("bo", glass)
        await scenario.answer_review("admin", glass)
        cases["rule that errs"] = await scenario.ask("bo")
        cases["glass denied"] = await scenario.ask("ana", incident="INC-7", emergency=True)

        pending = cases["stricter policy"] = await scenario.ask("ana")
        await scenario.approve("bo", pending)
        await scenario.activate(policy_with(STRICTER))
        await scenario.pick_up("ana", pending)
        await scenario.approve("cy", pending)
        await scenario.pick_up("ana", pending)
        return {name: await scenario.export("aud", case) for name, case in cases.items()}


@dataclass
class Opened:
    """A bundle as JSON, and its decisions, to be looked at or edited."""

    value: dict[str, Any]

    @classmethod
    def read(cls, file: Path) -> "Opened":
        return cls(json.loads(file.read_bytes()))

    def decisions(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Header and decision, decoded."""
        return [
            (json.loads(each["header"]), json.loads(base64.b64decode(part["content"])))
            for each in self.value["records"]
            if isinstance(part := each["sections"].get("decision"), dict)
        ]

    def edit(self, question: str, attack: Callable[[Any, Any], None]) -> int:
        """Change header and decision of the first record about this question."""
        for each in self.value["records"]:
            header = json.loads(each["header"])
            if header["body"].get("question") == question:
                part = each["sections"]["decision"]
                decision = json.loads(base64.b64decode(part["content"]))
                attack(header["body"], decision)
                each["header"] = json.dumps(header)
                part["content"] = base64.b64encode(json.dumps(decision).encode()).decode()
                return 1
        return 0

    def write(self, file: Path) -> Path:
        file.write_text(json.dumps(self.value))
        return file


def test_the_story_has_every_outcome_of_every_question(bundles: dict[str, Path]) -> None:
    found = [
        (header["body"]["question"], decision["outcome"])
        for file in bundles.values()
        for header, decision in Opened.read(file).decisions()
    ]
    assert set(found) == {
        ("request", "deny"),
        ("request", "needs_approvals"),
        ("request", "auto_approve"),
        ("request", "break_glass"),
        ("extend", "needs_approvals"),
        ("approve", "deny"),
        ("approve", "permit"),
        ("issue", "needs_approvals"),
        ("issue", "auto_approve"),
        ("issue", "break_glass"),
    }


def test_cedar_itself_decides_every_recorded_decision_in_the_same_way(
    judge: Callable[..., str], bundles: dict[str, Path]
) -> None:
    decisions = [
        decision for file in bundles.values() for _, decision in Opened.read(file).decisions()
    ]
    steps = [step for decision in decisions for step in decision["steps"]]
    ours = [step for step in steps if step["rules"][:1] == ["muniment:actor-chain"]]
    assert len(decisions) > 25
    assert any(step["errors"] for step in steps)
    assert any(step["decision"] == "Deny" and not step["rules"] for step in steps)
    assert len(ours) == 2
    counts = f"{len(decisions)} decisions, {len(steps) - len(ours)} questions asked again"
    said = f"accepted: {counts}, {len(ours)} of Muniment's own, 0 not given"
    assert judge(*bundles.values()) == said


# --- attacks: each edits one record, header and section alike ----------------------------------

Attack = Callable[[Any, Any], None]


def the_outcome_alone(header: Any, decision: Any) -> None:
    header["outcome"] = decision["outcome"] = "auto_approve"


def the_outcome_and_the_answers(header: Any, decision: Any) -> None:
    the_outcome_alone(header, decision)
    for step in decision["steps"]:
        step["decision"] = "Allow"


def every_rule_that_forbids(header: Any, decision: Any) -> None:
    the_outcome_and_the_answers(header, decision)
    for step in decision["steps"]:
        step["rules"] = [rule for rule in step["rules"] if not rule.startswith("forbid.")]
    decision["rules"] = [rule for rule in decision["rules"] if rule["effect"] == "permit"]
    header["rules"] = [rule["id"] for rule in decision["rules"]]


def a_ticket_that_was_not_named(_: Any, decision: Any) -> None:
    ticket = {"id": "OPS-1", "state": "claimed", "source": "claimed"}
    decision["input"]["context"]["ticket"] = ticket


def a_group_of_the_requester(_: Any, decision: Any) -> None:
    group = {"type": "Muniment::Group", "id": "engineering"}
    decision["input"]["entities"][0]["parents"].append(group)


def a_rule_that_demands_approval(header: Any, decision: Any) -> None:
    for step in decision["steps"]:
        step["rules"] = [rule for rule in step["rules"] if rule != "t.owners"]
    decision["rules"] = [rule for rule in decision["rules"] if rule["id"] != "t.owners"]
    header["rules"] = [rule["id"] for rule in decision["rules"]]
    del decision["obligations"]["approvals"]["owners"]
    del header["approvals"]["owners"]


def the_number_of_approvals(header: Any, decision: Any) -> None:
    decision["obligations"]["approvals"] = header["approvals"] = {}


def the_longest_time(header: Any, decision: Any) -> None:
    decision["obligations"]["max_seconds"]["value"] = header["max_seconds"] = 86_400


def the_longest_time_in_the_header(header: Any, _: Any) -> None:
    header["max_seconds"] = 86_400


def the_question_about_the_sponsor(_: Any, decision: Any) -> None:
    decision["steps"] = [
        step for step in decision["steps"] if step["principal"]["type"] == "Muniment::Agent"
    ]


def the_agent_is_said_to_be_allowed(header: Any, decision: Any) -> None:
    the_outcome_alone(header, decision)
    for step in decision["steps"]:
        if step["decision"] == "Deny":
            step["decision"], step["rules"] = "Allow", ["request.agent"]


def the_error_of_a_rule(_: Any, decision: Any) -> None:
    for step in decision["steps"]:
        step["errors"] = []


def the_invariant_permits(_: Any, decision: Any) -> None:
    for step in decision["steps"]:
        step["decision"] = "Allow"


def the_place_of_a_rule(_: Any, decision: Any) -> None:
    decision["rules"][0]["line"] += 1


def the_words_of_a_rule(_: Any, decision: Any) -> None:
    decision["rules"][0]["text"] = decision["rules"][0]["text"].replace("is Muniment::Human ", "")


def another_policy(header: Any, decision: Any) -> None:
    header["bundle"] = decision["bundle"] = "00" * 32


ATTACKS: Final[tuple[tuple[str, str, Attack, str], ...]] = (
    ("denied", "request", the_outcome_alone, "the outcome"),
    ("denied", "request", the_outcome_and_the_answers, "request of"),
    ("denied", "request", every_rule_that_forbids, "request of"),
    ("denied", "request", a_ticket_that_was_not_named, "request of"),
    ("no rule", "request", the_outcome_and_the_answers, "request of"),
    ("no rule", "request", a_group_of_the_requester, "request of"),
    ("too long", "request", the_outcome_alone, "the outcome"),
    ("two groups", "request", a_rule_that_demands_approval, "the rules of require"),
    ("two groups", "request", the_number_of_approvals, "the approvals"),
    ("two groups", "request", the_longest_time, "the longest time"),
    ("two groups", "request", the_longest_time_in_the_header, "the longest time in the header"),
    ("two groups", "request", the_place_of_a_rule, "stands where it is quoted from"),
    ("two groups", "request", the_words_of_a_rule, "stands where it is quoted from"),
    ("two groups", "request", another_policy, "is not in the bundle"),
    ("two groups", "approve", the_invariant_permits, "approve of"),
    ("two groups", "extend", a_rule_that_demands_approval, "the rules of require"),
    ("two groups", "issue", a_rule_that_demands_approval, "the rules of require"),
    ("refused", "approve", the_invariant_permits, "approve of"),
    ("agent", "request", the_question_about_the_sponsor, "the questions"),
    ("agent", "issue", the_question_about_the_sponsor, "the questions"),
    ("agent denied", "request", the_agent_is_said_to_be_allowed, "request of"),
    ("rule that errs", "request", the_error_of_a_rule, "err in request of"),
    ("glass", "request", the_longest_time, "the longest time"),
    ("glass denied", "request", the_outcome_and_the_answers, "breakGlass of"),
)


@pytest.mark.parametrize(
    ("case", "question", "attack", "says"),
    ATTACKS,
    ids=[f"{case}, {question}: {attack.__name__}" for case, question, attack, _ in ATTACKS],
)
def test_cedar_itself_finds_a_record_that_was_edited(
    judge: Callable[..., str],
    bundles: dict[str, Path],
    tmp_path: Path,
    case: str,
    question: str,
    attack: Attack,
    says: str,
) -> None:
    opened = Opened.read(bundles[case])
    assert opened.edit(question, attack) == 1
    verdict = judge(opened.write(tmp_path / "edited"))
    assert verdict.startswith("refused: ")
    assert says in verdict


def test_a_policy_file_that_was_edited_is_found_by_its_digest(
    judge: Callable[..., str], bundles: dict[str, Path], tmp_path: Path
) -> None:
    opened = Opened.read(bundles["denied"])
    documents = opened.value["documents"]
    for digest, text in documents.items():
        data = base64.b64decode(text)
        if b"forbid.prod-without-ticket" in data:
            softer = data.replace(b"unless { context has ticket }", b"unless { true }")
            documents[digest] = base64.b64encode(softer).decode()
    verdict = judge(opened.write(tmp_path / "edited"))
    assert "the digest of document" in verdict


def test_an_erased_decision_is_counted_and_not_replayed(
    judge: Callable[..., str], bundles: dict[str, Path], tmp_path: Path
) -> None:
    opened = Opened.read(bundles["denied"])
    for each in opened.value["records"]:
        if "decision" in each["sections"]:
            each["sections"]["decision"] = {"erased": "retention"}
    verdict = judge(opened.write(tmp_path / "erased"))
    assert verdict.startswith("accepted: 0 decisions")
    assert verdict.endswith(" 1 not given")
