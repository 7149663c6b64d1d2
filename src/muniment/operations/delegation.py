"""
What a delegation allows, and whether it still holds.

It rests on what its giver and the agent itself showed, and on whoever it went through. It holds for
as long as all of that does, also while the record of its end is still to be written.
"""

from collections.abc import Iterator

from muniment.access import records
from muniment.access.registry import Session
from muniment.errors import NotPermitted, Unauthenticated
from muniment.evidence.store import Entry
from muniment.operations.service import SESSIONS, Caller, Service, record_of


def within(service: Service, caller: Caller, resource: str, role: str, seconds: int) -> None:
    """A delegated caller asks for no more than was handed to him. Raises `NotPermitted`."""
    delegation = caller.session.opened.delegation if caller.session is not None else None
    if delegation is None:
        return
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
    if caller.token is not None and caller.token not in service.registry.tokens:
        raise Unauthenticated("this token was revoked")
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
    return token is not None and (token.expires is None or token.expires > now)


def lineage(service: Service, session: str) -> Iterator[Entry]:
    """The records that opened this session and those that it came from, closed ones too."""
    while session.startswith(SESSIONS) and (entries := service.log.read_case(session)):
        yield entries[0]
        opened = record_of(entries[0])
        if not isinstance(opened, records.SessionOpened) or opened.delegation is None:
            return
        session = opened.delegation.parent
