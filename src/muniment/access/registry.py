"""
Who and what the log knows now: a fold over the records of principals, roles, policy and settings.

Everything here carries the head it was read at, so that a decision can name what it rested on.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from muniment.access import records
from muniment.evidence.record import Header
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
    attested: bool
    #: newest record of the principal's case
    head: bytes = b""
    #: the record that last enrolled it: what decisions follow; its `identity` section says who
    leaf: bytes = b""
    index: int = 0


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


@dataclass(frozen=True, kw_only=True)
class OpenGrant:
    """What is needed to take a grant away while the database cannot be read."""

    case: str
    resource: str
    until: datetime
    ended: bool = False


@dataclass
class Registry:
    """Advanced by the log's writer, one checked entry after the other; read by everybody."""

    principals: dict[str, Principal] = field(default_factory=dict)
    #: how often somebody was enrolled: whoever keeps something about people looks again then
    enrolments: int = 0
    tokens: dict[bytes, Token] = field(default_factory=dict)
    roles: dict[tuple[str, str], Role] = field(default_factory=dict)
    policy: InForce | None = None
    configuration: InForce | None = None
    #: moments at which a person broke glass, oldest first
    broken_glass: dict[str, list[datetime]] = field(default_factory=dict)
    #: open or closed review of a case
    reviews: dict[str, str] = field(default_factory=dict)
    #: resource of each access case that is not closed
    open_cases: dict[str, str] = field(default_factory=dict)
    #: every grant that was authorised and is not closed
    grants: dict[str, OpenGrant] = field(default_factory=dict)
    #: where the records lie that others follow
    indexes: dict[bytes, int] = field(default_factory=dict)
    log_case: str = ""
    log_head: bytes = b""

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

    def chain(self, principal: Principal) -> Iterator[Principal]:
        """The principal, and whoever stands behind it."""
        yield principal
        if principal.sponsor is not None and principal.sponsor in self.principals:
            yield self.principals[principal.sponsor]

    def persons(self, principal: Principal) -> tuple[str, ...]:
        """Person ids of the whole chain."""
        return tuple(dict.fromkeys(link.person for link in self.chain(principal)))

    def glass_since(self, person: str, since: datetime) -> int:
        return sum(at >= since for at in self.broken_glass.get(person, ()))


def glass_counter(person: str) -> str:
    """Key of the counter that moves whenever this person breaks glass."""
    return f"broken-glass/{person}"


def counters(header: Header) -> Iterator[str]:
    """The counters that a record moves, besides the head of its own case."""
    if breaks_glass(header):
        yield from (glass_counter(person) for person in records.parse(header).actor.persons)


def breaks_glass(header: Header) -> bool:
    """Whether this record lets somebody break glass: asking for it in vain does not count."""
    return (
        header.kind == records.DecisionEvaluated.KIND
        and header.body.get("outcome") == "break_glass"
        and header.body.get("question") == "request"
    )


GLASS_WINDOW = timedelta(days=30)


def _principal(registry: Registry, entry: Entry, record: Any) -> None:
    registry.enrolments += 1
    registry.principals[entry.header.case] = Principal(
        id=entry.header.case,
        type=record.type,
        person=record.person,
        active=record.active,
        groups=frozenset(record.groups),
        sponsor=record.sponsor,
        attested=record.attested,
        head=entry.leaf,
        leaf=entry.leaf,
        index=entry.index,
    )


def _token(registry: Registry, entry: Entry, record: Any) -> None:
    case = entry.header.case
    registry.tokens[record.token] = Token(principal=case, expires=record.expires)
    registry.principals[case] = replace(registry.principals[case], head=entry.leaf)


def _token_gone(registry: Registry, entry: Entry, record: Any) -> None:
    case = entry.header.case
    registry.tokens.pop(record.token, None)
    registry.principals[case] = replace(registry.principals[case], head=entry.leaf)


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
    registry.open_cases[entry.header.case] = record.resource


def _broken(registry: Registry, entry: Entry, record: records.Record) -> None:
    for person in record.actor.persons:
        registry.broken_glass.setdefault(person, []).append(entry.header.at)


def _review(registry: Registry, entry: Entry, record: Any) -> None:
    registry.reviews[record.about] = entry.header.case


def _window(registry: Registry, entry: Entry, record: Any) -> None:
    case = entry.header.case
    resource = registry.open_cases[case]
    registry.grants[case] = OpenGrant(case=case, resource=resource, until=record.until)


def _over(registry: Registry, entry: Entry, _record: Any) -> None:
    grant = registry.grants.get(entry.header.case)
    if grant is not None:
        registry.grants[grant.case] = replace(grant, ended=True)


def _closed(registry: Registry, entry: Entry, _record: Any) -> None:
    registry.open_cases.pop(entry.header.case, None)
    registry.grants.pop(entry.header.case, None)


def _log(registry: Registry, entry: Entry, _record: Any) -> None:
    registry.log_case, registry.log_head = entry.header.case, entry.leaf


#: kinds of one record or few, which records of many cases follow
FOLLOWED = (
    "principal:enrolled",
    "role:defined",
    "policy:activated",
    "config:changed",
    "token:enrolled",
    "review:opened",
    "log:started",
)

_MOVES: dict[str, Any] = {
    "principal:enrolled": _principal,
    "token:enrolled": _token,
    "token:revoked": _token_gone,
    "role:defined": _role,
    "role:withdrawn": _role_gone,
    "policy:activated": _policy,
    "config:changed": _configuration,
    "access:requested": _requested,
    "review:opened": _review,
    "grant:authorized": _window,
    "grant:extended": _window,
    "grant:expired": _over,
    "grant:revoked": _over,
    "grant:ended": _over,
    "grant:undone": _over,
    "case:closed": _closed,
    "log:started": _log,
    "log:heartbeat": _log,
    "clock:stepped": _log,
}
