"""Lives of access cases, record by record, without a log: each step returns the life one further."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, TypeVar

from muniment.access import lifecycle, records
from muniment.access.case import AccessCase
from muniment.access.records import Actor, Capabilities, EndpointView, Record
from muniment.evidence.record import Header

R = TypeVar("R", bound=Record)
LOG = sha256(b"this log").digest()
CASE = "mun_" + "a" * 26
START = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
DEFINITION = sha256(b"a role").digest()
ANA = Actor(
    principal="prn_ana", type="human", sponsor=None, persons=("per_ana",), assurance="token"
)
BO = Actor(principal="prn_bo", type="human", sponsor=None, persons=("per_bo",), assurance="token")
CY = Actor(principal="prn_cy", type="human", sponsor=None, persons=("per_cy",), assurance="token")
ADA = Actor(
    principal="prn_ada", type="human", sponsor=None, persons=("per_ada",), assurance="token"
)
CAPABILITIES = Capabilities(
    expires_new_logins=True,
    expires_live_sessions=False,
    kills_live_sessions=True,
    log_names_grant=True,
    enforces_deadline=True,
    extends_live=True,
    endpoints=("primary", "replica"),
)
GONE = EndpointView(endpoint="primary", target="7411", saw_itself=True, accounts=0, sessions=0)
#: every (state, kind) that was taken by any life in these tests
TAKEN: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Life:
    """A case, and the moment of its next record."""

    case: AccessCase = field(default_factory=lambda: AccessCase(log_id=LOG))
    at: datetime = START

    def then(self, record: Record, **header: Any) -> "Life":
        """One record further; a verdict follows the decision that permits it. `FoldInvalid`."""
        verdict = isinstance(record, records.ApprovalGiven | records.ApprovalRefused)
        if verdict and self.case.state in ("pending", "issued") and not self.case.permitted:
            permits = decision({}, question="approve", outcome="permit", actor=record.actor)
            return self.then(replace(permits, deadline=None)).then(record, **header)
        return self.straight(record, **header)

    def straight(self, record: Record, **header: Any) -> "Life":
        """One record further, whatever stands before it."""
        state, placed = self.case.state, self.header(record, **header)
        case = lifecycle.advance(self.case, placed, leaf_of(placed))
        TAKEN.add((state, record.KIND))
        return Life(case, self.at + timedelta(seconds=1))

    def header(self, record: Record, **changes: Any) -> Header:
        fields = {
            "kind": record.KIND,
            "fold": records.FOLD,
            "case": CASE,
            "position": self.case.length,
            "at": self.at,
            "body": record.body(),
            "prev": self.case.head or None,
        }
        return Header(**{**fields, **changes})

    # --- the steps -----------------------------------------------------------------------------

    def requested(self, **changes: Any) -> "Life":
        return self.then(request(**changes))

    def decided(self, approvals: dict[str, int] | None = None, **changes: Any) -> "Life":
        return self.then(decision(approvals or {}, **changes))

    def pending(self, approvals: dict[str, int] | None = None) -> "Life":
        return self.requested().decided(approvals or {"leads": 1})

    def given(self, actor: Actor = BO, *groups: str, **changes: Any) -> "Life":
        return self.then(self.approval(actor, *groups, **changes))

    def approval(self, actor: Actor = BO, *groups: str, **changes: Any) -> records.ApprovalGiven:
        given = records.ApprovalGiven(
            actor=actor,
            approver=actor.principal,
            person=actor.persons[0],
            groups=groups or ("leads",),
            terms=self.case.current.terms,
        )
        return replace(given, **changes)

    def refusal(self, **changes: Any) -> records.ApprovalRefused:
        refused = records.ApprovalRefused(
            actor=BO, approver="prn_bo", person="per_bo", terms=self.case.current.terms
        )
        return replace(refused, **changes)

    def approved(self) -> "Life":
        return self.pending().given()

    def grant(self, **changes: Any) -> records.GrantAuthorized:
        ask = self.case.ask
        granted = records.GrantAuthorized(
            actor=ANA,
            terms=ask.terms if ask is not None else b"",
            definition=DEFINITION,
            connector="fake",
            starts=self.case.starts or self.at,
            until=self.case.until or self.at + timedelta(minutes=30),
            deadline=self.at + timedelta(seconds=10),
            offset_ms=0,
            satisfied=ask.satisfied if ask is not None else {},
        )
        return replace(granted, **changes)

    def authorized(self, **changes: Any) -> "Life":
        return self.then(self.grant(**changes))

    def issued(self, **changes: Any) -> "Life":
        return self.then(credential(**changes))

    def live(self) -> "Life":
        return self.approved().authorized().issued()

    def undone(self) -> "Life":
        """A first credential that was ordered, and failed."""
        failed = records.CredentialFailed(actor=records.SERVICE, reason="timeout")
        undo = records.GrantUndone(actor=records.SERVICE)
        return self.authorized().then(failed).then(undo)

    def extending(self, seconds: int = 2400, approvals: dict[str, int] | None = None) -> "Life":
        asked = self.then(records.ExtensionRequested(actor=ANA, seconds=seconds))
        return asked.decided(approvals, question="extend", max_seconds=3600)

    def extension(self, **changes: Any) -> records.GrantExtended:
        ask, starts = self.case.current, self.case.starts or self.at
        extended = records.GrantExtended(
            actor=records.SERVICE,
            terms=ask.terms,
            until=starts + timedelta(seconds=ask.seconds),
            deadline=self.at + timedelta(seconds=10),
            satisfied=ask.satisfied,
        )
        return replace(extended, **changes)

    def expired(self, **changes: Any) -> "Life":
        due = self.case.until or self.at
        return self.then(replace(records.GrantExpired(actor=records.SERVICE, due=due), **changes))

    def verified(self, *views: EndpointView) -> "Life":
        return self.then(removal(*views))

    def closed(self, **changes: Any) -> "Life":
        count = self.case.length + 1
        return self.then(
            replace(records.CaseClosed(actor=records.SERVICE, records=count), **changes)
        )


def leaf_of(header: Header) -> bytes:
    return sha256(b"\0" + header.encode()).digest()


def request(**changes: Any) -> records.AccessRequested:
    asked = records.AccessRequested(
        actor=ANA,
        requester="prn_ana",
        resource="orders-prod",
        role="readwrite",
        definition=DEFINITION,
        environment="production",
        seconds=1800,
        emergency=False,
    )
    return replace(asked, **changes)


def decision(approvals: dict[str, int], **changes: Any) -> records.DecisionEvaluated:
    decided = records.DecisionEvaluated(
        actor=ANA,
        question="request",
        outcome="needs_approvals" if approvals else "auto_approve",
        bundle=sha256(b"bundle").digest(),
        engine="cedarpy 4",
        rules=("a.rule",),
        approvals=approvals,
        max_seconds=3600,
        requires=(),
        notifies=(),
        deadline=START + timedelta(hours=8),
        pickup_seconds=3600,
        standing=(),
    )
    return replace(decided, **changes)


def credential(**changes: Any) -> records.CredentialIssued:
    made = records.CredentialIssued(
        actor=records.SERVICE,
        account=CASE,
        target="7411",
        fingerprint=sha256(b"print").digest(),
        native_expiry=None,
        capabilities=CAPABILITIES,
    )
    return replace(made, **changes)


def removal(*views: EndpointView) -> records.RemovalVerified:
    return records.RemovalVerified(
        actor=records.SERVICE,
        endpoints=views or (GONE, replace(GONE, endpoint="replica")),
        accounts_removed=1,
        sessions_killed=0,
        lag_ms=5,
    )


def unseen(reason: str = "blind") -> records.RemovalUnverified:
    return records.RemovalUnverified(actor=records.SERVICE, endpoints=(GONE,), reason=reason)


def every_life() -> list[Life]:
    """One life, or more, for every way that the table allows."""
    service, life = records.SERVICE, Life()
    denied = life.requested().decided(outcome="deny")
    pending, approved, live = life.pending(), life.approved(), life.live()
    authorized = approved.authorized()
    withdrawn, lapsed = records.AccessWithdrawn(actor=ANA), records.AccessLapsed(actor=service)
    failed = records.CredentialFailed(actor=service, reason="timeout")
    ended, revoked = records.GrantEnded(actor=ANA), records.GrantRevoked(actor=ADA)
    extending = live.extending(approvals={"leads": 1})
    ends: list[Callable[[Life], Life]] = [
        lambda at: at.expired(),
        lambda at: at.then(ended),
        lambda at: at.then(revoked),
    ]
    gone = [end(start) for start in (live, authorized) for end in ends]
    undone = approved.undone()
    too_late = replace(undone, at=undone.at + timedelta(hours=2))
    auto = life.requested().decided()
    return [
        denied.closed(),
        pending.then(pending.refusal()).closed(),
        pending.decided(question="approve", outcome="deny").then(withdrawn).closed(),
        pending.then(lapsed).closed(),
        approved.then(withdrawn).closed(),
        approved.then(lapsed).closed(),
        approved.then(revoked).closed(),
        auto.decided(question="issue", outcome="deny").authorized().issued().expired(),
        live.decided(question="approve", outcome="deny"),
        live.authorized().issued(),
        live.authorized().then(failed),
        extending.given(CY).then(extending.given(CY).extension()),
        extending.then(extending.refusal()),
        undone.then(unseen()).verified().authorized().issued().expired().verified().closed(),
        *(each.then(unseen()).verified().closed() for each in (*gone, too_late)),
    ]


def sample(cls: type[R], **changes: Any) -> R:
    """Any well-typed value of a record class: enough to be parsed, and no possible life."""
    names = {field.name: str(field.type) for field in dataclasses.fields(cls)}
    return cls(**{**{name: _sample(hint) for name, hint in names.items()}, **changes})


def _sample(hint: str) -> Any:
    found = {
        "Actor": ANA,
        "Capabilities": CAPABILITIES,
        "str": "x",
        "int": 1,
        "bool": False,
        "bytes": b"\x01" * 32,
        "datetime": START,
    }
    for name in ("None", "tuple", "dict"):
        if name in hint:
            return {"None": None, "tuple": (), "dict": {}}[name]
    name = hint.removeprefix("<class '").removesuffix("'>").rpartition(".")[2]
    return found[name]
