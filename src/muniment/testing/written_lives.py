"""The lives of cases in a `written_year`: records one after the other, and what can be wrong."""

import random
from base64 import b32encode
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, TypeAlias

from muniment.access import records, terms
from muniment.access.records import SERVICE, Actor, Record, SignIn
from muniment.evidence.record import Header

RESOURCES: Final = ("orders-prod", "stock-prod", "billing-staging")
_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_POLICY: Final = b"permit(principal, action, resource);\n"
_BUNDLE: Final = sha256(_POLICY).digest()
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
    "no-scan": "targets-scanned",
    "differences": "targets-without-difference",
    "source-gap": "sources-heard",
    "silent-log": "log-never-silent",
    "unindexed": "cases-indexed",
    "unwitnessed": "log-witnessed",
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


def access(scene: Scene, rng: random.Random, case: str, number: int, at: datetime) -> Life:  # noqa: C901, PLR0912, PLR0915 (a life from its beginning to its end, with all that can go wrong)
    """One access case."""

    def wrong(fault: str) -> bool:
        return scene.is_wrong(fault, case)

    machine = scene.machines[number // 10 % 2] if number % 10 == _MACHINES else None
    who = machine or rng.choice(scene.people[: -1 or None])
    resource = RESOURCES[0] if machine is not None else rng.choice(RESOURCES)
    if machine is not None and wrong("two-environments"):
        resource = RESOURCES[2]
    emergency = number % 25 == _EMERGENCIES
    denied = number % 20 == _DENIALS
    asked = rng.choice((1800, 3600, 7200, 14_400))
    actor = who.actor(at)
    if machine is None and wrong("no-mfa"):
        actor = who.actor(at, mfa="")
    if machine is not None and machine.kind == "workload" and wrong("no-sponsor"):
        actor = Somebody(who.id, who.person, who.kind).actor(at)
    if machine is not None and wrong("static-machine"):
        actor = who.actor(at, assurance="token")
    if wrong("too-long"):
        asked = 3 * 86_400
    definition = scene.definition(resource)
    request = records.AccessRequested(
        actor=actor, requester=who.id, resource=resource, role="readwrite", definition=definition,
        environment=environment(resource), seconds=asked, emergency=emergency,
    )  # fmt: skip
    said = {} if wrong("no-reason") else sealed("reason", case)
    header = yield at, request, said
    asked_for = terms.request_terms(scene.log_id, header, request)
    auto = machine is not None and machine.kind == "agent" and wrong("nobody-approved-agent")
    needs = {} if emergency or denied or auto else {"sre-leads": 1}
    outcome = "deny" if denied else "break_glass" if emergency else "needs_approvals"
    if auto:
        outcome = "auto_approve"
    yield (
        at,
        records.DecisionEvaluated(
            actor=SERVICE, question="request", outcome=outcome,
            bundle=b"\1" * 32 if not denied and wrong("unknown-policy") else _BUNDLE,
            engine="cedar 4", rules=("ask",), approvals=needs, max_seconds=max(asked, 28_800),
            requires=(), notifies=(), deadline=None, pickup_seconds=3600, standing=(),
        ),
        sealed("decision", case),
    )  # fmt: skip
    if denied and not wrong("given-though-denied"):
        yield at, records.CaseClosed(actor=SERVICE, records=3), {}
        return
    approver = next(
        each for each in rng.sample(scene.people, 4) if each.person not in actor.persons
    )
    late = bool(needs) and wrong("approved-too-late")
    given = None
    if needs:
        by = (who.sponsor or who) if wrong("self-approved") else approver
        how = "token" if wrong("token-approval") else "session"
        given = at + rng.randrange(30, 3600) * timedelta(seconds=1)
        what = b"\2" * 32 if wrong("other-terms") else asked_for
        approval = records.ApprovalGiven(
            actor=by.actor(given, assurance=how), approver=by.id, person=by.person,
            groups=("sre-leads",), terms=what,
        )  # fmt: skip
        if not late:
            yield given, approval, {}
    issued = (given or at) + rng.randrange(5, 900) * timedelta(seconds=1)
    until = issued + timedelta(seconds=asked)
    if wrong("longer-than-asked"):
        until += _HOUR
    yield (
        issued,
        records.GrantAuthorized(
            actor=SERVICE, terms=asked_for, definition=definition, connector="postgresql",
            starts=issued, until=until, deadline=issued + timedelta(seconds=10), offset_ms=0,
            satisfied=dict(needs),
        ),
        {},
    )  # fmt: skip
    if emergency:
        scene.spawned.append((case_id("rev", case), _review(scene, case, who, approver, issued)))
    yield (
        issued,
        records.CredentialIssued(
            actor=SERVICE, account=f"m_{case[4:16]}", target="7301",
            fingerprint=sha256(case.encode()).digest(),
            native_expiry=None if wrong("endless-account") else until, capabilities=_CAN,
        ),
        {},
    )  # fmt: skip
    if number % 3 == 0 or {"weak-sessions", "odd-sessions"} & scene.faults:
        seen_at = issued + (until - issued) * 0.05
        life = _session(scene, case, resource, issued, seen_at)
        scene.spawned.append((case_id("obs", case), life))
    if number % 30 == _FINDINGS:
        life = _finding(scene, case, resource, who, approver, issued)
        scene.spawned.append((case_id("fnd", case), life))
    if late:
        yield issued + _MINUTE, approval, {}
    if wrong("not-ended"):
        return
    over = until + timedelta(milliseconds=rng.randrange(20, 900))
    how_it_ends = rng.random()
    if how_it_ends < _GIVEN_BACK:
        over = issued + (until - issued) * rng.uniform(0.1, 0.9)
        yield over, records.GrantEnded(actor=who.actor(over)), {}
    elif how_it_ends < _REVOKED:
        over = issued + (until - issued) * rng.uniform(0.1, 0.9)
        yield over, records.GrantRevoked(actor=approver.actor(over)), {}
    else:
        if wrong("ended-late"):
            over = until + 3 * _HOUR
        yield over, records.GrantExpired(actor=SERVICE, due=until), {}
    if wrong("not-seen-gone"):
        yield (
            over,
            records.RemovalUnverified(actor=SERVICE, endpoints=(_LOOK,), reason="blind"),
            {},
        )
        return
    lag = rng.randrange(30, 2_500)
    if wrong("seen-gone-late"):
        lag = 7_200_000
    seen = over + timedelta(milliseconds=lag)
    yield (
        seen,
        records.RemovalVerified(
            actor=SERVICE, endpoints=(_LOOK,), accounts_removed=1,
            sessions_killed=rng.randrange(2), lag_ms=lag,
        ),
        {},
    )  # fmt: skip
    position = 7 + bool(needs)
    yield seen, records.CaseClosed(actor=SERVICE, records=position), {}


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


# --- whatever else there is -------------------------------------------------------------------


def others(scene: Scene) -> Iterator[tuple[datetime, str, Life]]:
    """All but access: in the order of their beginning."""
    at = scene.start
    yield at, case_id("log", scene.origin), _log(scene)
    policy = case_id("pol", "policy")
    yield at, policy, _policy(scene, at)
    for resource in RESOURCES:
        yield at, case_id("rol", resource), _role(scene, at, resource)
    for each in (*scene.people, *scene.machines):
        yield at, each.id, _principal(scene, at, each)
    for resource in RESOURCES:
        yield at, case_id("src", resource), _source(scene, at, resource)
    campaign = case_id("rev", "campaign")
    yield at, campaign, _campaign(scene, at + 3 * _HOUR)
    day = at
    while day < scene.stop:
        for resource in RESOURCES:
            unlooked = scene.is_wrong("no-scan", resource) or (
                resource in scene.hit.get("no-scan", ())
            )
            if not unlooked:
                yield day, case_id("drf", f"{resource} {day}"), _scan(scene, day, resource)
        day += _DAY


def _log(scene: Scene) -> Life:
    at = scene.start
    yield (
        at,
        records.LogStarted(actor=SERVICE, origin=scene.origin, key=scene.key, nonce=b"\0" * 16),
        {},
    )
    quorum = not scene.is_wrong("unwitnessed", "log")
    yield at, records.LogWitnessed(actor=SERVICE, size=1, cosigned=(), quorum=quorum), {}
    silent = scene.is_wrong("silent-log", "log")
    unindexed = scene.is_wrong("unindexed", "log")
    hour = 0
    while at < scene.stop + _DAY:
        at, hour = at + _HOUR, hour + 1
        if not (silent and scene.stop - 20 * _DAY < at < scene.stop - 19 * _DAY):
            yield at, records.LogHeartbeat(actor=SERVICE, unrecorded={}), {}
        if hour % 24 == 0 and not (unindexed and 10 * 24 <= hour < 14 * 24):
            indexed = records.LogIndexed(actor=SERVICE, size=hour, cases=hour, root=b"\3" * 32)
            yield at, indexed, {}


def _policy(scene: Scene, at: datetime) -> Life:
    scene.documents[_BUNDLE] = _POLICY
    yield (
        at,
        records.PolicyActivated(actor=SERVICE, bundle=_BUNDLE, previous=None, source="file"),
        {},
    )
    later = at + timedelta(days=3)
    out_of_turn = scene.is_wrong("policy-out-of-turn", "policy")
    before = b"\4" * 32 if out_of_turn else _BUNDLE
    yield (
        later,
        records.PolicyActivated(actor=SERVICE, bundle=_BUNDLE, previous=before, source="file"),
        {},
    )


def _role(scene: Scene, at: datetime, resource: str) -> Life:
    yield (
        at,
        records.RoleDefined(
            actor=SERVICE, resource=resource, role="readwrite",
            definition=scene.definition(resource), tier=environment(resource),
            environment=environment(resource), data="internal", connector="postgresql",
        ),
        {},
    )  # fmt: skip


def _principal(scene: Scene, at: datetime, somebody: Somebody) -> Life:
    sponsor = None if somebody.sponsor is None else somebody.sponsor.id
    active = records.PrincipalEnrolled(
        actor=SERVICE, type=somebody.kind, person=somebody.person, active=True,
        groups=("sre-leads",), sponsor=sponsor, source="file",
    )  # fmt: skip
    yield at, active, sealed("identity", somebody.id)
    # the last of the people leaves in the middle, and had asked for nothing any more
    is_leaver = somebody == scene.people[-1]
    wrong = somebody == scene.people[0] and scene.is_wrong("leaver", somebody.id)
    if is_leaver or wrong:
        gone = records.PrincipalEnrolled(
            actor=SERVICE, type=somebody.kind, person=somebody.person, active=False, groups=(),
            sponsor=sponsor, source="file",
        )  # fmt: skip
        when = at + (scene.stop - at) / 2 if is_leaver else at + 2 * _DAY
        yield when, gone, {}


def _source(scene: Scene, at: datetime, resource: str) -> Life:
    """Events each day."""
    gap = resource == RESOURCES[0] and scene.is_wrong("source-gap", resource)
    number = 0
    while at < scene.stop:
        at += _DAY
        yield (
            at,
            records.EventsReceived(
                actor=SERVICE, source=f"{resource}-log", resource=resource, start=number, count=10,
                root=b"\5" * 32, rejected=0, first=at - _DAY, last=at,
            ),
            {},
        )  # fmt: skip
        number += 10
        if gap:
            gap = False
            missed = records.EventsMissed(
                actor=SERVICE, source=f"{resource}-log", resource=resource, why="cursor",
                since=at - _HOUR, count=None,
            )  # fmt: skip
            yield at, missed, {}


def _campaign(scene: Scene, at: datetime) -> Life:
    """A review of many in the first days: what its items are is no matter of headers."""
    due = at + 5 * _DAY
    yield (
        at,
        records.CampaignOpened(
            actor=SERVICE, rule="half-yearly", definition=b"\x08" * 32, started="schedule",
            occasion="2026-01-01", size=1, root=b"\x09" * 32, items=12, items_root=b"\x0a" * 32,
            sheets=(b"\x0b" * 32,), completeness=b"\x0c" * 32, targets=3, unseen=0, seed=None,
            due=due, silence="none", reviewers="sre-leads", fallback="", sign_off="owners",
        ),
        {},
    )  # fmt: skip
    by = scene.people[1]
    over = due + (1 if scene.is_wrong("review-late", "campaign") else -1) * _DAY
    unreviewed = 2 if scene.is_wrong("review-not-whole", "campaign") else 0
    outstanding = 1 if scene.is_wrong("review-without-end", "campaign") else 0
    tallies = {"keep": 12 - unreviewed, "not-reviewed": unreviewed}
    closed = records.CampaignClosed(
        actor=by.actor(over), person=by.person, tallies=tallies, applied=0, outstanding=outstanding
    )
    yield over, closed, {}
    yield over, records.CaseClosed(actor=SERVICE, records=3), {}


def _scan(scene: Scene, at: datetime, resource: str) -> Life:
    wrong = at > scene.stop - 2 * _DAY and scene.is_wrong("differences", resource, most=2)
    yield (
        at,
        records.DriftScanned(
            actor=SERVICE, resource=resource, target="7301", first=False, accounts=3, sessions=1,
            privileges=9, differences={"account-without-grant": 1} if wrong else {},
        ),
        {},
    )  # fmt: skip
    yield at, records.CaseClosed(actor=SERVICE, records=2), {}
