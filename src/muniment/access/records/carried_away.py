"""What was taken or looked at by those whose work it is to look: archives, and reading itself."""

from dataclasses import dataclass
from datetime import datetime

from muniment.access.records.record import Record


@dataclass(frozen=True, kw_only=True)
class ArchiveExported(Record):
    """
    Somebody takes the evidence of a whole period away. A case of its own, before the first bundle.

    Its documents are the list: a line for each case, see `access.archive`. It follows whoever took
    it, and the policies that were in force in the period.
    """

    KIND = "archive:exported"

    #: cases that were opened at or after, and before
    since: datetime
    until: datetime
    #: of these resources alone; empty: of all
    resources: tuple[str, ...]
    #: entries of the log when the list was made
    size: int
    #: how many cases the list has
    cases: int
    #: how many more there are in that period, which this reader may not take away
    beyond: int
    #: SHA-256 over the lines of the list
    listed: bytes


@dataclass(frozen=True, kw_only=True)
class EvidenceRead(Record):
    """
    Somebody read what is others', by right of audit. A case of its own, before the answer.

    Of one reader, and of the same thing, at most once an hour.
    """

    KIND = "evidence:read"
    #: `query`: what was asked for, as it was typed
    SECTIONS = ("query",)

    #: `case`, `cases`, `stories`, `overdue`, `finding`, `findings`, `events`, `log`, `reports`,
    #: `reads`, `drift`, `health`, `reviews`, `review`, `index`, `retention`, `holds`, `documents`
    what: str
    #: the case that was read; empty for a list
    about: str
    #: how many cases, events or lines the first answer had; 0 where that is not known before
    count: int
