"""`muniment run`: whatever happens, what was given is ended and what waits is withdrawn."""

import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_service import CASE, ENDED, ISSUED, FakeService, case, decision, problem

from muniment.interfaces.cli.api import Api
from muniment.interfaces.cli.main import run

_CREDENTIAL, _END = f"/v1/cases/{CASE}/credential", f"/v1/cases/{CASE}/end"
_CANCEL = f"/v1/cases/{CASE}/withdrawal"
_APPROVED = case(state="approved", waits_for={})


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService()
    monkeypatch.setattr(Api, "from_environment", fake.api)
    monkeypatch.setattr("time.sleep", lambda _: None)
    fake.on("POST", _CREDENTIAL, ISSUED).on("POST", _END, ENDED)
    return fake


def _run(*command: str, options: tuple[str, ...] = ()) -> int:
    return run(["run", "orders", "readwrite", "--reason", "x", *options, "--", *command])


def _python(code: str) -> int:
    return _run(sys.executable, "-c", code)


def test_the_secret_is_in_the_environment_and_not_in_the_arguments(
    service: FakeService, capfd: pytest.CaptureFixture[str]
) -> None:
    service.on_ask(_APPROVED)
    assert _python("import os, sys; print(os.environ['PGPASSWORD'], sys.argv)") == 0
    assert capfd.readouterr().out == "it's secret ['-c']\n"
    assert service.count("POST", _END) == 1


def test_variables_that_would_lead_elsewhere_are_not_inherited(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    monkeypatch.setenv("PGSERVICE", "other")
    service.on_ask(_APPROVED)
    _python("import os; print(sorted(k for k in os.environ if k.startswith('PG')))")
    told = capfd.readouterr().out
    assert told == "['PGDATABASE', 'PGHOST', 'PGPASSWORD', 'PGPORT', 'PGUSER']\n"


def test_the_exit_code_is_the_commands_own(service: FakeService) -> None:
    service.on_ask(_APPROVED)
    assert _python("raise SystemExit(7)") == 7
    assert service.count("POST", _END) == 1


def test_a_command_that_a_signal_ended_has_the_code_that_shells_give(service: FakeService) -> None:
    service.on_ask(_APPROVED)
    assert _python("import os; os.kill(os.getpid(), 15)") == 128 + 15


def test_a_command_that_is_not_there_is_wrong_usage_and_nothing_is_asked(
    service: FakeService,
) -> None:
    assert _run("no-such-command") == 2
    assert service.asked == []


def test_a_command_that_cannot_be_started_ends_the_access(
    service: FakeService, tmp_path: Path
) -> None:
    odd = tmp_path / "odd"
    odd.write_bytes(b"\x7fELF nonsense")
    odd.chmod(0o755)
    service.on_ask(_APPROVED)
    assert _run(str(odd)) == 126
    assert service.count("POST", _END) == 1


def test_an_end_is_tried_again_while_the_service_is_away(service: FakeService) -> None:
    service.on_ask(_APPROVED)
    service.on("POST", _END, httpx.ConnectError("away"), httpx.ConnectError("away"), ENDED)
    assert _python("") == 0
    assert service.count("POST", _END) == 3


def test_an_end_that_cannot_be_told_says_when_access_ends_by_itself(
    service: FakeService, capfd: pytest.CaptureFixture[str]
) -> None:
    service.on_ask(_APPROVED)
    service.on("POST", _END, httpx.ConnectError("away"))
    assert _python("raise SystemExit(3)") == 3
    assert "it ends by itself at" in capfd.readouterr().err


def test_access_that_was_over_before_its_command_is_no_trouble(
    service: FakeService, capfd: pytest.CaptureFixture[str]
) -> None:
    service.on_ask(_APPROVED, case(state="revoked", closed=True, removal="verified"))
    service.on("POST", _END, problem(409, "the case is revoked; there is no access to end"))
    assert _python("") == 0
    assert "revoked, access seen gone" in capfd.readouterr().err


def test_an_answer_lost_on_its_way_ends_what_may_have_been_given(service: FakeService) -> None:
    service.on_ask(_APPROVED)
    service.on("POST", _CREDENTIAL, httpx.ReadTimeout("lost"))
    assert _python("") == 3
    assert service.count("POST", _END) == 1


def test_a_denied_request_exits_with_1(
    service: FakeService, capfd: pytest.CaptureFixture[str]
) -> None:
    service.on_ask(case(state="denied", waits_for={}), decision=decision("deny"))
    assert _python("print('ran')") == 1
    told = capfd.readouterr()
    assert told.out == ""
    assert "forbid.x  policies/10.cedar:3" in told.err


@pytest.mark.parametrize("state", ["refused", "lapsed", "withdrawn"])
def test_a_request_that_ends_without_access_exits_with_1(service: FakeService, state: str) -> None:
    service.on_ask(case(), case(state=state, waits_for={}, closed=True))
    assert _python("") == 1
    assert service.count("POST", _CREDENTIAL) == 0


def test_what_nobody_approves_in_time_is_withdrawn(
    service: FakeService, capfd: pytest.CaptureFixture[str]
) -> None:
    service.on_ask(case())
    assert _run("true", options=("--wait-for", "0s")) == 1
    assert service.count("POST", _CANCEL) == 1
    assert "nobody approved within 0s" in capfd.readouterr().err


def test_ctrl_c_while_waiting_withdraws(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupted)
    service.on_ask(case())
    assert _python("") == 1
    assert service.count("POST", _CANCEL) == 1


def test_a_signal_during_the_pick_up_ends_what_was_given_and_runs_nothing(
    service: FakeService, capfd: pytest.CaptureFixture[str]
) -> None:
    import os
    import signal

    def hit(_method: str, path: str) -> None:
        if path == _CREDENTIAL:
            os.kill(os.getpid(), signal.SIGTERM)

    service.on_ask(_APPROVED)
    service.before = hit
    assert _python("print('ran')") == 128 + signal.SIGTERM
    assert capfd.readouterr().out == ""
    assert service.count("POST", _END) == 1


def test_a_pick_up_that_is_no_longer_borne_waits_on(service: FakeService) -> None:
    service.on_ask(_APPROVED, _APPROVED)
    again: dict[str, Any] = case(credential=None, decision=decision("needs_approvals"))
    service.on("POST", _CREDENTIAL, again, ISSUED)
    assert _python("") == 0
    assert service.count("POST", _CREDENTIAL) == 2


def test_json_lines_go_to_standard_error_for_programs(
    service: FakeService, capfd: pytest.CaptureFixture[str]
) -> None:
    service.on_ask(_APPROVED)
    assert _run("true", options=("--json",)) == 0
    told = capfd.readouterr()
    assert told.out == ""
    assert [line[:20] for line in told.err.splitlines()] == [
        '{"event": "issued", ',
        '{"event": "over", "c',
    ]
