"""
One record of every kind, as fold version 1 has it, and the script that wrote the files beside.

`python golden_records.py` writes what is missing. A file that is there is never written again:
what was signed once has to be read for ever. A new kind gets a record here; a changed class gets
another fold version, and its own files.
"""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from muniment.access import records
from muniment.access.records import Actor, Capabilities, Delegation, EndpointView, Record, SignIn
from muniment.evidence.record import Header

HERE = Path(__file__).parent
AT = datetime(2026, 11, 21, 10, 0, 0, 123000, tzinfo=UTC)
LATER = AT + timedelta(minutes=30)
HUMAN = Actor(
    principal="prn_5h6j2c3vq7t4w2xk3m5n7p2r4s",
    type="human",
    sponsor=None,
    persons=("per_2a3b4c5d6e7f2g3h4i5j6k7l2m",),
    assurance="session",
    sign_in=SignIn(
        session="ses_5h6j2c3vq7t4w2xk3m5n7p2r4s",
        at=AT - timedelta(minutes=5),
        mfa="phishing-resistant",
        attested=False,
    ),
)
AGENT = Actor(
    principal="prn_7agent2c3vq7t4w2xk3m5n7p2r",
    type="agent",
    sponsor=HUMAN.principal,
    persons=HUMAN.persons,
    assurance="token",
)
CAPABILITIES = Capabilities(
    expires_new_logins=True,
    expires_live_sessions=False,
    kills_live_sessions=True,
    log_names_grant=True,
    enforces_deadline=True,
    extends_live=False,
    endpoints=("primary", "replica-1"),
)
VIEWS = (
    EndpointView(endpoint="primary", target="7411", saw_itself=True, accounts=0, sessions=0),
    EndpointView(
        endpoint="replica-1",
        target="",
        saw_itself=False,
        accounts=1,
        sessions=2,
        trouble="no answer",
    ),
)


def digest(of: str) -> bytes:
    return sha256(of.encode()).digest()


RECORDS: tuple[Record, ...] = (
    records.AccessRequested(
        actor=AGENT,
        requester=AGENT.principal,
        resource="orders-prod",
        role="readwrite",
        definition=digest("definition"),
        environment="production",
        seconds=1800,
        emergency=False,
        evaluation="eval_5h6j2c3vq7t4w2xk3m5n7p2r4s",
        batch="bat_2a3b4c5d6e7f2g3h4i5j6k7l2m",
        callback=True,
    ),
    records.ExtensionRequested(actor=HUMAN, seconds=3600),
    records.DecisionEvaluated(
        actor=HUMAN,
        question="request",
        outcome="needs_approvals",
        bundle=digest("bundle"),
        engine="cedarpy 4.12.2",
        rules=("request.engineering", "require.prod"),
        approvals={"owners": 2, "sre-leads": 1},
        max_seconds=3600,
        requires=("post-review:PT24H",),
        notifies=("sre-leads",),
        deadline=LATER,
        pickup_seconds=3600,
        standing=HUMAN.persons,
    ),
    records.ApprovalGiven(
        actor=HUMAN,
        approver=HUMAN.principal,
        person=HUMAN.persons[0],
        groups=("owners", "sre-leads"),
        terms=digest("terms"),
    ),
    records.ApprovalRefused(
        actor=HUMAN, approver=HUMAN.principal, person=HUMAN.persons[0], terms=digest("terms")
    ),
    records.AccessWithdrawn(actor=HUMAN),
    records.AccessLapsed(actor=records.SERVICE, reason="no-longer-allowed"),
    records.GrantAuthorized(
        actor=AGENT,
        terms=digest("terms"),
        definition=digest("definition"),
        connector="postgresql",
        starts=AT,
        until=LATER,
        deadline=AT + timedelta(seconds=10),
        offset_ms=-37,
        satisfied={"owners": 2, "sre-leads": 1},
    ),
    records.CredentialIssued(
        actor=records.SERVICE,
        account="mun_5h6j2c3vq7t4w2xk3m5n7p2r4s",
        target="7411223344556677889",
        fingerprint=digest("fingerprint"),
        native_expiry=LATER,
        capabilities=CAPABILITIES,
    ),
    records.CredentialFailed(actor=records.SERVICE, reason="target-unavailable"),
    records.GrantExtended(
        actor=records.SERVICE,
        terms=digest("terms"),
        until=LATER,
        deadline=AT + timedelta(seconds=10),
        satisfied={"sre-leads": 1},
    ),
    records.GrantExpired(actor=records.SERVICE, due=LATER),
    records.GrantRevoked(actor=records.SERVICE, reason="session-closed"),
    records.GrantEnded(actor=AGENT),
    records.GrantUndone(actor=records.SERVICE),
    records.RemovalVerified(
        actor=records.SERVICE,
        endpoints=VIEWS[:1],
        accounts_removed=1,
        sessions_killed=2,
        lag_ms=310,
    ),
    records.RemovalUnverified(actor=records.SERVICE, endpoints=VIEWS, reason="still-there"),
    records.CaseClosed(actor=records.SERVICE, records=8),
    records.ReviewOpened(
        actor=records.SERVICE,
        about="mun_5h6j2c3vq7t4w2xk3m5n7p2r4s",
        due=LATER,
        persons=HUMAN.persons,
    ),
    records.ReviewAnswered(
        actor=HUMAN, reviewer=HUMAN.principal, person=HUMAN.persons[0], verdict="justified"
    ),
    records.EvidenceMeasured(
        actor=records.SERVICE,
        definition=digest("weaknesses"),
        size=4712,
        grants=310,
        weak=12,
        counts={"removal-late": 2, "weak-link": 10},
        days=30,
        recent_grants=41,
        recent_weak=3,
        recent={"weak-link": 3},
        log=("no-witnesses",),
    ),
    records.EvidenceExported(
        actor=HUMAN,
        about="mun_5h6j2c3vq7t4w2xk3m5n7p2r4s",
        last=7,
        records=digest("records"),
        disclosed=digest("disclosed"),
    ),
    records.ArchiveExported(
        actor=HUMAN,
        since=AT,
        until=LATER,
        resources=("orders-prod",),
        size=4712,
        cases=310,
        beyond=2,
        listed=digest("list"),
    ),
    records.EvidenceRead(actor=HUMAN, what="case", about="mun_5h6j2c3vq7t4w2xk3m5n7p2r4s", count=1),
    records.ReportIssued(
        actor=HUMAN,
        framework="soc2",
        since=AT,
        until=LATER,
        resources=("orders-prod",),
        size=4712,
        report=digest("report"),
    ),
    records.CallbackSettled(
        actor=records.SERVICE,
        about="mun_5h6j2c3vq7t4w2xk3m5n7p2r4s",
        event="approved",
        outcome="delivered",
        status=204,
    ),
    records.NoticeSettled(
        actor=records.SERVICE,
        about="mun_5h6j2c3vq7t4w2xk3m5n7p2r4s/1",
        event="waiting",
        sink="mail",
        outcome="delivered",
        recipients=(HUMAN.principal,),
        attempts=2,
    ),
    records.RecordErased(
        actor=HUMAN,
        record="mun_5h6j2c3vq7t4w2xk3m5n7p2r4s/0",
        section="reason",
        rule="retention.free-text",
    ),
    records.SignalReceived(
        actor=AGENT,
        provider="idp",
        event="session-revoked",
        identity=digest("signal"),
        about=HUMAN.principal,
        action="end",
        why="",
        keys=digest("key set"),
    ),
    records.PrincipalEnrolled(
        actor=records.SERVICE,
        type="agent",
        person=HUMAN.persons[0],
        active=True,
        groups=("agents", "engineering"),
        sponsor=HUMAN.principal,
        source="file",
    ),
    records.GroupDefined(actor=AGENT, source="scim:okta", name="sre-leads", active=True),
    records.TokenEnrolled(actor=records.SERVICE, token=digest("token"), expires=LATER),
    records.TokenRevoked(actor=records.SERVICE, token=digest("token")),
    records.SessionOpened(
        actor=AGENT,
        principal=AGENT.principal,
        person=HUMAN.persons[0],
        token=digest("session token"),
        expires=LATER,
        provider="muniment",
        method="delegation",
        authenticated_at=AT,
        amr=("hwk", "user"),
        acr="phr",
        mfa="",
        attested=True,
        keys=digest("key set"),
        delegation=Delegation(
            sponsor=HUMAN.principal,
            parent="ses_5h6j2c3vq7t4w2xk3m5n7p2r4s",
            credential=digest("static token").hex(),
            chain=(HUMAN.principal, AGENT.principal),
            roles=("orders-prod/readonly",),
            max_seconds=900,
        ),
    ),
    records.SessionClosed(actor=HUMAN, reason="task-closed"),
    records.RoleDefined(
        actor=records.SERVICE,
        resource="orders-prod",
        role="readwrite",
        definition=digest("definition"),
        tier="prod",
        environment="production",
        data="internal",
        connector="postgresql",
    ),
    records.RoleWithdrawn(actor=records.SERVICE),
    records.ConfigChanged(
        actor=records.SERVICE, configuration=digest("configuration"), source="git:0a1b2c3d"
    ),
    records.PolicyActivated(
        actor=records.SERVICE, bundle=digest("bundle"), previous=digest("before"), source="file"
    ),
    records.EventsReceived(
        actor=records.SERVICE,
        source="orders-log",
        resource="orders-prod",
        start=70_000,
        count=5_000,
        root=digest("batch"),
        rejected=2,
        first=AT,
        last=LATER,
    ),
    records.EventsMissed(
        actor=records.SERVICE,
        source="orders-log",
        resource="orders-prod",
        why="count",
        since=AT,
        count=12,
    ),
    records.SessionObserved(
        actor=records.SERVICE,
        about="mun_" + "c4" * 13,
        source="orders-log",
        resource="orders-prod",
        opened=AT,
        closed=LATER,
        strength="strong",
        reason="account",
        standing="within",
        events=9,
        actions=7,
        failed=1,
        root=digest("session"),
        batches=(70_000, 70_104),
    ),
    records.FindingRaised(
        actor=records.SERVICE,
        rule="break-glass-used",
        definition=digest("rule"),
        severity="high",
        nature="deterministic",
        resource="orders-prod",
        about=("mun_" + "c4" * 13,),
        subjects=HUMAN.persons,
        seen=AT,
        ends=("mun_" + "c4" * 13,),
        why="",
    ),
    records.FindingSeen(
        actor=records.SERVICE,
        count=3,
        seen=LATER,
        about=("mun_" + "d5" * 13,),
        subjects=(),
        ends=(),
        why="no-access",
    ),
    records.FindingAcknowledged(actor=HUMAN),
    records.FindingAssigned(actor=HUMAN, to=HUMAN.principal),
    records.FindingClosed(
        actor=HUMAN,
        person=HUMAN.persons[0],
        resolution="adopted",
        owner=HUMAN.principal,
        until=LATER,
    ),
    records.DriftScanned(
        actor=records.SERVICE,
        resource="orders-prod",
        target="7411",
        first=True,
        accounts=12,
        sessions=3,
        privileges=40,
        differences={"account-without-grant": 2},
    ),
    records.RemovalOrdered(
        actor=HUMAN,
        about="fnd_" + "c4" * 13,
        resource="orders-prod",
        target="7411",
        person=HUMAN.persons[0],
        seconded="per_b3b3b3b3b3b3b3b3b3b3b3b3b3",
    ),
    records.HoldPlaced(
        actor=HUMAN,
        cases=("mun_" + "c4" * 13,),
        persons=HUMAN.persons,
        resources=("orders-prod",),
        since=AT,
        until=LATER,
        person=HUMAN.persons[0],
    ),
    records.HoldReleaseRequested(actor=HUMAN, person=HUMAN.persons[0]),
    records.HoldReleased(actor=HUMAN, person=HUMAN.persons[0]),
    records.ErasureProposed(
        actor=records.SERVICE,
        as_of=AT,
        size=70_000,
        configuration=digest("configuration"),
        sections=4_000,
        batches=2,
        rules={"retention:thirteen-months": 4_002},
        listed=digest("list"),
        people=2,
    ),
    records.ErasureApproved(actor=HUMAN, person=HUMAN.persons[0]),
    records.EventsErased(
        actor=records.SERVICE,
        source="orders-log",
        batch="src_" + "c4" * 13 + "/7",
        start=70_000,
        count=5_000,
        kept=12,
        grants=digest("grants"),
        numbers=digest("numbers"),
        rule="retention:thirteen-months",
    ),
    records.PersonExported(
        actor=HUMAN,
        person=HUMAN.persons[0],
        records=120,
        size=70_000,
        given=14,
        withheld=3,
        file=digest("file"),
    ),
    records.CampaignOpened(
        actor=HUMAN,
        rule="production-access",
        definition=digest("campaign rule"),
        started="schedule",
        occasion="2026-11-21T10:00:00.000Z",
        size=70_000,
        root=digest("root"),
        items=3,
        items_root=digest("root of items"),
        sheets=(digest("sheet 1"), digest("sheet 2")),
        completeness=digest("completeness"),
        targets=2,
        unseen=1,
        seed=digest("seed"),
        due=LATER,
        silence="revoke",
        resources=("orders-prod",),
        reviewers="team-leads",
        fallback="sre-leads",
        sign_off="security",
    ),
    records.ReviewReassigned(
        actor=HUMAN,
        lines=digest("numbers"),
        items=2,
        to="prn_b3b3b3b3b3b3b3b3b3b3b3b3b3",
        person="per_b3b3b3b3b3b3b3b3b3b3b3b3b3",
    ),
    records.ReviewEscalated(actor=records.SERVICE, share=50, open=2),
    records.ReviewDecided(
        actor=HUMAN,
        reviewer=HUMAN.principal,
        person=HUMAN.persons[0],
        lines=digest("verdicts"),
        items=2,
        tallies={"keep": 1, "revoke": 1},
        seconds=42,
        bulk=False,
    ),
    records.ReviewApplied(
        actor=records.SERVICE, items=(1,), how="ended", about=("mun_" + "a2" * 13,)
    ),
    records.CampaignSigned(
        actor=HUMAN,
        person=HUMAN.persons[0],
        tallies={"abstain": 0, "keep": 1, "not-reviewed": 1, "reduce": 0, "revoke": 1},
    ),
    records.CampaignClosed(
        actor=HUMAN,
        person=HUMAN.persons[0],
        tallies={"abstain": 0, "keep": 1, "not-reviewed": 1, "reduce": 0, "revoke": 1},
        applied=1,
        outstanding=1,
    ),
    records.EligibilityWithdrawn(
        actor=records.SERVICE,
        principal=HUMAN.principal,
        resource="orders-prod",
        role="readwrite",
        about="rev_" + "c4" * 13,
        item=1,
    ),
    records.EligibilityRestored(actor=HUMAN, person=HUMAN.persons[0]),
    records.LogStarted(
        actor=records.SERVICE,
        origin="muniment.example/log",
        key="muniment.example/log+1a2b3c4d+AbCdEf",
        nonce=digest("nonce"),
    ),
    records.LogHeartbeat(actor=records.SERVICE, unrecorded={"not-permitted": 3, "too-many": 1}),
    records.LogWitnessed(
        actor=records.SERVICE,
        size=4096,
        cosigned=("witness.example+b8a2cf20+BFLN3yikSfFkVAJtrnh/CiY3Zozkoy7clp+P7XB28qUN",),
        quorum=True,
    ),
    records.LogIndexed(
        actor=records.SERVICE, size=70_000, cases=9_001, root=digest("index of cases")
    ),
    records.KeyAdded(
        actor=records.SERVICE,
        key="example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx",
    ),
    records.KeyRetired(
        actor=records.SERVICE,
        key="example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx",
        reason="compromised",
        since=70_000,
    ),
    records.ClockStepped(actor=HUMAN, step_ms=-3_600_000),
)


def header_of(record: Record) -> Header:
    """A header with something in each of its fields."""
    return Header(
        kind=record.KIND,
        fold=1,
        case="mun_" + "a2" * 13,
        position=3,
        at=AT,
        body=record.body(),
        prev=digest("prev"),
        follows=(digest("followed"), digest("followed too")),
        documents=(digest("document"),),
        sections={name: digest(name) for name in record.SECTIONS},
        observed=AT - timedelta(seconds=1),
    )


def file_of(kind: str) -> Path:
    return HERE / f"{kind.replace(':', '.')}.v1.json"


def main() -> None:
    for record in RECORDS:
        if not file_of(record.KIND).exists():
            file_of(record.KIND).write_bytes(header_of(record).encode())


if __name__ == "__main__":
    main()
