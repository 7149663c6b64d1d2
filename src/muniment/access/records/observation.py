"""What sources say, and what is made of it: events, sessions, findings, drift."""

from dataclasses import dataclass
from datetime import datetime

from muniment.access.records.record import Record


@dataclass(frozen=True, kw_only=True)
class EventsReceived(Record):
    """
    So many events came from a source. One case for each source; it is never closed.

    The events lie beside the log, each under a salt of its own: see `evidence.event_batch`.
    """

    KIND = "events:received"

    #: its name in the configuration
    source: str
    #: what it speaks of; empty where its events say so themselves
    resource: str
    #: events of a source are numbered from 0: number of the first of these
    start: int
    count: int
    #: RFC 6962 root over the commitments of these events, in their order
    root: bytes
    #: records since the last batch that could not be read; they are no events, and are not kept
    rejected: int
    #: the earliest and the latest moment among them, by the source's clock
    first: datetime
    last: datetime


@dataclass(frozen=True, kw_only=True)
class EventsMissed(Record):
    """Something of a source was lost, or it was silent for too long. In the case of the source."""

    KIND = "events:missed"

    source: str
    resource: str
    #: `cursor`: it goes on elsewhere than it was left; `count`: it says that it sent more;
    #: `silence`: nothing, not even a sign of life; `resumed`: it speaks again
    why: str
    #: from when on, by our clock
    since: datetime
    #: how many, where that is known
    count: int | None


@dataclass(frozen=True, kw_only=True)
class SessionObserved(Record):
    """
    What a source says of one session of a grant. A case of its own; it follows the batches.

    A grant that is over may still be spoken of: nothing is appended to its own case.
    """

    KIND = "session:observed"
    #: `session`: account, address, what was done, and the numbers of its events
    SECTIONS = ("session",)

    #: case id of the grant
    about: str
    source: str
    resource: str
    #: by the source's clock; None where its beginning, or its end, was not seen
    opened: datetime | None
    closed: datetime | None
    #: `strong` or `weak`, by which kind of key: see `oversight.link`
    strength: str
    reason: str
    #: the worst of its events: see `oversight.link.STANDINGS`
    standing: str
    #: how many events it has, how many of them did something, and how many of these failed
    events: int
    actions: int
    failed: int
    #: RFC 6962 root over the commitments of its events, in the order of their numbers
    root: bytes
    #: where in the log those batches stand that it follows, in the same order
    batches: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class FindingRaised(Record):
    """
    A detector says that something should worry a person. Position 0 of a case of its own.

    The rule with its thresholds is a document. What ends for it follows this record.
    """

    KIND = "finding:raised"
    #: `detail`: what it is about in words, what shows it, and what the target says
    SECTIONS = ("detail",)

    #: id of the detector
    rule: str
    #: SHA-256 of the document
    definition: bytes
    #: `info`, `low`, `medium`, `high`, `critical`
    severity: str
    #: `deterministic`, `baseline`
    nature: str
    resource: str
    #: access cases
    about: tuple[str, ...]
    #: person ids: none of these may close it
    subjects: tuple[str, ...]
    #: when it happened
    seen: datetime
    #: those of the cases whose access ends for it
    ends: tuple[str, ...]
    #: why nothing ends: `not-asked`, `no-access`, `no-detector`, `not-permitted`; empty: something
    #: does
    why: str


@dataclass(frozen=True, kw_only=True)
class FindingSeen(Record):
    """
    The same was seen again: recorded once an hour, or when access ends for it.

    With a count of 0 it goes on with what the record before had no room for.
    """

    KIND = "finding:seen"
    SECTIONS = ("detail",)

    #: how often since the last record of it
    count: int
    #: the last time
    seen: datetime
    #: cases and persons that were not named before
    about: tuple[str, ...]
    subjects: tuple[str, ...]
    #: as in `FindingRaised`: further cases, and why nothing more ends
    ends: tuple[str, ...]
    why: str


@dataclass(frozen=True, kw_only=True)
class FindingAcknowledged(Record):
    """A person has read it."""

    KIND = "finding:acknowledged"


@dataclass(frozen=True, kw_only=True)
class FindingAssigned(Record):
    """A person is to deal with it."""

    KIND = "finding:assigned"

    #: principal id
    to: str


@dataclass(frozen=True, kw_only=True)
class FindingClosed(Record):
    """A person whom it is not about says what it was."""

    KIND = "finding:closed"
    #: `note`: the reason
    SECTIONS = ("note",)

    person: str
    #: `remedied`: it is not so any more; `explained`: it is meant to be so; `adopted`: somebody
    #: answers for it from now on; `false-alarm`
    resolution: str
    #: principal id of who answers for what was adopted
    owner: str | None
    #: until when the same raises no new finding; None: it does the next time
    until: datetime | None


@dataclass(frozen=True, kw_only=True)
class DriftScanned(Record):
    """A target's inventory was held against the log. A case of its own."""

    KIND = "drift:scanned"
    #: `seen`: what is remembered of accounts, and each difference; left out where it is as before
    SECTIONS = ("seen",)

    resource: str
    #: identity of the target
    target: str
    #: the first look at this target: what it shows is reported, and raises no alarm
    first: bool
    accounts: int
    sessions: int
    privileges: int
    #: differences by kind: see `oversight.difference`
    differences: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class RemovalOrdered(Record):
    """
    A person wants an account gone that no grant covers. A case of its own; nothing is done by it.

    It follows the finding, and is closed beside the scan that no longer saw the account.
    """

    KIND = "removal:ordered"
    #: `order`: account, reason, and what an administrator of the target has to run there
    SECTIONS = ("order",)

    #: case id of the finding
    about: str
    resource: str
    #: identity of the target
    target: str
    person: str
    #: person id of somebody else, who had acknowledged or assigned the finding
    seconded: str
