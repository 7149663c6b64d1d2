"""A wall clock is believed while it agrees with the time that elapsed."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from muniment.errors import ClockUnsteady
from muniment.evidence.clock import SteadyClock

START = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Clocks:
    """A wall clock and a stopwatch that tests move."""

    def __init__(self) -> None:
        self.wall, self.elapsed = START, 1000.0
        self.steady = SteadyClock(lambda: self.wall, lambda: self.elapsed)

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds * SECOND
        self.elapsed += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def test_a_clock_that_goes_with_elapsed_time_is_believed(clocks: Clocks) -> None:
    for _ in range(100):
        clocks.pass_time(86400)
        clocks.steady.check_steady()
    assert clocks.steady.trouble is None
    assert clocks.steady.due() == clocks.steady.now() == START + timedelta(days=100)


@pytest.mark.parametrize("step", [5, -5, 4.999, 1])
def test_a_step_of_up_to_five_seconds_is_let_pass(step: float, clocks: Clocks) -> None:
    clocks.pass_time(60)
    clocks.wall += step * SECOND
    clocks.steady.check_steady()
    assert clocks.steady.due() == clocks.wall


@pytest.mark.parametrize("step", [5.01, -5.01, 3600, -86400])
def test_a_larger_step_stops_granting_and_says_the_way_out(step: float, clocks: Clocks) -> None:
    clocks.pass_time(60)
    clocks.wall += step * SECOND
    with pytest.raises(ClockUnsteady, match=f"moved by {step:.1f} s .*`muniment clock accept`"):
        clocks.steady.check_steady()


def test_small_steps_add_up(clocks: Clocks) -> None:
    for _ in range(5):
        clocks.wall += SECOND
        clocks.steady.check_steady()
    clocks.wall += SECOND
    with pytest.raises(ClockUnsteady, match=r"moved by 6\.0 s"):
        clocks.steady.check_steady()


def test_a_clock_that_comes_back_by_itself_is_not_believed_again(clocks: Clocks) -> None:
    clocks.wall += 60 * SECOND
    assert clocks.steady.trouble is not None
    clocks.wall -= 60 * SECOND
    with pytest.raises(ClockUnsteady):
        clocks.steady.check_steady()


@pytest.mark.parametrize("step", [3600, -3600])
def test_ends_go_on_by_elapsed_time(step: float, clocks: Clocks) -> None:
    clocks.pass_time(60)
    clocks.wall += step * SECOND
    clocks.pass_time(30)
    assert clocks.steady.due() == START + 90 * SECOND
    assert clocks.steady.now() == START + (90 + step) * SECOND


def test_an_operator_vouches_and_learns_by_how_much_the_clock_had_moved(clocks: Clocks) -> None:
    clocks.pass_time(60)
    clocks.wall -= 3600 * SECOND
    assert clocks.steady.trouble is not None
    assert clocks.steady.accept() == -3600 * SECOND
    clocks.steady.check_steady()
    assert clocks.steady.due() == clocks.wall
    clocks.pass_time(86400)
    clocks.steady.check_steady()
    clocks.wall += 6 * SECOND
    assert clocks.steady.trouble is not None


def test_a_clock_before_the_last_record_at_start_is_not_believed(clocks: Clocks) -> None:
    clocks.steady.start(START + timedelta(minutes=10))
    with pytest.raises(ClockUnsteady, match="says 10:00:00, before the last record of the log"):
        clocks.steady.check_steady()
    # ends are judged as if the last record had been written just now
    clocks.pass_time(30)
    assert clocks.steady.due() == START + timedelta(minutes=10, seconds=30)
    assert clocks.steady.accept() == timedelta(minutes=-10)
    clocks.steady.check_steady()


@pytest.mark.parametrize(
    "last",
    [None, START, START - timedelta(days=1), START + 5 * SECOND],
    ids=["none", "at", "long after", "hardly before"],
)
def test_a_clock_that_another_nodes_may_be_ahead_of_is_believed(
    last: datetime | None, clocks: Clocks
) -> None:
    clocks.steady.start(last)
    clocks.steady.check_steady()
    assert clocks.steady.due() == START


def test_what_passed_before_the_start_does_not_count(clocks: Clocks) -> None:
    """The clock may be set while the log is still being checked."""
    clocks.wall += 3600 * SECOND
    clocks.steady.start(START)
    clocks.steady.check_steady()


def test_a_suspended_machine_has_not_stepped_its_clock(clocks: Clocks) -> None:
    """Elapsed time goes on while it sleeps, so that both agree when it wakes."""
    clocks.pass_time(8 * 3600)
    assert clocks.steady.trouble is None


def test_the_reading_is_in_utc_whatever_zone_the_clock_is_in() -> None:
    zone = timezone(timedelta(hours=5))
    steady = SteadyClock(lambda: START.astimezone(zone), lambda: 1.0)
    assert steady.now() == START
    assert steady.now().tzinfo is UTC
    assert steady.elapsed() == 1.0
