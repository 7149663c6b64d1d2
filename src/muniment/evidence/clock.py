"""
The time rule: a wall clock is believed only while it agrees with the time elapsed since boot.

A wall clock that moves more than 5 s against elapsed time, or lies more than that before the last
record at start, stops granting until an operator records `clock:stepped`. Ends go on by elapsed
time.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from muniment.errors import ClockUnsteady

TOLERANCE = timedelta(seconds=5)


class SteadyClock:
    """A wall clock (`wall`, aware UTC) watched against `elapsed` (seconds that never step)."""

    def __init__(self, wall: Callable[[], datetime], elapsed: Callable[[], float]) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._base_wall, self._base_elapsed = wall(), elapsed()
        self._unsteady: str | None = None

    def start(self, last_record: datetime | None) -> None:
        """
        At start the last record of the log is the oldest that now can be.

        But for as much as clocks may differ: another node may have written it a moment ago.
        """
        now = self._wall()
        if last_record is not None and now < last_record - TOLERANCE:
            self._unsteady = f"the clock says {now:%H:%M:%S}, before the last record of the log"
            now = last_record
        self._base_wall, self._base_elapsed = now, self._elapsed()

    def now(self) -> datetime:
        """The wall clock's reading, UTC."""
        return self._wall().astimezone(UTC)

    def elapsed(self) -> float:
        """Seconds that never step."""
        return self._elapsed()

    def due(self) -> datetime:
        """The moment by which ends are judged: elapsed time's where the wall clock is doubted."""
        if self.trouble is None:
            return self.now()
        return self._by_elapsed()

    @property
    def trouble(self) -> str | None:
        """Why nothing is granted for the clock's sake; None while it is steady."""
        if self._unsteady is None:
            step = self._wall() - self._by_elapsed()
            if abs(step) > TOLERANCE:
                self._unsteady = f"the clock moved by {step.total_seconds():.1f} s on its own"
        return self._unsteady

    def check_steady(self) -> None:
        """Raises `ClockUnsteady` with the reason and the way out."""
        if (why := self.trouble) is not None:
            raise ClockUnsteady(
                f"{why}; nothing is granted until an operator runs `muniment clock accept`"
            )

    def accept(self) -> timedelta:
        """An operator vouches for the wall clock; returns by how much it had stepped."""
        step = self._wall() - self._by_elapsed()
        self._unsteady = None
        self._base_wall, self._base_elapsed = self._wall(), self._elapsed()
        return step

    def _by_elapsed(self) -> datetime:
        return self._base_wall + timedelta(seconds=self._elapsed() - self._base_elapsed)
