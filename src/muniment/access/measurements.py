"""
What a year of measurements of the evidence says in a proved bundle: in step 11.

They are one case, which is never closed. What was counted cannot be more than there was to count,
and the log that it was counted over only grows.
"""

from collections.abc import Sequence
from typing import Final

from muniment.access import records
from muniment.errors import FoldInvalid
from muniment.evidence.store import Entry

#: begins such a case
KIND: Final = records.EvidenceMeasured.KIND


def state(case: Sequence[Entry]) -> str:
    """How it stands, in one line. Raises `FoldInvalid`."""
    size, newest = -1, None
    for entry in case:
        record = records.parse(entry.header)
        if not isinstance(record, records.EvidenceMeasured):
            raise FoldInvalid(f"`{entry.header.id}` is no measurement")
        if not size <= record.size <= entry.index:
            raise FoldInvalid(f"`{entry.header.id}` was counted over no possible log")
        _check(entry.header.id, record.grants, record.weak, record.counts)
        _check(entry.header.id, record.recent_grants, record.recent_weak, record.recent)
        if record.recent_grants > record.grants:
            raise FoldInvalid(f"`{entry.header.id}` counts more recent grants than grants")
        size, newest = record.size, record
    if newest is None:
        raise FoldInvalid("a year without a measurement")
    counted = f"{len(case)} measurement{'' if len(case) == 1 else 's'} of the evidence"
    return f"{counted}, of the newest {newest.weak} of {newest.grants} grants weak"


def _check(id: str, grants: int, weak: int, counts: dict[str, int]) -> None:
    if not 0 <= weak <= grants or any(not 0 <= each <= grants for each in counts.values()):
        raise FoldInvalid(f"`{id}` counts more than there was, or less than nothing")
