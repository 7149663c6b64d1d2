"""
How long somebody looked at items of a review: from when they were shown to him, to his answer.

The service says what it showed in words that only it can make, over who saw which items of which
review at which moment; they come back with the answer. So time counts for the items that were
shown, for nobody else, and once: what was counted for one answer is counted for no later one.
"""

import hmac
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from itertools import groupby
from typing import Final

from muniment.operations.service import Caller, Service

#: bytes of what is handed back: of the items of one answer, each on a page of its own
MOST: Final = 100_000
_DOMAIN: Final = b"muniment-shown/v1"


def shown(service: Service, caller: Caller, case: str, numbers: Iterable[int]) -> str:
    """That these items are shown to somebody now; empty where none are."""
    named = _ranges(numbers)
    if not named:
        return ""
    at = str(_now(service))
    return f"{at}.{named}.{_mac(service, caller, case, at, named)}"


def seconds_looked(
    service: Service,
    caller: Caller,
    case: str,
    items: Sequence[int],
    said: str,
    since: datetime | None,
) -> list[int]:
    """
    For each of these items: its part of the time, and no more than it was before his eyes.

    0 for what nothing of ours says was shown. `since` his last answer: time before it is counted.
    """
    now, counted = _now(service), 0 if since is None else _milliseconds(since)
    at = dict[int, int]()
    for moment, numbers in _read(service, caller, case, said[:MOST]):
        for number in numbers:
            at[number] = max(moment, counted, at.get(number, 0))
    longest = [max(0, now - at[item]) // 1000 if item in at else 0 for item in items]
    seen = sum(item in at for item in items)
    if not seen:
        return longest
    each, more = divmod(max(longest), seen)
    parts = list[int]()
    for item, most in zip(items, longest, strict=True):
        part = min(most, each + (more > 0)) if item in at else 0
        more -= part > each
        parts.append(part)
    return parts


def _read(
    service: Service, caller: Caller, case: str, said: str
) -> Iterator[tuple[int, list[int]]]:
    """What of it is in our words: when which items were shown."""
    for word in said.split():
        at, _, rest = word.partition(".")
        named, _, mac = rest.partition(".")
        right = _mac(service, caller, case, at, named)
        if hmac.compare_digest(mac.encode("utf-8", "replace"), right.encode()):
            yield int(at), _numbers(named)


def _mac(service: Service, caller: Caller, case: str, at: str, named: str) -> str:
    """Also of the lines: which ones the numbers name is fixed by the case."""
    words = (case, caller.principal.id, at, named)
    over = b"\0".join((_DOMAIN, *(word.encode("utf-8", "replace") for word in words)))
    return hmac.digest(service.sealing_key, over, sha256)[:16].hex()


def _ranges(numbers: Iterable[int]) -> str:
    """As `0-3,7`."""
    runs = groupby(enumerate(sorted({*numbers})), key=lambda each: each[1] - each[0])
    ends = ([number for _, number in run] for _, run in runs)
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in ends)


def _numbers(named: str) -> list[int]:
    found = list[int]()
    for run in named.split(","):
        first, _, last = run.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _now(service: Service) -> int:
    return _milliseconds(service.now())


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
