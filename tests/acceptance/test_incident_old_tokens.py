"""A login older than any grant is used, and who used it deletes the target's own log."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import psycopg
import pytest

from acceptance.conftest import RESOURCE
from acceptance.incident_stage import Stage, by_hand, lines_of, log_in, said, staged, until

pytestmark = [pytest.mark.target, pytest.mark.deep]

_PASSWORD: Final = "stolen years ago, and still good"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """`etl` stood at the target before Muniment came: a superuser, as such logins often are."""
    old = f"CREATE ROLE etl LOGIN SUPERUSER PASSWORD '{_PASSWORD}'"
    with staged(tmp_path_factory.mktemp("old-tokens"), before=[old]) as made:
        yield made


@pytest.fixture(scope="module")
def first(stage: Stage) -> dict[str, Any]:
    """The first look at the target."""
    return looked_at(stage)


@pytest.fixture(scope="module")
def live(stage: Stage, first: dict[str, Any]) -> Any:
    """Somebody else's grant, under which something is done before the log is deleted and after."""
    credential = stage.json("credential", stage.approved())
    with log_in(credential) as session:
        session.execute("INSERT INTO orders VALUES (1)")
    case = credential["case"]
    until(lambda: lines_of(stage.json("show", case)), bool)
    return credential


@pytest.fixture(scope="module")
def deleted(stage: Stage, live: Any) -> None:
    """The attacker takes the orders, and then the traces."""
    log = stage.server.log_files()[0]
    with psycopg.connect(
        stage.server.address, user="etl", password=_PASSWORD, autocommit=True
    ) as session:
        session.execute("TABLE orders")
        session.execute(f"COPY (SELECT 1) TO PROGRAM 'truncate -s 0 {log}'".encode())
    with log_in(live) as session:
        session.execute("INSERT INTO orders VALUES (2)")


def looked_at(stage: Stage) -> dict[str, Any]:
    answer = stage.json("drift", RESOURCE, as_="admin")
    seen: dict[str, Any] = answer["resources"][0]
    return seen


def of_account(seen: dict[str, Any], account: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = [each for each in seen["differences"] if each["account"] == account]
    return found


def test_the_first_look_finds_the_old_login_and_that_nobody_answers_for_it(
    stage: Stage, first: dict[str, Any]
) -> None:
    assert first["scan"]["first"]
    found = of_account(first, "etl")
    assert (found["kind"], found["what"]) == ("privileged-account", "standing")
    (report,) = stage.findings("standing-access")
    assert (report["severity"], report["state"]) == ("info", "open")


def test_of_its_age_is_known_when_it_was_first_seen(stage: Stage, first: dict[str, Any]) -> None:
    """The target does not know more itself: that it was there before is all that can be said."""
    found = of_account(looked_at(stage), "etl")
    assert found["what"] == "standing"
    assert found["since"] is not None
    assert datetime.fromisoformat(found["since"]) <= datetime.fromisoformat(first["scan"]["at"])


def test_a_deleted_log_is_a_gap_of_the_record(stage: Stage, deleted: None) -> None:
    (missed,) = until(lambda: stage.headers(b'"events:missed"'), bool)
    body = json.loads(missed)["body"]
    assert (body["source"], body["why"]) == ("orders-log", "cursor")


def test_the_gap_is_told_beside_every_story_that_it_may_have_cut(
    stage: Stage, live: Any, deleted: None
) -> None:
    story = until(
        lambda: stage.json("show", live["case"]),
        lambda told: told["observed"]["coverage"][0]["gaps"],
    )
    (gap,) = story["observed"]["coverage"][0]["gaps"]
    assert gap["why"] == "cursor"
    shown = stage.muniment("show", live["case"])
    assert "it went on elsewhere than it was left" in shown.stdout


def test_what_was_read_before_stays_and_what_comes_after_is_read(
    stage: Stage, live: Any, deleted: None
) -> None:
    def is_whole(lines: Any) -> bool:
        return sum("VALUES (2)" in each["detail"] for each in lines) == 1

    lines = until(lambda: lines_of(stage.json("show", live["case"])), is_whole)
    assert any("VALUES (1)" in each["detail"] for each in lines)


def test_what_the_target_has_no_more_can_be_proved(stage: Stage, live: Any, deleted: None) -> None:
    assert "VALUES (1)" not in stage.server.log_files()[0].read_text()
    proved = stage.proved_events("--case", live["case"])
    assert any("VALUES (1)" in each["text"] for each in proved)


def test_the_gap_is_raised(stage: Stage, deleted: None) -> None:
    (finding,) = stage.findings("control-changed", "lost records")
    assert (finding["severity"], finding["state"]) == ("medium", "open")


def test_that_the_target_is_told_to_log_less_is_raised(stage: Stage, deleted: None) -> None:
    by_hand(stage.server, "ALTER SYSTEM SET log_statement = 'none'", "SELECT pg_reload_conf()")
    (finding,) = stage.findings("control-changed", f"`{RESOURCE}` logs was changed")
    assert finding["severity"] == "high"
    assert "log_statement" in said(finding)["detail"]
