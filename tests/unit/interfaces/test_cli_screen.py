"""What the commands of the client make of answers, in words and columns."""

from datetime import datetime, timezone

import click
import pytest
from fake_service import ANA, BO, NAMES, START, case, decision, rule

from muniment.interfaces.cli import screen, story

NOW = datetime(2026, 11, 21, 10, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("2026-11-21T10:00:40.000Z", "in 40s"),
        ("2026-11-21T10:29:50.000Z", "in 30m"),
        ("2026-11-21T17:59:00.000Z", "in 7h59m"),
        ("2026-11-24T11:10:00.000Z", "in 3d1h"),
        ("2026-11-21T09:57:00.000Z", "3m ago"),
        ("2026-11-21T10:00:00.000Z", "in 0s"),
    ],
)
def test_distances_are_as_exact_as_people_need(at: str, words: str) -> None:
    assert screen.distance(at, NOW) == words


def test_a_moment_of_another_day_has_its_day() -> None:
    assert screen.moment("2026-11-21T12:34:56.000Z", NOW) == "12:34 UTC"
    assert screen.moment("2026-11-22T12:34:56.000Z", NOW) == "22 Nov 12:34 UTC"


def test_a_moment_of_another_year_has_its_year() -> None:
    assert screen.until("2027-11-21T10:00:00.000Z", NOW) == "21 Nov 2027 10:00 UTC (in 365d)"
    assert screen.moment("2025-12-31T23:59:00.000Z", NOW) == "31 Dec 2025 23:59 UTC"


def test_typed_text_cannot_steer_the_terminal() -> None:
    typed = "fix\x1b[2J\x9b31m \u202egnihtemos\u202c\nnext\tline"
    assert screen.clean(typed) == "fix�[2J�31m �gnihtemos� next line"


def test_names_stand_for_ids_and_lengths_for_seconds() -> None:
    assert screen.sentence(NAMES, f"{ANA} may not breakGlass") == "ana may not break glass"
    asked = screen.sentence(NAMES, "7200 s asked, 3600 s allowed by require.prod")
    assert asked == "2h asked, 1h allowed by require.prod"


def test_a_principal_whose_name_was_erased_keeps_the_beginning_of_its_id() -> None:
    assert screen.who({ANA: None}, ANA) == "prn_aaaaaaaa…"


def test_colour_does_not_move_columns() -> None:
    rows = [(click.style("issued", fg="green"), "x"), ("ended", "y")]
    lines = [click.unstyle(line) for line in screen.table(("STATE", "N"), rows)]
    assert lines == ["STATE   N", "issued  x", "ended   y"]


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert screen.paint("issued", "green") == "issued"


def test_only_the_rules_that_a_denial_names_are_shown() -> None:
    denied = decision("deny", rules=[rule("forbid.x"), rule("forbid.x.y"), rule("permit.z")])
    assert [each["id"] for each in screen.decisive(denied)] == ["forbid.x"]


def test_a_denial_for_want_of_a_rule_shows_none() -> None:
    denied = decision("deny", why=[f"{ANA} may not request: no rule permits it"])
    assert screen.decisive(denied) == []


def test_an_invariant_has_no_file_and_its_text_is_not_shown() -> None:
    invariant = rule("muniment:actor-chain", file="muniment", line=0, text="// in code")
    denied = decision("deny", why=["x: muniment:actor-chain (Nobody)"], rules=[invariant])
    said = "\n".join(click.unstyle(line) for line in screen.denial(denied, NAMES))
    assert "muniment:actor-chain  built into Muniment" in said
    assert "// in code" not in said


def test_an_erased_reason_says_under_which_rule() -> None:
    fields = dict(screen.reason_fields({"erased": "gdpr-17"}))
    assert fields == {"reason": "ERASED under rule gdpr-17"}


def test_what_was_typed_about_a_ticket_is_called_a_claim() -> None:
    fields = dict(screen.reason_fields({"text": "fix", "ticket": "OPS-1", "incident": ""}))
    assert fields == {"reason": "fix", "claims": "ticket OPS-1 (typed, not looked up)"}


@pytest.mark.parametrize(("sponsor", "told"), [(BO, ["bo"]), (None, [])])
def test_a_case_names_the_human_for_whom_an_agent_asked(
    sponsor: str | None, told: list[str]
) -> None:
    actor = {"principal": ANA, "type": "agent", "sponsor": sponsor, "assurance": "session"}
    asked = {
        "index": 7,
        "kind": "access:requested",
        "at": START,
        "observed": None,
        "record": {
            "actor": actor,
            "resource": "orders",
            "role": "readwrite",
            "seconds": 1800,
            "emergency": False,
        },
        "sections": {},
    }
    printed = map(click.unstyle, screen.case_lines(case(timeline=[asked]), NOW))
    lines = [each.split() for each in printed]
    assert [line[2] for line in lines if line[:2] == ["acts", "for"]] == told


def test_what_sources_say_stands_in_the_columns_of_the_records() -> None:
    actor = {"principal": "service", "type": "service", "sponsor": None, "assurance": "service"}
    closed = {
        "index": 7,
        "kind": "case:closed",
        "at": START,
        "observed": None,
        "record": {"actor": actor, "records": 1},
        "sections": {},
    }
    line = {
        "at": START,
        "index": 9,
        "type": "error",
        "action": "x",
        "object": "",
        "detail": "",
        "failed": True,
        "standing": "within",
    }
    session = {
        "account": "mun_a",
        "source": "orders-log",
        "lines": [line],
        "events": 1,
        "strength": "strong",
    }
    besides = story.between({"sessions": [session], "around": [], "findings": []})
    shown = screen.case_lines(case(timeline=[closed]), NOW, besides)
    (legend, record, event) = (
        each for each in map(click.unstyle, shown) if "#" in each or "~" in each
    )
    assert legend.endswith("# is the entry in the log, ~ the one that proves a line of a source")
    assert record.index("muniment") == event.index("mun_a")
    assert "~" not in "\n".join(screen.case_lines(case(timeline=[closed]), NOW))


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("target-unavailable", "the target did not answer"),
        ("timeout", "the target took too long"),
        ("late", "the order reached the target after its deadline"),
        ("witnesses-missing", "too few witnesses have cosigned it"),
    ],
)
def test_why_a_credential_failed_is_told_in_words(reason: str, words: str) -> None:
    actor = {"principal": "service", "type": "service", "sponsor": None, "assurance": "service"}
    failed = {
        "index": 7,
        "kind": "credential:failed",
        "at": START,
        "observed": None,
        "record": {"actor": actor, "reason": reason},
        "sections": {},
    }
    printed = map(click.unstyle, screen.case_lines(case(timeline=[failed]), NOW))
    assert any(words in line for line in printed)
