"""
What an excerpt of the log shows of a period, held against the list of an archive.

The list says of which size of the log it was made. What was opened from there on is not in it: that
is told, and it can only be what came in the minutes in which the list was made.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from muniment.access import archive
from muniment.evidence.record import Header
from muniment.interfaces.verifier.folder import Opened

_OPENING: Final = ("access:requested", "finding:raised", "campaign:opened")
#: a list was made of the log as it was so long before its record, and no longer
_MAKING: Final = timedelta(minutes=10)


class PeriodShown:
    """Goes through what an excerpt shows: hand each entry to `see`."""

    def __init__(self, opened: Opened) -> None:
        self._record = opened.record
        self._listed = {each.case for each in opened.listed}
        self._own = opened.index, opened.checked.proved.case[0].header
        self._recorded = False
        self._missing = 0
        self._outdated = False
        #: cases that were opened in the period, those that were opened once the list was made, and
        #: reviews and findings that may concern its resources, and others
        self.opened = self.later = self.aside = 0
        self._run: tuple[int, datetime] | None = None
        self._last = -2
        self._whole = False

    def see(self, index: int, header: Header) -> None:
        """The next entry that is shown."""
        record, (own, recorded) = self._record, self._own
        self._recorded = self._recorded or (index, header) == self._own
        self._follow(index, header)
        past = record.size <= index < own
        self._outdated = self._outdated or (past and header.at < recorded.at - _MAKING)
        if header.kind not in _OPENING or header.position:
            return
        if not record.since <= header.at < record.until:
            return
        if not archive.is_of(record.resources, header):
            self.aside += archive.concerns(record.resources, header)
        elif index >= record.size:
            self.later += 1
        else:
            self.opened += 1
            self._missing += header.case not in self._listed
            self._listed.discard(header.case)

    def _follow(self, index: int, header: Header) -> None:
        """Whether entries stand in one row from before the period until behind it."""
        if index != self._last + 1 or self._run is None:
            self._run = (index, header.at)
        self._last = index
        first, began = self._run
        if (first == 0 or began < self._record.since) and (
            header.at >= self._record.until or index >= self._own[0]
        ):
            self._whole = True

    def wrong(self) -> Iterator[str]:
        """What does not hold, once all was seen."""
        if not self._recorded:
            yield "the excerpt does not show the record of this archive"
        if not self._whole:
            yield "the excerpt leaves entries of the period out"
        if self._outdated:
            yield (
                f"the list is of the log at size {self._record.size:,}, which was more than "
                f"{_MAKING // timedelta(minutes=1)} minutes old when it was recorded"
            )
        if self._missing != self._record.beyond:
            yield (
                f"{self._missing:,} cases of the period are not in the list, and the record says "
                f"{self._record.beyond:,}"
            )
        if self._listed:
            yield f"{len(self._listed):,} listed cases were not opened in the period"

    def told(self) -> str:
        """How many were opened, in words."""
        later = f", {self.later:,} after the list was made" if self.later else ""
        return f"{self.opened:,} cases opened in them{later}"

    def left_out(self) -> Iterator[str]:
        """What of the period is not in the archive, though it holds, one phrase each."""
        if self.later:
            yield f"anything of the {self.later:,} cases that were opened after it was listed"
        if self.aside:
            beside = f"{self.aside:,} reviews and findings"
            yield f"anything of the {beside} that are not of its resources alone"
