"""What every operation works with: the log, what it knows, and the outside as ports."""

import asyncio
import base64
import json
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from muniment.access import records
from muniment.access.case import AccessCase
from muniment.access.lifecycle import advance, fold
from muniment.access.records import Actor, Record, SignIn
from muniment.access.registry import Principal, Registry, Role, Session
from muniment.errors import (
    DiskFull,
    LogInvalid,
    LogUnavailable,
    NotFound,
    Stale,
    Unavailable,
)
from muniment.evidence import canonical, moment
from muniment.evidence.append import Appended, Outcome, Proposal
from muniment.evidence.log import Log
from muniment.evidence.record import Draft
from muniment.evidence.store import Entry, ErasureLedger
from muniment.operations.erase import Erasures
from muniment.operations.identities import Identities
from muniment.operations.observing import Observing
from muniment.operations.owed import Ways, owed
from muniment.operations.pace import Pace
from muniment.operations.projection import call_back, newest_order, project
from muniment.operations.providers import Providers
from muniment.operations.publishing import Publishing
from muniment.operations.replies import Replies
from muniment.policy import bundle as policy_bundle
from muniment.policy.bundle import Bundle
from muniment.ports import (
    Answer,
    Connector,
    Due,
    Halt,
    Notifier,
    Outbound,
    Projections,
    Secret,
    Spool,
)

#: seconds that somebody's question waits for what other nodes have recorded
CATCHING_UP = 1.0
OUTDATED = (
    "this node's files are not the ones in force: put those here, or have these taken in, and "
    "`muniment reload`"
)
#: begins the ids of sessions
SESSIONS = "ses_"


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who is asking, as authenticated."""

    principal: Principal
    #: how: see `records.Actor.assurance`
    assurance: str
    #: None where a static token was shown
    session: Session | None = None
    #: SHA-256 of the static token that was shown; None where it is not known, or there is a session
    token: bytes | None = None

    @property
    def sign_in(self) -> SignIn | None:
        return self.session.sign_in if self.session is not None else None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an operator sets about waiting and asking."""

    approval_window: timedelta = timedelta(hours=8)
    pickup_window: timedelta = timedelta(hours=1)
    #: how long the target may take over an order
    order_timeout: timedelta = timedelta(seconds=10)
    #: requests of one principal that may be undecided, or made within a minute
    asks_per_minute: int = 60
    review_window: timedelta = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class Callback:
    """A place that may be told of decisions, as an administrator registered it."""

    #: exactly what a client has to name
    endpoint: str
    #: logins of those who may name it
    principals: frozenset[str]
    #: what signs the notices: both sides know it, nobody else
    secret: Secret
    #: origins that may lie inside our own network, or be without TLS
    allow: frozenset[str] = frozenset()


@dataclass(kw_only=True)
class Service:
    """One running Muniment. Operations are functions over it; only they write records."""

    log: Log
    registry: Registry
    projections: Projections
    ledger: ErasureLedger
    erasures: Erasures
    spool: Spool
    connectors: Mapping[str, Connector]
    prefix: str
    limits: Limits = field(default_factory=Limits)
    business_hours: Callable[[datetime], bool] = lambda _: True
    #: free bytes where the log lies; below so many of them only ends and outcomes may append
    space: Callable[[], int] = lambda: 1 << 62
    reserve: int = 0
    #: where decisions may be told, by endpoint
    callbacks: Mapping[str, Callback] = field(default_factory=dict)
    #: the way out by HTTP; without one nobody is called
    outbound: Outbound | None = None
    #: what tells people, by its name in the configuration
    notifiers: Mapping[str, Notifier] = field(default_factory=dict)
    #: begins the links in notices; empty where the service does not know its address
    public_url: str = ""
    ways: Ways = field(default_factory=Ways)
    pace: Pace = field(default_factory=Pace)
    #: what seals and signs that which clients carry back to us: the same in every process
    sealing_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    #: cases whose order is with a target at this moment
    ordering: set[str] = field(default_factory=set)
    #: cases that somebody's request is ending at this moment: the worker leaves them to it
    ending: set[str] = field(default_factory=set)
    #: two attempts on one end look into the spool and add to it one after the other
    spooling: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: ends that were done while neither the log nor its spool could be written
    unspooled: list[dict[str, Any]] = field(default_factory=list)
    #: set whenever there may be new due work
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    replies: Replies = field(default_factory=Replies)
    publishing: Publishing = field(default_factory=Publishing)
    #: None in tests
    halted: Halt | None = None
    observing: Observing = field(default_factory=Observing)
    #: who vouches for people and workloads
    providers: Providers = field(default_factory=Providers)
    #: answered without a record since the last heartbeat, by reason
    unrecorded: dict[str, int] = field(default_factory=dict)
    #: when each principal asked lately, in elapsed seconds
    asks: dict[tuple[str, str], deque[float]] = field(default_factory=dict)
    #: idempotency keys whose first request is being answered at this moment
    answering: set[tuple[str, str]] = field(default_factory=set)
    #: whether other nodes append to the same log
    shared: bool = False
    #: SHA-256 of the configuration that this process was built from; None: nobody looks
    configuration: bytes | None = None
    #: of the one that it is taking in at this moment
    taking_in: bytes | None = None
    _bundles: dict[bytes, Bundle] = field(default_factory=dict)
    _definitions: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    _identities: Identities = field(init=False)
    #: size of the log when this process began
    _began_at: int = field(init=False)

    def __post_init__(self) -> None:
        self._identities = Identities(self.log, self.registry, self.erasures)
        self._began_at = self.log.size

    # --- time and names ----------------------------------------------------------------------

    def now(self) -> datetime:
        return moment.whole(self.log.clock.now())

    def new_case(self, prefix: str | None = None) -> str:
        return new_id(prefix or self.prefix)

    def count(self, reason: str) -> None:
        """Something was answered without a record: the next heartbeat says how often."""
        self.unrecorded[reason] = self.unrecorded.get(reason, 0) + 1

    # --- other nodes -------------------------------------------------------------------------

    async def catch_up(self, seconds: float = CATCHING_UP) -> bool:
        """
        Know whatever other nodes had recorded by now: who was answered there may ask here next.

        False where that was not learnt in time: what is known has to do, and may be too little.
        """
        if not self.shared:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self.replies.of(self.log.follow())
        except (LogUnavailable, TimeoutError):
            return False
        return True

    @property
    def outdated(self) -> str | None:
        """
        What is wrong with the files that this process was built from; None while they hold.

        Where it is the only one, what was in force before it began is no trouble: its files were
        refused then, and the old state goes on. Of several nodes others have the files in force.
        """
        in_force = self.registry.configuration
        if self.configuration is None or in_force is None:
            return None
        same = in_force.digest in (self.configuration, self.taking_in)
        goes_on = not self.shared and in_force.index < self._began_at
        return None if same or goes_on else OUTDATED

    def files_in_force(self) -> dict[str, bytes | None]:
        """
        The head that a decision reads which gives access by the files of this node.

        Raises `Unavailable` while other files are in force.
        """
        in_force = self.registry.configuration
        if (why := self.outdated) is not None:
            raise Unavailable(why)
        return {} if in_force is None else {in_force.case: in_force.head}

    # --- whether access can be granted -------------------------------------------------------

    def free_disk(self) -> int:
        """Free bytes where the log lies; none where that cannot be read."""
        try:
            return self.space()
        except OSError:
            return 0

    def troubles(self) -> list[str]:
        """Why nothing can be granted at the moment; empty when all is well."""
        found = [self.log.trouble, self.log.clock.trouble, self.outdated]
        if (free := self.free_disk()) < self.reserve:
            found.append(f"{DiskFull()} ({free:,} bytes of {self.reserve:,})")
        return [trouble for trouble in found if trouble is not None]

    # --- what the log knows ------------------------------------------------------------------

    def policy(self) -> Bundle:
        """The bundle in force, loaded from the documents that the log names."""
        in_force = self.registry.policy
        if in_force is None:
            raise Unavailable("no policy was ever activated; nothing can be decided")
        if in_force.digest not in self._bundles:
            self._bundles = {in_force.digest: self._load(in_force.digest)}
        return self._bundles[in_force.digest]

    def _load(self, digest: bytes) -> Bundle:
        manifest = self.document(digest)
        files: dict[str, bytes] = {}
        for line in manifest.decode().splitlines():
            name, _, path = line.partition("  ")
            files[path] = self.document(bytes.fromhex(name))
        return policy_bundle.load(files)

    def document(self, digest: bytes) -> bytes:
        content = self.log.store.document(digest)
        if content is None:
            raise LogInvalid(f"the document `{digest.hex()}` is gone from the database")
        return content

    def definition(self, digest: bytes) -> dict[str, Any]:
        """A role definition: what its document says."""
        if digest not in self._definitions:
            self._definitions[digest] = json.loads(self.document(digest))
        return self._definitions[digest]

    def role(self, resource: str, role: str) -> Role:
        found = self.registry.role(resource, role)
        if found is None:
            known = sorted(
                f"{r.resource} {r.role}"
                for r in list(self.registry.roles.values())
                if not r.withdrawn
            )
            raise NotFound(
                f"there is no role `{role}` on `{resource}`; there are: {', '.join(known)}"
            )
        return found

    def connector(self, resource: str) -> Connector:
        try:
            return self.connectors[resource]
        except KeyError:
            raise Unavailable(f"no connector is configured for `{resource}`") from None

    def actor(self, caller: Caller) -> Actor:
        # as the log has it now: an attempt that lost is made again
        principal = self.registry.principals[caller.principal.id]
        return Actor(
            principal=principal.id,
            type=principal.type,
            sponsor=principal.sponsor,
            persons=self.registry.persons(principal),
            assurance=caller.assurance,
            sign_in=caller.sign_in,
        )

    def rests_on(
        self, *principals: Principal, role: Role | None = None, session: Session | None = None
    ) -> "Grounds":
        """The heads that a decision about these reads, and the records that it follows."""
        grounds = Grounds()
        if session is not None:
            grounds.add(session.case, session.head)
        if self.registry.policy is not None:
            grounds.add(self.registry.policy.case, self.registry.policy.head)
        if role is not None:
            grounds.add(role.case, role.head)
        for principal in principals:
            for link in self.registry.chain(principal):
                grounds.add(link.id, link.head, link.leaf)
        return grounds

    @property
    def names(self) -> Mapping[str, str]:
        """Principal ids by login: from the sealed identities that are still there."""
        return self._identities.names

    def identity(self, case: str) -> Mapping[str, Any] | None:
        """Who a principal is, or how a group is shown; None where that was erased."""
        return self._identities.of(case)

    def account(self, issuer: str, subject: str) -> Principal | None:
        """The human whom a provider knows so."""
        id_ = self._identities.account(issuer, subject)
        return None if id_ is None else self.registry.principals[id_]

    def forget_identity(self, principal: str) -> None:
        """Its section was erased: what was read of it goes too."""
        self._identities.forget(principal)

    # --- cases -------------------------------------------------------------------------------

    def find_case(self, beginning: str) -> str:
        """The case id that begins so; raises `NotFound` for none or more than one."""
        found = self.projections.case_ids(beginning)
        if len(found) != 1:
            why = "no case begins" if not found else "more than one case begins"
            raise NotFound(f"{why} with `{beginning:.80}`")
        return found[0]

    def read(self, case: str) -> tuple[AccessCase, list[Entry]]:
        """An access case, folded from records that were just proved to be in the log."""
        entries = self.log.read_case(case)
        if not entries or entries[0].header.kind != records.AccessRequested.KIND:
            raise NotFound(f"there is no access case `{case}`")
        return self.fold(entries), entries

    def fold(self, entries: Iterable[Entry]) -> AccessCase:
        return fold(self.log.log_id, ((entry.header, entry.leaf) for entry in entries))

    def section(self, entry: Entry, name: str) -> dict[str, Any] | None:
        """A section's content; None when it was erased."""
        content = self.erasures.left(entry, self.log.read_sections(entry)).get(name)
        return None if content is None else json.loads(content)

    # --- writing -----------------------------------------------------------------------------

    async def append(self, item: Proposal | Outcome) -> Appended:
        appended = await self.replies.of(self.log.append(item))
        self.wake.set()
        return appended

    def owed(self, before: AccessCase, placed: Sequence[Entry]) -> tuple[Due, ...]:
        """Of which of these records somebody has to be told."""
        ways = self.ways.of(self.log, self.registry.configuration)
        own = before.id or (placed[0].header.case if placed else "")
        return owed(ways, before, (entry for entry in placed if entry.header.case == own))

    async def propose(
        self,
        drafts: Sequence[Draft],
        reads: Mapping[str, bytes | None],
        before: AccessCase | None = None,
        *,
        gives: bool = True,
        urgent: bool = False,
        also: Sequence[Any] = (),
    ) -> tuple[AccessCase, Appended]:
        """
        Append to one access case, on the state that the decision saw; returns it as it then is.

        Records that do not fold are refused. Raises `Stale` if something that was read has moved,
        and where another node has answered under the same idempotency key.
        """
        case = drafts[0].case
        start = before or AccessCase(log_id=self.log.log_id)
        after: list[AccessCase] = []

        def companions(entries: Sequence[Entry]) -> Iterable[Any]:
            self.check_unanswered(also)
            after.append(advance_all(start, (e for e in entries if e.header.case == case)))
            told = (*call_back(after[-1]), *self.owed(start, entries))
            return (*project(after[-1]), *told, *also)

        appended = await self.append(
            Proposal(
                drafts=tuple(drafts),
                reads={case: before.head if before is not None else None, **reads},
                gives=gives,
                urgent=urgent,
                companions=companions,
            )
        )
        return after[-1], appended

    def check_unanswered(self, also: Iterable[Any]) -> None:
        """
        Raises `Stale` for what another node has answered meanwhile.

        For companions of an append: while those are made nobody else can write.
        """
        for each in also if self.shared else ():
            if isinstance(each, Answer) and self.projections.answer(
                each.principal, each.operation, each.key
            ):
                raise Stale(f"`{each.operation}` was answered under this key meanwhile")

    async def conclude(
        self,
        case: str,
        build: Callable[[AccessCase], Sequence[Draft]],
        *,
        order: bytes | None = None,
    ) -> tuple[AccessCase, Appended]:
        """
        Append an end, or the outcome of something done, on whatever state the case is in.

        Returns the case as it then is; as it was, where `build` found nothing to append, or where
        `order`, the authorisation of what was done, is no longer the newest of the case.
        """
        after: list[AccessCase] = []

        def on_head(
            entries: Sequence[Entry],
        ) -> tuple[Sequence[Draft], Callable[[Sequence[Entry]], Iterable[Any]]]:
            before = self.fold(entries)
            after.append(before)

            def companions(placed: Sequence[Entry]) -> Iterable[Any]:
                after.append(advance_all(before, placed))
                told = (*call_back(after[-1]), *self.owed(before, placed))
                return (*project(after[-1]), *told)

            stands = order is None or order == newest_order(entries)
            return build(before) if stands else (), companions

        appended = await self.append(Outcome(case=case, build=on_head))
        return after[-1], appended


@dataclass
class Grounds:
    """What a decision rests on."""

    reads: dict[str, bytes | None] = field(default_factory=dict)
    follows: list[bytes] = field(default_factory=list)

    def add(self, case: str, head: bytes, leaf: bytes | None = None) -> None:
        self.reads[case] = head
        if (leaf or head) not in self.follows:
            self.follows.append(leaf or head)


def advance_all(case: AccessCase, entries: Iterable[Entry]) -> AccessCase:
    for entry in entries:
        case = advance(case, entry.header, entry.leaf)
    return case


def close(drafts: list[Draft], case: str, length: int, at: datetime) -> list[Draft]:
    """The drafts of a case that has `length` records so far, with its closing behind them."""
    own = sum(draft.case == case for draft in drafts)
    closed = records.CaseClosed(actor=records.SERVICE, records=length + own + 1)
    return [*drafts, closed.draft(case, at)]


def record_of(entry: Entry) -> Record:
    return records.parse(entry.header)


def new_id(prefix: str) -> str:
    """128 random bits in base32 behind a prefix: names a case, and nothing about it."""
    return f"{prefix}_{base64.b32encode(secrets.token_bytes(16)).decode().rstrip('=').lower()}"


def content(value: object) -> bytes:
    """Section content: canonical JSON."""
    return canonical.encode(value)
