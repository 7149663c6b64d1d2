"""
Delegate: a person's agent acts for him in a session of its own, and may do less than he.

How long that holds, and how far it goes, `delegation` says.
"""

import contextlib
import re
import unicodedata
from dataclasses import dataclass, fields
from datetime import timedelta
from hashlib import sha256

from muniment.access import records
from muniment.access.registry import Principal, Session
from muniment.errors import Malformed, NotFound, NotPermitted, Unauthenticated
from muniment.operations import permit, sign_in
from muniment.operations.attempts import until_it_stands
from muniment.operations.delegation import check_stands, lineage
from muniment.operations.service import Caller, Service, content, record_of
from muniment.operations.sign_in import LONGEST_CHAIN, SignedIn

USUAL, LONGEST = timedelta(minutes=15), timedelta(hours=1)
MAX_ROLES = 50
_MAX_TEXT = 200
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What started it, as the client says; sealed. Raises `Malformed`."""

    task: str = ""
    ticket: str = ""
    alert: str = ""
    #: SHA-256 of the prompt, in hex
    prompt_hash: str = ""
    agent_model: str = ""
    agent_version: str = ""

    def __post_init__(self) -> None:
        for name, text in self.json().items():
            if len(text) > _MAX_TEXT or any(unicodedata.category(c)[0] == "C" for c in text):
                raise Malformed(f"`{name}` has at most {_MAX_TEXT} characters, all of them visible")
        if self.prompt_hash and not _SHA256.fullmatch(self.prompt_hash):
            raise Malformed("`prompt_hash` is a SHA-256 in lower-case hex")

    def json(self) -> dict[str, str]:
        """What is known of it."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: text for name, text in said.items() if text}


@dataclass(frozen=True, kw_only=True)
class Handed:
    """What is to be handed on, and to whom. Raises `Malformed`."""

    #: `resource/role`; none: as much as whoever hands it on has
    roles: tuple[str, ...] = ()
    #: 0: likewise
    max_seconds: int = 0
    length: timedelta = USUAL
    #: login of the agent that is meant; empty: whoever shows its credential
    agent: str = ""
    origin: Origin = Origin()

    def __post_init__(self) -> None:
        if len(self.roles) > MAX_ROLES:
            raise Malformed(f"at most {MAX_ROLES} roles are handed on")
        if not 0 <= self.max_seconds <= timedelta(days=366).total_seconds():
            raise Malformed("`max_seconds` is no possible window")
        if self.length <= timedelta(0):
            raise Malformed("a delegation lasts for more than no time")


async def delegate(
    service: Service, giver: Caller, given: str, agent: Caller, shown: str, handed: Handed
) -> SignedIn:
    """
    A session for the agent, on behalf of its sponsor; `given` and `shown` are their bearer tokens.

    Raises `Unauthenticated` where the tokens do not bear it, `NotPermitted` for more than the giver
    has, and `TooMany` above the quota: none is recorded.
    """
    token = sign_in.new_token()

    async def attempt() -> Session:
        return await _open(
            service, giver, _named(giver, given), agent, _named(agent, shown), handed, token
        )

    session: Session = await until_it_stands(attempt)
    return SignedIn(session=session, token=token)


def _named(caller: Caller, token: str) -> str:
    """What was shown, as records name it: a session's case, or the hash of a static token."""
    return caller.session.case if caller.session is not None else _hash(token).hex()


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()


async def _open(
    service: Service,
    giver: Caller,
    parent: str,
    agent: Caller,
    credential: str,
    handed: Handed,
    token: str,
) -> Session:
    now, actor = service.now(), service.registry.principals[agent.principal.id]
    chain = _chain(service, giver, agent, actor, handed)
    before = giver.session.opened.delegation if giver.session is not None else None
    roles, max_seconds = _narrowed(service, before, handed)
    sessions = [each.session for each in (giver, agent) if each.session is not None]
    bounds = [each.opened.expires for each in sessions]
    grounds = service.rests_on(*(service.registry.principals[id_] for id_ in chain))
    for session in sessions:
        grounds.add(session.case, session.head)
    for each in (giver, agent):
        check_stands(service, each)
    if not all(service.registry.principals[id_].active for id_ in chain):
        raise Unauthenticated("somebody in this chain is disabled")
    record = records.SessionOpened(
        actor=service.actor(agent),
        principal=actor.id,
        person=actor.person,
        token=_hash(token),
        expires=min([now + min(handed.length, LONGEST), *bounds]),
        provider="muniment",
        method="delegation",
        authenticated_at=agent.sign_in.at if agent.sign_in is not None else now,
        amr=(),
        acr="",
        mfa="",
        attested=agent.sign_in is not None and agent.sign_in.attested,
        keys=None,
        delegation=records.Delegation(
            sponsor=chain[0],
            parent=parent,
            credential=credential,
            chain=chain,
            roles=roles,
            max_seconds=max_seconds,
        ),
    )
    said = handed.origin.json()
    return await sign_in.open_session(
        service,
        record,
        actor,
        now,
        sections={"task": content(said)} if said else {},
        follows=grounds.follows,
        reads=grounds.reads,
    )


def _chain(
    service: Service, giver: Caller, agent: Caller, actor: Principal, handed: Handed
) -> tuple[str, ...]:
    """The sponsor first, the agent last; everybody in it was shown by a token."""
    if actor.type != "agent":
        raise Unauthenticated("the actor token is not that of an agent")
    if agent.session is not None and agent.session.opened.delegation is not None:
        raise Unauthenticated("the actor token is itself delegated; show the agent's own")
    if handed.agent not in ("", actor.id, (service.identity(actor.id) or {}).get("login")):
        raise Unauthenticated("the actor token is that of another agent than was named")
    before = giver.session.opened.delegation if giver.session is not None else None
    through = before.chain if before is not None else (giver.principal.id,)
    if actor.sponsor != through[0]:
        raise Unauthenticated("the subject token does not name the sponsor of this agent")
    if len(through) >= LONGEST_CHAIN:
        raise Unauthenticated(f"a chain of delegation has at most {LONGEST_CHAIN} links")
    return (*through, actor.id)


def _narrowed(
    service: Service, before: records.Delegation | None, handed: Handed
) -> tuple[tuple[str, ...], int]:
    """Roles and longest window. Raises `NotPermitted` for more than was had, `NotFound`."""
    for name in handed.roles:
        service.role(*name.partition("/")[::2])
    roles, longest = tuple(sorted(set(handed.roles))), handed.max_seconds
    if before is None:
        return roles, longest
    if before.roles and not set(roles) <= set(before.roles):
        raise NotPermitted("a delegation hands on no role that its giver does not have")
    if before.max_seconds and longest > before.max_seconds:
        raise NotPermitted("a delegation hands on no longer window than its giver has")
    return roles or before.roles, longest or before.max_seconds


# --- the end of a task ------------------------------------------------------------------------


async def end_task(service: Service, caller: Caller, task: str) -> list[Session]:
    """
    Close every delegation for this task; what was asked for under them ends with them.

    Those in whose chain the caller stands, or all where the policy lets him revoke. Raises
    `NotFound` where there is none.
    """
    everybody = permit.ask(service, caller, "revoke", None).outcome == "permit"
    found = [
        session
        for session in _delegations(service)
        if (everybody or caller.principal.id in _chain_of(session))
        and _task(service, session) == task
    ]
    if not found:
        raise NotFound(f"no delegation for the task `{task}` is there that you may end")
    await sign_in.close_sessions(service, found, "task-closed", service.actor(caller))
    service.wake.set()
    return found


def _delegations(service: Service) -> list[Session]:
    """Those that are open, and expired ones under which something is still to be had."""
    registry = service.registry
    named = [each.case for each in list(registry.sessions.values()) if each.opened.delegation]
    for case, (_, _, requester) in list(registry.open_cases.items()):
        if registry.principals[requester].type != "agent":
            continue  # nobody else acts for somebody
        with contextlib.suppress(NotFound):  # decided just now, and not yet under a head
            sign_in_ = service.read(case)[0].requested.actor.sign_in
            named += [sign_in_.session] if sign_in_ is not None else []
    found: dict[str, Session] = {}
    for name in named:
        for entry in lineage(service, name):
            opened, case = record_of(entry), entry.header.case
            if isinstance(opened, records.SessionOpened) and opened.delegation is not None:
                found[case] = Session(case=case, head=entry.leaf, opened=opened)
    return [each for each in found.values() if service.log.head(each.case) == each.head]


def _chain_of(session: Session) -> tuple[str, ...]:
    return session.opened.delegation.chain if session.opened.delegation is not None else ()


def _task(service: Service, session: Session) -> str | None:
    said = service.section(service.log.read_case(session.case)[0], "task")
    return None if said is None else said.get("task")
