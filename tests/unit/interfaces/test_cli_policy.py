"""`muniment policy check` and `test`, on files; no service is asked."""

import json
from pathlib import Path

import pytest

from muniment.interfaces.cli.main import run
from muniment.policy import starter


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    for name, data in starter.files().items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path


def test_the_starter_policy_holds_and_has_a_digest(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["policy", "check", str(bundle), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["valid"] is True
    assert len(told["digest"]) == 64


def test_everything_that_is_wrong_is_told_at_once_with_its_place(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle / "policies/90-mine.cedar").write_text("permit (principal, action);\nforbid\n")
    assert run(["policy", "check", str(bundle)]) == 1
    assert "policies/90-mine.cedar:1:" in capsys.readouterr().out


def test_the_starter_cases_pass(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "test", str(bundle)]) == 0
    assert "cases passed" in capsys.readouterr().out


def test_a_failing_case_says_what_decided_and_exits_with_1(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bundle / "cases/request.json"
    cases = json.loads(path.read_text())
    cases["cases"][0]["expect"] = {"outcome": "deny"}
    path.write_text(json.dumps(cases))
    assert run(["policy", "test", str(bundle)]) == 1
    told = capsys.readouterr().out
    assert "outcome: expected `deny`, got `auto_approve`" in told
    assert "decided by require.below-prod  policies/30-require.cedar:" in told


def test_a_policy_without_cases_does_not_pass(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (bundle / "cases").iterdir():
        path.unlink()
    assert run(["policy", "test", str(bundle)]) == 1
    assert "there are no cases" in capsys.readouterr().err


def test_a_policy_that_does_not_load_is_not_tested(bundle: Path) -> None:
    (bundle / "policies/90-mine.cedar").write_text("nonsense")
    assert run(["policy", "test", str(bundle)]) == 2
