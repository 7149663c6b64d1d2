"""An auditor can follow `check-evidence-offline.md` to the letter, and is told when it fails."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from muniment.evidence.proof import Receipt
from muniment.evidence.verdict import PROVES
from muniment.testing.cases import WrittenCase, WrittenLog
from muniment.testing.vouching import Vouchers
from muniment.testing.written_events import write_events

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "check-evidence-offline.md"
TOOLS = ("bash", "jq", "xxd", "openssl", "sha256sum")


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """A folder with what the page begins with."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        assert not os.environ.get("MUNIMENT_REQUIRE_TARGETS"), missing
        pytest.skip(f"not installed: {', '.join(missing)}")
    written = WrittenLog(tmp_path)
    case = WrittenCase(written).whole()
    folder = tmp_path / "evidence"
    folder.mkdir()
    note, size = written.log.checkpoint, written.log.size
    index = case.entries["credential:issued"].index
    kept = Receipt(index, tuple(written.log.inclusion(index, size)), note)
    (folder / "ana.receipt").write_bytes(kept.format())
    (folder / "case.json").write_bytes(written.export(case.id, sizes=(size,)))
    (folder / "log.vkey").write_text(written.key.verifier.vkey + "\n")
    vouchers = Vouchers()
    (folder / "witnessed.json").write_bytes(vouchers.export(written, case.id))
    (folder / "witnesses").write_text(vouchers.policy)
    (folder / "tsa-root.pem").write_bytes(vouchers.authority.issuer.pem)
    sent = [b'{"message":"SELECT %d"}' % number for number in range(7)]
    events = write_events(written, sent, shown={2, 4, 5}, erased={1, 3, 4})
    (folder / "events.json").write_bytes(events)
    written.close()
    return folder


def blocks() -> list[str]:
    tokens = MarkdownIt("commonmark").parse(PAGE.read_text("utf-8"))
    return [t.content for t in tokens if t.type == "fence" and t.info.split() == ["sh"]]


def follow(folder: Path, steps: list[str]) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", "\n".join(steps)],
        cwd=folder, env={**os.environ, "PATH": path},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_every_step_holds_for_a_bundle_that_holds(evidence: Path) -> None:
    done = follow(evidence, blocks())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SELF-WITNESSED, COMPLETE" in done.stdout
    assert done.stdout.count("Signature Verified Successfully") == 3
    assert "WITNESSED 2/3, TIME-STAMPED 2026-11-22T03:00:01Z" in done.stdout
    assert "Time stamp: Nov 22 03:00:00 2026 GMT" in done.stdout
    assert "Verification: OK" in done.stdout + done.stderr
    assert "all records are under the signed root" in done.stdout
    assert "NOT" not in done.stdout.partition("Signature Verified")[2]
    assert 'event 2 of orders-log came as \'{"message":"SELECT 2"}\'' in done.stdout
    assert "event 4 of orders-log came, and was erased" in done.stdout


def test_the_page_has_the_sentences_that_the_commands_print() -> None:
    rows = [row for row in PAGE.read_text("utf-8").splitlines() if row.startswith("| `")]
    assert rows == [f"| `{grade}` | {sentence} |" for grade, sentence in PROVES.items()]


def longer_window(bundle: dict[str, Any]) -> None:
    for record in bundle["records"]:
        record["header"] = record["header"].replace('"seconds":', '"seconds":1')


def other_salt(bundle: dict[str, Any]) -> None:
    sections = next(r["sections"] for r in bundle["records"] if r["sections"])
    next(iter(sections.values()))["salt"] = "00" * 32


def other_policy(bundle: dict[str, Any]) -> None:
    name = next(iter(bundle["documents"]))
    bundle["documents"][name] = "cGVybWl0Ow=="


def later_checkpoint(bundle: dict[str, Any]) -> None:
    origin, size, *rest = bundle["checkpoint"].split("\n")
    bundle["checkpoint"] = "\n".join([origin, str(int(size) + 1), *rest])


@pytest.mark.deep
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (longer_window, "is NOT in the log"),
        (other_salt, "is NOT what was sealed"),
        (other_policy, "NOT "),
        (later_checkpoint, "Signature Verification Failure"),
    ],
)
def test_a_step_without_our_code_finds_what_was_changed(
    evidence: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    path = evidence / "case.json"
    bundle = json.loads(path.read_text())
    change(bundle)
    path.write_text(json.dumps(bundle, separators=(",", ":")))
    done = follow(evidence, [step for step in blocks() if "muniment verify" not in step])
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


def other_words(event: dict[str, Any]) -> None:
    event["raw"] = "U0VMRUNUIDE="


def other_number(event: dict[str, Any]) -> None:
    event["number"] = 5


@pytest.mark.deep
@pytest.mark.parametrize("change", [other_words, other_number])
def test_a_few_lines_of_python_find_an_event_that_was_changed(
    evidence: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    path = evidence / "events.json"
    value = json.loads(path.read_text())
    change(value["records"][0]["events"][0])
    path.write_text(json.dumps(value, separators=(",", ":")))
    done = follow(evidence, [step for step in blocks() if "muniment " not in step])
    assert done.returncode != 0
    assert "of orders-log is NOT what came" in done.stdout + done.stderr
