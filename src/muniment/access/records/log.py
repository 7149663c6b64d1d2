"""The log itself: its start, its keys, its witnesses, its clock."""

from dataclasses import dataclass

from muniment.access.records.record import Record


@dataclass(frozen=True, kw_only=True)
class LogStarted(Record):
    """Entry 0. Its leaf hash is the log id, which enters every commitment."""

    KIND = "log:started"

    origin: str
    #: C2SP verifier key of the log
    key: str
    nonce: bytes


@dataclass(frozen=True, kw_only=True)
class LogHeartbeat(Record):
    """Nothing happened, and here is the proof; with what was counted but not recorded."""

    KIND = "log:heartbeat"

    #: what was answered without a record since the last heartbeat, by reason
    unrecorded: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class KeyAdded(Record):
    """One more key signs, too, from the checkpoint on that covers this record."""

    KIND = "key:added"

    #: C2SP verifier key
    key: str


@dataclass(frozen=True, kw_only=True)
class KeyRetired(Record):
    """A key signs no checkpoint after the one that covers this record, and never again."""

    KIND = "key:retired"

    #: C2SP verifier key
    key: str
    #: `rotated`; `compromised`: others may have it
    reason: str
    #: of a compromised one: above this size of the log its signature alone is not to be believed,
    #: as far as the operator knows
    since: int | None


@dataclass(frozen=True, kw_only=True)
class LogIndexed(Record):
    """Which cases there were, and where each ended: by it is proved that one went no further."""

    KIND = "log:indexed"

    #: the index covers the entries before this one; others may stand between them and this record
    size: int
    #: how many cases there were
    cases: int
    #: root of the tree over them, sorted by id: see `evidence.case_index`
    root: bytes


@dataclass(frozen=True, kw_only=True)
class LogWitnessed(Record):
    """
    The quorum of witnesses came or went; or a grant had to wait for it, and follows this.

    Their cosignatures are no part of the log: they stand on its published checkpoints.
    """

    KIND = "log:witnessed"

    #: what they were asked to cosign: the checkpoint of this size
    size: int
    #: vkeys of those who did, sorted
    cosigned: tuple[str, ...]
    #: whether that is the quorum of the configuration in force
    quorum: bool


@dataclass(frozen=True, kw_only=True)
class ClockStepped(Record):
    """An operator vouches for a wall clock that had moved on its own."""

    KIND = "clock:stepped"

    step_ms: int
