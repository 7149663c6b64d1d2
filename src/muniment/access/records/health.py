"""How well the evidence would stand up: counted once a day, so that the trend is evidence, too."""

from dataclasses import dataclass

from muniment.access.records.record import Record


@dataclass(frozen=True, kw_only=True)
class EvidenceMeasured(Record):
    """
    So many grants had weak evidence, by kind of weakness. One case for each year of measurements.

    The kinds, with the meaning of each, are a document: figures under another one are not the same.
    Which cases were open then is another: by it a later report shows that it left none of them out.
    """

    KIND = "evidence:measured"

    #: SHA-256 of the document
    definition: bytes
    #: the entries before this one were counted over
    size: int
    #: grants in all, those with a weakness of medium severity or more, and how many by kind of
    #: weakness; what is not named: none
    grants: int
    weak: int
    counts: dict[str, int]
    #: the same of those that were asked for within so many days before
    days: int
    recent_grants: int
    recent_weak: int
    recent: dict[str, int]
    #: what is weak about the log itself
    log: tuple[str, ...]
