"""At which hours somebody does something, by their own clock."""

from collections import deque
from datetime import datetime, timedelta
from typing import Final

HOURS: Final = 24


class Habit:
    """A histogram of hours over a span of time and a number of the latest moments."""

    __slots__ = ("_counts", "_most", "_recent", "_span")

    def __init__(self, span: timedelta, most: int) -> None:
        self._span = span
        self._most = most
        self._recent: deque[tuple[datetime, int]] = deque()
        self._counts = [0] * HOURS

    def __len__(self) -> int:
        return len(self._recent)

    @property
    def last(self) -> datetime:
        return self._recent[-1][0]

    def add(self, at: datetime, hour: int) -> None:
        self._recent.append((at, hour))
        self._counts[hour] += 1
        while len(self._recent) > self._most or self._recent[0][0] < at - self._span:
            self._counts[self._recent.popleft()[1]] -= 1

    def knows(self, hour: int) -> bool:
        """Whether it was ever this hour, the one before, or the one after."""
        return any(self._counts[(hour + each) % HOURS] for each in (-1, 0, 1))
