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

    return _over(examined, judge)


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

    return _over(examined, judge)


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

    return _over(examined, judge)


def _over(examined: Examined, judge: Callable[[Campaign], str | None]) -> Result:
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
    none = _EMPTY if empty and empty == skipped else _NONE
    because = "" if tested else none
    return Result(tested=tested, faults=tuple(faults), not_applicable=skipped, because=because)
