"""
What a delegation allows, and whether it still holds.

It rests on what its giver and the agent itself showed, and on whoever it went through. It holds for
as long as all of that does, also while the record of its end is still to be written.
"""

from collections.abc import Iterator

from muniment.access import records
from muniment.access.case import AccessCase
from muniment.access.registry import Session
from muniment.errors import NotPermitted, Unauthenticated
from muniment.evidence.store import Entry
from muniment.operations.service import SESSIONS, Caller, Service, record_of


def within(
    service: Service,
    caller: Caller,
    resource: str,
    role: str,
    seconds: int,
    *,
    asked: AccessCase | None = None,
) -> None:
    """
    A delegated caller asks for no more than was handed to him. Raises `NotPermitted`.

    Of what was `asked` for under a delegation, nobody gets more than that one allowed.
    """
    for delegation in (_held(caller), _asked_under(service, asked)):
        if delegation is not None:
            _check_within(service, delegation, resource, role, seconds)


def covers(caller: Caller, resource: str, role: str) -> bool:
    """Whether this role was handed to the caller; every one is, where nothing limits him."""
    delegation = _held(caller)
    return delegation is None or not delegation.roles or f"{resource}/{role}" in delegation.roles


def covers_all(caller: Caller) -> bool:
    """Whether no delegation limits the caller to some roles."""
    delegation = _held(caller)
    return delegation is None or not delegation.roles


def _held(caller: Caller) -> records.Delegation | None:
    return caller.session.opened.delegation if caller.session is not None else None


def _asked_under(service: Service, case: AccessCase | None) -> records.Delegation | None:
    shown = case.requested.actor.sign_in if case is not None else None
    for opened in lineage(service, shown.session) if shown is not None else ():
        record = record_of(opened)
        return record.delegation if isinstance(record, records.SessionOpened) else None
    return None


def _check_within(
    service: Service, delegation: records.Delegation, resource: str, role: str, seconds: int
) -> None:
    why = ""
    if delegation.roles and f"{resource}/{role}" not in delegation.roles:
        why = f"`{resource}/{role}` is not among the roles that were delegated to you"
    elif delegation.max_seconds and seconds > delegation.max_seconds:
        why = f"a window of at most {delegation.max_seconds} seconds was delegated to you"
    if why:
        service.count("not-permitted")
        raise NotPermitted(why)


def check_stands(service: Service, caller: Caller) -> None:
    """Raises `Unauthenticated` for what was shown if it, or what it rests on, is over by now."""
    token = service.registry.tokens.get(caller.token) if caller.token is not None else None
    if caller.token is not None and (token is None or service.registry.is_outdated(token)):
        raise Unauthenticated("this token was revoked")
    if service.registry.is_cut_off(service.registry.principals[caller.principal.id]):
        raise Unauthenticated("a signal ended the access of the human behind you; he signs in anew")
    if caller.session is not None and broken(service, caller.session):
        raise Unauthenticated("what this delegation rested on has ended")


def broken(service: Service, session: Session) -> str:
    """Why a session does not hold any more, as `session:closed` has it; empty while it does."""
    registry, opened = service.registry, session.opened
    delegation = opened.delegation
    chain = delegation.chain if delegation is not None else (opened.principal,)
    if not all(registry.principals[id_].active for id_ in chain):
        return "principal-disabled"
    signal = registry.signalled.get(opened.person)
    if signal is not None and registry.indexes[session.head] < signal.sessions:
        return "signal"
    # a code was shown in the place of a static token, which of them no record says
    if opened.method == "code" and registry.indexes[session.head] < registry.revoked.get(
        opened.principal, -1
    ):
        return "revoked"
    if delegation is None:
        return ""
    shown = (delegation.parent, delegation.credential)
    sponsored = registry.principals[opened.principal].sponsor == delegation.sponsor
    holds = sponsored and all(_still_shown(service, each) for each in shown if each)
    return "" if holds else "parent-closed"


def _still_shown(service: Service, named: str) -> bool:
    """Whether a session and all that it rests on, or a static token, is still worth something."""
    session, now = service.registry.session(named), service.now()
    if session is not None:
        return session.opened.expires > now and not broken(service, session)
    if named.startswith(SESSIONS):
        return False
    token = service.registry.tokens.get(bytes.fromhex(named))
    if token is None or service.registry.is_outdated(token):
        return False
    return token.expires is None or token.expires > now


def lineage(service: Service, session: str) -> Iterator[Entry]:
    """The records that opened this session and those that it came from, closed ones too."""
    while session.startswith(SESSIONS) and (entries := service.log.read_case(session)):
        yield entries[0]
        opened = record_of(entries[0])
        if not isinstance(opened, records.SessionOpened) or opened.delegation is None:
            return
        session = opened.delegation.parent
