"""Whether the evidence itself was kept as it should be."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from muniment.oversight.controls.control_test import (
    Examined,
    Fault,
    Result,
    control_test,
    length,
)
from muniment.oversight.controls.history import SILENCE

#: between two indexes of cases
INDEX: Final = timedelta(hours=48)
#: without a quorum of witnesses
UNWITNESSED: Final = timedelta(hours=24)
_HOUR: Final = 3600


@control_test(
    "log-never-silent",
    f"The log was never silent for more than {length(SILENCE.total_seconds())}",
    "hours of the period",
)
def log_never_silent(examined: Examined) -> Result:
    inside = [
        (since, until)
        for since, until in examined.history.silences
        if until > examined.start and since < examined.stop
    ]
    hours = int((examined.until - _begin(examined)).total_seconds() // _HOUR)
    if hours <= 0:
        return Result(because="the period has not begun, or the log was not yet there")
    faults = tuple(
        Fault(_at(since), f"silent for {length((until - since).total_seconds())}")
        for since, until in inside
    )
    return Result(tested=max(hours, len(faults)), faults=faults)


@control_test(
    "cases-indexed",
    f"An index of all cases was recorded at least every {INDEX.total_seconds() / _HOUR:.0f} hours",
    "indexes of cases",
)
def cases_indexed(examined: Examined) -> Result:
    indexed = examined.history.indexed
    inside = [at for at in indexed if examined.is_inside(at)]
    # the newest of before the period tells how it began; a log that began in it had none
    before = [at for at in indexed if at < examined.start][-1:] or [_begin(examined)]
    faults = _gaps([*before, *inside, examined.until], INDEX, "no index for")
    tested = max(len(inside), len(faults))
    because = "" if tested else f"the log did not run for {length(INDEX.total_seconds())} in it"
    return Result(tested=tested, faults=faults, because=because)


@control_test(
    "log-witnessed",
    "A quorum of witnesses cosigned the log, but for at most a day at a time",
    "times with and without a quorum",
)
def log_witnessed(examined: Examined) -> Result:
    witnessed = examined.history.witnessed
    inside = [each for each in witnessed if examined.is_inside(each[0])]
    # what was so when the period began was said before; where nothing was, there was no quorum
    before = [each for each in witnessed if each[0] < examined.start][-1:]
    if not (before or inside) or examined.until <= examined.start:
        return Result(because="no witness was asked in this period")
    known = [*(before or [(_begin(examined), False)]), *inside]
    ends = [*(at for at, _ in known[1:]), examined.until]
    faults = tuple(
        Fault(_at(since), f"no quorum for {length((until - since).total_seconds())}")
        for (since, quorum), until in zip(known, ends, strict=True)
        if not quorum and until - since > UNWITNESSED
    )
    return Result(tested=len(known), faults=faults)


@control_test(
    "reads-recorded",
    "Whoever carried evidence away is recorded",
    "exports and readings that are recorded",
)
def reads_recorded(examined: Examined) -> Result:
    count = examined.counted(examined.history.disclosed)
    return Result(
        not_applicable=count,
        because=f"a log cannot show a reading that it does not hold; {count:,} stand in it",
    )


def _begin(examined: Examined) -> datetime:
    """Of the period, or of a log that began in it."""
    return max(examined.start, examined.history.oldest or examined.start)


def _gaps(moments: list[datetime], most: timedelta, what: str) -> tuple[Fault, ...]:
    return tuple(
        Fault(_at(since), f"{what} {length((until - since).total_seconds())}")
        for since, until in pairwise(moments)
        if until - since > most
    )


def _at(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
