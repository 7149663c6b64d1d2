"""The figures of a report."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from muniment.oversight.figures import Figures


@pytest.mark.parametrize(
    ("there", "shown"),
    [
        ((), []),
        (("2026-03",), ["2026-03"]),
        (("2026-02", "2025-11"), ["2025-11", "2025-12", "2026-01", "2026-02"]),
    ],
)
def test_no_month_is_left_out_between_the_first_and_the_last(
    there: tuple[str, ...], shown: list[str]
) -> None:
    figures = Figures(months={name: Counter(requests=3, grants=2) for name in there})
    examined: Any = SimpleNamespace(findings=list)
    months = figures.value(examined)["months"]
    assert [each["month"] for each in months] == shown
    assert sum(each["requests"] for each in months) == 3 * len(there)
    assert [each["month"] for each in months if each["grants"]] == sorted(there)
