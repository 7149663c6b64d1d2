"""`muniment verify` and `replay` as a person runs them."""

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from muniment.evidence.proof import Receipt
from muniment.interfaces.cli.verify import replay_command, verify_command
from muniment.interfaces.verifier.outcome import examine
from muniment.policy.decide import Decision
from muniment.testing.cases import WrittenCase, WrittenLog


@dataclass
class Desk:
    """An auditor's desk: the bundle, the key, and a command line."""

    case: WrittenCase
    folder: Path

    @property
    def written(self) -> WrittenLog:
        return self.case.written

    @property
    def key(self) -> str:
        return self.written.key.verifier.vkey

    def put(self, name: str, data: bytes) -> str:
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    def bundle(self, **options: Any) -> str:
        return self.put("case.json", self.written.export(self.case.id, **options))

    def verify(self, *arguments: str) -> Result:
        return run(verify_command, *arguments, "--log-key", self.key)

    def replay(self, *arguments: str) -> Result:
        return run(replay_command, *arguments, "--log-key", self.key)

    def head(self, size: int) -> str:
        note = self.written.store.checkpoint(size)
        assert note is not None
        return self.put(f"head-{size}", note)


def run(command: Any, *arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), catch_exceptions=False)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    log, folder = tmp_path / "log", tmp_path / "desk"
    log.mkdir()
    folder.mkdir()
    written = WrittenLog(log)
    yield Desk(WrittenCase(written).whole(), folder)
    written.close()


def test_a_good_bundle_shows_every_step_and_says_last_what_was_not_proved(desk: Desk) -> None:
    result = desk.verify(desk.bundle())
    lines = result.output.splitlines()
    assert result.exit_code == 0
    assert sum("✓" in line for line in lines) == 12
    assert lines[-3].startswith("UNANCHORED, COMPLETE, closed at ")
    assert lines[-1].startswith("Not proved: that the log shows everybody this history")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_sentence_on_what_was_not_proved_is_broken_at_its_width(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = examine(Path(desk.bundle()), desk.written.key.verifier, [])
    monkeypatch.setenv("COLUMNS", "60")
    *_, whole = outcome.lines()
    assert "\n" not in whole, "for whoever greps it stays one line"
    monkeypatch.setattr(sys, "stdout", Terminal())
    *_, wrapped = outcome.lines()
    assert max(map(len, wrapped.split("\n"))) <= 60
    assert wrapped.split("\n") != [whole]
    assert " ".join(wrapped.split("\n")) == whole


def test_the_key_may_be_a_file(desk: Desk) -> None:
    path = desk.put("log.vkey", desk.key.encode() + b"\n")
    assert run(verify_command, desk.bundle(), "--log-key", path).exit_code == 0


def test_a_tampered_bundle_names_the_step_and_exits_1(desk: Desk) -> None:
    data = Path(desk.bundle()).read_bytes().replace(b"sre-leads", b"sre-peers", 1)
    result = desk.verify(desk.put("bad.json", data))
    assert result.exit_code == 1
    assert "✗  8  policy and role documents" in result.output or "✗  4" in result.output
    assert "INVALID: step " in result.output
    assert result.output.splitlines()[-1].startswith("Not proved: anything.")


def test_usage_errors_exit_2(desk: Desk) -> None:
    assert run(verify_command, desk.bundle(), "--log-key", "nonsense").exit_code == 2
    assert desk.verify("no-such-file").exit_code == 2
    assert desk.verify(desk.bundle(), "--require", "perfection").exit_code == 2
    receipt = desk.put("receipt", b"c2sp.org/tlog-proof@v1\nindex x\n")
    assert desk.verify(desk.bundle(), "--head", receipt).exit_code == 2


def test_a_kept_head_makes_it_self_witnessed(desk: Desk) -> None:
    result = desk.verify(desk.bundle(sizes=[2]), "--head", desk.head(2))
    assert result.exit_code == 0
    assert "SELF-WITNESSED, COMPLETE" in result.output
    assert desk.verify(desk.bundle(sizes=[2]), "--require", "self-witnessed").exit_code == 1


def test_the_receipt_of_a_credential_is_a_kept_head(desk: Desk) -> None:
    size = desk.case.entries["credential:issued"].index + 1
    note = desk.written.store.checkpoint(size)
    assert note is not None
    hashes = tuple(desk.written.log.inclusion(size - 1, size))
    path = desk.put("receipt", Receipt(size - 1, hashes, note).format())
    assert "SELF-WITNESSED" in desk.verify(desk.bundle(), "--head", path).output


def test_a_head_without_a_proof_is_not_shown_and_exits_1(desk: Desk) -> None:
    result = desk.verify(desk.bundle(), "--head", desk.head(2))
    assert result.exit_code == 1
    assert "NOT SHOWN: the file proves nothing about your head of size 2" in result.output


def test_another_history_is_diverged_and_both_roots_are_shown(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "rewritten"
    folder.mkdir()
    other = WrittenLog(folder, key=desk.written.key)
    data = other.export(WrittenCase(other).whole().id, sizes=[2])
    result = desk.verify(desk.put("other.json", data), "--head", desk.head(2))
    assert result.exit_code == 1
    assert "you kept: size 2, root " in result.output
    assert "the file: size 2, root " in result.output
    assert "DIVERGED" in result.output
    other.close()


def test_an_open_case_fails_only_where_completeness_is_required(tmp_path: Path) -> None:
    written = WrittenLog(tmp_path)
    case = WrittenCase(written)
    case.requested()
    desk = Desk(case, tmp_path)
    path = desk.bundle()
    assert "OPEN as of log size" in desk.verify(path).output
    result = desk.verify(path, "--require", "complete")
    assert result.exit_code == 1
    assert "REQUIRED, and does not hold: complete" in result.output
    written.close()


def test_json_says_the_same(desk: Desk) -> None:
    value = json.loads(desk.verify(desk.bundle(), "--json").output)
    assert (value["verdict"], value["holds"], value["complete"]) == ("UNANCHORED", True, True)
    assert [step["step"] for step in value["steps"]] == list(range(1, 13))
    assert value["case"] == desk.case.id
    bad = json.loads(desk.verify(desk.put("bad.json", b"{}"), "--json").output)
    assert (bad["verdict"], bad["failed_step"]) == ("INVALID", 1)


# --- replay ---------------------------------------------------------------------------------------


def test_every_decision_is_recomputed_byte_for_byte(desk: Desk) -> None:
    result = desk.replay(desk.bundle())
    assert result.exit_code == 0
    assert "2 of 2 decisions recomputed" in result.output
    assert desk.verify(desk.bundle(), "--require", "replay").exit_code == 0


def test_a_withheld_decision_is_not_replayed_and_fails_only_where_required(desk: Desk) -> None:
    path = desk.bundle(give=lambda _entry, name: name != "decision")
    result = desk.replay(path)
    assert result.exit_code == 0
    assert "NOT REPLAYED (WITHHELD)" in result.output
    assert desk.replay(path, "--require", "replay").exit_code == 1
    assert desk.verify(path, "--require", "replay").exit_code == 1


def test_an_erased_decision_says_under_which_rule(desk: Desk) -> None:
    decided = desk.written.log.read_case(desk.case.id)[1]
    desk.written.erase(decided, "decision", "retention.input")
    result = desk.replay(desk.bundle())
    assert result.exit_code == 0
    assert "NOT REPLAYED (ERASED under rule `retention.input`)" in result.output


def test_replay_says_nothing_about_a_bundle_that_does_not_verify(desk: Desk) -> None:
    result = desk.replay(desk.put("bad.json", b"{}"))
    assert result.exit_code == 1
    assert "INVALID: step 1" in result.output


class _Lying(WrittenCase):
    """An operator who writes other headers than his policy's answers."""

    def decision(self, decision: Decision, question: str) -> Any:
        record = super().decision(decision, question)
        return replace(record, max_seconds=86400) if question == "request" else record


def test_a_header_that_says_more_than_its_evaluation_differs(tmp_path: Path) -> None:
    written = WrittenLog(tmp_path)
    desk = Desk(_Lying(written).whole(), tmp_path)
    path = desk.bundle()
    assert desk.verify(path).exit_code == 0
    result = desk.replay(path)
    assert result.exit_code == 1
    assert "header `max_seconds`: recorded 86400, recomputed 3600" in result.output
    written.close()


class _Flattering(WrittenCase):
    """An operator who asks his policy about another person than the one enrolled."""

    def access_facts(self) -> Any:
        facts = super().access_facts()
        groups = facts.requester.groups | {"sre-oncall"}
        return replace(facts, requester=replace(facts.requester, groups=groups))


def test_a_decision_on_groups_that_were_not_enrolled_differs(tmp_path: Path) -> None:
    written = WrittenLog(tmp_path)
    desk = Desk(_Flattering(written).whole(), tmp_path)
    result = desk.replay(desk.bundle())
    assert result.exit_code == 1
    assert "`groups` of `prn_" in result.output
    value = json.loads(desk.replay(desk.bundle(), "--json").output)
    assert [decision["answer"] for decision in value["decisions"]] == ["DIFFERS", "REPLAYED"]
    written.close()
