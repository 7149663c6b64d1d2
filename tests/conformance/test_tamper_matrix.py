"""The page that says who refuses what is what they said, today."""

import pytest
import tamper_matrix
from judging import JUDGES, need_judge
from openssl_tsa import need_openssl

pytestmark = [
    pytest.mark.deep,
    pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning"),
]


def test_the_page_says_who_refused_what_in_this_run() -> None:
    need_openssl()
    for judge in JUDGES:
        need_judge(judge)
    page = tamper_matrix.page()
    assert page == tamper_matrix.PAGE.read_text("utf-8"), (
        "python tests/conformance/tamper_matrix.py --write"
    )


def test_whatever_is_accepted_shows_less_than_before() -> None:
    """Of the page itself: no change leaves the grade as it was."""
    page = tamper_matrix.PAGE.read_text("utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")][2:]
    accepted = [row[2] for row in rows if "accepted" in row[2]]
    assert len(accepted) == 6
    assert not [each for each in accepted if "WITNESSED 2/3, TIME-STAMPED" in each]
    assert not [row for row in rows if not "".join(row[2:]).strip(" |")], "nobody refuses it"
