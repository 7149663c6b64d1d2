"""What the log has of one source of events: a fold over the records of its case."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import zip_longest
from typing import Final

from muniment.access import records
from muniment.evidence.store import Entry

#: gaps that are remembered; all of them stand in the case
GAPS_KEPT: Final = 100


@dataclass(frozen=True, kw_only=True)
class SourceSeen:
    """What the log has of one source of events."""

    case: str
    resource: str
    #: when something of it was first recorded, and last
    since: datetime
    newest: datetime
    #: number of the next event that no record has yet
    next: int = 0
    #: records that could not be read
    rejected: int = 0
    #: the newest of what was missed, oldest first: when it was recorded, and the record
    gaps: tuple[tuple[datetime, records.EventsMissed], ...] = ()

    @property
    def is_silent(self) -> bool:
        """Whether nothing was heard of it since its silence was recorded."""
        return bool(self.gaps) and self.gaps[-1][1].why == "silence"

    def missed(
        self, start: datetime | None, end: datetime | None
    ) -> Iterator[tuple[datetime, records.EventsMissed]]:
        """
        The gaps of this time; None: of all time before or after.

        A silence goes on until something else of the source is recorded.
        """
        overs = [at for at, _ in self.gaps[1:]]
        for (at, gap), over in zip_longest(self.gaps, overs):
            last = over if gap.why == "silence" else at
            is_before = start is not None and last is not None and last < start
            is_after = end is not None and gap.since > end
            if gap.why != "resumed" and not is_before and not is_after:
                yield at, gap


def after(
    before: SourceSeen | None,
    entry: Entry,
    record: records.EventsReceived | records.EventsMissed,
) -> SourceSeen:
    """What is known once this record of the source is in the log."""
    at = entry.header.at
    known = before or SourceSeen(
        case=entry.header.case, resource=record.resource, since=at, newest=at
    )
    seen = replace(known, resource=record.resource, newest=at)
    if isinstance(record, records.EventsReceived):
        count, rejected = record.start + record.count, seen.rejected + record.rejected
        return replace(seen, next=count, rejected=rejected)
    return replace(seen, gaps=(*seen.gaps, (at, record))[-GAPS_KEPT:])
