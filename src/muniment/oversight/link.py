"""
From an event to the grant that it belongs to, by the strongest key that it carries.

A strong key holds the grant's id, or a value that a record of the grant names, in a field which
the target fills and the holder cannot choose. A weak one is a name and a moment: a reason to look,
and never evidence of who it was.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from muniment.oversight.event import KEYS, Event, Key

#: seconds that the clocks of a target and of ours may differ before use counts as outside (rule 2)
SKEW: Final = timedelta(seconds=30)
_STRENGTH: Final = {kind: number for number, kind in enumerate(KEYS)}
#: a grant id inside a longer name, such as `mun_…:ana` or `session/mun_…`
_ID: Final = r"(?<![A-Za-z0-9_]){prefix}_([a-z2-7]{{26}})(?![A-Za-z0-9_])"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantWindow:
    """What correlation has to know of one grant."""

    case: str
    resource: str
    role: str
    requester: str
    #: of the requester: `human`, `workload`, `agent`
    kind: str = ""
    #: person ids of everybody in the actor chain
    persons: tuple[str, ...]
    #: from the first credential on
    start: datetime
    #: with every extension
    until: datetime
    #: when it was over, by whichever end; None while it lives
    ended: datetime | None = None
    #: as the connector named the account at the target
    account: str = ""

    @property
    def end(self) -> datetime:
        return self.until if self.ended is None else min(self.until, self.ended)


class Grants(Protocol):
    """The grants of the log, as far as an event can lead to one."""

    def by_id(self, case: str) -> GrantWindow | None: ...

    def by_key(self, key: Key) -> GrantWindow | None:
        """By what an earlier event of the grant, or a record of it, names: an access key."""
        ...

    def of_account(self, resource: str, account: str, at: datetime) -> tuple[GrantWindow, ...]:
        """Those that a holder with an account of this name may have had then: the weak way."""
        ...


#: where an event stands to the grant that it was linked to, each with its meaning
STANDINGS: Final = {
    "within": "inside the window of its grant",
    "early": "before the window of its grant began",
    "late": "after its grant was over",
    "elsewhere": "with the key of a grant for another resource",
    "unknown": "with an id of our form that the log does not have",
    "nobody": "under nobody's grant",
    "undeclared": "under nobody's grant, at a source that declares no accounts that need none",
    "known": "under nobody's grant, by an account that is declared to need none",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Which grant an event belongs to, how that is known, and where it stands to it."""

    #: case id; empty where there is none
    grant: str = ""
    #: `strong`, `weak`, or empty
    strength: str = ""
    #: which kind of key, or `account and time`
    reason: str = ""
    #: one of `STANDINGS`
    standing: str = "nobody"


NOBODY: Final = Link()


class Correlator:
    """Links the events of one installation. Holds nothing of its own but the form of its ids."""

    def __init__(self, prefix: str, grants: Grants) -> None:
        self._prefix = prefix
        self._begin = f"{prefix}_"
        self._grants = grants
        self._id = re.compile(_ID.format(prefix=re.escape(prefix)))

    def link(self, event: Event, resource: str) -> Link:
        """`resource` is what the source speaks of, where the event itself does not say."""
        resource = event.resource or resource
        for key in strongest_first(event.keys):
            found = self._strong(key, event.at, resource)
            if found is not None:
                return found
        return self._weak(event, resource)

    def _strong(self, key: Key, at: datetime, resource: str) -> Link | None:
        named = self.grant_in(key.value)
        window = self._grants.by_id(named) if named else self._grants.by_key(key)
        if window is not None:
            return Link(
                grant=window.case,
                strength="strong",
                reason=key.kind,
                standing=standing(window, at, resource),
            )
        if named:
            return Link(strength="strong", reason=key.kind, standing="unknown")
        return None

    def _weak(self, event: Event, resource: str) -> Link:
        if not event.account:
            return NOBODY
        for window in self._grants.of_account(resource, event.account, event.at):
            if standing(window, event.at, resource) == "within":
                return Link(
                    grant=window.case,
                    strength="weak",
                    reason="account and time",
                    standing="within",
                )
        return NOBODY

    def grant_in(self, text: str) -> str:
        """The grant id that stands in a name; empty without one, or with two."""
        if self._begin not in text:  # as in most
            return ""
        found = set(self._id.findall(text))
        return f"{self._prefix}_{found.pop()}" if len(found) == 1 else ""


def standing(window: GrantWindow, at: datetime, resource: str) -> str:
    if resource and window.resource != resource:
        return "elsewhere"
    if at < window.start - SKEW:
        return "early"
    if at > window.end + SKEW:
        return "late"
    return "within"


def strongest_first(keys: Iterable[Key]) -> list[Key]:
    found = list(keys)
    if len(found) > 1:
        found.sort(key=lambda key: _STRENGTH.get(key.kind, len(_STRENGTH)))
    return found
