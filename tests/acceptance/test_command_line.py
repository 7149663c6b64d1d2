"""The everyday story, told by the commands that people run, against a real PostgreSQL."""

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import psycopg
import pytest

from acceptance.conftest import Installation
from muniment.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.target

_ASK = ("my-database", "readwrite", "--reason", "count the orders", "--ticket", "OPS-1")
_COUNT = (
    "import os, psycopg;"
    "print(psycopg.connect('').execute('select session_user, count(*) from orders').fetchone())"
)


def _connect(credential: dict[str, Any]) -> "psycopg.Connection[Any]":
    connection = credential["connection"]
    return psycopg.connect(
        host=connection["host"],
        port=connection["port"],
        dbname=connection["database"],
        user=connection["user"],
        password=credential["secret"],
        autocommit=True,
    )


def _waiting(installation: Installation) -> str:
    """The id of the one case that waits, as soon as there is one."""
    for _ in range(100):
        waiting = installation.json("approvals", as_="bo")["cases"]
        if waiting:
            case: str = waiting[0]["case"]
            return case
        time.sleep(0.1)
    raise AssertionError("nothing came to wait for approval")


def _finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def test_production_without_a_ticket_is_denied_by_a_rule_with_its_place(
    installation: Installation,
) -> None:
    done = installation.muniment(
        "request", "my-database", "readwrite", "--reason", "fix order 4711"
    )
    assert done.returncode == 1
    assert "ana may not request: forbid.prod-without-ticket" in done.stdout
    assert "policies/20-forbid.cedar:" in done.stdout
    assert "unless { context has ticket };" in done.stdout
    case = done.stdout.split("recorded as ")[1].split(":")[0]
    shown = installation.muniment("show", case)
    assert "denied" in shown.stdout
    assert "fix order 4711" in shown.stdout


def test_a_request_that_waits_says_who_can_approve_and_what_to_run(
    installation: Installation,
) -> None:
    done = installation.muniment("request", *_ASK)
    assert done.returncode == 0
    assert "waits for 1 of sre-leads" in done.stdout
    assert "can approve  bo" in done.stdout
    case = done.stdout.split("muniment approve ")[1].split()[0]
    assert installation.muniment("withdraw", case).stdout == f"withdrawn: {case}\n"


@pytest.mark.deep
def test_own_request_is_not_approvable_and_the_attempt_is_recorded(
    installation: Installation,
) -> None:
    case = installation.request()
    done = installation.muniment("approve", case)
    assert done.returncode == 1
    assert "ana may not approve: approve.not-own-not-twice" in done.stdout
    assert "recorded as entry #" in done.stdout
    assert "approve: denied" in installation.muniment("show", case).stdout
    installation.json("withdraw", case)


def test_an_approved_case_gives_a_credential_that_works_until_its_end(
    installation: Installation,
) -> None:
    case = installation.approved()
    picked = installation.json("credential", case)
    with _connect(picked["credential"]) as connection:
        row = connection.execute("select session_user, count(*) from orders").fetchone()
        assert row == (case, 0)
        ended = installation.muniment("end", case)
        assert (ended.returncode, ended.stdout[12:]) == (0, ": ended, access seen gone\n")
        with pytest.raises(psycopg.Error):
            connection.execute("select 1")
    with pytest.raises(psycopg.OperationalError):
        _connect(picked["credential"])


@pytest.mark.deep
def test_whoever_is_given_a_credential_is_shown_a_head_of_the_log_to_keep(
    installation: Installation,
) -> None:
    case = installation.approved()
    picked = installation.muniment("credential", case)
    size, root = picked.stderr.splitlines()[-1].removeprefix("# the log's head: ").split()
    data = SQLiteStore(installation.folder / "data/muniment.db")
    try:
        kept = data.checkpoint(int(size))
    finally:
        data.close()
    assert kept is not None
    assert kept.decode().splitlines()[1:3] == [size, root]
    installation.json("end", case)


@pytest.mark.deep
def test_a_case_tells_its_whole_life_to_its_end(installation: Installation) -> None:
    case = installation.approved()
    installation.json("credential", case)
    installation.json("end", case)
    shown = installation.muniment("show", case[:14]).stdout
    for words in (
        "ended, access seen gone",
        "ana: readwrite on my-database (production) for 30m",
        "bo (token)",
        "require.prod            policies/30-require.cedar:",
        "credential:issued",
        "1 account removed",
    ):
        assert words in shown
    assert all(len(line) <= 100 for line in shown.splitlines())


@pytest.mark.deep
def test_a_line_of_the_targets_log_leads_to_the_approval(installation: Installation) -> None:
    case = installation.approved()
    installation.json("credential", case)
    installation.json("end", case)
    line = f'2026-11-21 12:00:00 UTC [42] user={case} db=orders LOG: statement: "drop table"'
    assert "approved  bo" in installation.muniment("whois", line, as_="bo").stdout
    assert installation.muniment("whois", "nothing to see", as_="bo").returncode == 1


@pytest.mark.deep
def test_everybody_lists_his_own_cases_and_an_administrator_all(installation: Installation) -> None:
    case = installation.request()
    assert case[:12] in installation.muniment("list", "--state", "pending").stdout
    assert case[:12] not in installation.muniment("list", as_="bo").stdout
    assert installation.muniment("list", "--all", as_="bo").returncode == 1
    assert case[:12] in installation.muniment("list", "--all", as_="admin").stdout
    installation.json("withdraw", case)


def test_the_exported_evidence_verifies_with_the_key_and_the_receipt_alone(
    installation: Installation,
) -> None:
    case = installation.approved()
    installation.json("credential", case, "--receipt", f"{case}.receipt")
    installation.json("end", case)
    export = ("evidence", "export", case, "-o", f"{case}.json", "--head", f"{case}.receipt")
    assert installation.muniment(*export).returncode == 0
    assert (installation.desk / f"{case}.json").stat().st_mode & 0o777 == 0o600
    again = installation.muniment(*export)
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
    key = ("--log-key", str(installation.log_key))
    verified = installation.muniment(
        "verify", f"{case}.json", *key, "--head", f"{case}.receipt", "--require", "complete"
    )
    assert verified.returncode == 0, verified.stdout
    assert "SELF-WITNESSED, COMPLETE" in verified.stdout


@pytest.mark.deep
def test_an_extension_is_approved_with_its_own_length_and_reason(
    installation: Installation,
) -> None:
    case = installation.approved()
    installation.json("credential", case)
    asked = installation.muniment("extend", case, "--for", "45m", "--reason", "a slow query")
    assert "can approve  bo" in asked.stdout
    waits = installation.muniment("approvals", as_="bo").stdout
    assert "for 45m in all" in waits
    assert "a slow query" in waits
    assert installation.muniment("approve", case, as_="bo").stdout.startswith("extended: ")
    installation.json("end", case)


@pytest.mark.deep
def test_broken_glass_is_marked_until_somebody_else_has_reviewed_it(
    installation: Installation,
) -> None:
    emergency = ("--emergency", "--incident", "INC-7", "--reason", "the database is down")
    asked = installation.muniment("request", "my-database", "readwrite", *emergency, as_="bo")
    case = asked.stdout.split("muniment credential ")[1].strip()
    installation.json("credential", case, as_="bo")
    assert "still to be reviewed" in installation.muniment("show", case, as_="bo").stdout
    installation.json("revoke", case, "--note", "it is up again", as_="admin")
    answer = ("reviews", "answer", case, "--verdict", "justified")
    assert installation.muniment(*answer, as_="bo").returncode == 1
    assert installation.muniment(*answer, as_="admin").returncode == 0
    assert "broke glass, reviewed" in installation.muniment("show", case, as_="bo").stdout


def test_run_gives_its_command_access_and_ends_it_after(installation: Installation) -> None:
    process = installation.start("run", *_ASK, "--", sys.executable, "-c", _COUNT)
    case = _waiting(installation)
    installation.json("approve", case, as_="bo")
    code, out, err = _finish(process)
    assert (code, out) == (0, f"('{case}', 0)\n"), err
    assert "can approve  bo" in err
    assert installation.json("show", case)["state"] == "ended"


@pytest.mark.deep
def test_run_ends_the_access_of_a_command_that_fails_and_has_its_exit_code(
    installation: Installation,
) -> None:
    process = installation.start("run", *_ASK, "--", sys.executable, "-c", "raise SystemExit(7)")
    case = _waiting(installation)
    installation.json("approve", case, as_="bo")
    assert _finish(process)[0] == 7
    assert installation.json("show", case)["closed"] is True


@pytest.mark.deep
def test_run_passes_a_signal_on_and_ends_the_access(installation: Installation) -> None:
    patient = "import time; print('ready', flush=True); time.sleep(60)"
    process = installation.start("run", *_ASK, "--", sys.executable, "-c", patient)
    case = _waiting(installation)
    installation.json("approve", case, as_="bo")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGTERM)
    assert _finish(process)[0] == 128 + signal.SIGTERM
    assert installation.json("show", case)["state"] == "ended"


@pytest.mark.deep
def test_run_withdraws_what_nobody_approves_in_time(installation: Installation) -> None:
    done = installation.muniment("run", *_ASK, "--wait-for", "1s", "--", "true")
    assert done.returncode == 1
    case = done.stderr.split("pending: ")[1].split()[0]
    assert installation.json("show", case)["state"] == "withdrawn"


@pytest.mark.deep
def test_run_withdraws_when_a_signal_ends_the_wait(installation: Installation) -> None:
    process = installation.start("run", *_ASK, "--", "true")
    case = _waiting(installation)
    os.kill(process.pid, signal.SIGINT)
    assert _finish(process)[0] == 1
    assert installation.json("show", case)["state"] == "withdrawn"


@pytest.mark.deep
def test_run_exits_with_1_when_the_request_is_refused(installation: Installation) -> None:
    process = installation.start("run", *_ASK, "--", "true")
    case = _waiting(installation)
    installation.json("refuse", case, "--note", "not today", as_="bo")
    code, _, err = _finish(process)
    assert code == 1
    assert "refused" in err


@pytest.mark.deep
def test_an_operator_rebuilds_the_lists_and_vouches_for_the_clock(
    installation: Installation,
) -> None:
    rebuilt = installation.json("projections", "rebuild", as_="admin")
    assert rebuilt["wrong"] == []
    assert installation.json("clock", "accept", as_="admin")["step_ms"] == 0
    assert installation.muniment("clock", "accept").returncode == 1


@pytest.mark.deep
def test_the_service_explains_what_would_happen_without_recording_it(
    installation: Installation,
) -> None:
    before = installation.json("list", "--limit", "1")
    explained = installation.muniment(
        "policy", "explain", "my-database", "readwrite", "--for", "30m", "--ticket", "OPS-1"
    )
    assert "needs 1 of sre-leads" in explained.stdout
    denied = installation.muniment("policy", "explain", "my-database", "readwrite", "--json")
    assert denied.returncode == 1
    assert json.loads(denied.stdout)["decision"]["outcome"] == "deny"
    assert installation.json("list", "--limit", "1") == before
