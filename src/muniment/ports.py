"""
All that Muniment asks of the outside, with the promises that each side keeps.

A port is async where it waits for a network, and sync where it does not.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol, runtime_checkable

from muniment.access.records import Capabilities, EndpointView
from muniment.oversight.inventory import Account as Account  # noqa: PLC0414 (of this port)
from muniment.oversight.inventory import Gives as Gives  # noqa: PLC0414 (likewise)
from muniment.oversight.inventory import Inventory as Inventory  # noqa: PLC0414 (likewise)
from muniment.oversight.inventory import Privilege as Privilege  # noqa: PLC0414 (likewise)
from muniment.oversight.inventory import Session as Session  # noqa: PLC0414 (likewise)


class Clock(Protocol):
    """Two readings of one moment. Only `runtime` implements this with real clocks."""

    def now(self) -> datetime:
        """The wall clock: aware, UTC."""
        ...

    def elapsed(self) -> float:
        """Seconds since boot, suspension included; never steps."""
        ...


class Secret:
    """A credential on its way to its holder. Its text never shows in a repr, a log or an error."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__


@dataclass(frozen=True, kw_only=True)
class GrantOrder:
    """What a connector is told to create at its target."""

    #: the case id, `<prefix>_<26 characters of base32>`; names the account at the target
    grant: str
    #: leaf hash (hex) of the `grant:authorized` record that allows this
    authorization: str
    #: the connector's own part of the role definition, checked by `Connector.check_role`
    role: Mapping[str, Any]
    #: end of the window, UTC: the target's second line of defence
    until: datetime
    #: latest moment, in the *target's* clock, at which the target may carry out the order
    deadline: datetime


@dataclass(frozen=True, kw_only=True)
class Issued:
    """What was created. `secret` is handed to the holder and kept nowhere."""

    secret: Secret
    #: how to reach the target with the secret: host, port, database, user …; nothing secret
    connection: Mapping[str, str]
    #: the account's name at the target
    account: str
    #: SHA-256 (hex) that tells one credential from another without revealing it: a digest of
    #: material that is itself random, never of the secret's text alone
    fingerprint: str
    #: when the target itself stops accepting new logins; None where it never does
    native_expiry: datetime | None
    #: identity of the target, stable over restarts, different for a copy or a restored snapshot
    target: str


@dataclass(frozen=True, kw_only=True)
class Revoked:
    """What `revoke` ended. Calling it again when nothing is left gives zeros, not an error."""

    accounts: int
    sessions: int


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One look at every endpoint of a target, independent of what `revoke` reported."""

    endpoints: tuple[EndpointView, ...]

    @property
    def shows_nothing_left(self) -> bool:
        """True only if every endpoint answered, was not blind, and had nothing of the grant."""
        return bool(self.endpoints) and all(
            view.saw_itself and not view.accounts and not view.sessions and not view.trouble
            for view in self.endpoints
        )


@dataclass(frozen=True, kw_only=True)
class Activity:
    """One line of a target's own log that belongs to a grant."""

    #: from a field which the holder cannot choose
    grant: str
    at: datetime
    #: the target's own name for the session
    session: str
    #: `login`, `refused`, `statement`, `error`, `killed`, `logout`
    action: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class MissingRight:
    """One right that the connector's own account lacks, and the statement that gives it."""

    endpoint: str
    right: str
    remedy: str
    #: without it nothing can be granted; else only evidence of the target's own is missing
    needed: bool = True


@dataclass(frozen=True, kw_only=True)
class TargetSettings:
    """What a connector is built from: one resource of the configuration."""

    resource: str
    #: prefix of this installation's grant ids; accounts of ours begin with `<prefix>_`
    prefix: str
    #: the resource's own table in `muniment.toml`, without the parts every resource has
    options: Mapping[str, Any]
    #: secrets that `options` refers to, already read, by option name
    secrets: Mapping[str, Secret] = field(default_factory=dict)


class Connector(Protocol):
    """
    One kind of target. Implementations are found by entry point `muniment.connectors`.

    Every method may raise `TargetUnavailable`, and one that gives an order `OrderLate`; their texts
    hold no secret. Every method is safe to call again after it failed half-way or was cancelled.
    One instance serves one resource and may be called by many grants at once.
    """

    #: name in the configuration: `connector = "postgresql"`
    kind: ClassVar[str]
    #: names of options that are references to secrets (`env:NAME`, `file:PATH`)
    secret_options: ClassVar[tuple[str, ...]]

    def __init__(self, settings: TargetSettings) -> None:
        """Raises `ConfigInvalid` naming the option and what to write instead. Does not connect."""
        ...

    @property
    def capabilities(self) -> Capabilities: ...

    def check_role(self, role: Mapping[str, Any]) -> None:
        """Raises `ConfigInvalid` if this is no role definition that `issue` understands."""
        ...

    async def now(self) -> datetime:
        """The target's clock, UTC, read just before an order's deadline is set."""
        ...

    async def issue(self, order: GrantOrder) -> Issued:
        """
        Create the account, or give it a new secret and window if it is there already.

        After it returns exactly one secret works. The target itself rejects the order once its
        clock is past `order.deadline`, also if this process was stopped in between.
        """
        ...

    async def extend(self, grant: str, until: datetime, deadline: datetime) -> datetime | None:
        """Move the native expiry of a live grant; returns the new one. The secret stays."""
        ...

    async def revoke(self, grant: str) -> Revoked:
        """
        Block new logins, end live sessions, remove the account: in this order, on every endpoint.

        Succeeds also when the account is partly or wholly gone, and against a holder who
        reconnects in a loop.
        """
        ...

    async def probe(self, grant: str) -> Probe:
        """Look, on connections of its own, at every endpoint; what fails becomes `trouble`."""
        ...

    async def inventory(self) -> Inventory: ...

    def read_log(self, lines: Iterable[str]) -> Iterator[Activity]:
        """The lines of the target's own log that belong to grants of this installation."""
        ...

    async def missing_rights(self) -> tuple[MissingRight, ...]:
        """What the connector's account lacks for the roles of this resource; connects."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class TellsRoles(Protocol):
    """
    What a connector may do besides: say what its roles are made of at the target.

    Without it an account of a grant is not held against its role.
    """

    def gives(self, role: Mapping[str, Any]) -> Gives:
        """Of a role definition that `Connector.check_role` has let pass. Does not connect."""
        ...


@runtime_checkable
class TellsRemovals(Protocol):
    """Likewise: say how somebody with every right takes away an account that we did not make."""

    def removal_of(self, account: str) -> tuple[str, ...]:
        """Statements in their order, ready to be pasted, whatever the account is called."""
        ...


# --- projections: tables beside the log, rebuilt from it at will ------------------------------


@dataclass(frozen=True, kw_only=True)
class CaseRow:
    """One line of a list. Never read by a decision."""

    case: str
    #: `access`, `review`, `finding`: see `operations.findings` for what its line has where
    kind: str
    state: str
    requester: str
    resource: str
    role: str
    #: groups whose approval is still missing
    groups: tuple[str, ...]
    #: break-glass that nobody else has reviewed yet
    marked: bool
    opened_at: str
    changed_at: str
    until: str | None
    #: of a review, the break-glass case that it is about; of an access case, the batch that it was
    #: asked in
    about: str
    records: int
    closed: bool = False


@dataclass(frozen=True, kw_only=True)
class Due:
    """When the worker has to look at a case next; None clears it."""

    #: a case id; or `callback/…` or `notice/…` where somebody has to be told of something
    case: str
    at: str | None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was answered under an idempotency key: the case, and a digest of the request's body."""

    principal: str
    operation: str
    key: str
    body: bytes
    case: str
    at: str


class Projections(Protocol):
    """Lists and due work. Written only as companions of an append, or to put them right."""

    def cases(
        self,
        *,
        kind: str = "access",
        states: Iterable[str] = (),
        requester: str | None = None,
        about: str | None = None,
        closed: bool | None = None,
        waiting: bool = False,
        before: str | None = None,
        limit: int = 100,
    ) -> list[CaseRow]:
        """
        Newest first; `before` is the case id at which the last page ended.

        `waiting` leaves only those that wait for somebody's approval.
        """
        ...

    def case_ids(self, beginning: str, limit: int = 2) -> list[str]:
        """Case ids that begin with this."""
        ...

    def case_row(self, case: str) -> CaseRow | None: ...

    def due(self, now: str, limit: int = 500, *, callbacks: bool = False) -> list[str]:
        """Cases whose moment has come, the most overdue first; or, apart, whom to tell of them."""
        ...

    def claim(
        self,
        now: str,
        limit: int = 500,
        *,
        working: Collection[str] = (),
        resting: Collection[str] = (),
        callbacks: bool = False,
    ) -> list[str]:
        """
        Like `due`, for one of several workers: what no other has claimed is ours for a lease.

        What we are `working` on stays ours and is left out; what is `resting` after an attempt is
        left out, and others may try it. That two never work on one case is no promise: whatever
        they do is safe to do twice.
        """
        ...

    def lead(self, duty: str) -> bool:
        """Whether we are the one of several nodes that does this, for a lease from now on."""
        ...

    def due_at(self, case: str) -> str | None: ...

    def next_due(self, after: str) -> str | None:
        """The first moment after this one at which something comes due."""
        ...

    def answer(self, principal: str, operation: str, key: str) -> Answer | None: ...

    def put_right(
        self, lines: Iterable[tuple[CaseRow, Iterable[Due]]], unknown: Iterable[str] = ()
    ) -> None:
        """
        Write these lines, each with what is due about its case, in one transaction.

        Whatever was appended to a case meanwhile has written its line since: it is left alone where
        the log has more records of the case than the line speaks of. The lines of `unknown` cases
        go, where the log has no record of them.
        """
        ...


class Spool(Protocol):
    """Keeps the outcomes of ends while the log cannot be written. Nothing personal, no secret."""

    def add(self, line: dict[str, Any]) -> None:
        """Durable when it returns."""
        ...

    def waiting(self) -> list[dict[str, Any]]:
        """Oldest first."""
        ...

    def clear(self, count: int) -> None:
        """The first `count` lines stand in the log now."""
        ...


class Halt(Protocol):
    """Remembers that somebody remembers another history of the log: over restarts."""

    def keep(self, why: str, note: bytes) -> None:
        """With the checkpoint that shows it. Durable when it returns."""
        ...


# --- tokens of others -------------------------------------------------------------------------


class SeenKeys(Protocol):
    """The public keys with which a token was verified."""

    @property
    def document(self) -> bytes:
        """Canonical JSON: a JWKS of exactly the public keys."""
        ...

    @property
    def digest(self) -> bytes:
        """SHA-256 of the document."""
        ...


class VerifiedToken(Protocol):
    """Somebody else's token: every signature, date and audience in it was checked."""

    @property
    def provider(self) -> str:
        """The provider's name in the configuration."""
        ...

    @property
    def kind(self) -> str: ...

    @property
    def issuer(self) -> str: ...

    @property
    def subject(self) -> str: ...

    @property
    def claims(self) -> Mapping[str, Any]: ...

    @property
    def expires(self) -> datetime | None: ...

    @property
    def token_hash(self) -> bytes:
        """SHA-256 of the token."""
        ...

    @property
    def twin_hash(self) -> bytes | None:
        """Of the one other text that the same signed token has; None where there is none."""
        ...

    @property
    def keys(self) -> SeenKeys: ...


class TokenVerifier(Protocol):
    """Believes what the configured providers sign, and nothing else."""

    async def verify(self, token: str, now: datetime, *, kinds: Collection[Any]) -> VerifiedToken:
        """Raises `Unauthenticated` for what does not hold, `Unavailable` without known keys."""
        ...


# --- the way out by HTTP ----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a server sent back. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Outbound(Protocol):
    """
    One HTTP exchange with somebody else's server, at an address that others may have named.

    Only `https` on public addresses, unless `allow` names the origin (`http://10.0.0.7:9000`) as
    one that an administrator vouches for. The addresses that a name resolves to are checked, and
    the connection goes to one of exactly those. No redirect is followed, no proxy of the
    environment used, no cookie kept.
    """

    async def check(self, url: str, *, allow: Collection[str] = ()) -> None:
        """Would `fetch` call this? Raises `AddressRefused`, or `Unavailable` without an answer."""
        ...

    async def fetch(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout: float,  # noqa: ASYNC109 (one bound on all of it: names, connection, exchange)
        max_bytes: int,
        allow: Collection[str] = (),
    ) -> Reply:
        """
        Whatever the server answered, a redirect or an error too, within `timeout` seconds.

        Raises `AddressRefused` for an address that is not called, and `Unavailable` if the server
        did not answer in time or sent more than `max_bytes`. Neither text holds more of the URL
        than its host.
        """
        ...


# --- who is told ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What somebody is told. It gives nothing: whoever acts on it has to sign in."""

    #: stays the same when it is sent again
    id: str
    event: str
    case: str
    #: when that happened
    at: datetime
    #: one line
    title: str
    text: str
    html: str
    #: the log's newest signed checkpoint, for its reader to keep
    checkpoint: str
    #: the same for programs: JSON
    facts: Mapping[str, Any]


class Notifier(Protocol):
    """One way of telling somebody. Nothing that it raises or logs holds a secret of its URL."""

    #: one person at an address, and not whoever reads a channel
    personal: ClassVar[bool]

    async def tell(self, notice: Notice, address: str = "") -> None:
        """Raises `AddressRefused` where nothing is sent, `Unavailable` where it was not taken."""
        ...
