"""
What a review may still record, so that one bundle holds all of it in the end.

A bundle holds so many records and no more: each that hands in verdicts, and each that shows that
something was taken away. Whoever hands in one verdict after the other, of a review of very many
items, is told to hand in more at once long before it is too late.
"""

import json
from collections.abc import Iterable
from typing import Final

from muniment.access.campaign_check import Replayed
from muniment.access.campaign_items import TAKEN, lines_of, unpacked
from muniment.errors import Conflict
from muniment.evidence.bundle import MAX_RECORDS

#: from so many records on, so many items are handed in at once, or all that somebody has left
LONG: Final = MAX_RECORDS // 5
FEWEST: Final = 100
#: from so many on what was decided stands, and nothing is handed on: each record is a step forward
LONGEST: Final = 3 * MAX_RECORDS // 10
#: records by which it is shown that something was taken away
MOST_TAKEN: Final = 4 * MAX_RECORDS // 10


def check_handed_in(found: Replayed, reviewer: str, numbers: Iterable[int]) -> None:
    """Raises `Conflict` where this has to come with more, or comes too late."""
    length, given = found.campaign.length, {*numbers}
    if length < LONG:
        return
    waiting = {item.number for item in found.items.open if item.reviewer == reviewer}
    if length >= LONGEST and given - waiting:
        raise Conflict(f"{_so_long(length)}: what was decided stands")
    if len(given) < FEWEST and waiting - given:
        raise Conflict(_more(length))


def check_handed_on(found: Replayed, numbers: Iterable[int]) -> None:
    """Raises `Conflict` likewise, for items that somebody else is to look at."""
    length, given = found.campaign.length, {*numbers}
    if length >= LONGEST:
        raise Conflict(f"{_so_long(length)}: no item is handed on any more")
    if length < LONG or len(given) >= FEWEST:
        return
    waiting = found.items.open
    whose = {item.reviewer for item in waiting if item.number in given}
    if any(item.reviewer in whose and item.number not in given for item in waiting):
        raise Conflict(_more(length))


def check_taken(found: Replayed, numbers: Iterable[int]) -> None:
    """Raises `Conflict` where so much would be taken away that no bundle could show it."""
    items = found.items.items
    before = {
        item.number for item in items if item.said is not None and item.said.verdict == "revoke"
    }
    wanted = before | {number for number in numbers if 0 <= number < len(items)}
    # NOTE: of what somebody may ask for, what he holds under it ends as well: one is reckoned with
    records = sum(
        1 + (item.what == "access")
        for item in (items[number] for number in wanted)
        if item.live and item.what in TAKEN
    )
    if records > MOST_TAKEN:
        raise Conflict(
            f"one review takes away what at most {MOST_TAKEN:,} records show, as its bundle holds "
            f"no more than {MAX_RECORDS:,} in all: revoke the rest in another one"
        )


def check_silence(sheets: Iterable[bytes]) -> None:
    """
    Raises `Conflict` where silence would take away so much that no bundle could show it.

    In a thread of its own: it takes a while.
    """
    lines = (json.loads(line) for sheet in sheets for line in lines_of(unpacked(sheet)))
    records = sum(
        1 + len(line.get("held", ())) for line in lines if line["live"] and line["what"] in TAKEN
    )
    if records > MOST_TAKEN:
        raise Conflict(
            f"if nobody looked, {records:,} records would have to show what was taken away, and "
            f"one bundle holds {MAX_RECORDS:,} in all: name fewer `resources`, or "
            '`silence = "none"`'
        )


def _more(length: int) -> str:
    return f"{_so_long(length)}: hand in at least {FEWEST} items at once, or all that you have left"


def _so_long(length: int) -> str:
    return f"this review has {length:,} records already, and its bundle holds {MAX_RECORDS:,}"
