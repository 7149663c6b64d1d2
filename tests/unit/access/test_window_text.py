"""Lengths of time as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.access import window
from muniment.errors import Malformed


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1d1h1m1s", 90_061),
        (" 15m ", 900),
        ("0s", 0),
        ("90m", 5400),
    ],
)
def test_people_write_lengths_of_time_like_this(text: str, seconds: int) -> None:
    assert window.seconds(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", " ", "30", "m", "30 m", "-5m", "1.5h", "30M", "1m1h", "5m5m", "PT30M", "half an hour",
     "٣٠m", "30m\n1h", "99999d", "1000000s"],
)  # fmt: skip
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Malformed, match="write for example 30m"):
        window.seconds(text)


@given(st.integers(0, 9999 * 86_400))
def test_what_is_written_is_read_back(seconds: int) -> None:
    assert window.seconds(window.text(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (60, "1m"), (5400, "1h30m"), (86_401, "1d1s")]
)
def test_the_shortest_way_is_written(seconds: int, text: str) -> None:
    assert window.text(seconds) == text
