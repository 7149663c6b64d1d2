"""
Who and what the log knows now: a fold over the records of principals, roles, policy and settings.

Everything here carries the head it was read at, so that a decision can name what it rested on.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from muniment.access import campaigns_seen, records
from muniment.access.counters import breaks_glass
from muniment.access.counters import counters as counters  # noqa: PLC0414 (others take it from here)
from muniment.access.scans import Scans, ordered, scanned
from muniment.access.source_seen import SourceSeen, after
from muniment.evidence.store import Entry


@dataclass(frozen=True, kw_only=True)
class Principal:
    id: str
    #: `human`, `workload`, `agent`
    type: str
    person: str
    active: bool
    groups: frozenset[str]
    sponsor: str | None
    #: who says all this: `file`, `sign-in:<provider>`, `scim:<provider>`
    source: str
    #: newest record of the principal's case
    head: bytes = b""
    #: the record that last enrolled it: what decisions follow; its `identity` section says who
    leaf: bytes = b""
    index: int = 0


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group of a directory that is kept elsewhere. Who is in it stands at the principals."""

    id: str
    source: str
    name: str
    active: bool
    #: newest record of its case; its `identity` section says how it is shown
    head: bytes
    index: int


@dataclass(frozen=True, kw_only=True)
class Role:
    case: str
    resource: str
    role: str
    definition: bytes
    tier: str
    environment: str
    data: str
    connector: str
    head: bytes
    withdrawn: bool = False


@dataclass(frozen=True, kw_only=True)
class InForce:
    """The policy, or the configuration, that holds from its record on."""

    case: str
    digest: bytes
    head: bytes
    index: int


@dataclass(frozen=True, kw_only=True)
class Token:
    principal: str
    expires: datetime | None
    #: where it was enrolled
    index: int = field(default=0, compare=False)


@dataclass(frozen=True, kw_only=True)
class Session:
    """Somebody who is signed in."""

    case: str
    head: bytes
    opened: records.SessionOpened

    @property
    def sign_in(self) -> records.SignIn:
        opened = self.opened
        return records.SignIn(
            session=self.case, at=opened.authenticated_at, mfa=opened.mfa, attested=opened.attested
        )


@dataclass(frozen=True, kw_only=True)
class Signal:
    """What came before it does not stand any more. Positions are those of records in the log."""

    #: sessions
    sessions: int
    #: and access; -1 where there was no such signal yet
    access: int
    #: the record of the newest
    leaf: bytes
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Witnessed:
    """What was last recorded of witnesses."""

    leaf: bytes
    record: records.LogWitnessed


@dataclass(frozen=True, kw_only=True)
class OpenGrant:
    """What is needed to take a grant away while the database cannot be read."""

    case: str
    resource: str
    role: str
    requester: str
    until: datetime
    ended: bool = False


@dataclass
class Registry:
    """Advanced by the log's writer, one checked entry after the other; read by everybody."""

    principals: dict[str, Principal] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    #: how often somebody was enrolled, or a group defined: whoever keeps something about them looks
    #: again then
    enrolments: int = 0
    tokens: dict[bytes, Token] = field(default_factory=dict)
    #: by principal: where the newest revocation of one of its tokens stands in the log
    revoked: dict[str, int] = field(default_factory=dict)
    #: by the hash of a token that was revoked: the record that says so
    revocations: dict[bytes, bytes] = field(default_factory=dict)
    #: by the hash of their bearer token; those that expired long ago are left out
    sessions: dict[bytes, Session] = field(default_factory=dict)
    roles: dict[tuple[str, str], Role] = field(default_factory=dict)
    policy: InForce | None = None
    configuration: InForce | None = None
    #: moments at which a person broke glass, oldest first
    broken_glass: dict[str, list[datetime]] = field(default_factory=dict)
    #: open or closed review of a case
    reviews: dict[str, str] = field(default_factory=dict)
    #: resource, role and requester of each access case that is not closed
    open_cases: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    #: tokens whose session was closed, until they expire: they open no other
    spent: dict[bytes, datetime] = field(default_factory=dict)
    #: tokens of open sessions, by case
    session_tokens: dict[str, bytes] = field(default_factory=dict)
    #: principals of whom something changed that access may rest on: whoever looks takes them out
    moved: dict[str, None] = field(default_factory=dict)
    #: by person: the newest signal that sessions, or access too, had to end for
    signalled: dict[str, Signal] = field(default_factory=dict)
    #: open access cases that a finding says have to end, and the record of it that says so
    condemned: dict[str, bytes] = field(default_factory=dict)
    #: by person: where a human last showed who he is, or was given a token, in the log
    shown: dict[str, int] = field(default_factory=dict)
    #: every grant that was authorised and was not seen gone
    grants: dict[str, OpenGrant] = field(default_factory=dict)
    #: where the records lie that others follow
    indexes: dict[bytes, int] = field(default_factory=dict)
    #: how many sessions there may be before expired ones are looked for
    sessions_before_sweep: int = 10_000
    log_case: str = ""
    log_head: bytes = b""
    #: the newest `log:indexed`
    indexed: Entry | None = None
    witnessed: Witnessed | None = None
    #: of targets: what drift was seen
    scans: Scans = field(default_factory=Scans)
    campaigns: campaigns_seen.Campaigns = field(default_factory=campaigns_seen.Campaigns)
    #: of each source of events, by its name
    sources: dict[str, SourceSeen] = field(default_factory=dict)
    #: what was recorded of signing keys after the first: leaf hash by log index
    keys: dict[int, bytes] = field(default_factory=dict)

    def take(self, entry: Entry) -> None:
        """Take in one entry, in the order of the log."""
        header = entry.header
        if breaks_glass(header):
            _broken(self, entry, records.parse(header))
        moves = _MOVES.get(header.kind)
        if moves is not None:
            moves(self, entry, records.parse(header))
            if header.kind in FOLLOWED:
                self.indexes[entry.leaf] = entry.index

    def role(self, resource: str, role: str) -> Role | None:
        found = self.roles.get((resource, role))
        return None if found is None or found.withdrawn else found

    def session(self, case: str) -> Session | None:
        """One that was not closed, and has not expired long ago."""
        token = self.session_tokens.get(case)
        return None if token is None else self.sessions.get(token)

    def chain(self, principal: Principal) -> Iterator[Principal]:
        """The principal, and whoever stands behind it."""
        yield principal
        if principal.sponsor is not None and principal.sponsor in self.principals:
            yield self.principals[principal.sponsor]

    def persons(self, principal: Principal) -> tuple[str, ...]:
        """Person ids of the whole chain."""
        return tuple(dict.fromkeys(link.person for link in self.chain(principal)))

    def is_cut_off(self, principal: Principal) -> bool:
        """
        Whether a signal ended the access of the human behind an agent, who was not seen since.

        It may act for him again when he has signed in anew.
        """
        signal = self.signalled.get(principal.person) if principal.type == "agent" else None
        return signal is not None and signal.access > self.shown.get(principal.person, -1)

    def is_outdated(self, token: Token) -> bool:
        """Whether a human's static token is older than a signal that ended his access."""
        holder = self.principals[token.principal]
        signal = self.signalled.get(holder.person) if holder.type == "human" else None
        return signal is not None and token.index < signal.access

    def glass_since(self, person: str, since: datetime, before: datetime | None = None) -> int:
        """How often a person broke glass from `since` on, and, where it is given, `before` then."""
        return sum(
            since <= at and (before is None or at < before)
            for at in self.broken_glass.get(person, ())
        )


GLASS_WINDOW = timedelta(days=30)
#: how long an expired session is still known: the time rule allows a clock to be off by less
SESSION_KEPT = timedelta(minutes=1)
_SESSIONS = 10_000


def _principal(registry: Registry, entry: Entry, record: Any) -> None:
    registry.enrolments += 1
    registry.principals[entry.header.case] = Principal(
        id=entry.header.case,
        type=record.type,
        person=record.person,
        active=record.active,
        groups=frozenset(record.groups),
        sponsor=record.sponsor,
        source=record.source,
        head=entry.leaf,
        leaf=entry.leaf,
        index=entry.index,
    )
    registry.moved[entry.header.case] = None


def _group(registry: Registry, entry: Entry, record: Any) -> None:
    registry.enrolments += 1
    registry.groups[entry.header.case] = Group(
        id=entry.header.case,
        source=record.source,
        name=record.name,
        active=record.active,
        head=entry.leaf,
        index=entry.index,
    )


def _token(registry: Registry, entry: Entry, record: Any) -> None:
    case = entry.header.case
    registry.tokens[record.token] = Token(principal=case, expires=record.expires, index=entry.index)
    registry.revocations.pop(record.token, None)
    principal = registry.principals[case] = replace(registry.principals[case], head=entry.leaf)
    if principal.type == "human":
        registry.shown[principal.person] = entry.index


def _token_gone(registry: Registry, entry: Entry, record: Any) -> None:
    case = entry.header.case
    registry.tokens.pop(record.token, None)
    registry.revoked[case], registry.revocations[record.token] = entry.index, entry.leaf
    principal = registry.principals[case] = replace(registry.principals[case], head=entry.leaf)
    registry.moved.update(dict.fromkeys(link.id for link in registry.chain(principal)))


def _session(registry: Registry, entry: Entry, record: Any) -> None:
    if len(registry.sessions) >= registry.sessions_before_sweep:
        now = entry.header.at
        registry.sessions = {
            token: session
            for token, session in registry.sessions.items()
            if session.opened.expires + SESSION_KEPT > now
        }
        registry.spent = {token: at for token, at in registry.spent.items() if at > now}
        registry.session_tokens = {each.case: token for token, each in registry.sessions.items()}
        registry.sessions_before_sweep = max(_SESSIONS, 2 * len(registry.sessions))
    registry.sessions[record.token] = Session(
        case=entry.header.case, head=entry.leaf, opened=record
    )
    registry.session_tokens[entry.header.case] = record.token
    if record.method == "oidc":
        registry.shown[record.person] = entry.index


def _session_gone(registry: Registry, entry: Entry, _record: Any) -> None:
    token = registry.session_tokens.pop(entry.header.case, b"")
    session = registry.sessions.pop(token, None)
    if session is None:
        # it had expired long ago, and nobody knows whose it was: whoever still has something
        # under it is found among all
        registry.moved.update(dict.fromkeys(registry.principals))
        return
    opened = session.opened
    registry.spent[token] = opened.expires + SESSION_KEPT
    registry.moved[opened.principal] = None
    if opened.delegation is not None:
        registry.moved[opened.delegation.sponsor] = None
    elif (sponsor := registry.principals[opened.principal].sponsor) is not None:
        registry.moved[sponsor] = None


def _signal(registry: Registry, entry: Entry, record: Any) -> None:
    if record.action == "none":
        return
    person = registry.principals[record.about].person
    before = registry.signalled.get(person)
    access = before.access if before is not None else -1
    registry.signalled[person] = Signal(
        sessions=entry.index,
        access=entry.index if record.action == "end" else access,
        leaf=entry.leaf,
        at=entry.header.at,
    )
    theirs = [each.id for each in list(registry.principals.values()) if each.person == person]
    registry.moved.update(dict.fromkeys(theirs))


def _finding(registry: Registry, entry: Entry, record: Any) -> None:
    registry.campaigns.note(entry, record)
    for case in record.ends:
        registry.indexes[entry.leaf] = entry.index  # whatever ends for it follows it
        if case in registry.open_cases:
            registry.condemned[case] = entry.leaf
            registry.moved[registry.open_cases[case][2]] = None


def _role(registry: Registry, entry: Entry, record: Any) -> None:
    registry.roles[record.resource, record.role] = Role(
        case=entry.header.case,
        resource=record.resource,
        role=record.role,
        definition=record.definition,
        tier=record.tier,
        environment=record.environment,
        data=record.data,
        connector=record.connector,
        head=entry.leaf,
    )


def _role_gone(registry: Registry, entry: Entry, _record: Any) -> None:
    for key, role in registry.roles.items():
        if role.case == entry.header.case:
            registry.roles[key] = replace(role, withdrawn=True, head=entry.leaf)


def _policy(registry: Registry, entry: Entry, record: Any) -> None:
    registry.policy = InForce(
        case=entry.header.case, digest=record.bundle, head=entry.leaf, index=entry.index
    )


def _configuration(registry: Registry, entry: Entry, record: Any) -> None:
    registry.configuration = InForce(
        case=entry.header.case, digest=record.configuration, head=entry.leaf, index=entry.index
    )


def _requested(registry: Registry, entry: Entry, record: Any) -> None:
    registry.open_cases[entry.header.case] = (record.resource, record.role, record.requester)


def _broken(registry: Registry, entry: Entry, record: records.Record) -> None:
    for person in record.actor.persons:
        registry.broken_glass.setdefault(person, []).append(entry.header.at)


def _window(registry: Registry, entry: Entry, record: Any) -> None:
    case = entry.header.case
    resource, role, requester = registry.open_cases[case]
    registry.grants[case] = OpenGrant(
        case=case, resource=resource, role=role, requester=requester, until=record.until
    )


def _over(registry: Registry, entry: Entry, _record: Any) -> None:
    grant = registry.grants.get(entry.header.case)
    if grant is not None:
        registry.grants[grant.case] = replace(grant, ended=True)


def _gone(registry: Registry, entry: Entry, _record: Any) -> None:
    registry.grants.pop(entry.header.case, None)


def _closed(registry: Registry, entry: Entry, _record: Any) -> None:
    registry.open_cases.pop(entry.header.case, None)
    registry.condemned.pop(entry.header.case, None)
    registry.scans.ordered.pop(entry.header.case, None)
    registry.grants.pop(entry.header.case, None)


def _log(registry: Registry, entry: Entry, _record: Any) -> None:
    registry.log_case, registry.log_head = entry.header.case, entry.leaf
    if entry.header.kind == records.LogIndexed.KIND:
        registry.indexed = entry


def _witnessed(registry: Registry, entry: Entry, record: Any) -> None:
    _log(registry, entry, record)
    registry.witnessed = Witnessed(leaf=entry.leaf, record=record)


def _key(registry: Registry, entry: Entry, record: Any) -> None:
    """Which keys sign is the log's own to know; an export carries the records along."""
    _log(registry, entry, record)
    registry.keys[entry.index] = entry.leaf


def _source(registry: Registry, entry: Entry, record: Any) -> None:
    registry.sources[record.source] = after(registry.sources.get(record.source), entry, record)


#: kinds of one record or few, which records of many cases follow
FOLLOWED = (
    "principal:enrolled",
    "role:defined",
    "policy:activated",
    "config:changed",
    "token:enrolled",
    "token:revoked",
    "session:opened",
    "session:closed",
    "signal:received",
    "review:opened",
    "log:started",
    "log:witnessed",
    "key:added",
    "key:retired",
    *campaigns_seen.FOLLOWED,
)

_MOVES: dict[str, Any] = {
    "principal:enrolled": _principal,
    "group:defined": _group,
    "token:enrolled": _token,
    "token:revoked": _token_gone,
    "session:opened": _session,
    "session:closed": _session_gone,
    "signal:received": _signal,
    "role:defined": _role,
    "role:withdrawn": _role_gone,
    "policy:activated": _policy,
    "config:changed": _configuration,
    "access:requested": _requested,
    "drift:scanned": scanned,
    "removal:ordered": ordered,
    "finding:raised": _finding,
    "finding:seen": _finding,
    "grant:authorized": _window,
    "grant:extended": _window,
    "grant:expired": _over,
    "grant:revoked": _over,
    "grant:ended": _over,
    "grant:undone": _over,
    "removal:verified": _gone,
    "case:closed": _closed,
    "log:started": _log,
    "log:heartbeat": _log,
    "log:indexed": _log,
    "log:witnessed": _witnessed,
    "key:added": _key,
    "key:retired": _key,
    "clock:stepped": _log,
    "events:received": _source,
    "events:missed": _source,
    **campaigns_seen.MOVES,
}
