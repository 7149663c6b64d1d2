"""The life of an access case: asked, decided, approved, issued, ended, seen gone."""

from dataclasses import dataclass
from datetime import datetime

from muniment.access.records.record import Record


@dataclass(frozen=True, kw_only=True)
class AccessRequested(Record):
    """Somebody asked. Position 0 of every access case; its terms are what approvers approve."""

    KIND = "access:requested"
    #: `submission` and `callback` hold what a client said about itself, and where it is to be told
    SECTIONS = ("reason", "submission", "callback")

    requester: str
    resource: str
    role: str
    #: SHA-256 of the role definition that was in force
    definition: bytes
    environment: str
    #: length of the window that was asked for
    seconds: int
    emergency: bool
    #: id of the evaluation whose denial led here; empty where there was none
    evaluation: str = ""
    #: what was asked for together shares this id; empty for a request of its own
    batch: str = ""
    #: somebody is to be told when it is decided
    callback: bool = False


@dataclass(frozen=True, kw_only=True)
class ExtensionRequested(Record):
    """The holder asked to keep a live grant for longer. Its terms replace those of the request."""

    KIND = "extension:requested"
    SECTIONS = ("reason",)

    #: length of the whole window, from its start, that is asked for
    seconds: int


@dataclass(frozen=True, kw_only=True)
class DecisionEvaluated(Record):
    """One evaluation of the policy. The section `decision` is the complete input and every rule."""

    KIND = "decision:evaluated"
    SECTIONS = ("decision",)

    #: `request`, `approve`, `issue`, `extend`; `stand`: asked again as the directory had changed
    question: str
    #: `deny`, `needs_approvals`, `auto_approve`, `break_glass`, `permit`
    outcome: str
    #: SHA-256 of the bundle's manifest
    bundle: bytes
    #: engine and version
    engine: str
    #: ids of the determining rules
    rules: tuple[str, ...]
    #: how many approvals each group must give
    approvals: dict[str, int]
    #: the longest window that the rules allow; 0 where none was set
    max_seconds: int
    requires: tuple[str, ...]
    #: who is to be told, in the rules' own words
    notifies: tuple[str, ...]
    #: until when approvals may come; None where nothing waits
    deadline: datetime | None
    #: how long an approved request waits for its pick-up
    pickup_seconds: int
    #: at issue: persons whose earlier approvals the policy still counts today
    standing: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ApprovalGiven(Record):
    """A person approved these terms, for the groups that count him."""

    KIND = "approval:given"
    SECTIONS = ("note",)

    approver: str
    person: str
    #: required groups that this approval counts for
    groups: tuple[str, ...]
    terms: bytes


@dataclass(frozen=True, kw_only=True)
class ApprovalRefused(Record):
    """A person refused these terms. One refusal ends the request."""

    KIND = "approval:refused"
    SECTIONS = ("note",)

    approver: str
    person: str
    terms: bytes


@dataclass(frozen=True, kw_only=True)
class AccessWithdrawn(Record):
    """Whoever asked no longer wants it."""

    KIND = "access:withdrawn"


@dataclass(frozen=True, kw_only=True)
class AccessLapsed(Record):
    """Nobody approved, or picked up, in time; or what the request rested on is over."""

    KIND = "access:lapsed"

    #: empty: not in time; else one of those of `GrantRevoked`
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class GrantAuthorized(Record):
    """The intent: with this record durable, and not before, the target may be touched."""

    KIND = "grant:authorized"

    terms: bytes
    definition: bytes
    connector: str
    starts: datetime
    #: the end of the window, and the intent of its expiry
    until: datetime
    #: the target's own clock rejects the order after this
    deadline: datetime
    #: target's clock minus ours, read just before
    offset_ms: int
    #: the approvals that satisfy the requirement, by group
    satisfied: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a target can and cannot do about the end of access. Recorded with every credential."""

    #: the target itself refuses new logins after the native expiry
    expires_new_logins: bool
    #: the target itself ends live sessions at the native expiry
    expires_live_sessions: bool
    #: `revoke` can end live sessions
    kills_live_sessions: bool
    #: the target's own log names the grant in a field that its holder cannot choose
    log_names_grant: bool
    #: the target itself rejects an issue that reaches it after the deadline
    enforces_deadline: bool
    #: `extend` works on a live grant; otherwise an extension needs a new pick-up
    extends_live: bool
    #: names of the endpoints that `probe` looks at
    endpoints: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CredentialIssued(Record):
    """The target made the account. Every pick-up adds one: the former secret no longer works."""

    KIND = "credential:issued"

    account: str
    target: str
    fingerprint: bytes
    native_expiry: datetime | None
    capabilities: Capabilities


@dataclass(frozen=True, kw_only=True)
class CredentialFailed(Record):
    """The target did not make the account, or it is not known whether it did."""

    KIND = "credential:failed"

    #: `target-unavailable`, `timeout`, `late`, `witnesses-missing`
    reason: str


@dataclass(frozen=True, kw_only=True)
class GrantExtended(Record):
    """The intent of a later end of the window."""

    KIND = "grant:extended"

    terms: bytes
    until: datetime
    deadline: datetime
    satisfied: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class GrantExpired(Record):
    """The window ran out."""

    KIND = "grant:expired"

    due: datetime


@dataclass(frozen=True, kw_only=True)
class GrantRevoked(Record):
    """Somebody else took it away before its time, or what it rested on is over."""

    KIND = "grant:revoked"
    SECTIONS = ("note",)

    #: empty: whoever did it says why in the note; by the service itself: `principal-disabled`,
    #: `sponsor-disabled`, `sponsor-changed`, `session-closed`, `task-closed`, `no-longer-allowed`,
    #: `signal`, `finding`
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class GrantEnded(Record):
    """Its holder gave it back before its time."""

    KIND = "grant:ended"


@dataclass(frozen=True, kw_only=True)
class GrantUndone(Record):
    """It was authorised, but no credential ever reached its holder."""

    KIND = "grant:undone"


@dataclass(frozen=True, kw_only=True)
class EndpointView:
    """What one endpoint of a target showed."""

    endpoint: str
    #: identity of the target that answered; empty when nothing answered
    target: str
    #: the probe found its own account and session there, so it was not blind
    saw_itself: bool
    #: accounts of the grant that still exist
    accounts: int
    #: sessions of the grant that still live
    sessions: int
    #: why nothing was seen, without personal data or secrets; empty when something was
    trouble: str = ""


@dataclass(frozen=True, kw_only=True)
class RemovalVerified(Record):
    """A separate look at every endpoint found nothing of the grant."""

    KIND = "removal:verified"

    endpoints: tuple[EndpointView, ...]
    #: ended by the revocation that came before the look
    accounts_removed: int
    sessions_killed: int
    #: from the moment that access had to end to the moment that this was seen
    lag_ms: int


@dataclass(frozen=True, kw_only=True)
class RemovalUnverified(Record):
    """The end could not be seen. The case stays open, ages in the open, and is tried again."""

    KIND = "removal:unverified"

    endpoints: tuple[EndpointView, ...]
    #: `target-unavailable`, `still-there`, `blind`, `other-target`, `other-endpoints`
    reason: str


@dataclass(frozen=True, kw_only=True)
class CaseClosed(Record):
    """The last record of every case."""

    KIND = "case:closed"

    #: how many records the case has, this one included
    records: int
