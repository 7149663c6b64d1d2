"""
What the records of a drift scan, or of an ordered removal, say in a proved bundle: in step 11.

Both are cases of one record and their closing. A removal is ordered by a human, after somebody else
had looked at the finding that it follows, and closed by a later scan of the same target: by that
scan alone it is known that the account is gone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from muniment.access import records
from muniment.errors import FoldInvalid
from muniment.evidence.record import Header
from muniment.evidence.store import Entry

#: kinds that begin such a case
KINDS: Final = (records.DriftScanned.KIND, records.RemovalOrdered.KIND)
#: the record, and its closing
_BOTH: Final = 2


def state(case: Sequence[Entry], shown: Mapping[bytes, Entry]) -> str:
    """How the case stands, in one line; `shown` has what its records follow. `FoldInvalid`."""
    first = records.parse(case[0].header)
    if len(case) > _BOTH or any(e.header.kind != records.CaseClosed.KIND for e in case[1:]):
        raise FoldInvalid(f"`{case[0].header.id}` is followed by more than its closing")
    if isinstance(first, records.DriftScanned):
        return _scanned(case, first)
    if isinstance(first, records.RemovalOrdered):
        return _ordered(case, first, shown)
    raise FoldInvalid(f"`{case[0].header.id}` is neither a scan nor an order")


def _scanned(case: Sequence[Entry], scan: records.DriftScanned) -> str:
    if len(case) < _BOTH:
        raise FoldInvalid(f"`{case[0].header.id}` is a scan that was not closed")
    if min(scan.accounts, scan.sessions, scan.privileges, *scan.differences.values(), 0) < 0:
        raise FoldInvalid(f"`{case[0].header.id}` counts less than nothing")
    found = sum(scan.differences.values())
    first = ", the first look at it" if scan.first else ""
    return f"drift scan of `{scan.resource}`: {found} differences, {scan.accounts} accounts{first}"


def _ordered(
    case: Sequence[Entry], order: records.RemovalOrdered, shown: Mapping[bytes, Entry]
) -> str:
    id, actor = case[0].header.id, order.actor
    if actor.type != "human" or order.person not in actor.persons:
        raise FoldInvalid(f"`{id}` was not ordered by the human whom it names")
    if not order.seconded or order.seconded in actor.persons:
        raise FoldInvalid(f"`{id}` was ordered by one alone")
    headers = [each.header for each in _followed(case[0], shown)]
    finding = [each for each in headers if each.case == order.about]
    if not finding or any(each.kind == records.FindingClosed.KIND for each in finding):
        raise FoldInvalid(f"`{id}` does not follow the open finding that it is about")
    if not any(_looked(each, order.seconded) for each in finding):
        raise FoldInvalid(f"`{id}` follows no look of whom it names at the finding")
    words = f"removal of an account on `{order.resource}` ordered by two"
    if len(case) < _BOTH:
        return f"{words}, not seen gone yet"
    _check_seen(case, order, shown)
    return f"{words}, seen gone"


def _looked(header: Header, person: str) -> bool:
    record = records.parse(header)
    said = isinstance(record, records.FindingAcknowledged | records.FindingAssigned)
    return said and person in record.actor.persons


def _check_seen(
    case: Sequence[Entry], order: records.RemovalOrdered, shown: Mapping[bytes, Entry]
) -> None:
    """A later scan of the same target stands behind the closing."""
    for each in _followed(case[1], shown):
        match records.parse(each.header):
            case records.DriftScanned(resource=order.resource, target=order.target):
                if each.index > case[0].index:
                    return
            case _:
                pass
    raise FoldInvalid(f"`{case[1].header.id}` follows no later scan of the target")


def _followed(entry: Entry, shown: Mapping[bytes, Entry]) -> Iterator[Entry]:
    for leaf in entry.header.follows:
        yield shown[leaf]
