"""`muniment drift` as a person runs it, against a service that is a script."""

import json
from typing import Any

import pytest
from fake_service import ANA, CASE, NAMES, START, UNTIL, FakeService

from muniment.interfaces.cli.api import Api
from muniment.interfaces.cli.main import run

FOUND, REPORT = "fnd_" + "d" * 26, "fnd_" + "r" * 26
RESOURCE = "/v1/drift/orders-prod"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService()
    monkeypatch.setattr(Api, "from_environment", fake.api)
    return fake


def difference(**changes: Any) -> dict[str, Any]:
    found = {
        "kind": "account-without-grant",
        "what": "out-of-band",
        "account": "backdoor",
        "severity": "high",
        "objects": [],
        "count": 0,
        "grant": "",
        "since": START,
        "summary": "…",
        "finding": FOUND,
        "state": "open",
    }
    return {**found, **changes}


def told(*differences: dict[str, Any], **changes: Any) -> dict[str, Any]:
    scan = {"case": "drf_x", "at": START, "target": "x", "first": False, "accounts": 3}
    rest = {
        "sessions": 1,
        "privileges": 0,
        "differences": {},
        "erased": False,
        "forgotten": 0,
        "unlisted": 0,
        "standing": REPORT,
    }
    one = {
        "resource": "orders-prod",
        "scan": {**scan, **rest},
        "differences": list(differences),
        "removals": [],
        **changes,
    }
    return {"resources": [one], "names": NAMES}


def test_a_look_tells_what_differs_and_what_can_be_done(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("POST", RESOURCE, told(difference()))
    assert run(["drift", "orders-prod"]) == 1
    out = capsys.readouterr().out
    assert "account-without-grant, out-of-band  backdoor" in out
    assert "fnd_dddddddd" in out
    for way in ("adopt", "explain", "remove"):
        assert f"muniment drift {way} orders-prod backdoor" in out


def test_what_stood_there_before_is_no_alarm(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("GET", "/v1/drift", told(difference(what="standing", finding="")))
    assert run(["drift"]) == 0
    out = capsys.readouterr().out
    assert "standing" in out
    assert "fnd_rrrrrrrr" in out


def test_what_stood_there_before_is_made_a_finding_of_its_own_before_it_can_go(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("GET", "/v1/drift", told(difference(what="standing", finding="")))
    assert run(["drift"]) == 0
    out = capsys.readouterr().out
    assert "remove:   muniment drift raise orders-prod backdoor" in out
    assert "drift remove" not in out
    service.on("POST", f"{RESOURCE}/finding", {"finding": FOUND})
    assert run(["drift", "raise", "orders-prod", "backdoor"]) == 0
    out = capsys.readouterr().out
    assert service.asked[-1][2] == {"account": "backdoor"}
    assert "muniment findings acknowledge fnd_dddddddd" in out
    assert "muniment drift remove orders-prod backdoor --finding fnd_dddddddd" in out


def test_the_last_look_is_told_without_a_new_one(service: FakeService) -> None:
    service.on("GET", "/v1/drift", told())
    assert run(["drift", "orders-prod", "--last"]) == 0
    assert [method for method, _, _ in service.asked] == ["GET"]


def test_a_target_that_is_as_the_log_says_is_said_to_be(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("POST", RESOURCE, {**told(), "removed": ["rmv_" + "e" * 26]})
    assert run(["drift", "orders-prod"]) == 0
    out = capsys.readouterr().out
    assert "it is as the log says" in out
    assert "seen gone, as was ordered: rmv_eeeeeeee" in out


def test_what_was_not_seen_is_never_called_clean(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    never = told(scan=None)
    erased = told()
    erased["resources"][0]["scan"].update(erased=True, forgotten=7)
    service.on("GET", "/v1/drift", never, erased)
    assert run(["drift"]) == 0
    assert "was never looked at: muniment drift orders-prod" in capsys.readouterr().out
    assert run(["drift"]) == 0
    out = capsys.readouterr().out
    assert "what was seen was erased" in out
    assert "7 accounts did not fit" in out
    assert "as the log says" not in out


def test_names_at_a_target_do_not_reach_into_the_terminal(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = difference(account="a\x1b[31m\u202e\nb", objects=["\x1b]0;x\x07"], count=12)
    service.on("POST", RESOURCE, told(hostile))
    run(["drift", "orders-prod"])
    out = capsys.readouterr().out
    assert not {"\x1b", "\u202e", "\x07"} & {*out}
    assert "and 11 more" in out


def test_what_is_unproven_is_listed_with_its_age(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {
        "case": CASE,
        "state": "expired",
        "requester": ANA,
        "resource": "orders-prod",
        "role": "readwrite",
        "over": START,
        "age": 300,
        "removal": "unverified",
        "reason": "target-unavailable",
        "troubles": ["`db:5432`: no answer"],
        "looked_at": UNTIL,
    }
    service.on("GET", "/v1/drift/unproven", {"cases": [row], "names": NAMES})
    assert run(["drift", "--unproven"]) == 1
    out = capsys.readouterr().out
    assert "no answer" in out
    assert "ana" in out
    assert run(["drift", "other", "--unproven"]) == 0
    assert "nothing is unproven" in capsys.readouterr().out


def test_an_account_is_adopted_in_one_command(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("POST", f"{RESOURCE}/finding", {"finding": FOUND})
    service.on("POST", f"/v1/findings/{FOUND}/closing", {"finding": FOUND})
    command = ["drift", "adopt", "orders-prod", "orders_app", "--owner", "bo", "--for", "90d"]
    assert run([*command, "--reason", "the shop"]) == 0
    (_, _, body) = service.asked[-1]
    assert (body["resolution"], body["owner"], body["reason"]) == ("adopted", "bo", "the shop")
    assert body["until"].endswith("Z")
    assert "orders_app is adopted" in capsys.readouterr().out


def test_an_account_is_explained_until_a_date(service: FakeService) -> None:
    service.on("POST", f"{RESOURCE}/finding", {"finding": FOUND})
    service.on("POST", f"/v1/findings/{FOUND}/closing", {"finding": FOUND})
    command = ["drift", "explain", "orders-prod", "batch", "--reason", "reports"]
    assert run(command) == 2  # an explanation without an end is none
    assert run([*command, "--for", "30d"]) == 0
    assert service.asked[-1][2]["resolution"] == "explained"


def test_a_removal_says_that_nothing_was_done_yet(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    statements = ['ALTER ROLE "backdoor" NOLOGIN;', 'DROP ROLE IF EXISTS "backdoor";']
    answer = {"removal": "rmv_" + "e" * 26, "statements": statements}
    service.on("POST", f"{RESOURCE}/removals", answer)
    command = ["drift", "remove", "orders-prod", "backdoor", "--finding", FOUND, "--reason", "x"]
    assert run(command) == 0
    out = capsys.readouterr().out
    assert "nothing was done at the target yet" in out
    assert all(each in out for each in statements)
    assert run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == answer


def test_what_was_new_at_the_last_look_is_known_since_then(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("GET", "/v1/drift", told(difference(since=None)))
    assert run(["drift"]) == 1
    out = capsys.readouterr().out
    when = out.partition("looked at ")[2].partition(":  ")[0].partition(" UTC")[0]
    assert out.count(f"{when} UTC") == 2
