"""
What detectors ask about the world beside the records: zones, who is on call, reasons, use.

Whatever is personal stays in this process: a reason is told by a digest under a key of its own.
"""

import hmac
import secrets
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Final

from muniment.access import records
from muniment.errors import MunimentError
from muniment.evidence.store import Entry
from muniment.operations.observe_sessions import sessions_of
from muniment.operations.service import Service
from muniment.oversight.event_store import Kept
from muniment.oversight.link import Correlator
from muniment.oversight.recorded import Reason, Usage
from muniment.oversight.sessions import used

_INCIDENTS: Final = ("incident.opened", "incident.closed")
#: incidents of one resource that are remembered as open, and resources that have some
_MOST_OPEN, _MOST_RESOURCES = 1000, 10_000


@dataclass(kw_only=True)
class Around:
    """`oversight.recorded.World`, and `oversight.observed.Accounts` of any source."""

    service: Service
    correlator: Correlator
    #: by a calendar: whether this login is on call then
    rota: Callable[[str, datetime], bool] = lambda _login, _at: False
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    #: incidents that were opened and not closed, by resource; an empty name stands for all of them
    _incidents: dict[str, dict[str, datetime]] = field(default_factory=dict)

    # --- people

    def zone(self, principal: str) -> str:
        identity = self._identity(principal)
        zone = identity.get("timezone", "") if identity is not None else ""
        return zone if isinstance(zone, str) else ""

    def on_call(self, principal: str, at: datetime) -> bool:
        identity = self._identity(principal)
        login = identity.get("login", "") if identity is not None else ""
        return bool(login) and self.rota(str(login), at)

    def _identity(self, principal: str) -> Mapping[str, object] | None:
        try:
            return self.service.identity(principal)
        except MunimentError:
            return None

    # --- incidents

    def incident(self, resource: str, at: datetime) -> bool:
        return any(
            opened <= at
            for name in {"", resource}
            for opened in self._incidents.get(name, {}).values()
        )

    def learn(self, kept: Kept) -> None:
        """An incident that a source tells of."""
        event = kept.event
        if event is None or event.type not in _INCIDENTS:
            return
        if kept.resource not in self._incidents and len(self._incidents) >= _MOST_RESOURCES:
            return
        known = self._incidents.setdefault(kept.resource, {})
        name = event.session or event.object
        if event.type == "incident.closed":
            known.pop(name, None)
        elif len(known) < _MOST_OPEN:
            known.setdefault(name, event.at)
        if not known:
            del self._incidents[kept.resource]

    # --- reasons and use

    def reason(self, request: Entry) -> Reason | None:
        try:
            said = self.service.section(request, "reason")
        except MunimentError:
            return None
        if said is None:
            return None
        text = " ".join(unicodedata.normalize("NFKC", str(said.get("text", ""))).casefold().split())
        digest = hmac.digest(self._key, text.encode("utf-8", "replace"), sha256).hex()[:32]
        return Reason(
            digest=digest if text else "",
            letters=sum(character.isalpha() for character in text),
            ticket=str(said.get("ticket", "")),
        )

    def usage(self, case: str, start: datetime, end: datetime) -> Usage | None:
        observing = self.service.observing
        if observing.store is None or not self._is_covered(case, start):
            return None
        sessions = sessions_of(observing.store, case)
        return Usage(sessions=len(sessions), seconds=used(sessions, start, end))

    def _is_covered(self, case: str, start: datetime) -> bool:
        """Whether a source spoke of the target before the grant began, and lost nothing since."""
        request = records.parse(self.service.log.read_case(case)[0].header)
        resource = getattr(request, "resource", "")
        for source in self.service.observing.sources.values():
            seen = self.service.registry.sources.get(source.name)
            if source.resource == resource and seen is not None and seen.since <= start:
                return not any(seen.missed(start, None))
        return False

    # --- accounts

    def of_source(self, source: str) -> "AccountsOf":
        return AccountsOf(around=self, source=source)


@dataclass(frozen=True, kw_only=True)
class AccountsOf:
    """What is known of the accounts at the target that one source speaks of."""

    around: Around
    source: str

    @property
    def declared(self) -> bool:
        source = self.around.service.observing.sources.get(self.source)
        return source is not None and bool(source.standing_accounts)

    def is_standing(self, account: str) -> bool:
        source = self.around.service.observing.sources.get(self.source)
        return source is not None and source.is_standing(account)

    def is_own(self, account: str) -> bool:
        source = self.around.service.observing.sources.get(self.source)
        return source is not None and bool(account) and account in source.own_accounts

    def grant_in(self, text: str) -> str:
        return self.around.correlator.grant_in(text)

    def zone(self, principal: str) -> str:
        return self.around.zone(principal)
