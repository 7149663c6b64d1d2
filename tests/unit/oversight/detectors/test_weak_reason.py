"""A reason that says too little is told in words that are counted right."""

import pytest

from muniment.oversight.calendars import WorkingDays
from muniment.oversight.detectors.examples import request
from muniment.oversight.detectors.weak_reason import WeakReason
from muniment.oversight.fact import fact
from muniment.oversight.watch import Watch, replay


@pytest.mark.parametrize(
    ("letters", "words"), [(0, "has no letter"), (1, "has 1 letter"), (9, "has 9 letters")]
)
def test_the_letters_of_a_short_reason_are_counted_in_words(letters: int, words: str) -> None:
    asked = fact(request("2026-11-02T10:00:00Z", reason="d1", letters=letters))
    [hit] = replay([asked], Watch([WeakReason], {}, WorkingDays()), None)
    assert hit.summary.endswith(words)
