"""`muniment evidence health` as a person runs it, against a service that is a script."""

import json
from typing import Any

import pytest
from fake_service import ANA, CASE, NAMES, START, FakeService, problem
from fake_service import case as told_case

from muniment.interfaces.cli import health
from muniment.interfaces.cli.api import Api
from muniment.interfaces.cli.main import run


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService()
    monkeypatch.setattr(Api, "from_environment", fake.api)
    monkeypatch.setattr(health, "APART", 0.0)
    return fake


def kind(id: str, severity: str = "medium", **more: Any) -> dict[str, Any]:
    told = {"title": f"the title of {id}", "meaning": f"{id} means this.", "advice": f"Mend {id}."}
    return {"kind": id, "severity": severity, **told, **more}


def counted(id: str, count: int, severity: str = "medium") -> dict[str, Any]:
    cases = [{"case": CASE, "says": "x"}] if count else []
    return kind(id, severity, count=count, recent=count // 2, cases=cases)


def point(day: int, count: int) -> dict[str, Any]:
    return {
        "at": f"2026-11-{day:02}T10:00:00.000Z", "size": 100, "grants": 10, "weak": count,
        "counts": {"weak-link": count}, "days": 30, "recent_grants": 5, "recent_weak": count,
        "recent": {"weak-link": count} if count else {}, "log": [],
    }  # fmt: skip


ONE = {
    "case": CASE, "granted": True, "at": START, "size": 100, "names": NAMES,
    "weaknesses": [kind("removal-unverified", "high", says=f"blind \x1b[31m since {ANA}")],
    "log": [kind("no-witnesses")],
}  # fmt: skip
ALL = {
    "at": START, "size": 100, "grants": 12, "weak": 4, "names": NAMES,
    "recent": {"days": 30, "grants": 5, "weak": 2},
    "weaknesses": [counted("removal-unverified", 4, "high"), counted("weak-link", 0)],
    "measurements": "hlt_" + "e" * 26, "log": [], "trend": [point(1, 0), point(2, 1), point(3, 4)],
}  # fmt: skip


def test_one_grant_is_told_with_what_to_do_about_it(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("GET", f"/v1/evidence/health/{CASE}", ONE)
    assert run(["evidence", "health", CASE]) == 0
    out = capsys.readouterr().out
    assert "removal-unverified  blind �[31m since ana" in out
    assert "to do: Mend removal-unverified." in out
    assert "the title of no-witnesses" in out


def test_a_grant_whose_evidence_stands_up_says_so(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("GET", f"/v1/evidence/health/{CASE}", {**ONE, "weaknesses": [], "log": []})
    assert run(["evidence", "health", CASE]) == 0
    assert "all of its evidence stands up" in capsys.readouterr().out
    service.on("GET", f"/v1/evidence/health/{CASE}", {**ONE, "granted": False})
    assert run(["evidence", "health", CASE]) == 0
    assert "nothing was ever granted" in capsys.readouterr().out


def test_all_of_them_are_a_table_of_what_there_is(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("GET", "/v1/evidence/health", ALL)
    assert run(["evidence", "health"]) == 0
    out = capsys.readouterr().out
    assert "12 grants, 4 with weak evidence (medium or worse); of 5 in the last 30 days 2" in out
    assert "removal-unverified" in out
    assert "weak-link" not in out
    assert "Mend removal-unverified." in out
    assert run(["evidence", "health", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weak"] == 4


def test_the_trend_is_a_line_for_each_measurement_and_a_bar_for_each_kind(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("GET", "/v1/evidence/health", ALL)
    assert run(["evidence", "health", "--trend"]) == 0
    out = capsys.readouterr().out
    assert out.count("2026-11-0") == 3
    assert "▁▂█  0 to 4" in out
    assert "muniment evidence export hlt_eeee" in out
    service.on("GET", "/v1/evidence/health", {**ALL, "trend": []})
    assert run(["evidence", "health", "--trend"]) == 0
    assert "nothing was measured yet" in capsys.readouterr().out
    assert run(["evidence", "health", CASE, "--trend"]) == 2


def test_a_service_that_reads_its_log_is_asked_again_and_others_are_not(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    reading = problem(503, "the log is being read for this: 10 of 20 entries so far")
    service.on("GET", "/v1/evidence/health", reading, reading, ALL)
    assert run(["evidence", "health"]) == 0
    assert capsys.readouterr().err.count("10 of 20 entries") == 2
    service.on("GET", "/v1/evidence/health", problem(503, "the disk is full"))
    assert run(["evidence", "health"]) == 3


def test_whoever_looks_at_a_case_sees_in_a_line_whether_its_evidence_stands_up(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    line = {
        "index": 1, "id": f"{CASE}/0", "kind": "access:requested", "at": START, "observed": None,
        "record": {
            "actor": {"principal": ANA, "assurance": "token", "sponsor": None}, "resource": "orders",
            "role": "readwrite", "seconds": 1800, "emergency": False,
        },
        "sections": {},
    }  # fmt: skip
    judged = {"granted": True, "weaknesses": ["weak-link"], "slight": ["unstamped"]}
    shown = told_case(timeline=[line], health=judged)
    service.on("GET", f"/v1/cases/{CASE}", shown)
    assert run(["show", CASE]) == 0
    out = capsys.readouterr().out
    assert "its evidence is weak: weak-link (slight: unstamped)" in out
    assert f"muniment evidence health {CASE[:12]}" in out
    slight = {**judged, "weaknesses": []}
    service.on("GET", f"/v1/cases/{CASE}", {**shown, "health": slight})
    assert run(["show", CASE]) == 0
    assert "its evidence stands up (slight: unstamped)" in capsys.readouterr().out
    service.on("GET", f"/v1/cases/{CASE}", {**shown, "health": None})
    assert run(["show", CASE]) == 0
    assert "evidence is weak" not in capsys.readouterr().out


def test_whoever_sees_some_roles_alone_is_told_why_there_is_no_trend(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("GET", "/v1/evidence/health", {**ALL, "trend": [], "measurements": None})
    assert run(["evidence", "health", "--trend"]) == 0
    out = capsys.readouterr().out
    assert "about all grants" in out
    assert "export" not in out
