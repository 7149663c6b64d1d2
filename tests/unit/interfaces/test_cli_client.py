"""The everyday commands as a person runs them, against a service that is a script."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_service import ANA, BO, CASE, ISSUED, NAMES, UNTIL, FakeService, case, decision, problem

from muniment.interfaces.cli.api import Api
from muniment.interfaces.cli.main import run
from muniment.ports import CaseRow


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService()
    monkeypatch.setattr(Api, "from_environment", fake.api)
    monkeypatch.setattr("time.sleep", lambda _: None)
    return fake


def test_a_denial_names_the_rule_its_place_and_its_words_and_exits_with_1(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on_ask(case(state="denied", waits_for={}), decision=decision("deny"))
    assert run(["request", "orders", "readwrite", "--reason", "x"]) == 1
    said = capsys.readouterr().out
    assert "ana may not request: forbid.x (The title of forbid.x)" in said
    assert "forbid.x  policies/10.cedar:3" in said
    assert "forbid (principal, action, resource);" in said
    assert "recorded as mun_cccccccc" in said


def test_a_pending_request_names_who_can_approve(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on_ask(case(), decision=decision("needs_approvals"))
    assert run(["request", "orders", "readwrite", "--reason", "x", "--for", "1h30m"]) == 0
    said = capsys.readouterr().out
    assert "can approve  bo" in said
    assert "muniment approve mun_cccccccc" in said
    asked = next(body for _, path, body in service.asked if path == "/access/v1/requests")
    assert asked["context"]["seconds"] == 5400


def test_more_is_asked_for_where_access_is_there_already(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on_ask(case(), decision=decision("needs_approvals"))
    service.on("POST", "/access/v1/evaluation", {"decision": True, "context": {}})
    service.on("POST", "/v1/cases", case(decision=decision("needs_approvals")))
    assert run(["request", "orders", "readwrite", "--reason", "x"]) == 0
    assert "can approve  bo" in capsys.readouterr().out
    asked = next(body for _, path, body in service.asked if path == "/v1/cases")
    assert (asked["resource"], asked["role"], asked["reason"]) == ("orders", "readwrite", "x")


def test_a_request_that_nobody_could_approve_says_so(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on_ask(case(could_approve=[]), decision=decision("needs_approvals"))
    run(["request", "orders", "readwrite", "--reason", "x"])
    assert "nobody: ask who runs Muniment" in capsys.readouterr().out


def test_waiting_ends_with_the_decision_and_its_exit_code(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on_ask(case(), case(), case(state="refused", closed=True, waits_for={}))
    assert run(["request", "orders", "readwrite", "--reason", "x", "--wait"]) == 1
    assert "refused" in capsys.readouterr().out


def test_looks_at_a_waiting_case_become_rarer_up_to_ten_seconds(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    service.on_ask(*[case()] * 20, case(state="approved", waits_for={}))
    assert run(["request", "orders", "readwrite", "--reason", "x", "--wait"]) == 0
    assert (pauses[0], pauses[-1]) == (2.0, 10.0)
    assert pauses == sorted(pauses)


def test_a_length_that_is_none_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["request", "orders", "readwrite", "--reason", "x", "--for", "soon"]) == 2
    assert "write for example 30m" in capsys.readouterr().err


@pytest.mark.parametrize("case_id", ["nonsense", "mun_x/../y", "..", "mun_0", ""])
def test_what_is_no_case_id_never_reaches_the_service(service: FakeService, case_id: str) -> None:
    assert run(["show", case_id]) == 2
    assert service.asked == []


def test_a_denied_approval_shows_the_recorded_rule(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    denied = decision("deny", why=[f"{ANA} may not approve: forbid.x (No)"])
    line = {
        "id": f"{CASE}/2",
        "index": 9,
        "kind": "decision:evaluated",
        "sections": {"decision": denied},
    }
    service.on("POST", f"/v1/cases/{CASE}/approval", problem(403, f"{ANA} may not approve"))
    service.on("GET", f"/v1/cases/{CASE}", case(timeline=[line]))
    assert run(["approve", CASE]) == 1
    said = capsys.readouterr().out
    assert "ana may not approve: forbid.x" in said
    assert "policies/10.cedar:3" in said


def test_a_refusal_of_the_service_speaks_of_the_reader_as_you(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("GET", "/v1/overdue", problem(403, f"{ANA} may not operate: no rule permits it"))
    service.on("GET", "/v1/whoami", {"principal": ANA})
    assert run(["overdue"]) == 1
    assert capsys.readouterr().err == "muniment: you may not operate: no rule permits it\n"


def test_a_service_that_is_away_is_exit_code_3(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("GET", "/v1/whoami", httpx.ConnectError("refused"))
    assert run(["whoami"]) == 3
    assert "no answer from http://muniment" in capsys.readouterr().err


def test_what_is_not_muniment_is_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>"))
    monkeypatch.setattr(
        Api, "from_environment", lambda: Api("http://other", "token", transport=other)
    )
    assert run(["whoami"]) == 3
    assert "is not Muniment" in capsys.readouterr().err


def test_no_token_is_refused_with_the_way_to_get_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MUNIMENT_TOKEN", raising=False)
    monkeypatch.delenv("MUNIMENT_TOKEN_FILE", raising=False)
    assert run(["whoami"]) == 1
    assert "muniment token create" in capsys.readouterr().err


def test_credential_prints_lines_that_a_shell_can_evaluate(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("POST", f"/v1/cases/{CASE}/credential", ISSUED)
    assert run(["credential", CASE]) == 0
    said = capsys.readouterr()
    assert "export PGHOST=db\n" in said.out
    assert """export PGPASSWORD='it'"'"'s secret'\n""" in said.out
    assert "secret" not in said.err


def test_credential_as_pgpass_escapes_what_would_part_its_fields(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("POST", f"/v1/cases/{CASE}/credential", ISSUED)
    assert run(["credential", CASE, "--format", "pgpass"]) == 0
    assert capsys.readouterr().out == f"db:5432:or\\:ders:{CASE}:it's secret\n"


def test_a_receipt_is_kept_and_nothing_is_written_over(
    service: FakeService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.on("POST", f"/v1/cases/{CASE}/credential", ISSUED)
    receipt = tmp_path / "receipt"
    assert run(["credential", CASE, "--receipt", str(receipt)]) == 0
    assert receipt.read_text() == ISSUED["receipt"]
    assert run(["credential", CASE, "--receipt", str(receipt)]) == 1
    assert len(service.asked) == 1
    assert "exists already" in capsys.readouterr().err


def test_a_pick_up_that_today_is_no_longer_borne_exits_with_1(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = case(credential=None, decision=decision("needs_approvals"))
    service.on("POST", f"/v1/cases/{CASE}/credential", answer)
    assert run(["credential", CASE]) == 1
    said = capsys.readouterr()
    assert said.out == "false\n", "so that what a shell evaluates fails there too"
    assert "today's policy" in said.err


def test_an_end_that_was_not_seen_exits_with_1(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    unseen = case(state="ended", removal="unverified", starts="x", until=UNTIL)
    service.on("POST", f"/v1/cases/{CASE}/end", unseen)
    assert run(["end", CASE]) == 1
    assert "could not be seen gone" in capsys.readouterr().out


def test_a_denied_extension_exits_with_1(service: FakeService) -> None:
    answer = {**ISSUED, "decision": decision("deny")}
    service.on("POST", f"/v1/cases/{CASE}/extension", answer)
    assert run(["extend", CASE, "--for", "45m", "--reason", "more"]) == 1


def test_overdue_grants_are_exit_code_1(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"case": CASE, "state": "expired", "requester": ANA, "resource": "orders"}
    late = {**row, "role": "readwrite", "until": "2020-01-01T00:00:00.000Z"}
    service.on("GET", "/v1/overdue", {"cases": [late], "names": NAMES})
    assert run(["overdue"]) == 1
    assert "mun_cccccccc" in capsys.readouterr().out


def row(letter: str, state: str, *, closed: bool) -> dict[str, Any]:
    """A line of the list, as the service has it."""
    return {
        **vars(
            CaseRow(
                case=f"mun_{letter * 26}",
                kind="access",
                state=state,
                requester=BO,
                resource="orders",
                role="readwrite",
                groups=(),
                marked=False,
                opened_at="2026-11-21T10:00:00.000Z",
                changed_at="2026-11-21T10:00:00.000Z",
                until=None,
                about="",
                records=3,
                closed=closed,
            )
        )
    }


def test_list_follows_pages_up_to_its_limit(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row(letter, "denied", closed=True) for letter in "abcd"]
    pages = [{"cases": rows[n : n + 2], "next": rows[n + 1]["case"]} for n in (0, 2)]
    service.on("GET", "/v1/cases", *[{**page, "names": NAMES} for page in pages])
    assert run(["list", "--limit", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["case"] for row in told["cases"]] == [row["case"] for row in rows[:3]]
    assert told["next"] == rows[2]["case"]


def test_list_says_of_access_that_is_over_whether_it_was_seen_gone(
    service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row("a", "ended", closed=True), row("b", "revoked", closed=False)]
    service.on("GET", "/v1/cases", {"cases": rows, "next": None, "names": NAMES})
    assert run(["list"]) == 0
    (gone,) = [each for each in capsys.readouterr().out.splitlines() if "not yet seen gone" in each]
    assert gone.startswith("mun_bbbbbbbb")


def test_reviews_are_answered_by_the_case_that_they_are_about(service: FakeService) -> None:
    row = {"case": "mun_" + "d" * 26, "about": CASE, "state": "open"}
    service.on("GET", "/v1/reviews", {"reviews": [row], "names": {}})
    service.on("POST", f"/v1/reviews/{row['case']}/answer", case(state="ended"))
    assert run(["reviews", "answer", CASE[:10], "--verdict", "justified"]) == 0


def test_whois_refuses_to_look_for_nothing(service: FakeService) -> None:
    assert run(["whois", " "]) == 2
    assert service.asked == []
