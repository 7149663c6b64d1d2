"""The grants of the log, as far as correlation asks for them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from muniment.access.case import AccessCase
from muniment.errors import MunimentError, Unavailable
from muniment.operations.service import Service
from muniment.oversight.event import Key
from muniment.oversight.event_store import EventStore
from muniment.oversight.link import GrantWindow

#: kinds of keys that an event may give out, for later events to show
JOINING: Final = frozenset({"access-key", "token"})
#: grants that are remembered: those of a busy day
_REMEMBERED: Final = 20_000
#: newest cases of one person that an account's name alone may lead to
_OF_ONE: Final = 50
#: a name is looked up again after this many seconds
_LISTED_FOR: Final = 2.0


@dataclass(kw_only=True)
class GrantWindows:
    """
    `oversight.link.Grants` over folded cases. For one thread at a time.

    All of it raises `Unavailable` while log or store cannot be read: that is no answer.
    """

    service: Service
    store: EventStore
    _known: dict[str, tuple[bytes, GrantWindow | None]] = field(default_factory=dict)
    _listed: dict[str, tuple[float, tuple[str, ...]]] = field(default_factory=dict)

    def by_id(self, case: str) -> GrantWindow | None:
        head = self.service.log.head(case)
        if head is None:
            return None
        known = self._known.get(case)
        if known is None or known[0] != head:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[case] = (head, self._read(case))
        return known[1]

    def by_key(self, key: Key) -> GrantWindow | None:
        grant = self.store.joined(key) if key.kind in JOINING else None
        return None if grant is None else self.by_id(grant)

    def of_account(self, resource: str, account: str, at: datetime) -> tuple[GrantWindow, ...]:
        cases = self._cases_of(account)
        if not cases:
            return ()
        found = (self.by_id(case) for case in cases)
        return tuple(
            window
            for window in found
            if window is not None
            and window.resource == resource
            and window.start - timedelta(minutes=1) <= at <= window.end + timedelta(minutes=1)
        )

    def _cases_of(self, account: str) -> tuple[str, ...]:
        """Newest cases of whoever has this login."""
        principal = self.service.names.get(account)
        if principal is None:
            return ()
        elapsed = self.service.log.clock.elapsed()
        listed = self._listed.get(principal)
        if listed is None or elapsed - listed[0] > _LISTED_FOR:
            rows = self.service.projections.cases(requester=principal, limit=_OF_ONE)
            listed = self._listed[principal] = (elapsed, tuple(row.case for row in rows))
        return listed[1]

    def _read(self, case: str) -> GrantWindow | None:
        try:
            found, _ = self.service.read(case)
        except Unavailable:  # it may well be a grant
            raise
        except MunimentError:  # no access case, or one that does not hold: nothing leads to it
            return None
        return window_of(found)


def window_of(case: AccessCase) -> GrantWindow | None:
    """None for a case under which nothing was ever handed out."""
    if case.credential is None or case.starts is None or case.until is None:
        return None
    return GrantWindow(
        case=case.id,
        resource=case.requested.resource,
        role=case.requested.role,
        requester=case.requested.requester,
        kind=case.requested.actor.type,
        persons=case.requested.actor.persons,
        start=case.starts,
        until=case.until,
        ended=case.ended_at,
        account=case.credential.account,
    )
