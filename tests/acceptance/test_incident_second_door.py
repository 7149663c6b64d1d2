"""One table is read by two doors, each with events of its own shape: both lead to one grant."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from acceptance.conftest import RESOURCE
from acceptance.incident_stage import Stage, lines_of, log_in, staged, until

pytestmark = [pytest.mark.target, pytest.mark.deep]

#: a program that reads tables for people, and logs it in words of its own
_EXPORTS: Final = """
[sources.exports-log]
kind = "file"
reader = "json"
resource = "{resource}"
path = "{path}"
expects = ["statement", "session.closed"]

[sources.exports-log.options]
time = "ms"
types = {{ "file-downloaded" = "statement" }}
[sources.exports-log.options.fields]
at = "when"
type = "what"
account = "db_user"
session = "job"
client = "from"
object = "file.table"
detail = "file.name"
"""
#: the configuration knows only one of these
_DONE: Final = ("file-previewed", "file-downloaded", "file-shared")


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exports") / "exports.log"
    path.touch()
    return path


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, exports: Path) -> Iterator[Stage]:
    settings = _EXPORTS.format(resource=RESOURCE, path=exports)
    with staged(tmp_path_factory.mktemp("second-door"), settings=settings) as made:
        until(lambda: made.headers(b'"exports-log"'), bool)
        yield made


@pytest.fixture(scope="module")
def story(stage: Stage, exports: Path) -> Any:
    """The table is read by a query, by COPY, as a prepared statement, and as a file."""
    case = stage.approved()
    credential = stage.json("credential", case)
    with log_in(credential) as session, exports.open("a") as log:
        session.execute("INSERT INTO orders VALUES (4711)")
        session.execute("SELECT * FROM orders")
        session.execute("SELECT id FROM orders WHERE id > %s", [0])
        with session.cursor() as cursor, cursor.copy("COPY orders TO STDOUT") as copied:
            rows = list(copied)
        for what in _DONE:
            told = {
                "when": time.time_ns() // 1_000_000,
                "what": what,
                "db_user": session.info.user,
                "job": "job-1",
                "from": "192.0.2.10",
                "file": {"table": "orders", "name": f"orders.csv, {len(rows)} rows"},
            }
            log.write(json.dumps(told) + "\n")
        log.write("what is no record at all\n")
    stage.json("end", case)

    def is_whole(answer: Any) -> bool:
        types = {line["type"] for line in lines_of(answer)}
        return "session.closed" in types and len(lines_of(answer, "exports-log")) == len(_DONE)

    return until(lambda: stage.json("show", case), is_whole)


def coverage(story: Any) -> dict[str, Any]:
    return {each["source"]: each for each in story["observed"]["coverage"]}


def test_both_doors_lead_to_the_same_grant_and_resource(story: Any) -> None:
    by_server = [each for each in lines_of(story) if "orders" in each["detail"]]
    assert [each["action"] for each in by_server] == ["INSERT", "SELECT", "SELECT", "COPY"]
    (by_file,) = [each for each in lines_of(story, "exports-log") if each["type"] == "statement"]
    assert (by_file["object"], by_file["detail"]) == ("orders", "orders.csv, 1 rows")
    for line in (*by_server, by_file):
        assert (line["account"], line["strength"]) == (story["account"], "strong")
        assert (line["type"], line["standing"]) == ("statement", "within")
    assert {each["resource"] for each in coverage(story).values()} == {RESOURCE}


def test_an_event_of_an_unknown_type_is_shown_and_counted(story: Any) -> None:
    """Whoever knows one door only must be able to see that there is another."""
    unknown = [each for each in lines_of(story, "exports-log") if each["type"] == "other"]
    assert len(unknown) == 2
    assert {line["object"] for line in unknown} == {"orders"}
    assert coverage(story)["exports-log"]["types"] == {"statement": 1, "other": 2}


def test_the_coverage_counts_every_event_that_came(story: Any) -> None:
    told = coverage(story)
    assert told.keys() == {"orders-log", "exports-log"}
    for source in told.values():
        assert sum(source["types"].values()) == source["received"] > 0
        assert (source["covers"], source["gaps"]) == (True, [])
    assert told["exports-log"]["rejected"] == 1  # not read, and not forgotten
    assert told["exports-log"]["never_came"] == ["session.closed"]


def test_whatever_was_rejected_is_counted_in_the_log(stage: Stage, story: Any) -> None:
    def rejected() -> int:
        batches = [json.loads(each) for each in stage.headers(b'"events:received"')]
        mine = [each["body"] for each in batches if each["body"]["source"] == "exports-log"]
        return sum(body["rejected"] for body in mine)

    assert until(rejected, bool) == 1


def test_the_terminal_tells_what_never_came(stage: Stage, story: Any) -> None:
    shown = stage.muniment("show", story["case"]).stdout
    assert "orders.csv" in shown
    assert "COPY orders TO STDOUT" in shown
    assert "never came: session.closed" in shown
