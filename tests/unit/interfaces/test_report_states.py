"""What a control came to, in words: one that was tested in part does not look tested."""

import re
from typing import Any

import pytest

from muniment.evidence import excerpt, merkle
from muniment.evidence.checkpoint import Checkpoint, sign
from muniment.evidence.excerpt import Heading
from muniment.evidence.excerpt_proof import verify_excerpt
from muniment.interfaces.cli.report_page import came_to, page
from muniment.oversight import control_map, report
from muniment.oversight.controls import TESTS
from muniment.oversight.report import Counting
from muniment.testing.written_year import WrittenYear

MAP = control_map.parse(control_map.shipped(), TESTS)
#: of nothing wrong, and of no record that could show whether all readings are recorded
PARTLY, WHOLE, NONE = "A.5.28", "A.5.15", "A.8.17"


@pytest.fixture(scope="module")
def value() -> Any:
    year, counting = WrittenYear(grants=20, days=20), Counting()
    entries = list(year.entries())
    root = merkle.root([merkle.leaf_hash(each) for each in entries])
    note = sign(Checkpoint(year.key.verifier.name, len(entries), root), year.key)
    whole = excerpt.write(
        Heading(checkpoint=note), len(entries), enumerate(entries), lambda _level, _index: b""
    )
    proved = verify_excerpt(whole, year.key.verifier, see=counting.take)
    made = report.build(
        counting, proved, MAP, MAP.frameworks["iso27001"], start=year.start, stop=year.stop
    )
    return made | {"attached": {}, "documents_missing": 0, "program": "1"}


def control(value: Any, id_: str) -> Any:
    return next(each for each in value["controls"] if each["id"] == id_)


def test_a_control_that_was_tested_in_part_says_how_many_of_its_tests_were(value: Any) -> None:
    assert came_to(control(value, PARTLY)) == "no exception in 3 of 4 tests"
    assert came_to(control(value, WHOLE)) == "no exception"
    assert came_to(control(value, NONE)) == "not tested"


def test_the_page_says_of_each_control_how_many_of_its_tests_had_nothing_to_test(
    value: Any,
) -> None:
    found = r"<article id=\"c-(.*?)\">(.*?)</article>"
    articles = re.findall(found, page(value, "0" * 64), re.DOTALL)
    said = {id_: "had nothing to test" in text for id_, text in articles}
    for each in value["controls"]:
        assert said[each["id"].replace(".", "-")] == bool(each["untested"]), each["id"]


def test_the_page_counts_controls_that_were_tested_in_part_apart(value: Any) -> None:
    states = [each["state"] for each in value["controls"]]
    assert states.count("partly")
    for state in ("satisfied", "exceptions", "partly", "not-tested"):
        assert f'<li class="{state}"><b>{states.count(state)}</b>' in page(value, "0" * 64)
    assert states.count("partly") * 2 == page(value, "0" * 64).count('<span class="badge partly">')
