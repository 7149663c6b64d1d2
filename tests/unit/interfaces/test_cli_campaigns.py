"""`muniment reviews` of access as a person runs it, against a service that is a script."""

from pathlib import Path
from typing import Any

import click
import pytest
from fake_service import ANA, BO, CASE, NAMES, START, UNTIL, FakeService, problem

from muniment.interfaces.cli.api import Api
from muniment.interfaces.cli.campaigns import numbers
from muniment.interfaces.cli.main import run

REVIEW = "rev_" + "d" * 26


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeService:
    fake = FakeService()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(Api, "from_environment", fake.api)
    return fake


def summary(**changes: Any) -> dict[str, Any]:
    found = {
        "campaign": REVIEW,
        "state": "open",
        "rule": "grants",
        "started": "person",
        "occasion": "",
        "opened_at": START,
        "due": UNTIL,
        "over": 50,
        "silence": "revoke",
        "size": 70,
        "root": "ab" * 32,
        "items": 3,
        "items_root": "cd" * 32,
        "seed": None,
        "targets": 2,
        "unseen": 1,
        "tallies": {"keep": 2, "revoke": 0, "reduce": 0, "abstain": 0, "not-reviewed": 1},
        "unassigned": 1,
        "applied": 0,
        "outstanding": 0,
        "sign_off": "managers",
        "signed": None,
        "closed": False,
        "names": NAMES,
    }
    return {**found, **changes}


def shown() -> dict[str, Any]:
    scan = {"case": "drf_x", "at": START, "target": "7411", "accounts": 12, "sessions": 1}
    return summary(
        definition={"what": "grants"},
        completeness=[
            {
                "resource": "orders-prod",
                "connector": "postgresql",
                "listed": 3,
                "live_grants": 1,
                "scan": {**scan, "differences": {"account-without-grant": 2}},
            },
            {
                "resource": "other",
                "connector": "fake",
                "listed": 0,
                "live_grants": 0,
                "scan": None,
            },
        ],
        reviewers=[
            {
                "reviewer": BO,
                "items": 2,
                "decided": 2,
                "kept": 2,
                "median_seconds": 0,
                "within_a_second": 2,
                "largest_at_once": 2,
                "stamped": True,
            }
        ],
        timeline=[
            {
                "index": 7,
                "at": START,
                "kind": "review:decided",
                "record": {"actor": {"principal": BO}, "tallies": {"keep": 2}, "bulk": True},
                "sections": {},
            }
        ],
    )


def item(**changes: Any) -> dict[str, Any]:
    found = {
        "item": 0,
        "what": "grant",
        "case": CASE,
        "principal": ANA,
        "resource": "orders-prod",
        "role": "read\u202ewrite",
        "glass": True,
        "advice": "look",
        "why": ["break-glass"],
        "outcome": "not-reviewed",
        "to": "",
        "applied": False,
        "owed": False,
    }
    return {**found, **changes}


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return click.unstyle(capsys.readouterr().out)


def test_a_review_says_how_it_stands_and_who_only_stamped(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("GET", f"/v1/campaigns/{REVIEW}", shown())
    assert run(["reviews", "show", REVIEW]) == 0
    out = said(capsys)
    for part in (
        "2 keep, 1 not-reviewed",
        "bo (stamped?)",
        "2 keep in bulk",
        "12 accounts",
        "never",
        "1 items that nobody may look at",
    ):
        assert part in out


def test_items_are_listed_page_by_page_without_what_moves_the_screen(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    first = {"campaign": REVIEW, "state": "open", "items": [item()], "next": 0, "names": {}}
    first |= {"left": 1, "shown": ""}
    second = {**first, "items": [item(item=1, outcome="keep")], "next": None, "names": NAMES}
    service.on("GET", f"/v1/campaigns/{REVIEW}/items", first, second)
    assert run(["reviews", "show", REVIEW, "--mine"]) == 0
    out = said(capsys)
    assert "grant (broke glass)" in out
    assert "not-reviewed" in out
    assert "keep" in out
    assert "\u202e" not in out


def test_a_population_that_is_another_one_fails(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = {"campaign": REVIEW, "size": 7, "root": "", "items": 3, "items_root": ""}
    path = f"/v1/campaigns/{REVIEW}/recomputation"
    service.on("GET", path, {**answer, "same": True}, {**answer, "same": False})
    assert run(["reviews", "show", REVIEW, "--recompute"]) == 0
    assert run(["reviews", "show", REVIEW, "--recompute"]) == 1
    assert "NOT the same" in said(capsys)


def test_a_review_that_takes_long_to_open_is_waited_for(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"campaign": REVIEW, "rule": "grants"}
    service.on("POST", "/v1/campaigns", problem(503, "too slow"))
    making = {"campaigns": [], "opening": {"grants": [1, 2]}}
    service.on("GET", "/v1/campaigns", making, making, {"campaigns": [row], "opening": {}})
    service.on("GET", f"/v1/campaigns/{REVIEW}", summary())
    assert run(["reviews", "open", "grants"]) == 0
    assert "open: rev_dddddddd, 3 items" in said(capsys)


def test_a_review_that_cannot_be_opened_says_why(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("POST", "/v1/campaigns", problem(503, "the log cannot be written"))
    service.on("GET", "/v1/campaigns", {"campaigns": [], "opening": {}})
    assert run(["reviews", "open", "grants"]) == 3
    assert "the log cannot be written" in capsys.readouterr().err


def test_a_verdict_is_one_of_four(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    answer: dict[str, Any] = {"campaign": REVIEW, "decided": {"keep": 2}, "mine": 3, "waiting": 1}
    service.on("POST", f"/v1/campaigns/{REVIEW}/decisions", answer)
    assert run(["reviews", "decide", REVIEW, "0-1", "--keep"]) == 0
    assert "recorded: 2 keep; 1 of your 3 items wait" in said(capsys)
    assert run(["reviews", "decide", REVIEW, "0"]) == 2
    assert run(["reviews", "decide", REVIEW, "0", "--keep", "--reduce", "60"]) == 2
    assert run(["reviews", "decide", REVIEW, "0", "--keep", "--revoke"]) == 2
    assert run(["reviews", "decide", REVIEW, "3-1", "--keep"]) == 2


def test_only_whose_items_are_shown_is_told_how_to_decide_while_he_can(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    page: dict[str, Any] = {
        "campaign": REVIEW,
        "state": "open",
        "items": [item()],
        "next": None,
        "names": {},
    }
    page |= {"left": 0, "shown": ""}
    path = f"/v1/campaigns/{REVIEW}/items"
    service.on("GET", path, page, page, {**page, "state": "closed"})
    for option, told in (("--mine", True), ("--items", False), ("--mine", False)):
        assert run(["reviews", "show", REVIEW, option]) == 0
        assert ("muniment reviews decide" in said(capsys)) == told


def test_numbers_and_ranges_are_items() -> None:
    assert numbers(("3", "5-7", "6")) == [3, 5, 6, 7]
    for wrong in ("x", "1-", "-1", "1-x", "1-99999999", "5-99999"):
        with pytest.raises(click.UsageError):
            numbers((wrong,))


def test_how_long_somebody_looked_is_handed_in_with_his_verdicts(
    service: FakeService, tmp_path: Path
) -> None:
    page: dict[str, Any] = {"campaign": REVIEW, "items": [], "names": {}, "next": None, "left": 0}
    page["state"] = "open"
    decided: dict[str, Any] = {"campaign": REVIEW, "decided": {"keep": 1}, "waiting": 0, "mine": 1}
    first = {**page, "items": [item()], "next": 0, "shown": "1.0-2,5.first"}
    service.on(
        "GET", f"/v1/campaigns/{REVIEW[:12]}/items", first, {**page, "shown": "1.7,9.second"}
    )
    service.on("POST", f"/v1/campaigns/{REVIEW[:12]}/decisions", decided)
    assert run(["reviews", "decide", REVIEW[:12], "0", "--keep"]) == 0
    assert run(["reviews", "show", REVIEW[:12], "--mine"]) == 0
    for items in (["2"], ["4-9"], ["3", "8"]):
        assert run(["reviews", "decide", REVIEW[:12], *items, "--keep"]) == 0
    sent = [body["shown"] for method, _, body in service.asked if method == "POST"]
    assert sent == ["", "1.0-2,5.first", "1.0-2,5.first 1.7,9.second", ""]
    (kept,) = (tmp_path / "muniment" / "looking").iterdir()
    assert kept.stat().st_mode & 0o077 == 0
