"""`muniment findings` as a person runs it, against a service that is a script."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from fake_service import ANA, BO, CASE, NAMES, START, UNTIL, FakeService, problem

from muniment.interfaces.cli.api import Api
from muniment.interfaces.cli.main import run

FOUND = "fnd_" + "d" * 26


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService()
    monkeypatch.setattr(Api, "from_environment", fake.api)
    return fake


def row(**changes: Any) -> dict[str, Any]:
    found = {
        "finding": FOUND,
        "state": "open",
        "rule": "too-much",
        "severity": "high",
        "resource": "orders-prod",
        "about": [CASE],
        "assigned": "",
        "ended_access": False,
        "opened_at": START,
        "changed_at": START,
        "muted_until": None,
    }
    return {**found, **changes}


def finding(**changes: Any) -> dict[str, Any]:
    raised = {
        "index": 7,
        "id": f"{FOUND}/0",
        "kind": "finding:raised",
        "at": START,
        "record": {"actor": {"principal": "service"}, "ends": []},
        "sections": {
            "detail": {
                "summary": f"{ANA} did it 7 times",
                "detail": "DROP \u202e\x1b[31mTABLE",
                "evidence": ["orders-log#12"],
            }
        },
    }
    found = {
        "finding": FOUND,
        "state": "open",
        "closed": False,
        "rule": "too-much",
        "severity": "high",
        "nature": "deterministic",
        "resource": "orders-prod",
        "about": [CASE],
        "subjects": [ANA],
        "count": 3,
        "first_seen": START,
        "last_seen": UNTIL,
        "ends": [],
        "why_not": "not-permitted",
        "assigned": "",
        "resolution": "",
        "owner": "",
        "muted_until": None,
        "names": NAMES,
        "definition": {"id": "too-much", "title": "More than usual", "advice": "Ask who did it."},
        "timeline": [raised],
    }
    return {**found, **changes}


def test_the_list_says_how_bad_it_is_and_what_to_do_next(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row(assigned=BO, state="assigned"), row(ended_access=True)]
    service.on("GET", "/v1/findings", {"findings": rows, "next": None, "names": NAMES})
    assert run(["findings"]) == 0
    said = capsys.readouterr().out
    assert "assigned" in said
    assert "bo" in said
    assert "too-much (access ended)" in said
    assert "muniment findings show fnd_dddddddd" in said


def test_what_is_closed_is_not_named_as_what_to_close(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    left = "fnd_" + "e" * 26
    for rows in ([row(state="closed")], [row(state="closed"), row(finding=left)]):
        service.on("GET", "/v1/findings", {"findings": rows, "next": None, "names": NAMES})
        assert run(["findings", "--all"]) == 0
        said = capsys.readouterr().out
        assert ("findings close fnd_eeeeeeee" in said) == (len(rows) > 1)
        assert "findings close fnd_dddddddd" not in said


def test_the_list_goes_on_over_pages_up_to_its_limit(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    first = {"findings": [row()] * 2, "next": FOUND, "names": {}}
    service.on("GET", "/v1/findings", first, {"findings": [row()], "next": None, "names": {}})
    assert run(["findings", "--limit", "3", "--json", "--severity", "high"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (len(answer["findings"]), answer["next"]) == (3, None)


def test_no_findings_are_said_to_be_none(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("GET", "/v1/findings", {"findings": [], "next": None, "names": {}})
    assert run(["findings", "--all"]) == 0
    assert capsys.readouterr().out == "no findings\n"
    service.on("GET", "/v1/findings", {"findings": [], "next": None, "names": {}})
    assert run(["findings", "--rule", "use-witout-grant"]) == 0
    assert "muniment detect --list" in capsys.readouterr().out


def test_a_finding_is_shown_with_names_and_without_what_would_steer_a_terminal(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("GET", f"/v1/findings/{FOUND}", finding())
    assert run(["findings", "show", FOUND]) == 0
    said = capsys.readouterr().out
    assert "ana did it 7 times" in said
    assert "Ask who did it." in said
    assert "the policy does not let its workload revoke it" in said
    assert "3 times, " in said
    assert "orders-log#12" in said
    assert "\u202e" not in said
    assert "\x1b[31mTABLE" not in said


def test_what_was_erased_says_so(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    shown = finding()
    shown["timeline"][0]["sections"] = {"detail": {"erased": "retention"}}
    service.on("GET", f"/v1/findings/{FOUND}", shown)
    assert run(["findings", "show", FOUND]) == 0
    assert "ERASED under rule retention" in capsys.readouterr().out


def test_a_finding_is_acknowledged_and_assigned(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    path = f"/v1/findings/{FOUND}"
    service.on("POST", f"{path}/acknowledgement", finding(state="acknowledged"))
    service.on("POST", f"{path}/assignment", finding(state="assigned", assigned=BO))
    assert run(["findings", "acknowledge", FOUND]) == 0
    assert run(["findings", "assign", FOUND, "bo"]) == 0
    said = capsys.readouterr().out
    assert "fnd_dddddddd is acknowledged" in said
    assert "fnd_dddddddd is assigned to bo" in said
    assert service.asked[-1] == ("POST", f"{path}/assignment", {"to": "bo"})


def test_closing_says_what_it_was_why_and_how_long_it_is_quiet(
    service: FakeService, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = datetime.fromisoformat(START)
    monkeypatch.setattr("muniment.interfaces.cli.findings.now", lambda: at)
    closed = finding(state="closed", resolution="adopted", owner=BO, muted_until=UNTIL)
    service.on("POST", f"/v1/findings/{FOUND}/closing", closed)
    arguments = ["findings", "close", FOUND, "--as", "adopted", "--reason", "ours"]
    assert run([*arguments, "--owner", "bo", "--quiet", "30d"]) == 0
    assert "closed: adopted by bo; the same is quiet until 11:00 UTC" in capsys.readouterr().out
    [(_, _, body)] = service.asked
    assert (body["resolution"], body["reason"], body["owner"]) == ("adopted", "ours", "bo")
    assert datetime.fromisoformat(body["until"]) == at + timedelta(days=30)


def test_closing_takes_a_reason_and_a_known_resolution(service: FakeService) -> None:
    assert run(["findings", "close", FOUND, "--as", "explained"]) == 2
    assert run(["findings", "close", FOUND, "--as", "forgotten", "--reason", "x"]) == 2
    assert not service.asked


def test_what_is_refused_exits_with_1(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on(
        "POST", f"/v1/findings/{FOUND}/acknowledgement", problem(403, "somebody else has to")
    )
    assert run(["findings", "acknowledge", FOUND]) == 1
    assert "somebody else has to" in capsys.readouterr().err
