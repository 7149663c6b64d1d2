"""What is kept, and what goes: holds, runs that erase, raw events erased, a person's own copy."""

from dataclasses import dataclass
from datetime import datetime

from muniment.access.records.record import Record


@dataclass(frozen=True, kw_only=True)
class HoldPlaced(Record):
    """
    Nothing of this is erased from now on. Position 0 of a case of its own.

    Whatever one of the first three names is held; in a period, where one is given. With a period
    alone all that lies in it is held.
    """

    KIND = "hold:placed"
    #: `matter`: what it is for, and why, in words
    SECTIONS = ("matter",)

    #: case ids
    cases: tuple[str, ...]
    #: person ids
    persons: tuple[str, ...]
    resources: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    #: who placed it
    person: str


@dataclass(frozen=True, kw_only=True)
class HoldReleaseRequested(Record):
    """A person says that it is needed no more. It holds until somebody else says so, too."""

    KIND = "hold:release-requested"
    #: `reason`
    SECTIONS = ("reason",)

    person: str


@dataclass(frozen=True, kw_only=True)
class HoldReleased(Record):
    """A second person agrees: it holds no more."""

    KIND = "hold:released"
    SECTIONS = ("note",)

    person: str


@dataclass(frozen=True, kw_only=True)
class ErasureProposed(Record):
    """
    What has come to its end, as it was found at one moment. Position 0 of a case of its own.

    Whoever has the log and the configuration finds the same list: it is not kept.
    """

    KIND = "erasure:proposed"

    #: nothing is counted beyond this moment, and beyond so many entries of the log
    as_of: datetime
    size: int
    #: SHA-256 of the configuration whose classes said so
    configuration: bytes
    #: sealed sections, and batches of raw events; by rule, the sum of both
    sections: int
    batches: int
    rules: dict[str, int]
    #: SHA-256 over the sorted list
    listed: bytes
    #: how many persons have to want it; who proposed it counts
    people: int


@dataclass(frozen=True, kw_only=True)
class ErasureApproved(Record):
    """A person wants the same: the list, found anew, was the one that was proposed."""

    KIND = "erasure:approved"

    person: str


@dataclass(frozen=True, kw_only=True)
class EventsErased(Record):
    """
    Raw events of one batch are gone; their numbers and commitments stay, and so does every proof.

    Which ones were left is a document: runs of numbers, as the first and the last of each.
    """

    KIND = "events:erased"

    source: str
    #: record id of the `events:received`
    batch: str
    #: number of the first event of the batch, and how many it has
    start: int
    count: int
    #: so many of them are left: they belong to sessions of grants whose evidence is kept
    kept: int
    #: SHA-256 over the ids of these grants
    grants: bytes
    #: SHA-256 of the document
    numbers: bytes
    rule: str


@dataclass(frozen=True, kw_only=True)
class PersonExported(Record):
    """Somebody took all that is recorded about one person. A case of its own."""

    KIND = "person:exported"

    #: person id
    person: str
    #: of how many records, as of this size of the log
    records: int
    size: int
    #: sections that were given, and that were withheld, as they are somebody else's
    given: int
    withheld: int
    #: SHA-256 of the file, which holds 32 random bytes: nothing is told by it to who has it not
    file: bytes
