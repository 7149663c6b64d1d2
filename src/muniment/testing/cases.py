"""
Whole cases written record by record into a real log, for tests of evidence and its readers.

No operation runs here: every record is made by hand, so that a test may also write one that no
operation would. The clock is a value that tests move.
"""

import base64
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from muniment.access import lifecycle, records, registry
from muniment.access.case import AccessCase
from muniment.access.records import Actor, Capabilities, EndpointView, Record
from muniment.evidence.append import Appended, Proposal
from muniment.evidence.clock import SteadyClock
from muniment.evidence.founding import found_log
from muniment.evidence.log import Log
from muniment.evidence.note import SigningKey
from muniment.evidence.record import Draft, digest
from muniment.evidence.signer import Keyring
from muniment.evidence.store import Entry
from muniment.operations import export
from muniment.operations.erase import Erasures, erase_section
from muniment.policy import bundle as policy_bundle
from muniment.policy import starter
from muniment.policy.bundle import Bundle as Policy
from muniment.policy.decide import Decision, ask
from muniment.policy.questions import (
    AccessFacts,
    ApprovalFacts,
    PrincipalFacts,
    Reference,
    RoleFacts,
)
from muniment.stores.head_file import HeadFile, LedgerFile
from muniment.stores.sqlite import SQLiteStore

ORIGIN = "muniment.example/log"
START = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
ROLE = RoleFacts(
    resource="orders-prod", role="readwrite", tier="prod", environment="production",
    data="internal", kind="postgresql",
)  # fmt: skip
CAPABILITIES = Capabilities(
    expires_new_logins=True,
    expires_live_sessions=False,
    kills_live_sessions=True,
    log_names_grant=True,
    enforces_deadline=True,
    extends_live=True,
    endpoints=("primary",),
)


def new_case(prefix: str) -> str:
    return f"{prefix}_{base64.b32encode(secrets.token_bytes(16)).decode().rstrip('=').lower()}"


@dataclass(frozen=True)
class Person:
    """Somebody enrolled in the log."""

    facts: PrincipalFacts
    enrolled: Entry

    @property
    def actor(self) -> Actor:
        return Actor(
            principal=self.facts.id, type=self.facts.kind, sponsor=self.facts.sponsor,
            persons=(self.facts.person,), assurance="session",
        )  # fmt: skip


@dataclass
class WrittenLog:
    """A log in a folder, and what it takes to write to it."""

    folder: Path
    key: SigningKey = field(default_factory=lambda: SigningKey.generate(ORIGIN))
    now: datetime = START

    def __post_init__(self) -> None:
        self.path = self.folder / "muniment.db"
        self.store = SQLiteStore(self.path)
        self.heads = HeadFile(self.folder / "head")
        self.ledger = LedgerFile(self.folder / "erasures")
        if self.store.tail() is None:
            found_log(self.store, self.heads, self.keyring, lambda key: self._started(str(key)))
        self.registry = registry.Registry()
        self.erasures = Erasures()
        clock = SteadyClock(lambda: self.now, self._elapsed)
        self.log = Log(self.store, self.heads, self.keyring, clock, counters=registry.counters)
        self.log.open(self.registry.take, self.erasures.take)

    @property
    def keyring(self) -> Keyring:
        return Keyring.of(self.key)

    def _started(self, key: str) -> Draft:
        started = records.LogStarted(
            actor=records.SERVICE, origin=self.key.name, key=key, nonce=secrets.token_bytes(16)
        )
        return started.draft(new_case("log"), self.now)

    def _elapsed(self) -> float:
        return (self.now - START).total_seconds()

    def close(self) -> None:
        self.log.close()
        self.store.close()
        self.heads.close()

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def append(
        self,
        case: str,
        record: Record,
        *,
        follows: Iterable[Entry] = (),
        sections: Mapping[str, bytes] | None = None,
        documents: tuple[bytes, ...] = (),
    ) -> Entry:
        """One record in a batch of its own, under a checkpoint of its own."""
        draft = record.draft(
            case, self.now, follows=tuple(entry.leaf for entry in follows),
            sections=dict(sections or {}), documents=documents,
        )  # fmt: skip
        return self.propose(draft).entries[0]

    def propose(self, *drafts: Draft) -> Appended:
        reads = {draft.case: self.log.head(draft.case) for draft in drafts}
        appended = self.log.append(Proposal(drafts=drafts, reads=reads)).result(timeout=30)
        self.pass_time(0.25)
        return appended

    # --- who and what ------------------------------------------------------------------------

    def activate(self, files: Mapping[str, bytes]) -> tuple[Policy, Entry]:
        policy = policy_bundle.load(files)
        activated = records.PolicyActivated(
            actor=records.SERVICE, bundle=bytes.fromhex(policy.digest), previous=None, source="file"
        )
        documents = (policy.manifest, *policy.files.values())
        return policy, self.append(new_case("pol"), activated, documents=documents)

    def define(self, role: RoleFacts, definition: bytes) -> Entry:
        defined = records.RoleDefined(
            actor=records.SERVICE, resource=role.resource, role=role.role,
            definition=digest(definition), tier=role.tier, environment=role.environment,
            data=role.data, connector=role.kind,
        )  # fmt: skip
        return self.append(new_case("rol"), defined, documents=(definition,))

    def enrol(self, name: str, *groups: str, active: bool = True) -> Person:
        facts = PrincipalFacts(
            id=new_case("prn"), kind="human", person=new_case("per"), active=active,
            groups=frozenset(groups),
        )  # fmt: skip
        enrolled = records.PrincipalEnrolled(
            actor=records.SERVICE, type=facts.kind, person=facts.person, active=active,
            groups=tuple(sorted(groups)), sponsor=None, source="file",
        )  # fmt: skip
        identity = f'{{"login":"{name}"}}'.encode()
        return Person(facts, self.append(facts.id, enrolled, sections={"identity": identity}))

    # --- evidence ----------------------------------------------------------------------------

    def fold(self, case: str) -> AccessCase:
        entries = self.log.read_case(case)
        return lifecycle.fold(self.log.log_id, ((entry.header, entry.leaf) for entry in entries))

    def erase(self, entry: Entry, section: str, rule: str) -> Entry:
        """Intent, ledger, database: as the operation does it."""
        case = new_case("ers")
        erased = records.RecordErased(
            actor=records.SERVICE, record=entry.header.id, section=section, rule=rule
        )
        record = self.append(case, erased, follows=[entry])
        self.append(case, records.CaseClosed(actor=records.SERVICE, records=2))
        erase_section(self.log, self.ledger, entry, section, rule)
        return record

    def export(
        self,
        case: str,
        *,
        give: Callable[[Entry, str], bool] = lambda _entry, _section: True,
        follows: Iterable[Entry] = (),
        sizes: Iterable[int] = (),
        changed: Callable[[records.EvidenceExported], records.EvidenceExported] = lambda same: same,
        witness_policy: bytes = b"",
        publish: Callable[[int], None] = lambda _size: None,
    ) -> bytes:
        """
        The bytes of a bundle; `changed` may make its last record say something else.

        `publish` is called with the size that the bundle has to be covered by.
        """
        plan = export.plan(
            self.log, self.registry, self.erasures, case, give=give, follows=follows, sizes=sizes,
            witness_policy=witness_policy,
        )  # fmt: skip
        record, own = changed(plan.record(records.SERVICE)), new_case("exp")
        closed = records.CaseClosed(actor=records.SERVICE, records=2)
        appended = self.propose(
            record.draft(own, self.now, follows=plan.follows, documents=plan.documents),
            closed.draft(own, self.now),
        )
        publish(appended.entries[0].index + 1)
        return export.assemble(self.log, plan, appended.entries[0])


@dataclass
class WrittenCase:
    """
    The life of one access case, a method a step: `whole` goes from the request to its closing.

    Ana asks for `orders-prod/readwrite`, which takes one of the SRE leads; Cy is one.
    """

    written: WrittenLog

    def __post_init__(self) -> None:
        written = self.written
        self.id = new_case("mun")
        self.policy, self.activated = written.activate(starter.files())
        self.definition = b'{"connector":"postgresql","role":{"member_of":["orders_rw"]}}'
        self.role = written.define(ROLE, self.definition)
        self.ana = written.enrol("ana", "engineering")
        self.cy = written.enrol("cy", "engineering", "sre-leads")
        #: where the records of the case lie, by kind; of several the newest
        self.entries: dict[str, Entry] = {}

    @property
    def state(self) -> AccessCase:
        return self.written.fold(self.id)

    def whole(self) -> "WrittenCase":
        self.requested()
        self.approved()
        self.authorized()
        self.issued()
        self.expired()
        self.removed()
        return self

    def append(
        self,
        record: Record,
        *,
        follows: Iterable[Entry] = (),
        sections: Mapping[str, bytes] | None = None,
    ) -> Entry:
        entry = self.written.append(self.id, record, follows=follows, sections=sections)
        self.entries[record.KIND] = entry
        return entry

    def requested(self) -> None:
        request = records.AccessRequested(
            actor=self.ana.actor, requester=self.ana.facts.id, resource=ROLE.resource,
            role=ROLE.role, definition=sha256(self.definition).digest(),
            environment=ROLE.environment, seconds=1800, emergency=False,
        )  # fmt: skip
        self.append(request, sections={"reason": b'{"text":"orders are stuck","ticket":"OPS-12"}'})
        self.decided("request")

    def decided(self, question: str) -> None:
        """The policy is asked, and its answer recorded as it is."""
        decision = ask(self.policy, self.access_facts())
        self.append(
            self.decision(decision, question),
            follows=[self.activated, self.role, self.ana.enrolled],
            sections={"decision": decision.content()},
        )

    def access_facts(self) -> AccessFacts:
        return AccessFacts(
            requester=self.ana.facts, sponsor=None, role=ROLE, seconds=1800,
            now=f"{self.written.now:%Y-%m-%dT%H:%M:%S}.000Z", business_hours=True, emergency=False,
            break_glass_last_30d=0,
            ticket=Reference(id="OPS-12", state="claimed", source="claimed"),
        )  # fmt: skip

    def decision(self, decision: Decision, question: str) -> records.DecisionEvaluated:
        return records.DecisionEvaluated(
            actor=self.ana.actor, question=question, outcome=decision.outcome,
            bundle=bytes.fromhex(decision.bundle), engine=str(decision.header()["engine"]),
            rules=tuple(rule.id for rule in decision.rules), approvals=decision.approvals,
            max_seconds=decision.max_seconds or 0, requires=decision.requires,
            notifies=decision.notifies, deadline=self.written.now + timedelta(hours=8),
            pickup_seconds=3600, standing=(),
        )  # fmt: skip

    def approved(self) -> None:
        facts = ApprovalFacts(
            approver=self.cy.facts, requester=self.ana.facts.id,
            persons=frozenset([self.ana.facts.person]), approver_groups=frozenset(["sre-leads"]),
            already_approved_by=frozenset(), role=ROLE,
            now=f"{self.written.now:%Y-%m-%dT%H:%M:%S}.000Z",
        )  # fmt: skip
        decision = ask(self.policy, facts)
        self.append(
            replace(self.decision(decision, "approve"), actor=self.cy.actor, deadline=None),
            follows=[self.activated, self.role, self.cy.enrolled],
            sections={"decision": decision.content()},
        )
        self.append(
            self.approval(), follows=[self.cy.enrolled], sections={"note": b'{"text":"go"}'}
        )

    def approval(self) -> records.ApprovalGiven:
        return records.ApprovalGiven(
            actor=self.cy.actor, approver=self.cy.facts.id, person=self.cy.facts.person,
            groups=("sre-leads",), terms=self.state.current.terms,
        )  # fmt: skip

    def authorized(self) -> None:
        self.append(self.grant())

    def grant(self) -> records.GrantAuthorized:
        now, state = self.written.now, self.state
        return records.GrantAuthorized(
            actor=self.ana.actor, terms=state.current.terms,
            definition=state.requested.definition, connector="postgresql", starts=now,
            until=now + timedelta(minutes=30), deadline=now + timedelta(seconds=10), offset_ms=3,
            satisfied=state.current.satisfied,
        )  # fmt: skip

    def issued(self) -> None:
        issued = records.CredentialIssued(
            actor=records.SERVICE, account=self.id, target="7411223344556677889",
            fingerprint=sha256(self.id.encode()).digest(), native_expiry=self.state.until,
            capabilities=CAPABILITIES,
        )  # fmt: skip
        self.append(issued)

    def expired(self) -> None:
        until = self.state.until or self.written.now
        self.written.now = until + timedelta(milliseconds=120)
        self.append(records.GrantExpired(actor=records.SERVICE, due=until))

    def removed(self) -> None:
        view = EndpointView(
            endpoint="primary", target="7411223344556677889", saw_itself=True, accounts=0,
            sessions=0,
        )  # fmt: skip
        verified = records.RemovalVerified(
            actor=records.SERVICE, endpoints=(view,), accounts_removed=1, sessions_killed=0,
            lag_ms=310,
        )  # fmt: skip
        closed = records.CaseClosed(actor=records.SERVICE, records=self.state.length + 2)
        drafts = [
            verified.draft(self.id, self.written.now),
            closed.draft(self.id, self.written.now),
        ]
        for entry in self.written.propose(*drafts).entries:
            self.entries[entry.header.kind] = entry
