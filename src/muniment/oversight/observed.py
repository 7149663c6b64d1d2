"""From the events of sources to facts: what detectors see of doing."""

from typing import Final, Protocol

from muniment.oversight.event_store import Kept
from muniment.oversight.fact import Fact, Value
from muniment.oversight.link import GrantWindow

#: types of events that concern somebody also where they belong to no grant
_ALWAYS: Final = frozenset(
    {"session.opened", "access.changed", "credential.issued", "logging.changed", "elevated"}
)
_OWN_TYPE: Final = frozenset({"deployment", "incident.opened", "incident.closed"})
_CONCERNING: Final = _ALWAYS | _OWN_TYPE


class Accounts(Protocol):
    """What is known of the accounts of one source's targets, and of who holds grants there."""

    @property
    def declared(self) -> bool:
        """Whether anybody has said which accounts are there without a grant."""
        ...

    def is_standing(self, account: str) -> bool:
        """It is declared to be there without a grant."""
        ...

    def is_own(self, account: str) -> bool:
        """Muniment itself works with it."""
        ...

    def grant_in(self, text: str) -> str:
        """The grant whose id stands in the name of an account; empty without one."""
        ...

    def zone(self, principal: str) -> str:
        """Time zone of a person; empty where nobody set it."""
        ...


def fact_of(kept: Kept, window: GrantWindow | None, accounts: Accounts) -> Fact | None:
    """
    What detectors see of an event; None for the traffic of others, and for what was erased.

    `window` is the grant that it was linked to.
    """
    event = kept.event
    if event is None or event.type == "other":
        return None
    if not kept.link.strength and event.type not in _CONCERNING:
        return None
    ref = f"{kept.source}#{kept.number}"
    if event.type in _OWN_TYPE:
        about: dict[str, Value] = {
            "source": kept.source,
            "resource": kept.resource,
            "object": event.object,
        }
        return Fact(type=event.type, at=event.at, ref=ref, values=about)
    standing = kept.link.standing
    if not kept.link.strength:
        if accounts.is_standing(event.account):
            standing = "known"
        elif not accounts.declared:
            standing = "undeclared"
    values: dict[str, Value] = {
        "source": kept.source,
        "event": event.type,
        "account": event.account,
        "client": event.client,
        "session": event.session,
        "action": event.action,
        "object": event.object,
        "failed": event.failed,
        "link": kept.link.strength,
        "reason_of_link": kept.link.reason,
        "standing": standing,
        "own": accounts.is_own(event.account),
        "about": accounts.grant_in(event.object) if event.type == "access.changed" else "",
        "resource": kept.resource,
    }
    if window is not None:
        values |= {
            "requester": window.requester,
            "kind": window.kind,
            "person": window.persons[0] if window.persons else "",
            "persons": " ".join(window.persons),
            "role": window.role,
            "zone": accounts.zone(window.requester),
        }
    return Fact(type="activity", at=event.at, case=kept.link.grant, ref=ref, values=values)
