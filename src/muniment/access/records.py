"""
Every record that the log can hold: one frozen class for each kind, with the meaning of each field.

A record's class is its kind. The fields are the header's `body`: enough for the fold, and nothing
personal. What is personal or large goes into the sections named beside the class.

Changing a field is a new fold version: the old class stays, with its golden file, for ever.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from muniment.access.fields import from_json, to_json
from muniment.errors import FoldInvalid
from muniment.evidence.record import Draft, Header

#: version of the classes below and of the table in `lifecycle`
FOLD = 1


#: the strongest that `SignIn.mfa` can say
PHISHING_RESISTANT = "phishing-resistant"


@dataclass(frozen=True, kw_only=True, slots=True)
class SignIn:
    """How somebody showed who he is, as far as decisions ask for it."""

    #: case id of its `session:opened`
    session: str
    #: when he showed it, in the authenticator's words
    at: datetime
    #: `""`, `mfa`, `phishing-resistant`; for people only
    mfa: str
    #: proved what it runs on; for workloads and agents only
    attested: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """Who acted, how that was authenticated, and everybody behind it."""

    #: principal id, or `service` for Muniment itself
    principal: str
    #: `human`, `workload`, `agent`, `service`
    type: str
    #: the human behind an agent, or who owns a workload; None for humans and the service
    sponsor: str | None
    #: person ids of the whole chain
    persons: tuple[str, ...]
    #: how the act was authenticated: `signature`, `step-up`, `session`, `token`, `service`
    assurance: str
    #: None for a static token, which shows nothing but itself, and for the service
    sign_in: SignIn | None = None


SERVICE = Actor(principal="service", type="service", sponsor=None, persons=(), assurance="service")

KINDS: dict[str, type["Record"]] = {}


@dataclass(frozen=True, kw_only=True)
class Record:
    """What every kind has in common: a kind, and somebody who did it."""

    KIND: ClassVar[str] = ""
    #: names of sections that records of this kind may have
    SECTIONS: ClassVar[tuple[str, ...]] = ()

    actor: Actor

    def __init_subclass__(cls) -> None:
        if cls.KIND:
            KINDS[cls.KIND] = cls

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = to_json(self)
        return body

    def draft(
        self,
        case: str,
        at: datetime,
        *,
        follows: tuple[bytes | int, ...] = (),
        sections: dict[str, bytes] | None = None,
        documents: tuple[bytes, ...] = (),
    ) -> Draft:
        return Draft(
            case=case,
            kind=self.KIND,
            fold=FOLD,
            at=at,
            body=self.body(),
            follows=follows,
            sections=sections or {},
            documents=documents,
        )


def parse(header: Header) -> Record:
    """The typed record of a header. Raises `FoldInvalid` for an unknown kind or version."""
    if header.read:
        known: Record = header.read[0]
        return known
    cls = KINDS.get(header.kind)
    if cls is None or header.fold != FOLD:
        raise FoldInvalid(f"`{header.kind}` of fold version {header.fold} is unknown")
    if not header.sections.keys() <= set(cls.SECTIONS):
        raise FoldInvalid(f"`{header.kind}` has a section that its kind does not know")
    record = from_json(cls, header.body)
    header.read.append(record)
    return record


# --- the life of an access case ---------------------------------------------------------------


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


# --- cases of their own that speak about others -----------------------------------------------


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
    #: `waiting`, `decided`, `ending`, `ended`, `break-glass`, `announced`, `finding`
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


# --- who and what: the directory, roles, configuration, policy --------------------------------


@dataclass(frozen=True, kw_only=True)
class PrincipalEnrolled(Record):
    """A principal as the log knows it from now on; enrolled again when anything changes."""

    KIND = "principal:enrolled"
    #: `identity`: login, name and contact
    SECTIONS = ("identity",)

    #: `human`, `workload`, `agent`
    type: str
    #: one human, however many accounts; workloads and agents have one of their own
    person: str
    active: bool
    groups: tuple[str, ...]
    #: principal id of the human behind an agent, or the owner of a workload
    sponsor: str | None
    #: who says so: `file`, `sign-in:<provider>` or `scim:<provider>`; nobody else changes it
    source: str


@dataclass(frozen=True, kw_only=True)
class GroupDefined(Record):
    """A group of a directory that is kept elsewhere; defined again when it is changed at all."""

    KIND = "group:defined"
    #: `identity`: how it is shown there, and by which id it is known there
    SECTIONS = ("identity",)

    #: `scim:<provider>`
    source: str
    #: as rules and `PrincipalEnrolled.groups` name it
    name: str
    #: false: it was deleted
    active: bool


@dataclass(frozen=True, kw_only=True)
class TokenEnrolled(Record):
    """A bearer of this token is this principal. In the principal's case."""

    KIND = "token:enrolled"
    SECTIONS = ("label",)

    #: SHA-256 of a random 256-bit token
    token: bytes
    expires: datetime | None


@dataclass(frozen=True, kw_only=True)
class TokenRevoked(Record):
    """A token is worth nothing from now on."""

    KIND = "token:revoked"

    token: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Delegation:
    """On whose behalf a session acts, and how far. It only ever narrows what it comes from."""

    #: principal id of the human for whom it acts
    sponsor: str
    #: what the sponsor, or the delegate before, showed to hand it on: the case id of a session, or
    #: the hash of a static token; empty where the provider's token says it
    parent: str
    #: what the current actor itself showed: likewise
    credential: str
    #: principal ids of everybody it went through: the sponsor first, the current actor last
    chain: tuple[str, ...]
    #: `resource/role`: all that may be asked for; empty: whatever the sponsor may
    roles: tuple[str, ...]
    #: longest window that may be asked for; 0: whatever the sponsor may
    max_seconds: int


@dataclass(frozen=True, kw_only=True)
class SessionOpened(Record):
    """
    A bearer of this token is this principal until it expires. A case of its own.

    The key set with which a token of somebody else was verified is a document of this record.
    """

    KIND = "session:opened"
    #: `claims`: what the token said; `task`: what started it: task, ticket, alert, prompt, model
    SECTIONS = ("claims", "task")

    principal: str
    person: str
    #: SHA-256 of the bearer token
    token: bytes
    expires: datetime
    #: who vouches: a provider's name in the configuration, or `muniment`
    provider: str
    #: `oidc`, `code`, `workload`, `delegation`
    method: str
    #: when the principal showed who it is
    authenticated_at: datetime
    #: RFC 8176 method references, and the OpenID Connect context class, as the provider gave them
    amr: tuple[str, ...]
    acr: str
    #: what these come to: `""`, `mfa`, `phishing-resistant`
    mfa: str
    attested: bool
    #: SHA-256 of the key set with which a token was verified; None where there was none
    keys: bytes | None
    delegation: Delegation | None = None


@dataclass(frozen=True, kw_only=True)
class SessionClosed(Record):
    """A session is worth nothing from now on. One that only expires has no such record."""

    KIND = "session:closed"

    #: `signed-out`, `revoked`, `principal-disabled`, `parent-closed`, `task-closed`, `signal`
    reason: str


@dataclass(frozen=True, kw_only=True)
class RoleDefined(Record):
    """A role on a resource as it can be asked for from now on. The definition is a document."""

    KIND = "role:defined"

    resource: str
    role: str
    definition: bytes
    tier: str
    environment: str
    data: str
    connector: str


@dataclass(frozen=True, kw_only=True)
class RoleWithdrawn(Record):
    """Nobody can ask for this role any more."""

    KIND = "role:withdrawn"


@dataclass(frozen=True, kw_only=True)
class ConfigChanged(Record):
    """The configuration in force from now on, without secrets and people. A document."""

    KIND = "config:changed"
    #: `author`: who changed the files, as far as the machine knows
    SECTIONS = ("author",)

    configuration: bytes
    #: where the change came from: `file`, `git:<sha>`
    source: str


@dataclass(frozen=True, kw_only=True)
class PolicyActivated(Record):
    """The policy in force from now on. The documents are the manifest and each of its files."""

    KIND = "policy:activated"
    #: `author`: who changed the files, as far as the machine knows
    SECTIONS = ("author",)

    #: SHA-256 of the manifest
    bundle: bytes
    #: None for the first
    previous: bytes | None
    source: str


# --- what sources say, and what is made of it -------------------------------------------------


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


# --- the log itself ---------------------------------------------------------------------------


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
