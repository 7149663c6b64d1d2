"""The table in `docs/reference/authzen.md` names tests that exist, all of them, and every section."""

import ast
import re
from pathlib import Path

import pytest

from muniment.interfaces.http.authzen.profile import DRAFT

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PAGE = (ROOT / "docs" / "reference" / "authzen.md").read_text("utf-8")

#: sections of the two texts in which a word of RFC 2119 demands something
DEMANDING = {
    "Authorization API 1.0": """
        4 5.1 5.2 5.3 5.5 6.1 7.1.1 8.2 8.2.1 8.2.2 8.3 8.4.1 8.5.1 8.6.1 9.1.1 9.1.3 9.2 9.2.1
        9.2.2 9.2.3 10 10.1 10.1.1 10.1.3 11.1 11.3 12.3.2 12.4""",
    "Access Request and Approval Profile, draft 1": """
        4 5 6 7 7.1 8 9.1 9.2 9.3 9.4 9.5 9.6 10.1 10.2 11 11.1 11.3 11.4 12 13 14 15.1 15.2 15.3
        16 17 18 19 19.1 21.1.1 21.1.2 21.1.3 21.1.4 21.1.5 21.2.1 21.2.2 21.3.1 21.3.2 21.3.3
        21.3.4 21.4.1 21.4.2""",
}


def rows(text: str) -> list[tuple[list[str], str]]:
    """The sections and the last cell of each row under a heading."""
    part = PAGE.partition(f"## {text}\n")[2].partition("\n## ")[0]
    cells = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("| ")]
    return [(first.strip().split(", "), last) for first, _, last in cells[1:]]


def named() -> set[str]:
    return {name for text in DEMANDING for _, cell in rows(text) for name in names_in(cell)}


def names_in(cell: str) -> list[str]:
    return re.findall(r"`(test_\w+)`", cell)


def defined(*files: Path) -> set[str]:
    trees = [ast.parse(file.read_text("utf-8")) for file in files]
    return {
        node.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


@pytest.mark.parametrize("text", DEMANDING)
def test_every_section_that_demands_something_has_a_row(text: str) -> None:
    assert (
        set(DEMANDING[text].split()) - {number for numbers, _ in rows(text) for number in numbers}
        == set()
    )


@pytest.mark.parametrize("text", DEMANDING)
def test_every_row_names_a_test_or_a_reason(text: str) -> None:
    reasons = ("of ", "we ", "not offered", "every test", "`serve`")
    assert rows(text)
    for numbers, cell in rows(text):
        assert names_in(cell) or cell.strip().startswith(reasons), numbers


def test_every_test_that_is_named_exists() -> None:
    assert named() - defined(*ROOT.glob("tests/**/test_*.py")) == set()


def test_every_test_of_a_section_is_named() -> None:
    here = {name for name in defined(*HERE.glob("test_*.py")) if name.startswith("test_section_")}
    assert here - named() == set()


def test_the_page_says_of_which_day_the_draft_is() -> None:
    assert DRAFT in PAGE
