"""The lives of cases in a `written_year`: records one after the other, and what can be wrong."""

import random
from base64 import b32encode
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, TypeAlias

from muniment.access import records, terms
from muniment.access.records import SERVICE, Actor, Record, SignIn
from muniment.evidence.record import Header

RESOURCES: Final = ("orders-prod", "stock-prod", "billing-staging")
_SECOND, _MINUTE = timedelta(seconds=1), timedelta(minutes=1)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
POLICY: Final = b"permit(principal, action, resource);\n"
BUNDLE: Final = sha256(POLICY).digest()
_LOOK: Final = records.EndpointView(
    endpoint="primary", target="7301", saw_itself=True, accounts=0, sessions=0
)
_CAN: Final = records.Capabilities(
    expires_new_logins=True,
    expires_live_sessions=False,
    kills_live_sessions=True,
    log_names_grant=True,
    enforces_deadline=True,
    extends_live=True,
    endpoints=("primary",),
)

#: which of every so many grants are of a machine, in an emergency, denied, or lead to a finding
_MACHINES, _EMERGENCIES, _DENIALS, _FINDINGS = 7, 11, 13, 4
#: how many are given back before their time, and how many of the rest are revoked
_GIVEN_BACK, _REVOKED = 0.3, 0.35

#: what can be wrong, and the test of a report that must see it
FAULTS: Final = {
    "self-approved": "approved-by-others",
    "approved-too-late": "approved-by-others",
    "other-terms": "issued-as-approved",
    "longer-than-asked": "issued-as-approved",
    "unknown-policy": "decided-by-policy",
    "given-though-denied": "denied-got-nothing",
    "given-though-refused": "denied-got-nothing",
    "given-though-withdrawn": "denied-got-nothing",
    "given-though-lapsed": "denied-got-nothing",
    "extended-though-refused": "denied-got-nothing",
    "extended-though-denied": "denied-got-nothing",
    "not-ended": "ended-in-time",
    "ended-late": "ended-in-time",
    "not-seen-gone": "removal-seen",
    "seen-gone-late": "removal-prompt",
    "glass-unreviewed": "break-glass-reviewed",
    "glass-own-review": "break-glass-reviewed",
    "token-approval": "approvals-strong",
    "no-mfa": "requests-strong",
    "no-sponsor": "machines-have-sponsors",
    "nobody-approved-agent": "agents-approved-by-people",
    "too-long": "windows-short",
    "weak-sessions": "sessions-linked",
    "odd-sessions": "use-inside-window",
    "finding-open": "findings-answered",
    "finding-own": "findings-closed-by-others",
    "leaver": "leavers-lose-access",
    "leaver-with-agent": "leavers-lose-access",
    "no-scan": "targets-scanned",
    "differences": "targets-without-difference",
    "source-gap": "sources-heard",
    "source-silent": "sources-heard",
    "silent-log": "log-never-silent",
    "unindexed": "cases-indexed",
    "unindexed-at-first": "cases-indexed",
    "never-indexed": "cases-indexed",
    "unwitnessed": "log-witnessed",
    "unwitnessed-at-first": "log-witnessed",
    "policy-out-of-turn": "policy-changes-linked",
    "two-environments": "machines-in-one-environment",
    "no-reason": "requests-say-why",
    "static-machine": "machines-attested",
    "endless-account": "expiry-at-target",
    "review-late": "reviews-held",
    "review-not-whole": "reviews-complete",
    "review-without-end": "reviews-applied",
}

#: a moment, the record that is due then, and the sections that it has
Due: TypeAlias = tuple[datetime, Record, dict[str, bytes]]
#: the life of one case: is sent the header of each record once it is written
Life: TypeAlias = Generator[Due, Header, None]


@dataclass(frozen=True, slots=True)
class Somebody:
    """A principal, and who he is."""

    id: str
    person: str
    kind: str = "human"
    sponsor: "Somebody | None" = None

    def actor(self, at: datetime, *, assurance: str = "session", mfa: str = "mfa") -> Actor:
        behind = () if self.sponsor is None else (self.sponsor.person,)
        is_human = self.kind == "human"
        sign_in = SignIn(
            session=case_id("ses", self.id),
            at=at,
            mfa=mfa if is_human else "",
            attested=not is_human,
        )
        return Actor(
            principal=self.id,
            type=self.kind,
            sponsor=None if self.sponsor is None else self.sponsor.id,
            persons=(self.person, *behind),
            assurance=assurance,
            sign_in=None if assurance == "token" else sign_in,
        )


@dataclass(kw_only=True)
class Scene:
    """Who is there, and what goes wrong."""

    start: datetime
    stop: datetime
    key: str
    origin: str
    people: tuple[Somebody, ...]
    machines: tuple[Somebody, ...]
    faults: frozenset[str]
    #: known once the first record is written
    log_id: bytes = b""
    documents: dict[bytes, bytes] = field(default_factory=dict)
    #: lives that began with the newest record
    spawned: list[tuple[str, "Life"]] = field(default_factory=list)
    #: cases that had each fault
    hit: dict[str, list[str]] = field(default_factory=dict)

    def is_wrong(self, fault: str, case: str, *, most: int = 1) -> bool:
        """Whether this case is to have this fault; the first that it fits have it."""
        had = self.hit.setdefault(fault, [])
        if fault not in self.faults or (len(had) >= most and case not in had):
            return False
        if case not in had:
            had.append(case)
        return True

    def definition(self, resource: str) -> bytes:
        text = f'{{"resource":"{resource}","role":"readwrite"}}\n'.encode()
        digest = sha256(text).digest()
        self.documents[digest] = text
        return digest


def case_id(prefix: str, name: object) -> str:
    """The same name gives the same id."""
    hashed = sha256(f"{prefix} {name}".encode()).digest()
    return f"{prefix}_{b32encode(hashed).decode().lower()[:26]}"


def environment(resource: str) -> str:
    return resource.rpartition("-")[2]


def sealed(name: str, case: str) -> dict[str, bytes]:
    return {name: sha256(f"{name} {case}".encode()).digest()}


# --- access -----------------------------------------------------------------------------------


def access(scene: Scene, rng: random.Random, case: str, number: int, at: datetime) -> Life:
    """One access case, from its request to its end."""
    yield from _Access(scene=scene, rng=rng, case=case, number=number, at=at).life()


@dataclass(kw_only=True, slots=True)
class _Access:
    """What happens to one request, and what of it goes wrong."""

    scene: Scene
    rng: random.Random
    case: str
    number: int
    #: the moment that it has come to
    at: datetime
    who: Somebody = field(init=False)
    approver: Somebody = field(init=False)
    resource: str = field(init=False)
    seconds: int = field(init=False)
    terms: bytes = b""
    needs: dict[str, int] = field(default_factory=dict)
    until: datetime = field(init=False)
    #: an approval that comes when it is too late
    late: Record | None = None

    def wrong(self, fault: str) -> bool:
        return self.scene.is_wrong(fault, self.case)

    @property
    def is_machine(self) -> bool:
        return self.number % 10 == _MACHINES

    @property
    def is_emergency(self) -> bool:
        return self.number % 25 == _EMERGENCIES

    @property
    def is_denied(self) -> bool:
        return self.number % 20 == _DENIALS

    def life(self) -> Life:
        yield from self._asked()
        yield from self._decided()
        if self.is_denied and not self.wrong("given-though-denied"):
            yield self.at, records.CaseClosed(actor=SERVICE, records=3), {}
            return
        yield from self._approved()
        yield from self._came_to_nothing()
        yield from self._issued()
        yield from self._kept_longer()
        if self.wrong("not-ended"):
            return
        yield from self._ended()
        if self.wrong("not-seen-gone"):
            unseen = records.RemovalUnverified(actor=SERVICE, endpoints=(_LOOK,), reason="blind")
            yield self.at, unseen, {}
            return
        yield from self._gone()

    def _asked(self) -> Life:
        scene, machines = self.scene, self.scene.machines
        self.who = (
            machines[self.number // 10 % 2]
            if self.is_machine
            else self.rng.choice(scene.people[:-1])
        )
        self.resource = RESOURCES[0] if self.is_machine else self.rng.choice(RESOURCES)
        if self.is_machine and self.wrong("two-environments"):
            self.resource = RESOURCES[2]
        self.seconds = self.rng.choice((1800, 3600, 7200, 14_400))
        if self.wrong("too-long"):
            self.seconds = 3 * 86_400
        request = records.AccessRequested(
            actor=self._actor(), requester=self.who.id, resource=self.resource, role="readwrite",
            definition=scene.definition(self.resource), environment=environment(self.resource),
            seconds=self.seconds, emergency=self.is_emergency,
        )  # fmt: skip
        said = {} if self.wrong("no-reason") else sealed("reason", self.case)
        header = yield self.at, request, said
        self.terms = terms.request_terms(scene.log_id, header, request)
        self.approver = next(
            each
            for each in self.rng.sample(scene.people, 4)
            if each.person not in request.actor.persons
        )

    def _actor(self) -> Actor:
        if not self.is_machine:
            return self.who.actor(self.at, mfa="" if self.wrong("no-mfa") else "mfa")
        if self.wrong("static-machine"):
            return self.who.actor(self.at, assurance="token")
        if self.who.kind == "workload" and self.wrong("no-sponsor"):
            return Somebody(self.who.id, self.who.person, self.who.kind).actor(self.at)
        return self.who.actor(self.at)

    def _decided(self) -> Life:
        auto = self.who.kind == "agent" and self.wrong("nobody-approved-agent")
        if self.is_denied:
            outcome = "deny"
        elif self.is_emergency:
            outcome = "break_glass"
        else:
            outcome = "auto_approve" if auto else "needs_approvals"
        self.needs = {"sre-leads": 1} if outcome == "needs_approvals" else {}
        bundle = b"\1" * 32 if not self.is_denied and self.wrong("unknown-policy") else BUNDLE
        decided = self._answer("request", outcome, self.needs, bundle)
        yield self.at, decided, sealed("decision", self.case)

    def _answer(
        self,
        question: str,
        outcome: str,
        needs: dict[str, int] | None = None,
        bundle: bytes = BUNDLE,
    ) -> Record:
        return records.DecisionEvaluated(
            actor=SERVICE, question=question, outcome=outcome, bundle=bundle, engine="cedar 4",
            rules=("ask",), approvals=needs or {}, max_seconds=max(self.seconds, 28_800),
            requires=(), notifies=(), deadline=None, pickup_seconds=3600, standing=(),
        )  # fmt: skip

    def _approved(self) -> Life:
        if not self.needs:
            return
        late = self.wrong("approved-too-late")
        by = (self.who.sponsor or self.who) if self.wrong("self-approved") else self.approver
        self.at += self.rng.randrange(30, 3600) * _SECOND
        approval = records.ApprovalGiven(
            actor=by.actor(
                self.at, assurance="token" if self.wrong("token-approval") else "session"
            ),
            approver=by.id, person=by.person, groups=("sre-leads",),
            terms=b"\2" * 32 if self.wrong("other-terms") else self.terms,
        )  # fmt: skip
        if late:
            self.late = approval
        else:
            yield self.at, approval, {}

    def _came_to_nothing(self) -> Life:
        """What is issued all the same."""
        if self.wrong("given-though-refused"):
            yield self.at, self._refusal(self.terms), {}
        if self.wrong("given-though-withdrawn"):
            yield self.at, records.AccessWithdrawn(actor=self.who.actor(self.at)), {}
        if self.wrong("given-though-lapsed"):
            yield self.at, records.AccessLapsed(actor=SERVICE), {}

    def _refusal(self, of: bytes) -> Record:
        by = self.approver
        return records.ApprovalRefused(
            actor=by.actor(self.at), approver=by.id, person=by.person, terms=of
        )

    def _issued(self) -> Life:
        self.at += self.rng.randrange(5, 900) * _SECOND
        self.until = self.at + self.seconds * _SECOND
        if self.wrong("longer-than-asked"):
            self.until += _HOUR
        authorized = records.GrantAuthorized(
            actor=SERVICE, terms=self.terms, definition=self.scene.definition(self.resource),
            connector="postgresql", starts=self.at, until=self.until,
            deadline=self.at + 10 * _SECOND, offset_ms=0, satisfied=dict(self.needs),
        )  # fmt: skip
        yield self.at, authorized, {}
        self._followed()
        expiry = None if self.wrong("endless-account") else self.until
        issued = records.CredentialIssued(
            actor=SERVICE, account=f"m_{self.case[4:16]}", target="7301",
            fingerprint=sha256(self.case.encode()).digest(), native_expiry=expiry,
            capabilities=_CAN,
        )  # fmt: skip
        yield self.at, issued, {}
        if self.late is not None:
            yield self.at + _MINUTE, self.late, {}

    def _kept_longer(self) -> Life:
        """An extension that came to nothing, and is given all the same."""
        denied = self.wrong("extended-though-denied")
        if not denied and not self.wrong("extended-though-refused"):
            return
        starts, self.seconds = self.until - self.seconds * _SECOND, self.seconds + 600
        self.at += _MINUTE
        asked = records.ExtensionRequested(actor=self.who.actor(self.at), seconds=self.seconds)
        header = yield self.at, asked, sealed("reason", self.case)
        longer = terms.extension_terms(self.scene.log_id, header, asked, self.terms)
        yield self.at, self._answer("extend", "deny" if denied else "auto_approve"), {}
        if not denied:
            yield self.at, self._refusal(longer), {}
        self.until = starts + self.seconds * _SECOND
        extended = records.GrantExtended(
            actor=SERVICE, terms=longer, until=self.until, deadline=self.at + 10 * _SECOND,
            satisfied={},
        )  # fmt: skip
        yield self.at, extended, {}

    def _followed(self) -> None:
        """Cases of their own that speak of this one."""
        spawned, case, at = self.scene.spawned, self.case, self.at
        if self.is_emergency:
            review = _review(self.scene, case, self.who, self.approver, at)
            spawned.append((case_id("rev", case), review))
        if self.number % 3 == 0 or {"weak-sessions", "odd-sessions"} & self.scene.faults:
            seen = at + (self.until - at) * 0.05
            session = _session(self.scene, case, self.resource, at, seen)
            spawned.append((case_id("obs", case), session))
        if self.number % 30 == _FINDINGS:
            finding = _finding(self.scene, case, self.resource, self.who, self.approver, at)
            spawned.append((case_id("fnd", case), finding))

    def _ended(self) -> Life:
        how = self.rng.random()
        if how >= _REVOKED:
            late = (
                3 * _HOUR if self.wrong("ended-late") else self.rng.randrange(1, 9) * _SECOND / 10
            )
            self.at = self.until + late
            yield self.at, records.GrantExpired(actor=SERVICE, due=self.until), {}
            return
        self.at += (self.until - self.at) * self.rng.uniform(0.1, 0.9)
        if how < _GIVEN_BACK:
            yield self.at, records.GrantEnded(actor=self.who.actor(self.at)), {}
        else:
            yield self.at, records.GrantRevoked(actor=self.approver.actor(self.at)), {}

    def _gone(self) -> Life:
        lag = 7_200_000 if self.wrong("seen-gone-late") else self.rng.randrange(30, 2_500)
        self.at += timedelta(milliseconds=lag)
        verified = records.RemovalVerified(
            actor=SERVICE, endpoints=(_LOOK,), accounts_removed=1,
            sessions_killed=self.rng.randrange(2), lag_ms=lag,
        )  # fmt: skip
        yield self.at, verified, {}
        count = 7 + bool(self.needs)
        yield self.at, records.CaseClosed(actor=SERVICE, records=count), {}


def _review(scene: Scene, about: str, who: Somebody, by: Somebody, at: datetime) -> Life:
    case = case_id("rev", about)
    persons = (who.person,)
    opened = records.ReviewOpened(actor=SERVICE, about=about, due=at + 3 * _DAY, persons=persons)
    yield at, opened, {}
    if scene.is_wrong("glass-unreviewed", about):
        return
    at += 5 * _HOUR
    by = who if scene.is_wrong("glass-own-review", about) else by
    answered = records.ReviewAnswered(
        actor=by.actor(at), reviewer=by.id, person=by.person, verdict="justified"
    )
    yield at, answered, sealed("note", case)
    yield at, records.CaseClosed(actor=SERVICE, records=3), {}


def _session(scene: Scene, about: str, resource: str, opened: datetime, at: datetime) -> Life:
    weak = scene.is_wrong("weak-sessions", about)
    odd = scene.is_wrong("odd-sessions", about)
    observed = records.SessionObserved(
        actor=SERVICE, about=about, source=f"{resource}-log", resource=resource, opened=opened,
        closed=at, strength="weak" if weak else "strong", reason="account",
        standing="late" if odd else "within", events=3, actions=2, failed=0, root=b"\6" * 32,
        batches=(0,),
    )  # fmt: skip
    yield at, observed, sealed("session", about)
    yield at, records.CaseClosed(actor=SERVICE, records=2), {}


def _finding(
    scene: Scene, about: str, resource: str, who: Somebody, by: Somebody, at: datetime
) -> Life:
    raised = records.FindingRaised(
        actor=SERVICE, rule="never-used", definition=b"\7" * 32, severity="low",
        nature="deterministic", resource=resource, about=(about,), subjects=(who.person,), seen=at,
        ends=(), why="not-asked",
    )  # fmt: skip
    yield at, raised, sealed("detail", about)
    if scene.is_wrong("finding-open", about):
        return
    at += 2 * _DAY
    by = who if scene.is_wrong("finding-own", about) else by
    closed = records.FindingClosed(
        actor=by.actor(at), person=by.person, resolution="explained", owner=None, until=None
    )
    yield at, closed, sealed("note", about)
    yield at, records.CaseClosed(actor=SERVICE, records=3), {}
