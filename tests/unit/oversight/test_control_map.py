"""Every row of the control map has a source, tests that exist, and says what it cannot show."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from muniment.errors import Malformed
from muniment.oversight import control_map
from muniment.oversight.controls import TESTS

SHIPPED = control_map.shipped()
KNOWN = control_map.parse(SHIPPED, TESTS)
ROWS = [(framework, row) for framework in KNOWN.frameworks.values() for row in framework.controls]

#: how ids of each publication are written
FORMS = {
    "soc2": r"CC\d\.\d",
    "iso27001": r"A\.[5-8]\.\d{1,2}",
    "pci": r"\d{1,2}(\.\d){1,3}",
    "nistcsf2": r"(GV|ID|PR|DE|RS|RC)\.[A-Z]{2}-\d\d",
    "owasp-nhi": r"NHI\d{1,2}:2025",
    "ai-rmf": r"(GOVERN|MAP|MEASURE|MANAGE) \d\.\d{1,2}",
}

TEXT = """
[frameworks.own]
title = "T"
publication = "P"
publisher = "X"
checked = "text"
against = "A"
[[frameworks.own.controls]]
id = "1"
where = "W"
words = "w"
tests = ["ended-in-time"]
covers = "c"
cannot = "n"
"""


def test_the_frameworks_are_those_that_were_promised() -> None:
    assert list(KNOWN.frameworks) == list(FORMS)


@pytest.mark.parametrize(("framework", "row"), ROWS, ids=lambda each: getattr(each, "id", None))
def test_every_row_has_an_id_a_source_and_both_statements(
    framework: control_map.Framework, row: control_map.Control
) -> None:
    assert re.fullmatch(FORMS[framework.id], row.id)
    assert row.where
    assert framework.publication
    assert framework.against
    assert row.covers != row.cannot
    assert len(row.words.split()) <= 20, "a text of others is not shipped"
    assert set(row.tests) <= TESTS.keys()


def test_no_row_claims_more_than_was_tested() -> None:
    said = " ".join(f"{row.words} {row.covers} {row.cannot}" for _, row in ROWS).lower()
    for word in ("complian", "certif", "conform", "guarantee", "satisfies"):
        assert word not in said


def test_every_test_speaks_to_some_control() -> None:
    assert {id_ for _, row in ROWS for id_ in row.tests} == TESTS.keys()


def test_every_test_is_documented_with_what_it_means() -> None:
    page = (Path(__file__).parents[3] / "docs/how-to/reports.md").read_text("utf-8")
    for test in TESTS.values():
        assert f"| `{test.id}` | {test.title} | {test.counts} |" in page


def test_what_could_not_be_read_is_not_said_to_have_been() -> None:
    assert {each.id for each in KNOWN.frameworks.values() if each.checked == "title"} == {
        "iso27001"
    }


def test_further_frameworks_can_be_added() -> None:
    found = control_map.parse(SHIPPED + TEXT.encode(), TESTS)
    assert found.frameworks["own"].controls[0].tests == ("ended-in-time",)
    assert found.digest != KNOWN.digest


def test_the_file_is_plain_toml() -> None:
    assert tomllib.loads(SHIPPED.decode())["frameworks"].keys() == FORMS.keys()


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (replaced('cannot = "n"', ""), "has not exactly"),
        (replaced('against = "A"', ""), "has not exactly"),
        (replaced('covers = "c"', 'covers = " "'), "`covers` is no text"),
        (replaced("ended-in-time", "no-such-test"), "which there is not"),
        (replaced('["ended-in-time"]', '["ended-in-time", "ended-in-time"]'), "no list"),
        (replaced('checked = "text"', 'checked = "believed"'), "`checked` is one of"),
        (replaced("frameworks.own]", 'frameworks."O\\n"]'), "has no controls|no name|not exactly"),
        (replaced('words = "w"', 'words = "w\\u202e"'), "`words` is no text"),
        (replaced('words = "w"', f'words = "{"w" * 401}"'), "longer than"),
        (replaced("[frameworks.own]", "[other]\n[frameworks.own]"), "and nothing else"),
        (lambda text: text + TEXT.split('against = "A"\n')[1], "twice"),
        (lambda text: text + "]", "cannot be read"),
        (lambda _text: "frameworks = 1", "nothing else"),
    ],
)
def test_a_row_that_lacks_something_is_refused(change: Callable[[str], str], said: str) -> None:
    with pytest.raises(Malformed, match=said):
        control_map.parse(change(TEXT).encode(), TESTS)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"a = " + b"[" * 5000, b"#" * (2 << 20)])
def test_what_is_no_map_costs_nothing_but_its_own_refusal(data: bytes) -> None:
    with pytest.raises(Malformed):
        control_map.parse(data, TESTS)
