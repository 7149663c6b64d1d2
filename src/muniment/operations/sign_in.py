"""
Sign in: from a token that somebody else signed to a session that the log knows.

A session is a case of its own. It says who vouched and how, names the key set with which the token
was verified, and holds for as long as the token does; whoever bears it later is looked up by hash.
"""

import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from muniment.access import records
from muniment.access.counters import DIRECTORY, token_counter
from muniment.access.records import Actor, Delegation
from muniment.access.registry import Principal, Session
from muniment.errors import Conflict, Stale, Unauthenticated
from muniment.evidence.append import Proposal
from muniment.evidence.record import Draft
from muniment.operations import delegation as delegations
from muniment.operations.attempts import until_it_stands
from muniment.operations.enrolment import enrolled
from muniment.operations.providers import PLATFORMS, Turn, claim
from muniment.operations.quota import within_quota
from muniment.operations.service import SESSIONS, Caller, Service, content, new_id
from muniment.ports import VerifiedToken

#: begins every bearer token of a session that we make
PREFIX = "muniment-"
#: principals in a chain of delegation, the sponsor among them
LONGEST_CHAIN = 4
_MAX_CLAIMS = 16 * 1024
_MAX_METHODS = 16


@dataclass(frozen=True, kw_only=True)
class SignedIn:
    """A session, and the bearer token that stands for it: it is here and nowhere else."""

    session: Session
    token: str


async def by_platform_token(service: Service, token: str) -> Session:
    """
    The session of a workload or agent that shows its platform's token; opened when first shown.

    Raises `Unauthenticated`, also for a good token of nobody who is enrolled, and `Unavailable`.
    """
    if service.providers.tokens is None:
        raise Unauthenticated("no provider is configured whose tokens would be believed")
    hash_ = sha256(token.encode()).digest()
    async with _one_at_a_time(service, hash_):
        known = _known(service, hash_)
        if known is not None:
            return known
        service.files_in_force()
        verified = await service.providers.tokens.verify(token, service.now(), kinds=PLATFORMS)
        opened: Session = await until_it_stands(lambda: _open_platform(service, verified))
        return opened


def _known(service: Service, hash_: bytes) -> Session | None:
    """The session that a platform's token opened before. Raises `Unauthenticated` if it closed."""
    known = service.registry.sessions.get(hash_)
    if known is not None and known.opened.expires > service.now():
        return known
    if hash_ in service.registry.spent:
        raise Unauthenticated("the session of this token was closed; show a fresh one")
    return None


async def by_person(service: Service, verified: VerifiedToken) -> SignedIn:
    """
    The session of a human whom a provider of people vouched for.

    Enrols, or enrols anew, where the provider's word counts for that. Raises `Unauthenticated`.
    """
    service.files_in_force()
    token = new_token()
    account = content([verified.issuer, verified.subject])
    async with _one_at_a_time(service, sha256(account).digest()):
        session: Session = await until_it_stands(lambda: _open_person(service, verified, token))
    return SignedIn(session=session, token=token)


def new_token() -> str:
    """256 random bits, which the log knows the SHA-256 of."""
    return PREFIX + secrets.token_urlsafe(32)


@contextlib.asynccontextmanager
async def _one_at_a_time(service: Service, key: bytes) -> AsyncIterator[None]:
    """What comes to this node at once comes in turn; counters see to what comes to others."""
    waiting = service.providers.signing_in
    turn = waiting.setdefault(key, Turn())
    turn.waiting += 1
    try:
        async with turn.lock:
            yield
    finally:
        turn.waiting -= 1
        if not turn.waiting:
            del waiting[key]


async def by_token(service: Service, caller: Caller, length: timedelta) -> SignedIn:
    """
    A short session of somebody who holds a static token: for a browser. It shows no factor.

    Raises `Conflict` for who is signed in by other means: that session would outlive the first.
    """
    if caller.session is not None and caller.session.opened.method != "code":
        raise Conflict("only who holds a static token signs in by a code")
    token = new_token()
    session: Session = await until_it_stands(lambda: _open_by_code(service, caller, length, token))
    return SignedIn(session=session, token=token)


async def _open_by_code(service: Service, caller: Caller, length: timedelta, token: str) -> Session:
    now, principal = service.now(), _still(service, caller)
    shown = service.registry.tokens.get(caller.token or b"")
    rests_on = caller.session.opened if caller.session is not None else shown
    bound = (rests_on.expires if rests_on is not None else None) or now + length
    record = records.SessionOpened(
        actor=service.actor(caller),
        principal=principal.id,
        person=principal.person,
        token=sha256(token.encode()).digest(),
        expires=min(now + length, bound),
        provider="muniment",
        method="code",
        authenticated_at=now,
        amr=(),
        acr="",
        mfa="",
        attested=False,
        keys=None,
    )
    return await open_session(service, record, principal, now)


def _still(service: Service, caller: Caller) -> Principal:
    """The caller as he is now. Raises `Unauthenticated` if what he showed is over by now."""
    principal = service.registry.principals[caller.principal.id]
    delegations.check_stands(service, caller)
    if not principal.active:
        raise Unauthenticated("you are disabled here")
    return principal


async def beside(service: Service, caller: Caller) -> SignedIn:
    """
    A further session of a human who is signed in: for a program on his own machine.

    It shows what the first one shows and holds as long; signing out of one leaves the other.
    Raises `Conflict` for anybody else.
    """
    first = caller.session
    if first is None or caller.principal.type != "human":
        raise Conflict("only a human who is signed in can sign in a program")
    token = new_token()
    session: Session = await until_it_stands(lambda: _open_beside(service, caller, first, token))
    return SignedIn(session=session, token=token)


async def _open_beside(service: Service, caller: Caller, first: Session, token: str) -> Session:
    principal = _still(service, caller)
    if service.registry.session(first.case) is None:
        raise Unauthenticated("you have signed out meanwhile")
    record = replace(
        first.opened, actor=service.actor(caller), token=sha256(token.encode()).digest()
    )
    keys = record.keys
    return await open_session(
        service,
        record,
        principal,
        service.now(),
        documents=(service.document(keys),) if keys is not None else (),
        follows=(first.head,),
        reads={first.case: first.head},
    )


async def open_session(
    service: Service,
    record: records.SessionOpened,
    principal: Principal,
    now: datetime,
    *,
    sections: Mapping[str, bytes] | None = None,
    documents: tuple[bytes, ...] = (),
    follows: Sequence[bytes] = (),
    reads: Mapping[str, bytes | None] = MappingProxyType({}),
    before: Sequence[Draft] = (),
) -> Session:
    """
    `before` are drafts about the principal that have to stand first.

    `follows` and `reads` are what it rests on besides the principal. May raise `Stale`, and
    `TooMany` above the quota.
    """
    within_quota(service, principal.id, "sign-ins")
    case = new_id(SESSIONS.removesuffix("_"))
    leaf: bytes | int = len(before) - 1 if before else principal.leaf
    draft = record.draft(
        case,
        now,
        follows=tuple(dict.fromkeys((leaf, *follows))),
        sections=dict(sections or {}),
        documents=documents,
    )
    # It gives nothing by itself, and whoever has to end or revoke something must get in: also with
    # a full disk, and with a clock in doubt.
    heads = {**reads, case: None, principal.id: principal.head or None}
    await service.append(Proposal(drafts=(*before, draft), reads=heads, gives=False, urgent=True))
    return service.registry.sessions[record.token]


async def close_sessions(
    service: Service, sessions: Sequence[Session], reason: str, actor: Actor
) -> None:
    """Each of them is worth nothing from now on."""
    now = service.now()
    for session in sessions:
        closed = records.SessionClosed(actor=actor, reason=reason)
        last = records.CaseClosed(actor=records.SERVICE, records=3)
        # the one thing that can happen to a session: somebody else has closed it
        with contextlib.suppress(Stale):
            await service.append(
                Proposal(
                    drafts=(closed.draft(session.case, now), last.draft(session.case, now)),
                    reads={session.case: session.head},
                    gives=False,
                    urgent=True,
                )
            )


async def sign_out(service: Service, caller: Caller) -> None:
    """Raises `Conflict` for a static token: that is revoked by taking it out of the files."""
    if caller.session is None:
        raise Conflict("a static token has no session; `muniment token revoke` ends it")
    await close_sessions(service, [caller.session], "signed-out", service.actor(caller))


# --- workloads and agents ---------------------------------------------------------------------


async def _open_platform(service: Service, verified: VerifiedToken) -> Session:
    # heads before facts: another node may be shown the same token, in this form or in its other
    forms = [each for each in (verified.token_hash, verified.twin_hash) if each is not None]
    shown = {key: service.log.head(key) for key in map(token_counter, forms)}
    known = _known(service, verified.token_hash)
    if known is not None:
        return known
    # else whoever has a token could write its other text, and be back after it was closed
    registry = service.registry
    if verified.twin_hash in registry.spent or verified.twin_hash in registry.sessions:
        raise Unauthenticated("this token was shown in another form; show a fresh one")
    now, delegation = service.now(), None
    if "act" in verified.claims:
        principal, delegation = _acting(service, verified)
    else:
        principal = _by_claims(service, verified, verified.claims)
    record = records.SessionOpened(
        actor=_actor(service, principal),
        principal=principal.id,
        person=principal.person,
        token=verified.token_hash,
        expires=verified.expires or now + timedelta(minutes=5),
        provider=verified.provider,
        method="workload",
        authenticated_at=now,
        amr=(),
        acr="",
        mfa="",
        attested=True,
        keys=verified.keys.digest,
        delegation=delegation,
    )
    # whoever acts for somebody rests on him, too
    grounds = service.rests_on(principal)
    return await open_session(
        service,
        record,
        principal,
        now,
        sections={"claims": _claims(verified)},
        documents=(verified.keys.document,),
        follows=grounds.follows if delegation is not None else (),
        reads={**shown, **(grounds.reads if delegation is not None else {})},
    )


def _acting(service: Service, verified: VerifiedToken) -> tuple[Principal, Delegation]:
    """
    RFC 8693 section 4.1: the token is about a person, and the outermost `act` is who acts now.

    Whoever stands further in acted before: that is history, and decides nothing.
    """
    act, depth = verified.claims["act"], 0
    link: Any = act
    while isinstance(link, Mapping) and depth < LONGEST_CHAIN:
        link, depth = link.get("act"), depth + 1
    if not isinstance(act, Mapping) or link is not None:
        raise Unauthenticated(f"`act` is no chain of fewer than {LONGEST_CHAIN + 1} actors")
    if act.get("iss", verified.issuer) != verified.issuer:
        raise Unauthenticated("`act` names an actor of another issuer")
    person = service.account(verified.issuer, verified.subject)
    if person is None or person.type != "human" or not person.active:
        raise Unauthenticated("the token acts for nobody who is enrolled here")
    signal, issued = service.registry.signalled.get(person.person), verified.claims.get("iat", 0)
    if signal is not None and issued < signal.at.timestamp():
        raise Unauthenticated("a signal about the person came after this token; show a fresh one")
    said = {name: value for name, value in act.items() if name != "act"}
    agent = _by_claims(service, verified, said)
    if agent.type != "agent" or agent.sponsor != person.id:
        raise Unauthenticated("the token does not name the sponsor of this agent")
    return agent, Delegation(
        sponsor=person.id,
        parent="",
        credential="",
        chain=(person.id, agent.id),
        roles=(),
        max_seconds=0,
    )


def _by_claims(service: Service, verified: VerifiedToken, claims: Mapping[str, Any]) -> Principal:
    """The one workload or agent of whom every claim is there."""
    rules = service.providers.rules[verified.provider]
    found = [
        principal
        for principal in list(service.registry.principals.values())
        if principal.type != "human"
        and principal.active
        and any(
            (known["issuer"], known["kind"]) == (rules.issuer, rules.kind)
            and all(claim(claims, path) == said for path, said in known["claims"].items())
            for known in (service.identity(principal.id) or {}).get("identities", ())
        )
    ]
    if len(found) != 1:
        why = "no workload or agent is" if not found else "more than one workload or agent is"
        raise Unauthenticated(f"{why} enrolled for what this `{verified.kind}` token says")
    return found[0]


# --- people -----------------------------------------------------------------------------------


async def _open_person(service: Service, verified: VerifiedToken, token: str) -> Session:
    rules, now = service.providers.rules[verified.provider], service.now()
    subject = claim(verified.claims, rules.subject_claim)
    if subject is None:
        raise Unauthenticated(f"the provider's token has no `{rules.subject_claim}`")
    # heads before facts: names and accounts are given out once
    directory = service.log.head(DIRECTORY)
    principal = service.account(verified.issuer, subject)
    person, before = enrolled(service, rules, verified, subject, principal, now)
    methods = _methods(verified)
    acr = str(verified.claims.get("acr", ""))[:200]
    record = records.SessionOpened(
        actor=_actor(service, person),
        principal=person.id,
        person=person.person,
        token=sha256(token.encode()).digest(),
        expires=now + rules.session,
        provider=verified.provider,
        method="oidc",
        authenticated_at=_authenticated_at(verified, now),
        amr=methods,
        acr=acr if acr.isascii() else "",
        # how old a factor is nobody knows who is not told when it was shown
        mfa=rules.factor(frozenset((*methods, acr))) if "auth_time" in verified.claims else "",
        attested=False,
        keys=verified.keys.digest,
    )
    return await open_session(
        service,
        record,
        person,
        now,
        sections={"claims": _claims(verified)},
        documents=(verified.keys.document,),
        reads={DIRECTORY: directory} if before else {},
        before=before,
    )


def _methods(verified: VerifiedToken) -> tuple[str, ...]:
    amr = verified.claims.get("amr", [])
    known = [m for m in amr if isinstance(m, str) and m.isascii()] if isinstance(amr, list) else []
    return tuple(method[:40] for method in known[:_MAX_METHODS])


def _authenticated_at(verified: VerifiedToken, now: datetime) -> datetime:
    """`auth_time` where the provider gives one; it cannot be later than now."""
    at = verified.claims.get("auth_time", verified.claims.get("iat"))
    if not isinstance(at, int | float):
        return now
    return min(now, datetime.fromtimestamp(int(at), now.tzinfo))


# --- both -------------------------------------------------------------------------------------


def _actor(service: Service, principal: Principal) -> Actor:
    return Actor(
        principal=principal.id,
        type=principal.type,
        sponsor=principal.sponsor,
        persons=service.registry.persons(principal),
        assurance="session",
    )


def _claims(verified: VerifiedToken) -> bytes:
    """What the token said, as it said it; sealed."""
    said = content({"claims": _plain(dict(verified.claims)), "issuer": verified.issuer})
    return said if len(said) <= _MAX_CLAIMS else content({"issuer": verified.issuer})


def _plain(value: Any) -> Any:
    """Claims as canonical JSON can have them: a number with a fraction becomes text."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(member) for key, member in value.items() if str(key).isascii()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    return value
