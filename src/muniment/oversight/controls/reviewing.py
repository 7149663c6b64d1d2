"""Whether reviews of many were held, were whole, and had consequences."""

from collections.abc import Callable
from typing import Final

from muniment.oversight.controls.control_test import (
    SKIP,
    Examined,
    Fault,
    Result,
    control_test,
)
from muniment.oversight.controls.history import Campaign

_NONE: Final = "no review of many was due in this period"
_OPEN: Final = "no review of many is closed yet"
_EMPTY: Final = "there was nothing to review: every review of many was of no items"


@control_test(
    "reviews-held",
    "Every review of many was closed by the time it was due",
    "reviews of many",
)
def reviews_held(examined: Examined) -> Result:
    def judge(campaign: Campaign) -> str | None:
        if campaign.closed is None:
            return "open after it was due" if campaign.due < examined.as_of else SKIP
        return "closed after it was due" if campaign.closed > campaign.due else None

    return _over(examined, judge, _NONE)


@control_test(
    "reviews-complete",
    "In every review of many somebody looked at each item",
    "reviews of many that were closed",
)
def reviews_complete(examined: Examined) -> Result:
    def judge(campaign: Campaign) -> str | None:
        if campaign.closed is None:
            return SKIP
        left = campaign.unreviewed
        return f"nobody looked at {left:,} of {campaign.items:,} items" if left else None

    return _over(examined, judge, _OPEN)


@control_test(
    "reviews-applied",
    "Whatever a review of many took away was seen to be gone by its end",
    "reviews of many that were closed",
)
def reviews_applied(examined: Examined) -> Result:
    def judge(campaign: Campaign) -> str | None:
        if campaign.closed is None:
            return SKIP
        left = campaign.outstanding
        return f"{left:,} decisions were outstanding" if left else None

    return _over(examined, judge, _OPEN)


def _over(examined: Examined, judge: Callable[[Campaign], str | None], skipping: str) -> Result:
    """`skipping` is said where there was something to review, and none could be tested."""
    tested = skipped = empty = 0
    faults: list[Fault] = []
    for case, campaign in examined.history.campaigns.items():
        on = campaign.resources
        if not examined.overlaps(campaign.opened, campaign.closed) or not (
            not on or any(examined.is_on(each) for each in on)
        ):
            continue
        # one of nothing counts as none
        why = judge(campaign) if campaign.items else SKIP
        empty += not campaign.items
        if why is SKIP:
            skipped += 1
            continue
        tested += 1
        if why is not None:
            faults.append(Fault(case, why))
    none = _NONE if not skipped else _EMPTY if empty == skipped else skipping
    because = "" if tested else none
    return Result(tested=tested, faults=tuple(faults), not_applicable=skipped, because=because)
