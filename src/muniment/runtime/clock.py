"""The only place where a clock is read."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    return datetime.now(UTC)


def elapsed() -> float:
    """Seconds since boot; goes on while the machine sleeps, where the system can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


def give_way() -> None:
    """Let another thread have the interpreter, if one wants it."""
    time.sleep(0)
