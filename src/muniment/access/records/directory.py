"""Who and what there is: people, tokens, sessions, roles, configuration, policy."""

from dataclasses import dataclass
from datetime import datetime

from muniment.access.records.record import Record


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
