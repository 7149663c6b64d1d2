"""Ask for access: evaluate the policy, and record the request and its decision together."""

import contextlib
import hmac
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from muniment.access import records
from muniment.access.case import AccessCase
from muniment.access.counters import glass_counter
from muniment.errors import Conflict, Malformed
from muniment.evidence import moment
from muniment.evidence.append import Appended
from muniment.evidence.record import Draft
from muniment.operations import delegation
from muniment.operations.attempts import until_it_stands, until_known
from muniment.operations.decision import decision_draft
from muniment.operations.facts import Reason, access_facts
from muniment.operations.quota import within_quota
from muniment.operations.review import review_drafts
from muniment.operations.service import Caller, Service, close, content
from muniment.policy.decide import Decision, ask_request
from muniment.ports import Answer

MAX_REASON = 4000
LONGEST = timedelta(days=366)
#: the operation under which the use of a binding token is kept
TOKEN = "binding-token"  # noqa: S105 (a name)


@dataclass(frozen=True, kw_only=True)
class AccessAsk:
    """What somebody asks for."""

    resource: str
    role: str
    seconds: int
    reason: Reason
    emergency: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= LONGEST.total_seconds():
            raise Malformed("ask for a window of more than no time and less than a year")
        check_text(self.reason.text, "reason")


@dataclass(frozen=True, kw_only=True)
class IdempotencyKey:
    """A key that the caller chose, and the body that it was first used with."""

    key: str
    body: bytes

    @property
    def digest(self) -> bytes:
        return sha256(self.body).digest()


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What came with a request besides what is asked for; it is kept, and decides nothing."""

    #: id of the evaluation whose denial led here
    evaluation: str = ""
    #: id of the binding token that was shown: it works once
    token: str = ""
    #: what was asked for together shares it
    batch: str = ""
    #: sealed sections: `submission`, `callback`
    sections: Mapping[str, bytes] = field(default_factory=dict)


NOTHING_ELSE = Submission()


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The answer to a request."""

    case: AccessCase
    #: the policy's own sentences
    decision: Decision | None
    appended: Appended | None


async def request(
    service: Service,
    caller: Caller,
    ask: AccessAsk,
    key: IdempotencyKey | None = None,
    came: Submission = NOTHING_ELSE,
) -> Asked:
    """
    Record the request and what the policy says of it, whatever it says.

    The same key with the same body gives the case that was made the first time; with another body
    `Conflict`. Raises `NotFound` for an unknown role and `TooMany` above the quota: neither is
    recorded.
    """
    if key is not None and (before := await _answered(service, caller, key)) is not None:
        return before
    service.role(ask.resource, ask.role)
    if not ask.emergency:
        within_quota(service, caller.principal.id)
    with first_with(service, caller, key, came.token):
        asked: Asked = await until_it_stands(lambda: _request(service, caller, ask, key, came))
    return asked


@contextlib.contextmanager
def first_with(
    service: Service, caller: Caller, key: IdempotencyKey | None, *tokens: str
) -> Iterator[None]:
    """One request at a time under one key, and with one binding token."""
    marks = {(caller.principal.id, key.key)} if key is not None else set()
    marks |= {(TOKEN, token) for token in tokens if token}
    if marks & service.answering:
        raise Conflict("a request with this Idempotency-Key is being answered; ask again shortly")
    service.answering |= marks
    try:
        yield
    finally:
        service.answering -= marks


async def _request(
    service: Service,
    caller: Caller,
    ask: AccessAsk,
    key: IdempotencyKey | None,
    came: Submission,
) -> Asked:
    if (
        service.shared
        and key is not None
        and (before := await _answered(service, caller, key)) is not None
    ):
        return before  # by another node, since we looked
    check_unused(service, caller, came)
    drafted = draft(service, caller, ask, came)
    also = list(drafted.also)
    if key is not None:
        also.append(answer(caller, "request", key, drafted.case, drafted.now))
    after, appended = await service.propose(
        drafted.drafts, drafted.reads, urgent=ask.emergency, also=also
    )
    return Asked(case=after, decision=drafted.decision, appended=appended)


@dataclass(frozen=True, kw_only=True)
class Drafted:
    """A request and its decision, as they are to be appended."""

    case: str
    now: datetime
    decision: Decision
    drafts: list[Draft]
    #: heads that the decision read
    reads: dict[str, bytes | None]
    also: list[Any]


def draft(service: Service, caller: Caller, ask: AccessAsk, came: Submission) -> Drafted:
    """Ask the policy now. Raises `NotPermitted` for more than was delegated to the caller."""
    delegation.within(service, caller, ask.resource, ask.role, ask.seconds)
    now, case = service.now(), service.new_case()
    principal = service.registry.principals[caller.principal.id]
    role = service.role(ask.resource, ask.role)
    # heads before facts: what moves in between is then noticed, and all of it is evaluated again
    actor = service.actor(caller)
    grounds = service.rests_on(principal, role=role, session=caller.session)
    delegation.check_stands(service, caller)
    for person in actor.persons if ask.emergency else ():
        grounds.reads[glass_counter(person)] = service.log.head(glass_counter(person))
    facts = access_facts(
        service,
        principal,
        role,
        seconds=ask.seconds,
        emergency=ask.emergency,
        reason=ask.reason,
        now=now,
        signed_in=caller.sign_in,
    )
    decision = ask_request(service.policy(), facts)
    requested = records.AccessRequested(
        actor=actor,
        requester=principal.id,
        resource=role.resource,
        role=role.role,
        definition=role.definition,
        environment=role.environment,
        seconds=ask.seconds,
        emergency=ask.emergency,
        evaluation=came.evaluation,
        batch=came.batch,
        callback="callback" in came.sections,
    )
    sections = {"reason": content(ask.reason.json()), **came.sections}
    drafts = [
        requested.draft(case, now, sections=sections),
        decision_draft(
            decision,
            case,
            now,
            actor=actor,
            question="request",
            follows=grounds.follows,
            deadline=now + service.limits.approval_window,
            pickup=service.limits.pickup_window,
        ),
    ]
    also: list[Any] = []
    if decision.outcome == "deny":
        drafts = close(drafts, case, 0, now)
    if decision.outcome == "break_glass":
        extra, rows = review_drafts(service, case, actor, decision.requires, now)
        drafts += extra
        also += rows
        grounds.reads.update({draft.case: None for draft in extra})
    if came.token:
        used = IdempotencyKey(key=came.token, body=b"")
        also.append(answer(caller, TOKEN, used, case, now))
    return Drafted(
        case=case, now=now, decision=decision, drafts=drafts, reads=grounds.reads, also=also
    )


def was_used(service: Service, caller: Caller, token: str) -> bool:
    """Whether a request was made with this binding token already."""
    return service.projections.answer(caller.principal.id, TOKEN, token) is not None


def check_unused(service: Service, caller: Caller, came: Submission) -> None:
    """Raises `Conflict` where another node was asked with this binding token, since we looked."""
    if service.shared and came.token and was_used(service, caller, came.token):
        raise Conflict("a request was made with this denial already")


def check_text(text: str, what: str) -> None:
    """Free text is for people to read: printable, on one line or several, and not endless."""
    if len(text) > MAX_REASON:
        raise Malformed(f"the {what} is longer than {MAX_REASON} characters")
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t" for c in text):
        raise Malformed(f"the {what} holds control characters")


async def _answered(service: Service, caller: Caller, key: IdempotencyKey) -> Asked | None:
    case_id = await answered(service, caller, "request", key)
    return (
        None
        if case_id is None
        else Asked(case=service.read(case_id)[0], decision=None, appended=None)
    )


async def answered(
    service: Service, caller: Caller, operation: str, key: IdempotencyKey
) -> str | None:
    """
    The case of the first answer under this key: its records are known here once this returns.

    Raises `Conflict` for another body, and `LogUnavailable` where they do not become known.
    """
    answer = service.projections.answer(caller.principal.id, operation, key.key)
    if answer is None:
        return None
    if not hmac.compare_digest(answer.body, key.digest):
        raise Conflict("this Idempotency-Key was used with another request; choose a new one")
    await until_known(service)
    return answer.case


def answer(caller: Caller, operation: str, key: IdempotencyKey, case: str, at: datetime) -> Answer:
    """Kept in the same transaction as the records."""
    return Answer(
        principal=caller.principal.id,
        operation=operation,
        key=key.key,
        body=key.digest,
        case=case,
        at=moment.text(at),
    )
