"""Reports that were made of the log, and taken away."""

from dataclasses import dataclass
from datetime import datetime

from muniment.access.records.record import Record


@dataclass(frozen=True, kw_only=True)
class ReportIssued(Record):
    """
    Somebody made a report of a period and says which one it is. A case of its own.

    Muniment did not make it: whoever is shown a report can see by this that it is the one that was
    made then, and by its own check that it holds.
    """

    KIND = "report:issued"

    #: id of the framework, as the control map has it
    framework: str
    #: cases that were asked for at or after, and before
    since: datetime
    until: datetime
    #: on these resources alone; empty: on all
    resources: tuple[str, ...]
    #: size of the log that it is about
    size: int
    #: SHA-256 of `report.json`
    report: bytes
