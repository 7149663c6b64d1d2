"""One access case as a line of the population: what a sample of cases is judged by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

#: how an access case can be, as far as its line says
STATES: Final = (
    "waiting", "denied", "refused", "withdrawn", "lapsed",
    "live", "ended", "unverified", "closed",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """One approval that was given."""

    approver: str
    person: str
    at: datetime
    #: see `records.Actor.assurance`
    assurance: str
    #: see `records.SignIn.mfa`; empty without a session
    mfa: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How access came to its end."""

    #: `expired`, `revoked`, `ended`, `undone`
    how: str
    at: datetime
    #: principal id of who ended it; `service` for Muniment itself
    by: str
    #: of a revocation by the service: see `records.GrantRevoked`
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class Line:
    """One access case, as far as the log has come."""

    case: str
    #: log index of its request, and of its newest record
    first: int
    last: int
    #: how many records it has so far
    records: int
    requester: str
    #: `human`, `workload`, `agent`
    kind: str
    sponsor: str | None
    persons: tuple[str, ...]
    #: how the requester had shown who he is
    assurance: str
    mfa: str
    resource: str
    role: str
    environment: str
    #: SHA-256 of the role definition that was asked for
    definition: bytes
    #: what was asked for, in seconds
    seconds: int
    emergency: bool
    requested: datetime
    #: one of `STATES`; waiting: nothing was authorised yet
    state: str = "waiting"
    #: the answer to the request: outcome, rules, bundle, and what had to be approved by whom
    outcome: str = ""
    rules: tuple[str, ...] = ()
    bundle: bytes = b""
    required: Mapping[str, int] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    #: the longest that policy allowed; 0 where it did not say
    cap: int = 0
    approved: tuple[Approved, ...] = ()
    #: person ids of those who refused
    refused: tuple[str, ...] = ()
    #: the newest authorisation: who satisfied what, the window, and the definition issued by
    satisfied: Mapping[str, int] = field(default_factory=dict)
    issued_definition: bytes = b""
    connector: str = ""
    authorized: datetime | None = None
    starts: datetime | None = None
    until: datetime | None = None
    #: the first credential, and how many there were
    issued: datetime | None = None
    pickups: int = 0
    extensions: int = 0
    end: Ended | None = None
    #: when it was seen gone, and how long after it had to end
    gone: datetime | None = None
    lag_ms: int | None = None
    #: the first look that could not see it gone, how many were recorded, and the newest reason
    unseen: datetime | None = None
    unseen_count: int = 0
    unseen_why: str = ""
    closed: datetime | None = None
    #: sessions that sources saw; those linked weakly only; those not within the grant's window
    sessions: int = 0
    weak_sessions: int = 0
    odd_sessions: int = 0
    actions: int = 0
    last_used: datetime | None = None
    #: case ids
    findings: tuple[str, ...] = ()
    reviews: tuple[str, ...] = ()
    exports: int = 0

    @property
    def granted(self) -> bool:
        """Whether a credential was ever handed out."""
        return self.issued is not None
