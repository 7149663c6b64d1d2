"""`muniment holds`, `retention` and `evidence subject`, against a service that is a script."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_service import ANA, BO, CASE, NAMES, START, FakeService, problem

from muniment.interfaces.cli import retention
from muniment.interfaces.cli.api import Api
from muniment.interfaces.cli.main import run

HOLD, RUN = "hld_" + "d" * 26, "ers_" + "e" * 26
PLAN: dict[str, Any] = {
    "as_of": START,
    "size": 70,
    "due": 3,
    "sections_due": 2,
    "batches_due": 1,
    "rules": {"retention:text": 3},
    "held": {HOLD: 4},
    "conflicts": [{"kept_by": "sox", "goes_by": "text", "count": 9}],
}
LINES = [
    {"record": f"{CASE}/0", "kind": "access:requested", "section": "reason", "since": START,
     "rule": "retention:text"},
    {"record": "src_x/7", "source": "orders\u202e-log", "events": 500, "start": 0, "left_for": [],
     "rule": "retention:logs"},
]  # fmt: skip


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService()
    monkeypatch.setattr(Api, "from_environment", fake.api)
    monkeypatch.setattr(retention, "LOOK", 0.0)
    return fake


def run_of(**changes: Any) -> dict[str, Any]:
    found = {
        "run": RUN, "state": "proposed", "missing": 1, "erased": 0, "events_erased": 0,
        "closed": False, "sections": 2, "proposed_at": START, "proposed_by": ANA, "names": NAMES,
    }  # fmt: skip
    return {**found, **changes}


def hold(**changes: Any) -> dict[str, Any]:
    found = {
        "hold": HOLD, "state": "placed", "cases": [CASE], "people": [BO], "resources": [],
        "since": START, "until": None, "placed_at": START, "placed_by": ANA,
        "matter": {"matter": "matter \u202e7", "reason": ""}, "names": NAMES,
    }  # fmt: skip
    return {**found, **changes}


def test_the_classes_are_told_with_what_they_come_to(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    each = {
        "name": "text", "floor": None, "ceiling": 400 * 86_400, "origin": "muniment.toml",
        "kinds": [], "sections": ["reason"], "resources": [], "environments": [], "data": [],
        "sources": [], "covers": 12,
    }  # fmt: skip
    answer = {
        **PLAN, "classes": [each], "sections": 40, "for_ever": 28, "two_people_above": 100,
        "two_people_above_events": 10_000,
    }  # fmt: skip
    service.on("GET", "/v1/retention", answer)
    assert run(["retention", "list"]) == 0
    said = capsys.readouterr().out
    for words in ("text", "400d", "sections reason", "12", "conflict: `sox` keeps 9", "for ever"):
        assert words in said
    assert "has come to its end: 2 sections, 1 batch of events" in said
    assert "up to 100 sections and batches of events at once, and up to 10,000 events" in said


def test_without_a_service_the_presets_say_where_they_are_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["retention", "list", "--presets"]) == 0
    said = capsys.readouterr().out
    assert "PCI DSS 4.0.1, 10.5.1" in said
    assert "own number" in said


def test_a_dry_run_shows_what_would_go_and_asks_for_nothing(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("GET", "/v1/retention/plan", {**PLAN, "lines": LINES})
    assert run(["retention", "run", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"{CASE}/0" in said
    assert "500 events of orders" in said
    assert "\u202e" not in said


def test_a_run_that_takes_two_says_who_has_to_come(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = {"plan": PLAN, "lines": LINES, "run": run_of(), "names": NAMES}
    service.on("POST", "/v1/retention/runs", answer)
    assert run(["retention", "run"]) == 0
    assert "muniment retention approve ers_" in capsys.readouterr().out


def test_an_approval_waits_for_the_end(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = run_of(state="begun", missing=0)
    done = run_of(state="closed", missing=0, erased=2, events_erased=1, closed=True)
    service.on("POST", f"/v1/retention/runs/{RUN}/approval", begun)
    service.on("GET", f"/v1/retention/runs/{RUN}", begun, done)
    assert run(["retention", "approve", RUN]) == 0
    assert "2 sections and 1 event erased" in capsys.readouterr().out


def test_nothing_to_erase_is_said(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    plan = {**PLAN, "due": 0, "sections_due": 0, "batches_due": 0, "rules": {}}
    answer: dict[str, Any] = {"plan": plan, "lines": [], "run": None, "names": {}}
    service.on("POST", "/v1/retention/runs", answer)
    assert run(["retention", "run"]) == 0
    assert "nothing to erase" in capsys.readouterr().out


def test_what_was_given_away_is_named_and_what_has_no_section(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    erased = [{"record": f"{CASE}/0", "section": "reason", "rule": "retention:text", "at": START}]
    given = [{"record": "exp_x/0", "kind": "evidence:exported", "at": START, "by": BO}]
    answer = {"case": CASE, "erased": erased, "given": given, "names": NAMES}
    service.on("GET", f"/v1/retention/reach/{CASE}", answer)
    assert run(["retention", "reach", CASE]) == 0
    said = capsys.readouterr().out
    assert "evidence:exported by bo" in said
    assert "mirrors" in said


def test_the_period_of_a_hold_is_typed_as_days_or_moments(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("POST", "/v1/holds", hold())
    period = ["--since", "2026-06-01", "--until", "2026-07-01T08:00+02:00"]
    assert run(["holds", "place", "--person", "bo", "--matter", "m", *period]) == 0
    [(_, _, body)] = service.asked
    assert body["since"] == "2026-06-01T00:00:00+00:00"
    assert body["until"] == "2026-07-01T08:00:00+02:00"
    for wrong in ("2026-13-01", "7 July", ""):
        assert run(["holds", "place", "--matter", "m", "--since", wrong]) == 2
        assert "write 2026-06-01 or 2026-06-01T08:00Z" in capsys.readouterr().err
    assert len(service.asked) == 1


def test_a_hold_is_placed_listed_released_and_confirmed(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("POST", "/v1/holds", hold())
    assert run(["holds", "place", "--case", CASE, "--person", "bo", "--matter", "m"]) == 0
    service.on("GET", "/v1/holds", {"holds": [hold()], "names": NAMES})
    assert run(["holds", "list"]) == 0
    service.on("POST", f"/v1/holds/{HOLD}/release", hold(state="releasing"))
    assert run(["holds", "release", HOLD, "--reason", "over"]) == 0
    service.on("POST", f"/v1/holds/{HOLD}/confirmation", hold(state="released"))
    assert run(["holds", "confirm", HOLD]) == 0
    said = capsys.readouterr().out
    for words in ("bo", "matter", "to for ever", "muniment holds confirm hld_", "is released"):
        assert words in said
    assert "\u202e" not in said


def test_a_refusal_is_told_and_leaves_no_file(service: FakeService, tmp_path: Path) -> None:
    service.on("POST", "/v1/people/bo/evidence", problem(403, "you may not"))
    assert run(["evidence", "subject", "bo", "-o", str(tmp_path / "bo.json")]) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_persons_own_copy_is_written_for_its_owner_only(
    service: FakeService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = {"records": 3, "given": 2, "withheld": 1, "erased": 0}
    service.on("POST", "/v1/people/ana/evidence", {"summary": summary, "records": []})
    file = tmp_path / "ana.json"
    assert run(["evidence", "subject", "ana", "-o", str(file)]) == 0
    assert json.loads(file.read_bytes())["summary"] == summary
    assert file.stat().st_mode & 0o077 == 0
    assert "withheld, as they are somebody else's: 1" in capsys.readouterr().out
