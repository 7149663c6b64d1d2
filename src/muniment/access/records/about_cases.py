"""Cases of their own that speak about others: reviews, exports, notices, erasures, signals."""

from dataclasses import dataclass
from datetime import datetime

from muniment.access.records.record import Record


@dataclass(frozen=True, kw_only=True)
class ReviewOpened(Record):
    """Somebody else must look at this case afterwards: break-glass stays marked until then."""

    KIND = "review:opened"

    #: the case to be reviewed
    about: str
    due: datetime
    #: nobody of these may review
    persons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ReviewAnswered(Record):
    """A person looked, and says what he found."""

    KIND = "review:answered"
    SECTIONS = ("note",)

    reviewer: str
    person: str
    #: `justified`, `not-justified`
    verdict: str


@dataclass(frozen=True, kw_only=True)
class EvidenceExported(Record):
    """Somebody carried evidence away. The last record of the bundle: a cut tail shows."""

    KIND = "evidence:exported"

    #: the case that the bundle is about
    about: str
    #: position of its last record in the bundle
    last: int
    #: SHA-256 over the leaf hashes of its records, in order
    records: bytes
    #: SHA-256 over what the bundle discloses: which sections, and proofs from which earlier sizes
    disclosed: bytes


@dataclass(frozen=True, kw_only=True)
class CallbackSettled(Record):
    """Who asked to be told of a decision was told, or is not going to be. A case of its own."""

    KIND = "callback:settled"

    #: the access case, or the batch, that somebody waited for
    about: str
    #: how that was decided: `approved`, `denied`, `cancelled`, `expired`, `partial`
    event: str
    #: `delivered`; `abandoned` after a day; `refused`, as the address is not one that is called;
    #: `unwanted`, as only other events were asked for; `forgotten`, as nobody knows any more where
    outcome: str
    #: HTTP status of the last answer; 0 without one
    status: int


@dataclass(frozen=True, kw_only=True)
class NoticeSettled(Record):
    """Somebody was told of a record, or is not going to be. A case for each way of telling."""

    KIND = "notice:settled"

    #: record id of what there was to tell
    about: str
    #: `waiting`, `decided`, `ending`, `ended`, `break-glass`, `announced`, `finding`,
    #: `digest`
    event: str
    #: which way of telling, by its name in the configuration
    sink: str
    #: `delivered`, as far as the next server goes; `abandoned` after a day; `refused`, as there is
    #: no address, or none that is called; `moot`, as it was over by then; `nobody`, as it concerns
    #: none of those who are told so; `forgotten`, as that way of telling is gone
    outcome: str
    #: principal ids; empty where it is told in a channel
    recipients: tuple[str, ...]
    #: how often it was tried since the service started
    attempts: int


@dataclass(frozen=True, kw_only=True)
class RecordErased(Record):
    """Content and salt of one section are gone; the header and every proof stay."""

    KIND = "record:erased"

    #: record id
    record: str
    section: str
    rule: str


@dataclass(frozen=True, kw_only=True)
class SignalReceived(Record):
    """
    Somebody who watches over accounts said that something happened to one. A case of its own.

    What follows from it follows this record. The key set that the signal was verified with is a
    document.
    """

    KIND = "signal:received"
    #: `set`: the security event token, as it was signed
    SECTIONS = ("set",)

    provider: str
    #: last part of the event's URI, as in `session-revoked`; `other` for one that we do not know
    event: str
    #: HMAC of issuer and `jti`, by a key of this installation: each signal counts once
    identity: bytes
    #: principal id; None for somebody nobody knows here
    about: str | None
    #: `none`; `close-sessions`: whoever it is signs in anew; `end`: that, and access ends
    action: str
    #: why there is no action: `unknown-subject`, `not-permitted`, `no-consequence`; else empty
    why: str
    #: SHA-256 of the key set
    keys: bytes
